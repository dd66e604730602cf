"""Data sets of recordings: neighbouring clips are pieces of one continuous sound, and recordings drift apart."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from asd_lightning.synthetic.clips import Clip, interleave
from asd_lightning.synthetic.machines import Domain, Machine


@dataclass(frozen=True)
class Sessions:
    """How a machine is recorded, and how recordings differ beyond its ``nuisance``, which is drawn once for each.

    Args:
        train_clips: cut from each training recording.
        test_recordings: of each domain and condition.
        test_clips: cut from each of them.
        speed: half-width of the relative speed between recordings of one operating class.
        load: half-width of the load between them, from 0 (idle) to 1 (full).
        resonance: half-width of the relative frequency of the structure's resonances.
        events: knocks of the surroundings per second, in normal and anomalous recordings alike.
    """

    train_clips: int = 4
    test_recordings: int = 8
    test_clips: int = 2
    speed: float = 0.006
    load: float = 0.15
    resonance: float = 0.01
    events: float = 0.1


@dataclass(frozen=True)
class SessionMachine(Machine):
    """A machine whose classes count training recordings instead of clips; ``seconds`` is the length of a clip."""

    sessions: Sessions = Sessions()


@dataclass(frozen=True)
class SessionPreset:
    """A data set of recordings: machines, and 1 microphone or 2 (near the machine; far, in the surroundings).

    ``evaluation`` names the machines that are released as the challenge's evaluation set, see ``released``.
    """

    name: str
    machines: tuple[SessionMachine, ...]
    microphones: Literal[1, 2] = 1
    # Not part of the plan's digest: data sets without one keep theirs.
    evaluation: tuple[str, ...] = field(default=(), repr=False)

    def recordings(self) -> list[tuple[Clip, ...]]:
        """The clips of each recording, machine by machine."""
        return [clips for machine in self.machines for clips in recordings_of(machine)]

    def clips(self) -> list[Clip]:
        """Every clip, machine by machine."""
        return [clip for clips in self.recordings() for clip in clips]

    def only(self, names: tuple[str, ...]) -> SessionPreset:
        """The preset reduced to the machines called ``names``, in the preset's own order."""
        return replace(self, machines=tuple(machine for machine in self.machines if machine.name in names))


def recordings_of(machine: SessionMachine) -> list[tuple[Clip, ...]]:
    """The clips of each recording of ``machine``: training, then normal and faulty test recordings of each domain.

    Every recording is of one operating class and of one fault at most.
    """
    domains: tuple[Domain, Domain] = ("source", "target")
    made: list[tuple[Clip, ...]] = []
    for domain in domains:
        rows = interleave(machine.of_domain(domain))
        firsts = [Clip(machine.name, "train", domain, 0, row.attributes) for row in rows]
        made += _cut(machine, firsts, machine.sessions.train_clips)
    for domain in domains:
        rows = interleave(machine.of_domain(domain))
        count = machine.sessions.test_recordings
        spread = [rows[(i * len(rows)) // count] for i in range(count)]
        firsts = [Clip(machine.name, "test", domain, 0, row.attributes) for row in spread]
        kinds = machine.physics.faults
        faulty = [replace(clip, fault=kinds[i % len(kinds)]) for i, clip in enumerate(firsts)]
        made += _cut(machine, firsts, machine.sessions.test_clips)
        made += _cut(machine, faulty, machine.sessions.test_clips)
    return made


def _cut(machine: SessionMachine, recordings: list[Clip], count: int) -> list[tuple[Clip, ...]]:
    """``count`` neighbouring clips of each recording, numbered through; recordings as one clip each."""
    return [
        tuple(
            replace(
                clip,
                index=number * count + place,
                recording=_name(clip, number),
                start_seconds=place * machine.seconds,
            )
            for place in range(count)
        )
        for number, clip in enumerate(recordings)
    ]


def _name(clip: Clip, number: int) -> str:
    condition = "normal" if clip.fault is None else "anomaly"
    return f"{clip.machine}_{clip.domain}_{clip.split}_{condition}_{number:03d}"
