"""``asd export``: a detector as one ONNX file, to be scored without this package."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_lightning.commands.grammar import add_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd export DETECTOR -o FILE``."""
    parser.description = (
        "One ONNX file: windows of sound in, anomaly scores out, thresholds in its metadata. It is checked against the "
        "detector before it is there."
    )
    parser.add_argument("detector", type=Path, metavar="DETECTOR", help="as asd enrol writes it")
    add_output(parser, "file to write, such as pump.onnx", file="pump.onnx", required=True)
    parser.add_argument("--machine", metavar="NAME", help="whose, where the detector knows several")
    parser.add_argument(
        "--window-seconds",
        type=float,
        metavar="S",
        help="length of the windows (default: as enrolled)",
    )


def run(args: argparse.Namespace) -> int:
    """Export, and tell what was written; returns the exit status."""
    from asd_lightning.api import export
    from asd_lightning.plain_text import printable

    made = export(args.detector, args.output, args.machine, args.window_seconds)
    seconds = made.samples / made.sample_rate
    lines = (
        f"{made.path}: {made.path.stat().st_size / 1e6:.2f} MB, scores windows of {seconds:g} s of {made.machine} "
        f"({made.samples} samples at {made.sample_rate} Hz)",
        f"scores of made sound are the detector's within {made.difference:.1g} of the spread of normal sound's scores",
        *_thresholds(made.metadata),
    )
    for line in lines:
        print(printable(line))
    return 0


def _thresholds(metadata: dict[str, str]) -> list[str]:
    if "states" in metadata:
        return ["each state has thresholds of its own, in the metadata; which state it is the file does not tell"]
    if "undecided" in metadata:
        return [f"no thresholds: {metadata['undecided']}"]
    return [f"warning above {float(metadata['warning']):.6g}, alarm above {float(metadata['alarm']):.6g}"]
