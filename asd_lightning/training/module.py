"""The LightningModule: one training step, and a test that fits back-ends and scores the test clips."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, get_args, runtime_checkable

import pytorch_lightning as pl
import torch
from jaxtyping import Float, Float32, Int64
from numpy import ndarray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from asd_lightning.data.batch import Batch
from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.data.labels import ClassLabel
from asd_lightning.embedder import Embedder, EmbeddingHead, Head, ScoredEmbedder, refuse_odd_branch
from asd_lightning.errors import UserError
from asd_lightning.features.mixup import Mixed, mixup, mixup_each
from asd_lightning.low_precision import lowered, lowered_branches, refuse_without_support
from asd_lightning.own_code import called
from asd_lightning.precision import Precision
from asd_lightning.scoring.agreement import LEAST_AGREEMENT, agrees, rank_agreement
from asd_lightning.scoring.clip_scores import ClipScore, WindowScore, machine_name
from asd_lightning.scoring.fitted import FittedMachine, MachineKey
from asd_lightning.scoring.heard import unheard
from asd_lightning.scoring.machines import fit_machines, score_clips
from asd_lightning.scoring.protocol import Scorer
from asd_lightning.scoring.thresholds import Threshold
from asd_lightning.scoring.windows import WindowReduction
from asd_lightning.training.gather import gather_by_clip_id
from asd_lightning.training.randomness import seed_step

logger = logging.getLogger(__name__)

_NAMED_AT_MOST = 16


@runtime_checkable
class SchedulerFactory(Protocol):
    """Makes the schedule of a run of ``updates`` optimizer updates of ``accumulate`` micro-batches each."""

    def __call__(self, optimizer: Optimizer, *, updates: int, accumulate: int) -> LRScheduler:
        """Make the schedule of ``optimizer``."""


@dataclass(frozen=True)
class TestOutcome:
    """What a test leaves behind.

    Attributes:
        clip_ids: of [reference, query].
        embeddings: likewise, row for row.
        fitted: to each machine's reference.
        scores: of the query's recordings, as the clips' names tell them: no further truth has been looked at.
        windows: scores of the windows of those that were cut.
        recording_score: how the windows' scores became the recording's.
        agreement: of a test in a lower precision: machine -> rank correlation of the left-out scores of its training
            recordings with those in float32, nan where it has none.
    """

    __test__ = False

    clip_ids: tuple[Int64[ndarray, " n"], Int64[ndarray, " m"]]
    embeddings: tuple[Float32[ndarray, "n dim"], Float32[ndarray, "m dim"]]
    fitted: dict[MachineKey, FittedMachine]
    scores: list[ClipScore]
    windows: list[WindowScore]
    recording_score: WindowReduction
    agreement: dict[str, float] = field(default_factory=dict)


class AnomalousSoundModule(pl.LightningModule):
    """Trains an embedder to tell operating conditions apart; tests it by distance to the normal training clips.

    Args:
        embedder: the system.
        loss: from the embedding's length and the classes, makes the loss, one of `asd_lightning.losses`: of embedding,
            label and mixup's draws a named tuple with the ``total`` that is trained on; all of it is logged.
        classes: training classes; position = label.
        optimizer: from parameters or parameter groups, makes the optimizer.
        scheduler: makes the learning-rate schedule.
        scorer: makes an unfitted back-end; one is fitted to each machine.
        threshold: decision rule on a machine's training scores.
        head: between embedder and loss.
        mixup_alpha: mixup weights are Beta(alpha, alpha); ``None`` trains on unmixed clips.
        mixup_per_clip: probability with which a clip is mixed, by a weight of its own; ``None``: one weight for all.
        score_after_head: score the head's output, or the embedder's.
        recording_score: of a recording heard in several windows: the largest of their scores, or the mean.
        scoring_precision: in which the encoders compute what is scored; training has its own, the trainer's.
        decay_all: apply weight decay to biases and norms too.
        seed: of mixup, masks and dropout.
        config: plain data from which the same module can be built again; kept in every checkpoint.

    Attributes:
        training_clips: name -> digest of each clip trained on; kept in every checkpoint.
        updates: of the weights, so far.
        score_after_head: as given.
        scoring_precision: as given.
    """

    def __init__(  # noqa: PLR0913 - the settings of conf/model
        self,
        embedder: Embedder,
        loss: Callable[[int, Sequence[ClassLabel]], nn.Module],
        classes: Sequence[ClassLabel],
        optimizer: Callable[..., Optimizer],
        scheduler: SchedulerFactory,
        *,
        scorer: Callable[[], Scorer],
        threshold: Threshold,
        head: Head = "joint",
        mixup_alpha: float | None = 0.5,
        mixup_per_clip: float | None = None,
        score_after_head: bool = True,
        recording_score: WindowReduction = "max",
        scoring_precision: Precision = "float32",
        decay_all: bool = True,
        seed: int = 0,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if recording_score not in get_args(WindowReduction):
            raise UserError(f"model.recording_score={recording_score}: choose max or mean")
        self.embedder = embedder
        embed_dims = list(embedder.embed_dims.values())
        self.head = EmbeddingHead(embed_dims, head)
        self.loss = loss(sum(embed_dims), classes)
        self.classes = list(classes)
        self.outcome: TestOutcome | None = None
        self.training_clips: dict[str, str] = {}
        self.updates = 0
        self._make_optimizer = optimizer
        self._make_scheduler = scheduler
        self._make_scorer = scorer
        self.threshold = threshold
        self._mixup_alpha = mixup_alpha
        self._mixup_per_clip = mixup_per_clip
        self.score_after_head = score_after_head
        self.scoring_precision: Precision = scoring_precision
        self._recording_score = recording_score
        self._decay_all = decay_all
        self._seed = seed
        self._config = config or {}
        self._losses: list[tuple[Tensor, Tensor]] = []
        self._seen: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self._in_float32: list[tuple[Tensor, Tensor]] = []
        # In a list: it is made of this module's own weights, and no further part of it.
        self._lowered: list[ScoredEmbedder] = []
        # What cannot be scored is told now, not when training has ended.
        self.scored_embedder()
        lowered_branches(embedder, scoring_precision)

    def scored_embedder(self) -> ScoredEmbedder:
        """What is kept for use: it shares this module's weights and holds none of the loss's."""
        return ScoredEmbedder(self.embedder, self.head if self.score_after_head else None)

    def tested_embedder(self) -> ScoredEmbedder:
        """`scored_embedder` in the precision of the test; the same one until the test ends.

        Raises:
            UserError: the device lacks the precision.
        """
        if self.scoring_precision == "float32":
            return self.scored_embedder()
        if not self._lowered:
            self._lowered = [lowered(self.scored_embedder(), self.scoring_precision)]
        return self._lowered[0]

    def setup(self, stage: str) -> None:
        """Refuse a precision that the device lacks, before anything is trained."""
        if self._trainer is not None:
            refuse_without_support(self.scoring_precision, self.trainer.strategy.root_device.type)

    def forward(self, waveform: Float[Tensor, "batch *windows samples"]) -> Float[Tensor, "batch dim"]:
        """Scored embedding of each clip: mean over its windows where there are several."""
        return self.scored_embedder()(waveform)  # type: ignore[no-any-return]

    def on_fit_start(self) -> None:
        """Refuse to train on what only a test makes of two microphones."""
        if self._datamodule().preprocessing.channel == "residual":
            raise UserError(
                "data.channel=residual: the difference of two embeddings is for encoders as they are "
                "(trainer.max_steps=0); train on another channel, and test with this one"
            )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed every draw of this micro-step, by the run's seed, the step and the rank."""
        # The run is one epoch, so batch_idx counts its micro-steps, restarts included.
        seed_step(self._seed, batch_idx, self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mix the clips, embed them, and log and return the loss."""
        mixed = self._mixed(batch)
        embedding = self.embedder(batch.waveform if mixed is None else mixed.waveform)
        terms = called(self.loss, "loss", self.head(embedding), batch.label, mixed)
        logged = {f"train/{name}": value.detach().float() for name, value in terms._asdict().items()}
        self._losses.append((batch.clip_id, terms.total.detach()))
        self.log_dict(logged | self._branch_norms(embedding), batch_size=len(batch.label))
        self.log("loss", logged["train/total"], prog_bar=True, logger=False)
        return terms.total  # type: ignore[no-any-return]

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Stop before a loss that is no number reaches the weights.

        Raises:
            UserError: names the clips of the batch.
        """
        # Checked once for each update, not for each batch: reading the value makes the GPU wait.
        losses, self._losses = self._losses, []
        if torch.stack([loss for _, loss in losses]).isfinite().all():
            return
        ids = next(ids for ids, loss in losses if not loss.isfinite())
        clips = [self._datamodule().clips[clip_id] for clip_id in ids.tolist()]
        names = ", ".join(f"{clip.machine}/{clip.name}" for clip in clips[:_NAMED_AT_MOST])
        more = ", ..." if len(clips) > _NAMED_AT_MOST else ""
        raise UserError(
            f"the loss is no finite number at update {self.trainer.global_step + 1}, in a batch of {names}{more}; look "
            "at these recordings, or lower model.optimizer.lr; the last checkpoint is of before"
        )

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Note the number of updates so far."""
        self.updates = self.trainer.global_step

    def on_test_epoch_start(self) -> None:
        """Forget the outcome of an earlier test."""
        self.outcome = None
        self._seen = {0: [], 1: []}
        self._in_float32 = []

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Embed the clips; loader 0 serves the reference, loader 1 the query."""
        embedder = self.tested_embedder()
        self._seen[dataloader_idx].append((batch.clip_id, self._embedded(batch, embedder)))
        if dataloader_idx == 0 and self.scoring_precision != "float32":
            self._in_float32.append((batch.clip_id, self._embedded(batch, self.scored_embedder())))

    def on_test_epoch_end(self) -> None:
        """Gather the embeddings of all ranks, fit one scorer to each machine, score its test clips."""
        reference, query = (gather_by_clip_id(*_columns(self._seen[loader])) for loader in (0, 1))
        self._seen, self._lowered = {}, []
        # One perturbation over the joint embedding mixes the branches.
        if not (self.score_after_head and len(self.head.perturbations) == 1):
            for _, scored in (reference, query):
                refuse_odd_branch(self.embedder, scored)
        clips, reduction = self._datamodule().clips, self._recording_score
        fitted = fit_machines(clips, reference, self._make_scorer, self.threshold, reduction)
        scores, windows = score_clips(clips, query, fitted, reduction)
        ids, embeddings = zip(reference, query, strict=True)
        agreement = self._agreement(fitted)
        self.outcome = TestOutcome(ids, embeddings, fitted, scores, windows, reduction, agreement)

    def configure_optimizers(self) -> Any:
        """The optimizer, and the learning-rate schedule, which advances once an update.

        Raises:
            UserError: the optimizer takes no such argument.
        """
        try:
            optimizer = self._make_optimizer(self._parameter_groups(), **self._in_one_kernel())
        except (TypeError, ValueError) as error:
            raise UserError(f"model.optimizer: {error}") from error
        accumulate = self.trainer.accumulate_grad_batches
        schedule = self._make_scheduler(optimizer, updates=self.trainer.max_steps, accumulate=accumulate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add configuration, classes and training clips to the checkpoint."""
        checkpoint["asd_config"] = self._config
        checkpoint["asd_classes"] = [tuple(label) for label in self.classes]
        checkpoint["asd_training_clips"] = self.training_clips

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read a checkpoint of an older version too, and set the number of updates."""
        rename_head(checkpoint)
        self.updates = checkpoint["global_step"]

    def _embedded(self, batch: Batch, embedder: ScoredEmbedder) -> Float[Tensor, "batch dim"]:
        near: Tensor = embedder(batch.waveform)
        return near if batch.far is None else near - self._datamodule().preprocessing.residual * embedder(batch.far)

    def _agreement(self, fitted: dict[MachineKey, FittedMachine]) -> dict[str, float]:
        """Of each machine's left-out training recordings in the test's precision and in float32."""
        if self.scoring_precision == "float32":
            return {}
        reference, self._in_float32 = gather_by_clip_id(*_columns(self._in_float32)), []
        with unheard():
            exact = fit_machines(
                self._datamodule().clips, reference, self._make_scorer, self.threshold, self._recording_score
            )
        agreement = {
            machine_name(*key): rank_agreement(exact[key].training_scores, fitted[key].training_scores)
            for key in fitted
        }
        for name, correlation in agreement.items():
            if not agrees(correlation):
                logger.warning(
                    "%s: in %s its left-out training recordings rank otherwise than in float32 (rank correlation %.4f, "
                    "below %g): so may others; asd test with model.scoring_precision=float32 tells",
                    *(name, self.scoring_precision, correlation, LEAST_AGREEMENT),
                )
        return agreement

    def _mixed(self, batch: Batch) -> Mixed | None:
        if self._mixup_alpha is None:
            return None
        if self._mixup_per_clip is None:
            return mixup(batch.waveform, batch.label, self._mixup_alpha)
        return mixup_each(batch.waveform, batch.label, self._mixup_alpha, self._mixup_per_clip)

    def _in_one_kernel(self) -> dict[str, bool]:
        """The optimizer's fused form, the same update, on a CUDA device where it has one and nothing else is chosen."""
        # In mixed precision Lightning refuses to clip the gradients of a fused optimizer.
        if self.trainer.strategy.root_device.type != "cuda" or self.trainer.gradient_clip_val:
            return {}
        make = self._make_optimizer
        optimizer, chosen = (make.func, make.keywords) if isinstance(make, partial) else (make, {})
        has_one = "fused" in inspect.signature(optimizer).parameters
        return {"fused": True} if has_one and not {"fused", "foreach"} & chosen.keys() else {}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if self._decay_all:
            return [{"params": trained}]
        matrices = [parameter for parameter in trained if parameter.ndim > 1]
        vectors = [parameter for parameter in trained if parameter.ndim <= 1]
        return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]

    def _branch_norms(self, embedding: Float[Tensor, "batch dim"]) -> dict[str, Tensor]:
        dims = self.embedder.embed_dims
        parts = torch.split(embedding.detach().float(), list(dims.values()), dim=1)
        return {f"norm/{name}": part.norm(dim=1).mean() for name, part in zip(dims, parts, strict=True)}

    def _datamodule(self) -> ClipDataModule:
        datamodule: ClipDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        return datamodule


def rename_head(checkpoint: dict[str, Any]) -> None:
    """Give the weights of a checkpoint their names of today: the head was once a part of the loss."""
    for weights in ("state_dict", "current_model_state"):
        if weights in checkpoint:
            checkpoint[weights] = {
                name.replace("loss.heads.", "head.perturbations."): value for name, value in checkpoint[weights].items()
            }


def _columns(seen: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [clip_id for clip_id, _ in seen], [embedding for _, embedding in seen]


def trainable_parameters(module: nn.Module) -> int:
    """Number of parameters that training changes."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
