"""What a test reached under each operating condition: a row for each attribute of each section."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asd_lightning.evaluation.areas import auc
from asd_lightning.scoring.clip_scores import ClipScore, machine_name
from asd_lightning.tables import Row, Table, percent, write_csv, write_tables


class AttributeResult(NamedTuple):
    """The test clips of one attribute; fractions, nan where there is nothing to count.

    ``auc``: its normal clips against all anomalies of the section, as the official AUC of a domain does it.
    ``false_alarms`` and ``misses``: shares of its normal and of its anomalous clips.
    """

    machine: str
    section: str
    domain: str
    attribute: str
    normal: int
    anomalous: int
    auc: float
    false_alarms: float
    misses: float


def attribute_results(scores: Sequence[ClipScore]) -> list[AttributeResult]:
    """Rows of the sections that have several attributes and clips of known condition, in the order of their names."""
    known = [score for score in scores if score.condition != "unknown"]
    groups: dict[tuple[str, str, str, str], list[ClipScore]] = {}
    for score in known:
        groups.setdefault((score.machine, score.section, score.domain, score.attribute), []).append(score)
    sections = [key[:2] for key in groups]
    anomalies = {
        section: [s for s in known if s[:2] == section and s.condition == "anomaly"] for section in {*sections}
    }
    return [_result(key, groups[key], anomalies[key[:2]]) for key in sorted(groups) if sections.count(key[:2]) > 1]


def attribute_table(results: Sequence[AttributeResult]) -> Table:
    """The rows in per cent."""
    rows = [
        Row(
            (
                machine_name(row.machine, row.section), row.domain, row.attribute, str(row.normal), str(row.anomalous),
                *map(percent, row[6:]),
            )
        )
        for row in results
    ]  # fmt: skip
    heading = ("machine", "domain", "attribute", "normal", "anomalous", "AUC", "false alarms", "misses")
    return Table("Results by attribute", heading, tuple(rows), (_LEGEND,), words=3)


_LEGEND = "Per cent. AUC: the attribute's normal clips against all anomalies of the section."


def write_attributes(scores: Sequence[ClipScore], directory: Path) -> None:
    """Write ``attributes.csv`` (fractions), ``.md`` and ``.tex`` (per cent), where a section has several attributes."""
    results = attribute_results(scores)
    if results:
        write_csv(directory / "attributes.csv", AttributeResult._fields, results)
        write_tables(directory / "attributes", attribute_table(results))


def _result(
    key: tuple[str, str, str, str], clips: Sequence[ClipScore], anomalies: Sequence[ClipScore]
) -> AttributeResult:
    normal = [clip for clip in clips if clip.condition == "normal"]
    anomalous = [clip for clip in clips if clip.condition == "anomaly"]
    return AttributeResult(
        *key, len(normal), len(anomalous), _auc(normal, anomalies), _share(normal, 1), _share(anomalous, 0)
    )


def _auc(normal: Sequence[ClipScore], anomalies: Sequence[ClipScore]) -> float:
    if not normal or not anomalies:
        return math.nan
    is_anomaly = np.repeat([False, True], [len(normal), len(anomalies)])
    return auc(is_anomaly, np.array([clip.anomaly_score for clip in (*normal, *anomalies)], dtype=np.float64))


def _share(clips: Sequence[ClipScore], decision: int) -> float:
    decided = [clip for clip in clips if clip.decision is not None]
    return sum(clip.decision == decision for clip in decided) / len(decided) if decided else math.nan
