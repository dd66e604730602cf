"""What lies where in a run's folder, and the results of its tests.

    runs/NAME/
        config.yaml              the configuration, resolved
        checkpoints/last.ckpt    weights, optimizer, classes, and what was trained on
        pseudo_classes.csv       classes of clips without attributes, where data.pseudo_classes gave some
        train.log                what was said
        failure.txt              why it failed, where it has
        results/                 of the test after the training
        results_2/, ...          of further tests
        .hydra/                  what Hydra notes: overrides and the configuration before it is resolved

Results of a test may also lie in a folder of their own (``asd test RUN -o DIR``).  Whoever reads results takes any of
these: a run, which stands for its ``results``, or the folder of one test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asd_lightning.errors import UserError
from asd_lightning.foreign_files import ForeignFileError, load_json

CHECKPOINT = "checkpoints/last.ckpt"
CONFIG = "config.yaml"
PSEUDO_CLASSES = "pseudo_classes.csv"
FAILURE = "failure.txt"
"""The reason in the first line, then the traceback of an unexpected error."""
LOCK = ".lock"
# Hydra calls it after the module that starts it.
LOG = "train.log"
HYDRA = ".hydra"
UNRESOLVED = f"{HYDRA}/config.yaml"
CHOICES = f"{HYDRA}/hydra.yaml"
_RESULTS = "results"


@dataclass(frozen=True)
class ResultSet:
    """The files of one test."""

    folder: Path

    @property
    def scores(self) -> Path:
        """A row for each clip or recording."""
        return self.folder / "scores.csv"

    @property
    def windows(self) -> Path:
        """A row for each window of recordings that were cut; absent where none was."""
        return self.folder / "windows.csv"

    @property
    def metrics(self) -> Path:
        """Metrics by machine and over all, written after all else that is read: they mark a finished test."""
        return self.folder / "metrics.csv"

    @property
    def summary(self) -> Path:
        """Settings and headline figures of the test, a JSON object."""
        return self.folder / "summary.json"

    def read_summary(self) -> dict[str, Any]:
        """What the test says of itself.

        Raises:
            UserError: it is missing, or no JSON object.
        """
        try:
            content = load_json(self.summary)
        except ForeignFileError as error:
            raise UserError(f"{error}; a finished test writes it") from None
        if not isinstance(content, dict):
            raise UserError(f"{self.summary}: expected a JSON object")
        return content

    def refuse_fusion(self, remedy: str) -> None:
        """Raise ``UserError`` where these are no results of a test but of several, fused: there are no embeddings.

        Args:
            remedy: what to do instead.
        """
        fusion = self.read_summary().get("fusion") if self.summary.is_file() else None
        if fusion is not None:
            raise UserError(f"{self.folder}: a fusion of runs, which has no embeddings; {remedy}")

    @property
    def config(self) -> Path:
        """The configuration of the test; absent in tests of older versions."""
        return self.folder / CONFIG

    @property
    def packages(self) -> Path:
        """Exact versions of all packages, as ``pip install -r`` takes them."""
        return self.folder / "packages.txt"

    @property
    def embeddings(self) -> Path:
        """Embeddings of the training and test clips, with their ids."""
        return self.folder / "embeddings.npz"

    def features(self, pooling: str) -> Path:
        """One pooling of the same clips' tokens, where a test was asked to store it."""
        return self.folder / "features" / f"{pooling}.npz"

    @property
    def fitted(self) -> Path:
        """Back-end and threshold of each machine."""
        return self.folder / "fitted.safetensors"

    @property
    def challenge(self) -> Path:
        """A folder of score files as the challenge takes them."""
        return self.folder / "challenge"

    @property
    def score_plot(self) -> Path:
        """Histograms of the scores."""
        return self.folder / "scores.png"

    @property
    def roc_plot(self) -> Path:
        """ROC curves."""
        return self.folder / "roc.png"

    @property
    def finished(self) -> bool:
        """Whether the test wrote its metrics and its summary."""
        return self.metrics.is_file() and self.summary.is_file()

    @property
    def run(self) -> Path | None:
        """The run's folder that it lies in; ``None`` for a folder of its own."""
        parent = self.folder.absolute().parent
        return parent if is_run(parent) else None

    @property
    def config_of_run(self) -> Path | None:
        """The configuration that the results were made with, as far as it is known."""
        if self.config.is_file():
            return self.config
        # Older versions kept it for the first test alone.
        run = self.run
        return run / CONFIG if run and self.folder.name == _RESULTS and (run / CONFIG).is_file() else None


def unfinished_training(summary: Mapping[str, Any]) -> str:
    """How far the training had come, as in "301 of 9000 updates"; "" where it had ended, or nothing is known of it.

    Args:
        summary: of the results; of a fusion, what it says of each of its parts counts.
    """
    fusion = summary.get("fusion")
    parts = fusion.get("parts") if isinstance(fusion, dict) else None
    if isinstance(parts, list):
        told = ((part.get("system"), unfinished_training(part)) for part in parts if isinstance(part, dict))
        return "; ".join(f"{system}: {updates}" for system, updates in told if updates)
    made, planned = summary.get("updates"), summary.get("updates_planned")
    if not isinstance(made, int) or not isinstance(planned, int) or made >= planned:
        return ""
    return f"{made} of {planned} updates"


def is_training(run: Path) -> bool:
    """Whether a process of this or another machine trains in the run's folder now, as far as its lock can be tried."""
    from filelock import FileLock, Timeout

    place = run / LOCK
    if not place.is_file() or place.is_symlink():
        return False
    try:
        with FileLock(place, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # somebody else's folder, where nothing can be locked
        return False


def is_run(folder: Path) -> bool:
    """Whether it is the folder of a run: finished, failed or going on."""
    return (folder / HYDRA).is_dir() or ((folder / CONFIG).is_file() and not is_result_set(folder))


def no_run(folder: Path) -> UserError:
    """What to say of a folder that is not a run's; where runs lie below it, one of them is named."""
    below = (path.parent for pattern in ("*", "*/*") for path in sorted(folder.glob(f"{pattern}/{CONFIG}")))
    found = next((path for path in below if is_run(path)), None)
    meant = f"runs lie below it: give one, such as {found}" if found else "give one of asd train"
    return UserError(f"{folder}: not the folder of a run, {CONFIG} is missing; {meant}")


def is_result_set(folder: Path) -> bool:
    """Whether it is the folder of one test."""
    return (folder / "summary.json").is_file() or (folder / "scores.csv").is_file()


def results_of(run: Path) -> ResultSet:
    """The results of the test after the training, which stand for the run; they need not exist."""
    return ResultSet(run / _RESULTS)


def result_sets(run: Path) -> Iterator[ResultSet]:
    """``results``, ``results_2``, ... as far as they are there."""
    folders = [folder for folder in run.glob(f"{_RESULTS}*") if is_result_set(folder) and _number(folder.name)]
    return (ResultSet(folder) for folder in sorted(folders, key=lambda folder: _number(folder.name)))


def find_results(place: Path) -> ResultSet:
    """The results at a place that a person has named: those of a run, or of one test.

    Raises:
        UserError: no such folder, or one that holds no results.
    """
    if not place.is_dir():
        raise UserError(f"{place}: no such folder; give the folder of a run, or of one of its tests (RUN/results_2)")
    if is_result_set(place) and not (place / HYDRA).is_dir():
        return ResultSet(place)
    if is_run(place):
        return results_of(place)
    raise UserError(f"{place}: neither a run nor the results of a test; give RUN, RUN/results_2 or what --output named")


def claim_results(run: Path, first: int = 1) -> ResultSet:
    """A new folder for a test of ``run``, made at once: two tests at a time do not share one.

    Args:
        run: its folder.
        first: 1 where the test may stand for the run, 2 where ``results`` is kept for another.
    """
    number = first
    while True:
        folder = run / (_RESULTS if number == 1 else f"{_RESULTS}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be made ({error.strerror}); give another folder with --output"
            ) from error
        return ResultSet(folder)


def refuse_filled(folder: Path) -> None:
    """Raise ``UserError`` where a folder for new results holds files."""
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: holds files already; give a new folder with --output")


def new_results(folder: Path) -> ResultSet:
    """A folder for results, made for whoever asks first; one that is there and empty may have been made for them.

    Raises:
        UserError: it cannot be made.
    """
    try:
        if folder.is_dir():
            folder.rmdir()
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); give another folder with --output") from error
    return ResultSet(folder)


def _number(name: str) -> int:
    """1 for ``results``, n for ``results_n``, 0 for any other name."""
    rest = name.removeprefix(_RESULTS)
    if not rest:
        return 1
    return int(rest[1:]) if rest.startswith("_") and rest[1:].isdecimal() else 0
