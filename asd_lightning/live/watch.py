"""Several inputs and several sinks at once, for as long as it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from asd_lightning.live.claim import Claim
from asd_lightning.live.false_alarms import FalseAlarms
from asd_lightning.live.journal import Journal
from asd_lightning.live.listener import Listener, Source, Status, Surroundings, check_name
from asd_lightning.live.sinks import Sink, feed

# In s, for what an input does last, and for a sink that takes nothing more.
_PATIENCE, _LONG_PATIENCE = 10.0, 30.0


class Watch:
    """Hears all inputs, each in a thread, and feeds all sinks, each in a thread.

    Args:
        sources: inputs under different names.
        around: what they share.
        sinks: where events go.

    Raises:
        UserError: a name that no input can have, a machine that the detector does not know, or a journal of other
            inputs, or that another process listens with.
    """

    def __init__(self, sources: Sequence[Source], around: Surroundings, sinks: Sequence[Sink] = ()) -> None:
        for source in sources:
            check_name(source.name)
        self.journal: Path = around.journal
        self.sinks = list(sinks)
        self._claim = Claim(around.journal)
        try:
            self._listeners = {source.name: Listener(source, around) for source in sources}
        except BaseException:
            self._claim.close()
            raise
        self._ended = threading.Event()
        self._stop = threading.Event()
        self._failures: list[BaseException] = []

    def status(self) -> Mapping[str, Status]:
        """Of each input, as it is now."""
        return {name: listener.status for name, listener in self._listeners.items()}

    def found(self) -> Mapping[str, FalseAlarms]:
        """False alarms of the levels that were set for some a day, by input."""
        return {name: one.found for name, one in self._listeners.items() if one.found is not None}

    def waiting(self) -> Mapping[str, int]:
        """Events that a sink has not taken, by sink; those that have taken all are left out."""
        journal = Journal(self.journal)
        counts = {sink.name: journal.left(journal.delivered(sink.name)) for sink in self.sinks}
        journal.close()
        return {name: count for name, count in counts.items() if count}

    def unwritten(self) -> int:
        """Events that the journal has not taken."""
        return sum(one.unwritten for one in self.status().values())

    def stop(self) -> None:
        """Ask for the end; `run` returns when what was heard is told."""
        self._stop.set()

    def run(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Listen until all inputs have ended, `stop` is called or one fails; then give the sinks the rest.

        Args:
            meanwhile: called a few times a second, to show how it goes.

        Raises:
            UserError: an input or a sink that cannot be used at all.
        """
        inputs = [self._thread(listener.run, self._stop) for listener in self._listeners.values()]
        outputs = [self._thread(feed, sink, self.journal, self._ended) for sink in self.sinks]
        try:
            while any(thread.is_alive() for thread in inputs) and not self._failures:
                self._stop.wait(0.2)
                if meanwhile is not None:
                    meanwhile()
        finally:
            self._stop.set()
            for thread in inputs:
                # One may be waiting for a pipe that gives nothing; what it has heard is in the journal.
                thread.join(_PATIENCE)
            self._ended.set()
            self._emptied(outputs)
            self._claim.close()
        if self._failures:
            raise self._failures[0]

    def _emptied(self, outputs: Sequence[threading.Thread]) -> None:
        """Wait while sinks take events; one that is stuck, such as a pipe that nobody reads, is left alone."""
        left, since = self.waiting(), time.monotonic()
        while any(thread.is_alive() for thread in outputs) and time.monotonic() - since < _LONG_PATIENCE:
            for thread in outputs:
                thread.join(0.1)
            now = self.waiting()
            left, since = (now, time.monotonic()) if now != left else (left, since)

    def _thread(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:
                self._failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread
