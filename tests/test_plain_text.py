"""Odd names through every output: what is a name is shown, and does nothing."""

import io
import unicodedata
from pathlib import Path

import matplotlib.image
import pytest
from hydra.core.hydra_config import HydraConfig
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from asd_lightning.cli import main
from asd_lightning.comparison.output import show_comparison
from asd_lightning.comparison.systems import compare_runs
from asd_lightning.comparison.tables import hmean_table
from asd_lightning.errors import UserError
from asd_lightning.evaluation.metrics import EvaluationResult, evaluate, metrics_table, read_metrics, write_metrics
from asd_lightning.pages.page import write_report
from asd_lightning.pages.plots import plot_roc, plot_scores
from asd_lightning.plain_text import natural_order, on_terminal, printable, without_credentials
from asd_lightning.scoring.clip_scores import ClipScore
from asd_lightning.tables import Row, Table, as_terminal, markdown_lines
from tests.comparison.runs import development_clips, finished_run
from tests.experiment.runs import tiny_overrides

ODD = (
    "a$\\frac{$b",
    "$x^2$",
    "[/red]fan",
    "pump[red]old[",
    "all",
    "pump|A",
    "pump\\|A",
    "<b>fan</b>",
    "_fan_",
    "`fan`",
    "# fan",
    "fan\x1b[31m",
    "fan\x9b2J",
    "fan\nvalve",
)


def scores_of(machines: tuple[str, ...]) -> list[ClipScore]:
    return [clip for seed, machine in enumerate(machines) for clip in development_clips(machine, seed)]


@pytest.fixture(scope="module")
def scores() -> list[ClipScore]:
    return scores_of(ODD)


@pytest.fixture(scope="module")
def result(scores: list[ClipScore]) -> EvaluationResult:
    return evaluate(scores)


def printed(table: object) -> str:
    stream = io.StringIO()
    Console(file=stream, width=2000, force_terminal=True, color_system=None).print(table)
    return stream.getvalue()


def no_control(text: str) -> bool:
    return not any(unicodedata.category(char) == "Cc" and char != "\n" for char in text)


def cells(markdown: str) -> list[list[str]]:
    """The text of each row's cells, as a Markdown reader has it."""
    rows: list[list[str]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows:
            assert {child.type for child in token.children or ()} <= {"text", "text_special"}
            rows[-1].append("".join(child.content for child in token.children or ()))
    return rows


@given(st.text(max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_name_is_shown_as_it_is(name: str) -> None:
    plain = printable(name)
    assert no_control(plain)
    plain.encode()
    assert on_terminal(name).plain == plain
    assert printed(on_terminal(name)).removesuffix("\n").replace("\n", "") == plain or " " in plain or "\t" in name


@given(st.text(st.sampled_from("ab|\\`*<>[]&$~_#-x\x1b\n"), min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_name_is_one_cell_of_markdown(name: str) -> None:
    table = "\n".join(markdown_lines(Table("", ("machine", "value"), (Row((name, "1")),))))
    assert cells(table) == [["machine", "value"], [printable(name), "1"]]


def test_metrics_of_odd_names(result: EvaluationResult, tmp_path: Path) -> None:
    write_metrics(result, tmp_path)
    assert read_metrics(tmp_path / "metrics.csv") == [*result.machines, result.overall]
    rows = cells((tmp_path / "metrics.md").read_text())
    assert [row[0] for row in rows[1:]] == [*map(printable, sorted(ODD)), "all"]
    assert {len(row) for row in rows} == {len(rows[0])}


def test_the_terminal_table_of_odd_names(result: EvaluationResult) -> None:
    text = printed(as_terminal(metrics_table(result)))
    assert no_control(text)
    assert all(f" {printable(name)} " in text for name in ODD)


def test_a_machine_named_all_is_not_the_overall_row(tmp_path: Path) -> None:
    finished_run(tmp_path / "run", machines=("all", "fan"))
    rows = read_metrics(tmp_path / "run" / "results" / "metrics.csv")
    assert [(row.machine, row.overall) for row in rows] == [("all", False), ("fan", False), ("all", True)]
    comparison = compare_runs([tmp_path / "run"])
    assert comparison.machines == ("all 00", "fan")
    spread = comparison.systems[0].spread
    assert spread["all 00", "hmean"].mean == rows[0].hmean
    assert spread["all", "hmean"].mean == rows[2].hmean
    assert spread["all", "hmean"].seeds == 1


@pytest.mark.usefixtures("painted")
def test_pictures_of_odd_names(scores: list[ClipScore], tmp_path: Path) -> None:
    plot_scores(scores, tmp_path / "scores.png")
    plot_roc(scores, tmp_path / "roc.png")
    assert matplotlib.image.imread(tmp_path / "scores.png")[..., :3].std() > 0.05


@pytest.mark.usefixtures("painted")
def test_comparison_of_odd_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, system in enumerate(ODD):
        finished_run(tmp_path / str(number), name=system, machines=ODD[:7])
    show_comparison([tmp_path], tmp_path / "out")
    assert no_control(capsys.readouterr().out)
    text = printed(as_terminal(hmean_table(compare_runs([tmp_path]))))
    assert no_control(text)
    assert all(f" {printable(name)} " in text for name in ODD)
    rows = cells((tmp_path / "out" / "comparison.md").read_text())
    assert set(map(printable, ODD)) <= set(rows[0])
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 10_000


def test_report_of_odd_names(tmp_path: Path) -> None:
    names = tuple(name for name in ODD if "/" not in name and name.isprintable())
    finished_run(tmp_path / "run", name="a$\\frac{$b<i>", machines=(*names, "<b>fan<b>"))
    page = write_report([tmp_path / "run"], tmp_path / "report.html", resamples=20).read_text()
    assert "<b>fan" not in page
    assert "&lt;b&gt;fan&lt;b&gt;" in page
    assert "<i>" not in page
    assert "pump[red]old[" in page


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("https://me:secret@host:1/a/b.zip", "https://host:1/a/b.zip"),
        ("cannot read http://me@host: no route", "cannot read http://host: no route"),
        ("tracking_uri: 'https://u:p%40@h/x?token=1&b=2', next", "tracking_uri: 'https://h/x', next"),
        ("https://h/x?token=1#part and https://h/y?z", "https://h/x and https://h/y"),
        ("is https://h/x the right server?", "is https://h/x the right server?"),
        ("a@b.c, data/a?b=c, ssh me@host", "a@b.c, data/a?b=c, ssh me@host"),
        ("sqlite:///runs/a@b.db", "sqlite:///runs/a@b.db"),
        ("root=https:/u:p@host/x: no such folder", "root=https:/host/x: no such folder"),
        ("C:/me@host/x", "C:/me@host/x"),
    ],
)
def test_addresses_lose_what_opens_doors(text, left):
    assert without_credentials(text) == left
    assert str(UserError(text)) == left


def test_a_run_writes_no_credentials_down(tiny_data, tmp_path, monkeypatch, capsys):
    """Whatever it was typed as, and wherever: in the run's own files, Hydra's notes and what loggers are told."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN", "s3cret")
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    overrides = [*tiny_overrides(tiny_data, "statistics", updates=0), "logger=csv", "hydra.run.dir=run"]
    secrets = ["+system_key=${oc.env:TOKEN}", "+system_url='https://me:s3cret@host/x?key=s3cret'"]
    secrets += ["+account.api_key=s3cret", "+account.http={password: s3cret}", "+hydra.job.env_set.API_KEY=s3cret"]
    secrets += ["system='https://me:s3cret@host/x'"]
    assert main(["train", *overrides, *secrets]) == 0
    printed = capsys.readouterr()
    assert "s3cret" not in printed.out + printed.err
    written = [path for path in Path("run").rglob("*") if path.is_file()]
    assert {"config.yaml", "overrides.yaml", "hparams.yaml"} <= {path.name for path in written}
    assert not [path for path in written if b"s3cret" in path.read_bytes()]


def test_names_are_sorted_as_people_count():
    many = "9" * 5000
    names = ["", "1", "-1", "a01", "a1", "A2", "a10", "a10b2", "a10b11", f"a{many}", f"a1{many}", "b", "ü"]
    assert sorted(names, key=natural_order) == names
    # One order of all: names that count alike too.
    assert len({natural_order(name) for name in names}) == len(names)
