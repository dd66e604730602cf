"""What other clips of a batch do to a clip's embedding: nothing, or with networks the rounding of a library's sums."""

import pytest
import torch
from hydra.utils import instantiate

from asd_lightning.configuration import compose_train


@pytest.mark.parametrize(("experiment", "share"), [("statistics", 0.0), ("fft", 2e-6), ("system1", 2e-6)])
def test_an_embedding_is_the_same_in_other_company(experiment: str, share: float) -> None:
    config = compose_train([f"experiment={experiment}", "encoders=tiny", "data.clip_seconds=1.0"])
    torch.manual_seed(0)
    embedder = instantiate(config.model.embedder).eval()
    clips = 0.1 * torch.randn(16, 16_000)
    with torch.inference_mode():
        together = embedder(clips)
        for count in (1, 3, 7):
            alone = embedder(clips[:count])
            assert (alone - together[:count]).abs().max() <= share * together.abs().max()
