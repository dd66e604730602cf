"""Feature exchange (FeatEx): beside a loss, a second one that tells whole embeddings from those put together.

Wilkinghoff, "Self-Supervised Learning for Anomalous Sound Detection", ICASSP 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from asd_lightning.data.labels import ClassLabel
from asd_lightning.errors import UserError
from asd_lightning.features.mixup import Mixed, sent
from asd_lightning.losses.soft_labels import SoftLabelLoss, soft_labels

MakeLoss = Callable[..., SoftLabelLoss]


class ExchangeTerms(NamedTuple):
    """What one step reports: ``total`` is trained on, the other two are before the weight."""

    total: Float[Tensor, ""]
    plain: Float[Tensor, ""]
    exchanged: Float[Tensor, ""]


class FeatureExchange(nn.Module):
    """A loss, plus the same loss with its own centres on embeddings whose parts are exchanged between clips.

    An embedding has m equal parts.  Of an exchanged clip the first part stays and each other one comes from a clip
    that a permutation of the batch draws, each part's its own.  The second loss has C (m + 1) classes in m + 1 blocks:
    a clip that is left whole is ``(y, 0, ..., 0)``, an exchanged one ``(0, y / m, y_2 / m, ..., y_m / m)``, where y_j
    is the label of the clip that part j comes from; where clips are mixed, labels are the shares.

    Args:
        embed_dim: length of an embedding.
        classes: training classes; position = label.
        inner: makes both losses: `asd_lightning.losses.sub_cluster_adacos` or `asd_lightning.losses.adaproj`.
        sub_centers: handed to both.
        parts: m; with the branches' equal parts side by side, their number.
        probability: that a clip is exchanged.
        weight: factor on the second loss.

    Raises:
        UserError: an argument outside its range, or an embedding that is not of m equal parts.
    """

    def __init__(
        self,
        embed_dim: int,
        classes: Sequence[ClassLabel],
        *,
        inner: MakeLoss,
        sub_centers: int | Mapping[str, int] = 16,
        parts: int = 2,
        probability: float = 0.5,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        if parts < 2 or embed_dim % parts:
            raise UserError(f"parts={parts}: an embedding of {embed_dim} needs at least 2, all of one length")
        if not 0 <= probability <= 1:
            raise UserError(f"probability={probability}: a number from 0 to 1 is needed")
        if weight < 0:
            raise UserError(f"weight={weight}: must not be negative")
        self.plain = inner(embed_dim, classes, sub_centers=sub_centers)
        self.exchanged = inner(embed_dim, [*classes] * (parts + 1), sub_centers=sub_centers)
        self.parts, self.probability, self.weight = parts, probability, weight

    def forward(
        self, embedding: Float[Tensor, "batch dim"], label: Int[Tensor, " batch"], mixed: Mixed | None = None
    ) -> ExchangeTerms:
        """Loss of one batch; draws one uniform number a clip, then m - 1 permutations, from torch's CPU generator."""
        target = soft_labels(label, mixed, self.plain.classes)
        plain = self.plain.of_target(embedding, target)
        chosen = sent(torch.rand(len(label)) < self.probability, embedding.device)
        partners = [sent(torch.randperm(len(label)), embedding.device) for _ in range(self.parts - 1)]
        exchanged = self.exchanged.of_target(*exchange(embedding, target, chosen, partners))
        return ExchangeTerms(plain + self.weight * exchanged, plain, exchanged)


def exchange(
    embedding: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch classes"],
    chosen: Tensor,
    partners: Sequence[Tensor],
) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch blocks"]]:
    """Embeddings with their parts exchanged where ``chosen``, and their shares of the m + 1 blocks of classes.

    Args:
        embedding: of m equal parts.
        target: shares of the classes.
        chosen: (batch,) which clips are exchanged.
        partners: for each part but the first, (batch,) the clips that it comes from.

    >>> whole, label = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.eye(2)
    >>> exchange(whole, label, torch.tensor([True, False]), [torch.tensor([1, 0])])
    (tensor([[1., 4.],
            [3., 4.]]), tensor([[0.0000, 0.0000, 0.5000, 0.0000, 0.0000, 0.5000],
            [0.0000, 1.0000, 0.0000, 0.0000, 0.0000, 0.0000]]))
    """
    parts = len(partners) + 1
    first, *others = embedding.chunk(parts, dim=1)
    of_others = [part[partner] for part, partner in zip(others, partners, strict=True)]
    labels = [target, *(target[partner] for partner in partners)]
    put_together = torch.cat([first, *of_others], dim=1)
    zeros = torch.zeros_like(target)
    shares = torch.cat([zeros, *(one / parts for one in labels)], dim=1)
    whole = torch.cat([target, *[zeros] * parts], dim=1)
    where = chosen[:, None]
    return torch.where(where, put_together, embedding), torch.where(where, shares, whole)
