"""Sub-centre ArcFace: an additive angular margin over classes that may each hold several centres.

Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019 (margin), and Deng et al.,
"Sub-center ArcFace: Boosting Face Recognition by Large-Scale Noisy Web Faces", ECCV 2020 (sub-centres).  Written here
because the libraries give every class the same number of sub-centres and return NaN gradients at a cosine of 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from asd_lightning.data.labels import ClassLabel
from asd_lightning.errors import UserError

# The slope of the square root in sin = sqrt(1 - cos^2) is infinite at 0.
SMALLEST_SQUARED_SINE = 1e-7


def resolve_sub_centers(sub_centers: int | Mapping[str, int], classes: Sequence[ClassLabel]) -> list[int]:
    """Number of sub-centres of each class.

    Args:
        sub_centers: one number for every class, or ``{"attribute": K, "no_attribute": K}``: one for classes that are a
            single operating condition, one for classes that are a whole machine.
        classes: position in the sequence = label.

    Raises:
        UserError: no classes, other keys than those two, or a number below 1.
    """
    if not classes:
        raise UserError("classes is empty: the loss needs at least one training class")
    if isinstance(sub_centers, int):
        by_kind = {"attribute": sub_centers, "no_attribute": sub_centers}
    else:
        by_kind = dict(sub_centers)
    if set(by_kind) != {"attribute", "no_attribute"} or min(by_kind.values()) < 1:
        raise UserError(
            f"sub_centers={sub_centers!r}: give a whole number of at least 1, "
            "or one for each of the keys 'attribute' and 'no_attribute'"
        )
    return [by_kind["attribute" if label.has_attribute else "no_attribute"] for label in classes]


class SubCenterArcFace(nn.Module):
    """Logits of sub-centre ArcFace.

    With theta_c the angle between the embedding and the nearest of class c's sub-centres, the logit of class c is
    ``scale * cos(theta_c)``, and of the labelled class ``scale * cos(theta_y + margin)``.  Where theta_y + margin would
    pass pi, ``scale * (cos(theta_y) - margin * sin(pi - margin))`` keeps the logit falling with the angle.

    Args:
        embed_dim: length of an embedding.
        sub_centers: number of sub-centres of each class; its length is the number of classes.
        scale: factor on the cosines.
        margin: additive angle, in radians, in [0, pi).

    Raises:
        UserError: an argument outside its range.

    >>> arcface = SubCenterArcFace(embed_dim=4, sub_centers=[2, 2, 1])
    >>> arcface(torch.randn(8, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])).shape
    torch.Size([8, 3])
    """

    def __init__(self, embed_dim: int, sub_centers: Sequence[int], scale: float = 30.0, margin: float = 0.2) -> None:
        super().__init__()
        if not sub_centers or min(sub_centers) < 1:
            raise UserError(f"sub_centers={list(sub_centers)!r}: every class needs at least one sub-centre")
        if not scale > 0:
            raise UserError(f"scale={scale}: must be above 0")
        if not 0 <= margin < math.pi:
            raise UserError(f"margin={margin}: an angle in radians from 0 to below pi is needed (0.2 is 11.5 degrees)")
        self.scale = scale
        self.margin = margin
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(sum(sub_centers), embed_dim)))
        self._widest = max(sub_centers)
        # A class with fewer sub-centres than the widest names its last one again: the maximum stays the same.
        starts = torch.tensor([0, *sub_centers[:-1]]).cumsum(0)
        last = torch.tensor(sub_centers)[:, None] - 1
        columns = starts[:, None] + torch.minimum(torch.arange(self._widest), last)
        self._ragged = len(set(sub_centers)) > 1
        self.register_buffer("_columns", columns, persistent=False)
        self._columns: Tensor

    def cosine(self, embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch classes"]:
        """Cosine to each class's nearest sub-centre, in float32 or better."""
        with torch.autocast(embedding.device.type, enabled=False):
            dtype = torch.promote_types(embedding.dtype, torch.float32)
            centers = F.normalize(self.weight.to(dtype))
            to_centers = F.linear(F.normalize(embedding.to(dtype)), centers)
            if self._ragged:
                to_centers = to_centers[:, self._columns.flatten()]
            return to_centers.view(len(embedding), -1, self._widest).amax(dim=2)

    def forward(
        self, embedding: Float[Tensor, "batch dim"], label: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits with the margin on ``label``; the embedding need not be normalised."""
        cosine = self.cosine(embedding)
        own = cosine.gather(1, label[:, None])
        sine = (1 - own.square()).clamp(min=SMALLEST_SQUARED_SINE).sqrt()
        with_margin = own * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond_pi = own - self.margin * math.sin(math.pi - self.margin)
        own = torch.where(own > math.cos(math.pi - self.margin), with_margin, beyond_pi)
        return self.scale * cosine.scatter(1, label[:, None], own)
