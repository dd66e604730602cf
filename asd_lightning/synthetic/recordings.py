"""One recording: the machine in its operating state for as long as it is recorded, cut into clips afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import scipy.fft
from jaxtyping import Complex, Float

from asd_lightning.synthetic.clips import Clip
from asd_lightning.synthetic.draws import Draws
from asd_lightning.synthetic.faults import HEALTHY, faulty
from asd_lightning.synthetic.render import LEVEL, Operation, machine_sound, operation_of, rms
from asd_lightning.synthetic.sessions import SessionMachine
from asd_lightning.synthetic.short_faults import SHORT_FAULTS, moment
from asd_lightning.synthetic.sources import (
    COLORS,
    OCTAVES,
    SAMPLE_RATE,
    background,
    ringing,
    smooth_gain,
    structure,
)

# The far microphone: the machine reaches it this much weaker and later, the surroundings that much stronger; a part of
# what it hears never reaches the near one.
FAR_LEAK_DB, FAR_SECONDS, FAR_GAIN_DB, FAR_OWN_DB = -14.0, 0.004, 6.0, -8.0


@dataclass(frozen=True)
class _Place:
    """A recording's spectra, from which either microphone's are mixed."""

    frequencies: Float[np.ndarray, " bins"]
    sound: Complex[np.ndarray, " bins"]
    noise: Complex[np.ndarray, " bins"]
    color: Float[np.ndarray, " bins"]
    samples: int


def render_recording(
    machine: SessionMachine, clips: Sequence[Clip], seed: int = 0, microphones: int = 1
) -> list[Float[np.ndarray, "microphones samples"]]:
    """The waveforms of all ``clips`` of one recording: 16 kHz, full scale 1, ``machine.seconds`` long each.

    Speed, background and all that drifts go on from clip to clip: one behind the other they are the recording.  A
    function of (seed, machine, recording's name, number of its clips); the first channel does not depend on
    ``microphones``, and but for a fault the recording does not depend on it.
    """
    draw = partial(Draws, "recording", seed, machine.name, clips[0].recording)
    place = _place(machine, clips, draw)
    heard = [place.sound + place.noise]
    if microphones == 2:
        heard.append(_far(place, draw("far")))
    physics, session = machine.physics, draw("session")
    level = LEVEL * 10.0 ** (session.uniform(-physics.nuisance[0], physics.nuisance[0]) / 20.0)
    operation = _operation(machine, clips[0], draw)
    fixed = Draws("microphone", machine.name, operation.microphone).uniforms(len(OCTAVES), -3.0, 3.0)
    response = fixed + session.uniforms(len(OCTAVES), -physics.nuisance[3], physics.nuisance[3])
    gain = level * smooth_gain(place.frequencies, response)
    channels = np.stack([scipy.fft.irfft(one * gain, place.samples) for one in heard])
    return np.split(np.clip(channels, -1.0, 1.0), len(clips), axis=1)


def _place(machine: SessionMachine, clips: Sequence[Clip], draw: partial[Draws]) -> _Place:
    samples = round(machine.seconds * SAMPLE_RATE) * len(clips)
    frequencies = scipy.fft.rfftfreq(samples, 1.0 / SAMPLE_RATE)
    width, kind = machine.physics.nuisance[2], _operation(machine, clips[0], draw).noise
    color = smooth_gain(frequencies, np.array(COLORS[kind]) + draw("color").uniforms(len(OCTAVES), -width, width))
    noise = _noise(machine, clips, draw, color)
    return _Place(frequencies, _sound(machine, clips, draw), noise, color, samples)


def _operation(machine: SessionMachine, clip: Clip, draw: partial[Draws]) -> Operation:
    drift, draws = machine.sessions, draw("operation")
    operation = operation_of(machine, clip, draws)
    speed = operation.speed * (1.0 + draws.uniform(-drift.speed, drift.speed))
    load = min(max(operation.load + draws.uniform(-drift.load, drift.load), 0.0), 1.0)
    return replace(operation, speed=speed, load=load)


def _sound(machine: SessionMachine, clips: Sequence[Clip], draw: partial[Draws]) -> Complex[np.ndarray, " bins"]:
    """Spectrum of the machine, with its fault, through its structure."""
    fault, operation = clips[0].fault, _operation(machine, clips[0], draw)
    seconds = _seconds(machine, clips)
    severity = draw("severity").uniform(*machine.physics.severity)
    condition = HEALTHY if fault in SHORT_FAULTS else faulty(fault, severity)
    sound = machine_sound(machine, operation, condition, draw("machine"), seconds)
    if fault in SHORT_FAULTS:
        for number in range(len(clips)):
            _break(sound, number * machine.seconds, machine.seconds, (fault, severity), draw("fault", number))
    specimen, drift = Draws("unit", machine.name, operation.unit), draw("structure")
    width = machine.sessions.resonance
    resonances = [
        (hz * specimen.uniform(0.93, 1.07) * (1.0 + drift.uniform(-width, width)), quality, gain)
        for hz, quality, gain in machine.physics.resonances
    ]
    heard: Complex[np.ndarray, " bins"] = scipy.fft.rfft(sound)
    heard *= structure(scipy.fft.rfftfreq(len(seconds), 1.0 / SAMPLE_RATE), resonances)
    return heard


def _break(
    sound: Float[np.ndarray, " samples"], start: float, length: float, fault: tuple[str, float], draws: Draws
) -> None:
    """One occurrence of a short fault within each clip, at a drawn time."""
    what = moment(*fault, draws)
    first = round((start + draws.uniform(0.0, length - len(what.gain) / SAMPLE_RATE)) * SAMPLE_RATE)
    part = sound[first : first + len(what.gain)]
    part *= what.gain[: len(part)]
    part += what.added[: len(part)]


def _noise(
    machine: SessionMachine, clips: Sequence[Clip], draw: partial[Draws], color: Float[np.ndarray, " bins"]
) -> Complex[np.ndarray, " bins"]:
    """Spectrum of the surroundings at the near microphone."""
    physics, kind, draws = machine.physics, _operation(machine, clips[0], draw).noise, draw("background")
    seconds = _seconds(machine, clips)
    waveform = background(kind, draws, seconds)
    noise: Complex[np.ndarray, " bins"] = scipy.fft.rfft(waveform)
    noise *= color
    noise /= rms(noise, len(seconds))
    noise += scipy.fft.rfft(_knocks(machine.sessions.events, draw("events"), seconds))
    snr_db = physics.snr_db[clips[0].domain == "target"] + draws.uniform(-physics.nuisance[1], physics.nuisance[1])
    noise *= 10.0 ** (-snr_db / 20.0)
    return noise


def _knocks(per_second: float, draws: Draws, seconds: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    """Doors, tools and steps: at exponential intervals, relative to a background of RMS 1."""
    total, time = np.zeros_like(seconds), 0.0
    while per_second and (time := time - np.log(1.0 - draws.uniform()) / per_second) < seconds[-1]:
        strength, hertz = draws.uniform(3.0, 8.0), 150.0 * 2.0 ** draws.uniform(0.0, 4.0)
        total += ringing(len(seconds), np.array([time]), np.array([strength]), hertz, draws.uniform(0.005, 0.03))
    return total


def _far(place: _Place, draws: Draws) -> Complex[np.ndarray, " bins"]:
    """Spectrum at the far microphone: the machine weaker and later, the surroundings louder, and noise of its own."""
    path = smooth_gain(place.frequencies, draws.uniforms(len(OCTAVES), -3.0, 3.0))
    late = np.exp(-2j * np.pi * place.frequencies * FAR_SECONDS)
    own = scipy.fft.rfft(draws.noise(place.samples)) * place.color
    own *= rms(place.noise, place.samples) / rms(own, place.samples)
    loud = 10.0 ** (FAR_GAIN_DB / 20.0)
    far: Complex[np.ndarray, " bins"] = place.sound * 10.0 ** (FAR_LEAK_DB / 20.0) * late
    far += loud * path * (place.noise + 10.0 ** (FAR_OWN_DB / 20.0) * own)
    return far


def _seconds(machine: SessionMachine, clips: Sequence[Clip]) -> Float[np.ndarray, " samples"]:
    return np.arange(len(clips) * round(machine.seconds * SAMPLE_RATE)) / SAMPLE_RATE
