"""Excerpts of the bank's sound, for people to listen to: FLAC files within the detector's."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from asd_lightning.atomic import write_atomically
from asd_lightning.detector.file import Arrays
from asd_lightning.detector.hearing import Hearing, Sound
from asd_lightning.errors import UserError
from asd_lightning.plain_text import is_name


def excerpts(kept: Sequence[Sound], hearing: Hearing, at_most: int) -> Arrays:
    """Pieces spread evenly over the bank, by the number of their item.

    Args:
        kept: the pieces of the bank, in its order.
        hearing: of the detector.
        at_most: how many; 0 keeps none.
    """
    if at_most < 1:
        return {}
    rows = np.unique(np.linspace(0, len(kept) - 1, min(at_most, len(kept))).round().astype(int))
    length = hearing.preprocessing.samples
    return {str(row): as_flac(hearing.waveform(kept[row])[:length], hearing.preprocessing.sample_rate) for row in rows}


def as_flac(waveform: ndarray, sample_rate: int) -> ndarray:
    """A waveform in [-1, 1] as a FLAC file of 16 bits, in bytes."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(waveform, -1, 1), sample_rate, format="FLAC", subtype="PCM_16")
    return np.frombuffer(buffer.getvalue(), np.uint8)


def excerpt_waveform(content: bytes, hearing: Hearing) -> Float32[ndarray, " samples"] | None:
    """An excerpt's waveform; ``None`` where the file holds no such thing, or far more than an excerpt."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            fits = file.channels == 1 and file.samplerate == hearing.preprocessing.sample_rate
            if not fits or not 0 < file.frames <= hearing.preprocessing.samples:
                return None
            waveform: Float32[ndarray, " samples"] = file.read(dtype="float32")
    except (soundfile.LibsndfileError, RuntimeError):
        return None
    return waveform if len(waveform) and np.isfinite(waveform).all() else None


def write_excerpts(sounds: Mapping[str, Arrays], folder: Path) -> list[Path]:
    """Write excerpts as FLAC files, named by machine and number of the item; returns their paths.

    Args:
        sounds: machine -> its excerpts.
        folder: made where there is none.

    Raises:
        UserError: a name that no file can have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, own in sounds.items():
        for number, content in own.items():
            if not is_name(name) or not number.isdecimal():
                raise UserError(f"{name!r:.60}/{number!r:.20}: no name for a file")
            path = folder / f"{name}_{number}.flac"
            with write_atomically(path) as file:
                file.write(content.tobytes())
            written.append(path)
    return written
