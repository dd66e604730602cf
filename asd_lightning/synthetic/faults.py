"""The state a machine is in while it is recorded, and what each fault does to it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Condition:
    """Departures from the healthy machine; all 0 when healthy, amplitudes relative to the shaft's harmonics (RMS 1).

    Args:
        unbalance: added amplitude of the shaft's first harmonic, with half of it on the second.
        half_orders: amplitude of lines at odd multiples of half the shaft frequency (looseness, rub).
        sidebands: added amplitude modulation of the mesh by the shaft.
        notch: depth of the mesh's dip once per revolution (missing or broken tooth).
        impacts: amplitude of the impacts of a damaged bearing.
        hiss: amplitude of a broadband hiss above 3 kHz (leak).
        surge: amplitude modulation of the whole sound at a few Hz.
        turbulence: relative gain of flow noise.
        drag: relative loss of speed.
        flutter: relative speed fluctuation at 3 to 7 Hz.
        misfire: probability that a stroke is missing.
        scatter: spread of the strokes' times, as a share of the revolution.
    """

    unbalance: float = 0.0
    half_orders: float = 0.0
    sidebands: float = 0.0
    notch: float = 0.0
    impacts: float = 0.0
    hiss: float = 0.0
    surge: float = 0.0
    turbulence: float = 0.0
    drag: float = 0.0
    flutter: float = 0.0
    misfire: float = 0.0
    scatter: float = 0.0


HEALTHY = Condition()

# The departures at severity 1.  Friction costs speed, so most damage slows the shaft a little; a stalled fan
# turns faster in rougher air.
FAULTS: dict[str, Condition] = {
    "bearing": Condition(impacts=2.5, drag=0.01),
    "imbalance": Condition(unbalance=1.3, drag=0.006),
    "looseness": Condition(half_orders=0.9, drag=0.008),
    "misalignment": Condition(sidebands=0.9, unbalance=0.4, drag=0.01),
    "tooth": Condition(notch=1.0, sidebands=0.2, drag=0.008),
    "belt_slip": Condition(drag=0.03, flutter=0.004),
    "leak": Condition(hiss=0.8),
    "clogging": Condition(turbulence=0.4, surge=0.35, drag=-0.02),
    "sticking": Condition(scatter=0.06, misfire=0.15),
}


def faulty(fault: str | None, severity: float) -> Condition:
    """The condition of a machine with ``fault`` (a key of ``FAULTS``; None: healthy), scaled by ``severity``."""
    if fault is None:
        return HEALTHY
    full = FAULTS[fault]
    return replace(full, **{item.name: severity * getattr(full, item.name) for item in fields(full)})
