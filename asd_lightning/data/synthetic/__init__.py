"""Synthetic machines: seeded machine sounds with faults, written in the DCASE Task 2 layout."""

from asd_lightning.data.synthetic.clips import Clip
from asd_lightning.data.synthetic.machines import Machine, MachineClass, Physics
from asd_lightning.data.synthetic.presets import PRESETS, Preset
from asd_lightning.data.synthetic.render import render_clip
from asd_lightning.data.synthetic.writer import Synthesis, synthesize

__all__ = [
    "PRESETS",
    "Clip",
    "Machine",
    "MachineClass",
    "Physics",
    "Preset",
    "Synthesis",
    "render_clip",
    "synthesize",
]
