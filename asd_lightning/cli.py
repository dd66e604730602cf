"""The ``asd`` command: one subcommand for each stage, imported only when it is called."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from types import ModuleType

from asd_lightning import __version__
from asd_lightning.atomic import full_disk, refused_place
from asd_lightning.commands.grammar import INTERRUPTED, Parser
from asd_lightning.errors import UserError
from asd_lightning.plain_text import printable
from asd_lightning.unread import outlive_readers

# name -> one line of help.  The module asd_lightning.commands.<name> (- is _) is imported when the subcommand runs:
# torch takes seconds to import, and `asd --help` should not wait for it.
COMMANDS = {
    "synth": "write synthetic machines in DCASE layout",
    "download": "fetch a year of DCASE Task 2",
    "data": "check a data folder, or draw its statistics",
    "weights": "list, fetch or import pretrained encoders",
    "enrol": "make a detector of normal recordings, or of a run: one file",
    "score": "judge recordings by a detector",
    "export": "a detector as one ONNX file, to score without this package",
    "explain": "why a recording is judged as it is: one HTML page",
    "calibrate": "a detector's thresholds from later normal recordings",
    "accept": "take further normal recordings into a detector",
    "undo": "take a detector's last change back",
    "info": "what a detector's file holds",
    "evaluate": "hits and false alarms of a detector, on sorted recordings",
    "watch": "listen to inputs, and tell what happens",
    "serve": "judge recordings over HTTP, with a page in the browser",
    "acknowledge": "say that an input's alarm was seen",
    "shelve": "let an input be silent for a while",
    "train": "train, then test (takes Hydra overrides, -m, --cfg job)",
    "test": "score a trained run again (takes Hydra overrides)",
    "compare": "one table from many runs",
    "score-sweep": "many back-ends over one run's embeddings",
    "fuse": "several runs of the same recordings as one",
    "select": "which of several embeddings, from normal clips alone",
    "reproduce": "repeat a published result, from the plan to the table",
    "report": "one self-contained HTML page about runs",
    "submit": "write or check a challenge submission",
}

# These hand everything after their name to Hydra.
HYDRA_COMMANDS = frozenset({"train", "test"})

# What they have done is worth more than who reads of it.
_TAKE_HOURS = HYDRA_COMMANDS | {"reproduce"}

# These open runs, which may name parts of somebody's own.
_OPEN_RUNS = frozenset({"enrol", "score-sweep", "fuse", "select", "reproduce"})
_OF_RUNS = (
    "Of a run with parts of your own: --trust PACKAGE allows its code to be called, --config-dir DIR names the folder "
    "of your configuration files (docs/own-parts.md)."
)

_BEGIN = (
    "Begin with `asd enrol FOLDER -o pump.asd` for an alarm from normal recordings of a machine, or with `asd synth -o "
    "data/demo` and `asd train --help` for experiments. `asd COMMAND --help` tells the rest."
)

# Option -> environment variable, and what stands between several values.
_VOUCHED = {"--config-dir": ("ASD_CONFIG_DIR", os.pathsep), "--trust": ("ASD_TRUST", ",")}

# Python collects cyclic garbage whenever so many more objects were made than freed, 700 by default: importing torch
# makes 250,000 objects and hardly any garbage.
_OBJECTS = 50_000

# More than any data set has machines; some programs go through all that may be open.
_FILES = 8192


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The argument parser; only ``command``'s own arguments are loaded."""
    parser = Parser(prog="asd", description="Anomalous sound detection for machines.", epilog=_BEGIN)
    parser.add_argument("--version", action="version", version=f"asd_lightning {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        if name == command and name not in HYDRA_COMMANDS:
            _module(name).add_arguments(subparser)
            if name in _OPEN_RUNS:
                subparser.epilog = _OF_RUNS
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``asd``; returns the exit status."""
    if argv is None:
        _speak_utf_8()
        _open_more_files()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None and not HYDRA_COMMANDS.intersection(arguments[:1]):
        _collect_less()
    if argv is None and _TAKE_HOURS.intersection(arguments[:1]):
        outlive_readers()
    _print_what_can_be()
    try:
        status = _dispatch(arguments)
        sys.stdout.flush()
        return status
    except UserError as error:
        # A message of several lines keeps them; what names hold besides does nothing to the terminal.
        print("\n".join(map(printable, f"asd: {error}".split("\n"))), file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read, such as `head`, has read enough.  Python would flush once more at exit, and say so.
        _say_no_more()
        return 0
    except OSError as error:
        if (told := full_disk(error) or refused_place(error)) is None:
            raise
        if error.filename is None and _cannot_print():
            told = UserError(
                f"standard output: cannot be written ({error.strerror}); send it to a place with free space"
            )
            _say_no_more()
        print(f"asd: {printable(str(told))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("asd: interrupted", file=sys.stderr)
        return INTERRUPTED


def _say_no_more() -> None:
    """What was not printed goes nowhere: Python would try once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _cannot_print() -> bool:
    """Whether nothing more can be printed: a write to standard output that fails names no file."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def _speak_utf_8() -> None:
    """Start again where the locale would have names and files in another encoding: they are UTF-8 everywhere else."""
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ["PYTHONUTF8"] = "1"
    # The terminal keeps its own.
    os.environ.setdefault("PYTHONIOENCODING", f"{sys.stdout.encoding}:replace")
    os.execv(sys.executable, sys.orig_argv)


def _open_more_files() -> None:
    """Use what the system allows: each machine's decoded clips are a file that stays open, and many start with 256."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _collect_less() -> None:
    """Look for cyclic garbage more rarely, and not at exit, where the system takes all: a fifth of a short command.

    Training keeps Python's ways, since cycles may hold much of a device's memory there.
    """
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
    # What is frozen is not looked through; what was registered first is called last.
    atexit.register(gc.freeze)


def _print_what_can_be() -> None:
    """Characters that the terminal's encoding lacks are replaced: none of them is worth a run's results."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def take_what_is_vouched_for(arguments: Sequence[str]) -> list[str]:
    """``--config-dir DIR`` and ``--trust PACKAGE`` of any command go to the environment: further processes see them."""
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in _VOUCHED:
            rest.append(word)
            continue
        given = value if equals else next(words, "")
        if not given or (name != "--trust" and not Path(given).expanduser().is_dir()):
            raise UserError(f"{name} {given}: {'a package' if name == '--trust' else 'an existing folder'} is needed")
        variable, separator = _VOUCHED[name]
        os.environ[variable] = separator.join(filter(None, [os.environ.get(variable), given]))
        if name == "--trust":
            from asd_lightning.trust import trusted_packages

            # Told here, whether or not the command comes to look into it.
            trusted_packages()
    return rest


def _dispatch(arguments: list[str]) -> int:
    arguments = take_what_is_vouched_for(arguments)
    command = arguments[0] if arguments and arguments[0] in COMMANDS else None
    if command in HYDRA_COMMANDS:
        return int(_module(command).run(arguments[1:]))
    parsed = build_parser(command).parse_args(arguments)
    for name, value in vars(parsed).items():
        # A shell leaves the ~ of --output=~/page.html alone.
        setattr(parsed, name, _at_home(value))
    return int(_module(parsed.command).run(parsed))


def _at_home(value: object) -> object:
    if isinstance(value, list):
        return [_at_home(item) for item in value]
    return value.expanduser() if isinstance(value, Path) else value


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"asd_lightning.commands.{command.replace('-', '_')}")


if __name__ == "__main__":
    sys.exit(main())
