"""What is given to a detector, a folder, files or waveforms, as pieces that it hears."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from asd_lightning.data.folders import recordings
from asd_lightning.data.layout import Clip
from asd_lightning.data.recordings import clips_of
from asd_lightning.detector.hearing import Hearing, Sound
from asd_lightning.errors import UserError

Recordings = Path | str | Sequence[Path | str] | Sequence[Float32[ndarray, " _"]] | Float32[ndarray, "n samples"]
"""A folder, a file, several files, or waveforms in [-1, 1] at the detector's rate."""


def given(X: Recordings, machine: str) -> tuple[list[Clip], list[Float32[ndarray, " _"]] | None]:  # noqa: N803
    """Recordings as clips of ``machine``, and their waveforms where those were given.

    Raises:
        UserError: nothing there, or something that is no waveform.
    """
    if isinstance(X, Path | str):
        path = Path(X)
        paths = list(recordings(path)) if path.is_dir() else [path]
        if not paths:
            raise UserError(f"{path}: no recordings in it; WAV and FLAC files are read")
        return clips_of(paths, machine), None
    if not len(X):
        return [], None
    if isinstance(X[0], Path | str):
        return clips_of([Path(str(path)) for path in X], machine), None
    waveforms = [_waveform(number, waveform) for number, waveform in enumerate(X)]
    clips = [
        Clip(path=Path(str(n)), machine=machine, name=str(n), split="test", domain="source", condition="unknown")
        for n in range(len(waveforms))
    ]
    return clips, waveforms


def _waveform(number: int, samples: Any) -> Float32[ndarray, " samples"]:
    row = np.asarray(samples)
    if row.dtype.kind != "f":
        raise UserError(f"waveform {number}: samples in [-1, 1] are needed, not {row.dtype}; divide by full scale")
    waveform = np.asarray(row, np.float32)
    if waveform.ndim != 1 or not waveform.size or not np.isfinite(waveform).all():
        raise UserError(f"waveform {number}: a row of finite samples is needed, not shape {waveform.shape}")
    return waveform


def as_heard(clips: Sequence[Clip], waveforms: list[Float32[ndarray, " _"]] | None, hearing: Hearing) -> list[Sound]:
    """What the detector hears of each, in their order."""
    if waveforms is None:
        return hearing.pieces_of(clips)
    return [
        piece
        for clip, waveform in zip(clips, waveforms, strict=True)
        for piece in hearing.pieces_of_waveform(waveform, clip)
    ]
