"""Sound that is there once: raw samples, as a pipe gives them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.live.inputs import Stretch


@runtime_checkable
class Readable(Protocol):
    """What a binary file and a recorder have in common."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end.

        Raises:
            SamplesLostError: what comes next does not follow what came before.
        """
        ...


class SamplesLostError(Exception):
    """Sound went by that nobody heard."""


@dataclass
class StreamInput:
    """Raw samples from a pipe, 16 bit, one channel, at the detector's rate.

    What was not heard before a restart is not there any more.

    Args:
        stream: binary.
        preprocessing: of the detector; its ``hop_seconds`` says how windows overlap.
        windows: of one stretch; 1 hears each window as soon as it is there.
        now: seconds since 1970.
    """

    stream: Readable
    preprocessing: Preprocessing
    windows: int = 1
    now: Callable[[], float] = time.time

    def stretches(self, place: dict[str, Any], was_heard: Callable[[str], bool]) -> Iterator[Stretch | None]:
        """See `Input`."""
        rate, length = self.preprocessing.sample_rate, self.preprocessing.samples
        step = round((self.preprocessing.hop_seconds or self.preprocessing.clip_seconds) * rate)
        heard, samples, odd = 0, np.empty(0, np.float32), b""
        while True:
            try:
                content = self.stream.read(2 * step * self.windows)
            except SamplesLostError:
                # No window has a seam in it.
                heard, samples, odd = heard + len(samples), np.empty(0, np.float32), b""
                continue
            if not content:
                break
            content = odd + content
            whole = len(content) // 2 * 2
            content, odd = content[:whole], content[whole:]
            samples = np.concatenate([samples, np.frombuffer(content, "<i2").astype(np.float32) * np.float32(2**-15)])
            count = (len(samples) - length) // step + 1 if len(samples) >= length else 0
            if count:
                starts = [step * number for number in range(count)]
                yield Stretch(
                    windows=[samples[start : start + length] for start in starts],
                    offsets=[(heard + start) / rate for start in starts],
                    seconds=step * count / rate,
                    place={},
                    time=self.now() - len(samples) / rate,
                )
                heard, samples = heard + step * count, samples[step * count :]
        if len(samples) >= length / 2:
            # What the stream ended with; less is not worth a judgment.
            seconds = len(samples) / rate
            yield Stretch([samples[:length]], [heard / rate], seconds, {}, time=self.now() - seconds)
