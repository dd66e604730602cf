"""While a test embeds the clips, every pooling that is to be stored is taken from the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Float, Float32, Int64
from numpy import ndarray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from asd_lightning.embedder import Embedder
from asd_lightning.encoders.family import over_time
from asd_lightning.encoders.grid import TokenGrid
from asd_lightning.encoders.pooling import GridPooling, Spikes
from asd_lightning.errors import UserError
from asd_lightning.training.gather import gather_by_clip_id


class TokenFeatures:
    """Poolings, bands kept, of the tokens that the encoder of the one branch with a grid of them gives.

    What the run embeds and scores is not touched.  Of EAT's tokens, spikes are suppressed as the branch's own pooling
    does it.

    Args:
        embedder: the system.
        names: of poolings, see `asd_lightning.encoders.family`.

    Raises:
        UserError: no branch has a grid, or several have one.
    """

    def __init__(self, embedder: Embedder, names: Sequence[str]) -> None:
        branch, self.grid = _branch_with_grid(embedder)
        spikes: Spikes = getattr(branch.pooling, "spikes", "keep")
        self._poolings: dict[str, Callable[[Tensor], Tensor]] = {
            name: GridPooling(self.grid, over_time(name), spikes=spikes) for name in names
        }
        # Of the near microphone and, where that is embedded too, the far one.
        self._pooled: list[dict[str, Tensor]] = []
        self._seen: dict[str, tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]] = {
            name: ([], []) for name in names
        }
        encoder: nn.Module = branch.encoder
        self._hook: RemovableHandle = encoder.register_forward_hook(self._pool)

    def take(self, clip_id: Int64[Tensor, " batch"], loader: int, residual: float = 0.0) -> None:
        """Keep what the batch that was just embedded gave.

        Args:
            clip_id: of its clips; several crops of each, as many as there are, are averaged like their embeddings.
            loader: 0 for the reference, 1 for the query.
            residual: how much of what came second, the far microphone, is subtracted from what came first.
        """
        near, *far = self._pooled
        for name, pooled in near.items():
            remains = pooled - residual * far[0][name] if far else pooled
            mean = remains.view(len(clip_id), -1, pooled.shape[1]).mean(1)
            self._seen[name][loader].append((clip_id.cpu(), mean.cpu()))
        self._pooled = []

    def gathered(self, name: str) -> tuple[Float32[ndarray, "n bands dim"], Float32[ndarray, "m bands dim"]]:
        """Of all processes, reference and query, in the order of the clips' ids; given once."""
        reference, query = (self._of_all(seen) for seen in self._seen.pop(name))
        return reference, query

    def _of_all(self, seen: Sequence[tuple[Tensor, Tensor]]) -> Float32[ndarray, "clips bands dim"]:
        _, vectors = gather_by_clip_id([ids for ids, _ in seen], [pooled for _, pooled in seen])
        return vectors.reshape(len(vectors), self.grid.bands, vectors.shape[1] // self.grid.bands)

    def detach(self) -> None:
        """Leave the model as it was."""
        self._hook.remove()

    def _pool(self, _: nn.Module, __: tuple[Any, ...], given: Float[Tensor, "batch tokens dim"]) -> None:
        tokens = given.detach()
        self._pooled.append({name: pooling(tokens) for name, pooling in self._poolings.items()})


def _branch_with_grid(embedder: Embedder) -> tuple[Any, TokenGrid]:
    grids = {name: getattr(branch.encoder, "grid", None) for name, branch in embedder.branches.items()}
    found = [(embedder.branches[name], grid) for name, grid in grids.items() if isinstance(grid, TokenGrid)]
    if len(found) != 1:
        named = ", ".join(name for name, grid in grids.items() if grid is not None) or "none"
        raise UserError(
            f"store_features: one branch whose tokens lie on a grid of time and frequency is needed, such as mn04, "
            f"beats or eat; of this system's ({', '.join(grids)}) these have one: {named}"
        )
    return found[0]
