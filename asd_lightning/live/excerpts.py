"""Sound around events, as WAV files of which the oldest go."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from asd_lightning.atomic import write_atomically
from asd_lightning.live.events import Event

_NAME = re.compile(r"[^/]+-\d{8,}\.wav")


class Excerpts:
    """A folder with at most so many bytes of excerpts.

    Args:
        folder: made where there is none.
        largest: sum of the files' sizes, in bytes.
    """

    def __init__(self, folder: Path, largest: int = 200_000_000) -> None:
        self.folder = folder
        self.largest = largest

    @staticmethod
    def name(event: Event) -> str:
        """Of the file with an event's sound: the same whenever the event is found again."""
        return f"{event.id}.wav"

    def keep(self, name: str, waveform: Float32[ndarray, " samples"], sample_rate: int) -> None:
        """Write one excerpt, 16 bit; what is there under its name is replaced by the same sound.

        Raises:
            OSError: it cannot be written.
        """
        from scipy.io import wavfile

        self.folder.mkdir(parents=True, exist_ok=True)
        samples = np.clip(np.round(waveform * 32767.0), -32768, 32767).astype(np.int16)
        with write_atomically(self.folder / name) as file:
            wavfile.write(file, sample_rate, samples)

    def make_room(self) -> None:
        """Remove the oldest until the rest fits; the newest stays whatever its size, and so does what is no excerpt."""
        files = sorted(self._age(path) for path in self.folder.glob("*-*.wav") if _NAME.fullmatch(path.name))
        total = 0
        for number, (_, path, size) in enumerate(reversed(files)):
            total += size
            if number and total > self.largest:
                path.unlink(missing_ok=True)

    @staticmethod
    def _age(path: Path) -> tuple[int, Path, int]:
        """Time, path and size; of one that another input has just removed nothing counts."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return 0, path, 0
        return status.st_mtime_ns, path, status.st_size
