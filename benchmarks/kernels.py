"""What a GPU is busy with in some steps of a training, by kinds of kernel."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytorch_lightning as pl
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

CUDA = torch.cuda.is_available()
# The first kind one of whose words is in the kernel's name.
KINDS = {
    "compiled": ("triton_",),
    "attention": ("fmha", "flash", "attention"),
    "optimizer and average": ("multi_tensor", "multitensor", "adam", "lerp"),
    "Fourier transform": ("fft",),
    "convolution": ("conv", "cudnn", "dgrad", "wgrad"),
    "matrix products": ("gemm", "cutlass", "nvjet", "cublas", "matmul", "splitk"),
    "norms and reductions": ("norm", "reduce", "softmax"),
    "copies and casts": ("memcpy", "memset", "copy", "cat"),
    "pointwise": ("elementwise", "aten::", "vectorized"),
}


class Profiled(pl.Callback):
    """Profiles ``steps`` steps after the first ``after``."""

    def __init__(self, after: int, steps: int) -> None:
        self.after, self.steps = after, steps
        # On a GPU its kernels alone: to note the processor's work as well slows it down.
        kind = ProfilerActivity.CUDA if CUDA else ProfilerActivity.CPU
        self.profile = profile(activities=[kind], acc_events=True)
        self.seen = 0

    def on_train_batch_start(self, *_: Any) -> None:
        if self.seen == self.after:
            self._wait()
            self.profile.start()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seen += 1
        if self.seen == self.after + self.steps:
            self._wait()
            self.profile.stop()

    @staticmethod
    def _wait() -> None:
        if CUDA:
            torch.cuda.synchronize()


def by_kind(profiled: Profiled) -> dict[str, Any]:
    """Share of the time that the GPU is busy, and milliseconds of a step: by kind, and of the longest kernels."""
    device = DeviceType.CUDA if CUDA else DeviceType.CPU
    events = [
        event for event in profiled.profile.events() if event.device_type == device and not event.is_user_annotation
    ]
    spans = sorted((event.time_range.start, event.time_range.end) for event in events)
    busy, reached = 0.0, 0.0
    for start, end in spans:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    by_name: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for event in events:
        spent = (event.time_range.end - event.time_range.start) / 1e3 / profiled.steps
        by_name[event.name] += spent
        kinds[kind_of(event.name)] += spent
    return {
        "busy": busy / (reached - spans[0][0]),
        "kernels_a_step": len(events) / profiled.steps,
        "milliseconds": dict(kinds.most_common()),
        "longest": [[name[:120], spent] for name, spent in by_name.most_common(15)],
    }


def kind_of(name: str) -> str:
    """
    >>> kind_of("fmha_cutlassF_bf16_aligned_64x64_rf_sm80"), kind_of("nvjet_hsh_128x256_64x4"), kind_of("spin")
    ('attention', 'matrix products', 'other')
    """
    lower = name.lower()
    return next((kind for kind, words in KINDS.items() if any(word in lower for word in words)), "other")
