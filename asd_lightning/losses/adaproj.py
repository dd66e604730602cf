"""AdaProj: classes as subspaces, of which an embedding is to lie in its own.

Wilkinghoff, "AdaProj: Adaptively Scaled Angular Margin Subspace Projections for Anomalous Sound Detection with
Auxiliary Classification Tasks", DCASE Workshop 2024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from asd_lightning.data.labels import ClassLabel
from asd_lightning.errors import UserError
from asd_lightning.losses.soft_labels import SoftLabelLoss
from asd_lightning.losses.sub_cluster_adacos import fixed_scale

# Of |p|: an embedding that is orthogonal to all of a class's vectors has the cosine 0, and the gradient 0 there.
SMALLEST_PROJECTION = 1e-6


class AdaProj(SoftLabelLoss):
    """AdaProj over the embedding that is scored.

    Class c has S unit vectors w_s.  With unit embedding x, its projection ``p_c = sum_s (x.w_s) w_s`` (the vectors are
    not made orthogonal) and ``cos_c = x.p_c / |p_c|``, which is in [0, 1]: P is the softmax of ``scale cos_c``.

    Args:
        embed_dim: length of an embedding.
        classes: training classes; position = label.
        sub_centers: S, vectors of every class.
        scale: ``fixed`` is ``sqrt 2 log(C - 1)`` for C classes; or a number above 0.

    Raises:
        UserError: an argument outside its range, or fewer than 3 classes without a number for the scale.

    >>> classes = [ClassLabel(name, False) for name in ("fan", "pump", "valve")]
    >>> AdaProj(8, classes, sub_centers=4)(torch.randn(5, 8), torch.tensor([0, 1, 2, 0, 1])).total.shape
    torch.Size([])
    """

    def __init__(
        self,
        embed_dim: int,
        classes: Sequence[ClassLabel],
        *,
        sub_centers: int = 32,
        scale: float | Literal["fixed"] = "fixed",
    ) -> None:
        super().__init__(len(classes))
        if not classes:
            raise UserError("classes is empty: the loss needs at least one training class")
        if not isinstance(sub_centers, int) or sub_centers < 1:
            raise UserError(f"sub_centers={sub_centers}: AdaProj takes one number of at least 1, for every class")
        number = fixed_scale(len(classes), "classes") if scale == "fixed" else scale
        if not isinstance(number, int | float) or not 0 < number < math.inf:
            raise UserError(f"scale={scale}: give fixed, or a number above 0")
        self.scale = float(number)
        vectors = nn.init.xavier_normal_(torch.empty(len(classes) * sub_centers, embed_dim))
        self.weight = nn.Parameter(vectors.view(len(classes), sub_centers, embed_dim))

    def cosine(self, embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch classes"]:
        """Cosine to the projection onto each class's vectors, in [0, 1], in float32 or better."""
        with torch.autocast(embedding.device.type, enabled=False):
            dtype = torch.promote_types(embedding.dtype, torch.float32)
            vectors = F.normalize(self.weight.to(dtype), dim=2)
            inner = torch.einsum("bd,csd->bcs", F.normalize(embedding.to(dtype)), vectors)
            length = torch.einsum("bcs,csd->bcd", inner, vectors).square().sum(2)
            # x.p is the sum of squares of x.w_s: never negative, and smooth where it is 0.
            return inner.square().sum(2) / length.clamp(min=SMALLEST_PROJECTION**2).sqrt()

    def log_probability(
        self, embedding: Float[Tensor, "batch dim"], target: Float[Tensor, "batch classes"]
    ) -> Float[Tensor, "batch classes"]:
        """Of each class."""
        return (self.scale * self.cosine(embedding)).log_softmax(1)
