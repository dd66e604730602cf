"""Published results that can be repeated here.

A target says what its authors say: numbers (`asd_lightning.comparison.published`) and settings.  How a system is built
is said by ``experiment=``; a setting that has come to differ from what was published is an error, not a reproduction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import OmegaConf

from asd_lightning.comparison.published import RECIPES, TABLE_2, TABLE_2_AVERAGES, PublishedRow, PublishedScore
from asd_lightning.configuration import as_typed, compose_train, for_hydra
from asd_lightning.download.years import Part
from asd_lightning.errors import UserError

BEATS = "model.embedder.branches.beats"
EAT = "model.embedder.branches.eat"
ABSENT = "(absent)"
"""Of a setting that is nowhere in the configuration: the method's own default holds."""


@dataclass(frozen=True)
class PublishedSystem:
    """One system of a target.

    Attributes:
        name: of its runs' folders.
        overrides: of ``asd train``.
        branches: of its embedder.
        settings: what its authors say, by the configuration's keys; a parent's ``_target_`` is the method itself.
        official: official scores in per cent of the development and the evaluation machines.
        rows: what is published of single machines, in per cent.
        averages: what is published of all development machines.
    """

    name: str
    overrides: tuple[str, ...]
    branches: tuple[str, ...]
    settings: Mapping[str, Any]
    official: PublishedScore
    rows: Mapping[str, PublishedRow] = field(default_factory=dict)
    averages: PublishedRow | None = None


@dataclass(frozen=True)
class Target:
    """A published result.

    Attributes:
        name: on the command line.
        source: who published it, and where.
        year: of the recordings.
        parts: of that year's download that its runs read; the truth is fetched apart.
        systems: with the numbers.
        seeds: of each system.  None are published; one where nothing is drawn.
        classes: how many its authors trained on; 0 where nothing is trained.
        clusters: overrides of the run whose embeddings give classes to clips without attributes; none: no such classes.
        left_open: what no source says, and what is done here.
    """

    name: str
    source: str
    year: int
    parts: tuple[Part, ...]
    systems: tuple[PublishedSystem, ...]
    seeds: tuple[int, ...]
    classes: int = 0
    clusters: tuple[str, ...] = ()
    left_open: tuple[str, ...] = ()

    @property
    def evaluated(self) -> bool:
        """Whether something is published of the evaluation machines."""
        return any(system.official.evaluation is not None for system in self.systems)


def find_target(name: str) -> Target:
    """The target called ``name``.

    Raises:
        UserError: no such target; the message lists those there are.

    Example:
        >>> find_target("rdp2603").systems[0].official.development
        64.0
    """
    if name not in TARGETS:
        raise UserError(f"no published result is called {name!r}; there are {', '.join(TARGETS)}")
    return TARGETS[name]


def composed(target: Target, system: PublishedSystem, changes: Sequence[str]) -> Any:
    """The configuration of a system's runs with the user's own changes, once it is what was published.

    Raises:
        UserError: a setting is not what its authors say, by this package's files or by a change.
    """
    config = compose_train([*system.overrides, *map(for_hydra, changes), "name=reproduction", "data.root=."])
    branches = tuple(sorted(config.model.embedder.branches))
    if branches != tuple(sorted(system.branches)):
        raise UserError(
            f"{target.name}, {system.name}: branches {', '.join(branches)}, and published are "
            f"{', '.join(system.branches)}; what is run would be another system"
        )
    for key, published in system.settings.items():
        found = OmegaConf.select(config, key, default=ABSENT)
        if found != published:
            raise UserError(
                f"{target.name}, {system.name}: {key}={as_typed(found)}, and published is {as_typed(published)}; "
                "what is run would be another system"
            )
    return config


_XJU = {
    "trainer.max_steps": 10_000,
    "data.labels": "machine_attribute",
    "data.batch_size": 16,
    "accumulate": 8,
    "model.optimizer._target_": "torch.optim.AdamW",
    "model.optimizer.lr": 1e-4,
    "model.scheduler._target_": "asd_lightning.training.schedule.inverse_sqrt",
    "model.scheduler.warmup": 960,
    "model.loss._target_": "asd_lightning.losses.one_stage.OneStageLoss",
    "model.loss.margin": 0.2,
    "model.loss.sub_centers": 114,
    "model.loss.temperature": 0.04,
    # The training mode is OS-SCL: the sum of both losses.
    "model.loss.contrastive_weight": 1.0,
    "callbacks.ema.decay": 0.9995,
    "model.scorer._target_": "asd_lightning.scoring.knn.KNNScorer",
    "model.scorer.smote.ratio": 0.2,
    "model.scorer.smote.neighbors": 3,
    "data.supplemental": "none",
}
_XJU_BRANCHES: dict[str, dict[str, Any]] = {
    **{
        name: {
            f"{branch}.encoder.weights": weights,
            f"{branch}.finetuning": "full",
            f"{branch}.augmentation._target_": "asd_lightning.features.spec_augment.SpecAugment",
            f"{branch}.augmentation.time_width": 80,
            f"{branch}.augmentation.freq_width": 80,
        }
        for name, branch, weights in (("beats", BEATS, "beats_iter3"), ("eat", EAT, "eat_base"))
    },
    "fft": {
        "model.embedder.branches.fft.front_end._target_": "asd_lightning.features.spectrum.MagnitudeSpectrum",
        "model.embedder.branches.fft.encoder._target_": "asd_lightning.encoders.spectrum_cnn.SpectrumCNN",
    },
}


def _xju(number: int, branches: tuple[str, ...], more: Mapping[str, Any] | None = None) -> PublishedSystem:
    name = list(TABLE_2)[number - 1]
    averages = TABLE_2_AVERAGES[name]
    settings = _XJU | {key: value for one in branches for key, value in _XJU_BRANCHES[one].items()} | dict(more or {})
    return PublishedSystem(
        *(f"system{number}", (f"experiment=system{number}",), branches, settings),
        PublishedScore(name, averages.hmean, None),
        TABLE_2[name],
        averages,
    )


def _deviation(pooling: str, gamma: float, power: float | None, bands: str) -> dict[str, Any]:
    """Relative deviation pooling, with ``power`` in a generalised mean."""
    return {
        f"{BEATS}.{pooling}._target_": "asd_lightning.encoders.pooling.GridPooling",
        f"{BEATS}.{pooling}.over_time._target_": "asd_lightning.encoders.over_time.DeviationWeighted",
        f"{BEATS}.{pooling}.over_time.gamma": gamma,
        f"{BEATS}.{pooling}.over_time.power": power,
        f"{BEATS}.{pooling}.bands": bands,
    }


def _grid(match: str, neighbors: int, **more: Any) -> dict[str, Any]:
    """A back-end of one bank whose correction by the density is fitted."""
    told = {"match": match, "neighbors": neighbors, "alpha": "fitted", "rescale": ABSENT, **more}
    settings = {f"model.scorer.{key}": value for key, value in told.items()}
    return {"model.scorer._target_": "asd_lightning.scoring.grid.GridScorer", **settings}


_FROZEN = {f"{BEATS}.encoder.weights": "beats_iter3", f"{BEATS}.finetuning": "freeze", "trainer.max_steps": 0}
_RDP = _FROZEN | _deviation("pooling", 16.0, 3.0, "merge") | _grid("euclidean", 1, rescale="log")
_BEAM_BACK_END = _grid("beam", 4, bands=8)
_BEAM = _FROZEN | _deviation("pooling", 4.0, None, "keep") | _BEAM_BACK_END
_LORA = {
    f"{BEATS}.encoder.weights": "beats_iter3",
    f"{BEATS}.finetuning": "lora",
    f"{BEATS}.lora_rank": 64,
    f"{BEATS}.lora_layers": ["q_proj", "k_proj", "v_proj"],
    f"{BEATS}.embed_dim": 256,
    f"{BEATS}.pooling._target_": "asd_lightning.encoders.pooling.AttentiveStatistics",
    **_deviation("scored_pooling", 4.0, None, "keep"),
    "trainer.max_steps": 37_500,
    "data.labels": "machine_domain_attribute",
    "data.clip_seconds": 10.0,
    "data.batch_size": 8,
    "accumulate": 1,
    "model.optimizer._target_": "torch.optim.AdamW",
    "model.optimizer.lr": 1e-4,
    "model.scheduler._target_": "asd_lightning.training.schedule.constant",
    "model.scheduler.warmup": 5000,
    "model.loss._target_": "asd_lightning.losses.sub_cluster_adacos.SubClusterAdaCos",
    "model.loss.sub_centers": 16,
    "model.loss.scale": "fixed",
    "model.mixup_alpha": 1.0,
    "model.mixup_per_clip": 0.5,
    **_BEAM_BACK_END,
}
_CLUSTERS = (
    "experiment=beats_frozen",
    "data.channel=reduced_per_clip",
    "model/embedder/pooling@model.embedder.branches.beats.pooling=mean",
)
_UNKNOWN_LENGTH = ("what is done to clips that are not 10 s long (tiled or cropped here)",)
_WHOLE: tuple[Part, ...] = ("dev", "train", "test")
_RECIPE_2026 = "public recipe of 2026 (kasahart/asd-experiments and dcase-asd-toolkit on GitHub), as its results say"


def _recipe(
    name: str, overrides: tuple[str, ...], settings: Mapping[str, Any], channel: int | str = 0
) -> tuple[PublishedSystem, ...]:
    settings = {**settings, "data.channel": channel}
    return (PublishedSystem(name, overrides, ("beats",), settings, RECIPES[name]),)


def _lora(name: str, channel: int | str, left_open: tuple[str, ...] = ()) -> Target:
    return Target(
        *(name, _RECIPE_2026, 2026, _WHOLE, _recipe(name, (f"experiment={name}",), _LORA, channel), (0, 1, 2)),
        classes=116,
        clusters=_CLUSTERS,
        left_open=(
            "published is one training, of seed 1234 of other code, in float32; trainer.precision may be another here",
            "lora_alpha (8 here) and AdamW's weight decay (0.01 here) are in no source",
            "no source names SpecAugment, an average of the weights or supplemental clips; there are none here",
            *left_open,
        ),
    )


TARGETS = {
    target.name: target
    for target in (
        Target(
            *("xju2025", "Huang and He, XJU system, DCASE 2025 Challenge technical report, tables 1 and 2", 2025),
            ("dev", "train"),
            (
                _xju(1, ("beats", "fft")),
                _xju(2, ("eat", "fft")),
                _xju(3, ("eat", "beats")),
                _xju(4, ("eat", "beats", "fft"), {"model.embedder.branches.fft.normalize": "l2"}),
            ),
            (0, 1, 2),
            classes=172,
            left_open=(
                "how many trainings a printed number is of",
                "clip length (10 s here), mixup, the scale (30), the head and whether what follows it is scored, both "
                "encoders' pooling, the weight decay, and of what kind system 4's normalization is (length 1 here)",
                "of the k-NN all but SMOTE's two numbers: one neighbor by cosine, the lower of both domains here",
                "more switches, with their defaults: docs/paper.md",
            ),
        ),
        Target(
            *("rdp2603", "arXiv 2603.04605, BEATs with relative deviation pooling, 2025", 2025, _WHOLE),
            _recipe(
                "rdp2603",
                ("experiment=rdp2603",),
                _RDP,
            ),
            (0,),
            left_open=(
                "over what the merged bands are pooled (all tokens here: merge_over)",
                *_UNKNOWN_LENGTH,
            ),
        ),
        Target(
            *("beam_2026", _RECIPE_2026, 2026, _WHOLE),
            _recipe("beam_2026", ("experiment=beats_frozen", "model/scorer=beam_varmin"), _BEAM),
            (0,),
            left_open=_UNKNOWN_LENGTH,
        ),
        Target(
            *("beam_w1_2026", _RECIPE_2026, 2026, _WHOLE),
            _recipe(
                "beam_w1_2026",
                ("experiment=beats_frozen", "model/scorer=beam_varmin", "data.channel=reduced_per_clip"),
                _BEAM,
                "reduced_per_clip",
            ),
            (0,),
            left_open=_UNKNOWN_LENGTH,
        ),
        _lora("lora_w1_2026", "reduced_per_clip"),
        _lora("lora_2026", 0, ("of which microphone the classes by k-means are: those of lora_w1_2026 here",)),
    )
}
