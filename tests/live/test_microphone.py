"""A microphone that is unplugged, plugged in, too fast, of another rate; through a false ``sounddevice``."""

import itertools
import sys
import threading
import types

import numpy as np
import pytest

from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.errors import UserError
from asd_lightning.live import microphone
from asd_lightning.live.microphone import MicrophoneInput, SoundDevice
from asd_lightning.live.streams import SamplesLostError

RATE = 1000
HEARD = Preprocessing(sample_rate=RATE, clip_seconds=1.0)


class Recorder:
    """So many seconds, and then the device is gone."""

    def __init__(self, seconds):
        self.left, self.closed = seconds, False

    def read(self, size):
        if not self.left:
            raise OSError("device unplugged")
        self.left -= 1
        return np.full(size // 2, self.left, "<i2").tobytes()

    def close(self):
        self.closed = True


def happened(stretches, count):
    found = itertools.islice((stretch for stretch in stretches if stretch is not None), count)
    return [(stretch.happened, len(stretch.windows), stretch.note) for stretch in found]


def test_a_microphone_that_is_unplugged_is_waited_for():
    recorders = [Recorder(2), None, None, Recorder(1)]
    attempts = iter(recorders)

    def opened(device, rate):
        assert (device, rate) == ("usb", RATE)
        recorder = next(attempts)
        if recorder is None:
            raise OSError("no such device")
        return recorder

    input_ = MicrophoneInput("usb", HEARD, patience=0.0, opened=opened, now=lambda: 5.0)
    assert happened(input_.stretches({}, bool), 5) == [
        (None, 1, ""),
        (None, 1, ""),
        ("input lost", 0, "device unplugged"),
        ("input back", 0, ""),
        (None, 1, ""),
    ]
    assert recorders[0].closed


def test_a_microphone_that_is_not_there_at_the_start_is_waited_for():
    attempts = iter([None, None, Recorder(1)])

    def opened(device, rate):
        recorder = next(attempts)
        if recorder is None:
            raise OSError("no such device")
        return recorder

    input_ = MicrophoneInput(None, HEARD, patience=0.0, opened=opened)
    assert [kind for kind, *_ in happened(input_.stretches({}, bool), 3)] == ["input lost", "input back", None]


def test_requests_are_answered_while_a_microphone_is_away():
    def opened(device, rate):
        raise OSError("no such device")

    stretches = MicrophoneInput(None, HEARD, patience=60.0, opened=opened).stretches({}, bool)
    assert next(stretches).happened == "input lost"
    assert next(stretches) is None


class Overflow:
    def __init__(self, yes):
        self.input_overflow = yes


class FalseSoundDevice(types.ModuleType):
    """What of ``sounddevice`` is used: devices are plugged in by name, and seen when PortAudio begins anew."""

    class PortAudioError(Exception):
        """Not an OSError, as in the real one."""

    def __init__(self):
        super().__init__("sounddevice")
        self.plugged, self.seen, self.rates, self.streams = {"usb"}, set(), {RATE}, []
        outer = self

        class RawInputStream:
            def __init__(self, samplerate, blocksize, device, channels, dtype, callback):
                if device not in outer.seen:
                    raise ValueError(f"No input device matching {device!r}")
                if samplerate not in outer.rates:
                    raise outer.PortAudioError("Invalid sample rate [PaErrorCode -9997]")
                assert (channels, dtype) == (1, "int16")
                self.callback, self.closed = callback, False
                outer.streams.append(self)

            def start(self):
                if not outer.plugged:
                    raise outer.PortAudioError("Device unavailable")

            def close(self):
                self.closed = True
                raise outer.PortAudioError("it is gone")

            def give(self, samples, overflow=False):
                self.callback(samples.astype("<i2").tobytes(), len(samples), None, Overflow(overflow))

        self.RawInputStream = RawInputStream

    def _terminate(self):
        self.seen = set()

    def _initialize(self):
        self.seen = set(self.plugged)


@pytest.fixture
def false_device(monkeypatch):
    device = FalseSoundDevice()
    monkeypatch.setitem(sys.modules, "sounddevice", device)
    monkeypatch.setattr(microphone, "_SILENT", 0.05)
    monkeypatch.setattr(SoundDevice, "_recording", 0)
    return device


def test_sound_waits_for_who_listens(false_device):
    recorder = SoundDevice("usb", RATE)
    for block in np.arange(300).reshape(3, 100):
        false_device.streams[0].give(block)
    content = recorder.read(250) + recorder.read(350)
    np.testing.assert_array_equal(np.frombuffer(content, "<i2"), np.arange(300))


@pytest.mark.parametrize("how", ["by the device", "by a listener that is too slow"])
def test_lost_sound_is_a_seam(false_device, monkeypatch, how, caplog):
    monkeypatch.setattr(microphone, "_WAITING", 0.2)
    recorder = SoundDevice("usb", RATE)
    (stream,) = false_device.streams
    if how == "by the device":
        stream.give(np.zeros(100))
        assert recorder.read(200) == bytes(200)
        stream.give(np.ones(100), overflow=True)
    else:
        for number in range(5):
            stream.give(np.full(100, number))
        assert np.frombuffer(recorder.read(400), "<i2").tolist() == [0] * 100 + [1] * 100
        stream.give(np.ones(100))
    with pytest.raises(SamplesLostError):
        recorder.read(200)
    assert recorder.read(200) == np.ones(100, "<i2").tobytes()
    assert "sound was lost" in caplog.text


def test_a_device_that_falls_silent_is_gone_and_is_found_when_it_is_plugged_in_again(false_device):
    input_ = MicrophoneInput("usb", HEARD, patience=0.0)
    stretches = (stretch for stretch in input_.stretches({}, bool) if stretch is not None)
    lost = next(stretches)
    assert (lost.happened, "the device is gone" in lost.note) == ("input lost", True)
    false_device.plugged.clear()
    threading.Timer(0.1, lambda: false_device.plugged.add("usb")).start()
    start = false_device.RawInputStream.start

    def start_and_give(stream):
        start(stream)
        for block in np.arange(1000).reshape(10, 100):
            stream.give(block)

    false_device.RawInputStream.start = start_and_give
    assert next(stretches).happened == "input back"
    assert len(next(stretches).windows[0]) == RATE
    assert false_device.streams[0].closed


def test_another_rate_or_name_is_told_with_what_to_do(false_device):
    false_device.rates = {48_000}
    with pytest.raises(OSError, match=r"usb does not record at 1000 Hz \(Invalid sample rate.*python -m sounddevice"):
        SoundDevice("usb", RATE)
    with pytest.raises(OSError, match="No input device matching 'old'"):
        SoundDevice("old", RATE)


def test_a_second_microphone_does_not_end_the_first(false_device):
    SoundDevice("usb", RATE)
    false_device.plugged.add("other")
    with pytest.raises(OSError, match="No input device"):
        SoundDevice("other", RATE)
    assert false_device.seen == {"usb"}


def test_without_sounddevice_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(UserError, match="pip install"):
        next(MicrophoneInput(None, HEARD).stretches({}, bool))
