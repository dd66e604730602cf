"""The clip cache: each recording is decoded once into a memory-mapped file.

One store per machine and split: ``<key>/samples.bin`` holds the clips' samples end to end, ``<key>/index.json`` their
lengths, types and check sums.  The key is a digest of every clip's path and content (`asd_lightning.data.content`) and
of the way of decoding, so a changed recording is another store and a stale one is never read.  A store is written under
a temporary name and renamed; a torn one (wrong size, wrong check sum), or one that lacks a recording which can be read
by now, is removed and written again.

A cache may be shared: an intact store is read without a lock, and who may read and write what is made here follows the
umask and the folder.  Whoever may write to it decides what a run hears, as with the recordings themselves.

A store whose recordings have changed or gone is removed when the next one of the same recordings is written.  Stores of
other options (rate, channel, clip length, another hold-out) stay: a sweep may go back to them.  The whole folder can be
deleted at any time; what is needed of it is decoded again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from asd_lightning.atomic import open_unlinked
from asd_lightning.data.audio import (
    HIGHEST_PEAK,
    BadAudioError,
    DecodeOptions,
    Samples,
    decode,
    is_silent,
    read_header,
    refuse_too_short,
    to_float,
)
from asd_lightning.data.cache_index import FORMAT, Entry, Index, read_index
from asd_lightning.data.content import Contents, content_digest
from asd_lightning.data.far_channel import decode_reduced
from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError
from asd_lightning.features.far_microphone import FarMicrophoneReduction
from asd_lightning.foreign_files import ForeignFileError

logger = logging.getLogger(__name__)

_DECODERS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class _Plan:
    """A store as it should be: clips of one machine and split, the content of each one's file, how they are decoded."""

    clips: list[Clip]
    contents: list[str]
    options: DecodeOptions
    reduction: FarMicrophoneReduction | None

    @property
    def title(self) -> tuple[str, str]:
        return self.clips[0].machine, self.clips[0].split

    def key(self) -> str:
        digest = hashlib.sha256(json.dumps([FORMAT, asdict(self.options)]).encode())
        if self.reduction is not None:
            digest.update(self.reduction.coefficients.numpy().tobytes())
        for clip, content in zip(self.clips, self.contents, strict=True):
            piece = [str(clip.path.absolute()), content, clip.start, clip.seconds, clip.split]
            digest.update(json.dumps(piece).encode())
        return digest.hexdigest()[:24]

    def decode(self, clip: Clip) -> tuple[Samples, int] | BadAudioError:
        """Samples of one clip and its recording's own rate in Hz, or what is wrong with it."""
        try:
            source_rate = read_header(clip.path).sample_rate
            if self.reduction is None:
                samples = decode(clip.path, self.options, clip.start, clip.seconds)
            else:
                samples = decode_reduced(clip.path, self.reduction, self.options.sample_rate, clip.start, clip.seconds)
            if not clip.cut:
                refuse_too_short(clip.path, samples, self.options.sample_rate)
        except BadAudioError as error:
            return error
        if is_silent(samples) and (fault := _judge_silence(clip)):
            return fault
        return samples, source_rate


class ClipStore:
    """Decoded clips, memory-mapped; picklable, so that data-loader workers open their own map.

    Attributes:
        clips: the clips that could be read, in the order asked for.
        skipped: path -> why it was left out.
        contents: path -> digest of its content when it was decoded, which counts should it change or go meanwhile.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        cache_dir: Path,
        options: DecodeOptions,
        reductions: Mapping[str, FarMicrophoneReduction] | None = None,
    ) -> None:
        """Open the stores of ``clips``, decoding what is not there yet, with a progress bar.

        ``reductions``: machine -> far-microphone reduction that its clips go through; ``options.channel`` then counts
        for nothing.

        Raises:
            UserError: the cache folder cannot be written.
        """
        self.clips: list[Clip] = []
        self.skipped: dict[str, str] = {}
        self.contents: dict[Path, str] = {}
        self._places: list[tuple[int, Entry]] = []
        self._files: list[Path] = []
        self._maps: dict[int, np.memmap[Any, np.dtype[np.uint8]]] = {}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        written: dict[Path, _Plan] = {}
        contents = Contents(cache_dir)
        with Progress(*columns) as progress:
            bar = _DecodingBar(progress, len(clips))
            # The count is of all clips.
            for _, group in groupby(clips, key=lambda clip: (clip.machine, clip.split)):
                own = list(group)
                reduction = (reductions or {}).get(own[0].machine)
                digests = contents.digests(clip.path for clip in own)
                self.contents |= zip((clip.path for clip in own), digests, strict=True)
                self._add(_Plan(own, digests, options, reduction), cache_dir, bar, written)
        contents.keep()
        _remove_stale(cache_dir, written)

    def __len__(self) -> int:
        return len(self.clips)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}

    def keep(self, wanted: Callable[[Clip], bool]) -> None:
        """Forget the clips that are not wanted; those kept are renumbered."""
        kept = [(clip, place) for clip, place in zip(self.clips, self._places, strict=True) if wanted(clip)]
        self.clips = [clip for clip, _ in kept]
        self._places = [place for _, place in kept]

    def content(self, index: int) -> tuple[int, int]:
        """Length and check sum of one clip's samples as they were decoded."""
        entry = self._places[index][1]
        return entry.samples, entry.checksum

    def samples(self, index: int) -> int:
        """Length of one clip in samples."""
        return self._places[index][1].samples

    def source_rate(self, index: int) -> int:
        """Rate of one clip's recording in Hz, before it was resampled."""
        return self._places[index][1].source_rate

    def read(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Samples ``start`` to ``stop`` of one clip, float32 in [-1, 1], shape (samples,)."""
        file, entry = self._places[index]
        dtype = np.dtype(entry.dtype)
        stop = entry.samples if stop is None else min(stop, entry.samples)
        begin = entry.offset + start * dtype.itemsize
        data = self._map(file)[begin : entry.offset + stop * dtype.itemsize]
        return to_float(data.view(dtype))

    def _map(self, file: int) -> np.memmap[Any, np.dtype[np.uint8]]:
        if file not in self._maps:
            self._maps[file] = np.memmap(self._files[file], dtype=np.uint8, mode="r")
        return self._maps[file]

    def _add(self, plan: _Plan, cache_dir: Path, bar: _DecodingBar, written: dict[Path, _Plan]) -> None:
        folder = _ready_store(plan, cache_dir, bar, written)
        for clip, entry in zip(plan.clips, read_index(folder).entries, strict=True):
            if entry.error:
                # The windows of a long recording are left out one by one.
                self.skipped[f"{clip.path}{clip.name.removeprefix(clip.file)}"] = entry.error
            else:
                self.clips.append(clip)
                self._places.append((len(self._files), entry))
        self._files.append(folder / "samples.bin")
        # Map the file at once: workers forked later inherit the map, which stays valid if another run replaces the
        # store.
        self._map(len(self._files) - 1)


class _DecodingBar:
    """One bar over all stores, shown only once something has to be decoded."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("decoding", total=total, visible=False)

    def show(self, title: str) -> None:
        self._progress.update(self._task, description=f"decoding clips, now {title}", visible=True)

    def advance(self, count: int = 1) -> None:
        self._progress.advance(self._task, count)


def _ready_store(plan: _Plan, cache_dir: Path, bar: _DecodingBar, written: dict[Path, _Plan]) -> Path:
    """The folder of an intact store, written now if need be (and noted); others who want the same one wait for it."""
    folder = cache_dir / plan.key()
    # Without the lock: every process of a run looks through the same stores, and they need not do so in turn.
    if folder.is_dir() and not _fault(folder, plan):
        bar.advance(len(plan.clips))
        return folder
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            if folder.is_dir() and (fault := _fault(folder, plan)):
                logger.warning("%s: %s; decoded again", folder, fault)
                shutil.rmtree(folder)
            if folder.is_dir():
                bar.advance(len(plan.clips))
            else:
                bar.show(" ".join(plan.title))
                _write_store(folder, plan, bar)
                written[folder] = plan
    except OSError as error:
        raise UserError(f"{cache_dir}: cannot write the clip cache ({error}); {_remedy(error)}") from error
    return folder


def _remedy(error: OSError) -> str:
    if error.errno == errno.EMFILE:
        return "let more files be open (ulimit -n 8192), or use fewer machines at a time (data.machines)"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "what is needed is not all there yet: set data.cache_dir to a folder of your own"
    return "free space or set data.cache_dir"


def _locked(folder: Path, timeout: float = -1.0) -> FileLock:
    """The lock of a store, made with the umask's rights so that other users can lock too: filelock would deny them."""
    path = folder.with_suffix(".lock")
    open_unlinked(path, "ab").close()
    return FileLock(path, timeout=timeout)


def _write_store(folder: Path, plan: _Plan, bar: _DecodingBar) -> None:
    for leftover in folder.parent.glob(f"{folder.name}.*.partial"):
        # A killed process left it: this process holds the lock, so nobody else is writing.
        shutil.rmtree(leftover, ignore_errors=True)
    # Not by tempfile, whose folders only their owner may read.
    partial = folder.with_name(f"{folder.name}.{secrets.token_hex(6)}.partial")
    partial.mkdir()
    try:
        entries: list[Entry] = []
        with (partial / "samples.bin").open("wb") as file:
            for decoded in _decode_all(plan):
                entries.append(_append(file, decoded))
                bar.advance()
            file.write(b"\0")
            file.flush()
            os.fsync(file.fileno())
        files = {str(clip.path.absolute()): s for clip, s in zip(plan.clips, plan.contents, strict=True)}
        (partial / "index.json").write_text(Index(plan.title, files, entries).text())
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_stale(cache_dir: Path, written: Mapping[Path, _Plan]) -> None:
    """Remove stores that share recordings with a new one and that no key leads to any more.

    A store that shares none is kept: its recordings may be on a disk that is not mounted at the moment.
    """
    paths: dict[tuple[str, str], set[str]] = {}
    for plan in written.values():
        paths.setdefault(plan.title, set()).update(str(clip.path.absolute()) for clip in plan.clips)
    for index_path in cache_dir.glob("*/index.json") if written else ():
        if index_path.parent in written:
            continue
        try:
            index = read_index(index_path.parent)
        except ForeignFileError:
            # Of another version, or being removed by another process.
            continue
        shared = paths.get(index.title, set())
        if not shared.isdisjoint(index.files) and any(
            content_digest(Path(path)) != content for path, content in index.files.items()
        ):
            _remove_unless_in_use(index_path.parent)


def _remove_unless_in_use(folder: Path) -> None:
    try:
        with _locked(folder, timeout=0.0):
            logger.info("%s: its recordings have changed; removed", folder)
            shutil.rmtree(folder, ignore_errors=True)
    except (Timeout, OSError):
        logger.info("%s: its recordings have changed, but another process or user has it", folder)


def _append(file: Any, decoded: tuple[Samples, int] | BadAudioError) -> Entry:
    if isinstance(decoded, BadAudioError):
        return Entry(file.tell(), 0, "int16", 0, error=str(decoded))
    samples, source_rate = decoded
    data = np.ascontiguousarray(samples).tobytes()
    entry = Entry(file.tell(), len(samples), samples.dtype.name, zlib.crc32(data), source_rate)
    file.write(data)
    return entry


def _decode_all(plan: _Plan) -> Iterator[tuple[Samples, int] | BadAudioError]:
    """Decode in order, a few at a time: what is decoded ahead is bounded, however many clips there are."""
    pending = iter(plan.clips)
    with ThreadPoolExecutor(_DECODERS) as pool:
        while batch := list(islice(pending, 4 * _DECODERS)):
            yield from pool.map(plan.decode, batch)


def _judge_silence(clip: Clip) -> BadAudioError | None:
    """Leave out silent training clips, which would teach that silence is normal; score silent test clips."""
    where = f" from {clip.start:g} to {clip.start + clip.seconds:g} s" if clip.seconds is not None else ""
    if clip.split != "test":
        return BadAudioError(f"{clip.path}: silent{where}; check the microphone, record it again or remove it")
    logger.warning("%s: silent%s; it is scored like any other clip", clip.path, where)
    return None


def _fault(folder: Path, plan: _Plan) -> str:
    """Why a store cannot be used; "" where it can."""
    if not _intact(folder, len(plan.clips)):
        return "the cached clips are damaged"
    bad = [clip for clip, entry in zip(plan.clips, read_index(folder).entries, strict=True) if entry.error]
    # Try again: the file system may have been unavailable when the recording was left out.
    if any(not isinstance(plan.decode(clip), BadAudioError) for clip in bad):
        return "a recording that was left out can be read by now"
    return ""


def _intact(folder: Path, clips: int) -> bool:
    """Whether a store is whole: right size, every clip's check sum as it was when written, samples in range."""
    try:
        index = read_index(folder)
        data = np.memmap(folder / "samples.bin", dtype=np.uint8, mode="r")
    except (ForeignFileError, OSError, ValueError):
        return False
    return len(index.entries) == clips and data.size == index.size and all(_sound(data, e) for e in index.entries)


def _sound(data: NDArray[np.uint8], entry: Entry) -> bool:
    own = data[entry.offset : entry.offset + entry.size]
    # Resampling may overshoot what was accepted; NaN is in no range.
    in_range = not own.size or entry.dtype == "int16" or np.abs(own.view(np.float32)).max() <= 2 * HIGHEST_PEAK
    return bool(in_range) and zlib.crc32(own.data) == entry.checksum
