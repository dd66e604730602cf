"""OS-SCL: one-stage supervised contrastive learning with sub-centre ArcFace and mixup.

One pass of the mixed waveforms serves both losses.  With lambda, pi from mixup, f the embedding after the head (see
`asd_lightning.embedder.EmbeddingHead`) at length 1, and the sub-centre ArcFace logits z (margin on y alone):

    L_arc = lambda CE(z, y) + (1 - lambda) CE(z, y_pi)
    L     = arcface_weight L_arc + contrastive_weight L_sup(f, y)

The cross-entropy of plain ArcFace is this loss with ``contrastive_weight=0``, no head and no mixup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from asd_lightning.data.labels import ClassLabel
from asd_lightning.errors import UserError
from asd_lightning.features.mixup import Mixed
from asd_lightning.losses.arcface import SubCenterArcFace, resolve_sub_centers
from asd_lightning.losses.supervised_contrastive import supervised_contrastive


class LossTerms(NamedTuple):
    """What one step reports: ``total`` is trained on, the other two losses are before their weights."""

    total: Float[Tensor, ""]
    arcface: Float[Tensor, ""]
    contrastive: Float[Tensor, ""]
    anchors_with_positive: Int[Tensor, ""]


class OneStageLoss(nn.Module):
    """OS-SCL over the embedding that is scored.

    Args:
        embed_dim: length of an embedding.
        classes: training classes; position = label.
        sub_centers: per class, or ``{"attribute": K, "no_attribute": K}``.
        scale: factor on the ArcFace cosines.
        margin: ArcFace margin in radians.
        temperature: of the contrastive loss.
        base_temperature: the contrastive loss is multiplied by ``temperature / base_temperature``.
        arcface_weight: factor on the ArcFace cross-entropy.
        contrastive_weight: factor on the contrastive loss.
        gather: contrast with the clips of all ranks.

    Raises:
        UserError: an argument outside its range.
    """

    def __init__(  # noqa: PLR0913 - the settings of conf/model/loss
        self,
        embed_dim: int,
        classes: Sequence[ClassLabel],
        *,
        sub_centers: int | Mapping[str, int] = 114,
        scale: float = 30.0,
        margin: float = 0.2,
        temperature: float = 0.04,
        base_temperature: float = 0.07,
        arcface_weight: float = 1.0,
        contrastive_weight: float = 1.0,
        gather: bool = True,
    ) -> None:
        super().__init__()
        if not (temperature > 0 and base_temperature > 0):
            raise UserError(f"temperature={temperature}, base_temperature={base_temperature}: both must be above 0")
        if min(arcface_weight, contrastive_weight) < 0:
            raise UserError("arcface_weight and contrastive_weight must not be negative")
        self.arcface = SubCenterArcFace(embed_dim, resolve_sub_centers(sub_centers, classes), scale, margin)
        self.temperature = temperature
        self.base_temperature = base_temperature
        self.arcface_weight = arcface_weight
        self.contrastive_weight = contrastive_weight
        self.gather = gather

    def forward(
        self, embedding: Float[Tensor, "batch dim"], label: Int[Tensor, " batch"], mixed: Mixed | None = None
    ) -> LossTerms:
        """Loss of one batch.

        Args:
            embedding: after the head, of the mixed waveforms where ``mixed`` is given.
            label: labels y before mixup.
            mixed: what mixup drew for this batch; ``None`` where the clips were not mixed.
        """
        logits = self.arcface(embedding, label)
        arcface = F.cross_entropy(logits, label) if mixed is None else _mixed_cross_entropy(logits, label, mixed)
        contrastive, anchors = supervised_contrastive(
            embedding, label, self.temperature, self.base_temperature, self.gather
        )
        # Both terms stay in the graph at weight 0: a parameter without a gradient stops distributed training.
        total = self.arcface_weight * arcface + self.contrastive_weight * contrastive
        return LossTerms(total, arcface, contrastive, anchors)


def _mixed_cross_entropy(
    logits: Float[Tensor, "batch classes"], label: Int[Tensor, " batch"], mixed: Mixed
) -> Float[Tensor, ""]:
    # With one weight for all the means are weighted: the sums of the report's runs, to the bit.
    weight = mixed.weight.to(logits)
    how = "none" if weight.ndim else "mean"
    own, other = (F.cross_entropy(logits, y, reduction=how) for y in (label, mixed.mixed_label))
    return (weight * own + (1 - weight) * other).mean()
