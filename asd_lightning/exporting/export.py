"""A detector's file to an ONNX file, checked before it is there."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from asd_lightning.atomic import refuse_unwritable, write_atomically
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.excerpts import excerpt_waveform
from asd_lightning.detector.hearing import Hearing
from asd_lightning.detector.judging import scores_of
from asd_lightning.detector.machine import Machine
from asd_lightning.errors import UserError
from asd_lightning.exporting.about import about
from asd_lightning.exporting.agreement import Exact, difference, trial_windows
from asd_lightning.exporting.graph import PRODUCER, WindowScores, onnx_bytes, required
from asd_lightning.scoring.protocol import KeptScorer

_LEAST_SECONDS, _MOST_SECONDS = 0.2, 60.0


class Export(NamedTuple):
    """What was written.

    Attributes:
        path: of the ONNX file.
        machine: whose scores it gives.
        samples: of a window, at ``sample_rate``.
        sample_rate: in Hz.
        difference: the largest from the detector's scores, in deviations of normal sound's scores.
        metadata: of the file.
    """

    path: Path
    machine: str
    samples: int
    sample_rate: int
    difference: float
    metadata: dict[str, str]


def export_detector(
    detector: Path, output: Path, machine: str | None = None, window_seconds: float | None = None
) -> Export:
    """Write a machine of a detector as one ONNX graph, see `asd_lightning.api.export`."""
    required()
    refuse_unwritable(output)
    _refuse_other_file(output)
    loaded = Detector.load(detector)
    # The file's name alone: a folder above it is nobody's.
    own = loaded.machines_[loaded.machine_of(Path(detector.name), machine)]
    hearing = loaded.hearing_
    samples = window_samples(hearing, window_seconds)
    exact = exact_scores(own, hearing)
    try:
        # Windows that are too short for the embedder it refuses itself.
        exact(np.zeros((1, samples), np.float32))
        scores = graph_of(own, hearing, samples)
        content_hash = loaded.read_from.content_hash if loaded.read_from else ""
        metadata = about(own, hearing, samples, content_hash)
        content = onnx_bytes(scores, samples, metadata)
        # Before anything is written, and so of a command that is ended here nothing is left.
        found = difference(content, exact, trial_windows(_kept_sound(loaded, own.name), samples), own.normal.scores)
    except UserError as error:
        raise UserError(f"{detector}: {error}") from error
    with write_atomically(output) as file:
        file.write(content)
    return Export(output, own.name, samples, hearing.preprocessing.sample_rate, found, metadata)


def graph_of(machine: Machine, hearing: Hearing, samples: int) -> WindowScores:
    """Embedder and back-end of a machine as one module for windows of ``samples``.

    Raises:
        UserError: something of it cannot be exported; says what can.
    """
    from asd_lightning.exporting.embedder import exportable
    from asd_lightning.exporting.fusions import back_end

    if hearing.precision != "32-true":
        raise UserError(
            f"computes in {hearing.precision}, and a graph in float32, whose scores are others; enrol again without "
            "--precision"
        )
    if hearing.preprocessing.test_windows != 1:
        raise UserError(
            f"averages {hearing.preprocessing.test_windows} crops of each clip (data.test_windows), and a graph hears "
            "one window; use a detector with one"
        )
    if not isinstance(machine.scorer, KeptScorer):
        raise UserError(f"the back-end {type(machine.scorer).__name__} keeps no state; use one of conf/model/scorer")
    return WindowScores(
        exportable(hearing.model, samples), back_end(type(machine.scorer).__name__, machine.scorer.state())
    )


def exact_scores(machine: Machine, hearing: Hearing) -> Exact:
    """What the detector itself says of windows."""

    def scores(windows: Float32[ndarray, "n samples"]) -> Float[ndarray, " n"]:
        from asd_lightning.scoring.clip_embeddings import embed_windows

        embeddings = embed_windows(hearing.scored_by, (window[None] for window in windows))
        return scores_of(machine, embeddings)

    return scores


def window_samples(hearing: Hearing, seconds: float | None) -> int:
    """Of a window: the detector's own, or of another length.

    Raises:
        UserError: no length, or one that the embedder is not made for.
    """
    own = hearing.preprocessing
    if seconds is None or seconds == own.clip_seconds:
        return own.samples
    if not np.isfinite(seconds) or not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        raise UserError(f"--window-seconds {seconds}: a number from {_LEAST_SECONDS:g} to {_MOST_SECONDS:g} is needed")
    kinds = [branch["encoder"]["kind"] for branch in hearing.embedder["branches"]]
    if "SpectrumCNN" in kinds:
        raise UserError(
            f"--window-seconds {seconds:g}: the spectrum CNN is made for windows of {own.clip_seconds:g} s, "
            "and hears no others"
        )
    return round(seconds * own.sample_rate)


def _kept_sound(detector: Detector, machine: str) -> list[Float32[ndarray, " _"]]:
    kept = [excerpt_waveform(content.tobytes(), detector.hearing_) for content in detector.sounds_of(machine).values()]
    return [waveform for waveform in kept if waveform is not None]


def _refuse_other_file(output: Path) -> None:
    """What is written over is an earlier export, and nothing else."""
    if output.is_dir():
        raise UserError(f"{output}: is a folder; give the name of a file in it, such as {output / 'pump.onnx'}")
    # A pipe would be waited for when it is opened.
    if output.exists() and not (output.is_file() and _is_export(output)):
        raise UserError(f"{output}: is there and was not written by asd export; give another name")


def _is_export(path: Path) -> bool:
    onnx = required()
    try:
        return bool(onnx.load(path, load_external_data=False).producer_name == PRODUCER)
    except Exception:
        # Whatever it holds, it is no graph.
        return False
