"""``asd enrol``: from normal recordings of a machine, or from a run, to a detector in one file."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asd_lightning.commands.grammar import add_output
from asd_lightning.commands.lines import print_lines
from asd_lightning.errors import UserError
from asd_lightning.precision import PRECISIONS

if TYPE_CHECKING:
    from asd_lightning.detector.detector import Detector
    from asd_lightning.detector.enrolment import Learnt

_NAMED_AT_MOST = 5
# Clips of ten seconds often lack some samples.
_FILLED = 0.9
_USUAL_RATES = (0.1, 0.05, 0.01)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd enrol NORMAL_DIR|RUN -o FILE``."""
    parser.add_argument(
        "source", type=Path, metavar="NORMAL_DIR|RUN", help="folder of normal recordings of a machine, or a run"
    )
    add_output(parser, "file to write, such as pump.asd", file="pump.asd", required=True)
    parser.add_argument("--machine", metavar="NAME", help="its name (default: the folder's)")
    parser.add_argument(
        "--embedder",
        default="statistics",
        metavar="NAME",
        help="statistics (default), fetched weights such as mn04_as, or the folder of a run",
    )
    parser.add_argument("--recordings", type=Path, metavar="TABLE.csv", help="which clips were cut from one recording")
    parser.add_argument(
        "--false-alarms",
        type=_share,
        metavar="R",
        help="share of normal clips that may get any decision but normal, such as 0.1 for 10 %% (default: the smallest "
        "possible)",
    )
    parser.add_argument(
        "--clip-seconds", type=_seconds, default=10.0, metavar="S", help="length of the windows compared (default 10)"
    )
    parser.add_argument(
        "--bank-size",
        type=int,
        metavar="N",
        help="clips at most that new sound is compared with, for machines with very many (default: all)",
    )
    parser.add_argument("--self-contained", action="store_true", help="keep the weights of a fetched encoder too")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="of the encoder; a lower one is refused where it would rank the recordings otherwise (default float32)",
    )
    parser.add_argument(
        "--states",
        choices=("level", "folders", "none"),
        default="level",
        help="what tells the machine's states, each with a threshold of its own: level (default: off where some clips "
        "are far quieter), folders (sub-folders of NORMAL_DIR; off, stopped, idle, standstill: not running) or none",
    )
    sound = parser.add_mutually_exclusive_group()
    sound.add_argument("--sounds", type=int, default=20, metavar="N", help="excerpts of sound to keep (default 20)")
    sound.add_argument("--no-sound", action="store_const", dest="sounds", const=0, help="keep none")


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise UserError(f"--false-alarms {text}: a share above 0 and below 1 is needed, such as 0.1 for 10 %")
    return share


def _seconds(text: str) -> float:
    from asd_lightning.data.preprocessing import WINDOW_SECONDS

    least, most = WINDOW_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not least <= seconds <= most:
        raise UserError(
            f"--clip-seconds {text}: a number of seconds from {least:g} to {most:g} is needed; longer recordings are "
            "heard whole, in windows"
        )
    return seconds


def run(args: argparse.Namespace) -> int:
    """Enrol, and tell what was learnt; returns the exit status."""
    import logging

    from asd_lightning.commands.info import agreement_line
    from asd_lightning.detector.actions import enrol

    logging.basicConfig(format="asd: %(message)s")
    options = ("machine", "embedder", "recordings", "false_alarms", "clip_seconds", "self_contained", "sounds")
    given = {name: getattr(args, name) for name in (*options, "precision", "bank_size", "states")}
    detector = enrol(args.source, args.output, **given)
    learnt = detector.learnt_
    lines = [*(_of_run(detector) if learnt is None else what_was_learnt(learnt, args.false_alarms is None))]
    if learnt is not None and (told := _short(learnt.seconds, detector.hearing_.preprocessing.clip_seconds)):
        lines.append(told)
    for machine in detector.machines_.values() if learnt is None else (learnt,):
        lines += [line.strip() for line in agreement_line(machine.agreement, detector.hearing_.precision)]
    print_lines([*lines, _size(detector, args.output), f"next: asd score {shlex.quote(str(args.output))} RECORDINGS"])
    return 0


def what_was_learnt(learnt: Learnt, smallest: bool) -> Iterator[str]:
    """In sentences, for whoever has made the recordings."""
    from asd_lightning.scoring.normal_scores import fewest_recordings

    kind, unit = ("blocks of one recording", "blocks") if learnt.blocks else ("independent recordings", "recordings")
    if learnt.blocks and learnt.states:
        kind, unit = "recordings, or blocks of a state's only one", "recordings or blocks"
    yield f"{learnt.machine}: {learnt.clips} clips of {learnt.recordings} {kind}, {learnt.hours:.2g} h of sound"
    yield f"promised: {learnt.promise}"
    yield from _states(learnt)
    if smallest:
        yield "  this is the smallest rate that they allow; a higher one hears more faults: --false-alarms R"
    needed = [f"{100 * rate:g} % takes {fewest_recordings(rate)}" for rate in _USUAL_RATES]
    there = ", ".join(f"{count} in {name}" for name, count in learnt.states.items()) or str(learnt.recordings)
    yield f"  {unit} needed for a rate: {', '.join(needed)}; there are {there}"
    if learnt.blocks:
        yield "  blocks of one recording promise for that recording; calibrate with those of other days"
    if learnt.compression:
        yield f"compressed: {learnt.compression}"
    yield from _curve(learnt)
    for names, what in (
        (learnt.unlike, "unlike the rest: listen to them, each raises the threshold"),
        (learnt.duplicates, "the same sound as another, left out"),
        (learnt.clipped, "clipped: lower the gain"),
        (learnt.silent, "silent, left out"),
        (learnt.still, "of a machine that is not running, left out"),
    ):
        if names:
            yield f"{len(names)} {what}: {_listed(names)}"
    for why in list(learnt.unusable.values())[:_NAMED_AT_MOST]:
        yield f"left out: {why}"
    if len(learnt.unusable) > _NAMED_AT_MOST:
        yield f"left out: {len(learnt.unusable) - _NAMED_AT_MOST} more recordings that cannot be used"


def _short(usual: float, window: float) -> str:
    """What to say of clips that are usually far shorter than the windows, both in s; "" of others."""
    if usual >= _FILLED * window:
        return ""
    return (
        f"clips are shorter than a window, usually {usual:.3g} s of {window:g} s, and are repeated to fill it: "
        f"--clip-seconds {math.floor(100 * usual) / 100:g} compares them as they are"
    )


def _states(learnt: Learnt) -> Iterator[str]:
    if names := [*learnt.states, *learnt.still_states]:
        told = f"; no alarms where it is not running: {', '.join(learnt.still_states)}" if learnt.still_states else ""
        yield f"states: {', '.join(names)}{told}"
        if joined := [name for name in names if "+" in name]:
            yield f"  joined, since left-out recordings of one are taken for another: {', '.join(joined)}"
    if learnt.seem_states:
        yield (
            f"the sub-folders {_listed(learnt.seem_states)} sound different: if they are states of the machine (off, "
            "speeds) and not days, --states folders gives each a threshold"
        )


def _curve(learnt: Learnt) -> Iterator[str]:
    if learnt.settled is None:
        yield "learning curve: too few recordings to tell whether more would help; 8 or more tell"
        return
    unit = "blocks" if learnt.blocks else "recordings"
    told = ", ".join(f"{score:.4g} with {count}" for count, score in learnt.curve)
    verdict = "more of the same would change little" if learnt.settled else "more normal sound would still help"
    yield f"learning curve: median score of left-out normal clips {told} {unit}: {verdict}"


def _of_run(detector: Detector) -> Iterator[str]:
    for machine in detector.machines_.values():
        yield f"{machine.name}: {machine.sentence()}"


def _size(detector: Detector, path: Path) -> str:
    sounds = [sound for name in detector.machines_ for sound in detector.sounds_of(name).values()]
    kept = f"{len(sounds)} excerpts of sound, {sum(sound.nbytes for sound in sounds) / 1e6:.2f} MB of it"
    return f"{path}: {path.stat().st_size / 1e6:.2f} MB, with {kept if sounds else 'no sound'}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED_AT_MOST]) + (", ..." if len(names) > _NAMED_AT_MOST else "")
