"""Losses of class log-probabilities, for labels that mixup may have made soft."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn

from asd_lightning.features.mixup import Mixed


class Total(NamedTuple):
    """What one step reports: the loss that is trained on."""

    total: Float[Tensor, ""]


class SoftLabelLoss(nn.Module):
    """Cross-entropy ``-sum_c y_c log P_c``, mean over the clips, of what a subclass says of the classes.

    Attributes:
        classes: C, their number.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def log_probability(
        self, embedding: Float[Tensor, "batch dim"], target: Float[Tensor, "batch classes"]
    ) -> Float[Tensor, "batch classes"]:
        """Natural logarithm of each class's probability, in float32 or better.

        Args:
            embedding: of any length above 0.
            target: shares y of the classes, for losses that follow the training with a setting of theirs.
        """
        raise NotImplementedError

    def of_target(
        self, embedding: Float[Tensor, "batch dim"], target: Float[Tensor, "batch classes"]
    ) -> Float[Tensor, ""]:
        """Loss for shares of the classes, each clip's of sum 1."""
        log_probability = self.log_probability(embedding, target)
        return -(target.to(log_probability) * log_probability).sum(1).mean()

    def forward(
        self, embedding: Float[Tensor, "batch dim"], label: Int[Tensor, " batch"], mixed: Mixed | None = None
    ) -> Total:
        """Loss of one batch: ``label`` before mixup, and what mixup drew, if anything."""
        return Total(self.of_target(embedding, soft_labels(label, mixed, self.classes)))


def soft_labels(label: Int[Tensor, " batch"], mixed: Mixed | None, classes: int) -> Float[Tensor, "batch classes"]:
    """Shares of the classes in each clip, in float32: 1 for the label, or mixup's weights for both.

    >>> import torch
    >>> soft_labels(torch.tensor([2, 0]), None, classes=3)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    own = nn.functional.one_hot(label, classes).float()
    if mixed is None:
        return own
    weight = mixed.weight.float().reshape(-1, 1)
    return weight * own + (1 - weight) * nn.functional.one_hot(mixed.mixed_label, classes).float()
