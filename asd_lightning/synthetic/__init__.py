"""Synthetic machines: seeded machine sounds with faults, written in the DCASE Task 2 layout."""

from asd_lightning.synthetic.clips import Clip
from asd_lightning.synthetic.machines import Machine, MachineClass, Physics
from asd_lightning.synthetic.presets import PRESETS, Preset
from asd_lightning.synthetic.recordings import render_recording
from asd_lightning.synthetic.render import render_clip
from asd_lightning.synthetic.session_presets import SESSION_PRESETS
from asd_lightning.synthetic.sessions import SessionMachine, SessionPreset
from asd_lightning.synthetic.writer import Synthesis, synthesize

__all__ = [
    "PRESETS",
    "SESSION_PRESETS",
    "Clip",
    "Machine",
    "MachineClass",
    "Physics",
    "Preset",
    "SessionMachine",
    "SessionPreset",
    "Synthesis",
    "render_clip",
    "render_recording",
    "synthesize",
]
