"""Detectors with odd values and arrays in the places of good ones, under the right digests: each judges, or is refused.

Damaged bytes never come further than the digests; here the file is what it says, and what it says is wrong.
"""

from __future__ import annotations

import json
import random
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from asd_lightning.detector.detector import Detector
from asd_lightning.detector.file import Arrays, DetectorFile, write_detector
from asd_lightning.errors import UserError
from fuzz.fitted import change_array

_SAMPLES = 4_000
_ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 3, 10**12, -(2**70), 0.5, -1e9, 1e300, float("nan"), "", "x", "../x", "nan", "1e999"),
    *([], {}, [1], ["x"], {"a": 1}, {"kind": "os.system"}, {"kind": "KNNScorer"}, {"kind": "SpectrumCNN"}),
)


def make(number: int) -> bytes:
    """A good file with one or two changes."""
    draw = random.Random(number)
    header, parts = _good()
    header, parts = json.loads(json.dumps(header)), {part: dict(arrays) for part, arrays in parts.items()}
    machine = parts["machine/0"]
    record = json.loads(machine["record"].tobytes())
    for _ in range(draw.choice((1, 1, 2))):
        kind = draw.random()
        if kind < 0.3:
            change_array(machine, draw)
        elif kind < 0.6:
            _change(header, draw)
        else:
            _change(record, draw)
    if "record" in machine and machine["record"].dtype == np.uint8 and draw.random() < 0.98:
        machine["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.asd")
        write_detector(path, header, parts)
        return path.read_bytes()


def check(data: bytes) -> None:
    """Read the detector and judge with it.

    Raises:
        Exception: anything else than an error for users, in one line.
    """
    waveform = np.random.default_rng(1).normal(scale=0.1, size=_SAMPLES).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder, "x.asd")
        path.write_bytes(data)
        try:
            detector = Detector.load(path)
            for name in detector.machines_:
                detector.judge([waveform], name)
                detector.sounds_of(name)
                detector.machines_[name].sentence()
            detector.save(path)
        except UserError as error:
            if len(str(error).splitlines()) != 1 or len(str(error)) > 2_000:
                raise AssertionError(f"{error!s:.300}") from None


@cache
def _good() -> tuple[dict[str, Any], dict[str, Arrays]]:
    draw = np.random.default_rng(0)
    normal = draw.normal(scale=0.1, size=(8, _SAMPLES)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        file = DetectorFile(Detector(clip_seconds=0.25, sounds=1).fit(normal).save(Path(folder, "x.asd")))
        told = ("content_hash", "digests", "package", "format")
        header = {name: value for name, value in file.header.items() if name not in told}
        return header, {part: file.part(part) for part in file.header["digests"]}


def _change(node: Any, draw: random.Random) -> None:
    """An odd value at any depth."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = draw.choice(keys)
        inner = node[key]
        if isinstance(inner, dict | list) and inner and draw.random() < 0.75:
            node = inner
            continue
        if isinstance(node, dict) and draw.random() < 0.2:
            del node[key]
        else:
            node[key] = draw.choice(_ODD)
        return
