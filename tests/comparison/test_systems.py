import csv
import json
import math
import statistics
from pathlib import Path

import matplotlib.image
import pytest
from rich.console import Console

from asd_lightning.comparison import plot
from asd_lightning.comparison.plot import plot_comparison
from asd_lightning.comparison.published import TABLE_2, TABLE_2_AVERAGES
from asd_lightning.comparison.systems import UNNAMED, Comparison, compare_runs
from asd_lightning.comparison.tables import COLUMNS, hmean_table, write_comparison_tables
from asd_lightning.errors import UserError
from asd_lightning.evaluation.metrics import evaluate, write_metrics
from asd_lightning.experiment.claim import claimed
from asd_lightning.scoring.clip_scores import read_scores
from asd_lightning.tables import as_terminal
from tests.comparison.runs import finished_run

SEVEN = tuple(TABLE_2["XJU 2 EAT-FFT"])


def sweep(root: Path, machines: tuple[str, ...] = ("fan", "pump")) -> Path:
    """Two systems over three and one seeds, and one failed job, as a sweep leaves them."""
    for seed in range(3):
        finished_run(root / "system1" / str(seed), "system1", seed, machines)
    finished_run(root / "system2" / "0", "system2", 5, machines)
    failed_job(root / "system2" / "1", "name: system2\nseed: 6\n")
    return root


def failed_job(folder: Path, config: str) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(config)
    return folder


def shown(comparison: Comparison) -> str:
    console = Console(width=1000)
    with console.capture() as capture:
        console.print(as_terminal(hmean_table(comparison)))
    return capture.get()


def table_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_systems_machines_and_seeds_are_counted_as_people_do(tmp_path: Path) -> None:
    for system in ("system10", "system2"):
        finished_run(tmp_path / system / "0", system, 0, ("fan12", "Fan3"))
    for seed in (10, 2):
        finished_run(tmp_path / "system2" / str(seed), "system2", seed, ("fan12", "Fan3"))
    comparison = compare_runs([tmp_path])
    assert [system.name for system in comparison.systems] == ["system2", "system10"]
    assert [run.seed for run in comparison.runs] == [0, 2, 10, 0]
    assert comparison.machines == ("Fan3", "fan12")


def test_mean_and_sample_deviation_over_seeds(tmp_path: Path) -> None:
    comparison = compare_runs([sweep(tmp_path)])
    first, second = comparison.systems
    assert (first.name, second.name) == ("system1", "system2")
    values = []
    for seed in range(3):
        scores = read_scores(tmp_path / "system1" / str(seed) / "results" / "scores.csv")
        values.append(evaluate(scores).official_score)
    spread = first.spread["all", "hmean"]
    assert spread.mean == pytest.approx(statistics.mean(values), abs=1e-14)
    assert spread.deviation == pytest.approx(statistics.stdev(values), abs=1e-14)
    assert spread.seeds == 3
    assert math.isnan(second.spread["fan", "pauc"].deviation)
    assert comparison.machines == ("fan", "pump")


def test_a_failed_job_is_named_and_loses_nothing(tmp_path: Path) -> None:
    comparison = compare_runs([sweep(tmp_path)])
    second = comparison.systems[1]
    (failed,) = second.failed
    assert (failed.system, failed.seed, failed.failure) == ("system2", 6, "no results/metrics.csv")
    assert len(second.finished) == 1
    text = shown(comparison)
    # The caption is folded to the width of the table, wherever that falls in a long path.
    failure = f"failed: {tmp_path / 'system2' / '1'} (seed 6): no results/metrics.csv"
    assert "".join(failure.split()) in "".join(text.split())
    write_comparison_tables(comparison, tmp_path / "out")
    assert "system2/1" in (tmp_path / "out" / "comparison.md").read_text()
    assert [row["seeds"] for row in table_rows(tmp_path / "out" / "comparison.csv") if row["source"] == "failed"] == [
        str(tmp_path / "system2" / "1")
    ]


def test_a_run_that_is_training_or_was_interrupted_has_not_failed(tmp_path: Path) -> None:
    """By the lock that a training holds, and the checkpoint that it leaves; a sweep's job writes why it has ended."""
    config = "name: one\nseed: 0\n"
    training, stopped, job, lost = (failed_job(tmp_path / name, config) for name in ("a", "b", "c", "d"))
    untested = failed_job(tmp_path / "e", f"{config}test: false\n")
    for run in (training, stopped, untested):
        (run / "checkpoints").mkdir()
        (run / "checkpoints/last.ckpt").touch()
    (job / "failure.txt").write_text("interrupted; the sweep goes on with resume=true")

    def states() -> list[str]:
        return [run.state for run in compare_runs([tmp_path]).runs]

    others = ["interrupted", "interrupted", "failed", "failed"]
    with claimed(training):
        assert states() == ["still training", *others]
        text = shown(compare_runs([tmp_path]))
    assert states() == ["interrupted", *others]
    text = " ".join(text.split())
    assert f"still training: {training} (seed 0): its results come at the end" in text
    assert f"interrupted: {stopped} (seed 0): the same command with resume=true goes on" in text
    assert f"failed: {lost} (seed 0): no results/metrics.csv" in text
    assert f"asd test {untested} tests it" in text
    (training / "failure.txt").write_text("interrupted; but a training goes on in it")
    with claimed(training):
        assert states()[0] == "still training"


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("summary.json", None, "results/summary.json: no such file"),
        ("summary.json", "{", "not JSON"),
        ("summary.json", "[" * 300_000, "deeper than 40 levels"),
        ("summary.json", "{}", "has no name"),
        ("summary.json", '{"name": "a", "seed": "x"}', "seed is not a whole number"),
        ("metrics.csv", "machine\n", "first row must be"),
        ("metrics.csv", "", "first row must be"),
    ],
)
def test_damaged_results_are_a_failed_job(tmp_path: Path, file: str, content: str | None, reason: str) -> None:
    sweep(tmp_path)
    path = tmp_path / "system1" / "1" / "results" / file
    path.unlink() if content is None else path.write_text(content)
    comparison = compare_runs([tmp_path])
    failed = [run for system in comparison.systems for run in system.failed]
    assert any(reason in run.failure for run in failed)
    assert comparison.systems[0].spread["fan", "auc"].seeds == 2


@pytest.mark.parametrize("config", ["a: [", "- 1", "name: ${experiment}", "name: 3\nseed: x", ""])
def test_a_failed_job_that_names_nothing_is_still_named(tmp_path: Path, config: str) -> None:
    finished_run(tmp_path / "a", "z")
    failed_job(tmp_path / "b", config)
    comparison = compare_runs([tmp_path])
    assert [system.name for system in comparison.systems] == ["z", UNNAMED]
    assert "(seed ?)" in shown(comparison)


def test_failed_jobs_alone_make_a_table(tmp_path: Path) -> None:
    failed_job(tmp_path / "b", "name: system1")
    comparison = compare_runs([tmp_path])
    assert comparison.machines == ()
    assert "failed" in shown(comparison)
    write_comparison_tables(comparison, tmp_path / "out")
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_comparison(comparison, tmp_path / "out" / "comparison")


def test_runs_are_found_once_whatever_is_named(tmp_path: Path) -> None:
    sweep(tmp_path)
    plain = finished_run(tmp_path / "own", "own")
    (plain / ".hydra").rmdir()
    (plain / "config.yaml").write_text("name: own")
    (plain / "wandb" / "files").mkdir(parents=True)
    (plain / "wandb" / "files" / "config.yaml").write_text("inside a run")
    comparison = compare_runs([tmp_path, tmp_path / "system1", plain])
    assert [(system.name, len(system.finished)) for system in comparison.systems] == [
        ("own", 1),
        ("system1", 3),
        ("system2", 1),
    ]


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        compare_runs([tmp_path / "nothing"])
    with pytest.raises(UserError, match="no run in it"):
        compare_runs([tmp_path])


def test_what_limits_the_comparison_is_said(tmp_path: Path) -> None:
    finished_run(tmp_path / "a", "one", 0)
    finished_run(tmp_path / "b", "one", 0)
    finished_run(tmp_path / "c", "two", 0, ("fan", "pump", "valve"))
    notes = "\n".join(compare_runs([tmp_path]).notes)
    assert "one has 2 runs with seed 0" in notes
    assert "over different machines" in notes
    assert "two: 3 machines" in notes


def test_runs_of_one_seed_are_one_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        finished_run(tmp_path / name, "one", seed, draw=ord(name))
    first, again, other = (run.values["all", "hmean"] for run in compare_runs([tmp_path]).runs)
    (system,) = compare_runs([tmp_path]).systems
    expected = [statistics.mean([first, again]), other]
    assert first != again
    assert system.spread["all", "hmean"] == pytest.approx((statistics.mean(expected), statistics.stdev(expected), 2))
    assert ("seeds", "2") in [row.cells[:2] for row in hmean_table(compare_runs([tmp_path])).rows]
    (same,) = compare_runs([tmp_path / "a", tmp_path / "b"]).systems
    assert (same.seeds, math.isnan(same.spread["all", "hmean"].deviation)) == (1, True)


def test_seeds_without_a_number_do_not_spoil_the_mean(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a", "one", 0)
    other = finished_run(tmp_path / "b", "one", 1)
    scores = [
        clip
        for clip in read_scores(other / "results" / "scores.csv")
        if clip.machine != "valve" or clip.domain == "source"
    ]
    write_metrics(evaluate(scores), other / "results")
    spread = compare_runs([tmp_path]).systems[0].spread["valve", "auc_target"]
    assert spread.seeds == 1
    alone = evaluate(read_scores(run / "results" / "scores.csv")).machines[1]
    assert spread.mean == alone.auc_target


def test_published_scores_stand_beside_the_machines_of_the_report(tmp_path: Path) -> None:
    comparison = compare_runs([sweep(tmp_path, ("fan", "pump", "ToyCar"))])
    write_comparison_tables(comparison, tmp_path / "out")
    published = [row for row in table_rows(tmp_path / "out" / "comparison.csv") if row["system"].startswith("XJU")]
    assert {row["machine"] for row in published} == {"fan", "ToyCar"}
    assert {row["machine"] for row in published if row["source"] == "corrected"} == {"ToyCar"}
    (value,) = [
        row["mean"]
        for row in published
        if row["metric"] == "pauc" and row["system"] == "XJU 4 EAT-BEATs-FFT" and row["machine"] == "fan"
    ]
    assert float(value) == pytest.approx(0.5221, abs=1e-15)
    markdown = (tmp_path / "out" / "comparison.md").read_text()
    assert r"61.31\*" in markdown
    assert "is printed as 75.58 / 55.52 / 54.21 / 60.37" in markdown
    assert "none of them reproduced here" in markdown
    assert "not shown beside others" in markdown
    assert "64.46" not in markdown


def test_published_averages_stand_beside_the_same_seven_machines_alone(tmp_path: Path) -> None:
    comparison = compare_runs([sweep(tmp_path, SEVEN)])
    assert comparison.machines == ("bearing", "fan", "gearbox", "slider", "ToyCar", "ToyTrain", "valve")
    official = next(line for line in shown(comparison).splitlines() if "official score" in line)
    for row in TABLE_2_AVERAGES.values():
        assert f"{row.hmean:.2f}" in official


def test_other_machines_stand_alone(tmp_path: Path) -> None:
    comparison = compare_runs([sweep(tmp_path, ("pump", "bldcmotor"))])
    write_comparison_tables(comparison, tmp_path / "out")
    assert "XJU" not in shown(comparison)
    assert "XJU" not in (tmp_path / "out" / "comparison.md").read_text()
    assert "XJU" not in (tmp_path / "out" / "comparison.csv").read_text()


def test_tables_hold_the_numbers(tmp_path: Path) -> None:
    comparison = compare_runs([sweep(tmp_path)])
    write_comparison_tables(comparison, tmp_path / "out")
    rows = table_rows(tmp_path / "out" / "comparison.csv")
    assert tuple(rows[0]) == COLUMNS
    ours = {(row["system"], row["machine"], row["metric"]): row for row in rows if row["source"] == "runs"}
    for system in comparison.systems:
        for (machine, metric), spread in system.spread.items():
            row = ours.pop((system.name, machine, metric))
            assert repr((float(row["mean"]), float(row["standard_deviation"]), int(row["seeds"]))) == repr(
                tuple(spread)
            )
    assert not ours
    spread = comparison.systems[0].spread["pump", "auc_target"]
    table = [line for line in (tmp_path / "out" / "comparison.md").read_text().splitlines() if line.startswith("|")]
    (line,) = [line for line in table if line.split()[1:4] == ["pump", "|", "AUC_t"]]
    assert f"{100 * spread.mean:.2f} ± {100 * spread.deviation:.2f}" in line


def test_a_name_with_brackets_is_no_markup(tmp_path: Path) -> None:
    finished_run(tmp_path / "a", "[bold]eat[/bold]")
    assert "[bold]eat[/bold]" in shown(compare_runs([tmp_path]))


def test_a_section_beside_the_first_is_a_machine_of_its_own(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a", "one")
    scores = read_scores(run / "results" / "scores.csv")
    write_metrics(evaluate([*scores, *(clip._replace(section="01") for clip in scores)]), run / "results")
    assert compare_runs([tmp_path]).machines == ("fan", "fan 01", "valve", "valve 01")


@pytest.mark.usefixtures("painted")
def test_the_picture_holds_a_dot_for_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    drawn = []
    errorbar = Axes.errorbar

    def recording(self: Axes, x: object, y: object, **style: object) -> object:
        drawn.append((style["label"], y, style["yerr"]))
        return errorbar(self, x, y, **style)

    monkeypatch.setattr(Axes, "errorbar", recording)
    comparison = compare_runs([sweep(tmp_path)])
    plot_comparison(comparison, tmp_path / "out" / "comparison")
    assert [label for label, _, _ in drawn] == ["system1 (3 seeds)", "system2 (1 seed)"]
    for system, (_, mean, deviation) in zip(comparison.systems, drawn, strict=True):
        spreads = [system.spread[machine, "hmean"] for machine in ("fan", "pump", "all")]
        assert mean == [100 * spread.mean for spread in spreads]
        assert repr(deviation) == repr([100 * spread.deviation for spread in spreads])
    image = matplotlib.image.imread(tmp_path / "out" / "comparison.png")
    assert image.shape[0] == 750
    assert image.std() > 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["comparison.png", "comparison.svg"]


@pytest.mark.usefixtures("painted")
@pytest.mark.parametrize("systems", [2, 12])
def test_the_legend_is_not_cut_off_and_no_two_systems_look_alike(
    systems: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    monkeypatch.setattr(plot, "save_figure", lambda figure, path: figures.append(figure) or path)
    for index in range(systems):
        finished_run(tmp_path / str(index), f"system_{index} model/scorer=knn_standardized {'k' * 40 * index}"[:150])
    plot_comparison(compare_runs([tmp_path]), tmp_path / "comparison")
    figure = figures[0]
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box, paper = legend.get_window_extent(), figure.bbox
    assert 0 <= box.x0 < box.x1 <= paper.x1
    assert 0 <= box.y0 < box.y1 <= figure.axes[0].get_window_extent().y0
    assert figure.axes[0].get_window_extent().height > 0.5 * 5 * figure.dpi
    lines = [bar.lines[0] for bar in figure.axes[0].containers]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == systems


def test_summary_may_say_more_than_is_read(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a", "one", 3)
    summary = json.loads((run / "results" / "summary.json").read_text())
    (run / "results" / "summary.json").write_text(json.dumps(summary | {"extra": 1, "seed": None}))
    (system,) = compare_runs([tmp_path]).systems
    assert system.finished[0].seed is None


def test_synthetic_machines_are_said_to_be_other_machines(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run", "system1", 0, ("fan",))
    (tmp_path / "machines").mkdir()
    summary = json.loads((folder / "results/summary.json").read_text())
    (folder / "results/summary.json").write_text(json.dumps(summary | {"data": {"root": str(tmp_path / "machines")}}))
    assert not any("Synthetic" in note for note in compare_runs([folder]).notes)
    (tmp_path / "machines/synthetic.json").write_text("{}")
    assert any("published scores do not compare" in note for note in compare_runs([folder]).notes)
