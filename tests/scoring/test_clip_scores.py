import math
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asd_lightning.errors import UserError
from asd_lightning.scoring.clip_scores import CONDITIONS, DOMAINS, ClipScore, alarm_lines, read_scores, write_scores

CLIP = ClipScore("fan", "00", "section_00_0001.wav", "source", "normal", "m-n_W", 0.1 + 0.2, math.nan, 0)
text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
clip_scores = st.builds(
    ClipScore,
    machine=text,
    section=text,
    file=text,
    domain=st.sampled_from(DOMAINS),
    condition=st.sampled_from(CONDITIONS),
    attribute=text,
    anomaly_score=st.floats(allow_nan=False),
    threshold=st.floats(allow_nan=False),
    decision=st.sampled_from([0, 1]),
)


def bits(score: ClipScore) -> tuple[object, ...]:
    return (*score[:6], struct.pack("<2d", score.anomaly_score, score.threshold), score.decision)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scores=st.lists(clip_scores, max_size=5))
def test_round_trip_is_exact(tmp_path: Path, scores: list[ClipScore]) -> None:
    write_scores(tmp_path / "scores.csv", scores)
    assert [bits(score) for score in read_scores(tmp_path / "scores.csv")] == [bits(score) for score in scores]


def test_a_missing_threshold_stays_missing(tmp_path: Path) -> None:
    write_scores(tmp_path / "deep" / "scores.csv", [CLIP])
    (score,) = read_scores(tmp_path / "deep" / "scores.csv")
    assert math.isnan(score.threshold)
    assert score.anomaly_score == 0.1 + 0.2


def test_writing_leaves_no_other_file_and_a_failure_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scores.csv"
    write_scores(path, [CLIP])

    def full_disk(*_: object, **__: object) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_scores(path, [])
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.csv"]
    assert len(read_scores(path)) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("source", "middle", "row 2: domain 'middle'"),
        ("normal", "broken", "row 2: condition 'broken'"),
        (",0\n", ",2\n", "row 2: decision '2'"),
        ("nan", "none", "row 2: .*'none' must be numbers"),
        ("fan,", "fan,x,", "row 2: 10 fields"),
        ("machine,section", "section,machine", "first row must be"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "scores.csv"
    write_scores(path, [CLIP])
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        read_scores(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: no such score file"):
        read_scores(tmp_path / "none.csv")


def test_alarms_are_counted_for_each_machine() -> None:
    fan = [
        CLIP._replace(file=f"{n}", condition=kind, decision=n % 2) for kind in ("normal", "anomaly") for n in range(4)
    ]
    pump = [CLIP._replace(machine="pump", file=f"{n}.wav", condition="unknown", decision=int(n > 0)) for n in range(5)]
    pump = [clip._replace(anomaly_score=float(n)) for n, clip in enumerate(pump)]
    saw = [CLIP._replace(machine="saw", file=f"{n}", decision=1) for n in range(2)]
    assert alarm_lines([*fan, *pump, *saw]) == [
        "fan: alarm on 2 of 4 normal clips, 2 of 4 anomalous clips",
        "pump: alarm on 4 of 5 unlabelled clips (4.wav, 3.wav, 2.wav, ...)",
        "saw: alarm on 2 of 2 normal clips - the threshold is too low: "
        "the training clips are more alike than normal test clips are",
    ]
