"""Where a training step spends its time beyond the encoder: dropout's random numbers, front-end, head, loss, update.

BEATs of full width with few layers, so that a processor can do it, in the report's recipe with 172 classes; processor
seconds of one micro-batch, each part timed by itself, the least of some repeats.  The update (AdamW, average of
weights) is shared by ``--accumulate`` micro-batches.  What is not the encoder's weighs the more, the fewer layers there
are.  Writes ``training_step.json`` and ``training_step.md`` beside this file:

    python benchmarks/training_step.py
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import torch
from results import keep
from torch import nn

from asd_lightning.configuration import compose_train, plain
from asd_lightning.data.labels import ClassLabel
from asd_lightning.features.mixup import mixup
from asd_lightning.training.build import build_module

CLASSES, SAMPLE_RATE = 172, 16_000


def least(part: Callable[[], Any], repeats: int) -> float:
    part()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        part()
        spent.append(time.process_time() - start)
    return min(spent)


def step_of(module: nn.Module, features: torch.Tensor) -> Callable[[], None]:
    def step() -> None:
        module(features).sum().backward()

    return step


def measure(layers: int, batch: int, seconds: float, accumulate: int, repeats: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    changed = [
        "encoders=random",
        f"+encoders.beats.config.encoder_layers={layers}",
        "+encoders.beats.config.encoder_layerdrop=0.0",
    ]
    config = plain(compose_train(["experiment=system1", "model/embedder/branches=[beats]", *changed]))["model"]
    module = build_module(config, [ClassLabel(f"m{n}", "a") for n in range(CLASSES)]).train()
    branch = module.embedder.branches["beats"]
    front_end, encoder = branch.get_submodule("front_end"), branch.get_submodule("encoder")
    waveform, label = 0.1 * torch.randn(batch, round(seconds * SAMPLE_RATE)), torch.arange(batch)
    with torch.no_grad():
        features = front_end(waveform)
        embedding = module.embedder(waveform)
    embedding.requires_grad_()
    mixed = mixup(waveform, label)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, weight_decay=0.01)
    average = [parameter.detach().clone() for parameter in module.parameters()]

    def whole() -> None:
        drawn = mixup(waveform, label)
        module.loss(module.head(module.embedder(drawn.waveform)), label, drawn).total.backward()

    def update() -> None:
        optimizer.step()
        torch._foreach_lerp_(average, list(module.parameters()), 5e-4)

    spent = {
        "whole micro-batch": least(whole, repeats),
        "encoder with dropout": least(step_of(encoder, features), repeats),
    }
    for part in encoder.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        elif isinstance(getattr(part, "dropout", None), float):
            part.dropout = 0.0
    spent["encoder without dropout"] = least(step_of(encoder, features), repeats)
    spent["front-end"] = least(lambda: front_end(waveform), repeats)
    spent["mixup"] = least(lambda: mixup(waveform, label), repeats)
    spent["head and loss"] = least(lambda: module.loss(module.head(embedding), label, mixed).total.backward(), repeats)
    spent["update, of one micro-batch"] = least(update, repeats) / accumulate
    return {
        "layers": layers,
        "batch": batch,
        "seconds": seconds,
        "accumulate": accumulate,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "processor_ms": {name: round(1e3 * value, 1) for name, value in spent.items()},
        "processors": os.cpu_count(),
        "load_after": round(os.getloadavg()[0], 1),
    }


def table(result: dict[str, Any]) -> str:
    spent = result["processor_ms"]
    bare = spent["encoder without dropout"]
    total = spent["whole micro-batch"] + spent["update, of one micro-batch"]
    lines = ["| part | processor ms | to the encoder without dropout |", "|---|---:|---:|"]
    lines += [f"| {name} | {value} | {value / bare:.2f} |" for name, value in spent.items()]
    dropout = spent["encoder with dropout"] - bare
    known = dropout + sum(spent[name] for name in ("front-end", "mixup", "head and loss", "update, of one micro-batch"))
    return "\n".join(
        [
            "# A training step beyond the encoder",
            "",
            f"BEATs, {result['layers']} layers of full width, {result['batch']} clips of {result['seconds']:g} s, "
            f"{CLASSES} classes, {result['accumulate']} micro-batches an update.",
            "",
            *lines,
            "",
            f"The whole with its share of the update is {total / bare:.2f} of the bare encoder; dropout is "
            f"{100 * dropout / total:.0f} % of it. Dropout, front-end, mixup, head, loss and update together explain "
            f"{100 * known / max(total - bare, 1e-9):.0f} % of what is beyond the bare encoder. The rest is "
            "augmentation, pooling, and the error of differences.",
            "",
            f"{result['processors']} processors, shared with other work (load {result['load_after']} at the end); "
            f"Python {platform.python_version()}, torch {torch.__version__}. `python benchmarks/training_step.py "
            f"--layers {result['layers']} --batch {result['batch']}` measures it again.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--accumulate", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    result = measure(**vars(parser.parse_args()))
    keep("training_step", result, table(result))


if __name__ == "__main__":
    main()
