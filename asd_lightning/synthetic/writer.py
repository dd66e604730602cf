"""Writing a synthetic data set: WAV files and attribute tables in the DCASE Task 2 layout, restartable."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import time
import wave
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from jaxtyping import Float
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from asd_lightning.atomic import refuse_unwritable
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import ForeignFileError, parse_json
from asd_lightning.synthetic.clips import Clip
from asd_lightning.synthetic.machines import Machine
from asd_lightning.synthetic.presets import PRESETS, Preset
from asd_lightning.synthetic.recordings import render_recording
from asd_lightning.synthetic.released import for_evaluation, is_anonymous, machine_folder, places, truth_tables
from asd_lightning.synthetic.render import render_clip
from asd_lightning.synthetic.session_presets import SESSION_PRESETS
from asd_lightning.synthetic.sessions import SessionMachine, SessionPreset
from asd_lightning.synthetic.sources import SAMPLE_RATE

VERSION = 1  # of the sound model: raise it with any change to the samples it makes
MANIFEST = "synthetic.json"
UNFINISHED = ".synthetic-unfinished.json"
RECORDINGS = "recordings.csv"
CHUNK = 16  # clips handed to a process at a time, or a few more: a recording is made as a whole
CLIPS_PER_PROCESS = 100  # starting a process takes as long as some hundred short clips


@dataclass(frozen=True)
class Synthesis:
    """What ``synthesize`` left behind: the folder, its number of clips, and how many of them this call wrote.

    ``truth`` is the folder that says what the anonymous clips of an evaluation set are.
    """

    root: Path
    clips: int
    written: int
    truth: Path | None = None


def synthesize(
    out: Path,
    preset: str | Preset | SessionPreset,
    seed: int = 0,
    machines: Sequence[str] | None = None,
    jobs: int = 1,
    progress: bool = True,
    evaluation: Sequence[str] | None = None,
    truth: Path | None = None,
) -> Synthesis:
    """Write a synthetic data set under ``out``.

    Every clip is a function of (seed, machine, split, clip name): the bytes do not depend on ``jobs``, on the selection
    of machines, on ``evaluation``, or on whether an interrupted call is taken up again.  ``out/synthetic.json`` is
    written last.  Where clips are cut from recordings, ``out/recordings.csv`` says which from which, but for anonymous
    ones.

    Args:
        out: folder, made where absent.  Not empty: it must hold this very data set, whole or unfinished.
        preset: ``tiny``, ``demo``, ``full``, ``sessions``, ``sessions_far``, or a preset of one's own.
        seed: any integer.
        machines: names of the preset's machines to write; all by default.
        jobs: number of processes.  With more than 1 the calling script needs the ``__main__`` guard.
        progress: whether to show a progress bar.
        evaluation: machines whose test clips are anonymous, as in the challenge's evaluation set; the layout is then
            that of the released archives.
        truth: folder for what these clips are, outside of ``out``; by default beside it, ``out`` with ``_truth``.

    Raises:
        UserError: unknown preset or machine, ``jobs`` below 1, a folder that holds something else, or a truth where
            training would find it.
    """
    out = Path(out)
    plan = _plan(preset, machines)
    if evaluation is not None:
        plan = for_evaluation(plan, evaluation)
    if jobs < 1:
        raise UserError(f"jobs is {jobs}: give the number of processes, 1 or more")
    place = _place_of_truth(out, truth) if plan.evaluation else None
    if place is None and truth is not None:
        raise UserError(f"{truth}: only an evaluation set has a truth of its own; name its machines (evaluation)")
    identity, tables = _identity(plan, seed), truth_tables(plan, seed)
    if place is not None:
        _refuse_other_truth(place, tables)
        for name in tables:
            refuse_unwritable(place / name)
    _claim(out, identity)
    if place is not None:
        for name, text in tables.items():
            _replace(place / name, text.encode())
    paths = places(plan, seed)
    missing = [clip for clip, path in paths.items() if not (out / path).exists()]
    if missing or not (out / MANIFEST).exists():
        _write_clips(out, plan, seed, missing, jobs, progress)
        _at_one_time(out / path for clip, path in paths.items() if is_anonymous(plan, clip))
        _write_tables(out, plan)
        _replace(out / MANIFEST, identity.encode())
        (out / UNFINISHED).unlink(missing_ok=True)
    return Synthesis(out, len(paths), len(missing), place)


def _place_of_truth(out: Path, truth: Path | None) -> Path:
    place = out.absolute().with_name(f"{out.absolute().name}_truth") if truth is None else Path(truth)
    if place.resolve().is_relative_to(out.resolve()):
        raise UserError(f"{place}: the truth would lie in the data folder {out}; keep it apart, in another folder")
    return place


def _refuse_other_truth(place: Path, tables: dict[str, str]) -> None:
    for name, text in tables.items():
        if (place / name).exists() and (place / name).read_text(encoding="utf-8") != text:
            raise UserError(f"{place}: holds the truth of another data set ({name}); choose another folder")


def _at_one_time(anonymous: Iterable[Path]) -> None:
    """Clips are written in an order that tells what they are, and so would the times of their files."""
    now = time.time()
    for path in anonymous:
        os.utime(path, (now, now))


def _write_tables(out: Path, plan: Preset | SessionPreset) -> None:
    """Attributes of each machine and, where clips are cut from recordings, which are; nothing of anonymous clips."""
    named = [clip for clip in plan.clips() if not is_anonymous(plan, clip)]
    for machine in plan.machines:
        text = attribute_table(clip for clip in named if clip.machine == machine.name)
        _replace(out / machine_folder(plan, machine.name) / "attributes_00.csv", text.encode())
    if isinstance(plan, SessionPreset):
        _replace(out / RECORDINGS, recordings_table(named).encode())


def attribute_table(clips: Iterable[Clip]) -> str:
    """``attributes_00.csv`` of one machine: file name, then parameter and value in turn; blank where there is none."""
    rows = sorted(clips, key=lambda clip: clip.file_name)
    pairs = max(1, *(len(clip.attributes) for clip in rows))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file_name", *(f"d{number}{part}" for number in range(1, pairs + 1) for part in "pv")])
    for clip in rows:
        cells = [cell for pair in clip.attributes for cell in pair]
        table.writerow([clip.file_name, *cells, *[""] * (2 * pairs - len(cells))])
    return text.getvalue()


def recordings_table(clips: Iterable[Clip]) -> str:
    """``recordings.csv``: of every clip the recording it is cut from, and where in it."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "recording", "start_seconds"])
    table.writerows((clip.file_name, clip.recording, f"{clip.start_seconds:.3f}") for clip in clips)
    return text.getvalue()


def wav_bytes(waveform: Float[np.ndarray, "*channels samples"]) -> bytes:
    """A 16 kHz PCM16 WAV file of ``waveform`` (full scale 1), rounded to the nearest step; mono or of its channels."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if waveform.ndim == 1 else len(waveform))
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.rint(32767.0 * waveform.T).astype("<i2").tobytes())
    return buffer.getvalue()


def _plan(preset: str | Preset | SessionPreset, machines: Sequence[str] | None) -> Preset | SessionPreset:
    if isinstance(preset, str):
        on_offer: dict[str, Preset | SessionPreset] = {**PRESETS, **SESSION_PRESETS}
        if preset not in on_offer:
            raise UserError(f"unknown preset {preset!r}: choose from {', '.join(on_offer)}")
        preset = on_offer[preset]
    if machines is None:
        return preset
    known = [machine.name for machine in preset.machines]
    unknown = [name for name in machines if name not in known]
    if unknown or not machines:
        raise UserError(f"unknown machine {', '.join(unknown) or '(none named)'}: {preset.name} has {', '.join(known)}")
    return preset.only(tuple(machines))


def _identity(plan: Preset | SessionPreset, seed: int) -> str:
    fields = {
        "preset": plan.name,
        "seed": seed,
        "version": VERSION,
        "machines": [machine.name for machine in plan.machines],
        "clips": len(plan.clips()),
        "sha256_of_plan": hashlib.sha256(repr(plan).encode()).hexdigest(),
        **({"evaluation": list(plan.evaluation)} if plan.evaluation else {}),
    }
    return json.dumps(fields, indent=2) + "\n"


def _claim(out: Path, identity: str) -> None:
    """Make sure that ``out`` is empty or holds this data set, and mark it as being written."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder")
    for name in (MANIFEST, UNFINISHED):
        if (out / name).exists():
            found = (out / name).read_text(encoding="utf-8")
            if found != identity:
                raise UserError(
                    f"{out} holds another synthetic data set ({_made_with(found, identity)}): choose another folder"
                )
            return
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no synthetic data set: choose another folder")
    _replace(out / UNFINISHED, identity.encode())


def _made_with(found: str, wanted: str) -> str:
    """How a data set that is there was made, by the options that would be others now."""
    own = parse_json(wanted, MANIFEST)
    try:
        there = parse_json(found, MANIFEST)
    except ForeignFileError:
        there = None
    if not isinstance(there, dict):
        return f"its {MANIFEST} cannot be read"
    options = []
    for name in ("preset", "seed", "machines", "evaluation"):
        value = there.get(name)
        if value != own.get(name):
            shown = ",".join(map(str, value)) if isinstance(value, list) else value
            options.append(f"without --{name}" if value is None else f"with --{name} {shown}")
    return f"made {' '.join(options)}" if options else "made by another version"


def _write_clips(
    out: Path, plan: Preset | SessionPreset, seed: int, clips: Sequence[Clip], jobs: int, progress: bool
) -> None:
    chunks = _chunks(plan, set(clips))
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=not progress,
    )
    with bar:
        task = bar.add_task(f"{plan.name}: synthesizing clips", total=len(clips))
        for done in _run(out, plan, seed, chunks, min(jobs, 1 + len(clips) // CLIPS_PER_PROCESS)):
            bar.advance(task, done)


def _chunks(plan: Preset | SessionPreset, missing: set[Clip]) -> list[list[tuple[Clip, ...]]]:
    """Recordings of which a clip is missing, about ``CHUNK`` clips at a time; a clip of its own is a recording."""
    whole = plan.recordings() if isinstance(plan, SessionPreset) else [(clip,) for clip in plan.clips()]
    chunks: list[list[tuple[Clip, ...]]] = []
    room = 0
    for recording in whole:
        if missing.isdisjoint(recording):
            continue
        if room <= 0:
            chunks.append([])
            room = CHUNK
        chunks[-1].append(recording)
        room -= len(recording)
    return chunks


def _run(
    out: Path, plan: Preset | SessionPreset, seed: int, chunks: Sequence[Sequence[tuple[Clip, ...]]], jobs: int
) -> Iterator[int]:
    if jobs <= 1:
        for chunk in chunks:
            yield write_chunk(out, plan, seed, chunk)
        return
    # A forked process may inherit locks that another thread holds; a spawned one starts clean.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(write_chunk, out, plan, seed, chunk) for chunk in chunks]
        for future in as_completed(futures):
            yield future.result()


def write_chunk(out: Path, plan: Preset | SessionPreset, seed: int, recordings: Sequence[tuple[Clip, ...]]) -> int:
    """Render ``recordings`` and write their missing clips under ``out``; returns how many.  Runs in its own process."""
    machines = {machine.name: machine for machine in plan.machines}
    paths, written = places(plan, seed), 0
    for clips in recordings:
        waveforms = _waveforms(machines[clips[0].machine], clips, seed, getattr(plan, "microphones", 1))
        for clip, waveform in zip(clips, waveforms, strict=True):
            if not (out / paths[clip]).exists():
                _replace(out / paths[clip], wav_bytes(waveform))
                written += 1
    return written


def _waveforms(
    machine: Machine, clips: Sequence[Clip], seed: int, microphones: int
) -> list[Float[np.ndarray, "*channels samples"]]:
    if isinstance(machine, SessionMachine):
        return list(render_recording(machine, clips, seed, microphones))
    return [render_clip(machine, clip, seed) for clip in clips]


def _replace(path: Path, content: bytes) -> None:
    """Write ``path`` so that it is either absent or whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(content)
    unfinished.replace(path)
