"""A page of the documentation as a reader follows it: its files are written, its commands and its Python are run.

A block of code after a path in backquotes and a colon is that file.  Lines of a shell's
blocks are run one after the other; ``asd`` as the command does, from `tests.forked`, ``python`` by this interpreter.
"""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.forked import Done, run_forked
from tests.live.broker import until
from tests.reference import REPOSITORY

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```", re.M | re.S)
_PATH = re.compile(r"`([\w./-]+\.\w+)`:\n\n(?:<!-- .* -->\n)?\Z")
_SAID = re.compile(r"<!-- ((?:run by |not run: ).*) -->\s*\Z")


class Block(NamedTuple):
    """A block of code: its language, its text, the file it is (or ``None``), what a comment before it says of it."""

    page: str
    number: int
    language: str
    text: str
    file: str | None
    said: str | None


def blocks(page: str) -> list[Block]:
    """The blocks of a page, named from the repository's top."""
    content = (REPOSITORY / page).read_text(encoding="utf-8")
    found = []
    for number, one in enumerate(_BLOCK.finditer(content)):
        before = content[: one.start()]
        file, said = _PATH.search(before), _SAID.search(before)
        indent = one["indent"]
        text = "".join(line.removeprefix(indent) for line in one["text"].splitlines(keepends=True))
        found.append(Block(page, number, one["language"], text, file and file[1], said and said[1]))
    return found


def lines_of(text: str) -> list[str]:
    """Commands of a shell, one an entry; a line that ends with a backslash goes on."""
    whole = (line.strip() for line in text.replace("\\\n", " ").splitlines())
    return [line for line in whole if line and not line.startswith("#")]


class Walk:
    """One reader in one folder, which becomes the current one.

    Args:
        folder: where to start.
        patch: of pytest: sets the environment and the current folder.
        more: arguments for every ``asd`` command of this name, such as a shorter training.
        instead: what a text stands for here, such as a port that is free.
        programs: where a program is that is not on every path.
    """

    def __init__(
        self,
        folder: Path,
        patch: pytest.MonkeyPatch,
        *,
        more: Mapping[str, Sequence[str]] | None = None,
        instead: Mapping[str, str] | None = None,
        programs: Mapping[str, str] | None = None,
    ) -> None:
        patch.chdir(folder)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        self._folder, self._patch = folder, patch
        self._more, self._instead = more or {}, instead or {}
        self._programs = {"python": sys.executable, **(programs or {})}
        # Jobs of the shell: the first is %1.
        self._jobs: list[subprocess.Popen[bytes]] = []
        # Variable -> number of the job whose process it holds.
        self._held: dict[str, int] = {}
        self.told = ""

    def page(self, page: str, statuses: Mapping[str, int] | None = None) -> None:
        """Follow a page, but for what it says is not run; a command is expected to end with status 0.

        Args:
            page: from the repository's top.
            statuses: of commands that begin with these words, where it is another.
        """
        for block in blocks(page):
            if block.said is None:
                self.follow(block, statuses or {})

    def follow(self, block: Block, statuses: Mapping[str, int]) -> None:
        """Do what one block says."""
        text = block.text
        for words, here in self._instead.items():
            text = text.replace(words, here)
        if block.file is not None:
            path = Path(block.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif block.language == "python":
            path = self._folder / f"block_{block.number}.py"
            path.write_text(text, encoding="utf-8")
            self._run(["python", str(path)], 0)
        elif block.language == "bash":
            for line in lines_of(text):
                self.line(line, statuses)

    def printed(self, number: int) -> list[str]:
        """The lines that a job of the shell has printed."""
        return (self._folder / f"job_{number}.txt").read_text(encoding="utf-8").splitlines()

    def end(self) -> None:
        """End what goes on in the background."""
        for process in self._jobs:
            process.terminate()
            process.wait()

    def line(self, line: str, statuses: Mapping[str, int] | None = None) -> None:
        """One line of a shell."""
        words = shlex.split(line, comments=True)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self._patch.setenv(name, str(self._folder) if value == "." else value)
        elif words[0].endswith("=$!"):
            self._held[words[0].removesuffix("=$!")] = len(self._jobs)
        elif words[0] in ("wait", "kill"):
            name = words[1]
            job = self._jobs[(self._held[name[1:]] if name[0] == "$" else int(name.removeprefix("%"))) - 1]
            if words[0] == "kill":
                job.terminate()
            job.wait()
        elif words[-1] == "&":
            self._leave(words[:-1])
        else:
            self._run(words, next((status for start, status in (statuses or {}).items() if line.startswith(start)), 0))

    def _leave(self, words: list[str]) -> None:
        """Start it and go on, once its port answers where it is given one, or else once it has said something."""
        path = self._folder / f"job_{len(self._jobs) + 1}.txt"
        with path.open("wb") as output:
            command = [self._programs.get(words[0], words[0]), *words[1:]]
            self._jobs.append(subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL))
        if "-p" in words:
            until(lambda: _answers(int(words[words.index("-p") + 1])))
        else:
            until(lambda: path.read_text())

    def _run(self, words: list[str], expected: int) -> None:
        if words[0] == "asd":
            done = run_forked([*words[1:], *self._more.get(words[1], ())], self._folder)
        else:
            command = [self._programs.get(words[0], words[0]), *words[1:]]
            done = Done(*_ended(subprocess.run(command, capture_output=True, text=True)))
        self.told += done.stdout + done.stderr
        assert done.returncode == expected, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"


def _ended(process: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return process.returncode, process.stdout, process.stderr


def _answers(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0
