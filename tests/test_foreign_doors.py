"""A run that somebody else has sent, with an attack in one of its files, through every command that takes runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asd_lightning import load_run
from asd_lightning.cli import main
from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.errors import UserError
from asd_lightning.evaluation.intervals import bootstrap_intervals
from asd_lightning.experiment.run_embeddings import embeddings_of_run
from asd_lightning.experiment.stored_features import stored_sources
from asd_lightning.pages import runs
from tests.scoring.runs import make_run
from tests.test_foreign_files import BILLION_LAUGHS


def _as_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


ATTACKS: dict[str, Callable[[Path], object]] = {
    "aliases": lambda path: path.write_text(BILLION_LAUGHS),
    "depth": lambda path: path.write_text("[" * 300_000),
    "list": lambda path: path.write_text("[1, [2]]"),
    "text": lambda path: path.write_text("data"),
    "null": lambda path: path.write_text("null"),
    "tag": lambda path: path.write_text("!!python/object/apply:os.system [touch ran]"),
    "date": lambda path: path.write_text("seed: 2025-99-99\ndata: {root: 2025-99-99}\n"),
    "bytes": lambda path: path.write_bytes(bytes(range(256)) * 100),
    "commas": lambda path: path.write_text("," * 3_000_000),
    "rows": lambda path: path.write_text("\n" * 2_000_000),
    "huge": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
    "pipe": _as_pipe,
    "interpolation": lambda path: path.write_text("seed: ${oc.env:HOME}\ndata: {root: '${oc.env:HOME}'}\nmodel: {}\n"),
}
FILES = (
    "config.yaml",
    ".hydra/config.yaml",
    "results/summary.json",
    "results/metrics.csv",
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    make_run(folder / "run", folder / "data")
    return folder / "run"


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "bootstrap_intervals", lambda scores, _: bootstrap_intervals(scores, 2))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("file", FILES)
def test_no_door_hangs_or_ends_in_a_traceback(
    file: str, attack: str, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(good, run)
    ATTACKS[attack](run / file)
    commands = (
        ["report", str(run), "--out", str(tmp_path / "r.html")],
        ["compare", str(run), "--out", str(tmp_path / "out")],
        ["score-sweep", str(run), "scorer=knn", "--out", str(tmp_path / "sweep")],
        ["submit", str(run), "--label", "Li_XJU_task2_1", "--out", str(tmp_path / "submission")],
    )
    for command in commands:
        start = time.process_time()
        assert main(command) in (0, 1, 2)
        assert time.process_time() - start < 10, command
        for line in capsys.readouterr().err.splitlines():
            assert len(line) < 2_000
    assert not Path("ran").exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_test_of_the_run(attack: str, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(good, run)
    ATTACKS[attack](run / "config.yaml")
    start = time.process_time()
    assert main(["test", f"run={run}"]) == 2
    assert time.process_time() - start < 10
    assert len(capsys.readouterr().err.splitlines()) < 10


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("file", ["recordings.csv", "fan/attributes_00.csv", "ground_truth.csv"])
def test_tables_beside_recordings(file: str, attack: str, good: Path, tmp_path: Path) -> None:
    """The check of a data folder, and what a training reads of it."""
    data = tmp_path / "data"
    shutil.copytree(good.parent / "data", data)
    ATTACKS[attack](data / file)
    start = time.process_time()
    assert main(["data", "check", str(data)]) in (0, 1, 2)
    with contextlib.suppress(UserError):
        ClipDataModule(data, recordings=str(data / file), cache_dir=tmp_path / "cache").recordings()
    assert time.process_time() - start < 10


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(
    "file",
    ["results/fitted.safetensors", "checkpoints/last.ckpt", "results/embeddings.npz", "results/features/mean.npz"],
)
def test_the_python_functions(file: str, attack: str, good: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(good, run)
    (run / file).unlink(missing_ok=True)
    (run / file).parent.mkdir(exist_ok=True)
    ATTACKS[attack](run / file)
    start = time.process_time()
    for door in (load_run, embeddings_of_run, lambda run: list(stored_sources(run, ["mean"])[1])):
        with contextlib.suppress(UserError):
            door(run)
    assert time.process_time() - start < 10
