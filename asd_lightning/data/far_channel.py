"""The far microphone of two-channel recordings: one reduction per machine, fitted to its training clips alone."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Complex64, Float32
from rich.progress import track
from torch import Tensor

from asd_lightning.atomic import write_atomically
from asd_lightning.data.audio import BadAudioError, decode_channels
from asd_lightning.data.content import content_digest
from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError
from asd_lightning.features.far_microphone import (
    HOP_LENGTH,
    NUM_BANDS,
    WINDOW_LENGTH,
    FarMicrophoneReduction,
    fit_far_coefficients,
)
from asd_lightning.foreign_files import ForeignFileError, load_npy

logger = logging.getLogger(__name__)

# A quarter of an hour of ten-second clips: more moves a coefficient by less than its bands differ.
FIT_CLIPS = 100
# Not the run's seed: runs that differ in nothing else share their coefficients, and so one store of reduced clips.
_CHOICE_SEED = 0


def fit_reductions(clips: Sequence[Clip], cache_dir: Path, sample_rate: int) -> dict[str, FarMicrophoneReduction]:
    """One reduction for each machine that has usable training clips.

    Each is fitted to at most ``FIT_CLIPS`` of the machine's normal training clips, chosen at random but always alike;
    no other clip is opened.  Coefficients are kept in ``cache_dir`` and fitted again where a clip has changed.

    Raises:
        UserError: a recording without a second channel, or the cache folder cannot be written.
    """
    chosen: dict[str, list[Clip]] = {}
    for clip in clips:
        if clip.split == "train" and clip.condition != "anomaly":
            chosen.setdefault(clip.machine, []).append(clip)
    reductions = {}
    for machine in track(sorted(chosen), description="far microphone", transient=True):
        coefficients = _coefficients(_choose(chosen[machine]), cache_dir, sample_rate)
        if coefficients is not None:
            reductions[machine] = FarMicrophoneReduction(coefficients)
    return reductions


def decode_reduced(
    path: Path,
    reduction: FarMicrophoneReduction,
    sample_rate: int,
    start: float = 0.0,
    seconds: float | None = None,
) -> Float32[np.ndarray, " samples"]:
    """The near channel of a recording, less what the far one tells of its surroundings.

    Raises:
        BadAudioError: unreadable, not of two channels, or shorter than a window.
    """
    waveform = decode_channels(path, sample_rate, start, seconds)
    try:
        with torch.inference_mode():
            reduced: Float32[np.ndarray, " samples"] = reduction(torch.from_numpy(waveform)[None])[0].numpy()
    except UserError as error:
        raise BadAudioError(f"{path}: {error}") from error
    return reduced


def _choose(clips: Sequence[Clip]) -> list[Clip]:
    order = np.random.default_rng(_CHOICE_SEED).permutation(len(clips))[:FIT_CLIPS]
    return [clips[index] for index in sorted(order.tolist())]


def _coefficients(clips: Sequence[Clip], cache_dir: Path, sample_rate: int) -> Complex64[Tensor, " bands"] | None:
    """From the cache, or fitted now; ``None`` where no clip is usable."""
    path = cache_dir / f"far_{_key(clips, sample_rate)}.npy"
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            known = _read(path)
            if known is not None:
                return known
            waveforms = _waveforms(clips, sample_rate)
            first = next(waveforms, None)
            if first is None:
                return None
            coefficients = fit_far_coefficients(chain([first], waveforms))
            with write_atomically(path) as file:
                np.save(file, coefficients.numpy())
    except OSError as error:
        raise UserError(
            f"{cache_dir}: cannot write the far microphone's coefficients ({error}); free space or set data.cache_dir"
        ) from error
    return coefficients


def _read(path: Path) -> Complex64[Tensor, " bands"] | None:
    if not path.exists():
        return None
    try:
        values = load_npy(path)
    except ForeignFileError as error:
        logger.warning("%s; fitted again", error)
        return None
    if values.shape != (NUM_BANDS,) or values.dtype != np.complex64 or not np.isfinite(values).all():
        logger.warning("%s: no coefficients; fitted again", path)
        return None
    return torch.from_numpy(values)


def _waveforms(clips: Sequence[Clip], sample_rate: int) -> Iterator[Float32[Tensor, "channels samples"]]:
    """Both channels of each usable clip, one at a time; what is wrong with the others is told when all are decoded."""
    for clip in clips:
        try:
            waveform = decode_channels(clip.path, sample_rate, clip.start, clip.seconds)
        except BadAudioError:
            continue
        if len(waveform) != 2:
            raise UserError(
                f"{clip.path}: has {len(waveform)} channel(s), and data.channel=reduced needs two, the near and the "
                "far microphone; set data.channel to 0"
            )
        near = waveform[0]
        if waveform.shape[1] >= WINDOW_LENGTH and near.min() < near.max():
            yield torch.from_numpy(waveform)


def _key(clips: Sequence[Clip], sample_rate: int) -> str:
    digest = hashlib.sha256(json.dumps([sample_rate, WINDOW_LENGTH, HOP_LENGTH]).encode())
    for clip in clips:
        piece = [str(clip.path.absolute()), content_digest(clip.path), clip.start, clip.seconds]
        digest.update(json.dumps(piece).encode())
    return digest.hexdigest()[:24]
