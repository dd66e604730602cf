"""``asd info``: what a detector's file holds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asd_lightning.commands.lines import print_lines

if TYPE_CHECKING:
    from asd_lightning.detector.detector import Detector
    from asd_lightning.detector.machine import Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd info DETECTOR``."""
    parser.add_argument("detector", type=Path, metavar="DETECTOR", help="as asd enrol writes it")
    parser.add_argument("--json", action="store_true", help="print one JSON object, and nothing else")
    parser.add_argument("--extract", type=Path, metavar="DIR", help="write the excerpts of sound into DIR, as FLAC")


def run(args: argparse.Namespace) -> int:
    """Check the file, and tell what is in it; returns the exit status."""
    from asd_lightning.detector.actions import info

    about = info(args.detector)
    if args.extract is not None:
        from asd_lightning.detector.detector import Detector
        from asd_lightning.detector.excerpts import write_excerpts

        loaded = Detector.load(args.detector)
        write_excerpts({name: loaded.sounds_of(name) for name in loaded.machines_}, args.extract)
    if args.json:
        print(json.dumps(about, indent=1, default=str))
        return 0
    print_lines(_lines(about))
    return 0


def changes_of(detector: Detector, path: Path, done: str, before: Detector) -> None:
    """After a change: what was done, what is promised now, and where warnings began before it and begin now.

    Args:
        detector: with the change.
        path: of its file.
        done: in words.
        before: the detector that was opened before the file was replaced; it still reads the one of then.
    """
    machine = detector.machines_[detector.changed or next(iter(detector.machines_))]
    clips = len(set(machine.bank.of_role("bank").files()))
    lines = [
        f"{path}: {machine.name}: {done}; {clips} clips in the bank, changes: {len(machine.changes) - 1}",
        f"promised: {machine.sentence()}",
    ]
    levels = _warning_levels(before.machines_[machine.name])
    for state, level in _warning_levels(machine).items():
        was = levels.get(state)
        of_state = f"state {state}: " if state else ""
        told = "as before" if was == level else "new" if was is None else f"was {was:.6g}"
        lines.append(f"{of_state}warning above {level:.6g} ({told})")
    print_lines(lines)


def _warning_levels(machine: Machine) -> dict[str, float]:
    """State ("" where there is one) -> score above which it warns."""
    return {state: machine.thresholds(state).promise.warning for state in machine.in_states or ("",)}


def agreement_line(agreement: float | None, precision: str) -> list[str]:
    """What a lower precision changes, in words; nothing of float32."""
    if agreement is None:
        return []
    return [f"  {precision} ranks its left-out normal recordings as float32 does: rank correlation {agreement:.4f}"]


def _lines(about: dict[str, Any]) -> list[str]:
    from asd_lightning.detector.plain_names import encoder_name

    heard, weights = about["preprocessing"], about["weights"]
    encoders = ", ".join(encoder_name(branch["encoder"]) for branch in about["embedder"]["branches"])
    where = "in the file" if weights["kept"] else "none" if not weights["digest"] else "fetched by name"
    lines = [
        f"{about['path']}: {about['bytes'] / 1e6:.2f} MB, of asd_lightning {about['package']}, whole and unaltered",
        f"content {about['content_hash']}",
        f"hears {heard['sample_rate']} Hz, channel {heard['channel']}, in windows of {heard['clip_seconds']:g} s",
        f"embedder {encoders}, in {about['precision']}; weights: {where}",
        *(f"  {one['name']} (sha256 {one['sha256'] or 'unknown'})" for one in weights["published"].values()),
    ]
    for machine in about["machines"]:
        lines += [
            f"{machine['machine']}: {machine['clips']} clips in the bank, back-end {machine['back_end']}",
            f"  {machine['promise']}",
            *(f"  warning: {told}" for told in machine["warnings"]),
            *agreement_line(machine["agreement"], about["precision"]),
            *_levels(machine),
            *([f"  {machine['compression']}"] if machine["compression"] else []),
            f"  {machine['excerpts']} excerpts of sound, {machine['excerpt_bytes'] / 1e6:.2f} MB",
            *map(_state, machine["states"]),
            *(f"  {one['time']} {one['what']}: {one['recordings']} recordings" for one in machine["changes"]),
        ]
    return lines


def _levels(machine: dict[str, Any]) -> list[str]:
    """The thresholds; nothing where each state has its own."""
    if machine["states"]:
        return []
    return [f"  warning above {machine['warning']:.6g}, alarm above {machine['alarm']:.6g}"]


def _state(one: dict[str, Any]) -> str:
    if not one["running"]:
        return f"  state {one['state']}: not running, no alarms"
    return (
        f"  state {one['state']}: {one['recordings']} recordings, warning above {one['warning']:.6g}, alarm above "
        f"{one['alarm']:.6g}"
    )
