"""Processes of the ``asd`` command that need not import torch and Lightning once more.

One process imports them and does nothing else (`tests.fork_server`); each command is a fork of it, as new as one that
was started: with its own signals, folder, environment and exit status.  What a command starts anew in its turn, such as
the processes of other devices or a sweep's workers, is a fork too, in which the libraries alone are imported and not
the package.  What is asked of the start itself is tested with `subprocess`.
"""

from __future__ import annotations

import atexit
import inspect
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tests import fork_server, lighter

COMMAND = "import sys; from asd_lightning.cli import main; sys.exit(main(sys.argv[1:]))"

# The variable that names the interpreter of all workers.
_SHARED = "TESTS_PYTHON"

# As an interpreter: it asks for a process that has its arguments, environment and open files, and ends as that does.
_PYTHON = f"""#!{sys.executable} -IS
import json, os, signal, socket, struct, sys

def is_open(number):
    try:
        return os.fstat(number)
    except OSError:
        return None

files = [number for number in map(int, os.listdir("/dev/fd")) if is_open(number)]
asker = socket.socket(socket.AF_UNIX)
asker.connect(__file__.removesuffix("3"))
socket.send_fds(asker, [b"."], files)
words = sys.argv[1:]
if words[0] == "-c":
    words.insert(2, "-c")
request = {{"argv": words, "cwd": os.getcwd(), "environment": dict(os.environ), "files": files, "own_group": False,
            "python": __file__}}
asker.sendall(json.dumps(request).encode() + bytes([10]))
asked, = struct.unpack("!i", asker.recv(4, socket.MSG_WAITALL))
passed_on = signal.SIGINT, signal.SIGTERM
for number in passed_on:
    signal.signal(number, lambda number, _: os.kill(asked, number))
status, = struct.unpack("!i", asker.recv(4, socket.MSG_WAITALL))
if status < 0:
    for number in passed_on:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Forked:
    """As `subprocess.Popen`: one command.  It is killed where nobody waits for it any more.

    Args:
        words: the arguments of ``asd``, or of ``code``.
        cwd: the folder it starts in.
        env: its environment; by default this process's.
        merged: whether its errors stand among its output.
        own_group: whether it leads a group of processes, as a shell's commands do.
        code: what it does.
        python: the interpreter.
        script: what was started, for a command that starts itself again: as a process of `python_of_libraries`.
    """

    def __init__(
        self,
        words: list[Any],
        cwd: Path,
        *,
        env: Mapping[str, str] | None = None,
        merged: bool = False,
        own_group: bool = False,
        code: str = COMMAND,
        python: str = sys.executable,
        script: Path | str = "asd",
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._status: int | None = None
        request = {
            "argv": ["-c", code, str(script), *map(str, words)],
            "cwd": str(cwd),
            "environment": dict(os.environ if env is None else env),
            "files": [0, 1, 2],
            "own_group": own_group,
            "python": str(python_of_libraries(python)),
        }
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(str(python_of_libraries(python).with_name("asd")))
        outputs = [self._output(name) for name in ("stdout", "stdout" if merged else "stderr")]
        with Path(os.devnull).open() as nothing, outputs[0].open("a") as output, outputs[1].open("a") as errors:
            socket.send_fds(self._server, [b"."], [nothing.fileno(), output.fileno(), errors.fileno()])
        self._server.sendall(json.dumps(request).encode() + b"\n")
        self.pid = self._told()

    def poll(self) -> int | None:
        """The exit status, of a signal its negative number; ``None`` while it runs."""
        if self._status is None and select.select([self._server], [], [], 0)[0]:
            self._status = self._told()
        return self._status

    def wait(self) -> int:
        """The exit status, once there is one."""
        if self._status is None:
            self._status = self._told()
        return self._status

    def send_signal(self, number: int) -> None:
        """Nothing once it has ended: its number may be another process's by then."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def done(self) -> Done:
        """Its status and what it has printed, once it has ended."""
        return Done(self.wait(), self._printed("stdout"), self._printed("stderr"))

    def so_far(self) -> str:
        """What it has printed of errors; the last line may be half of one."""
        return self._printed("stderr")

    def _printed(self, name: str) -> str:
        path = self._output(name)
        return path.read_text() if path.exists() else ""

    def _output(self, name: str) -> Path:
        return Path(self._folder.name, name)

    def _told(self) -> int:
        told = self._server.recv(fork_server.NUMBER.size, socket.MSG_WAITALL)
        assert told, "the process that forks has ended"
        number: int = fork_server.NUMBER.unpack(told)[0]
        return number


def run_forked(words: list[Any], cwd: Path, **how: Any) -> Done:
    """A command from its start to its end."""
    return Forked(words, cwd, **how).done()


def python_of_libraries(python: str = sys.executable) -> Path:
    """An interpreter that has the libraries of others imported: the package itself is imported anew."""
    interpreter = _server(python)
    while not interpreter.with_name("asd").exists():
        assert interpreter.exists(), "the process that forks has not begun"
        time.sleep(0.01)
    return interpreter


def serve_all_workers() -> None:
    """For the process that deals tests out: the workers that it will start have one such process together."""
    os.environ[_SHARED] = str(_server(sys.executable))


@cache
def _server(python: str) -> Path:
    """One for each interpreter; it ends when the process that has started it does."""
    if python == sys.executable and _SHARED in os.environ:
        return Path(os.environ[_SHARED])
    folder = Path(tempfile.mkdtemp(prefix="forked"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    interpreter = folder / "python3"
    interpreter.write_text(_PYTHON)
    interpreter.chmod(0o700)
    program = f"{inspect.getsource(lighter)}\n{inspect.getsource(fork_server)}"
    begin = f"\n_read_yaml_in_c()\nmain(Path({str(folder)!r}), (compose_lighter, leave_unpainted))"
    read, _write = os.pipe()  # left open: that it is closed is the sign to end
    subprocess.Popen(
        [python, "-c", program.replace("from __future__ import annotations", "") + begin],
        stdin=read,
        start_new_session=True,
        cwd=tempfile.gettempdir(),
        # Read when torch is loaded; how many threads there are is set for each command.
        env=os.environ | {"OMP_WAIT_POLICY": "passive"},
    )
    os.close(read)
    return interpreter
