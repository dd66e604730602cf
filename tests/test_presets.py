"""The report's presets, as the four systems are composed and as they are built: change one, and a row turns red."""

import inspect

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from asd_lightning.configuration import CONF_DIR, choices_of, compose_train, plain
from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.data.labels import ClassLabel
from asd_lightning.embedder import UnitLength
from asd_lightning.encoders.finetuning import LoRALinear
from asd_lightning.encoders.grid import TokenGrid
from asd_lightning.encoders.over_time import Deviation, DeviationWeighted, Max, Mean, PowerMean, RankWeighted
from asd_lightning.encoders.pooling import AttentiveStatistics, ClsPooling
from asd_lightning.features.spec_augment import SpecAugment
from asd_lightning.losses.adaproj import AdaProj
from asd_lightning.losses.sub_cluster_adacos import SubClusterAdaCos
from asd_lightning.training.build import build_module

SYSTEMS = ("system1", "system2", "system3", "system4")
CLASSES = [ClassLabel("fan/a", True), ClassLabel("fan/b", True), ClassLabel("pump/noAttribute", False)]

# Whatever the system.  method: table 1 of the report, and what it leaves open as the README's table of switches says.
COMPOSED = {
    "seed": 0,
    "accumulate": 8,
    "devices": 1,
    "data.labels": "machine_attribute",
    "data.machines": None,
    "data.clip_seconds": 10.0,
    "data.channel": 0,
    "data.residual": 0.5,
    "store_features": None,
    "data.pad": "tile",
    "data.test_windows": 1,
    "data.batch_size": 16,
    "data.sampler": "uniform",
    "data.supplemental": "none",
    "data.pseudo_classes": None,
    "encoders.beats.weights": "beats_iter3",
    "encoders.eat.weights": "eat_base",
    "model.mixup_alpha": 0.5,
    "model.mixup_per_clip": None,
    "model.recording_score": "max",
    "model.scoring_precision": "float32",
    "data.group": "recording",
    "data.hop_seconds": None,
    "model.score_after_head": True,
    "model.decay_all": True,
    "model.loss.sub_centers": 114,
    "model.loss.scale": 30.0,
    "model.loss.margin": 0.2,
    "model.loss.temperature": 0.04,
    "model.loss.contrastive_weight": 1.0,
    "model.loss.head": "joint",
    "model.loss.gather": True,
    "model.optimizer._target_": "torch.optim.AdamW",
    "model.optimizer.lr": 1e-4,
    "model.optimizer.weight_decay": 0.01,
    "model.scheduler._target_": "asd_lightning.training.schedule.inverse_sqrt",
    "model.scheduler.warmup": 960,
    "model.scheduler.unit": "update",
    "model.scorer.k": 1,
    "model.scorer.metric": "cosine",
    "model.scorer.fusion": "min",
    "model.scorer.standardize": False,
    "model.scorer.local_density": None,
    "model.scorer.smote.ratio": 0.2,
    "model.scorer.smote.neighbors": 3,
    "model.threshold._target_": "asd_lightning.scoring.thresholds.GammaThreshold",
    "model.threshold.percentile": 90.0,
    "trainer.max_steps": 10_000,
    "trainer.accumulate_grad_batches": 8,
    "trainer.precision": "32-true",
    "trainer.gradient_clip_val": None,
    "callbacks.ema._target_": "asd_lightning.training.averaging.WeightEMA",
    "callbacks.ema.decay": 0.9995,
    "callbacks.ema.unit": "update",
}
BRANCHES = {
    "system1": ["beats", "fft"],
    "system2": ["eat", "fft"],
    "system3": ["eat", "beats"],
    "system4": ["eat", "beats", "fft"],
}
NORMALIZE = {"system1": "none", "system2": "none", "system3": "none", "system4": "l2"}


def composed(tmp_path, system):
    return compose_train([f"experiment={system}", "encoders=tiny", "name=x"], tmp_path)


@pytest.fixture(scope="module", params=SYSTEMS)
def built(request, tmp_path_factory):
    config = composed(tmp_path_factory.mktemp("built"), request.param)
    return request.param, config, build_module(plain(config.model), CLASSES)


@pytest.mark.parametrize("system", SYSTEMS)
def test_composed(tmp_path, system):
    config = compose_train([f"experiment={system}", "name=x"], tmp_path)
    assert {key: OmegaConf.select(config, key) for key in COMPOSED} == COMPOSED
    branches = config.model.embedder.branches
    assert list(branches) == BRANCHES[system]
    for name, branch in branches.items():
        assert branch.normalize == (NORMALIZE[system] if name == "fft" else "none")
        assert branch.get("finetuning", "full") == "full"


def test_built_branches(built):
    system, _, module = built
    assert list(module.embedder.branches) == BRANCHES[system]
    for name, branch in module.embedder.branches.items():
        assert branch.embed_dim == 128
        normalized = system == "system4" and name == "fft"
        assert isinstance(branch.normalization, UnitLength if normalized else torch.nn.Identity)
        if name == "fft":
            assert isinstance(branch.augmentation, torch.nn.Identity)
            continue
        mask = branch.augmentation
        assert isinstance(mask, SpecAugment)
        assert (mask.time_width, mask.freq_width, mask.probability, mask.count) == (80, 80, 0.5, 1)
        assert isinstance(branch.pooling, AttentiveStatistics if name == "beats" else ClsPooling)
        assert all(parameter.requires_grad for parameter in branch.encoder.parameters())


def test_built_front_ends(built):
    """BEATs sees 998 frames of 10 s, EAT exactly 1024; the spectrum has 80,000 bins."""
    _, config, module = built
    waveform = 0.1 * torch.randn(1, round(config.data.clip_seconds * 16_000))
    shapes = {name: tuple(b.front_end(waveform).shape[1:]) for name, b in module.embedder.branches.items()}
    expected = {"beats": (998, 128), "eat": (1024, 128), "fft": (80_000,)}
    assert shapes == {name: expected[name] for name in shapes}


def test_built_head_and_loss(built):
    module = built[2]
    dim = sum(module.embedder.embed_dims.values())
    assert [one[0].in_features for one in module.head.perturbations] == [dim]
    loss = module.loss
    assert (loss.arcface.scale, loss.arcface.margin) == (30.0, 0.2)
    assert (loss.temperature, loss.base_temperature) == (0.04, 0.07)
    assert (loss.arcface_weight, loss.contrastive_weight, loss.gather) == (1.0, 1.0, True)
    assert loss.arcface.weight.shape == (3 * 114, dim)
    assert module.scored_embedder().head is module.head
    assert (module._mixup_alpha, module._mixup_per_clip, module._decay_all) == (0.5, None, True)


def test_built_scorer_threshold_and_average(built):
    _, config, _ = built
    scorer = instantiate(config.model.scorer, _convert_="all")()
    assert (scorer.k, scorer.metric, scorer.fusion, scorer.standardize, scorer.local_density) == (
        1, "cosine", "min", False, None,
    )  # fmt: skip
    assert (scorer.smote.ratio, scorer.smote.neighbors) == (0.2, 3)
    assert instantiate(config.model.threshold).percentile == 90.0
    average = instantiate(config.callbacks.ema)
    assert (average._decay, average._unit) == (0.9995, "update")


# match, bands, rescale, alpha, neighbors
GRID = {
    "varmin": ("cosine", 1, "identity", "fitted", 4),
    "varmin_log": ("euclidean", 1, "log", "fitted", 1),
    "beam": ("beam", 8, "identity", 0.0, 4),
    "beam_varmin": ("beam", 8, "identity", "fitted", 4),
    "coupled": ("coupled", 8, "identity", 0.0, 4),
    "ldn": ("cosine", 1, "ratio", 1.0, 1),
    "ldn_2": ("cosine", 1, "ratio", 1.0, 2),
    "ldn_4": ("cosine", 1, "ratio", 1.0, 4),
    "ldn_16": ("cosine", 1, "ratio", 1.0, 16),
    "ldn_difference": ("cosine", 1, "identity", 1.0, 1),
    "ldn_euclidean": ("euclidean", 1, "ratio", 1.0, 1),
    "ldn_whitened": ("euclidean", 1, "ratio", 1.0, 1),
    "knn_whitened": ("euclidean", 1, "identity", 0.0, 4),
    "mem_mixup": ("euclidean", 1, "identity", 0.0, 4),
}


def back_end(name):
    return instantiate(OmegaConf.load(CONF_DIR / f"model/scorer/{name}.yaml"), _convert_="all")()


@pytest.mark.parametrize("name", GRID)
def test_built_grid_of_back_ends(name):
    """One bank; what is not said here is as the constructor has it."""
    scorer = back_end(name)
    matching, rescaling = scorer.matching, scorer.rescaling
    assert (matching.match, matching.bands, rescaling.form, rescaling.alpha, rescaling.neighbors) == GRID[name]
    assert (scorer.standardize, scorer.whiten) == (("whitened" in name),) * 2
    assert (scorer.mixup is not None) == (name == "mem_mixup")
    assert (matching.band_order, scorer.band_fusion, rescaling.fewest) == ("first", "mean", 20)


def test_built_back_ends_of_domains_and_of_several():
    assert (back_end("domain_z").fusion, back_end("domain_z").smote) == ("domain_z", None)
    assert (back_end("domain_ratio").fusion, back_end("domain_ratio")._make().matching.match) == (
        "domain_ratio",
        "cosine",
    )
    for weights in ("soft", "hard"):
        scorer = back_end(f"daco_{weights}")
        assert (scorer.calibration, scorer.weights, scorer._make().rescaling.is_plain) == ("conformal", weights, True)
    smallest, pair = back_end("z_min"), back_end("whitened_pair")
    assert (smallest.combination, smallest.scale) == ("min", "identity")
    assert list(smallest._make) == ["neighbor", "mahalanobis", "local_density", "residual"]
    assert (pair.combination, pair.scale, list(pair._make)) == ("mean", "log", ["center", "local_density"])
    assert (back_end("ledoit_wolf").standardize, back_end("residual").share) == (True, 0.95)
    assert (back_end("ldn_per_domain").local_density, back_end("ldn_per_domain").fusion) == (1, "min")


def test_mn04_is_scored_as_it_is(tmp_path):
    """Block 8 of the published weights, its bands kept apart, steps weighted by deviation; nothing is trained."""
    config = compose_train(["experiment=mn04", "name=x"], tmp_path)
    branch = config.model.embedder.branches.mn04
    assert (branch.encoder.weights, dict(branch.encoder.config)) == ("mn04_as", {"block": 8, "bands": "keep"})
    assert (branch.finetuning, branch.embed_dim, branch.normalize) == ("freeze", None, "none")
    assert (config.trainer.max_steps, config.model.mixup_alpha) == (0, None)
    assert OmegaConf.select(config, "model.scorer") == OmegaConf.select(
        compose_train(["experiment=statistics", "name=x"], tmp_path), "model.scorer"
    )
    module = build_module(plain(compose_train(["experiment=mn04", "encoders=tiny", "name=x"], tmp_path).model), CLASSES)
    built = module.embedder.branches["mn04"]
    pooling = built.pooling
    assert (pooling.bands, pooling.spikes, pooling.over_time) == ("keep", "keep", DeviationWeighted(gamma=4.0))
    assert isinstance(built.projection, torch.nn.Identity)
    mask = built.augmentation
    assert (mask.time_width, mask.freq_width, mask.probability, mask.count, mask.fill) == (80, 40, 0.5, 1, "floor")
    assert built(0.1 * torch.randn(1, 16_000)).shape == (1, built.embed_dim) == (1, 256)


def test_mn04_is_trained_as_the_systems_are(tmp_path):
    """All but the branch is system 1's; the encoder trains, with masks at the clip's floor."""
    config = compose_train(["experiment=mn04_fft", "name=x"], tmp_path)
    assert {key: OmegaConf.select(config, key) for key in COMPOSED} == COMPOSED
    assert list(config.model.embedder.branches) == ["mn04", "fft"]
    branch = config.model.embedder.branches.mn04
    assert (branch.encoder.weights, dict(branch.encoder.config)) == ("mn04_as", {"block": 8, "bands": "keep"})
    assert (branch.finetuning, branch.embed_dim, branch.normalize) == ("full", 128, "none")
    module = build_module(plain(composed(tmp_path, "mn04_fft").model), CLASSES)
    assert module.embedder.embed_dims == {"mn04": 128, "fft": 128}
    built = module.embedder.branches["mn04"]
    assert isinstance(built.pooling, AttentiveStatistics)
    mask = built.augmentation
    assert (mask.time_width, mask.freq_width, mask.probability, mask.count, mask.fill) == (80, 40, 0.5, 1, "floor")
    assert all(parameter.requires_grad for parameter in built.encoder.features[:9].parameters())
    alone = ["experiment=mn04_fft", "model/embedder/branches=[mn04]", "encoders=tiny", "name=x"]
    unmasked = "model.embedder.branches.mn04.augmentation=null"
    module = build_module(plain(compose_train([*alone, unmasked], tmp_path).model), CLASSES)
    assert module.embedder.embed_dims == {"mn04": 128}
    assert isinstance(module.embedder.branches["mn04"].augmentation, torch.nn.Identity)


LORA = {
    "data.labels": "machine_domain_attribute",
    "data.batch_size": 8,
    "data.clip_seconds": 10.0,
    "accumulate": 1,
    "trainer.accumulate_grad_batches": 1,
    "trainer.max_steps": 37_500,
    "trainer.precision": "32-true",
    "trainer.gradient_clip_val": None,
    "callbacks.ema": None,
    "encoders.beats.weights": "beats_iter3",
    "model.mixup_alpha": 1.0,
    "model.mixup_per_clip": 0.5,
    "model.loss.sub_centers": 16,
    "model.loss.scale": "fixed",
    "model.loss.head": "none",
    "model.optimizer._target_": "torch.optim.AdamW",
    "model.optimizer.lr": 1e-4,
    "model.scheduler._target_": "asd_lightning.training.schedule.constant",
    "model.scheduler.warmup": 5000,
    "model.scheduler.unit": "update",
}


@pytest.mark.parametrize(("system", "channel"), [("lora_2026", 0), ("lora_w1_2026", "reduced_per_clip")])
def test_low_rank_updates_of_2026(tmp_path, system, channel):
    config = compose_train([f"experiment={system}", "name=x"], tmp_path)
    assert {key: OmegaConf.select(config, key) for key in LORA} == LORA
    assert (config.data.channel, config.system) == (channel, system)
    scorer = "model/scorer=beam_varmin"
    assert config.model.scorer == compose_train([scorer, "name=x"], tmp_path).model.scorer
    module = build_module(plain(composed(tmp_path, system).model), CLASSES)
    (branch,) = module.embedder.branches.values()
    assert isinstance(branch.pooling, AttentiveStatistics)
    assert isinstance(branch.augmentation, torch.nn.Identity)
    assert (branch.embed_dim, branch.scored_pooling.over_time) == (256, DeviationWeighted(gamma=4.0))
    assert (branch.scored_pooling.bands, branch.scored_pooling.spikes) == ("keep", "keep")
    layers = {name: layer for name, layer in branch.encoder.named_modules() if isinstance(layer, LoRALinear)}
    assert {name.rpartition(".")[2] for name in layers} == {"q_proj", "k_proj", "v_proj"}
    assert {(layer.lora_a.shape[0], layer.scale) for layer in layers.values()} == {(64, 8 / 64)}
    assert len(layers) == 3 * 2
    assert isinstance(module.loss, SubClusterAdaCos)
    assert module.loss.weight.shape == (3 * 16, 256)
    assert module(0.1 * torch.randn(1, 16_000)).shape == (1, 8 * 64)


def test_mn04_by_sub_cluster_adacos(tmp_path):
    """All but loss, mixup, branch and what is scored is system 1's."""
    config = compose_train(["experiment=scadacos_mn04", "name=x"], tmp_path)
    other = {"model.loss", "model.scorer", "model.mixup"}
    same = {key: value for key, value in COMPOSED.items() if not key.startswith(tuple(other))}
    assert {key: OmegaConf.select(config, key) for key in same} == same
    assert (config.model.mixup_alpha, config.model.mixup_per_clip) == (1.0, 0.5)
    assert config.model.scorer == compose_train(["model/scorer=beam_varmin", "name=x"], tmp_path).model.scorer
    module = build_module(plain(composed(tmp_path, "scadacos_mn04").model), CLASSES)
    (branch,) = module.embedder.branches.values()
    assert isinstance(branch.pooling, AttentiveStatistics)
    assert (branch.embed_dim, branch.scored_pooling.over_time) == (128, DeviationWeighted(gamma=4.0))
    assert all(parameter.requires_grad for parameter in branch.encoder.features[:9].parameters())
    assert isinstance(module.loss, SubClusterAdaCos)
    assert module.eval()(0.1 * torch.randn(1, 16_000)).shape == (1, 256)


def test_spectrum_by_feature_exchange(tmp_path):
    """All but loss and mixup is that of experiment=fft."""
    config = compose_train(["experiment=featex_fft", "name=x"], tmp_path)
    same = {key: value for key, value in COMPOSED.items() if not key.startswith(("model.loss", "model.mixup"))}
    assert {key: OmegaConf.select(config, key) for key in same} == same
    assert (config.model.mixup_alpha, config.model.mixup_per_clip) == (1.0, 0.5)
    loss = build_module(plain(config.model), CLASSES).loss
    assert (loss.parts, loss.probability, loss.weight) == (2, 0.5, 1.0)
    assert [type(part) for part in (loss.plain, loss.exchanged)] == [SubClusterAdaCos] * 2
    assert [tuple(part.weight.shape) for part in (loss.plain, loss.exchanged)] == [(3 * 16, 128), (9 * 16, 128)]


@pytest.mark.parametrize(("name", "kind", "centers"), [("scadacos", SubClusterAdaCos, 16), ("adaproj", AdaProj, 32)])
def test_losses_of_soft_labels(tmp_path, name, kind, centers):
    config = plain(compose_train(["experiment=fft", f"model/loss={name}", "name=x"], tmp_path).model)
    loss = config["loss"]
    assert (loss["sub_centers"], loss["scale"], loss["head"]) == (centers, "fixed", "none")
    module = build_module(config, CLASSES)
    assert isinstance(module.loss, kind)
    assert module.loss.weight.numel() == 3 * centers * 128


FROZEN = {
    "beats_frozen": ("beats", "beats_iter3", "keep", "keep", DeviationWeighted(gamma=4.0), "knn", 8 * 64),
    "rdp2603": ("beats", "beats_iter3", "merge", "keep", DeviationWeighted(gamma=16.0, power=3.0), "varmin_log", 64),
    "eat_frozen": ("eat", "eat_base", "keep", "keep", Mean(), "knn", 8 * 64),
}


@pytest.mark.parametrize("system", FROZEN)
def test_frozen_encoders(tmp_path, system):
    name, weights, bands, spikes, over_time, scorer, dim = FROZEN[system]
    config = compose_train([f"experiment={system}", "name=x"], tmp_path)
    (branch,) = config.model.embedder.branches.values()
    assert (branch.encoder.weights, branch.finetuning, branch.embed_dim) == (weights, "freeze", None)
    assert (config.trainer.max_steps, config.model.mixup_alpha) == (0, None)
    assert config.model.scorer == compose_train([f"model/scorer={scorer}", "name=x"], tmp_path).model.scorer
    module = build_module(plain(composed(tmp_path, system).model), CLASSES)
    built = module.embedder.branches[name]
    pooling = built.pooling
    assert (pooling.bands, pooling.merge_over, pooling.spikes) == (bands, "tokens", spikes)
    assert pooling.over_time == over_time
    assert isinstance(built.projection, torch.nn.Identity)
    assert not any(parameter.requires_grad for parameter in built.parameters())
    assert built(0.1 * torch.randn(1, 16_000)).shape == (1, built.embed_dim) == (1, dim)


POOLINGS = {
    "mean": Mean(),
    "max": Max(),
    "std": Deviation(),
    "gwrp": RankWeighted(r=0.7),
    "gem": PowerMean(power=3.0),
    "rdp": DeviationWeighted(gamma=4.0),
    "rdp_gem": DeviationWeighted(gamma=16.0, power=3.0),
}


@pytest.mark.parametrize("name", POOLINGS)
def test_poolings_over_time(tmp_path, name):
    choice = f"model/embedder/pooling@model.embedder.branches.beats.pooling={name}"
    config = compose_train(["experiment=beats_frozen", "name=x", choice], tmp_path)
    pooling = instantiate(plain(config.model.embedder.branches.beats.pooling))(TokenGrid(bands=8, channels=4))
    assert pooling.over_time == POOLINGS[name]
    assert (pooling.bands, pooling.merge_over, pooling.spikes, pooling.out_dim) == ("keep", "tokens", "keep", 32)


def test_every_choice_of_pooling_is_tested():
    assert {*POOLINGS, "attentive_statistics", "cls", "tokens"} == {*choices_of("model/embedder/pooling")}


def test_log_mel_statistics(tmp_path):
    config = compose_train(["experiment=statistics", "name=x"], tmp_path)
    names = ["mean", "deviation", "p10", "p50", "p90"]
    assert config.model.embedder.branches.statistics.encoder.statistics == names
    assert config.model.scorer == compose_train(["model/scorer=residual", "name=x"], tmp_path).model.scorer
    assert build_module(plain(config.model), CLASSES).embedder.embed_dims == {"statistics": 5 * 128}
    more = "model.embedder.branches.statistics.encoder.statistics=[mean,p99.5,change,m0.5-2]"
    config = compose_train(["experiment=statistics", "name=x", more], tmp_path)
    assert build_module(plain(config.model), CLASSES).embedder.embed_dims == {"statistics": 4 * 128}
    branch = compose_train(["model/embedder/branches=[statistics]", "name=x"], tmp_path).model.embedder.branches
    assert branch.statistics.encoder.statistics == ["mean", "deviation"]


def test_a_data_module_by_hand_serves_what_the_systems_serve():
    """Constructors and YAML say the same: a difference would be a preset that depends on the way in."""
    defaults = {name: p.default for name, p in inspect.signature(ClipDataModule.__init__).parameters.items()}
    told = {key.removeprefix("data."): value for key, value in COMPOSED.items() if key.startswith("data.")}
    assert {name: defaults[name] for name in told} == told
