"""Sub-cluster AdaCos: a softmax over the cosines to every class's centres, whose scale needs no tuning.

Wilkinghoff, "Sub-Cluster AdaCos: Learning Representations for Anomalous Sound Detection", IJCNN 2021, after Zhang et
al., "AdaCos", CVPR 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from asd_lightning.data.labels import ClassLabel
from asd_lightning.errors import UserError
from asd_lightning.losses.all_ranks import of_all_ranks
from asd_lightning.losses.arcface import resolve_sub_centers
from asd_lightning.losses.soft_labels import SoftLabelLoss

# The dynamic scale multiplies itself by up to sqrt 2 a batch where clips lie on their centres: it would overflow.
LARGEST_SCALE = 100.0


def fixed_scale(choices: int, what: str) -> float:
    """AdaCos' scale ``sqrt 2 log(n - 1)`` of n choices.

    Raises:
        UserError: fewer than 3, where it would be 0; ``what`` is counted.

    >>> round(fixed_scale(116 * 16, "centres"), 6)
    10.642862
    """
    if choices < 3:
        raise UserError(
            f"{choices} {what} are too few for the scale sqrt 2 log({what} - 1): give a number, model.loss.scale=10"
        )
    return math.sqrt(2) * math.log(choices - 1)


class SubClusterAdaCos(SoftLabelLoss):
    """Sub-cluster AdaCos over the embedding that is scored.

    With unit embedding x and unit centres w_ck, K of class c: ``P_c = sum_k exp(s x.w_ck) / sum_jl exp(s x.w_jl)``.
    The scale s is fixed at ``sqrt 2 log(n - 1)`` for n centres, or dynamic: before each training batch's loss

        s <- log(mean_i sum_jl exp(s x_i.w_jl)) / cos(min(pi / 4, median_i theta_i))

    with theta_i the angles to all centres of the clip's class together (of both classes by their shares, where clips
    are mixed), over the batches of all ranks, and at most ``LARGEST_SCALE``.

    Args:
        embed_dim: length of an embedding.
        classes: training classes; position = label.
        sub_centers: K, per class, or ``{"attribute": K, "no_attribute": K}``.  Centres are trained.
        scale: ``fixed``, ``dynamic``, or a number above 0.

    Raises:
        UserError: an argument outside its range.

    >>> loss = SubClusterAdaCos(8, [ClassLabel("fan/a", True), ClassLabel("fan/b", True)], sub_centers=4)
    >>> loss(torch.randn(5, 8), torch.tensor([0, 1, 1, 0, 1])).total.shape
    torch.Size([])
    """

    def __init__(
        self,
        embed_dim: int,
        classes: Sequence[ClassLabel],
        *,
        sub_centers: int | Mapping[str, int] = 16,
        scale: float | Literal["fixed", "dynamic"] = "fixed",
    ) -> None:
        super().__init__(len(classes))
        counts = resolve_sub_centers(sub_centers, classes)
        self.dynamic = scale == "dynamic"
        start = fixed_scale(sum(counts), "centres") if scale in ("fixed", "dynamic") else scale
        if not isinstance(start, int | float) or not 0 < start < math.inf:
            raise UserError(f"scale={scale}: give fixed, dynamic, or a number above 0")
        self.register_buffer("scale", torch.tensor(float(start)), persistent=self.dynamic)
        self.scale: Tensor
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(sum(counts), embed_dim)))
        # Row of each class's centres; one with fewer than the widest is filled up, and the filling masked.
        first, last = torch.tensor([0, *counts[:-1]]).cumsum(0)[:, None], torch.tensor(counts)[:, None] - 1
        place = torch.arange(max(counts))
        self.register_buffer("_columns", first + torch.minimum(place, last), persistent=False)
        self.register_buffer("_filling", place > last, persistent=False)
        self._columns: Tensor
        self._filling: Tensor

    def log_probability(
        self, embedding: Float[Tensor, "batch dim"], target: Float[Tensor, "batch classes"]
    ) -> Float[Tensor, "batch classes"]:
        """Of each class: of all its centres together."""
        with torch.autocast(embedding.device.type, enabled=False):
            dtype = torch.promote_types(embedding.dtype, torch.float32)
            cosine = F.linear(F.normalize(embedding.to(dtype)), F.normalize(self.weight.to(dtype)))
            if self.dynamic and self.training:
                self._follow(cosine.detach(), target)
            of_center = (self.scale * cosine).log_softmax(1)
            return self._by_class(of_center, -math.inf).logsumexp(2)

    def _by_class(self, x: Float[Tensor, "batch centers"], filling: float) -> Float[Tensor, "batch classes widest"]:
        return x[:, self._columns].masked_fill(self._filling, filling)

    @torch.no_grad()
    def _follow(self, cosine: Float[Tensor, "batch centers"], target: Float[Tensor, "batch classes"]) -> None:
        """The next scale, from all ranks' cosines: it is the same on each."""
        angle = self._by_class(cosine.clamp(-1, 1).acos(), 0.0).sum(2)
        theta = of_all_ranks((target.to(angle) * angle).sum(1))
        log_sums = of_all_ranks((self.scale * cosine).logsumexp(1))
        mean = log_sums.logsumexp(0) - math.log(len(log_sums))
        scale = mean / theta.quantile(0.5).clamp(max=math.pi / 4).cos()
        self.scale.copy_(scale.clamp(max=LARGEST_SCALE))
