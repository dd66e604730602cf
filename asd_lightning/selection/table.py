"""The table of a selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from asd_lightning.comparison.made_of import refuse_other, relative, write_made_of
from asd_lightning.selection.choice import BOUND, Judged, Selection
from asd_lightning.selection.pseudo_outliers import KINDS
from asd_lightning.tables import Row, Table, percent, write_csv, write_tables

COLUMNS = ("candidate", "pseudo_auc", *(kind.replace("-", "_") for kind in KINDS), "bound", "domain_balance", "vetoed")
# What was chosen from in the tables beside it.
_MADE_OF = "selection_of.json"
_EXPLANATION = (
    "Per cent, means over machines, from normal training clips alone. Pseudo-AUC of stand-ins for anomalies (all kinds "
    "together, then each), and the bound of shuffled features: higher is better. Domain balance: lower is better; "
    "(veto): of the worst tenth by pseudo-AUC."
)
_ALONE = (
    "One machine of one condition: the bound of shuffled features is all there is, and it is about as weak as the "
    "variance of the scores."
)


def selection_table(selection: Selection) -> Table:
    """A row for each candidate in the order given; the default is named, what is chosen stands out."""
    heading = ("candidate", "pseudo-AUC", *KINDS, "bound", "domain balance")
    rows = tuple(
        Row(_cells(one, selection), "emphasis" if one.name == selection.chosen else "plain") for one in selection.judged
    )
    notes = (f"By {selection.criterion}: {selection.reason}.", _EXPLANATION)
    return Table("Candidates", heading, rows, (*notes, _ALONE) if selection.criterion == BOUND else notes)


def refuse_other_selection(out: Path, runs: Sequence[Path], chosen: Mapping[str, object]) -> None:
    """Raise ``UserError`` where ``out`` holds a selection among others; the very same is written over.

    Args:
        out: folder for the tables.
        runs: whose embeddings are the candidates.
        chosen: poolings and score.
    """
    refuse_other(out / "selection.csv", _MADE_OF, _told(out, runs, chosen), "a selection of other choices")


def _told(out: Path, runs: Sequence[Path], chosen: Mapping[str, object]) -> dict[str, object]:
    return {"runs": relative(runs, out), **chosen}


def write_selection(selection: Selection, out: Path, runs: Sequence[Path], chosen: Mapping[str, object]) -> list[str]:
    """Write ``selection.csv`` (exact fractions), ``.md`` and ``.tex``; returns their names.

    For the arguments, and what is refused, see ``refuse_other_selection``.
    """
    refuse_other_selection(out, runs, chosen)
    write_made_of(out / _MADE_OF, _told(out, runs, chosen))
    rows = [
        (one.name, one.pseudo_auc, *one.by_kind.values(), one.bound, one.domain_balance, int(one.vetoed))
        for one in selection.judged
    ]
    write_csv(out / "selection.csv", COLUMNS, rows)
    write_tables(out / "selection", selection_table(selection))
    return ["selection.csv", "selection.md", "selection.tex"]


def _cells(one: Judged, selection: Selection) -> tuple[str, ...]:
    name = f"{one.name} (default)" if one.name == selection.default else one.name
    balance = f"{percent(one.domain_balance)}{' (veto)' if one.vetoed else ''}"
    return (name, percent(one.pseudo_auc), *map(percent, one.by_kind.values()), percent(one.bound), balance)
