"""From windows of sound to embeddings, batch by batch, outside of a test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from torch import nn

from asd_lightning.data.layout import Clip
from asd_lightning.data.preprocessing import Preprocessing

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""A trainer's mixed precisions by name, and the type that products are computed in."""


def heard_of(clip: Clip, preprocessing: Preprocessing, far: bool = False) -> Float32[ndarray, " samples"]:
    """The waveform of a clip, in [-1, 1]; of channel ``residual`` that of the far microphone where asked for.

    Raises:
        BadAudioError: unreadable, or otherwise unfit.
    """
    return preprocessing.read(clip.path, clip.start, clip.seconds, far=far)


def embed_windows(
    embedder: nn.Module,
    windows: Iterable[Float32[ndarray, "crops samples"]],
    batch_size: int = 32,
    dtype: torch.dtype | None = None,
) -> Float32[ndarray, "n dim"]:
    """Scored embedding of each window; in the batches of a run's test they are the test's to the last bit.

    Args:
        embedder: in evaluation mode; it computes where its weights are.
        windows: each in its crops, as `Preprocessing.windows` gives them; read as they are needed.
        batch_size: windows at a time.
        dtype: of the embedder's products, where they are of mixed precision.

    Returns:
        A row for each window; of shape (0, 0) where there is none.
    """
    parts = [_embedded(embedder, batch, dtype) for batch in _batches(windows, batch_size)]
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def _batches(
    windows: Iterable[Float32[ndarray, "crops samples"]], size: int
) -> Iterator[list[Float32[ndarray, "crops samples"]]]:
    batch: list[Float32[ndarray, "crops samples"]] = []
    for window in windows:
        batch.append(window)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@torch.inference_mode()
def _embedded(
    embedder: nn.Module, batch: list[Float32[ndarray, "crops samples"]], dtype: torch.dtype | None
) -> Float32[ndarray, "clips dim"]:
    windows = np.stack(batch)
    device = next((weights.device for weights in embedder.parameters()), torch.device("cpu"))
    waveform = torch.from_numpy(windows[:, 0] if windows.shape[1] == 1 else windows).to(device)
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        embedding: Float32[ndarray, "clips dim"] = embedder(waveform).float().cpu().numpy()
    return embedding
