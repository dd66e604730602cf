"""Published checkpoints of BEATs, EAT and mn04, in any of their formats, to a configuration and float32 tensors."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asd_lightning.encoders.beats import BEATs, BEATsConfig
from asd_lightning.encoders.eat import EAT, EATConfig
from asd_lightning.encoders.mn04 import MN04, MN04Config
from asd_lightning.encoders.weights.catalog import Architecture
from asd_lightning.encoders.weights.tensor_files import (
    StoredTensor,
    check_is_weights,
    is_safetensors,
    read_safetensors,
    read_tensors,
    some,
)
from asd_lightning.encoders.weights.unpickling import read_pickled, settings
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import load_json
from asd_lightning.plain_text import printable

EncoderConfig = BEATsConfig | EATConfig | MN04Config
Encoder = BEATs | EAT | MN04

CONFIGS: dict[Architecture, type[BEATsConfig] | type[EATConfig] | type[MN04Config]] = {
    "beats": BEATsConfig,
    "eat": EATConfig,
    "mn04": MN04Config,
}

# EAT, fairseq's names to those of the Hugging Face port, applied in this order.
_EAT_RENAMES = (
    (re.compile(r"^model\."), ""),
    (re.compile(r"^modality_encoders\.IMAGE\.context_encoder\.norm\."), "pre_norm."),
    (re.compile(r"^modality_encoders\.IMAGE\."), ""),
)
# Not part of the encoder: AudioSet classifiers, the decoder of pre-training, its averaged teacher.
_BEATS_DROPPED = ("predictor.",)
_EAT_DROPPED = ("decoder.", "head.", "fc_norm.", "_ema")
# Choices of EAT that every published checkpoint makes alike, the only ones implemented.
_EAT_FIXED = {"layer_norm_first": False, "norm_eps": 1e-6, "fixed_positions": True, "qkv_bias": True, "in_chans": 1}
# A state dict without anything around it: this name is in it.
_MN04_MARK = "features.0.0.weight"
_EAT_HEAD_DIM = 64  # of EAT-base and EAT-large, for files that do not state the number of heads
# Being a fixed function of its shape, EAT's position table is recomputed on loading, so its length is free.
_FREE_LENGTH = "fixed_positional_encoder.positions"


@dataclasses.dataclass(frozen=True)
class EncoderWeights:
    """What a checkpoint says: the encoder's architecture and configuration, and its float32 tensors by name."""

    architecture: Architecture
    config: EncoderConfig
    tensors: dict[str, Tensor]


def read_official(path: Path) -> EncoderWeights:
    """Read a published checkpoint: BEATs .pt, EAT fairseq .pt, EAT .safetensors, pre-trained or fine-tuned; mn04 .pt.

    Heads, decoders and teachers are left out, half precision becomes float32, tensors that share memory become separate
    ones.  The result fits its encoder exactly.

    Raises:
        UserError: damaged, refused (see ``unpickling``), of no known format, or not what its encoder needs.
    """
    check_is_weights(path)
    if is_safetensors(path):
        named, stated = read_safetensors(path)[0], _neighboring_config(path)
    else:
        named, stated = _model_and_config(read_pickled(path), path)
    try:
        architecture, config, kept = _recognized(named, stated, path)
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError) as error:
        raise UserError(f"{path}: {printable(f'{error!s:.300}')}") from error
    return fitting(architecture, config, kept, path)


def fitting(
    architecture: Architecture, config: EncoderConfig, stored: dict[str, StoredTensor], path: Path
) -> EncoderWeights:
    """The tensors of ``path`` for the encoder that ``config`` describes, read once their shapes are known to be right.

    Raises:
        UserError: see ``check_fit``; damaged.
    """
    check_fit(config, {name: tensor.shape for name, tensor in stored.items()}, str(path))
    return EncoderWeights(architecture, config, read_tensors(stored, path))


def build(config: EncoderConfig) -> Encoder:
    """The encoder that ``config`` describes, randomly initialised."""
    if isinstance(config, MN04Config):
        return MN04(config)
    return BEATs(config) if isinstance(config, BEATsConfig) else EAT(config)


def architecture_of(config: EncoderConfig) -> Architecture:
    """The name of the architecture that ``config`` is of."""
    return next(name for name, kind in CONFIGS.items() if isinstance(config, kind))


def check_fit(config: EncoderConfig, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Compare names and shapes of tensors with those of the encoder that ``config`` describes.

    Raises:
        UserError: a tensor is missing, unknown, or of another shape; the message names it and ``source``.
    """
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in build(config).state_dict().items()}
    both = [name for name in expected if name in shapes]
    wrong = [name for name in both if not _same_shape(name, shapes[name], expected[name])]
    problems = {
        "lacks": sorted(expected.keys() - shapes.keys()),
        "has the unknown": sorted(shapes.keys() - expected.keys()),
        "has another shape:": [f"{name} is {shapes[name]}, not {expected[name]}" for name in wrong],
    }
    found = [f"{what} {some(names)}" for what, names in problems.items() if names]
    if found:
        raise UserError(
            f"{source} does not fit the {architecture_of(config)} encoder of its configuration: it "
            f"{'; it '.join(found)}. Take the published file as it is, and leave `config` overrides of sizes out"
        )


def _same_shape(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    if name == _FREE_LENGTH and len(shape) == len(expected):
        return shape[::2] == expected[::2]
    return shape == expected


def _model_and_config(payload: dict[Any, Any], path: Path) -> tuple[dict[str, StoredTensor], Mapping[str, Any]]:
    model = payload if _MN04_MARK in payload else payload.get("model")
    if not isinstance(model, dict):
        raise UserError(
            f"{path} has no 'model' dictionary, only {some(sorted(map(str, payload))) or 'nothing'}: it is not a "
            "published checkpoint of BEATs, EAT or mn04. `asd weights list` names those"
        )
    named = {str(name): value for name, value in model.items() if isinstance(value, StoredTensor)}
    cfg = payload.get("cfg")
    return named, settings(cfg, "model") or settings(cfg)  # fairseq has the model's part under "model"


def _neighboring_config(path: Path) -> Mapping[str, Any]:
    """``config.json`` beside a .safetensors file of EAT's Hugging Face port, where there is one."""
    config = path.with_name("config.json")
    if not config.is_file():
        return {}
    stated = load_json(config)
    return settings(stated) if isinstance(stated, dict) and stated.get("model_type") == "eat" else {}


def _is_beats(named: Mapping[str, StoredTensor]) -> bool:
    return any(name.startswith("encoder.layers.") for name in named)


_Found = tuple[Architecture, EncoderConfig, dict[str, StoredTensor]]


def _recognized(named: dict[str, StoredTensor], stated: Mapping[str, Any], path: Path) -> _Found:
    if _MN04_MARK in named:
        return "mn04", MN04Config(), named
    return _beats(named, stated) if _is_beats(named) else _eat(named, stated, path)


def _beats(named: Mapping[str, StoredTensor], cfg: Mapping[str, Any]) -> _Found:
    if not cfg:
        raise ValueError("the tensors are those of BEATs, but there is no 'cfg' dictionary with them")
    kept = {name: tensor for name, tensor in named.items() if not name.startswith(_BEATS_DROPPED)}
    return "beats", BEATsConfig.from_checkpoint(cfg), kept


def _eat(named: Mapping[str, StoredTensor], stated: Mapping[str, Any], path: Path) -> _Found:
    renamed = {_eat_name(name): tensor for name, tensor in named.items()}
    kept = {name: tensor for name, tensor in renamed.items() if not name.startswith(_EAT_DROPPED)}
    if "blocks.0.attn.qkv.weight" not in kept:
        raise UserError(
            f"{path} is neither BEATs nor EAT nor mn04: its tensors are called {some(sorted(named)) or 'nothing'}. "
            "`asd weights list` names the published checkpoints"
        )
    return "eat", _eat_config(kept, stated), kept


def _eat_name(name: str) -> str:
    for pattern, replacement in _EAT_RENAMES:
        name = pattern.sub(replacement, name)
    return name


def _eat_config(tensors: Mapping[str, StoredTensor], stated: Mapping[str, Any]) -> EATConfig:
    """Sizes from the tensors' shapes, which cannot be wrong; the number of heads from what the file states."""
    for key, supported in _EAT_FIXED.items():
        if stated.get(key, supported) != supported:
            raise ValueError(f"EAT configuration has {key}={stated[key]!r:.80}; only {supported!r} is implemented")
    hidden, dim = _shape(tensors, "blocks.0.mlp.fc1.weight", 2)
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    return EATConfig(
        patch_size=_shape(tensors, "local_encoder.proj.weight", 4)[-1],
        embed_dim=dim,
        depth=depth,
        num_heads=int(stated.get("num_heads", dim // _EAT_HEAD_DIM)),
        mlp_ratio=hidden / dim,
    )


def _shape(tensors: Mapping[str, StoredTensor], name: str, dimensions: int) -> tuple[int, ...]:
    if name not in tensors or len(tensors[name].shape) != dimensions:
        raise ValueError(f"the tensors are those of EAT, but there is no {name} of {dimensions} dimensions")
    return tensors[name].shape
