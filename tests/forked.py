"""The ``asd`` command in processes of their own that need not import torch and Lightning once more.

One process imports them and does nothing else; each command is a fork of it, as new as one that was started: with its
own signals, folder, environment and exit status.  What is asked of the start itself is tested with `subprocess`.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tests import lighter

COMMAND = "import sys; from asd_lightning.cli import main; sys.exit(main(sys.argv[1:]))"

# Reads a request a line.  A keeper for each command waits for it, and leaves its number and its status in files.
# What all commands would do first is done: imports, the parsers of Hydra, the list of what is installed.
_SERVER = f"""
{inspect.getsource(lighter)}
import gc, json, os, sys
gc.disable()
import torch
import imblearn.over_sampling
import asd_lightning.cli, asd_lightning.losses, asd_lightning.encoders.spectrum_cnn
import asd_lightning.experiment.train, asd_lightning.experiment.retest, asd_lightning.experiment.duration
import asd_lightning.commands.train, asd_lightning.commands.test, asd_lightning.training.averaging
from asd_lightning.configuration import compose_train, hydra_as_before
from asd_lightning.experiment.provenance import packages

compose_lighter()
leave_unpainted()
with hydra_as_before():
    compose_train([])
packages()
gc.freeze()
gc.enable()
"""
_SERVER += """

def serve():
    for line in sys.stdin:
        while waiting and os.waitpid(-1, os.WNOHANG)[0]:
            waiting.pop()
        request = json.loads(line)
        if os.fork():
            waiting.append(line)
            continue
        child = os.fork()
        if not child:
            return request
        write(request["folder"] + "/pid", child)
        status = os.waitpid(child, 0)[1]
        write(request["folder"] + "/status", os.waitstatus_to_exitcode(status))
        os._exit(0)
    for _ in waiting:
        os.wait()
    sys.exit()

def write(path, number):
    with open(path + ".part", "w") as file:
        file.write(str(number))
    os.rename(path + ".part", path)

waiting = []
request = serve()
if request["own_group"]:
    os.setsid()
os.chdir(request["cwd"])
os.environ.clear()
os.environ.update(request["environment"])
if threads := os.environ.get("OMP_NUM_THREADS"):
    torch.set_num_threads(int(threads))
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
for number, name in ((1, "/stdout"), (2, request["stderr"])):
    os.dup2(os.open(request["folder"] + name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
sys.argv = request["argv"]
exec(compile(request["code"], "<forked>", "exec"), {"__name__": "__main__"})
"""


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Forked:
    """As `subprocess.Popen`: one command.

    Args:
        words: the arguments of ``asd``, or of ``code``.
        cwd: the folder it starts in.
        env: its environment; by default this process's.
        merged: whether its errors stand among its output.
        own_group: whether it leads a group of processes, as a shell's commands do.
        code: what it does.
        python: the interpreter.
        script: what was started, for a command that starts itself again.
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
        request = {
            "argv": [str(script), *map(str, words)],
            "code": code,
            "cwd": str(cwd),
            "environment": dict(os.environ if env is None else env),
            "folder": self._folder.name,
            "own_group": own_group,
            "stderr": "/stdout" if merged else "/stderr",
        }
        self._server = _server(python, os.environ.get("PYTHONPATH"))
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        self.pid = self._await("pid")

    def poll(self) -> int | None:
        """The exit status, of a signal its negative number; ``None`` while it runs."""
        path = Path(self._folder.name, "status")
        return int(path.read_text()) if path.exists() else None

    def wait(self) -> int:
        """The exit status, once there is one."""
        return self._await("status")

    def send_signal(self, number: int) -> None:
        """Nothing once it has ended: its number may be another process's by then."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def done(self) -> Done:
        """Its status and what it has printed, once it has ended."""
        status = self.wait()
        texts = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        return Done(status, *(path.read_text() if path.exists() else "" for path in texts))

    def _await(self, name: str) -> int:
        path = Path(self._folder.name, name)
        while not path.exists():
            assert self._server.poll() is None, "the process that forks has ended"
            time.sleep(0.01)
        return int(path.read_text())


def run_forked(words: list[Any], cwd: Path, **how: Any) -> Done:
    """A command from its start to its end."""
    return Forked(words, cwd, **how).done()


@cache
def _server(python: str, path: str | None) -> subprocess.Popen[str]:
    """One for each interpreter and what it finds modules by; it ends when this process does."""
    return subprocess.Popen(
        [python, "-c", _SERVER],
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=tempfile.gettempdir(),
        # Read when torch is loaded; how many threads there are is set for each command.
        env=os.environ | {"OMP_WAIT_POLICY": "passive"},
    )
