"""A system is a list of branches; its embedding is theirs, concatenated; what is scored has passed a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from asd_lightning.encoders.finetuning import Finetuning, apply_finetuning
from asd_lightning.errors import UserError
from asd_lightning.own_code import called, is_own, name_of

Normalize = Literal["none", "l2", "batch", "layer"]
Head = Literal["joint", "per_branch", "none"]


class Branch(nn.Module):
    """Waveform to embedding: front-end -> SpecAugment (training) -> encoder -> pooling -> projection -> normalisation.

    Args:
        front_end: waveform (batch, samples) -> features.
        encoder: features -> tokens (batch, tokens, token_dim), or, where there is no pooling, -> (batch, out_dim).
        pooling: from ``token_dim``, or from the encoder's ``grid`` where it says ``needs_grid``, makes tokens ->
            (batch, out_dim); a linear projection to ``embed_dim`` follows.
        embed_dim: length of the projected embedding, or ``None``: no projection, which a frozen encoder that nothing is
            trained behind has no use for; a branch without pooling has its encoder's ``out_dim``.
        augmentation: features -> features, idle outside training.
        normalize: applied to the embedding, in training and test: nothing, to unit length, batch or layer norm.
        finetuning: train the whole encoder, none of it, or low-rank updates of its attention.
        lora_rank: rank of those updates.
        lora_alpha: they are multiplied by ``lora_alpha / lora_rank``.
        lora_layers: names of the linear layers that have them, see `asd_lightning.encoders.finetuning`.
        scored_pooling: like ``pooling``, with nothing to train: what is scored is this of the encoder's tokens, not the
            embedding that is trained.

    Attributes:
        out_dim: of the encoder, where there is no pooling.
        scored_dim: length of what is scored.
        autocast: type of the encoder's products where it is not the weights'; set by
            `asd_lightning.low_precision`.
    """

    autocast: torch.dtype | None = None

    def __init__(  # noqa: PLR0913 - the settings of conf/model/embedder/branches
        self,
        front_end: nn.Module,
        encoder: nn.Module,
        *,
        pooling: Callable[[Any], nn.Module] | None = None,
        embed_dim: int | None = 128,
        augmentation: nn.Module | None = None,
        normalize: Normalize = "none",
        finetuning: Finetuning = "full",
        lora_rank: int = 16,
        lora_alpha: float = 16.0,
        lora_layers: Sequence[str] | None = None,
        scored_pooling: Callable[[Any], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if normalize not in get_args(Normalize):
            raise UserError(f"normalize={normalize!r}: choose one of {', '.join(get_args(Normalize))}")
        self.front_end = front_end
        self.augmentation = augmentation or nn.Identity()
        self.encoder = encoder
        apply_finetuning(encoder, finetuning, rank=lora_rank, alpha=lora_alpha, layers=lora_layers)
        self.pooling: nn.Module = nn.Identity()
        self.projection: nn.Module = nn.Identity()
        if pooling is None:
            self.embed_dim = _length(encoder, "encoder", "out_dim")
        else:
            self.pooling = _pooling_of(encoder, pooling)
            self.embed_dim = _length(self.pooling, "pooling", "out_dim")
            if embed_dim is not None:
                self.projection = nn.Linear(self.embed_dim, embed_dim)
                self.embed_dim = embed_dim
        self.out_dim = self.embed_dim if pooling is None else None
        self.normalization = _normalization(normalize, self.embed_dim)
        self.scored_pooling = None if scored_pooling is None else _pooling_of(encoder, scored_pooling)
        self.scored_dim = self.embed_dim
        if self.scored_pooling is not None:
            self.scored_dim = _length(self.scored_pooling, "pooling", "out_dim")

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch dim"]:
        """Embedding of each waveform, which is in [-1, 1] at 16 kHz."""
        embedding: Tensor = self.projection(called(self.pooling, "pooling", self._tokens(waveform)))
        return self.normalization(embedding.float())  # type: ignore[no-any-return]

    def scored(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch scored_dim"]:
        """What is scored of each waveform: the embedding, or what the ``scored_pooling`` makes of the tokens."""
        if self.scored_pooling is None:
            return self(waveform)  # type: ignore[no-any-return]
        scored: Tensor = called(self.scored_pooling, "pooling", self._tokens(waveform)).float()
        return scored

    def _tokens(self, waveform: Float[Tensor, "batch samples"]) -> Tensor:
        with torch.no_grad():
            features = called(self.augmentation, "augmentation", called(self.front_end, "front-end", waveform))
        if self.autocast is None:
            return self._checked(called(self.encoder, "encoder", features))
        with torch.autocast(features.device.type, self.autocast):
            return self._checked(called(self.encoder, "encoder", features)).float()

    def _checked(self, tokens: Tensor) -> Tensor:
        """What the encoder gives; without a pooling it is the embedding, of the length that others rely on."""
        if self.out_dim is not None and tokens.shape[1:] != (self.out_dim,):
            given = tokens.shape[1] if tokens.ndim == 2 else f"shape {tuple(tokens.shape)}"
            raise UserError(
                f"encoder {type(self.encoder).__name__}: says out_dim {self.out_dim}, but gives {given}; without a "
                "pooling (batch, out_dim) is needed"
            )
        return tokens


class Embedder(nn.Module):
    """All branches of a system on one waveform, concatenated.

    Attributes:
        embed_dims: embedding length of each branch, in the order of concatenation.
    """

    def __init__(self, branches: Mapping[str, Branch]) -> None:
        """Keep the branches in the order given.

        Raises:
            UserError: no branch.
        """
        super().__init__()
        if not branches:
            raise UserError("a system needs at least one branch, such as model/embedder/branches=[beats,fft]")
        self.branches = nn.ModuleDict(branches)
        self.embed_dims = {name: branch.embed_dim for name, branch in branches.items()}

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch dim"]:
        """Embeddings of all branches, side by side; waveforms are in [-1, 1] at 16 kHz."""
        return torch.cat([branch(waveform) for branch in self.branches.values()], dim=1)

    def scored(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch scored_dim"]:
        """What is scored of all branches, side by side; before any head."""
        return torch.cat([branch.scored(waveform) for branch in self.branches.values()], dim=1)  # type: ignore[operator]


def refuse_odd_branch(embedder: Embedder, scored: Float[np.ndarray, "clips dim"]) -> None:
    """Tell the branch that gives NaN or infinity where others give none, or where its encoder is somebody's own.

    Args:
        embedder: with its branches.
        scored: what it has given, before any head that mixes branches.

    Raises:
        UserError: there is such a branch.
    """
    if np.isfinite(scored).all():
        return
    branches = list(embedder.branches.items())
    ends = np.cumsum([branch.scored_dim for _, branch in branches])
    parts = np.split(~np.isfinite(scored), ends[:-1].tolist(), axis=1)
    bad = [int(part.any(axis=1).sum()) for part in parts]
    for (name, branch), clips in zip(branches, bad, strict=True):
        if clips and (is_own(branch.encoder) or 0 in bad):
            others = (
                f", and {', '.join(other for (other, _), none in zip(branches, bad, strict=True) if not none)} none"
            )
            raise UserError(
                f"branch {name}: its {name_of(branch.encoder, 'encoder')} gives NaN or infinity for {clips} of "
                f"{len(scored)} clips{others if 0 in bad else ''}; look at its code, or, where it was trained, lower "
                "model.optimizer.lr"
            )


class FeaturePerturbation(nn.Sequential):
    """Bottleneck of OS-SCL: Linear(D, D/2) - ReLU - BatchNorm - Linear(D/2, D) - ReLU - BatchNorm."""

    def __init__(self, dim: int) -> None:
        if dim < 2:
            raise UserError(
                f"the feature perturbation halves its input, so {dim} dimension(s) are too few: use 2 or more"
            )
        super().__init__(
            nn.Linear(dim, dim // 2),
            nn.ReLU(),
            nn.BatchNorm1d(dim // 2),
            nn.Linear(dim // 2, dim),
            nn.ReLU(),
            nn.BatchNorm1d(dim),
        )


class EmbeddingHead(nn.Module):
    """What the loss sees of an embedding: OS-SCL's feature perturbation.  Shape (batch, dim) stays.

    Args:
        embed_dims: embedding length of each branch, in the order of concatenation.
        kind: one feature perturbation over the joint embedding, one for each branch, or none.

    Raises:
        UserError: an unknown kind.

    >>> EmbeddingHead([128, 128])(torch.randn(8, 256)).shape
    torch.Size([8, 256])
    """

    def __init__(self, embed_dims: Sequence[int], kind: Head = "joint") -> None:
        super().__init__()
        if kind not in get_args(Head):
            raise UserError(f"head={kind!r}: choose one of {', '.join(get_args(Head))}")
        self.embed_dims = tuple(embed_dims)
        dims = {"joint": (sum(embed_dims),), "per_branch": self.embed_dims, "none": ()}[kind]
        self.perturbations = nn.ModuleList(FeaturePerturbation(dim) for dim in dims)

    def forward(self, embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Not normalised."""
        if not self.perturbations:
            return embedding
        if len(self.perturbations) == 1:
            return self.perturbations[0](embedding)  # type: ignore[no-any-return]
        parts = torch.split(embedding, list(self.embed_dims), dim=1)
        return torch.cat([one(part) for one, part in zip(self.perturbations, parts, strict=True)], dim=1)


class ScoredEmbedder(nn.Module):
    """Waveform to the embedding that a back-end scores: all that is needed of a trained system, without its loss.

    Args:
        embedder: the branches.
        head: what follows them; ``None`` scores the branches' own embedding.

    Raises:
        UserError: a head, and a branch of which something else is scored than the head is made for.
    """

    def __init__(self, embedder: Embedder, head: EmbeddingHead | None = None) -> None:
        super().__init__()
        self.embedder = embedder
        self.head = head or nn.Identity()
        other = [name for name, branch in embedder.branches.items() if branch.scored_pooling is not None]
        if other and isinstance(head, EmbeddingHead) and head.perturbations:
            raise UserError(
                f"branch {other[0]}: its scored_pooling is scored, and no head is made for it; set "
                "model.score_after_head=false"
            )

    def forward(self, waveform: Float[Tensor, "batch *windows samples"]) -> Float[Tensor, "batch dim"]:
        """Scored embedding of each clip: mean over its windows where there are several."""
        if waveform.ndim == 2:
            return self.head(self.embedder.scored(waveform))  # type: ignore[no-any-return]
        batch, windows, samples = waveform.shape
        return self(waveform.reshape(batch * windows, samples)).view(batch, windows, -1).mean(1)  # type: ignore[no-any-return]


class UnitLength(nn.Module):
    """Divide each embedding by its Euclidean length."""

    def forward(self, embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Embeddings of length 1; one of zeros alone stays."""
        return F.normalize(embedding)


def _pooling_of(encoder: nn.Module, pooling: Callable[[Any], nn.Module]) -> nn.Module:
    # Hydra gives a class with its options as a partial, whose `func` it is.
    needs_grid = getattr(getattr(pooling, "func", pooling), "needs_grid", False)
    return pooling(encoder.grid if needs_grid else _length(encoder, "encoder", "token_dim"))


def _length(part: nn.Module, what: str, name: str) -> int:
    length = getattr(part, name, None)
    if not isinstance(length, Integral):
        said = "has no" if length is None else f"says {length!r} as its"
        raise UserError(
            f"{name_of(part, what)} {said} {name}, the length of what it gives: add a line such as {name} = 128 to the "
            "class, or set it where the length is known"
        )
    return int(length)


def _normalization(name: Normalize, dim: int) -> nn.Module:
    kinds: dict[Normalize, Callable[[], nn.Module]] = {
        "none": nn.Identity,
        "l2": UnitLength,
        "batch": lambda: nn.BatchNorm1d(dim),
        "layer": lambda: nn.LayerNorm(dim),
    }
    return kinds[name]()
