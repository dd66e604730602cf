"""A microphone of this computer, which may be unplugged, plugged in again, and too fast for who listens."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.errors import UserError
from asd_lightning.live.inputs import Stretch
from asd_lightning.live.streams import SamplesLostError, StreamInput

log = logging.getLogger(__name__)

# A device that gives nothing for so long, in s, is gone: not all systems say so.
_SILENT = 5.0
# Sound that waits while something else takes its time, such as a detector that is read anew; in s.
_WAITING = 300.0
_BLOCK = 0.1


@runtime_checkable
class Recorder(Protocol):
    """A device that records, 16 bit, one channel."""

    def read(self, size: int, /) -> bytes:
        """See `asd_lightning.live.streams.Readable`.

        Raises:
            OSError: the device is gone.
        """
        ...

    def close(self) -> None:
        """Give the device back."""
        ...


@dataclass
class MicrophoneInput:
    """A microphone of this computer; one that is unplugged, or not there yet, is waited for.

    Args:
        device: name or number, as ``python -m sounddevice`` lists them; ``None`` for the default.
        preprocessing: of the detector; its ``hop_seconds`` says how windows overlap.
        patience: between attempts to open it, in s.
        opened: device and rate in Hz -> a recorder; raises OSError where there is none.
        now: seconds since 1970.
    """

    device: str | int | None
    preprocessing: Preprocessing
    patience: float = 5.0
    opened: Callable[[str | int | None, int], Recorder] | None = None
    now: Callable[[], float] = time.time

    def stretches(self, place: dict[str, Any], was_heard: Callable[[str], bool]) -> Iterator[Stretch | None]:
        """See `asd_lightning.live.inputs.Input`."""
        lost = False
        while True:
            try:
                for stretch in self._recorded():
                    if lost:
                        yield Stretch([], [], 0.0, {}, time=self.now(), happened="input back")
                        lost = False
                    yield stretch
                why = "the device gave no more sound"
            except OSError as error:
                why = str(error)
            if not lost:
                yield Stretch([], [], 0.0, {}, time=self.now(), happened="input lost", note=why)
                lost = True
            # Others are looked after meanwhile: who acknowledges is answered.
            until = time.monotonic() + self.patience
            while time.monotonic() < until:
                yield None

    def _recorded(self) -> Iterator[Stretch]:
        recorder = (self.opened or SoundDevice)(self.device, self.preprocessing.sample_rate)
        try:
            for stretch in StreamInput(recorder, self.preprocessing, now=self.now).stretches({}, bool):
                if stretch is not None:
                    yield stretch
        finally:
            recorder.close()


class SoundDevice:
    """A recorder of ``sounddevice``; its sound is taken as it comes and waits here for who listens.

    Args:
        device: name or number; ``None`` for the default.
        rate: in Hz.

    Raises:
        OSError: no such device, or not at this rate.
        UserError: sounddevice or PortAudio is missing.
    """

    # PortAudio sees what was plugged in when it begins anew, and that ends all that records.
    _recording = 0
    _lock = threading.Lock()

    def __init__(self, device: str | int | None, rate: int) -> None:
        self._device, self._rest, self._lost = device, b"", threading.Event()
        self._blocks: queue.Queue[bytes] = queue.Queue(round(_WAITING / _BLOCK))
        sounddevice = _sounddevice()
        with self._lock:
            try:
                if not SoundDevice._recording:
                    sounddevice._terminate()
                    sounddevice._initialize()
                self._stream = sounddevice.RawInputStream(
                    samplerate=rate, blocksize=round(_BLOCK * rate), device=device, channels=1, dtype="int16",
                    callback=self._take,
                )  # fmt: skip
                try:
                    self._stream.start()
                except sounddevice.PortAudioError:
                    self._stream.close()
                    raise
            # It raises its own errors, and ValueError for a name that no device has.
            except (sounddevice.PortAudioError, ValueError) as error:
                raise OSError(
                    f"{device or 'the default microphone'} does not record at {rate} Hz ({error}); python -m "
                    "sounddevice lists devices"
                ) from error
            SoundDevice._recording += 1

    def read(self, size: int) -> bytes:
        """See `Recorder`."""
        while len(self._rest) < size:
            try:
                block = self._blocks.get(timeout=_SILENT)
            except queue.Empty:
                raise OSError(f"no sound for {_SILENT:g} s: the device is gone") from None
            if not block:
                self._rest = b""
                log.warning("%s: sound was lost, since it came faster than it was heard", self._device or "microphone")
                raise SamplesLostError
            self._rest += block
        content, self._rest = self._rest[:size], self._rest[size:]
        return content

    def close(self) -> None:
        """See `Recorder`."""
        sounddevice = _sounddevice()
        with self._lock:
            SoundDevice._recording -= 1
            try:
                self._stream.close()
            except sounddevice.PortAudioError as error:
                # Of a device that is gone.
                log.debug("closing %s: %s", self._device, error)

    def _take(self, samples: Any, frames: int, when: Any, status: Any) -> None:
        """In PortAudio's thread, which must not wait; an empty block says that some are missing."""
        if status.input_overflow:
            self._lost.set()
        try:
            if self._lost.is_set():
                self._blocks.put_nowait(b"")
                self._lost.clear()
            self._blocks.put_nowait(bytes(samples))
        except queue.Full:
            self._lost.set()


def _sounddevice() -> Any:
    try:
        import sounddevice  # type: ignore[import-untyped]
    except (ImportError, OSError) as error:
        raise UserError(
            f"a microphone needs sounddevice and PortAudio ({error}): pip install 'asd_lightning[live]', and on Debian "
            "apt install libportaudio2"
        ) from error
    return sounddevice
