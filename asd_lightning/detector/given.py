"""What is given to a detector, a folder, files or waveforms, as pieces that it hears."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from asd_lightning.data.audio import BadAudioError, read_header
from asd_lightning.data.file_names import condition_of
from asd_lightning.data.folders import recordings
from asd_lightning.data.layout import Clip
from asd_lightning.data.other_formats import warn_of_other_formats
from asd_lightning.data.recordings import clips_of
from asd_lightning.detector.hearing import Hearing, Sound
from asd_lightning.errors import UserError

logger = logging.getLogger(__name__)

Recordings = Path | str | Sequence[Path | str] | Sequence[Float32[ndarray, " _"]] | Float32[ndarray, "n samples"]
"""A folder, a file, several files, or waveforms in [-1, 1] at the detector's rate."""


def given(X: Recordings, machine: str) -> tuple[list[Clip], list[Float32[ndarray, " _"]] | None]:  # noqa: N803
    """Recordings as clips of ``machine``, and their waveforms where those were given.

    Raises:
        UserError: nothing there, or something that is no waveform.
    """
    if isinstance(X, Path | str):
        path = Path(X)
        warn_of_other_formats([path])
        paths = list(recordings(path, closed_too=True)) if path.is_dir() else [path]
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


def called_normal(paths: Sequence[Path], folder: Path, insist: str) -> list[Path]:
    """Recordings below a folder but those that a folder, this one too, or their name calls anomalies.

    Args:
        paths: below ``folder``.
        folder: as it was given.
        insist: what to do where they are normal, in words.

    Raises:
        UserError: all are called so.
    """
    whole = folder.absolute().parent
    normal = [path for path in paths if condition_of(path.absolute(), whole) != "anomaly"]
    if left := len(paths) - len(normal):
        told = f"{folder}: {left} of {len(paths)} recordings are called anomalies by folder or name"
        if not normal:
            raise UserError(f"{told}; if they are normal, {insist}")
        logger.warning("%s and left out; if they are normal, %s", told, insist)
    return normal


def normal_given(X: Path | str | Sequence[Path | str]) -> Path | list[Path]:  # noqa: N803
    """Recordings that somebody calls normal: of a folder those not called anomalies, and files as they are given.

    Raises:
        UserError: a folder in which all are called anomalies.
    """
    if isinstance(X, Path | str) and Path(X).is_dir():
        found = list(recordings(Path(X)))
        return called_normal(found, Path(X), "give the files themselves") if found else Path(X)
    files = [Path(X)] if isinstance(X, Path | str) else [Path(path) for path in X]
    warn_of_anomalies(files, Path.cwd())
    return files


def warn_of_anomalies(files: Sequence[Path], below: Path) -> None:
    """Say which of the recordings that somebody gives as normal, one by one, are called anomalies: they are taken.

    Args:
        files: as they were given.
        below: where those begin that do not say it.
    """
    if called := [path for path in files if is_called_anomaly(path, below)]:
        logger.warning(
            "%s: %d of %d recordings are called anomalies by folder or name, and taken as normal all the same",
            *(called[0], len(called), len(files)),
        )


def is_called_anomaly(path: Path, below: Path) -> bool:
    """Whether a recording's name, or the folder that it lies in, calls it an anomaly.

    >>> [is_called_anomaly(Path(name), Path("/")) for name in ("anomaly/0.wav", "fault_2.wav", "anomaly/day/0.wav")]
    [True, True, False]
    """
    place = below / path
    return condition_of(place, place.parent.parent) == "anomaly"


def warn_of_unheard_channels(clips: Sequence[Clip], channel: int | str) -> None:
    """Say that of recordings with several channels one alone is heard; nothing where ``channel`` is made of several."""
    if not isinstance(channel, int):
        return
    paths = dict.fromkeys(clip.path for clip in clips)
    several = [path for path in paths if _channels(path) > 1]
    if several:
        logger.warning(
            "%d of %d recordings have several channels, such as %s, and channel %d alone is heard, now and later; "
            "to hear another, save it as recordings of one channel",
            *(len(several), len(paths), several[0], channel),
        )


def _channels(path: Path) -> int:
    """Of a recording; 0 of one that cannot be read, which decoding it will say."""
    try:
        return read_header(path).channels
    except BadAudioError:
        return 0


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
