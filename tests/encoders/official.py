"""Published checkpoint layouts in small: names, shapes and containers as the publishers write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import Tensor

BEATS_CFG: dict[str, Any] = {
    "encoder_layers": 2,
    "encoder_embed_dim": 48,
    "encoder_ffn_embed_dim": 96,
    "encoder_attention_heads": 4,
    "activation_fn": "gelu",
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
    "encoder_layerdrop": 0.05,
    "dropout_input": 0.1,
    "layer_norm_first": False,
    "conv_bias": False,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "relative_position_embedding": True,
    "num_buckets": 32,
    "max_distance": 80,
    "gru_rel_pos": True,
    "deep_norm": True,
    "input_patch_size": 16,
    "embed_dim": 32,
}
FINETUNED_CFG = BEATS_CFG | {
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "dropout_input": 0.0,
    "layer_wise_gradient_decay_ratio": 0.6,
    "finetuned_model": True,
    "predictor_dropout": 0.0,
    "predictor_class": 5,
}
EAT_DIM, EAT_DEPTH, EAT_HEADS = 128, 2, 2

Shapes = dict[str, tuple[int, ...]]


def beats_shapes(cfg: dict[str, Any]) -> Shapes:
    """Names and shapes of an official BEATs state dict."""
    dim, hidden, heads, patch = (
        cfg[key]
        for key in ("encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads", "input_patch_size")
    )
    shapes: Shapes = {
        "patch_embedding.weight": (cfg["embed_dim"], 1, patch, patch),
        "encoder.pos_conv.0.bias": (dim,),
        "encoder.pos_conv.0.weight_g": (1, 1, cfg["conv_pos"]),
        "encoder.pos_conv.0.weight_v": (dim, dim // cfg["conv_pos_groups"], cfg["conv_pos"]),
        **norm("layer_norm", cfg["embed_dim"]),
        **linear("post_extract_proj", cfg["embed_dim"], dim),
        **norm("encoder.layer_norm", dim),
    }
    for index in range(cfg["encoder_layers"]):
        layer = f"encoder.layers.{index}"
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= linear(f"{layer}.self_attn.{name}", dim, dim)
        shapes |= linear(f"{layer}.self_attn.grep_linear", dim // heads, 8)
        shapes |= {f"{layer}.self_attn.grep_a": (1, heads, 1, 1)}
        shapes |= {f"{layer}.self_attn.relative_attention_bias.weight": (cfg["num_buckets"], heads)}
        shapes |= norm(f"{layer}.self_attn_layer_norm", dim) | norm(f"{layer}.final_layer_norm", dim)
        shapes |= linear(f"{layer}.fc1", dim, hidden) | linear(f"{layer}.fc2", hidden, dim)
    if cfg.get("finetuned_model"):
        shapes |= linear("predictor", dim, cfg["predictor_class"])
    return shapes


def eat_port_shapes(dim: int, depth: int, finetuned: bool = False) -> Shapes:
    """Names and shapes of EAT's Hugging Face port."""
    shapes: Shapes = {
        "extra_tokens": (1, 1, dim),
        "fixed_positional_encoder.positions": (1, 768 * 8, dim),
        "local_encoder.proj.weight": (dim, 1, 16, 16),
        "local_encoder.proj.bias": (dim,),
        **norm("pre_norm", dim),
    }
    for index in range(depth):
        block = f"blocks.{index}"
        shapes |= linear(f"{block}.attn.qkv", dim, 3 * dim) | linear(f"{block}.attn.proj", dim, dim)
        shapes |= linear(f"{block}.mlp.fc1", dim, 4 * dim) | linear(f"{block}.mlp.fc2", 4 * dim, dim)
        shapes |= norm(f"{block}.norm1", dim) | norm(f"{block}.norm2", dim)
    if finetuned:
        shapes |= norm("fc_norm", dim) | linear("head", dim, 5)
    return {f"model.{name}": shape for name, shape in shapes.items()}


def fairseq_name(port_name: str) -> str:
    """A name of the port in fairseq's pre-training checkpoint."""
    name = port_name.removeprefix("model.")
    if name.startswith("pre_norm."):
        return name.replace("pre_norm.", "modality_encoders.IMAGE.context_encoder.norm.")
    outside = name.startswith(("blocks.", "fc_norm.", "head."))
    return name if outside else f"modality_encoders.IMAGE.{name}"


def eat_fairseq_shapes(dim: int, depth: int) -> Shapes:
    """Names and shapes of fairseq's pre-training checkpoint, without its averaged teacher."""
    shapes = {fairseq_name(name): shape for name, shape in eat_port_shapes(dim, depth).items()}
    decoder = "modality_encoders.IMAGE.decoder"
    for index in range(6):
        shapes[f"{decoder}.blocks.{index}.0.weight"] = (dim, dim // 16, 3, 3)
        shapes[f"{decoder}.blocks.{index}.0.bias"] = (dim,)
    return shapes | linear(f"{decoder}.proj", dim, dim)


def linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, dim: int) -> Shapes:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def draw(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors; the layers' position tables of BEATs are one tensor under many names."""
    generator = torch.Generator().manual_seed(seed)
    state = {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}
    shared = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
    for name in state:
        if name.endswith("relative_attention_bias.weight"):
            state[name] = state[shared.format(0)]
    return state


def write_beats(path: Path, state: dict[str, Tensor], cfg: dict[str, Any]) -> Path:
    payload: dict[str, Any] = {"cfg": cfg, "model": state}
    if cfg.get("finetuned_model"):
        payload["label_dict"] = {0: "/m/09x0r", 1: "/m/05zppz"}
    torch.save(payload, path)
    return path


def write_port(path: Path, state: dict[str, Tensor]) -> Path:
    save_file(state, path, metadata={"format": "pt"})
    return path


def write_fairseq(path: Path, state: dict[str, Tensor], *, plain_cfg: bool = False) -> Path:
    """fairseq's trainer state around the tensors: configuration, teacher, optimizer, meters."""
    cfg = {
        "model": {"depth": EAT_DEPTH, "embed_dim": EAT_DIM, "num_heads": EAT_HEADS, "norm_eps": 1e-6},
        "task": {"key": [1]},
    }
    teacher = {name: torch.zeros_like(tensor) for name, tensor in state.items() if ".decoder." not in name}
    payload = {
        "args": None,
        "cfg": cfg if plain_cfg else OmegaConf.create(cfg),
        "model": {**state, "_ema": teacher},
        "criterion": None,
        "optimizer_history": [
            {"optimizer_name": "FP16Optimizer", "lr_scheduler_state": {"best": None}, "num_updates": 3}
        ],
        "task_state": {},
        "extra_state": {"train_iterator": {"epoch": 31}, "metrics": [], "previous_training_time": 1.5},
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 5e-4}]},
    }
    torch.save(payload, path)
    return path
