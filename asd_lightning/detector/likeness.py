"""Whether clips beside one another by name are alike, as pieces that were cut from one recording are."""

from __future__ import annotations

import re
from pathlib import PurePath

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from asd_lightning.data.file_names import parse_file_name
from asd_lightning.detector.bank import Bank, spread_over

_RAREST = 1e-3
"""Probability below which chance is ruled out: one machine in a thousand is warned of for nothing."""
_BEYOND_CHANCE = 0.2
"""Share of clips by which neighbors must exceed chance: a slight drift over days leaves the promise nearly whole."""
_PROBES = 1000
_ROWS = 256


def alike_by_name(name: str, bank: Bank, version: int) -> str:
    """What to say where many clips are most alike the one before or after them by name; "" where chance would do it.

    Looked at are the files that came with one change and that no table names a recording of.  In the challenge's names
    clips of one section, domain and attribute are compared, since those are neighbors by name anyway.  Each pair of a
    clip and its nearest other is a trial, once also where each is the other's nearest; in an order that tells nothing
    it is a pair of neighbors with probability 2 / n among n clips.  The test is binomial.

    Args:
        name: of the machine.
        bank: its items.
        version: of the change.
    """
    from scipy.special import bdtrc

    files, embeddings = _of_files(bank, version)
    groups: dict[object, list[int]] = {}
    for row, file in enumerate(files):
        groups.setdefault(_kind(file), []).append(row)
    pairs: dict[tuple[int, int], tuple[bool, float]] = {}
    clips, beside, expected = 0, 0, 0.0
    for rows in groups.values():
        order = sorted(rows, key=lambda row: _in_order(files[row]))
        if len(order) < 3:
            continue
        for place, other in _nearest(embeddings[order]):
            found, chance = abs(place - other) == 1, 2 / len(order)
            pairs[order[min(place, other)], order[max(place, other)]] = found, chance
            clips, beside, expected = clips + 1, beside + found, expected + chance
    if not pairs or beside < expected + _BEYOND_CHANCE * clips:
        return ""
    together = sum(found for found, _ in pairs.values())
    mean = float(np.mean([chance for _, chance in pairs.values()]))
    if bdtrc(together - 1, len(pairs), mean) >= _RAREST:
        return ""
    return (
        f"{name}: {beside} of {clips} clips are most alike the clip before or after them by name (by chance it would "
        f"be {expected:.0f}); if these are cut from one recording, they count as one: the promised rate of false "
        "alarms is not kept otherwise. Name the recordings: --recordings TABLE.csv (docs/own-machine.md)"
    )


def _of_files(bank: Bank, version: int) -> tuple[list[str], Float[ndarray, "n dim"]]:
    """Files without a named recording, and the mean embedding of each one's pieces in the bank's deviations."""
    rows: dict[str, list[int]] = {}
    for row, item in enumerate(bank.items):
        if item.version == version and item.recording == item.file:
            rows.setdefault(item.file, []).append(row)
    means = [bank.embeddings[own].astype(np.float64).mean(axis=0) for own in rows.values()]
    if len(means) < 3:
        return [], np.empty((0, bank.embeddings.shape[1]))
    return list(rows), np.stack(means) / spread_over(np.stack(means))


def _nearest(embeddings: Float[ndarray, "n dim"]) -> list[tuple[int, int]]:
    """Place of each row, or of a thousand spread evenly, and of its nearest other by Euclidean distance."""
    count = len(embeddings)
    probes: Int[ndarray, " probes"] = np.unique(np.linspace(0, count - 1, min(count, _PROBES)).astype(int))
    squares = np.square(embeddings).sum(axis=1)
    found: list[tuple[int, int]] = []
    for start in range(0, len(probes), _ROWS):
        own = probes[start : start + _ROWS]
        # A row's own square is the same for all others.
        distances = squares - 2 * (embeddings[own] @ embeddings.T)
        distances[np.arange(len(own)), own] = np.inf
        found += zip(own.tolist(), distances.argmin(axis=1).tolist(), strict=True)
    return found


def _kind(file: str) -> object:
    told = parse_file_name(PurePath(file).stem)
    return None if told is None else (told.section, told.domain, told.attribute)


def _in_order(file: str) -> list[tuple[str, int]]:
    """Numbers count as such: ``clip_10`` comes after ``clip_9``."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D*)(\d*)", file)]
