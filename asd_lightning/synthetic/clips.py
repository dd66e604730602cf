"""The list of clips a data set consists of, and their names in the DCASE Task 2 layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from asd_lightning.synthetic.machines import Attributes, Domain, Machine, MachineClass


@dataclass(frozen=True)
class Clip:
    """One clip to be made.

    Args:
        machine: its name.
        split: ``train`` or ``test``.
        domain: ``source`` or ``target``.
        index: counts within domain and condition.
        attributes: of its operating class.
        fault: None for a normal clip.
        recording: name of what it is cut from; "" for a clip recorded on its own.
        start_seconds: where in the recording it begins.
    """

    machine: str
    split: Literal["train", "test"]
    domain: Domain
    index: int
    attributes: Attributes = ()
    fault: str | None = None
    recording: str = ""
    start_seconds: float = 0.0

    @property
    def file_name(self) -> str:
        """Path relative to the data folder, with forward slashes."""
        condition = "normal" if self.fault is None else "anomaly"
        suffix = MachineClass(self.domain, self.attributes, 0).suffix
        name = f"section_00_{self.domain}_{self.split}_{condition}_{self.index:04d}_{suffix}.wav"
        return f"{self.machine}/{self.split}/{name}"


def clips_of(machine: Machine, test_clips: int) -> list[Clip]:
    """All clips of ``machine``: its training clips, then ``test_clips`` per domain and condition."""
    clips: list[Clip] = []
    domains: tuple[Domain, Domain] = ("source", "target")
    for domain in domains:
        rows = interleave(machine.of_domain(domain))
        clips += [Clip(machine.name, "train", domain, i, row.attributes) for i, row in enumerate(rows)]
    for domain in domains:
        rows = interleave(machine.of_domain(domain))
        spread = [rows[(i * len(rows)) // test_clips] for i in range(test_clips)]
        clips += [Clip(machine.name, "test", domain, i, row.attributes) for i, row in enumerate(spread)]
        kinds = machine.physics.faults
        clips += [
            Clip(machine.name, "test", domain, i, row.attributes, kinds[i % len(kinds)]) for i, row in enumerate(spread)
        ]
    return clips


def interleave(classes: tuple[MachineClass, ...]) -> list[MachineClass]:
    """Every class as often as it has training clips, evenly mixed, so that the first clips already show them all."""
    places = [((turn + 0.5) / row.clips, number) for number, row in enumerate(classes) for turn in range(row.clips)]
    return [classes[number] for _, number in sorted(places)]
