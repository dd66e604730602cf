"""A run that is ready for use: its weights and what was fitted to each machine, without a training recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from torch import nn

from asd_lightning.data.file_names import parse_file_name
from asd_lightning.data.layout import Clip
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.data.recordings import cut_recordings
from asd_lightning.errors import UserError
from asd_lightning.run_folder import CHECKPOINT, find_results
from asd_lightning.scoring.clip_scores import ClipScore, WindowScore
from asd_lightning.scoring.embedding_cache import model_digest
from asd_lightning.scoring.fitted import FittedMachine, MachineKey, read_fitted
from asd_lightning.scoring.machines import WindowReduction, score_clips
from asd_lightning.training.build import load_module


class FittedRun:
    """Scores recordings as the test of a run did.

    Args:
        embedder: from a waveform to a scored embedding.
        preprocessing: from a recording to waveforms.
        machines: what is fitted to each machine.
        reduction: from the windows of a recording to its score.
        dtype: of the embedder's products, where the test ran in mixed precision.
    """

    def __init__(
        self,
        embedder: nn.Module,
        preprocessing: Preprocessing,
        machines: Mapping[MachineKey, FittedMachine],
        reduction: WindowReduction = "max",
        dtype: torch.dtype | None = None,
    ) -> None:
        self.embedder = embedder.eval()
        self.preprocessing = preprocessing
        self.machines = dict(machines)
        self.reduction: WindowReduction = reduction
        self.dtype = dtype

    def score(
        self, recordings: Sequence[Path | str] | Path | str, machine: str | None = None, batch_size: int = 32
    ) -> tuple[list[ClipScore], list[WindowScore]]:
        """Score recordings of one machine.

        Args:
            recordings: WAV or FLAC; one, or several.
            machine: whose; may be left out where the run has one alone.
            batch_size: windows at a time.

        Returns:
            A row for each recording, and one for each window of those that are longer than a window.  ``file`` is the
            recording's name, or the path as it was given where two have one name.

        Raises:
            UserError: an unknown machine, a recording that cannot be used, or one that is given twice.
        """
        names = sorted({name for name, _ in self.machines})
        if machine is None and len(names) == 1:
            machine = names[0]
        if machine is None:
            raise UserError(f"the run has several machines: name one with machine=, of {', '.join(names)}")
        if machine not in names:
            raise UserError(f"machine {machine}: the run knows {', '.join(names)}; name one of them")
        given = [recordings] if isinstance(recordings, Path | str) else recordings
        return self.score_clips(_clips([Path(path) for path in given], machine), batch_size)

    def score_clips(self, clips: Sequence[Clip], batch_size: int = 32) -> tuple[list[ClipScore], list[WindowScore]]:
        """Score clips of any machines; with the batches of the run's test, scores are equal to the last bit."""
        pieces = cut_recordings(clips, self.preprocessing)
        batches = [pieces[start : start + batch_size] for start in range(0, len(pieces), batch_size)]
        embeddings = [self._embedded(batch) for batch in batches]
        query = (np.arange(len(pieces)), np.concatenate(embeddings) if embeddings else np.empty((0, 0), np.float32))
        return score_clips(pieces, query, self.machines, self.reduction)

    @torch.inference_mode()
    def _embedded(self, clips: Sequence[Clip]) -> Float32[ndarray, "clips dim"]:
        near = self._of_microphone(clips)
        if self.preprocessing.channel != "residual":
            return near
        return near - np.float32(self.preprocessing.residual) * self._of_microphone(clips, far=True)

    def _of_microphone(self, clips: Sequence[Clip], far: bool = False) -> Float32[ndarray, "clips dim"]:
        heard = [self.preprocessing.read(clip.path, clip.start, clip.seconds, far=far) for clip in clips]
        windows = np.stack([self.preprocessing.windows(waveform) for waveform in heard])
        waveform = torch.from_numpy(windows[:, 0] if windows.shape[1] == 1 else windows)
        with torch.autocast("cpu", self.dtype, enabled=self.dtype is not None):
            embedding: Float32[ndarray, "clips dim"] = self.embedder(waveform).float().numpy()
        return embedding


def load_run(place: Path | str) -> FittedRun:
    """A run, or one of its tests (``RUN/results_2``), ready to score recordings.

    Nothing of its training recordings is needed.

    Raises:
        UserError: no run, no weights, no fitted machines, or microphones whose coefficients a run does not keep.
    """
    results = find_results(Path(place))
    if results.run is None:
        raise UserError(f"{place}: lies outside of a run, whose weights are needed; give RUN or RUN/results_2")
    machines, about = read_fitted(results.fitted)
    preprocessing, reduction = _preprocessing(results.fitted, about)
    if preprocessing.channel == "reduced":
        raise UserError(f"{place}: was tested with data.channel=reduced, whose coefficients a run does not keep")
    module = load_module(results.run / CHECKPOINT, {"score_after_head": bool(about.get("score_after_head", True))})
    saved: dict[str, Any] = {}
    module.on_save_checkpoint(saved)
    if about.get("model") != model_digest(module.state_dict(), saved["asd_config"]):
        raise UserError(
            f"{results.fitted}: fitted with other weights than {results.run / CHECKPOINT} has; give a test that was "
            f"made with these (RUN/results_2), or make one with asd test {results.run}"
        )
    return FittedRun(module.scored_embedder(), preprocessing, machines, reduction, _dtype(place, about))


# From the trainer's name of a precision to the type for autocast; None for full precision.
_PRECISIONS = {"32-true": None, "32": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def _dtype(place: Path | str, about: Mapping[str, Any]) -> torch.dtype | None:
    precision = str(about.get("precision", "32-true"))
    if precision not in _PRECISIONS:
        raise UserError(f"{place}: was tested with trainer.precision={precision}, which is not repeated outside of it")
    return _PRECISIONS[precision]


def _preprocessing(path: Path, about: Mapping[str, Any]) -> tuple[Preprocessing, WindowReduction]:
    stored, reduction = about.get("preprocessing"), about.get("recording_score")
    if not isinstance(stored, dict) or reduction not in ("max", "mean"):
        raise UserError(f"{path}: does not say how recordings are heard; test the run again")
    try:
        return Preprocessing.of_options(stored), reduction
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: does not say how recordings are heard ({error}); test the run again") from error


def _clips(paths: Sequence[Path], machine: str) -> list[Clip]:
    names = Counter(path.name for path in paths)
    files = [path.name if names[path.name] == 1 else str(path) for path in paths]
    if twice := [file for file, count in Counter(files).items() if count > 1]:
        raise UserError(f"{twice[0]}: is given twice; give each recording once")
    return [_clip(path, machine, file) for path, file in zip(paths, files, strict=True)]


def _clip(path: Path, machine: str, file: str) -> Clip:
    name = parse_file_name(path.stem)
    if name is None:
        return Clip(path=path, machine=machine, name=file, split="test", domain="source", condition="unknown")
    return Clip(
        path=path,
        machine=machine,
        name=file,
        section=name.section,
        split="test",
        domain=name.domain,
        condition=name.condition,
        attribute=name.attribute,
    )
