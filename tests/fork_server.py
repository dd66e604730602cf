"""The process of which `tests.forked` makes others: it has imported what takes seconds, and does nothing else.

It runs as a program, in an interpreter that may know the package alone: nothing of the tests may be imported here.
Two such processes wait, each at a socket in the folder.  At ``python`` only libraries of others are imported, and what
comes from it imports the package itself, as it would from a new start; at ``asd`` the package is imported too, and what
all commands would do first is done.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

LIBRARIES = (
    "torch._dynamo",
    "pytorch_lightning",
    "torchmetrics",
    "hydra",
    "scipy.signal",
    "scipy.stats",
    "sklearn.covariance",
    "sklearn.metrics",
    "sklearn.mixture",
    "sklearn.neighbors",
    "imblearn.over_sampling",
    "matplotlib.figure",
    "rich.console",
)
PACKAGE = (
    "cli",
    "commands.test",
    "commands.train",
    "encoders.spectrum_cnn",
    "experiment.duration",
    "experiment.retest",
    "experiment.train",
    "losses",
    "training.averaging",
)
MOST_FILES = 64
NUMBER = struct.Struct("!i")


def main(folder: Path, lighter: Iterable[Callable[[], None]]) -> None:
    try:
        request = serving(folder, lighter)
    except Exception:
        shutil.rmtree(folder)  # for those who wait
        raise
    begin(request)


def serving(folder: Path, lighter: Iterable[Callable[[], None]]) -> dict[str, Any]:
    """Returns in each new process, with what is asked of it."""
    gc.disable()
    for name in LIBRARIES:
        importlib.import_module(name)
    if not os.fork():
        return serve(folder / "python")
    for name in PACKAGE:
        importlib.import_module(f"asd_lightning.{name}")
    for one in lighter:
        one()
    warm_up()
    return serve(folder / "asd")


def warm_up() -> None:
    """The parsers of Hydra, and the list of what is installed."""
    from asd_lightning.configuration import compose_train, hydra_as_before
    from asd_lightning.experiment.provenance import packages

    with hydra_as_before():
        compose_train([])
    packages()


def serve(path: Path) -> dict[str, Any]:
    """Returns in each new process, with what is asked of it; ends when the standard input does."""
    gc.freeze()
    gc.enable()
    listener = socket.socket(socket.AF_UNIX)
    part = path.with_suffix(".part")
    listener.bind(str(part))
    listener.listen()
    part.rename(path)
    keepers = 0
    while 0 not in select.select([0, listener], [], [])[0]:
        asker, _ = listener.accept()
        while keepers and os.waitpid(-1, os.WNOHANG)[0]:
            keepers -= 1
        if not os.fork():
            listener.close()
            return kept(asker)
        asker.close()
        keepers += 1
    for _ in range(keepers):
        os.wait()
    os._exit(0)


def kept(asker: socket.socket) -> dict[str, Any]:
    """Returns in the process that was asked for; this one stays, tells its number and its status, and ends.

    It ends the other when the asker has gone.
    """
    _, files, _, _ = socket.recv_fds(asker, 1, MOST_FILES)
    request: dict[str, Any] = json.loads(asker.makefile().readline())
    child = os.fork()
    if not child:
        asker.close()
        move(files, request["files"])
        return request
    for file in files:
        os.close(file)
    asker.sendall(NUMBER.pack(child))
    ended = threading.Event()

    def end_with_the_asker() -> None:
        asker.recv(1)
        if not ended.is_set():
            os.kill(child, signal.SIGKILL)

    threading.Thread(target=end_with_the_asker, daemon=True).start()
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    ended.set()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it
        asker.sendall(NUMBER.pack(status))
    os._exit(0)


def move(files: list[int], numbers: list[int]) -> None:
    """Each open file gets its number, which may be that of another before."""
    above = max([*files, *numbers]) + 1
    for place, file in enumerate(files, above):
        os.dup2(file, place)
        os.close(file)
    for place, number in enumerate(numbers, above):
        os.dup2(place, number)
        os.close(place)


def begin(request: dict[str, Any]) -> None:
    """Be the process that was asked for."""
    import torch

    if request["own_group"]:
        os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for place in reversed(os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        if place not in sys.path:
            sys.path.insert(1, place)
    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    # What it starts anew in its turn.
    sys.executable = request["python"]
    option, *words = request["argv"]
    if option == "-m":
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif option == "-c":
        sys.argv = words[1:]
        exec(compile(words[0], "<forked>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = request["argv"]
        runpy.run_path(option, run_name="__main__")
