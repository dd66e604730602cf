"""Read many mutated inputs, in a process that may take little memory above its start, each within a time limit.

    python -m fuzz.run recordings --count 100000 --seed 0

A crash, a hang, a lack of memory or an exception that is no refusal is a finding: its input goes to fuzz/findings, and
the exit status is 1.  An input follows from its number, so that ``--seed NUMBER --count 1`` makes it again.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import multiprocessing
import resource
import signal
import sys
import time
import traceback
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

# Each has make(seed) -> bytes and check(data): a module, or something in one.
TARGETS = {
    "recordings": "fuzz.recordings",
    "weights": "fuzz.foreign:weights",
    "pickles": "fuzz.foreign:pickles",
    "safetensors": "fuzz.foreign:safetensors",
    "fitted": "fuzz.fitted",
    "fitted_bytes": "fuzz.foreign:fitted",
    "npz": "fuzz.foreign:npz",
    "npy": "fuzz.foreign:npy",
    "yaml": "fuzz.foreign:yaml",
    "json": "fuzz.foreign:json_",
    "csv": "fuzz.foreign:csv",
    "run": "fuzz.foreign:run",
    "submission": "fuzz.foreign:submission",
    "checkpoints": "fuzz.checkpoints",
    "detectors": "fuzz.detectors",
}
FINDINGS = Path(__file__).parent / "findings"
MEMORY = 1 << 30
_FOUND = 1
_SECONDS_TO_START = 120
_LONGER_BY_THE_CLOCK = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="number of the first input")
    parser.add_argument("--seconds", type=int, default=10, help="of the processor, for one input")
    args = parser.parse_args()
    begin, findings = time.monotonic(), 0
    number, end = args.seed, args.seed + args.count
    while number < end:
        stopped_at, what = run_until_found(TARGETS[args.target], number, end, args.seconds)
        if what:
            findings += 1
            _keep(args.target, stopped_at, what)
        number = stopped_at + 1
    print(f"{args.target}: {args.count:,} inputs, {findings} findings, {time.monotonic() - begin:.0f} s")
    return int(findings > 0)


def run_until_found(module: str, begin: int, end: int, seconds: int) -> tuple[int, str]:
    """Where a process that checks inputs from ``begin`` on came to its end, and of what; "" for the end of its work."""
    context = multiprocessing.get_context("spawn")
    place = context.Value("q", begin)
    process = context.Process(target=_work, args=(module, begin, end, seconds, place))
    process.start()
    process.join()
    if process.exitcode == 0:
        return end - 1, ""
    if process.exitcode == _FOUND:
        return place.value, "an exception that is no refusal"
    name = signal.Signals(-process.exitcode).name if process.exitcode and process.exitcode < 0 else "a crash"
    return place.value, f"more than {seconds} s" if name in ("SIGPROF", "SIGALRM") else name


def _work(module: str, begin: int, end: int, seconds: int, place: Synchronized[int]) -> None:
    target = load(module)
    # The default action ends the process wherever it is.
    for hung in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(hung, signal.SIG_DFL)
    # The first one twice: what it imports is the start from which memory counts.
    for turn, number in enumerate((begin, *range(begin, end))):
        place.value = number
        data = target.make(number)
        if turn == 1:
            limit = data_size() + MEMORY
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        _limit(seconds if turn else _SECONDS_TO_START)
        try:
            target.check(data)
        except Exception:
            traceback.print_exc()
            sys.exit(_FOUND)
        finally:
            _limit(0)


def _limit(seconds: int) -> None:
    """End this process after so many seconds of its own work: on a busy machine it is given few of a clock's.

    The clock ends what does not work, but waits for something.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(_LONGER_BY_THE_CLOCK * seconds)


def load(name: str) -> Any:
    """A target by its place."""
    module, _, inside = name.partition(":")
    return getattr(importlib.import_module(module), inside) if inside else importlib.import_module(module)


def data_size() -> int:
    """Bytes that this process may write to; torch takes far more address space than memory."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmData")))


def _keep(target: str, number: int, what: str) -> None:
    FINDINGS.mkdir(exist_ok=True)
    path = FINDINGS / f"{target}-{number}"
    with contextlib.suppress(Exception):
        path.write_bytes(load(TARGETS[target]).make(number))
    print(f"{target} {number}: {what}; kept as {path}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
