"""A data set as the challenge releases one: some machines are for evaluation, and nobody is told what their tests are.

Development machines lie in ``dev_data/raw``, those for evaluation in ``eval_data/raw`` with test clips of anonymous
names.  What these are is written elsewhere, in the tables of the released evaluator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from asd_lightning.errors import UserError
from asd_lightning.synthetic.clips import Clip
from asd_lightning.synthetic.draws import key_of
from asd_lightning.synthetic.presets import Preset
from asd_lightning.synthetic.sessions import SessionPreset

# The released evaluator's folders: whether a clip is an anomaly, whether it is of the target domain, its true name.
_TABLES = ("ground_truth_data", "ground_truth_domain", "ground_truth_attributes")


def for_evaluation(preset: Preset | SessionPreset, machines: Sequence[str]) -> Preset | SessionPreset:
    """The preset with these of its machines for evaluation.

    Raises:
        UserError: the preset lacks one of them, or has no other.
    """
    known = [machine.name for machine in preset.machines]
    unknown = [name for name in machines if name not in known]
    if unknown or not machines:
        named = ", ".join(unknown) or "(none named)"
        raise UserError(f"evaluation machine {named}: not among the machines, which are {', '.join(known)}")
    if not set(known) - set(machines):
        raise UserError(f"evaluation machines {', '.join(machines)}: all there are; leave one for development")
    return replace(preset, evaluation=tuple(name for name in known if name in machines))


def is_anonymous(plan: Preset | SessionPreset, clip: Clip) -> bool:
    """Whether a clip's name must not tell what it is."""
    return clip.split == "test" and clip.machine in plan.evaluation


def places(plan: Preset | SessionPreset, seed: int) -> dict[Clip, str]:
    """Where each clip lies below the data folder, with forward slashes."""
    if not plan.evaluation:
        return {clip: clip.file_name for clip in plan.clips()}
    found = {clip: f"{machine_folder(plan, clip.machine)}/{clip.split}/{_name(clip)}" for clip in plan.clips()}
    for machine in plan.evaluation:
        folder = f"{machine_folder(plan, machine)}/test"
        found |= {clip: f"{folder}/{name}" for name, clip in _anonymous(plan, machine, seed)}
    return found


def machine_folder(plan: Preset | SessionPreset, machine: str) -> str:
    """A machine's folder below the data folder."""
    if not plan.evaluation:
        return machine
    return f"{'eval_data' if machine in plan.evaluation else 'dev_data'}/raw/{machine}"


def truth_tables(plan: Preset | SessionPreset, seed: int) -> dict[str, str]:
    """What the anonymous clips are: path below the folder of the truth -> text of the file."""
    tables: dict[str, str] = {}
    for machine in plan.evaluation:
        clips = list(_anonymous(plan, machine, seed))
        told: tuple[list[object], ...] = (
            [int(clip.fault is not None) for _, clip in clips],
            [int(clip.domain == "target") for _, clip in clips],
            [_name(clip).removesuffix(".wav") for _, clip in clips],
        )
        for folder, values in zip(_TABLES, told, strict=True):
            lines = [f"{name},{value}\n" for (name, _), value in zip(clips, values, strict=True)]
            tables[f"{folder}/ground_truth_{machine}_section_00_test.csv"] = "".join(lines)
    return tables


def _anonymous(plan: Preset | SessionPreset, machine: str, seed: int) -> Iterator[tuple[str, Clip]]:
    """Name and clip, in an order that is drawn for each machine: the number tells nothing."""
    clips = [clip for clip in plan.clips() if clip.machine == machine and clip.split == "test"]
    clips.sort(key=lambda clip: key_of("order", seed, clip.file_name))
    return ((f"section_00_{number:04d}.wav", clip) for number, clip in enumerate(clips))


def _name(clip: Clip) -> str:
    return PurePosixPath(clip.file_name).name
