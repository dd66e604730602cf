"""Clips per second of the encoders on a GPU: precision, batch size, torch.compile, and the filter bank.

    python benchmarks/encoders_gpu.py

The matrix rate is that of a large product in the same precision on the same device.  Writes ``encoders_gpu.json`` and
``encoders_gpu.md`` beside this file.  Without a CUDA device it runs the same steps with one layer on the processor, to
show that they work, and writes nothing.  ``torch.compile`` is measured in bfloat16 at the largest batch: compiling
takes a minute or so.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torchaudio.compliance.kaldi as kaldi
from encoders import SECONDS, build, operations
from results import keep_if_measured
from torch import Tensor, nn

from asd_lightning.features.fbank import KaldiFbank, beats_fbank, eat_fbank

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
LAYERS = 12 if CUDA else 1
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def autocast(precision: str) -> AbstractContextManager[Any]:
    if precision == "float32":
        return nullcontext()
    return torch.autocast(DEVICE.type, dtype=PRECISIONS[precision])


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median duration after one warm-up, the device's queue emptied before and after."""
    durations = []
    for _ in range(repeats + 1):
        if CUDA:
            torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        if CUDA:
            torch.cuda.synchronize()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations[1:])


def matrix_rate(precision: str, repeats: int) -> float:
    size = 8192 if CUDA else 1024
    a, b = (torch.randn(size, size, device=DEVICE, dtype=PRECISIONS[precision]) for _ in range(2))
    return 2 * size**3 / seconds(lambda: a @ b, repeats)


def encode(model: nn.Module, features: Tensor, precision: str) -> Tensor:
    with torch.no_grad(), autocast(precision):
        tokens: Tensor = model(features)
    return tokens


def train(model: nn.Module, features: Tensor, precision: str) -> None:
    model.zero_grad(set_to_none=True)
    with autocast(precision):
        loss = model(features).float().square().mean()
    loss.backward()


def measure_encoder(name: str, front_end: KaldiFbank, batches: list[int], repeats: int) -> dict[str, Any]:
    model = build(name, LAYERS).to(DEVICE).eval()
    rates = {precision: matrix_rate(precision, repeats) for precision in PRECISIONS}
    rows = []

    def measure(batch: int, precision: str, mode: str) -> None:
        features = front_end(0.1 * torch.randn(batch, SECONDS * 16_000, device=DEVICE))
        for kind, run, weight in (("forward", encode, 1), ("training", train, 3)):
            clips = batch / seconds(partial(run, model, features, precision), repeats)
            share = clips * weight * operations(name, LAYERS) / rates[precision]
            row = {"batch": batch, "precision": precision, "mode": mode, "pass": kind}
            rows.append(row | {"clips_per_second": clips, "share_of_matrix_rate": share})
            print(name, *row.values(), f"{clips:.1f} clips/s", flush=True)
            model.zero_grad(set_to_none=True)

    for batch in batches:
        for precision in PRECISIONS:
            measure(batch, precision, "eager")
    features = front_end(0.1 * torch.randn(max(batches), SECONDS * 16_000, device=DEVICE))
    embeddings = [encode(model, features, precision).float().mean(1) for precision in PRECISIONS]
    cosine = torch.nn.functional.cosine_similarity(*embeddings)
    model.compile()
    measure(max(batches), "bfloat16", "compiled")
    return {
        "matrix_teraflops": {precision: rate / 1e12 for precision, rate in rates.items()},
        "rows": rows,
        "bfloat16_against_float32_cosine_min": float(cosine.min()),
    }


def measure_filter_bank(front_end: KaldiFbank, batch: int, repeats: int) -> dict[str, float]:
    waveform = 0.1 * torch.randn(batch, SECONDS * 16_000, device=DEVICE)
    own = seconds(lambda: front_end(waveform), repeats)
    theirs = seconds(lambda: [kaldi.fbank(clip[None], num_mel_bins=128) for clip in waveform], repeats)
    return {
        "batch": batch,
        "milliseconds_per_batch": 1e3 * own,
        "torchaudio_milliseconds_per_batch": 1e3 * theirs,
        "times_faster": theirs / own,
    }


def table(result: dict[str, Any]) -> str:
    lines = [f"Measured on {result['device']}, torch {result['torch']}."]
    lines += [
        "",
        "| encoder | pass | batch | precision | mode | clips/s | share of matrix rate |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("beats", "eat"):
        for row in result[name]["rows"]:
            lines.append(
                f"| {name} | {row['pass']} | {row['batch']} | {row['precision']} | {row['mode']} | "
                f"{row['clips_per_second']:.1f} | {row['share_of_matrix_rate']:.2f} |"
            )
    for name in ("beats", "eat"):
        bank, cosine = result[name]["filter_bank"], result[name]["bfloat16_against_float32_cosine_min"]
        lines += [
            "",
            f"{name}: bfloat16 embeddings have cosine >= {cosine:.5f} with float32's; the filter bank of "
            f"{bank['batch']} clips takes {bank['milliseconds_per_batch']:.1f} ms, torchaudio's loop "
            f"{bank['times_faster']:.1f} times that.",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64] if CUDA else [1, 2])
    parser.add_argument("--repeats", type=int, default=10 if CUDA else 1)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if CUDA else "the processor",
        "torch": torch.__version__,
        "float32_matrix_products": "float32, without TF32",
    }
    torch.set_float32_matmul_precision("highest")
    for name, front_end in (("beats", beats_fbank()), ("eat", eat_fbank())):
        result[name] = measure_encoder(name, front_end, arguments.batches, arguments.repeats)
        result[name]["filter_bank"] = measure_filter_bank(front_end, max(arguments.batches), arguments.repeats)
    keep_if_measured("encoders_gpu", result, table(result), CUDA)


if __name__ == "__main__":
    main()
