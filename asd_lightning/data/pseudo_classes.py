"""Classes for training clips without attributes: clusters of their embeddings, of each machine and domain by itself.

The recipes of 2026 train on them where a machine has no released attributes: ``floor(0.008 n)`` clusters of n source
recordings, one of the target domain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import ForeignFileError, read_csv
from asd_lightning.tables import write_csv

PseudoClasses = Mapping[tuple[str, str], str]
"""Machine and file, as scores name them, -> name of the class."""

_COLUMNS = ("machine", "file", "pseudo_class")


def pseudo_classes(
    clips: Sequence[Clip], embeddings: Float[ndarray, "clips dim"], share: float = 0.008, seed: int = 42
) -> PseudoClasses:
    """K-means on the embeddings of normal training clips, of each machine and domain by itself.

    Clips of the test are left out, and so are those with an attribute.  A recording that was cut into windows is the
    mean of them.  The order of the clips has no part in the result.

    Args:
        clips: row for row with ``embeddings``.
        embeddings: of any length.
        share: of a machine's n source recordings, ``floor(share n)`` clusters, at least 1; of the target domain 1.
        seed: of k-means.

    Raises:
        UserError: ``share`` is not above 0 and at most 1.

    >>> clip = Clip(path=Path("a.wav"), machine="fan", name="a.wav", split="train", domain="source", condition="normal")
    >>> pseudo_classes([clip], np.zeros((1, 4)))
    {('fan', 'a.wav'): 'pseudo_source_0'}
    """
    if not 0 < share <= 1:
        raise UserError(f"share={share}: clusters for each source recording, above 0 and at most 1")
    found: dict[tuple[str, str], str] = {}
    for (_, domain), recordings in _groups(clips, embeddings):
        # The sum of floats of a share such as 0.008 may lie a little below a whole number.
        wanted = max(1, math.floor(share * len(recordings) + 1e-9)) if domain == "source" else 1
        points = np.stack([np.mean(rows, axis=0, dtype=np.float64) for rows in recordings.values()])
        numbers = _clusters(points, wanted, seed)
        found |= {key: f"pseudo_{domain}_{number}" for key, number in zip(recordings, numbers, strict=True)}
    return found


def write_pseudo_classes(path: Path, classes: PseudoClasses) -> None:
    """Write a table ``machine,file,pseudo_class``, sorted."""
    write_csv(path, _COLUMNS, [(*key, classes[key]) for key in sorted(classes)])


def read_pseudo_classes(path: Path) -> PseudoClasses:
    """Read what ``write_pseudo_classes`` wrote.

    Raises:
        UserError: no such file, or not such a table.
    """
    advice = "correct data.pseudo_classes, or set it to null: a test has no use for it"
    if not path.is_file():
        raise UserError(f"{path}: no such table of pseudo-classes; {advice}")
    try:
        header, *rows = read_csv(path, encoding="utf-8-sig") or [[]]
    except ForeignFileError as error:
        raise UserError(f"{path}: not readable as CSV ({error.reason}); {advice}") from error
    if tuple(header) != _COLUMNS:
        raise UserError(f"{path}: its first line must be {','.join(_COLUMNS)}; {advice}")
    classes: dict[tuple[str, str], str] = {}
    for number, row in enumerate(rows, start=2):
        if len(row) != len(_COLUMNS) or not all(row):
            raise UserError(f"{path}, row {number}: a machine, a file and its class are needed")
        if classes.setdefault((row[0], row[1]), row[2]) != row[2]:
            raise UserError(f"{path}, row {number}: {row[1]} is said to be of two classes")
    return classes


def _groups(
    clips: Sequence[Clip], embeddings: Float[ndarray, "clips dim"]
) -> Iterator[tuple[tuple[str, str], dict[tuple[str, str], list[ndarray]]]]:
    """(machine, domain), and the embeddings of each of its recordings, in the order of their names."""
    groups: dict[tuple[str, str], dict[tuple[str, str], list[ndarray]]] = {}
    pairs = zip(clips, embeddings, strict=True)
    ordered = sorted(pairs, key=lambda pair: (pair[0].machine, pair[0].file, pair[0].start))
    for clip, embedding in ordered:
        if clip.split == "train" and clip.condition != "anomaly" and not clip.attribute:
            group = groups.setdefault((clip.machine, clip.domain), {})
            group.setdefault((clip.machine, clip.file), []).append(embedding)
    yield from groups.items()


def _clusters(points: Float[ndarray, "n dim"], wanted: int, seed: int) -> list[int]:
    """Number of each point's cluster, counted in the order in which they come."""
    if wanted == 1:
        return [0] * len(points)
    from sklearn.cluster import KMeans

    labels = KMeans(wanted, n_init=10, random_state=seed).fit(points).labels_.tolist()
    order = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return [order[label] for label in labels]
