"""What a synthetic machine is: its physics, and the operating classes it is recorded in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Domain = Literal["source", "target"]
Attributes = tuple[tuple[str, str], ...]

# Which part of the physics an attribute key moves.  Any other key names a unit: another specimen of the machine.
SPEED_KEYS = frozenset({"spd"})
LOAD_KEYS = frozenset({"load", "grind"})
PATTERN_KEYS = frozenset({"v1pat", "v2pat"})
MICROPHONE_KEYS = frozenset({"mic", "mic_pos"})
NOISE_KEYS = frozenset({"n", "bkg"})


class MachineClass(NamedTuple):
    """One attribute combination of one domain, with the number of its training clips."""

    domain: Domain
    attributes: Attributes
    clips: int

    @property
    def suffix(self) -> str:
        """The attribute part of a clip's file name; ``noAttribute`` where the machine has none."""
        return "_".join(f"{key}_{value}" for key, value in self.attributes) or "noAttribute"


@dataclass(frozen=True)
class Physics:
    """Constants of one kind of machine.  Levels are amplitudes relative to the shaft's harmonics (RMS 1).

    Args:
        shaft_hz: revolutions per second at the lowest speed.
        harmonics: number of shaft harmonics.
        tilt: fall of the harmonics' amplitude with their order, as the exponent of 1/order.
        speed_step: relative speed between neighbouring values of the speed attribute.
        speed_spread: half-width of the relative speed a machine without attributes runs at, in either domain.
        slip: relative loss of speed from no load to full load.
        teeth: gear teeth (or blades): order of the mesh tone; 0 for none.
        mesh: amplitude of the mesh tone.
        sidebands: amplitude modulation of the mesh by the shaft at no load and at full load.
        strokes: impacts per revolution (valve, cam, piston); 0 for none.
        stroke: amplitude of an impact.
        ring_hz: frequency an impact rings at, in Hz.
        flow: amplitude of the flow noise (air, friction), modulated by the shaft.
        bearing_order: impacts of a damaged bearing per revolution.
        resonances: structural resonances as (Hz, quality factor, gain).
        snr_db: shaft harmonics to background, in dB, for the source domain and the target domain.
        noises: kind of background for the source and the target domain; an attribute may choose another.
        nuisance: what varies from clip to clip and says nothing about the machine: half-widths, in dB, of gain,
            of background level, of background colour and of the microphone's response.
        faults: kinds of fault (names in ``faults.FAULTS``), taken in turn by the anomalous clips.
        severity: smallest and largest severity of a fault, 1 being the amounts in ``faults.FAULTS``.
    """

    shaft_hz: float
    harmonics: int = 40
    tilt: float = 0.8
    speed_step: float = 0.03
    speed_spread: float = 0.03
    slip: float = 0.02
    teeth: int = 0
    mesh: float = 0.0
    sidebands: tuple[float, float] = (0.1, 0.6)
    strokes: int = 0
    stroke: float = 0.0
    ring_hz: float = 2200.0
    flow: float = 0.3
    bearing_order: float = 3.57
    resonances: tuple[tuple[float, float, float], ...] = ((420.0, 6.0, 1.0), (1350.0, 9.0, 1.5), (3100.0, 12.0, 1.0))
    snr_db: tuple[float, float] = (6.0, 4.0)
    noises: tuple[str, str] = ("hvac", "factory")
    nuisance: tuple[float, float, float, float] = (4.0, 5.0, 5.0, 4.0)
    faults: tuple[str, ...] = ("bearing", "imbalance", "leak")
    severity: tuple[float, float] = (0.5, 1.0)


@dataclass(frozen=True)
class Machine:
    """A named machine: physics, clip length in seconds, operating classes."""

    name: str
    physics: Physics
    seconds: float
    classes: tuple[MachineClass, ...]

    def of_domain(self, domain: Domain) -> tuple[MachineClass, ...]:
        """The classes recorded in ``domain``."""
        return tuple(row for row in self.classes if row.domain == domain)

    def rank(self, key: str, value: str) -> tuple[int, int]:
        """Place of ``value`` among all sorted values of ``key``, from 0, and how many values there are."""
        values = sorted({v for row in self.classes for k, v in row.attributes if k == key})
        return values.index(value), len(values)
