"""Which clips make up which training step: a function of (seed, step, rank) and nothing else.

A run that is killed and goes on at step n draws what it would have drawn: nothing has to be restored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from asd_lightning.errors import UserError

SamplerName = Literal["uniform", "class_balanced"]

# Streams of one seed that must not meet.
_ORDER, _BALANCED, _CROP, _NOISE = 1, 2, 3, 4


class NoiseDraw(NamedTuple):
    """Which noise clip is mixed in, where it is cropped, and how loud it is: each uniform in [0, 1)."""

    clip: float
    crop: float
    snr: float


class Draw(NamedTuple):
    """One slot of a batch: which clip, where to crop it (0 = at its beginning, 1 = at its end), what to mix in."""

    clip: int
    crop: float
    noise: NoiseDraw


class StepSampler(Sampler[list[Draw]]):
    """Yields the batches of steps ``start`` to ``total``; a run has no epochs.

    ``uniform`` shuffles all clips and deals them out, dropping what does not fill a last batch; ``class_balanced``
    draws a class, then one of its clips, so that a batch holds more pairs of one class.  A step draws one batch for
    all ranks together and each rank takes its share: two ranks see what one process with twice the batch would.
    """

    def __init__(
        self,
        labels: Sequence[int],
        batch_size: int,
        total: int,
        *,
        start: int = 0,
        seed: int = 0,
        sampler: SamplerName = "uniform",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Note the classes and the place of this process in the run.

        Args:
            labels: class of each clip.
            batch_size: clips per rank and step.
            total: number of micro-steps of the whole run.
            start: first step to yield, after a restart.
            seed: of every draw.
            sampler: see above.
            rank: of this process.
            world_size: number of processes.

        Raises:
            UserError: fewer clips than one step takes, for the uniform sampler.
        """
        self._labels = np.asarray(labels)
        self._by_class = np.argsort(self._labels, kind="stable")
        _, self._first, self._count = np.unique(self._labels[self._by_class], return_index=True, return_counts=True)
        self._batch_size = batch_size
        self._step_size = batch_size * world_size
        self._total = total
        self._start = start
        self._seed = seed
        self._sampler = sampler
        self._rank = rank
        if sampler == "uniform" and len(self._labels) < self._step_size:
            raise UserError(
                f"{len(self._labels)} training clips do not fill one step of {self._step_size}; "
                "lower data.batch_size or set data.sampler=class_balanced"
            )

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in range(self._start, self._total):
            yield self.batch(step)

    def batch(self, step: int) -> list[Draw]:
        """The draws of this rank at ``step``."""
        clips = self._uniform(step) if self._sampler == "uniform" else self._class_balanced(step)
        crops = np.random.default_rng([self._seed, _CROP, step]).random(self._step_size)
        noise = np.random.default_rng([self._seed, _NOISE, step]).random((self._step_size, 3))
        mine = range(self._rank * self._batch_size, (self._rank + 1) * self._batch_size)
        return [Draw(int(clips[slot]), float(crops[slot]), NoiseDraw(*noise[slot].tolist())) for slot in mine]

    def _uniform(self, step: int) -> NDArray[np.int64]:
        epoch, position = divmod(step, len(self._labels) // self._step_size)
        order = self._order(epoch)
        return order[position * self._step_size : (position + 1) * self._step_size]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._permutation = np.random.default_rng([self._seed, _ORDER, epoch]).permutation(len(self._labels))
        return self._permutation

    def _class_balanced(self, step: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self._seed, _BALANCED, step])
        chosen = rng.integers(len(self._first), size=self._step_size)
        clips: NDArray[np.int64] = self._by_class[self._first[chosen] + rng.integers(self._count[chosen])]
        return clips
