"""EAT: efficient audio transformer.

Paper: W. Chen, Y. Liang, Z. Ma, Z. Zheng, X. Chen, "EAT: Self-supervised pre-training with efficient audio
    transformer", IJCAI 2024, https://arxiv.org/abs/2401.03497
Origin: https://github.com/cwx-worst-one/EAT (MIT licence) and its Hugging Face port; this file is an independent
    implementation without fairseq or timm.  Parameter names are those of the port without its prefix ``model.``.

Shapes: B clips, L = 1 + N tokens, D width, H heads, d = D / H.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from asd_lightning.encoders.grid import TokenGrid, patch_bands
from asd_lightning.encoders.sizes import check_parameters, check_sizes

_NORM_EPS = 1e-6

# What a file may ask for; published: 24 layers of 1024.
_LARGEST = {
    "patch_size": 128,
    "mel_bins": 1024,
    "max_patches": 65536,
    "embed_dim": 8192,
    "depth": 64,
    "num_heads": 256,
}


@dataclass(frozen=True)
class EATConfig:
    """Architecture; defaults: EAT-base.  ``max_patches`` are the patch columns (of 16 frames) of the position table."""

    patch_size: int = 16
    mel_bins: int = 128
    max_patches: int = 768
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        check_sizes(self, _LARGEST)
        bands = self.mel_bins // self.patch_size
        layers = self.depth * self.embed_dim**2 * (4 + 2 * self.mlp_ratio)
        check_parameters(layers + self.embed_dim * (self.max_patches * bands + self.patch_size**2))
        if self.embed_dim % self.num_heads or self.embed_dim % 4:
            raise ValueError(f"embed_dim {self.embed_dim} must be a multiple of 4 and of num_heads {self.num_heads}")
        if self.mel_bins % self.patch_size:
            raise ValueError(f"mel_bins {self.mel_bins} must be a multiple of patch_size {self.patch_size}")


class EAT(nn.Module):
    """Normalised log-mel filter bank -> tokens: CLS, then one per patch of 16 frames x 16 mel bands.

    Token ``1 + t * 8 + f`` (128 bands) covers the frames from ``16 t`` and the bands from ``16 f``.  The authors embed
    a clip by its CLS token, ``tokens[:, 0]``.

    Attributes:
        token_dim: width of a token.
        grid: layout of the tokens.
        gradient_checkpointing: recompute each block in the backward pass, for less memory.
        clips_together: encoded at a time on a CPU when no gradient is wanted: their activations stay in the cache.
        bf16: see `asd_lightning.low_precision`.
        int8_layers: likewise; all linear layers.
    """

    clips_together = 2
    bf16 = True
    int8_layers = ("qkv", "proj", "fc1", "fc2")

    def __init__(self, config: EATConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EATConfig()
        self.token_dim = dim = config.embed_dim
        self.gradient_checkpointing = False
        self.local_encoder = _PatchEmbedding(config)
        self.grid = TokenGrid(patch_bands(self.local_encoder.proj, config.mel_bins), dim, extra=1)
        self.fixed_positional_encoder = _Positions(config)
        self.extra_tokens = nn.Parameter(torch.empty(1, 1, dim))
        self.pre_norm = nn.LayerNorm(dim, _NORM_EPS)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        nn.init.normal_(self.extra_tokens, std=0.02)
        self.apply(_initialize)

    @property
    def transformer_blocks(self) -> nn.ModuleList:
        """The blocks, equal but for their weights: `asd_lightning.training.compilation` compiles one for all."""
        return self.blocks

    def forward(self, features: Float[Tensor, "batch frames mel"]) -> Float[Tensor, "batch tokens dim"]:
        """Frames beyond a multiple of the patch size are dropped.

        Raises:
            ValueError: less than one patch of frames, or another number of mel bands than configured.
        """
        patch, (frames, mel) = self.config.patch_size, features.shape[1:]
        if frames < patch or mel != self.config.mel_bins:
            raise ValueError(
                f"EAT needs at least {patch} frames of {self.config.mel_bins} mel bands, got {frames} of {mel}"
            )
        # A loop in a traced graph would be one over the example's clips.
        looped = features.device.type == "cpu" and not torch.compiler.is_compiling()
        if looped and not self.training and not torch.is_grad_enabled():
            return torch.cat([self._encode(clips) for clips in torch.split(features, self.clips_together)])
        return self._encode(features)

    def _encode(self, features: Float[Tensor, "batch frames mel"]) -> Float[Tensor, "batch tokens dim"]:
        x: Tensor = self.local_encoder(features)
        x = x + self.fixed_positional_encoder(x.shape[1]).to(x.dtype)
        x = self.pre_norm(torch.cat([self.extra_tokens.to(x.dtype).expand(x.shape[0], -1, -1), x], dim=1))
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x


class _PatchEmbedding(nn.Module):
    def __init__(self, config: EATConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, config.embed_dim, config.patch_size, stride=config.patch_size)

    def forward(self, features: Float[Tensor, "batch frames mel"]) -> Float[Tensor, "batch patches dim"]:
        patches: Tensor = self.proj(features.unsqueeze(1)).flatten(2).transpose(1, 2)
        return patches


class _Positions(nn.Module):
    """Fixed 2-D sine and cosine positions: the first half of the channels encodes frequency, the second time.

    A checkpoint brings its own copy, for as many patches as it was trained with; being fixed, it is recomputed instead.
    """

    positions: Float[Tensor, "1 patches dim"]

    def __init__(self, config: EATConfig) -> None:
        super().__init__()
        self.config = config
        self.bands = config.mel_bins // config.patch_size
        self.register_buffer("positions", torch.from_numpy(self._table(config.max_patches)))
        self.register_load_state_dict_pre_hook(self._keep_own_table)  # type: ignore[no-untyped-call]

    def forward(self, patches: int) -> Float[Tensor, "1 patches dim"]:
        """Positions of the first ``patches`` patches, beyond the table's end computed anew."""
        if patches <= self.positions.shape[1]:
            return self.positions[:, :patches]
        return torch.from_numpy(self._table(patches // self.bands)).to(self.positions)

    def _table(self, columns: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """float32 throughout, like the official table, whose phases carry that rounding."""
        quarter = self.config.embed_dim // 4
        rate = (1.0 / 10_000 ** (np.arange(quarter, dtype=np.float32) / np.float32(quarter))).astype(np.float32)
        time = np.repeat(np.arange(columns, dtype=np.float32), self.bands)
        band = np.tile(np.arange(self.bands, dtype=np.float32), columns)
        phases = [index[:, None] * rate for index in (band, time)]
        return np.concatenate([wave(phase) for phase in phases for wave in (np.sin, np.cos)], axis=1)[None]

    @staticmethod
    def _keep_own_table(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        if f"{prefix}positions" in state_dict:
            state_dict[f"{prefix}positions"] = module.positions


class _Block(nn.Module):
    """Post-norm transformer block."""

    def __init__(self, config: EATConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.embed_dim, _NORM_EPS)
        self.attn = _Attention(config.embed_dim, config.num_heads)
        self.norm2 = nn.LayerNorm(config.embed_dim, _NORM_EPS)
        self.mlp = _Mlp(config.embed_dim, int(config.embed_dim * config.mlp_ratio))

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        x = self.norm1(x + self.attn(x))
        return self.norm2(x + self.mlp(x))  # type: ignore[no-any-return]


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).transpose(1, 3).unbind(2)
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.proj(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


def _initialize(module: nn.Module) -> None:
    """Vision transformers' usual start, for training without pretrained weights."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
