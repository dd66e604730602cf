"""Sound around events, as WAV files of which the oldest go."""

from __future__ import annotations

import io
import itertools
import os
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from asd_lightning.atomic import write_atomically


class Excerpts:
    """A folder with at most so many bytes of a journal's excerpts.

    Args:
        folder: made where there is none.
        largest: sum of the files' sizes, in bytes.
    """

    def __init__(self, folder: Path, largest: int = 200_000_000) -> None:
        self.folder = folder
        self.largest = largest

    def keep(self, event_id: str, waveform: Float32[ndarray, " samples"], sample_rate: int) -> str:
        """Write one excerpt, 16 bit; the name of its file.

        The same event found again after a kill has its file already; other sound of that name stays as it is.

        Raises:
            OSError: it cannot be written.
        """
        from scipy.io import wavfile

        self.folder.mkdir(parents=True, exist_ok=True)
        samples = np.clip(np.round(waveform * 32767.0), -32768, 32767).astype(np.int16)
        content = io.BytesIO()
        wavfile.write(content, sample_rate, samples)
        for count in itertools.count(1):
            path = self.folder / (f"{event_id}.wav" if count == 1 else f"{event_id}-{count}.wav")
            if not os.path.lexists(path):
                with write_atomically(path) as file:
                    file.write(content.getvalue())
                break
            if path.is_file() and path.read_bytes() == content.getvalue():
                break
        return path.name

    def make_room(self, journal: str) -> None:
        """Remove the oldest of one journal's until the rest of them fits.

        The newest stays whatever its size, and so does all that is not of this journal.

        Args:
            journal: its mark.
        """
        name = re.compile(rf".+-{re.escape(journal)}-\d{{8,}}(-\d+)?\.wav")
        files = sorted(self._age(path) for path in self.folder.iterdir() if name.fullmatch(path.name))
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
