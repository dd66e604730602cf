"""The nearest of a bank as matrix products: what `asd_lightning.scoring` does query by query, for a graph."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from asd_lightning.scoring.matching import SHORTEST
from asd_lightning.scoring.search import SMALLEST_DISTANCE, Weighing

Distance = Literal["cosine", "euclidean", "angle", "length"]
"""Of `asd_lightning.scoring.neighbors` the first two, of `asd_lightning.scoring.search` the others."""


class NearestOfBank(nn.Module):
    """The ``k`` lowest weighed distances of each query to a bank, in no order.

    A product chooses, and the few chosen are measured again by differences, as the back-ends do.

    Args:
        bank: float64, at least one item; of length 1 each, or zeros, where angles are compared.
        k: neighbors; all of a smaller bank.
        distance: what is compared.
        weighing: of the distances; ``None`` for plain ones.
        missing: of each item the share that has no direction, see `asd_lightning.scoring.search.View`.
    """

    def __init__(
        self,
        bank: Float[np.ndarray, "b dim"],
        k: int,
        distance: Distance,
        weighing: Weighing | None = None,
        missing: Float[np.ndarray, " b"] | None = None,
    ) -> None:
        super().__init__()
        weighing = weighing or Weighing.none(len(bank))
        self.k, self.distance, self.log = min(k, len(bank)), distance, weighing.log
        center = bank.mean(axis=0)
        self.bank, self.center = constant(bank), constant(center)
        self.squares = constant(np.square(bank - center).sum(axis=1))
        self.scale, self.offset = constant(weighing.scale), constant(weighing.offset)
        self.missing = constant(np.zeros(len(bank)) if missing is None else missing)

    def forward(
        self, queries: Float[Tensor, "m dim"], missing: Float[Tensor, " m"] | None = None
    ) -> Float[Tensor, "m k"]:
        """Weighed distances."""
        lost = queries[:, :1] * 0 if missing is None else missing[:, None]
        left = queries - self.center
        product = left @ (self.bank - self.center).T
        squares = (left.square().sum(1, keepdim=True) + self.squares - 2 * product).clamp(min=0)
        rough = self._measured(squares, lost + self.missing) * self.scale - self.offset
        chosen = rough.topk(self.k, dim=1, largest=False).indices
        squares = (queries[:, None] - self.bank[chosen]).square().sum(2)
        return self._measured(squares, lost + self.missing[chosen]) * self.scale[chosen] - self.offset[chosen]

    def _measured(self, squares: Float[Tensor, "m _"], missing: Float[Tensor, "m _"]) -> Float[Tensor, "m _"]:
        if self.distance == "cosine":
            found = squares / 2
        elif self.distance == "angle":
            found = (squares + missing) / 4
        else:
            found = squares.sqrt()
        return found.clamp(min=SMALLEST_DISTANCE).log() if self.log else found


def constant(array: Float[np.ndarray, "*shape"]) -> nn.Parameter:
    """An array of a back-end, float64, in a module."""
    return nn.Parameter(torch.from_numpy(np.array(array, np.float64)), requires_grad=False)


def unit_length(x: Float[Tensor, "m dim"]) -> Float[Tensor, "m dim"]:
    """Each row divided by its length; nan of zeros, which have no direction."""
    scaled = x / x.abs().amax(1, keepdim=True)
    return scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True)  # type: ignore[no-any-return]


def directions(x: Float[Tensor, "m bands dim"]) -> tuple[Float[Tensor, "m bands dim"], Float[Tensor, "m bands"]]:
    """As of `asd_lightning.scoring.matching`: vectors of length 1, zeros where there is no direction, and 1.0 there."""
    largest = x.abs().amax(2, keepdim=True)
    scaled = x / torch.where(largest > 0, largest, 1.0)
    length = torch.linalg.vector_norm(scaled, dim=2, keepdim=True)
    none = largest * length <= SHORTEST
    unit = torch.where(none, 0.0, scaled / torch.where(length > 0, length, 1.0))
    return unit, none.squeeze(2).to(x.dtype)
