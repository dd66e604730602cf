"""How large and how costly a system is, as a submission states it."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def count_macs(embedder: nn.Module, num_samples: int) -> int:
    """Multiply-accumulate operations of one clip's embedding, as PyTorch's counter sees them.

    Products of matrices, convolutions and attention count; Fourier transforms and element-wise work do not.  Attention
    is run as plain products meanwhile: the counter does not see into fused CPU kernels.

    Args:
        embedder: waveform (1, samples) -> embedding; in evaluation mode.
        num_samples: length of the clip.
    """
    # Where nothing is trained, windows and filters alone say where it computes.
    tensors = chain(embedder.parameters(), embedder.buffers())
    device = next((tensor.device for tensor in tensors), torch.device("cpu"))
    # Not silence: a spectrum of zeros is as costly, but noise is what the encoders expect.
    waveform = torch.randn(1, num_samples, generator=torch.Generator().manual_seed(0)).mul_(0.1).to(device)
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        embedder(waveform)
    return int(counter.get_total_flops() // 2)
