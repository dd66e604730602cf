"""Whether a written graph scores as its detector does: the same sound through both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from asd_lightning.errors import UserError
from asd_lightning.exporting.graph import INPUT, OUTPUT

Exact = Callable[[Float32[ndarray, "n samples"]], Float[ndarray, " n"]]
"""The detector's scores of windows."""

BATCHES = (1, 5, 32)
"""Windows at a time that every export is tried with."""
LARGEST = 1e-5
"""Difference that is allowed, in deviations of the scores that normal sound has."""
_ROUNDINGS, _MOST = 10.0, 1e-2
_LAST_BIT = 2.0**-24
# Fainter than the last bit of 16.
_NEARLY_SILENT = np.float32(1e-5)


def difference(
    graph: Path | bytes, exact: Exact, windows: Float32[ndarray, "n samples"], normal: Float[ndarray, " clips"]
) -> float:
    """The largest difference between a graph's and its detector's scores.

    It is in units of the standard deviation of normal sound's scores; of a score that lies farther from their median
    than that, in units of how far it lies.  Float32 rounds in both, each in its own order.  So ``LARGEST`` is allowed,
    or, where the detector itself is less certain than that, ten times what its scores change by with the last bits of
    the samples, but never more than a hundredth.

    Args:
        graph: an ONNX file, or its content.
        exact: the detector's scores.
        windows: what both hear, as many as the largest of `BATCHES`.
        normal: scores of normal sound.

    Raises:
        UserError: the graph cannot score so many windows, or scores them otherwise.
    """
    wanted = exact(windows)
    unit = np.maximum(spread_of(normal), np.abs(wanted - np.median(normal)))
    session = opened(graph)
    found = [_apart(_scored(session, windows[-count:]), wanted[-count:], unit[-count:]) for count in BATCHES]
    # Of nan, which any may be, nan.
    largest = float(np.max(found))
    if largest <= LARGEST:
        return largest
    allowed = min(_ROUNDINGS * _apart(exact(_last_bits_changed(windows)), wanted, unit), _MOST)
    # Not true of nan, by either side.
    if largest <= allowed:
        return largest
    raise UserError(
        f"the graph's scores differ from the detector's by {largest:.2g} of the spread of normal sound's scores, and "
        f"{max(LARGEST, allowed):.1g} is allowed: nothing is written"
    )


def spread_of(normal: Float[ndarray, " clips"]) -> float:
    """Standard deviation of normal sound's scores; 1 where they are all the same."""
    return float(normal.std()) or 1.0


def trial_windows(kept: Sequence[Float32[ndarray, " _"]], samples: int) -> Float32[ndarray, "n samples"]:
    """As many windows as the largest of `BATCHES`: silence, nearly silence, made sound, and kept normal sound between.

    Args:
        kept: normal sound, for every second window; there may be none.
        samples: of a window.
    """
    windows = made_windows(max(BATCHES), samples)
    windows[0] = 0
    windows[2] *= _NEARLY_SILENT
    louder = np.random.default_rng(2).uniform(0.9, 1.1, len(windows)).astype(np.float32)
    for row, waveform in zip(range(1, len(windows), 2), cycle(kept), strict=False):
        windows[row] = louder[row] * np.resize(waveform, samples)
    return windows


def opened(graph: Path | bytes, threads: int = 1) -> Any:
    """A session of onnxruntime on the processor, of an ONNX file or its content."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    given = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def made_windows(count: int, samples: int, seed: int = 0) -> Float32[ndarray, "count samples"]:
    """Noise of several levels with harmonics of several pitches, no two windows alike; the same for the same seed.

    >>> made_windows(2, 16_000).shape, float(np.abs(made_windows(8, 16_000)).max()) < 1
    ((2, 16000), True)
    """
    draw = np.random.default_rng(seed)
    step = np.arange(samples)
    windows = []
    for _ in range(count):
        pitch, slope = draw.uniform(0.005, 0.05), draw.uniform(0.5, 2)
        tones = sum(np.sin(2 * np.pi * pitch * k * step + draw.uniform(0, 6)) / k**slope for k in range(1, 9))
        loud, noisy = draw.uniform(0.01, 0.08), 10 ** draw.uniform(-3, -1.3)
        windows.append(loud * tones + noisy * draw.normal(size=samples))
    return np.array(windows, np.float32)


def _scored(session: Any, windows: Float32[ndarray, "n samples"]) -> Float[ndarray, " n"]:
    try:
        (scores,) = session.run([OUTPUT], {INPUT: windows})
    except Exception as error:
        told = " ".join(str(error).split())
        raise UserError(f"the graph cannot score {len(windows)} windows at a time ({told:.200})") from error
    if scores.shape != (len(windows),):
        raise UserError(f"the graph gives scores of shape {scores.shape} for {len(windows)} windows")
    return np.asarray(scores)


def _apart(found: Float[ndarray, " n"], wanted: Float[ndarray, " n"], unit: Float[ndarray, " n"]) -> float:
    """The largest difference; what neither has a score of does not count, what one has none of makes it nan."""
    scored = ~(np.isnan(found) & np.isnan(wanted))
    return float((np.abs(found - wanted) / unit)[scored].max(initial=0.0))


def _last_bits_changed(windows: Float32[ndarray, "n samples"]) -> Float32[ndarray, "n samples"]:
    signs = np.random.default_rng(1).choice([-1.0, 1.0], windows.shape)
    return (windows * (1 + _LAST_BIT * signs)).astype(np.float32)
