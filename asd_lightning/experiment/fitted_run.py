"""A run that is ready for use: its weights and what was fitted to each machine, without a training recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from asd_lightning.data.layout import Clip
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.data.recordings import clips_of, cut_recordings
from asd_lightning.embedder import ScoredEmbedder
from asd_lightning.errors import UserError
from asd_lightning.low_precision import lowered
from asd_lightning.precision import LOW_PRECISIONS, Precision
from asd_lightning.run_folder import CHECKPOINT, find_results
from asd_lightning.scoring.arguments import require_machine
from asd_lightning.scoring.clip_embeddings import AUTOCAST, embed_windows, heard_of
from asd_lightning.scoring.clip_scores import ClipScore, WindowScore
from asd_lightning.scoring.embedding_cache import model_digest
from asd_lightning.scoring.fitted import FittedMachine, MachineKey, read_fitted
from asd_lightning.scoring.machines import score_clips
from asd_lightning.scoring.windows import WindowReduction
from asd_lightning.training.build import load_module


class FittedRun:
    """Scores recordings as the test of a run did.

    Args:
        embedder: from a waveform to a scored embedding.
        preprocessing: from a recording to waveforms.
        machines: what is fitted to each machine.
        reduction: from the windows of a recording to its score.
        dtype: of the embedder's products, where the test ran in mixed precision.
        config: the ``model`` part of the run's configuration, as its checkpoint has it.
        precision: of the encoders, where the test was in a lower one.
        agreement: see `asd_lightning.training.module.TestOutcome`.

    Raises:
        UserError: this processor lacks the precision.
    """

    def __init__(
        self,
        embedder: ScoredEmbedder,
        preprocessing: Preprocessing,
        machines: Mapping[MachineKey, FittedMachine],
        reduction: WindowReduction = "max",
        dtype: torch.dtype | None = None,
        config: Mapping[str, Any] | None = None,
        precision: Precision = "float32",
        agreement: Mapping[str, float | None] | None = None,
    ) -> None:
        self.embedder = embedder.eval()
        self.preprocessing = preprocessing
        self.machines = dict(machines)
        self.reduction: WindowReduction = reduction
        self.dtype = dtype
        self.config = dict(config or {})
        self.precision: Precision = precision
        self.agreement = dict(agreement or {})
        self._scored_by = lowered(self.embedder, precision)

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
        require_machine(machine, names, "run")
        given = [recordings] if isinstance(recordings, Path | str) else recordings
        return self.score_clips(clips_of([Path(path) for path in given], machine), batch_size)

    def score_clips(self, clips: Sequence[Clip], batch_size: int = 32) -> tuple[list[ClipScore], list[WindowScore]]:
        """Score clips of any machines; with the batches of the run's test, scores are equal to the last bit."""
        pieces = cut_recordings(clips, self.preprocessing)
        embeddings = self._of_microphone(pieces, batch_size)
        if self.preprocessing.channel == "residual":
            embeddings -= np.float32(self.preprocessing.residual) * self._of_microphone(pieces, batch_size, far=True)
        return score_clips(pieces, (np.arange(len(pieces)), embeddings), self.machines, self.reduction)

    def _of_microphone(
        self, clips: Sequence[Clip], batch_size: int, far: bool = False
    ) -> Float32[ndarray, "clips dim"]:
        heard = (self.preprocessing.windows(heard_of(clip, self.preprocessing, far)) for clip in clips)
        return embed_windows(self._scored_by, heard, batch_size, self.dtype)


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
    if not machines:
        raise UserError(
            f"{place}: holds nothing that was fitted to a machine: a back-end of your own is not kept by a run. Give a "
            f"test by one of the package's (asd test {results.run} model/scorer=knn), or let asd test score"
        )
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
    low: dict[str, Any] = {"precision": about.get("precision"), "agreement": about.get("agreement")}
    if low["precision"] not in LOW_PRECISIONS:
        low = {}
    dtype = None if low else _dtype(place, about)
    return FittedRun(module.scored_embedder(), preprocessing, machines, reduction, dtype, saved["asd_config"], **low)


def _dtype(place: Path | str, about: Mapping[str, Any]) -> torch.dtype | None:
    """The type for autocast; ``None`` for full precision."""
    precision = str(about.get("precision", "32-true"))
    if precision in ("32-true", "32"):
        return None
    if precision not in AUTOCAST:
        raise UserError(f"{place}: was tested with trainer.precision={precision}, which is not repeated outside of it")
    return AUTOCAST[precision]


def _preprocessing(path: Path, about: Mapping[str, Any]) -> tuple[Preprocessing, WindowReduction]:
    stored, reduction = about.get("preprocessing"), about.get("recording_score")
    if not isinstance(stored, dict) or reduction not in ("max", "mean"):
        raise UserError(f"{path}: does not say how recordings are heard; test the run again")
    try:
        return Preprocessing.of_options(stored), reduction
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: does not say how recordings are heard ({error}); test the run again") from error
