"""Published results beside what is measured here, for those who have the recordings and the weights.

Nothing is trained: BEATs (iter 3) as it is.  Of 2025 the preset ``rdp2603``; of 2026 ``beats_frozen`` with BEAM and
VarMin, on the near microphone and with the far one cancelled clip by clip.  Each is one run over all machines of its
year, scored over those of the development and of the evaluation set; a run that is there already is taken as it is.

    asd download dcase2025 && asd download dcase2026 && asd weights fetch beats_iter3
    python benchmarks/published.py

What is absent stays empty in the table, and is said below it.  Where something was measured the table is written to
``published.md`` beside this file.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from folders import REPOSITORY

from asd_lightning import train
from asd_lightning.atomic import write_text_atomically
from asd_lightning.download.years import YEARS
from asd_lightning.encoders.weights.store import stored_path
from asd_lightning.errors import UserError
from asd_lightning.evaluation.metrics import evaluate
from asd_lightning.run_folder import results_of
from asd_lightning.scoring.clip_scores import ClipScore, read_scores
from asd_lightning.tables import Row, Table, as_markdown

WEIGHTS = "beats_iter3"
_BEAM = ("experiment=beats_frozen", "model/scorer=beam_varmin")


class System(NamedTuple):
    """A published result, official scores in per cent as its authors report them, and how to repeat it."""

    year: int
    name: str
    overrides: tuple[str, ...]
    development: float
    evaluation: float


SYSTEMS = (
    System(2025, "rdp2603", ("experiment=rdp2603",), 64.0, 62.4),
    System(2026, "beats_frozen, BEAM, VarMin", _BEAM, 61.32, 62.84),
    System(2026, "the same, reduced_per_clip", (*_BEAM, "data.channel=reduced_per_clip"), 67.48, 66.83),
)


class Measured(NamedTuple):
    """Official scores in per cent, nan where there is none, and why."""

    development: float
    evaluation: float
    absent: str


def absent(system: System, root: Path, needs_weights: bool) -> str:
    """What is lacking for a run; "" where nothing is."""
    if not root.is_dir():
        return f"{root} is not there (asd download dcase{system.year})"
    if needs_weights and not stored_path(WEIGHTS).is_file():
        return f"the weights {WEIGHTS} are not there (asd weights fetch {WEIGHTS})"
    return ""


def measure(system: System, root: Path, folder: Path, changes: Sequence[str] = ()) -> Measured:
    """Run the system over a year's machines, or read the results that are in ``folder``; score each set.

    Args:
        system: to run.
        root: of the year's machines.
        folder: of the run.
        changes: further overrides.
    """
    none = math.nan, math.nan
    # Encoders that are chosen by hand need no published weights.
    needs_weights = not any(change.startswith("encoders=") for change in changes)
    results = results_of(folder)
    if not results.finished:
        if lacking := absent(system, root, needs_weights):
            return Measured(*none, lacking)
        try:
            results = train(*system.overrides, f"data.root={root}", f"hydra.run.dir={folder}", *changes)
        except UserError as error:
            return Measured(*none, str(error))
    scores, year = read_scores(results.scores), YEARS[system.year]
    sets = {"development": year.dev_machines, "evaluation": year.eval_machines}
    found, reasons = [], []
    for name, machines in sets.items():
        score, reason = official(scores, machines)
        found.append(score)
        reasons += [f"{name}: {reason}"] if reason else []
    return Measured(*found, "; ".join(reasons))


def official(scores: Sequence[ClipScore], machines: Sequence[str]) -> tuple[float, str]:
    """Over exactly these machines, in per cent; nan and a reason where one of them has no numbers."""
    own = [score for score in scores if score.machine in machines]
    if not own:
        return math.nan, "no recordings of these machines"
    result = evaluate(own)
    lacking = [name for name in machines if name not in {one.machine for one in result.machines}]
    if lacking:
        return math.nan, f"no recordings or no truth of {', '.join(lacking)}"
    return 100 * result.official_score, ""


def table(found: Sequence[tuple[System, Measured]]) -> Table:
    heading = ("year", "system", "dev reported", "dev here", "eval reported", "eval here")
    rows = [
        Row(
            (
                *(str(system.year), system.name),
                *(f"{system.development:.2f}", cell(measured.development)),
                *(f"{system.evaluation:.2f}", cell(measured.evaluation)),
            )
        )
        for system, measured in found
    ]
    notes = [f"{system.year} {system.name}: {measured.absent}." for system, measured in found if measured.absent]
    about = "Official scores in per cent, over all machines of a set; reported as their authors do, here as measured."
    return Table("Published results, repeated", heading, tuple(rows), (about, *notes), words=2)


def cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for year in sorted({system.year for system in SYSTEMS}):
        place = REPOSITORY / "data" / f"dcase{year}"
        parser.add_argument(f"--data-{year}", type=Path, default=place, help=f"default {place}")
    parser.add_argument("--runs", type=Path, default=REPOSITORY / "runs" / "published", help="where the runs are")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="further overrides, such as trainer=ddp")
    arguments = parser.parse_args()
    found = []
    for number, system in enumerate(SYSTEMS):
        root = getattr(arguments, f"data_{system.year}")
        found.append((system, measure(system, root, arguments.runs / str(number), arguments.changes)))
    page = as_markdown(table(found))
    print(page)
    if any(cell(value) for _, measured in found for value in measured[:2]):
        page += "\nMeasured with `python benchmarks/published.py`.\n"
        write_text_atomically(REPOSITORY / "benchmarks" / "published.md", page)


if __name__ == "__main__":
    main()
