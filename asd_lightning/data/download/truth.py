"""Truth of the evaluation sets: what each anonymous test clip was.

The official list names one machine per heading line, then rows such as
``section_00_0001.wav,section_00_source_test_normal_0001_...``.
Some rows of 2024's RoboticArm lack ``_test_``, and some names lack ``.wav``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from asd_lightning.data.file_names import ParsedName, parse_file_name
from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError

_WITHOUT_SPLIT = re.compile(r"(section_\d+_(?:source|target))_(normal|anomaly)_")


def read_truth(path: Path) -> dict[tuple[str, str], ParsedName]:
    """Map (machine, file name) of an evaluation clip to domain, condition and attributes.

    Raises:
        UserError: the file is not such a list.
    """
    truth: dict[tuple[str, str], ParsedName] = {}
    machine = ""
    with path.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.reader(stream), start=1):
            cells = [cell.strip() for cell in row if cell.strip()]
            if len(cells) == 1:
                machine = cells[0]
            elif len(cells) == 2 and machine:
                truth[machine, cells[0]] = _labels(cells[1], path, number)
            elif cells:
                raise UserError(
                    f"{path}, line {number}: neither a machine nor a pair of names; fetch the truth file again"
                )
    if not truth:
        raise UserError(f"{path} holds no names; fetch the truth file again")
    return truth


def _labels(name: str, path: Path, number: int) -> ParsedName:
    stem = _WITHOUT_SPLIT.sub(r"\1_test_\2_", name.removesuffix(".wav"))
    parsed = parse_file_name(stem)
    if parsed is None or parsed.condition == "unknown":
        raise UserError(f"{path}, line {number}: {name!r} is not a labelled test name; fetch the truth file again")
    return parsed


def find_truth(root: Path) -> Path | None:
    """The truth file that a download left below ``root``, None where there is none."""
    return next(iter(sorted((root / "eval_data").glob("eval_data_list_*.csv"))), None)


def with_truth(clips: Sequence[Clip], truth: Mapping[tuple[str, str], ParsedName]) -> list[Clip]:
    """``clips`` with the labels that ``truth`` has for the unlabelled ones."""
    return [_labelled(clip, truth.get((clip.machine, clip.path.name))) for clip in clips]


def _labelled(clip: Clip, labels: ParsedName | None) -> Clip:
    if labels is None or clip.condition != "unknown" or clip.split != "test":
        return clip
    return replace(clip, domain=labels.domain, condition=labels.condition, attribute=labels.attribute)
