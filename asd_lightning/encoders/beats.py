"""BEATs: bidirectional encoder representations from audio transformers.

Paper: S. Chen, Y. Wu, C. Wang, S. Liu, D. Tompkins, Z. Chen, W. Che, X. Yu, F. Wei, "BEATs: Audio pre-training with
    acoustic tokenizers", ICML 2023, https://arxiv.org/abs/2212.09058
Origin: https://github.com/microsoft/unilm/tree/master/beats (MIT licence); this file is an independent implementation
    that takes the official checkpoints under their own parameter names.
Background: gated relative position bias, https://arxiv.org/abs/2110.13900; deep-norm, https://arxiv.org/abs/2203.00555

Shapes: B clips, L tokens, D width, H heads, d = D / H.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from asd_lightning.encoders.gated_attention import gated_attention
from asd_lightning.encoders.grid import TokenGrid, patch_bands
from asd_lightning.encoders.position_conv import PositionConv
from asd_lightning.encoders.sizes import check_parameters, check_sizes
from asd_lightning.errors import UserError

# What the official configuration class assumes for a key its checkpoint does not state, where that is not what the
# published checkpoints state (the defaults of BEATsConfig below).
_ABSENT_KEYS = {"encoder_layerdrop": 0.0, "dropout_input": 0.0, "deep_norm": False, "max_distance": 1280}
# Choices made alike by every published checkpoint, the only ones implemented.
_FIXED_KEYS = {
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "relative_position_embedding": True,
    "gru_rel_pos": True,
}
# About the classifier, which is not part of the encoder; or overridden by the caller.
_IGNORED_KEYS = {"finetuned_model", "predictor_dropout", "predictor_class", "layer_wise_gradient_decay_ratio"}

# What a file may ask for; published: 12 layers of 768.
_LARGEST = {
    "input_patch_size": 128,
    "embed_dim": 8192,
    "encoder_layers": 64,
    "encoder_embed_dim": 8192,
    "encoder_ffn_embed_dim": 32768,
    "encoder_attention_heads": 256,
    "conv_pos": 1024,
    "conv_pos_groups": 8192,
    "num_buckets": 65536,
    "max_distance": 1_000_000,
}


@dataclass(frozen=True)
class BEATsConfig:
    """Architecture and regularisation, named as in the official checkpoints; defaults: BEATs_iter3+ (AS2M).

    ``layer_wise_gradient_decay_ratio`` multiplies the gradient once per layer on its way down.  The fine-tuned
    checkpoints state 0.6, which leaves the patch embedding 0.2 % of its gradient: it is 1 here unless asked for.
    """

    input_patch_size: int = 16
    embed_dim: int = 512
    conv_bias: bool = False
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    deep_norm: bool = True
    conv_pos: int = 128
    conv_pos_groups: int = 16
    num_buckets: int = 320
    max_distance: int = 800
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    encoder_layerdrop: float = 0.05
    dropout_input: float = 0.1
    layer_wise_gradient_decay_ratio: float = 1.0

    def __post_init__(self) -> None:
        check_sizes(self, _LARGEST)
        dim, conv = self.encoder_embed_dim, self.conv_pos / self.conv_pos_groups
        layers = self.encoder_layers * (4 * dim**2 + 2 * dim * self.encoder_ffn_embed_dim)
        check_parameters(layers + dim**2 * conv + self.embed_dim * (dim + self.input_patch_size**2))
        if self.encoder_embed_dim % self.encoder_attention_heads or self.encoder_embed_dim % self.conv_pos_groups:
            raise ValueError(
                f"encoder_embed_dim {self.encoder_embed_dim} must be a multiple of encoder_attention_heads "
                f"{self.encoder_attention_heads} and of conv_pos_groups {self.conv_pos_groups}"
            )
        if self.num_buckets % 4 or self.max_distance <= self.num_buckets // 4:
            raise ValueError(
                f"num_buckets {self.num_buckets} must be a multiple of 4, and less than 4 * max_distance "
                f"{self.max_distance}"
            )

    @classmethod
    def from_checkpoint(cls, cfg: Mapping[str, Any], layer_wise_gradient_decay_ratio: float = 1.0) -> Self:
        """The configuration a checkpoint carries under ``cfg``; the gradient decay is the caller's, not the file's.

        Raises:
            ValueError: a key that is unknown, or a choice no published checkpoint makes (such as pre-norm blocks).
        """
        names = {field.name for field in fields(cls)} - _IGNORED_KEYS
        unknown = sorted(set(cfg) - names - set(_FIXED_KEYS) - _IGNORED_KEYS)
        if unknown:
            raise ValueError(f"BEATs cfg has unknown keys {unknown[:5]!s:.200}: not a BEATs encoder checkpoint?")
        for key, supported in _FIXED_KEYS.items():
            if cfg.get(key, supported) != supported:
                raise ValueError(f"BEATs cfg has {key}={cfg[key]!r:.80}; only {supported!r} is implemented")
        values = _ABSENT_KEYS | {key: value for key, value in cfg.items() if key in names}
        return cls(**values, layer_wise_gradient_decay_ratio=layer_wise_gradient_decay_ratio)


class BEATs(nn.Module):
    """Normalised log-mel filter bank -> tokens, one per patch of 16 frames x 16 mel bands.

    Token ``t * 8 + f`` (128 bands) covers the frames from ``16 t`` and the bands from ``16 f``.  Parameters carry the
    official names, so ``load_state_dict(checkpoint["model"])`` is strict; a fine-tuned checkpoint's classifier
    (``predictor.*``) is left out on loading.  The twelve ``relative_attention_bias`` names are one shared table.

    Attributes:
        token_dim: width of a token.
        grid: layout of the tokens of a filter bank of 128 bands.
        gradient_checkpointing: recompute each layer in the backward pass, for less memory.
        clips_together: encoded at a time on a CPU when no gradient is wanted: their activations stay in the cache.
        bf16: see `asd_lightning.low_precision`.
        int8_layers: likewise; all linear layers but that of the gate, of which only sums of weights are used.
    """

    clips_together = 2
    bf16 = True
    int8_layers = ("post_extract_proj", "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")

    def __init__(self, config: BEATsConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or BEATsConfig()
        self.token_dim = config.encoder_embed_dim
        patch = config.input_patch_size
        self.patch_embedding = nn.Conv2d(1, config.embed_dim, patch, stride=patch, bias=config.conv_bias)
        self.grid = TokenGrid(patch_bands(self.patch_embedding), self.token_dim)
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        self.post_extract_proj = (
            nn.Linear(config.embed_dim, config.encoder_embed_dim)
            if config.embed_dim != config.encoder_embed_dim
            else nn.Identity()
        )
        self.dropout_input = nn.Dropout(config.dropout_input)
        self.encoder = _Encoder(config)
        self.register_load_state_dict_pre_hook(_drop_classifier)  # type: ignore[no-untyped-call]

    @property
    def transformer_blocks(self) -> nn.ModuleList:
        """The layers, equal but for their weights: `asd_lightning.training.compilation` compiles one for all."""
        return self.encoder.layers

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether layers are computed again in the backward pass instead of kept in memory."""
        return self.encoder.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, enabled: bool) -> None:
        self.encoder.gradient_checkpointing = enabled

    def forward(
        self, features: Float[Tensor, "batch frames mel"], padding_mask: Bool[Tensor, "batch samples"] | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        """Frames beyond a multiple of the patch size are dropped; ``padding_mask`` is True at padded samples.

        Padded tokens are never attended to, but have (meaningless) values of their own: see ``token_padding_mask``.

        Raises:
            UserError: less than one patch.
            ValueError: a clip that is padding alone.
        """
        # A loop in a traced graph would be one over the example's clips.
        looped = features.device.type == "cpu" and not torch.compiler.is_compiling()
        if looped and not self.training and not torch.is_grad_enabled():
            firsts = range(0, len(features), self.clips_together)
            parts = [slice(first, first + self.clips_together) for first in firsts]
            masks = [None if padding_mask is None else padding_mask[part] for part in parts]
            return torch.cat([self._encode(features[part], mask) for part, mask in zip(parts, masks, strict=True)])
        return self._encode(features, padding_mask)

    def token_padding_mask(
        self, padding_mask: Bool[Tensor, "batch samples"], frames: int, mel: int = 128
    ) -> Bool[Tensor, "batch tokens"]:
        """Padded samples -> padded tokens, as the official code counts them.

        The frames' mask is cut into equal runs without regard to the patches' two dimensions, so where the padding
        begins inside a patch column its low bands may be valid and its high bands padded.
        """
        patch = self.config.input_patch_size
        return _reduce_mask(_reduce_mask(padding_mask, frames), (frames // patch) * (mel // patch))

    def _encode(
        self, features: Float[Tensor, "batch frames mel"], padding_mask: Bool[Tensor, "batch samples"] | None
    ) -> Float[Tensor, "batch tokens dim"]:
        frames, mel = features.shape[1:]
        patch = self.config.input_patch_size
        if frames < patch or mel < patch:
            raise UserError(
                f"BEATs needs at least {patch} frames ({400 + (patch - 1) * 160} samples at 16 kHz) and {patch} mel "
                f"bands, got {frames} and {mel}; take longer clips (data.clip_seconds)"
            )
        padded = None
        if padding_mask is not None:
            padded = self.token_padding_mask(padding_mask, frames, mel)
            if not torch.compiler.is_compiling() and bool(padded.all(dim=1).any()):
                raise ValueError("padding_mask marks every token of a clip as padding: leave such clips out")
        patches = self.patch_embedding(features.unsqueeze(1)).flatten(2).transpose(1, 2)
        tokens = self.dropout_input(self.post_extract_proj(self.layer_norm(patches)))
        encoded: Tensor = self.encoder(tokens, padded)
        return encoded


class _Encoder(nn.Module):
    """Convolutional position embedding, then the transformer layers, which share one relative position table."""

    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        dim = config.encoder_embed_dim
        self.config = config
        self.gradient_checkpointing = False
        self.pos_conv = nn.Sequential(PositionConv(dim, config.conv_pos, config.conv_pos_groups), nn.GELU())
        self.layer_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(config.dropout)
        table = nn.Embedding(config.num_buckets, config.encoder_attention_heads)
        self.layers = nn.ModuleList(_Layer(config, table) for _ in range(config.encoder_layers))

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], padded: Bool[Tensor, "batch tokens"] | None
    ) -> Float[Tensor, "batch tokens dim"]:
        if padded is not None:
            x = x.masked_fill(padded.unsqueeze(-1), 0.0)
        x = x + self.pos_conv(x.transpose(1, 2)).transpose(1, 2)
        x = self.dropout(self.layer_norm(x))
        bias = self._position_bias(x.shape[1])
        for layer in self.layers:
            x = self._run_layer(layer, x, bias, padded)
        return x

    def _run_layer(
        self,
        layer: nn.Module,
        x: Float[Tensor, "batch tokens dim"],
        bias: Float[Tensor, "heads tokens tokens"],
        padded: Bool[Tensor, "batch tokens"] | None,
    ) -> Float[Tensor, "batch tokens dim"]:
        if self.config.layer_wise_gradient_decay_ratio != 1.0:
            x = _ScaleGradient.apply(x, self.config.layer_wise_gradient_decay_ratio)  # type: ignore[no-untyped-call]
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(layer, x, bias, padded, use_reentrant=False)  # type: ignore[no-any-return]
        return layer(x, bias, padded)  # type: ignore[no-any-return]

    def _position_bias(self, tokens: int) -> Float[Tensor, "heads tokens tokens"]:
        """``bias[h, i, j] = table[bucket(j - i), h]``, over the flattened (time-major) token index."""
        table: Tensor = self.layers[0].self_attn.relative_attention_bias.weight  # type: ignore[union-attr, assignment]
        distance = torch.arange(1 - tokens, tokens, device=table.device)
        buckets = relative_position_bucket(distance, self.config.num_buckets, self.config.max_distance)
        # Laid out by heads, or attention would lay out the whole again in every layer.
        by_distance = F.embedding(buckets, table).T.contiguous()
        # Row i of the Toeplitz matrix is the window of distances from -i on.
        return by_distance.unfold(1, tokens, 1).flip(1)


class _Layer(nn.Module):
    """Post-norm transformer layer; deep-norm weighs the residual with (2 N) ** 0.25, N layers."""

    def __init__(self, config: BEATsConfig, table: nn.Embedding) -> None:
        super().__init__()
        dim, hidden = config.encoder_embed_dim, config.encoder_ffn_embed_dim
        self.alpha = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0
        self.layerdrop = config.encoder_layerdrop
        self.self_attn = _GatedAttention(config, table)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(config.dropout)
        self.activation_dropout = nn.Dropout(config.activation_dropout)
        if config.deep_norm:
            self._shrink_values((8 * config.encoder_layers) ** -0.25)

    def _shrink_values(self, gain: float) -> None:
        """Initialisation of deep-norm (its table 1): the branches start small against the residual."""
        for linear in (self.self_attn.v_proj, self.self_attn.out_proj, self.fc1, self.fc2):
            nn.init.xavier_normal_(linear.weight, gain)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        x: Float[Tensor, "batch tokens dim"],
        bias: Float[Tensor, "heads tokens tokens"],
        padded: Bool[Tensor, "batch tokens"] | None,
    ) -> Float[Tensor, "batch tokens dim"]:
        given = x
        attended = self.dropout(self.self_attn(x, bias, padded))
        x = self.self_attn_layer_norm(torch.add(attended, x, alpha=self.alpha))
        hidden = self.activation_dropout(F.gelu(self.fc1(x)))
        expanded = self.dropout(self.fc2(hidden))
        x = self.final_layer_norm(torch.add(expanded, x, alpha=self.alpha))
        if self.training and self.layerdrop > 0:
            # A dropped layer passes its input on.  It still takes part in the graph, so that its parameters have a
            # gradient (of zero) and distributed training does not wait for one that never comes.
            kept = torch.rand((), device=x.device) >= self.layerdrop
            x = torch.where(kept, x, given.to(x.dtype))
        return x


class _GatedAttention(nn.Module):
    """Self-attention with a relative position bias that each query scales by a gate of its own."""

    def __init__(self, config: BEATsConfig, table: nn.Embedding) -> None:
        super().__init__()
        dim = config.encoder_embed_dim
        self.heads = config.encoder_attention_heads
        self.dropout = config.attention_dropout
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        self.relative_attention_bias = table
        self.grep_linear = nn.Linear(dim // self.heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))

    def forward(
        self,
        x: Float[Tensor, "batch tokens dim"],
        bias: Float[Tensor, "heads tokens tokens"],
        padded: Bool[Tensor, "batch tokens"] | None,
    ) -> Float[Tensor, "batch tokens dim"]:
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        dropout = self.dropout if self.training else 0.0
        attended = gated_attention(q, k, v, self._gate(q), bias, padded, dropout)
        return self.out_proj(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _gate(self, q: Float[Tensor, "batch heads tokens d"]) -> Float[Tensor, "batch heads tokens"]:
        """``a (b u_h - 1) + 2`` with a, b the sigmoids of two sums of four outputs of ``grep_linear`` (q unscaled)."""
        # The sums of outputs are outputs of the summed weights, a quarter of the work.
        weight = self.grep_linear.weight.view(2, 4, -1).sum(1)
        a, b = F.linear(q, weight, self.grep_linear.bias.view(2, 4).sum(1)).sigmoid().unbind(-1)
        return a * (b * self.grep_a.squeeze(-1) - 1.0) + 2.0


class _ScaleGradient(torch.autograd.Function):
    """Identity forward; the gradient is multiplied by ``ratio``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ratio: float) -> Tensor:
        ctx.ratio = ratio
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.ratio, None


def relative_position_bucket(distance: Int[Tensor, " n"], buckets: int, max_distance: int) -> Int[Tensor, " n"]:
    """Signed token distance (key minus query) -> row of the bias table.

    Half of the rows serve positive distances.  In each half the first half counts distances exactly, the rest grow
    logarithmically up to ``max_distance``, beyond which all share the last row.
    """
    half, exact = buckets // 2, buckets // 4
    size = distance.abs()
    growth = torch.log(size.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (growth * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(size < exact, size, far) + half * (distance > 0)


def _reduce_mask(mask: Bool[Tensor, "batch long"], length: int) -> Bool[Tensor, "batch short"]:
    """Cut into ``length`` runs of equal size, the remainder dropped; a run is padding if all of it is."""
    run = mask.shape[1] // length
    if run == 0:
        raise ValueError(f"padding_mask covers {mask.shape[1]} samples or frames, fewer than the {length} it masks")
    return mask[:, : run * length].reshape(len(mask), length, run).all(-1)


def _drop_classifier(
    module: nn.Module,
    state_dict: dict[str, Any],
    prefix: str,
    *_: Any,
) -> None:
    """A fine-tuned checkpoint carries a classifier over AudioSet, which an encoder has no use for."""
    for name in ("weight", "bias"):
        state_dict.pop(f"{prefix}predictor.{name}", None)
