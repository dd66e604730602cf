"""What all commands have in common on the command line: the place of outputs, and what is told of a mistyped option."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from asd_lightning.atomic import file_path, refuse_unwritable, refuse_unwritable_folder
from asd_lightning.errors import UserError
from asd_lightning.plain_text import did_you_mean

OUTPUT = ("-o", "--output")
INTERRUPTED = 130
"""What a shell reports for a command that Ctrl-C has ended."""
SETTINGS = "KEY=VALUE"
"""How the settings that a command takes after its other arguments are told; they may stand among the options."""
# Hydra's own, as `asd train` takes them: those that stand alone, and those with a value.
_HYDRA_FLAGS = frozenset({"-m", "--multirun", "--resolve", "--hydra-help", "-h", "--help"})
_HYDRA_VALUES = frozenset(
    {"--cfg", "-c", "--info", "-i", "--package", "-p", "--config-name", "-cn", "--experimental-rerun"}
)

_SHOWING = frozenset({"--cfg", "-c", "--info", "-i", "--hydra-help"})


class Parser(argparse.ArgumentParser):
    """A parser that takes options in full, and tells what was probably meant."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **how})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and refuse unknown arguments with the usage of this command and what was probably meant."""
        # Here, so that the usage is that of the command itself and not of asd.
        found, rest = super().parse_known_args(args, namespace)
        rest = self._settings_taken(found, rest)
        if rest:
            known = [option for action in self._actions for option in action.option_strings]
            self.error(f"unrecognized arguments: {' '.join(rest)}{did_you_mean(rest[0], known)}")
        return found, rest

    def _settings_taken(self, found: Any, rest: list[str]) -> list[str]:
        """Settings that came after an option go to those before it, where the command takes any; what is left."""
        place = next((action.dest for action in self._actions if action.metavar == SETTINGS and action.nargs), None)
        taken = [word for word in rest if place and not word.startswith("-") and ("=" in word or word[0] == "~")]
        if place and taken:
            setattr(found, place, [*getattr(found, place), *taken])
        return [word for word in rest if word not in taken]

    def error(self, message: str) -> NoReturn:
        """Exit with the usage and the message; of a missing value, also what the option takes and how it is written."""
        option = next((each for each in self._actions if message == f"{_argument(each)}: expected one argument"), None)
        if option is not None:
            name = option.option_strings[-1]
            message += f" ({option.help or option.dest}); one that begins with - is written {name}=VALUE"
        super().error(message)


def _argument(action: argparse.Action) -> str:
    """How argparse names an option in its errors."""
    return f"argument {'/'.join(action.option_strings)}"


def add_output(parser: argparse.ArgumentParser, about: str, *, file: str = "", **how: Any) -> None:
    """``-o PATH``, ``--output PATH``; ``--out``, as it was called, is still read.

    A place that cannot be written to is refused before the command does anything. Of an output that is one file,
    ``file`` is such a name; "" where it is a folder.
    """
    kind = partial(_output_file, file) if file else _output_folder
    action = parser.add_argument(*OUTPUT, "--out", type=kind, metavar="PATH", help=about, dest="output", **how)
    # What the help shows; the parser has all three.
    action.option_strings = OUTPUT


def _output_file(example: str, text: str) -> Path:
    path = file_path(text).expanduser()
    refuse_unwritable(path)
    if path.is_dir():
        raise UserError(f"{text}: is a folder; name a file in it, such as -o {path / example}")
    return path


def _output_folder(text: str) -> Path:
    folder = Path(text).expanduser()
    refuse_unwritable_folder(folder)
    return folder


def split_output(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words, and what was given as the output (none, or one), of a command that takes overrides too.

    Raises:
        UserError: another option, or an output without a folder.
    """
    words: list[str] = []
    outputs: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in (*OUTPUT, "--out") or (name == "out" and equals):
            given = value if equals else next(rest, "")
            if not given or given.startswith("-"):
                raise UserError(f"{name}: the folder for the results is missing; {name} DIR")
            if outputs:
                raise UserError(f"{name} {given}: a second folder for the results, after {outputs[0]}; give one")
            outputs.append(given)
        elif argument.startswith("-"):
            raise UserError(f"{argument}: no such option{did_you_mean(name, OUTPUT)}; settings are KEY=VALUE")
        else:
            words.append(argument)
    return words, outputs


def refuse_unknown_options(arguments: Sequence[str]) -> None:
    """Refuse what is neither an override nor an option of Hydra's, before anything heavy is imported.

    Raises:
        UserError: names it, and what was probably meant.
    """
    known = _HYDRA_FLAGS | _HYDRA_VALUES
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option = argument.partition("=")[0]
        if argument.startswith("-") and option not in known and before not in _HYDRA_VALUES:
            raise UserError(f"{argument}: no such option{did_you_mean(option, sorted(known))}; settings are KEY=VALUE")


def prints_alone(arguments: Sequence[str]) -> bool:
    """Whether Hydra is asked to show something, and nothing is to be run."""
    return any(argument.partition("=")[0] in _SHOWING for argument in arguments)
