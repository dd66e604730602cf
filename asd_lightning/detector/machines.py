"""The machines of a detector by name, read from its file when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import RLock

from asd_lightning.detector.file import Arrays, DetectorFile
from asd_lightning.detector.machine import Machine


class Machines(Mapping[str, Machine]):
    """Machines by name; those of a file read when they are asked for; threads may share it."""

    def __init__(
        self, made: Mapping[str, Machine], file: DetectorFile | None = None, rows: Mapping[str, int] | None = None
    ) -> None:
        self._made = dict(made)
        self._file = file
        self._rows = dict(rows or {})
        self._lock = RLock()

    def __getitem__(self, name: str) -> Machine:
        with self._lock:
            if name not in self._made:
                if self._file is None or name not in self._rows:
                    raise KeyError(name)
                part = self._file.part(f"machine/{self._rows[name]}")
                self._made[name] = Machine.of_parts(part, self._file.path)
            return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._rows, *self._made]))

    def __len__(self) -> int:
        return len({*self._rows, *self._made})

    def parts(self, name: str) -> Arrays:
        """A machine as arrays; those of a file that nobody has asked for are passed on as they are."""
        with self._lock:
            if name in self._made or self._file is None:
                return self[name].parts()
            return self._file.part(f"machine/{self._rows[name]}")

    def put(self, machine: Machine) -> None:
        """Take a machine in, in the place of one of its name."""
        with self._lock:
            self._made[machine.name] = machine
