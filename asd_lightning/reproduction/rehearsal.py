"""The whole of a reproduction in minutes: synthetic machines in the challenge's layout, tiny encoders, few updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from asd_lightning.download.years import YEARS
from asd_lightning.reproduction.plan import Plan
from asd_lightning.reproduction.running import Ground
from asd_lightning.synthetic import SESSION_PRESETS, SessionPreset, synthesize
from asd_lightning.synthetic.machines import MachineClass
from asd_lightning.synthetic.sessions import Sessions

WARNING = "REHEARSAL: synthetic machines and tiny encoders with random weights; the numbers mean nothing"
_SECONDS = 0.5
_EVALUATION = ("Polisher",)
# The challenge's machines have attributes or none; with none, classes come of k-means where a recipe has them.
_CLASSES = {
    "fan": (*(MachineClass("source", (("id", name),), 9) for name in "AB"), MachineClass("target", (("id", "C"),), 3)),
    "bearing": (MachineClass("source", (), 18), MachineClass("target", (), 3)),
    "Polisher": (MachineClass("source", (), 18), MachineClass("target", (), 3)),
}
_UPDATES = 4
_TINY = (
    "encoders=tiny",
    f"data.clip_seconds={_SECONDS}",
    "accumulate=1",
    "data.batch_size=4",
    "data.num_workers=0",
    "callbacks.checkpoint.every_n_train_steps=2",
    "callbacks.long_training=null",
    "logger=[]",
    "~callbacks.model_summary",
)
_SEEDS = 2


def rehearsed(plan: Plan, output: Path | None, seeds: Sequence[int] | None) -> Plan:
    """The plan in ``output``, by default a folder for rehearsals; with no more than two seeds where none are asked."""
    folder = plan.output.with_name(f"rehearse_{plan.target.name}") if output is None else output
    return replace(plan, seeds=plan.seeds[:_SEEDS] if seeds is None else plan.seeds, output=folder)


def rehearsal_ground(plan: Plan) -> Ground:
    """Make the machines, of as many microphones as the year has, and their truth in a folder apart."""
    root, truth = plan.output / "machines", plan.output / "truth"
    preset = _preset(YEARS[plan.target.year].channels)
    synthesize(root, preset, progress=False, evaluation=_EVALUATION, truth=truth)
    development = tuple(sorted(set(_CLASSES) - set(_EVALUATION), key=str.lower))
    overrides = (*_TINY, f"data.cache_dir={plan.output}/cache")
    return Ground(root, truth, development, _EVALUATION, overrides, (f"trainer.max_steps={_UPDATES}",), rehearsed=True)


def _preset(channels: int) -> SessionPreset:
    machines = tuple(
        replace(machine, seconds=_SECONDS, classes=_CLASSES[machine.name], sessions=Sessions(1, 4, 1))
        for machine in SESSION_PRESETS["sessions"].machines
        if machine.name in _CLASSES
    )
    return SessionPreset("rehearsal", machines, 2 if channels == 2 else 1)
