"""``asd watch``: listen for as long as a plant runs, and say what happens."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from asd_lightning.errors import UserError

if TYPE_CHECKING:
    from asd_lightning.detector.detector import Detector
    from asd_lightning.live.inputs import Input
    from asd_lightning.live.listener import Source, Status
    from asd_lightning.live.logic import Options
    from asd_lightning.live.sinks import Sink
    from asd_lightning.live.watch import Watch

_ENDED = "asd: ended; the journal keeps where it was"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd watch DETECTOR --input ... [...]``."""
    parser.description = "Listen to inputs and tell what happens, one line of JSON an event. Ctrl-C ends it."
    parser.add_argument("detector", type=Path, metavar="DETECTOR", help="as asd enrol writes it")
    parser.add_argument(
        "--input",
        action="append",
        required=True,
        metavar="[NAME=]WHAT",
        help="a folder that recordings arrive in, - for raw samples, or microphone or microphone:DEVICE; several",
    )
    parser.add_argument(
        "--machine",
        action="append",
        default=[],
        metavar="[NAME=]MACHINE",
        help="the detector's machine that is heard at an input, where it knows several",
    )
    parser.add_argument("--journal", type=Path, metavar="FILE", help="what was heard (default: DETECTOR.journal)")
    parser.add_argument("--once", action="store_true", help="end when the folders' recordings were heard")
    where = parser.add_argument_group("where events go (default: standard output)")
    where.add_argument("-o", "--output", type=Path, metavar="FILE", help="append lines of JSON to FILE")
    where.add_argument("--csv", type=Path, metavar="FILE", help="append rows of a table to FILE")
    where.add_argument("--mqtt", metavar="URL", help="publish on a broker: mqtt://USER:PASSWORD@HOST:PORT/NODE")
    where.add_argument("--webhook", metavar="URL", help="post each event to this address")
    where.add_argument(
        "--metrics", type=int, metavar="PORT", help="answer Prometheus at this port, to this computer alone"
    )
    where.add_argument("--excerpts", type=Path, metavar="DIR", help="keep the sound of warnings and alarms here")
    where.add_argument(
        "--excerpt-bytes",
        type=int,
        default=200_000_000,
        metavar="N",
        help="of the newest excerpts, what is older goes (default: 2e8)",
    )
    logic = parser.add_argument_group("when something is said")
    logic.add_argument(
        "--hop", type=float, metavar="S", help="seconds from window to window (default: the window's length)"
    )
    logic.add_argument(
        "--on", default="2/3", metavar="M/N", help="a level begins with M of the last N windows above it (default: 2/3)"
    )
    logic.add_argument(
        "--quiet", type=int, default=3, metavar="N", help="a level ends after N quiet windows in a row (default: 3)"
    )
    logic.add_argument(
        "--hold", type=float, default=0.0, metavar="S", help="seconds that a level lasts at least (default: 0)"
    )
    logic.add_argument(
        "--cooldown", type=float, default=0.0, metavar="S", help="seconds from one to the next at least (default: 0)"
    )
    logic.add_argument(
        "--false-alarms-a-day",
        type=float,
        metavar="N",
        help="so many a day on the detector's own normal sound, left out of it: sets the level of alarms",
    )


def run(args: argparse.Namespace) -> int:
    """Listen until the end; the exit status."""
    import logging

    from asd_lightning.live.current import CurrentDetector
    from asd_lightning.live.excerpts import Excerpts
    from asd_lightning.live.listener import Surroundings
    from asd_lightning.live.watch import Watch

    logging.basicConfig(format="asd: %(message)s", level=logging.WARNING)
    options = _options(args)
    current = CurrentDetector(args.detector)
    detector = current.get().detector
    sources = _sources(args, detector)
    journal = args.journal or args.detector.with_name(f"{args.detector.name}.journal")
    excerpts = None if args.excerpts is None else Excerpts(args.excerpts, args.excerpt_bytes)
    a_day = args.false_alarms_a_day
    if a_day is not None and not a_day >= 0:
        raise UserError(f"--false-alarms-a-day {a_day}: a number of alarms is needed, 0 or more")
    _check_apart(args, sources)
    for path in (args.output, args.csv):
        if path is not None and path.absolute() in (args.detector.absolute(), journal.absolute()):
            raise UserError(f"{path}: is the detector or its journal; name another file for the events")
    watch = Watch(sources, Surroundings(current, journal, options, excerpts, a_day), _sinks(args, journal))
    for name, found in watch.found().items():
        print(f"{name}: {found.sentence()}", file=sys.stderr)
        if found.bound > a_day:
            print(f"{name}: that is too little normal sound to promise {a_day:g} a day; enrol more", file=sys.stderr)
        if args.hop is not None and args.hop < detector.hearing_.preprocessing.clip_seconds:
            print(f"{name}: windows that overlap (--hop) were not counted: there may be more", file=sys.stderr)
    return _listen(watch, args.metrics)


def _options(args: argparse.Namespace) -> Options:
    from asd_lightning.live.latch import LatchOptions
    from asd_lightning.live.logic import Options

    needed, _, of = args.on.partition("/")
    if not (needed.isdecimal() and of.isdecimal()):
        raise UserError(f"--on {args.on}: write M/N, such as 2/3: windows above the level, of how many")
    latch = LatchOptions(int(needed), int(of), args.quiet, args.hold, args.cooldown)
    return Options(latch, latch)


def _sources(args: argparse.Namespace, detector: Detector) -> list[Source]:
    from asd_lightning.live.listener import Source

    given = [_named(text) for text in args.input]
    if empty := [text for text, (_, what) in zip(args.input, given, strict=True) if not what]:
        raise UserError(f"--input {empty[0]}: names no place; give a folder, - or microphone, such as pump=DIR")
    names = [name or _name_of(what) for name, what in given]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--input: two are called {twice[0]}; give them names, such as --input left=DIR")
    if [what for _, what in given].count("-") > 1:
        raise UserError("--input -: standard input can be heard once")
    machines = dict(_named(text) for text in args.machine)
    if idle := [name for name in machines if name and name not in names]:
        raise UserError(f"--machine {idle[0]}=...: there is no such input; there are {', '.join(names)}")
    return [
        Source(
            name,
            machines.get(name) or machines.get("") or _machine(name, what, detector),
            _input(what, args, detector),
            _origin(what),
            named=bool(told),
        )
        for name, (told, what) in zip(names, given, strict=True)
    ]


def _check_apart(args: argparse.Namespace, sources: list[Source]) -> None:
    """That excerpts have a folder, and are not heard again."""
    from asd_lightning.live.folder import FolderInput

    if args.excerpts is None:
        return
    if args.excerpts.exists() and not args.excerpts.is_dir():
        raise UserError(f"--excerpts {args.excerpts}: is no folder; name another")
    place = args.excerpts.expanduser().resolve()
    for source in sources:
        if isinstance(source.input, FolderInput) and place.is_relative_to(source.input.folder.resolve()):
            raise UserError(f"--excerpts {args.excerpts}: is in the folder that is heard; name another")


def _named(text: str) -> tuple[str, str]:
    from asd_lightning.live.listener import check_name

    name, sign, rest = text.partition("=")
    if not sign or "/" in name:
        return "", text
    check_name(name)
    return name, rest


def _name_of(what: str) -> str:
    """What an input without a name is called."""
    name = {"-": "stream"}.get(what) or (what if _is_microphone(what) else Path(what).expanduser().resolve().name)
    return "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in name) or "input"


def _origin(what: str) -> str:
    """Where the sound of an input comes from, as the journal keeps it."""
    return str(Path(what).expanduser().resolve()) if what != "-" and not _is_microphone(what) else what


def _is_microphone(what: str) -> bool:
    return what.partition(":")[0] == "microphone"


def _machine(name: str, what: str, detector: Detector) -> str:
    known = list(detector.machines_)
    if len(known) == 1:
        return known[0]
    parts = [name, *reversed(Path(what).expanduser().absolute().parts)]
    found = next((part for part in parts if part in known), None)
    if found is None:
        raise UserError(f"--input {name}: of which machine? Give --machine {name}=NAME, of {', '.join(known)}")
    return found


def _input(what: str, args: argparse.Namespace, detector: Detector) -> Input:
    from dataclasses import replace

    from asd_lightning.live.folder import FolderInput
    from asd_lightning.live.microphone import MicrophoneInput
    from asd_lightning.live.streams import StreamInput

    heard = detector.hearing_.preprocessing
    heard = heard if args.hop is None else replace(heard, hop_seconds=args.hop)
    if what == "-":
        return StreamInput(sys.stdin.buffer, heard)
    if _is_microphone(what):
        device = what.partition(":")[2]
        return MicrophoneInput(int(device) if device.isdecimal() else device or None, heard)
    folder = Path(what).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; make it, or name another with --input")
    return FolderInput(folder, heard, once=args.once)


def _sinks(args: argparse.Namespace, journal: Path) -> list[Sink]:
    from asd_lightning.live import sinks

    chosen: list[Sink] = []
    if args.output is not None:
        chosen.append(sinks.JsonLines(args.output))
    if args.csv is not None:
        chosen.append(sinks.Csv(args.csv))
    if args.webhook is not None:
        from asd_lightning.live.webhook import Webhook

        chosen.append(Webhook(args.webhook))
    if args.mqtt is not None:
        from asd_lightning.live.mqtt import Mqtt

        chosen.append(Mqtt(args.mqtt, journal))
    return chosen or [sinks.Standard()]


def _listen(watch: Watch, metrics: int | None) -> int:
    import signal

    from asd_lightning.live.metrics import serve

    server = None if metrics is None else serve(metrics, watch.status)
    told: list[int] = []

    def end(number: int, _: object) -> None:
        told.append(number)
        watch.stop()

    # A service manager ends a program so.
    before = signal.signal(signal.SIGTERM, end)
    try:
        watch.run(_shown(watch))
        if told:
            print(_ENDED, file=sys.stderr)
    except KeyboardInterrupt:
        print(f"\n{_ENDED}", file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, before)
        if server is not None:
            server.shutdown()
            server.server_close()
    if unwritten := watch.unwritten():
        print(
            f"asd: {unwritten} event(s) could not be written to {watch.journal}; make room and start again: what led "
            "to them is heard again where the input still has it",
            file=sys.stderr,
        )
    waiting = watch.waiting()
    for sink, count in waiting.items():
        print(f"asd: {count} event(s) wait in the journal for {sink}", file=sys.stderr)
    return 1 if waiting or unwritten else 0


def _of_now(one: Status) -> str:
    """What is told of an input, and the score of its last window where it has one."""
    return f"{one.place.state.told}{', no score' if math.isnan(one.score) else f' {one.score:.3g}'}"


def _shown(watch: Watch) -> Callable[[], None] | None:
    """A line on a terminal that says how it goes."""
    if not sys.stderr.isatty():
        return None

    def show() -> None:
        parts = [f"{name} {_of_now(one)}" for name, one in watch.status().items()]
        print(f"\r{'  '.join(parts):.100}", end="\033[K", file=sys.stderr, flush=True)

    return show
