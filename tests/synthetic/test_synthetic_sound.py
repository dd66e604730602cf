"""Synthetic sound: every part against a direct computation, every fault against what it does to a real machine."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.signal

from asd_lightning.synthetic import PRESETS, Clip, Machine, MachineClass, Physics, render_clip
from asd_lightning.synthetic.clips import clips_of
from asd_lightning.synthetic.faults import FAULTS, HEALTHY, faulty
from asd_lightning.synthetic.presets import PHYSICS
from asd_lightning.synthetic.sources import ringing, shaft_sound, structure

RATE = 16000

# A machine recorded with hardly any background.
QUIET = Physics(
    25.0, teeth=16, mesh=0.8, flow=0.05, snr_db=(60.0, 60.0), nuisance=(0.0, 0.0, 0.0, 0.0), severity=(1.0, 1.0)
)
HERTZ = 25.0


def recording(fault: str | None, physics: Physics = QUIET) -> np.ndarray:
    """Eight seconds at 25 Hz without load."""
    idle = (("load", "0"), ("spd", "1"))
    classes = (MachineClass("source", idle, 1), MachineClass("source", (("load", "9"), ("spd", "2")), 1))
    machine = Machine("rig", physics, 8.0, classes)
    return render_clip(machine, Clip("rig", "test", "source", 0, idle, fault))


def line_level(waveform: np.ndarray, hertz: float, width: float = 1.0) -> float:
    """Power within ``hertz`` +- ``width``."""
    frequency, power = scipy.signal.periodogram(waveform, RATE, "hann", scaling="spectrum")
    return float(power[np.abs(frequency - hertz) <= width].sum())


class TestPhysics:
    def test_shaft_turns_at_the_stated_speed(self) -> None:
        frequency, power = scipy.signal.periodogram(recording(None), RATE, "hann")
        low = (frequency > 15) & (frequency < 35)
        assert frequency[low][np.argmax(power[low])] == pytest.approx(HERTZ, abs=0.15)

    def test_belt_slip_slows_the_shaft(self) -> None:
        frequency, power = scipy.signal.periodogram(recording("belt_slip"), RATE, "hann")
        low = (frequency > 15) & (frequency < 35)
        expected = HERTZ * (1.0 - FAULTS["belt_slip"].drag)
        assert frequency[low][np.argmax(power[low])] == pytest.approx(expected, abs=0.3)

    def test_imbalance_raises_the_first_harmonic(self) -> None:
        first = line_level(recording("imbalance"), HERTZ) / line_level(recording(None), HERTZ)
        assert first > 2.0
        tenth = line_level(recording("imbalance"), 10 * HERTZ, 5.0) / line_level(recording(None), 10 * HERTZ, 5.0)
        assert tenth == pytest.approx(1.0, abs=0.4)

    def test_looseness_adds_lines_at_half_orders(self) -> None:
        assert line_level(recording("looseness"), 1.5 * HERTZ) > 100 * line_level(recording(None), 1.5 * HERTZ)

    def test_misalignment_and_tooth_fill_the_sidebands_of_the_mesh(self) -> None:
        beside = 18 * HERTZ
        for fault in ("misalignment", "tooth"):
            slower = 1.0 - FAULTS[fault].drag
            healthy = line_level(recording(None), beside, 2.0) / line_level(recording(None), 16 * HERTZ, 2.0)
            damaged = line_level(recording(fault), beside * slower, 2.0) / line_level(
                recording(fault), 16 * HERTZ * slower, 2.0
            )
            assert damaged > 2.0 * healthy, fault

    def test_a_damaged_bearing_strikes_at_the_ball_pass_frequency(self) -> None:
        rate = QUIET.bearing_order * HERTZ * (1.0 - FAULTS["bearing"].drag)
        band = scipy.signal.butter(4, (2000, 5500), "bandpass", fs=RATE, output="sos")

        def envelope_line(fault: str | None) -> float:
            envelope = np.abs(scipy.signal.hilbert(scipy.signal.sosfiltfilt(band, recording(fault))))
            return line_level(envelope - envelope.mean(), rate, 1.0) / float(np.var(envelope))

        assert envelope_line("bearing") > 0.1
        assert envelope_line(None) < 0.02

    def test_a_leak_hisses_at_high_frequencies(self) -> None:
        def share(fault: str | None) -> float:
            frequency, power = scipy.signal.welch(recording(fault), RATE, nperseg=1024)
            return float(power[frequency > 4000].sum() / power.sum())

        assert share("leak") > 5.0 * share(None)

    def test_sticking_strokes_come_late_or_not_at_all(self) -> None:
        physics = replace(QUIET, shaft_hz=3.0, teeth=0, harmonics=2, strokes=4, stroke=20.0, slip=0.0)
        strikes = {}
        for fault in (None, "sticking"):
            high = scipy.signal.butter(4, 1000, "highpass", fs=RATE, output="sos")
            envelope = np.abs(scipy.signal.hilbert(scipy.signal.sosfiltfilt(high, recording(fault, physics))))
            strikes[fault] = scipy.signal.find_peaks(envelope, height=0.3 * envelope.max(), distance=400)[0]
        assert len(strikes[None]) == pytest.approx(4 * 3.0 * 8, abs=2)
        assert len(strikes["sticking"]) < len(strikes[None]) - 4

    def test_clogging_surges(self) -> None:
        def swing(fault: str | None) -> float:
            power = np.square(recording(fault)).reshape(-1, 640).mean(axis=1)
            return float(power.std() / power.mean())

        assert swing("clogging") > 3.0 * swing(None)

    def test_background_keeps_the_stated_ratio(self) -> None:
        plain = replace(QUIET, harmonics=1, teeth=0, flow=0.0, resonances=())
        sounds = {}
        for snr in (300.0, 20.0, 0.0):
            sounds[snr] = recording(None, replace(plain, snr_db=(snr, snr)))
        machine = np.mean(sounds[300.0] ** 2)
        near, far = (np.mean((sounds[snr] - sounds[300.0]) ** 2) for snr in (0.0, 20.0))
        assert 10 * np.log10(near / far) == pytest.approx(20.0, abs=1e-6)
        # The microphone's fixed response colours machine and background by up to 3 dB each; line levels vary by 1 dB.
        assert 10 * np.log10(machine / near) == pytest.approx(0.0, abs=7.0)

    def test_severity_scales_every_departure(self) -> None:
        assert faulty(None, 1.0) is HEALTHY
        assert faulty("tooth", 0.0) == HEALTHY
        assert faulty("tooth", 1.0) == FAULTS["tooth"]
        assert faulty("clogging", 0.5).drag == pytest.approx(-0.01)

    def test_every_machine_names_known_faults_and_stays_within_full_scale(self) -> None:
        for name, physics in PHYSICS.items():
            assert set(physics.faults) <= FAULTS.keys()
            machine = next(m for m in PRESETS["full"].machines if m.name == name)
            waveform = render_clip(machine, clips_of(machine, 50)[-1])
            assert len(waveform) == machine.seconds * RATE
            assert 0.003 < waveform.std() < 0.3
            assert np.mean(np.abs(waveform) >= 1.0) < 1e-4


class TestParts:
    def test_shaft_sound_is_the_sum_of_its_orders(self) -> None:
        turns = 20.3 * np.arange(4000) / RATE
        amplitudes = np.array([0.1, 1.0, 0.5, 0.0, 0.3])
        phases = np.array([0.0, 0.1, 0.7, 0.2, 0.9])
        terms = (
            a * np.cos(2 * np.pi * (k * turns + p)) for k, (a, p) in enumerate(zip(amplitudes, phases, strict=True))
        )
        np.testing.assert_allclose(shaft_sound(turns, amplitudes, phases), sum(terms) + 0.0, atol=1e-3)

    def test_ringing_is_a_decaying_sine_per_impact(self) -> None:
        seconds = np.arange(2000) / RATE
        made = ringing(2000, np.array([0.01, 0.05]), np.array([1.0, 0.5]), 2000.0, 0.004)

        def stroke(start: float) -> np.ndarray:
            late = seconds - start + 1 / RATE
            return np.where(late > 0, np.exp(-late / 0.004) * np.sin(2 * np.pi * 2000.0 * late), 0.0)

        np.testing.assert_allclose(made, stroke(0.01) + 0.5 * stroke(0.05), atol=1e-9)

    def test_structure_is_a_second_order_resonance(self) -> None:
        frequency = np.arange(0.0, 8000.0, 31.25)
        omega, quality, gain = 2 * np.pi * 1000.0, 8.0, 1.5
        _, direct = scipy.signal.freqs(
            [gain / quality * omega**2], [1.0, omega / quality, omega**2], 2 * np.pi * frequency
        )
        np.testing.assert_allclose(structure(frequency, [(1000.0, quality, gain)]), 1.0 + direct, atol=1e-6)
