"""The logic of `asd watch` over recordings that are there: what it would have said."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.live.current import CurrentDetector
from asd_lightning.live.inputs import Stretch, heard_in_stretches
from asd_lightning.live.journal import Journal
from asd_lightning.live.listener import Listener, Source, Surroundings
from asd_lightning.live.logic import Options


@dataclass
class Recordings:
    """Recordings in the order in which they are given, as an input.

    Args:
        paths: WAV or FLAC.
        preprocessing: of the detector.
    """

    paths: Sequence[Path]
    preprocessing: Preprocessing

    def stretches(self, place: dict[str, Any], was_heard: Callable[[str], bool]) -> Iterator[Stretch | None]:
        """See `asd_lightning.live.inputs.Input`."""
        for number, path in enumerate(self.paths):
            yield from heard_in_stretches(path, str(path), str(number), self.preprocessing)


def events_of(
    detector: Path, paths: Sequence[Path], machine: str, options: Options | None = None
) -> list[dict[str, Any]]:
    """Events of recordings one after another, as ``asd watch`` writes them.

    Args:
        detector: its file.
        paths: of one machine.
        machine: whose.
        options: of the logic.

    Raises:
        UserError: not a detector, or an unknown machine.
    """
    current = CurrentDetector(detector)
    source = Source(machine, machine, Recordings(paths, current.get().detector.hearing_.preprocessing))
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal"
        Listener(source, Surroundings(current, journal, options or Options())).run(threading.Event())
        kept = Journal(journal)
        rows: list[str] = []
        while page := kept.events(len(rows)):
            rows += [line for _, line in page]
        kept.close()
    return [event for event in map(json.loads, rows) if event["kind"] != "started"]
