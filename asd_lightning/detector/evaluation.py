"""How often a detector is right, on recordings of which somebody knows what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from asd_lightning.data.conditions import Condition
from asd_lightning.data.file_names import condition_of
from asd_lightning.data.folders import recordings
from asd_lightning.detector.judging import Judgment
from asd_lightning.errors import UserError


class Share(NamedTuple):
    """``part`` of ``total``, with an interval of 95 % for the share (Wilson), as if recordings were independent."""

    part: int
    total: int
    low: float
    high: float


class Evaluation(NamedTuple):
    """How many of the sorted recordings got which decision.

    ``hits``: faults with a warning or an alarm; ``alarms``: faults with an alarm; ``false_alarms``: normal recordings
    with any decision but normal and not running; ``decisions``: how many of each condition got which.
    """

    hits: Share
    alarms: Share
    false_alarms: Share
    decisions: dict[str, dict[str, int]]


def labeled(folder: Path) -> dict[Path, Condition]:
    """Recordings below a folder of which names or folders tell what they are; of a machine's folder those of ``test``.

    Raises:
        UserError: none of them is labelled.
    """
    place = folder / "test" if (folder / "test").is_dir() else folder
    found = {path: condition_of(path, place) for path in recordings(place)}
    known: dict[Path, Condition] = {path: condition for path, condition in found.items() if condition != "unknown"}
    if not known:
        raise UserError(f"{folder}: no recording whose folder or name says normal or anomaly")
    return known


def evaluate_judgments(judgments: Sequence[Judgment], conditions: Sequence[Condition]) -> Evaluation:
    """Count decisions by condition."""
    counts: dict[str, Counter[str]] = {"normal": Counter(), "anomaly": Counter()}
    for judgment, condition in zip(judgments, conditions, strict=True):
        counts[condition][judgment.decision] += 1
    faults, normal = counts["anomaly"], counts["normal"]
    return Evaluation(
        hits=share(faults["warning"] + faults["alarm"], faults.total()),
        alarms=share(faults["alarm"], faults.total()),
        false_alarms=share(normal.total() - normal["normal"] - normal["not running"], normal.total()),
        decisions={condition: dict(own) for condition, own in counts.items()},
    )


def share(count: int, total: int) -> Share:
    """A share with its interval; of nothing it is anywhere.

    >>> share(0, 0)
    Share(part=0, total=0, low=0.0, high=1.0)
    """
    if not total:
        return Share(0, 0, 0.0, 1.0)
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(method="wilson")
    return Share(count, total, float(interval.low), float(interval.high))
