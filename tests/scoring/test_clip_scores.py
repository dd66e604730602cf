import math
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asd_lightning.errors import UserError
from asd_lightning.scoring.clip_scores import (
    CONDITIONS,
    DOMAINS,
    ClipScore,
    alarm_lines,
    challenge_paths,
    read_scores,
    write_challenge_files,
    write_scores,
)

CLIP = ClipScore("fan", "00", "section_00_0001.wav", "source", "normal", "m-n_W", 0.1 + 0.2, math.nan, 0)
text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
names = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="/\\"), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))
clip_scores = st.builds(
    ClipScore,
    machine=names,
    section=names,
    file=names,
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


NO_NAMES = [
    "x/../../..",
    "/tmp/x",
    "..",
    ".",
    "",
    "a/b",
    "a\x00b",
    "a\nb",
    "a\x1b[31mb",
    "a\x9bb",
    "a\x7fb",
    "a\u2028b",
]


@pytest.mark.parametrize(
    ("field", "name"),
    # A recording of one's own is called by its path below the machine's folder.
    [(f, n) for f in ("machine", "section", "file") for n in NO_NAMES if (f, n) != ("file", "a/b")],
)
def test_what_is_no_name_is_refused(tmp_path: Path, field: str, name: str) -> None:
    write_scores(tmp_path / "scores.csv", [CLIP, CLIP._replace(**{field: name})])
    with pytest.raises(UserError) as caught:
        read_scores(tmp_path / "scores.csv")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/scores.csv, row 3: {field} ")
    assert message.isprintable()


@pytest.mark.parametrize("name", ["bearing (old)", "泵", "pump..1", "...", "a$b|c[d]<e>", "a$\\frac{$b"])
def test_odd_names_are_names(tmp_path: Path, name: str) -> None:
    clip = CLIP._replace(machine=name, file=f"{name}.wav")
    write_scores(tmp_path / "scores.csv", [clip])
    assert read_scores(tmp_path / "scores.csv")[0].machine == name
    assert all(path.parent == tmp_path for path in write_challenge_files(tmp_path, [clip]))


@pytest.mark.parametrize("field", ["machine", "section"])
@pytest.mark.parametrize("name", ["x/../../..", "/tmp/x", "a/b", "../x", "x/.."])
def test_no_challenge_file_leaves_its_folder(tmp_path: Path, field: str, name: str) -> None:
    folder = tmp_path / "a" / "b" / "c"
    with pytest.raises(UserError, match="not a file in"):
        challenge_paths(folder, [CLIP._replace(**{field: name})])
    with pytest.raises(UserError, match="not a file in"):
        write_challenge_files(folder, [CLIP._replace(**{field: name})])
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: no such score file"):
        read_scores(tmp_path / "none.csv")


def test_alarms_are_counted_for_each_machine() -> None:
    fan = [
        CLIP._replace(file=f"{n}", condition=kind, decision=n % 2, anomaly_score=float(n))
        for kind in ("normal", "anomaly")
        for n in range(4)
    ]
    pump = [CLIP._replace(machine="pump", file=f"{n}.wav", condition="unknown", decision=int(n > 0)) for n in range(5)]
    pump = [clip._replace(anomaly_score=float(n)) for n, clip in enumerate(pump)]
    saw = [CLIP._replace(machine="saw", file=f"{n}", decision=1) for n in range(2)]
    assert alarm_lines([*fan, *pump, *saw]) == [
        "fan: alarm on 2 of 4 normal clips, 2 of 4 anomalous clips",
        "pump: alarm on 4 of 5 unlabelled clips (4.wav, 3.wav, 2.wav, ...)",
        "saw: alarm on 2 of 2 normal clips - all 2 clips have the same score: the embeddings do not tell them apart - "
        "the threshold is too low: "
        "the training clips are more alike than normal test clips are",
    ]


@pytest.mark.parametrize("name", ["test/normal/a.wav", "test/Prüfstand 2/泵.flac", "a.wav#t=10"])
def test_own_recordings_are_called_by_their_path(tmp_path: Path, name: str) -> None:
    write_scores(tmp_path / "scores.csv", [CLIP._replace(file=name)])
    assert read_scores(tmp_path / "scores.csv")[0].file == name


@pytest.mark.parametrize("name", ["/etc/passwd", "a/../../b.wav", "./a.wav", "a//b.wav", "a/", "a\x1b[2J.wav", ""])
def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    write_scores(tmp_path / "scores.csv", [CLIP._replace(file=name)])
    with pytest.raises(UserError, match="plain path below"):
        read_scores(tmp_path / "scores.csv")
