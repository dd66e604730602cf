"""One clip: the machine in its operating state, heard through its structure, the room and a microphone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Complex, Float

from asd_lightning.synthetic.clips import Clip
from asd_lightning.synthetic.draws import Draws
from asd_lightning.synthetic.faults import Condition, faulty
from asd_lightning.synthetic.machines import (
    LOAD_KEYS,
    MICROPHONE_KEYS,
    NOISE_KEYS,
    PATTERN_KEYS,
    SPEED_KEYS,
    Machine,
    Physics,
)
from asd_lightning.synthetic.sources import (
    COLORS,
    NOISES,
    OCTAVES,
    SAMPLE_RATE,
    background,
    ringing,
    shaft_sound,
    sine_sum,
    smooth_gain,
    structure,
)

LEVEL = 0.03  # RMS of a healthy machine at nominal gain, full scale 1


@dataclass(frozen=True)
class Operation:
    """The operating point that attributes and domain set: the same for all clips of a class.

    Args:
        speed: relative to the machine's lowest speed.
        load: 0 (idle) to 1 (full).
        unit: name of the specimen, with its own resonances and harmonics.
        pattern: name of the order in which the strokes fall.
        microphone: name of the microphone and its place.
        noise: kind of background.
    """

    speed: float
    load: float
    unit: str
    pattern: str
    microphone: str
    noise: str


def operation_of(machine: Machine, clip: Clip, draws: Draws) -> Operation:
    """What ``clip``'s attributes and domain mean for ``machine``; draws what they leave open."""
    physics = machine.physics
    target = clip.domain == "target"
    words: dict[str, list[str]] = {"unit": [], "pattern": [], "microphone": [clip.domain]}
    speed, load, noise = None, None, physics.noises[target]
    for key, value in clip.attributes:
        place, count = machine.rank(key, value)
        if key in SPEED_KEYS:
            speed = 1.0 + physics.speed_step * place
        elif key in LOAD_KEYS:
            load = place / max(count - 1, 1)
        elif key in NOISE_KEYS:
            noise = NOISES[(NOISES.index(physics.noises[0]) + place) % len(NOISES)]
        else:
            role = "pattern" if key in PATTERN_KEYS else "microphone" if key in MICROPHONE_KEYS else "unit"
            words[role].append(f"{key}={value}")
    if speed is None:
        center = 1.0 + (2.5 * physics.speed_spread if target and not clip.attributes else 0.0)
        speed = center + draws.uniform(-physics.speed_spread, physics.speed_spread)
    if load is None:
        load = draws.uniform(0.2, 0.6)
    unit, pattern, microphone = (" ".join(words[role]) for role in ("unit", "pattern", "microphone"))
    return Operation(speed, load, unit, pattern, microphone, noise)


def render_clip(machine: Machine, clip: Clip, seed: int = 0) -> Float[np.ndarray, " samples"]:
    """The waveform of ``clip``: 16 kHz, full scale 1, ``machine.seconds`` long.

    A function of (seed, machine, split, clip's file name) alone: neither the other clips nor their order matter.
    Peaks beyond full scale are cut off, as a recorder does.
    """
    physics = machine.physics
    draws = Draws("clip", seed, clip.machine, clip.split, clip.file_name)
    operation = operation_of(machine, clip, draws)
    condition = faulty(clip.fault, draws.uniform(*physics.severity))
    seconds = np.arange(round(machine.seconds * SAMPLE_RATE)) / SAMPLE_RATE

    frequencies = scipy.fft.rfftfreq(len(seconds), 1.0 / SAMPLE_RATE)
    specimen = Draws("unit", machine.name, operation.unit)
    resonances = [(hz * specimen.uniform(0.93, 1.07), q, gain) for hz, q, gain in physics.resonances]
    sound = scipy.fft.rfft(machine_sound(machine, operation, condition, draws, seconds))
    sound *= structure(frequencies, resonances)

    gain_db, level_db, color_db, response_db = physics.nuisance
    noise = scipy.fft.rfft(background(operation.noise, draws, seconds))
    color = np.array(COLORS[operation.noise]) + draws.uniforms(len(OCTAVES), -color_db, color_db)
    noise *= smooth_gain(frequencies, color)
    snr_db = physics.snr_db[clip.domain == "target"] + draws.uniform(-level_db, level_db)
    noise *= 10.0 ** (-snr_db / 20.0) / rms(noise, len(seconds))

    fixed = Draws("microphone", machine.name, operation.microphone).uniforms(len(OCTAVES), -3.0, 3.0)
    response = fixed + draws.uniforms(len(OCTAVES), -response_db, response_db)
    heard = (sound + noise) * smooth_gain(frequencies, response)
    level = LEVEL * 10.0 ** (draws.uniform(-gain_db, gain_db) / 20.0)
    waveform: Float[np.ndarray, " samples"] = np.clip(level * scipy.fft.irfft(heard, len(seconds)), -1.0, 1.0)
    return waveform


def rms(spectrum: Complex[np.ndarray, " bins"], samples: int) -> float:
    """Root mean square of the waveform of ``samples`` samples with this one-sided spectrum (Parseval)."""
    return float(np.sqrt(2.0 * np.sum(spectrum.real**2 + spectrum.imag**2)) / samples)


def machine_sound(
    machine: Machine, operation: Operation, condition: Condition, draws: Draws, seconds: Float[np.ndarray, " samples"]
) -> Float[np.ndarray, " samples"]:
    """The machine without its structure, the room and the microphone; its shaft's harmonics have RMS 1."""
    physics = machine.physics
    hertz = physics.shaft_hz * operation.speed * (1.0 - physics.slip * operation.load) * (1.0 - condition.drag)
    rate = 1.0 + 0.0008 * sine_sum(draws, seconds, 0.1, 0.8) + condition.flutter * sine_sum(draws, seconds, 3.0, 7.0)
    turns = draws.uniform() + np.cumsum(hertz * rate) / SAMPLE_RATE

    amplitudes, phases = _orders(machine, operation, condition, draws)
    below_nyquist = int(0.97 * SAMPLE_RATE / hertz)
    # The table holds two revolutions: order k of the table is k / 2 of the shaft, so that half orders have a place.
    sound = shaft_sound(0.5 * turns, amplitudes[:below_nyquist], phases[:below_nyquist])

    flow = physics.flow * (1.0 + condition.turbulence)
    sound += flow * draws.noise(len(seconds)) * (1.0 + 0.4 * operation.load * np.cos(2.0 * np.pi * turns))
    if physics.strokes:
        sound += physics.stroke * _strokes(machine, operation, condition, draws, turns, seconds)
    if condition.impacts:
        sound += condition.impacts * _bearing(physics, draws, turns, seconds)
    if condition.hiss:
        white = draws.noise(len(seconds))
        sound[1:] += 0.5 * condition.hiss * np.diff(white)
    if condition.surge:
        sound *= 1.0 + condition.surge * sine_sum(draws, seconds, 3.0, 8.0)
    return sound


def _orders(
    machine: Machine, operation: Operation, condition: Condition, draws: Draws
) -> tuple[Float[np.ndarray, " orders"], Float[np.ndarray, " orders"]]:
    """Amplitude and phase of every half order of the shaft: harmonics, mesh with sidebands, and what faults add."""
    physics = machine.physics
    specimen = Draws("orders", machine.name, operation.unit)
    highest = max(physics.harmonics, 3 * physics.teeth + 6)
    order = np.arange(1, highest + 1)
    shaft = order**-physics.tilt * 10.0 ** (specimen.uniforms(highest, -5.0, 5.0) / 20.0)
    shaft[physics.harmonics :] = 0.0
    shaft *= 1.0 + 0.5 * operation.load * np.log2(order) / np.log2(highest)
    shaft *= np.sqrt(2.0 / np.sum(shaft**2))
    shaft[0] += condition.unbalance
    shaft[1] += 0.5 * condition.unbalance

    amplitudes = np.zeros(2 * highest + 1)
    amplitudes[2::2] = shaft
    if physics.teeth:
        _add_mesh(amplitudes, physics, operation, condition)
    if condition.half_orders:
        odd = np.arange(1, 16, 2)
        amplitudes[odd] += condition.half_orders * odd**-0.3
    amplitudes *= 10.0 ** (draws.uniforms(len(amplitudes), -1.0, 1.0) / 20.0)
    return amplitudes, specimen.uniforms(len(amplitudes))


def _add_mesh(
    amplitudes: Float[np.ndarray, " orders"], physics: Physics, operation: Operation, condition: Condition
) -> None:
    idle, full = physics.sidebands
    depth = idle + (full - idle) * operation.load + condition.sidebands
    for multiple in (1, 2, 3):
        center, level = 2 * multiple * physics.teeth, physics.mesh / multiple
        amplitudes[center] += level * (1.0 - 0.3 * condition.notch)
        for distance in range(1, 6):
            # Modulation falls off fast with the distance; a missing tooth is a short dip and spreads far.
            side = 0.5 * depth**distance * (distance <= 2) + 0.3 * condition.notch
            amplitudes[center - 2 * distance] += level * side
            amplitudes[center + 2 * distance] += level * side


def _strokes(
    machine: Machine,
    operation: Operation,
    condition: Condition,
    draws: Draws,
    turns: Float[np.ndarray, " samples"],
    seconds: Float[np.ndarray, " samples"],
) -> Float[np.ndarray, " samples"]:
    """Impacts at fixed angles of the revolution; the pattern sets the angles and how hard each one is."""
    physics = machine.physics
    pattern = Draws("pattern", machine.name, operation.pattern)
    angles = (np.arange(physics.strokes) + pattern.uniforms(physics.strokes, 0.0, 0.7)) / physics.strokes
    weights = pattern.uniforms(physics.strokes, 0.5, 1.0)
    whole = np.arange(np.floor(turns[0]), np.ceil(turns[-1]))
    places = (whole[:, None] + angles).ravel()
    spread = 0.004 + condition.scatter
    places = places + spread * draws.uniforms(len(places), -1.0, 1.0)
    hits = np.tile(weights, len(whole)) * draws.uniforms(len(places), 0.8, 1.2)
    hits = hits * (draws.uniforms(len(places)) >= condition.misfire)
    times = np.interp(places, turns, seconds, left=-1.0, right=-1.0)
    return ringing(len(seconds), times, hits, physics.ring_hz, 0.006)


def _bearing(
    physics: Physics, draws: Draws, turns: Float[np.ndarray, " samples"], seconds: Float[np.ndarray, " samples"]
) -> Float[np.ndarray, " samples"]:
    """Impacts at the ball-pass frequency with slip jitter, stronger in the load zone once per revolution."""
    count = int((turns[-1] - turns[0]) * physics.bearing_order)
    places = turns[0] + (np.arange(count) + draws.uniforms(count, -0.02, 0.02)) / physics.bearing_order
    hits = 1.0 + 0.5 * np.cos(2.0 * np.pi * places)
    times = np.interp(places, turns, seconds, left=-1.0, right=-1.0)
    return ringing(len(seconds), times, hits, draws.uniform(2600.0, 4200.0), 0.002)
