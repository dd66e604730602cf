"""An archive scored by Ray Data: recordings are listed while others are scored, and what is done is not done again."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from asd_lightning.archive.cluster import Workers, connected, refuse_without_ray, workers
from asd_lightning.archive.listing import refuse_absent
from asd_lightning.archive.shards import read_told, remove_leftovers, scored_keys, shards_of
from asd_lightning.archive.worker import Job, ShardWriter, listed
from asd_lightning.atomic import refuse_link
from asd_lightning.detector.detector import Detector
from asd_lightning.errors import UserError

SHARD = 256
_LOCK = ".lock"


@dataclass(frozen=True)
class ScoredArchive:
    """What an archive's shards hold.

    Attributes:
        folder: of the shards.
        decisions: decision -> recordings, in all shards of the folder.
        scored: recordings that this call has scored.
    """

    folder: Path
    decisions: Counter[str]
    scored: int

    @property
    def recordings(self) -> int:
        """In all shards of the folder."""
        return self.decisions.total()


def score_archive(
    detector: Path | str,
    words: Sequence[Path | str],
    output: Path | str,
    *,
    machine: str | None = None,
    shard: int = SHARD,
    batch_size: int = 32,
) -> ScoredArchive:
    """Judge the recordings of an archive on the nodes of a Ray cluster, and write Parquet shards.

    Recordings that complete shards of the folder hold are left out: a call that was interrupted goes on.

    Args:
        detector: its file; every node must see it, the recordings and ``output`` under the same paths.
        words: recordings, folders, and patterns (``archive/**``).
        output: folder of the shards.
        machine: whose; by default the only one, or the one whose name is that of a folder above the recording.
        shard: recordings of a shard.
        batch_size: windows at a time.

    Raises:
        UserError: Ray is not installed, nothing there, an unknown machine, shards of another detector, or somebody
            else is writing there.
    """
    refuse_without_ray()
    loaded = Detector.load(detector)
    assert loaded.read_from is not None
    if machine is not None:
        loaded.machine_of(Path(detector), machine)
    if shard < 1:
        raise UserError(f"--shard {shard}: a shard holds one recording or more")
    given = tuple(map(str, words))
    refuse_absent(given)
    folder = Path(output).absolute()
    job = Job(Path(detector).absolute(), loaded.read_from.content_hash, given, machine, folder, shard, batch_size)
    with _alone_in(folder):
        before = _decisions(job, shards_of(folder))
        # Before Ray is imported, whose types for Parquet unpickle.
        done = b"".join(scored_keys(shards_of(folder)))
        now: Counter[str] = Counter()
        # A cluster takes many seconds to start, which a call with nothing to do need not wait for.
        if (first := next(listed(job, done), None)) is not None:
            if first["error"]:
                raise UserError(first["error"])
            with connected() as ray, _counted(before.total()) as advance:
                crew = workers(ray.cluster_resources(), bool(loaded.hearing_.digest))
                for told in _told(ray, job, done, crew):
                    if "error" in told:
                        raise UserError(told["error"])
                    now.update(told["decisions"])
                    advance(sum(told["decisions"].values()))
        return ScoredArchive(folder, before + now, now.total())


def _told(ray: Any, job: Job, done: bytes, crew: Workers) -> Iterator[dict[str, Any]]:
    """What the workers say of each shard, in the order in which they are ready."""
    context = ray.data.DataContext.get_current().copy()
    # What is listed passes on shard by shard; larger blocks would gather shards for one worker.
    context.target_max_block_size = 1
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    kept = ray.put(done)

    def listing(_: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for row in listed(job, ray.get(kept)):
            yield {name: [value] for name, value in row.items()}

    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    with ray.data.DataContext.current(context):
        # On the driver's own node: with any other one the listing would be lost, and begin again.
        shards = ray.data.from_items([0]).map_batches(listing, num_cpus=0, label_selector=here)
        written = shards.map_batches(
            ShardWriter,
            fn_constructor_args=(job, crew.gpus > 0),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=crew.processes, max_size=crew.processes),
            num_cpus=1,
            num_gpus=crew.gpus,
        )
        for batch in written.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"):
            yield from map(json.loads, batch["told"])


def _decisions(job: Job, shards: Sequence[Path]) -> Counter[str]:
    """Of all recordings in shards.

    Raises:
        UserError: shards of another detector.
    """
    decisions: Counter[str] = Counter()
    for path in shards:
        told = read_told(path)
        if told.content_hash != job.content_hash:
            raise UserError(
                f"{path}: is of another detector than {job.detector}, or of its state before a change; give another -o"
            )
        decisions.update(told.decisions)
    return decisions


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Make and lock the folder; what killed workers have left is removed."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is there already, and no folder; give another -o")
    folder.mkdir(parents=True, exist_ok=True)
    refuse_link(folder / _LOCK)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder}: another command is scoring into it; wait for its end, or give another -o") from None
    try:
        remove_leftovers(folder)
        yield
    finally:
        lock.release()


@contextmanager
def _counted(before: int) -> Iterator[Callable[[int], None]]:
    """How many recordings are scored: a line that changes on a terminal's standard error, else lines now and then."""
    if not sys.stderr.isatty():
        yield _lines_from(before)
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} recordings scored"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        # How many there are is known when the last one is listed.
        task = progress.add_task("", total=None, completed=before)
        yield lambda count: progress.advance(task, count)


def _lines_from(before: int) -> Callable[[int], None]:
    """Tell on standard error whenever a tenth more is scored than when it was told last; the total is not known."""
    now = told = 0

    def advance(count: int) -> None:
        nonlocal now, told
        now += count
        if 10 * now >= 11 * told:
            told = now
            print(f"asd: {before + now:,} recordings scored", file=sys.stderr, flush=True)

    return advance
