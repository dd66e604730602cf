"""What runs on the nodes: the listing on the driver's own, and workers that hold a detector and write shards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from asd_lightning.archive.listing import found
from asd_lightning.archive.shards import Told, Wanted, begun_path, read_told, shard_path, text_of, write_shard
from asd_lightning.atomic import open_unlinked
from asd_lightning.detector.hearing import machine_above
from asd_lightning.errors import UserError

if TYPE_CHECKING:
    from asd_lightning.detector.detector import Detector
    from asd_lightning.detector.judging import Judgment

_NO_MACHINE = "none of the folders above it has the name of a machine that the detector knows"
# Embeddings of so many recordings are held at once: a recording may have hours.
_TOGETHER = 64
_TRIES = 5


@dataclass(frozen=True)
class Job:
    """What is asked for, the same for every worker.

    Attributes:
        detector: its file, which every node reads.
        content_hash: of the detector as it was when the call began.
        words: recordings, folders and patterns.
        machine: whose recordings, where it was told.
        output: folder of the shards, which every node writes to.
        shard: recordings of a shard.
        batch_size: windows at a time.
    """

    detector: Path
    content_hash: str
    words: tuple[str, ...]
    machine: str | None
    output: Path
    shard: int
    batch_size: int

    def load(self) -> Detector:
        """The detector.

        Raises:
            UserError: it is not there, or is another than when the call began.
        """
        from asd_lightning.detector.detector import Detector

        detector = Detector.load(self.detector)
        assert detector.read_from is not None
        if detector.read_from.content_hash != self.content_hash:
            raise UserError(f"{self.detector}: was changed meanwhile; give the command again, with another -o")
        return detector


def listed(job: Job, done: bytes) -> Iterator[dict[str, str]]:
    """Shards to be, one after another as they are found: what ``done`` holds is left out, and what came before.

    Args:
        job: what is asked for.
        done: keys of recordings in complete shards, one after another.

    Yields:
        ``shard``: recordings, as `packed` writes them; or ``error``: why the listing ended.
    """
    width = len(Wanted(Path("/"), "").key)
    seen = {done[place : place + width] for place in range(0, len(done), width)}
    shard: list[Wanted] = []
    try:
        names = frozenset(job.load().machines_)
        for path in found(job.words):
            one = Wanted(path, machine_of(path, names, job.machine))
            if one.key in seen:
                continue
            seen.add(one.key)
            shard.append(one)
            if len(shard) == job.shard:
                yield {"shard": packed(shard), "error": ""}
                shard = []
    except UserError as error:
        yield {"shard": "", "error": text_of(str(error))}
    if shard:
        yield {"shard": packed(shard), "error": ""}


def machine_of(path: Path, names: frozenset[str], machine: str | None) -> str:
    """Whose recording it is: the machine told, the only one, or that of the nearest folder; "" where it is nobody's."""
    if machine is not None or len(names) == 1:
        return machine or next(iter(names))
    return machine_above(path, names) or ""


def packed(wanted: Iterable[Wanted]) -> str:
    """Recordings as one text, whatever bytes are in their names."""
    return json.dumps([[os.fsencode(one.path).decode("latin-1"), one.machine] for one in wanted])


def unpacked(text: str) -> list[Wanted]:
    """What `packed` was given."""
    return [Wanted(Path(os.fsdecode(path.encode("latin-1"))), machine) for path, machine in json.loads(text)]


class ShardWriter:
    """Judges the recordings of a shard and writes it; the detector is loaded with the first one and kept.

    Args:
        job: what is asked for.
        on_gpu: whether the embedder computes on a GPU.
    """

    def __init__(self, job: Job, on_gpu: bool = False) -> None:
        self.job = job
        self.on_gpu = on_gpu
        self._detector: Detector | None = None

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Of each row of `listed`: the numbers of decisions as JSON, or what went wrong that a user can put right."""
        told: list[dict[str, Any]] = []
        for shard, error in zip(batch["shard"], batch["error"], strict=True):
            try:
                if error:
                    raise UserError(str(error))
                told.append({"decisions": self.write(unpacked(str(shard))).decisions})
            except UserError as failure:
                told.append({"error": str(failure)})
        return {"told": np.array([json.dumps(one) for one in told])}

    def write(self, wanted: Sequence[Wanted]) -> Told:
        """Judge and write, where another worker has not: one whose answer was lost may have written it already.

        Raises:
            UserError: the detector is another by now, its embedder cannot be built, or workers end over these.
        """
        path = shard_path(self.job.output, self.job.content_hash, wanted)
        if path.exists():
            return read_told(path)
        detector = self._loaded()
        begun = begun_path(path)
        # Ray gives a shard to another worker for ever, also one that has a recording which the decoder dies of.
        if begun.exists() and begun.stat().st_size >= _TRIES:
            raise UserError(
                f"{wanted[0].path} to {wanted[-1].path}: {_TRIES} workers have ended while they scored one of these "
                f"{len(wanted)} recordings; move it away, and give the command again (--shard 1 finds it)"
            )
        with open_unlinked(begun, "ab") as file:
            file.write(b".")
        judgments = [
            judgment
            for start in range(0, len(wanted), _TOGETHER)
            for judgment in judged(detector, wanted[start : start + _TOGETHER], self.job.batch_size)
        ]
        told = write_shard(path, self.job.content_hash, judgments)
        begun.unlink(missing_ok=True)
        return told

    def _loaded(self) -> Detector:
        if self._detector is None:
            self._detector = self.job.load()
            if self.on_gpu:
                self._detector.hearing_.model.to("cuda")
        return self._detector


def judged(detector: Detector, wanted: Sequence[Wanted], batch_size: int) -> list[Judgment]:
    """Judge recordings of whichever machines; one of no machine cannot be judged."""
    found: list[Judgment] = []
    for name in dict.fromkeys(one.machine for one in wanted):
        paths = [one.path for one in wanted if one.machine == name]
        found += detector.judge(paths, name, batch_size) if name else map(_of_no_machine, paths)
    return found


def _of_no_machine(path: Path) -> Judgment:
    from asd_lightning.detector.judging import Judgment

    nan = float("nan")
    return Judgment(str(path), "", nan, nan, "cannot judge", nan, (_NO_MACHINE,), (), None)
