import math
import re
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import f1_score, precision_score, recall_score

from asd_lightning.errors import UserError
from asd_lightning.evaluation.metrics import (
    EvaluationResult,
    evaluate,
    means_over,
    metrics_table,
    read_metrics,
    write_metrics,
)
from asd_lightning.scoring.clip_scores import ClipScore
from asd_lightning.tables import as_terminal
from tests.evaluation.official import EVALUATOR, labeled_scores, machines, result_rows
from tests.reference import needs_reference

OFFICIAL_COLUMNS = (
    *("auc", "auc_source", "auc_target", "pauc", "precision_source", "precision_target"),
    *("recall_source", "recall_target", "f1_source", "f1_target"),
)
MEANS = ("arithmetic", "harmonic", "source_harmonic", "target_harmonic")


def clips(
    machine: str, domains: str = "st", conditions: str = "na", each: int = 5, value: Callable[[int], float] = float
) -> list[ClipScore]:
    """``each`` clips for each domain (s, t, u) and condition (n, a, u), scored by their position."""
    names = {"s": "source", "t": "target", "n": "normal", "a": "anomaly", "u": "unknown"}
    kinds = [(names[domain], names[condition]) for condition in conditions for domain in domains for _ in range(each)]
    return [
        ClipScore(machine, "00", f"section_00_{i:04d}.wav", *kind, "", value(i), math.nan, int(kind[1] == "anomaly"))
        for i, kind in enumerate(kinds)
    ]


def close(ours: object, official: list[str]) -> None:
    np.testing.assert_allclose(np.array(ours), np.array(official, dtype=float), rtol=0, atol=1e-12)


@needs_reference(EVALUATOR)
@pytest.mark.parametrize("system", ["system_a", "system_b"])
def test_every_number_of_the_official_result_file(system: str) -> None:
    result = evaluate(labeled_scores(system))
    rows = result_rows(system)
    assert [row.machine for row in result.machines] == machines()
    for number, metrics in enumerate(result.machines):
        name, _, section, _, *means = rows[8 * number : 8 * number + 8]
        assert name == [metrics.machine]
        assert section[0] == metrics.section
        close([getattr(metrics, column) for column in OFFICIAL_COLUMNS], section[1:])
        of_machine = means_over([metrics])
        for kind, row in zip(MEANS, means, strict=True):
            close(astuple(getattr(of_machine, kind)), row[2:])
    _, *overall, official_score, _ = rows[8 * len(machines()) :]
    for kind, row in zip(MEANS, overall, strict=True):
        assert row[0].startswith(kind.replace("_", " "))
        close(astuple(getattr(result.means, kind)), row[2:])
    assert official_score[0] == "official score"
    close(result.official_score, official_score[2:])
    assert result.notes == ()


@needs_reference(EVALUATOR)
def test_the_summary_row_is_harmonic_means_and_the_official_score() -> None:
    result = evaluate(labeled_scores("system_b"))
    assert result.overall.hmean == result.official_score
    assert result.overall.auc_source == pytest.approx(result.means.source_harmonic.auc, abs=1e-15)
    assert result.overall.pauc == pytest.approx(result.means.harmonic.pauc, abs=1e-15)
    assert result.overall.f1_target == pytest.approx(result.means.target_harmonic.f1, abs=1e-15)


def test_precision_recall_and_f1_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(7)
    scores = [clip._replace(decision=int(rng.integers(2))) for clip in clips("fan", each=40)]
    (metrics,) = evaluate(scores).machines
    for domain in ("source", "target"):
        of_domain = [clip for clip in scores if clip.domain == domain]
        truth = [clip.condition == "anomaly" for clip in of_domain]
        called = [clip.decision for clip in of_domain]
        assert getattr(metrics, f"precision_{domain}") == pytest.approx(precision_score(truth, called), abs=1e-12)
        assert getattr(metrics, f"recall_{domain}") == pytest.approx(recall_score(truth, called), abs=1e-12)
        assert getattr(metrics, f"f1_{domain}") == pytest.approx(f1_score(truth, called), abs=1e-12)


def test_a_domain_auc_meets_the_anomalies_of_both_domains() -> None:
    # Source normals lie between the anomalies of the two domains: 0.5 against both, 0 or 1 against one alone.
    value = {("source", "normal"): 1.0, ("target", "normal"): 0.0, ("source", "anomaly"): 0.5, ("target", "anomaly"): 2}
    scores = [clip._replace(anomaly_score=value[clip.domain, clip.condition]) for clip in clips("fan")]
    (metrics,) = evaluate(scores).machines
    assert (metrics.auc_source, metrics.auc_target, metrics.auc) == (0.5, 1.0, 0.75)


def test_pauc_is_the_area_over_the_highest_tenth_of_the_normals() -> None:
    drawn = np.random.default_rng(1).permutation(80)
    scores = clips("fan", each=20, value=lambda i: float(drawn[i] + 20.5 * (i >= 40)))
    normal = sorted((clip.anomaly_score for clip in scores if clip.condition == "normal"), reverse=True)
    anomalous = [clip.anomaly_score for clip in scores if clip.condition == "anomaly"]
    # 40 normals: steps of the curve's first tenth are those at the four highest, each 1 / 40 wide.
    area = sum(sum(score > one for score in anomalous) / 40 for one in normal[:4]) / 40
    least, most = 0.1**2 / 2, 0.1
    expected = (1 + (area - least) / (most - least)) / 2
    assert evaluate(scores).machines[0].pauc == pytest.approx(expected, abs=1e-12)


def test_constant_scores_are_chance() -> None:
    (metrics,) = evaluate(clips("fan", value=lambda _: 3.0)).machines
    assert [metrics.auc_source, metrics.auc_target, metrics.pauc, metrics.hmean] == pytest.approx([0.5] * 4)


def test_the_worst_scores_give_a_number_near_zero() -> None:
    result = evaluate(clips("fan", each=50, value=lambda i: -float(i)))
    assert result.machines[0].auc_source == 0
    assert 0 < result.official_score < 1e-14


def test_no_call_is_precision_zero_and_f1_zero() -> None:
    (metrics,) = evaluate([clip._replace(decision=0) for clip in clips("fan")]).machines
    assert (metrics.precision_source, metrics.recall_target, metrics.f1_source) == (0, 0, 0)


def test_without_target_clips_the_score_is_over_what_exists_and_says_so() -> None:
    result = evaluate(clips("pump", domains="s", value=lambda i: float(i % 7)))
    (metrics,) = result.machines
    assert math.isnan(metrics.auc_target)
    assert math.isnan(metrics.f1_target)
    expected = 2 / (1 / metrics.auc_source + 1 / metrics.pauc)
    assert result.official_score == pytest.approx(expected, abs=1e-15)
    # Of a domain that nobody has recorded there is nothing else to be said, nor of sections.
    assert result.notes == ("The score is the harmonic mean of those AUCs and pAUCs that exist: a domain is lacking.",)
    console = Console(width=100)
    with console.capture() as printed:
        console.print(as_terminal(metrics_table(result)))
    assert "Score " in printed.get()
    assert not re.search("official|section", printed.get(), re.IGNORECASE)


def test_a_domain_that_one_machine_lacks_is_named() -> None:
    assert "pump: no normal target clip, so AUC_target is undefined." in result_with_a_gap().notes


def test_clips_of_unknown_domain_count_in_the_overall_numbers_alone() -> None:
    result = evaluate(clips("pump", domains="u"))
    (metrics,) = result.machines
    assert math.isnan(metrics.auc_source)
    assert (metrics.auc, metrics.pauc) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("conditions", "note"), [("u", "condition of its 10 clips is unknown"), ("n", "every clip is normal")]
)
def test_without_both_conditions_there_are_scores_only(conditions: str, note: str) -> None:
    result = evaluate(clips("pump", conditions=conditions))
    assert result.machines == ()
    assert math.isnan(result.official_score)
    assert note in result.notes[0]
    assert "No machine" in result.notes[-1]


def test_one_machine_without_truth_does_not_lose_the_others() -> None:
    known = clips("fan", value=lambda i: float(i % 3))
    result = evaluate([*known, *clips("pump", conditions="u"), *clips("slider", conditions="a")])
    assert [row.machine for row in result.machines] == ["fan"]
    assert result.official_score == evaluate(known).official_score
    assert ["pump" in result.notes[0], "slider" in result.notes[1]] == [True, True]


def test_clips_of_unknown_condition_are_left_out_of_a_labeled_machine() -> None:
    known = clips("fan", value=lambda i: float(i % 3))
    extra = [clip._replace(file=f"x{clip.file}", anomaly_score=99.0) for clip in clips("fan", conditions="u", each=1)]
    result = evaluate(known + extra)
    assert result.machines == evaluate(known).machines
    assert "2 of 22 clips" in result.notes[0]


def test_sections_of_a_machine_are_rows_of_their_own() -> None:
    first = clips("fan")
    second = [clip._replace(section="01", anomaly_score=-clip.anomaly_score) for clip in first]
    result = evaluate([*second, *first])
    assert [(row.section, row.auc) for row in result.machines] == [("00", 1.0), ("01", 0.0)]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(UserError, match=r"fan/section_00_0000\.wav: anomaly_score is"):
        evaluate(clips("fan", value=lambda _: value))


def test_a_clip_scored_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"fan/00/section_00_0000\.wav has 2 scores"):
        evaluate([*clips("fan"), clips("fan")[0]])


def test_no_scores_are_refused() -> None:
    with pytest.raises(UserError, match="nothing to evaluate"):
        evaluate([])


def result_with_a_gap() -> EvaluationResult:
    return evaluate([*clips("fan", value=lambda i: i / 7), *clips("pump", domains="s", value=lambda i: float(i % 4))])


def test_metrics_csv_keeps_every_bit(tmp_path: Path) -> None:
    result = result_with_a_gap()
    write_metrics(result, tmp_path / "results")
    rows = read_metrics(tmp_path / "results" / "metrics.csv")
    assert [repr(row) for row in rows] == [repr(row) for row in (*result.machines, result.overall)]
    assert rows[-1].machine == "all"
    header = (tmp_path / "results" / "metrics.csv").read_text().splitlines()[0]
    assert header.startswith("machine,section,auc_source,auc_target,pauc,hmean,auc,precision_source,")
    assert header.endswith(",f1_target")


def test_metrics_md_is_an_aligned_table_with_notes(tmp_path: Path) -> None:
    result = result_with_a_gap()
    write_metrics(result, tmp_path)
    lines = (tmp_path / "metrics.md").read_text().splitlines()
    assert lines[0] == f"# Score {100 * result.official_score:.2f} %"
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 3
    assert len({len(line) for line in table}) == 1
    assert "| - |" in " ".join(table[3].split())
    assert any("no normal target clip" in line for line in lines)


def test_the_terminal_table_shows_every_machine_and_the_notes() -> None:
    console = Console(width=160, record=True, file=None)
    with console.capture() as capture:
        console.print(as_terminal(metrics_table(result_with_a_gap())))
    shown = capture.get()
    assert all(word in shown for word in ("fan", "pump", "all", "100.00", "no normal target clip"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("machine,", "machina,", 1), "first row"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "last row must be machine=all"),
        (lambda text: text.replace("1.0", "one", 1), "11 numbers"),
        (lambda text: "", "first row"),
    ],
)
def test_a_damaged_metrics_file_is_named(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    write_metrics(result_with_a_gap(), tmp_path)
    path = tmp_path / "metrics.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=message):
        read_metrics(path)
