"""The organisers' autoencoder beside this package's systems: time to a table, and the official score.

The baseline of DCASE Task 2 since 2020, written here in a few lines: a frame is 5 columns of a log-mel spectrogram
(128 bands, windows of 1,024 samples, hops of 512) side by side; 640-128-128-128-128-8-128-128-128-128-640 with batch
normalisation and ReLU, one for each machine, trained to return its frames (Adam, 1e-3, batches of 256); a clip's score
is its mean squared error.  The organisers train 100 epochs; how many here is said in the table.  It shares the list of
clips, the front-end and the metrics with the package's systems, and nothing else.  Every system is a process of its own
on the same synthetic machines, from recordings to metrics; ratios are of processor seconds in one run.  Writes
``autoencoder.json`` and ``autoencoder.md`` beside this file:

    python benchmarks/autoencoder.py
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import keep
from torch import Tensor, nn

from asd_lightning.data.layout import Clip, find_clips
from asd_lightning.evaluation.intervals import bootstrap_intervals
from asd_lightning.features.spectrum import LogMelSpectrogram
from asd_lightning.scoring.clip_scores import ClipScore, read_scores, write_scores

COLUMNS, BANDS, WIDTH, NARROW = 5, 128, 128, 8
ORGANISERS_EPOCHS = 100
CLIPS_AN_UPDATE = 128


def autoencoder() -> nn.Sequential:
    sizes = [COLUMNS * BANDS, *[WIDTH] * 4, NARROW, *[WIDTH] * 4]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], sizes[0]))


def frames(path: Path, front_end: LogMelSpectrogram) -> Tensor:
    """(frames, 640) of one recording."""
    import soundfile

    waveform, _ = soundfile.read(path, dtype="float32")
    columns = front_end(torch.from_numpy(waveform)[None])[0]
    return columns.unfold(0, COLUMNS, 1).transpose(1, 2).flatten(1)


def score_machine(clips: list[Clip], epochs: int, seed: int) -> list[ClipScore]:
    """Train on the normal training clips of one machine, and score its test clips."""
    torch.manual_seed(seed)
    front_end = LogMelSpectrogram()
    model = autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    training = [frames(clip.path, front_end) for clip in clips if clip.split == "train"]
    seen = torch.cat(training)
    for _ in range(epochs):
        for rows in torch.randperm(len(seen)).split(256):
            if len(rows) > 1:
                optimizer.zero_grad()
                nn.functional.mse_loss(model(seen[rows]), seen[rows]).backward()
                optimizer.step()
    model.eval()

    def error(clip_frames: Tensor) -> float:
        with torch.inference_mode():
            return float(nn.functional.mse_loss(model(clip_frames), clip_frames))

    # The organisers' decision: the 90th percentile of the training clips' errors; a gamma distribution of them there.
    threshold = float(np.quantile([error(one) for one in training], 0.9))
    scores = []
    for clip in clips:
        if clip.split == "test":
            score = error(frames(clip.path, front_end))
            told = (clip.domain, clip.condition, clip.attribute)
            scores.append(
                ClipScore(clip.machine, clip.section, clip.file, *told, score, threshold, int(score > threshold))
            )
    return scores


def run_autoencoder(data: Path, out: Path, epochs: int, seed: int) -> None:
    torch.set_num_threads(1)
    clips = find_clips(data, None)
    scores = []
    for machine in sorted({clip.machine for clip in clips}):
        scores += score_machine([clip for clip in clips if clip.machine == machine], epochs, seed)
    write_scores(out, scores)


def measured(command: list[str], folder: Path) -> dict[str, float]:
    start = time.perf_counter()
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit((folder / "log.txt").read_text()[-2000:])
    return {"processor": round(used.ru_utime + used.ru_stime, 1), "wall": round(time.perf_counter() - start, 1)}


def measure(preset: str, epochs: int, updates: int, seed: int) -> dict[str, Any]:
    from asd_lightning.synthetic import synthesize

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made = synthesize(folder / "data", preset, seed=seed)
        asd = [sys.executable, "-m", "asd_lightning.cli", "train", f"data.root={folder / 'data'}", f"seed={seed}"]
        own = [sys.executable, __file__, "--data", str(folder / "data"), "--out", str(folder / "scores.csv")]
        commands = {
            f"autoencoder, {epochs} epochs": [*own, "--epochs", str(epochs), "--seed", str(seed)],
            "statistics": [*asd, "experiment=statistics", "name=statistics"],
            f"spectrum CNN, {updates} updates": [*asd, "experiment=fft", f"trainer.max_steps={updates}", "name=fft"],
        }
        places = [
            folder / "scores.csv",
            *(folder / f"runs/{name}/results/scores.csv" for name in ("statistics", "fft")),
        ]
        systems = {}
        for (name, command), scores in zip(commands.items(), places, strict=True):
            spent = measured(command, folder)
            rows = bootstrap_intervals(read_scores(scores))
            official = next(row for row in rows if row.machine == "all" and row.metric == "hmean")
            systems[name] = spent | {"official": official.estimate, "low": official.low, "high": official.high}
            print(name, systems[name], flush=True)
    return {
        "preset": preset,
        "clips": made.clips,
        "epochs": epochs,
        "seed": seed,
        "command": f"python benchmarks/autoencoder.py --epochs {epochs} --updates {updates}",
        "systems": systems,
        "processors": os.cpu_count(),
        "load_after": round(os.getloadavg()[0], 1),
    }


def table(result: dict[str, Any]) -> str:
    systems = result["systems"]
    least = systems["statistics"]["processor"]
    lines = [
        "| system | processor s | ratio | s | official score in per cent (95 % interval) |",
        "|---|---:|---:|---:|---|",
    ]
    for name, one in systems.items():
        score = f"{100 * one['official']:.1f} ({100 * one['low']:.1f} to {100 * one['high']:.1f})"
        lines.append(f"| {name} | {one['processor']} | {one['processor'] / least:.1f} | {one['wall']} | {score} |")
    return "\n".join(
        [
            "# The organisers' autoencoder beside this package's systems",
            "",
            f"Synthetic machines, preset `{result['preset']}`, seed {result['seed']}: {result['clips']:,} clips. From "
            "recordings to the table of metrics, start and",
            f"import included; the ratio is to `statistics`. The organisers train {ORGANISERS_EPOCHS} epochs, here "
            f"{result['epochs']}. The spectrum CNN trains from random weights, in",
            f"updates of {CLIPS_AN_UPDATE} clips: 10,000 of them in the published recipe.",
            "",
            *lines,
            "",
            f"{result['processors']} processors, shared with other work (load {result['load_after']} at the end); "
            f"Python {platform.python_version()}, torch {torch.__version__}.",
            f"`{result['command']}` measures it again.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--epochs", type=int, default=ORGANISERS_EPOCHS)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.data:
        run_autoencoder(arguments.data, arguments.out, arguments.epochs, arguments.seed)
        return
    result = measure(arguments.preset, arguments.epochs, arguments.updates, arguments.seed)
    keep("autoencoder", result, table(result))


if __name__ == "__main__":
    main()
