"""Sound that is there once: raw samples from a pipe, and a microphone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.errors import UserError
from asd_lightning.live.inputs import Stretch


@runtime_checkable
class Readable(Protocol):
    """What a binary file and a recorder have in common."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        ...


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
        heard, samples = 0, np.empty(0, np.float32)
        while content := self.stream.read(2 * step * self.windows):
            fresh = np.frombuffer(content[: len(content) // 2 * 2], "<i2").astype(np.float32) * np.float32(2**-15)
            samples = np.concatenate([samples, fresh])
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


@dataclass
class MicrophoneInput:
    """A microphone of this computer; one that is unplugged is waited for.

    Args:
        device: name or number, as ``python -m sounddevice`` lists them; ``None`` for the default.
        preprocessing: of the detector; its ``hop_seconds`` says how windows overlap.
        patience: between attempts to open it, in s.
        open_stream: for another way of recording.
        now: seconds since 1970.
    """

    device: str | int | None
    preprocessing: Preprocessing
    patience: float = 5.0
    open_stream: Callable[[str | int | None, int, int], Any] | None = None
    now: Callable[[], float] = time.time

    def stretches(self, place: dict[str, Any], was_heard: Callable[[str], bool]) -> Iterator[Stretch | None]:
        """See `Input`."""
        lost = False
        while True:
            try:
                for stretch in StreamInput(self._reader(), self.preprocessing, now=self.now).stretches(
                    place, was_heard
                ):
                    if lost:
                        yield Stretch([], [], 0.0, {}, time=self.now(), happened="input back")
                        lost = False
                    yield stretch
                why = "the device gave no more sound"
            except (OSError, RuntimeError) as error:
                why = str(error)
            if not lost:
                yield Stretch([], [], 0.0, {}, time=self.now(), happened="input lost", note=why)
                lost = True
            time.sleep(self.patience)

    def _reader(self) -> Readable:
        opened = (self.open_stream or _sounddevice)(
            self.device, self.preprocessing.sample_rate, self.preprocessing.samples
        )
        return _Samples(opened)


class _Samples:
    """``read`` of a recorder as that of a binary file."""

    def __init__(self, recorder: Any) -> None:
        self._recorder = recorder

    def read(self, size: int) -> bytes:
        samples, _ = self._recorder.read(size // 2)
        return bytes(samples)


def _sounddevice(device: str | int | None, rate: int, samples: int) -> Any:
    try:
        import sounddevice  # type: ignore[import-untyped]
    except (ImportError, OSError) as error:
        raise UserError(
            f"a microphone needs sounddevice and PortAudio ({error}): pip install asd_lightning[live]"
        ) from error
    recorder = sounddevice.RawInputStream(samplerate=rate, channels=1, dtype="int16", device=device)
    recorder.start()
    return recorder
