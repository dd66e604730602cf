"""Files of fitted machines, with odd values and arrays in the places of good ones: each scores, or is refused.

Damaged bytes of such files are in `fuzz.foreign`; here the file is whole, and what it says does not belong together.
"""

from __future__ import annotations

import json
import random
import tempfile
import warnings
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from asd_lightning.errors import UserError
from asd_lightning.scoring.centers import KMeansScorer
from asd_lightning.scoring.combined import CombinedScorer
from asd_lightning.scoring.compressed import CompressedScorer
from asd_lightning.scoring.domains import DacoScorer, DomainScorer
from asd_lightning.scoring.fitted import FittedMachine, read_fitted, write_fitted
from asd_lightning.scoring.gaussian import GaussianMixtureScorer, MahalanobisScorer
from asd_lightning.scoring.grid import GridScorer
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.mixup import MemMixup
from asd_lightning.scoring.union import LedoitWolfScorer, ResidualScorer

Arrays = dict[str, NDArray[Any]]
SCORERS = (
    *(KNNScorer, KMeansScorer, MahalanobisScorer, GaussianMixtureScorer, LedoitWolfScorer, ResidualScorer),
    partial(GridScorer, "beam", 2, alpha=0.5, whiten=True),
    partial(GridScorer, "euclidean", mixup=MemMixup()),
    partial(DomainScorer, GridScorer),
    partial(DacoScorer, GridScorer),
    partial(CompressedScorer, KNNScorer, 8),
    partial(CombinedScorer, {"one": KNNScorer, "two": partial(DomainScorer, GridScorer)}),
)
_DIM = 4
_ODD = (None, True, 0, -1, 10**12, -(2**70), 0.5, 1e300, float("nan"), "", "x", "cosine", [], {}, [1], {"a": 1})
_TYPES = (np.float32, np.int64, np.bool_, np.uint8)
_FACTORS = (np.nan, np.inf, 1e300, -1.0, 0.0)


def write_good(folder: Path) -> list[Path]:
    """A file of each kind of back-end."""
    draw = np.random.default_rng(0)
    embeddings, is_target = draw.normal(size=(24, _DIM)), np.arange(24) >= 18
    paths = []
    for number, make in enumerate(SCORERS):
        paths.append(folder / f"{number}.safetensors")
        machine = FittedMachine(make().fit(embeddings, is_target), 0.5, "", np.arange(24.0))
        write_fitted(paths[-1], {("fan", "00"): machine}, {"model": "m"})
    return paths


def read_and_score(path: Path) -> None:
    """Raises UserError where the file is refused."""
    for machine in read_fitted(path)[0].values():
        scores = machine.anomaly_score(np.ones((2, _DIM)))
        if scores.shape != (2,):
            raise AssertionError(f"scores of shape {scores.shape}")
        machine.decision(float(scores[0]))


def make(number: int) -> bytes:
    """A good file with one or two changes."""
    draw = random.Random(number)
    header, arrays = _good()[draw.randrange(len(SCORERS))]
    header, arrays = json.loads(header), dict(arrays)
    for _ in range(draw.choice((1, 1, 2))):
        if draw.random() < 0.5:
            change_array(arrays, draw)
        else:
            _change_header(header, draw)
    content = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return bytes(save(content, {"fitted": json.dumps(header)}))


def check(data: bytes) -> None:
    """Read the file and score with it.

    Raises:
        Exception: anything else than an error for users, in one line.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder, "fitted.safetensors")
        path.write_bytes(data)
        try:
            read_and_score(path)
        except UserError as error:
            if len(str(error).splitlines()) != 1 or len(str(error)) > 2_000:
                raise AssertionError(f"{error!s:.300}") from None


@cache
def _good() -> list[tuple[str, Arrays]]:
    with tempfile.TemporaryDirectory() as folder:
        return [_content(path) for path in write_good(Path(folder))]


def _content(path: Path) -> tuple[str, Arrays]:
    with safe_open(str(path), "numpy") as file:
        return file.metadata()["fitted"], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def change_array(arrays: Arrays, draw: random.Random) -> None:
    if not arrays:
        return
    name = draw.choice(sorted(arrays))
    array = arrays.pop(name)
    changes = (
        lambda: array[..., None],
        lambda: array.reshape(-1),
        lambda: array.reshape(-1)[:0],
        lambda: array.astype(draw.choice(_TYPES)),
        lambda: array * draw.choice(_FACTORS),
        lambda: array[:-1] if array.ndim else array,
        lambda: None,
    )
    with np.errstate(all="ignore"):
        changed = draw.choice(changes)()
    if changed is not None:
        arrays[name] = changed


def _change_header(header: dict[str, Any], draw: random.Random) -> None:
    rows = header.get("machines")
    row = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
    options = row.get("options")
    node = draw.choice([node for node in (header, row, options) if isinstance(node, dict) and node] or [{"": ""}])
    name = draw.choice(sorted(node))
    if draw.random() < 0.2:
        del node[name]
    else:
        node[name] = draw.choice(_ODD)
