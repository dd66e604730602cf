"""How close the encoders come to the processor's matrix rate, and the filter bank to torchaudio's, with peak memory.

    python benchmarks/encoders.py --threads 4 --repeats 7

Every timing alternates with a large float32 matrix product in the same process, so that a busy machine slows both; the
figure reported is the ratio of the two rates.  Floating point operations are counted by hand (``operations``): matrix
products and convolutions only, training three times the forward pass.  Memory is measured in a process of its own each,
above what the process holds with the weights loaded.  Writes ``encoders.json`` and ``encoders.md`` beside this file.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from results import keep
from torch import Tensor, nn

from asd_lightning.encoders.beats import BEATs, BEATsConfig
from asd_lightning.encoders.eat import EAT, EATConfig
from asd_lightning.features.fbank import beats_fbank, eat_fbank

FORWARD_BATCH, TRAINING_BATCH, SECONDS = 8, 4, 10
MATRIX = 2048


def build(name: str, layers: int = 12) -> nn.Module:
    """Without dropout: speed does not depend on the weights."""
    if name == "eat":
        return EAT(EATConfig(depth=layers))
    no_dropout = {"dropout": 0.0, "attention_dropout": 0.0, "dropout_input": 0.0, "encoder_layerdrop": 0.0}
    return BEATs(BEATsConfig(encoder_layers=layers, **no_dropout))


def features(name: str, batch: int) -> Tensor:
    front_end = beats_fbank() if name == "beats" else eat_fbank()
    return front_end(0.1 * torch.randn(batch, SECONDS * 16_000))


def operations(name: str, layers: int = 12) -> float:
    """Floating point operations of one clip's forward pass."""
    tokens, dim, hidden = (496 if name == "beats" else 513), 768, 3072
    layer = 2 * tokens * dim * (4 * dim + 2 * hidden) + 4 * tokens * tokens * dim
    if name == "eat":
        return float(layers * layer + 2 * 512 * 256 * dim)
    stem = 2 * tokens * 256 * 512 + 2 * tokens * 512 * dim
    convolution = 2 * tokens * dim * (dim // 16) * 128
    return float(layers * layer + stem + convolution)


def forward(model: nn.Module, inputs: Tensor) -> None:
    with torch.no_grad():
        model.eval()(inputs)


def train(model: nn.Module, inputs: Tensor) -> None:
    model.train().zero_grad(set_to_none=True)
    model(inputs).square().mean().backward()


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def against_matrix_product(run: Callable[[], None], count: float, repeats: int) -> dict[str, float]:
    """Share of the matrix rate: each run lies between two products, and is compared with their mean rate."""
    a, b = torch.randn(MATRIX, MATRIX), torch.randn(MATRIX, MATRIX)
    products = 8

    def matrix_rate() -> float:
        return products * 2 * MATRIX**3 / seconds(lambda: [a @ b for _ in range(products)])

    run()
    matrix_rate()
    shares, durations, rates = [], [], [matrix_rate()]
    for _ in range(repeats):
        durations.append(seconds(run))
        rates.append(matrix_rate())
        shares.append(count / durations[-1] / statistics.mean(rates[-2:]))
    return {
        "share_median": statistics.median(shares),
        "share_min": min(shares),
        "share_max": max(shares),
        "seconds_min": min(durations),
        "matrix_gflops_median": statistics.median(rates) / 1e9,
    }


def filter_bank_against_torchaudio(name: str, repeats: int) -> dict[str, float]:
    import torchaudio.compliance.kaldi as kaldi

    waveform = 0.1 * torch.randn(FORWARD_BATCH, SECONDS * 16_000)
    front_end = beats_fbank() if name == "beats" else eat_fbank()
    window = "povey" if name == "beats" else "hanning"

    def loop() -> list[Tensor]:
        return [kaldi.fbank(clip[None], num_mel_bins=128, window_type=window) for clip in waveform]

    pairs = [(seconds(lambda: front_end(waveform)), seconds(loop)) for _ in range(4 * repeats)][repeats:]
    ratios = [theirs / own for own, theirs in pairs]
    return {
        "milliseconds_per_clip_min": 1e3 * min(own for own, _ in pairs) / FORWARD_BATCH,
        "torchaudio_milliseconds_per_clip_min": 1e3 * min(theirs for _, theirs in pairs) / FORWARD_BATCH,
        "times_faster_median": statistics.median(ratios),
        "times_faster_min": min(ratios),
        "times_faster_max": max(ratios),
    }


def resident_anonymous() -> int:
    """Bytes of this process that no file backs."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no RssAnon line: memory is measured on Linux only")


def peak_memory(name: str, kind: str) -> float:
    """GiB above the process with weights and inputs in place, at the highest of samples taken every 2 ms."""
    model = build(name)
    inputs = features(name, FORWARD_BATCH if kind == "forward" else TRAINING_BATCH)
    base = peak = resident_anonymous()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident_anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(2):
        (forward if kind == "forward" else train)(model, inputs)
    done.set()
    watcher.join()
    return (peak - base) / 2**30


def memory_in_own_process(name: str, kind: str, threads: int) -> float:
    command = [sys.executable, __file__, "--memory", name, kind, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(threads: int, repeats: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": threads,
            "load_average_at_start": round(os.getloadavg()[0], 1),
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
    }
    for name in ("beats", "eat"):
        model, count = build(name), operations(name)
        batch, smaller = features(name, FORWARD_BATCH), features(name, TRAINING_BATCH)
        result[name] = {
            "gflop_per_clip": count / 1e9,
            "forward": against_matrix_product(lambda m=model, x=batch: forward(m, x), count * FORWARD_BATCH, repeats),
            "training": against_matrix_product(
                lambda m=model, x=smaller: train(m, x), 3 * count * TRAINING_BATCH, repeats
            ),
            "filter_bank": filter_bank_against_torchaudio(name, repeats),
        }
        del model
        for kind in ("forward", "training"):
            result[name][kind]["memory_gib"] = memory_in_own_process(name, kind, threads)
    return result


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(result: dict[str, Any]) -> str:
    machine = result["machine"]
    lines = [
        f"Measured on {machine['processor']}, {machine['threads']} threads of {machine['cores']} cores, torch "
        f"{machine['torch']}, load average {machine['load_average_at_start']} at the start.",
        "",
        "| encoder | pass | share of matrix rate, median (range) | fastest run | peak memory above weights |",
        "|---|---|---|---|---|",
    ]
    for name in ("beats", "eat"):
        for kind, batch in (("forward", FORWARD_BATCH), ("training", TRAINING_BATCH)):
            row = result[name][kind]
            lines.append(
                f"| {name} | {kind}, {batch} clips of {SECONDS} s | {row['share_median']:.2f} "
                f"({row['share_min']:.2f} to {row['share_max']:.2f}) | {row['seconds_min']:.2f} s | "
                f"{row['memory_gib']:.2f} GiB |"
            )
    lines += [
        "",
        "| filter bank | own | torchaudio, one clip at a time | times faster, median (range) |",
        "|---|---|---|---|",
    ]
    for name in ("beats", "eat"):
        row = result[name]["filter_bank"]
        lines.append(
            f"| {name} | {row['milliseconds_per_clip_min']:.2f} ms per clip | "
            f"{row['torchaudio_milliseconds_per_clip_min']:.2f} ms per clip | {row['times_faster_median']:.1f} "
            f"({row['times_faster_min']:.1f} to {row['times_faster_max']:.1f}) |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", nargs=2, metavar=("ENCODER", "PASS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.memory:
        print(peak_memory(*arguments.memory))
        return
    result = measure(arguments.threads, arguments.repeats)
    keep("encoders", result, table(result))


if __name__ == "__main__":
    main()
