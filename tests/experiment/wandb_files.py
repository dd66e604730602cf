"""Reads an offline wandb run back: LevelDB's log format, one protocol buffer a record."""

import json
import struct
import time
from pathlib import Path
from typing import Any, NamedTuple

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768
HEADER = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


class OfflineRun(NamedTuple):
    """What was logged: the run's description, its configuration, every logged value, artifacts, and the exit code."""

    run: Any
    config: dict[str, Any]
    history: list[dict[str, Any]]
    artifacts: list[Any]
    exit_code: int | None

    def values(self, key: str) -> list[Any]:
        return [row[key] for row in self.history if key in row]


def offline_runs(folder: Path, wait: float = 600) -> list[OfflineRun]:
    """The offline runs below ``folder``, by path.

    A run's last records reach the disk shortly after ``wandb.finish`` has returned: they are waited for, ``wait``
    seconds at most.
    """
    deadline = time.monotonic() + wait
    while True:
        runs = [_read(path) for path in sorted(folder.rglob("*.wandb"))]
        if all(run.exit_code is not None for run in runs) or time.monotonic() > deadline:
            return runs
        time.sleep(0.05)


def _read(path: Path) -> OfflineRun:
    run, config, history, artifacts, exit_code = None, {}, [], [], None
    for record in _records(path.read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            items = record.history.item
            history.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
        elif kind == "artifact":
            artifacts.append(record.artifact)
        elif kind == "exit":
            exit_code = record.exit.exit_code
    return OfflineRun(run, config, history, artifacts, exit_code)


def _records(data: bytes):
    """The whole records of ``data``; one whose end has not reached the disk yet is not there."""
    assert b":W&B".startswith(data[:4])
    position, parts = HEADER, []
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += HEADER
        if position + length > len(data):
            return
        parts.append(data[position : position + length])
        position += length
        if kind in (FULL, LAST):
            record = Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            yield record
