"""Published checkpoints of BEATs and EAT, in any of their formats, to a configuration and float32 tensors."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asd_lightning.encoders.beats import BEATs, BEATsConfig
from asd_lightning.encoders.eat import EAT, EATConfig
from asd_lightning.encoders.weights.catalogue import Architecture
from asd_lightning.encoders.weights.unpickling import (
    check_is_weights,
    is_safetensors,
    plain,
    read_pickled,
    read_safetensors,
)
from asd_lightning.errors import UserError

EncoderConfig = BEATsConfig | EATConfig
Encoder = BEATs | EAT

CONFIGS: dict[Architecture, type[BEATsConfig] | type[EATConfig]] = {"beats": BEATsConfig, "eat": EATConfig}

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
    """Read a published checkpoint: BEATs .pt, EAT fairseq .pt, EAT .safetensors, pre-trained or fine-tuned.

    Heads, decoders and teachers are left out, half precision becomes float32, tensors that share memory become separate
    ones.  The result fits its encoder exactly.

    Raises:
        UserError: damaged, refused (see ``unpickling``), of no known format, or not what its encoder needs.
    """
    check_is_weights(path)
    stated: Mapping[str, Any]
    if is_safetensors(path):
        named, stated = read_safetensors(path)[0], _neighbouring_config(path)
    else:
        named, stated = _model_and_config(read_pickled(path), path)
    try:
        weights = _beats(named, stated) if _is_beats(named) else _eat(named, stated, path)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    check_fit(weights, str(path))
    return weights


def build(config: EncoderConfig) -> Encoder:
    """The encoder that ``config`` describes, randomly initialised."""
    return BEATs(config) if isinstance(config, BEATsConfig) else EAT(config)


def check_fit(weights: EncoderWeights, source: str) -> None:
    """Compare names and shapes with the encoder's own.

    Raises:
        UserError: a tensor is missing, unknown, or of another shape; the message names it and ``source``.
    """
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in build(weights.config).state_dict().items()}
    got = {name: tuple(tensor.shape) for name, tensor in weights.tensors.items()}
    wrong = [
        f"{name} is {got[name]}, not {shape}" for name, shape in expected.items() if name in got and got[name] != shape
    ]
    problems = {
        "lacks": sorted(expected.keys() - got.keys()),
        "has the unknown": sorted(got.keys() - expected.keys()),
        "has another shape:": [text for text in wrong if not text.startswith(_FREE_LENGTH)],
    }
    found = [f"{what} {_some(names)}" for what, names in problems.items() if names]
    if found:
        raise UserError(
            f"{source} does not fit the {weights.architecture} encoder of its configuration: it {'; it '.join(found)}. "
            "Take the published file as it is, and leave `config` overrides of sizes out"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _model_and_config(payload: dict[str, Any], path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    model = payload.get("model")
    if not isinstance(model, dict):
        raise UserError(
            f"{path} has no 'model' dictionary, only {sorted(map(str, payload))[:8]}: it is not a published checkpoint "
            "of BEATs or EAT. `asd weights list` names those"
        )
    named = {str(name): value for name, value in model.items() if isinstance(value, Tensor)}
    stated = plain(payload.get("cfg"))
    return named, stated if isinstance(stated, dict) else {}


def _neighbouring_config(path: Path) -> Mapping[str, Any]:
    """``config.json`` beside a .safetensors file of EAT's Hugging Face port, where there is one."""
    config = path.with_name("config.json")
    if not config.is_file():
        return {}
    stated = json.loads(config.read_text(encoding="utf-8"))
    return stated if isinstance(stated, dict) and stated.get("model_type") == "eat" else {}


def _is_beats(named: Mapping[str, Tensor]) -> bool:
    return any(name.startswith("encoder.layers.") for name in named)


def _beats(named: Mapping[str, Tensor], cfg: Mapping[str, Any]) -> EncoderWeights:
    if not cfg:
        raise ValueError("the tensors are those of BEATs, but there is no 'cfg' dictionary with them")
    kept = {name: tensor for name, tensor in named.items() if not name.startswith(_BEATS_DROPPED)}
    return EncoderWeights("beats", BEATsConfig.from_checkpoint(cfg), _separate_float32(kept))


def _eat(named: Mapping[str, Tensor], stated: Mapping[str, Any], path: Path) -> EncoderWeights:
    renamed = {_eat_name(name): tensor for name, tensor in named.items()}
    kept = {name: tensor for name, tensor in renamed.items() if not name.startswith(_EAT_DROPPED)}
    if "blocks.0.attn.qkv.weight" not in kept:
        raise UserError(
            f"{path} is neither BEATs nor EAT: its tensors are called {_some(sorted(named)) or 'nothing'}. "
            "`asd weights list` names the published checkpoints"
        )
    return EncoderWeights("eat", _eat_config(kept, stated), _separate_float32(kept))


def _eat_name(name: str) -> str:
    for pattern, replacement in _EAT_RENAMES:
        name = pattern.sub(replacement, name)
    return name


def _eat_config(tensors: Mapping[str, Tensor], stated: Mapping[str, Any]) -> EATConfig:
    """Sizes from the tensors' shapes, which cannot be wrong; the number of heads from what the file states."""
    model = stated.get("model", stated)  # fairseq has the model's part under "model"
    for key, supported in _EAT_FIXED.items():
        if model.get(key, supported) != supported:
            raise ValueError(f"EAT configuration has {key}={model[key]!r}; only {supported!r} is implemented")
    hidden, dim = tensors["blocks.0.mlp.fc1.weight"].shape
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    return EATConfig(
        patch_size=tensors["local_encoder.proj.weight"].shape[-1],
        embed_dim=dim,
        depth=depth,
        num_heads=int(model.get("num_heads", dim // _EAT_HEAD_DIM)),
        mlp_ratio=hidden / dim,
    )


def _separate_float32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Own, contiguous memory for each: BEATs' layers share one table, and .safetensors takes no shared memory."""
    return {name: tensor.detach().to(torch.float32, copy=True).contiguous() for name, tensor in tensors.items()}
