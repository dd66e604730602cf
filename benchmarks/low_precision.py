"""What an encoder gains in bfloat16 and with 8-bit integers, and what it changes.

    python benchmarks/low_precision.py                                      # speed, and agreement of random encoders
    python benchmarks/low_precision.py --machines DIR --mn04 FILE           # and mn04 on real recordings

Speed: batches of 8 clips of 10 s through front-end, encoder and pooling, full size, on one thread and on two.  Each
repeat measures float32 and each precision once, in turn, in the processor's time and by the clock; a row has the median
of the repeats' ratios (float32 / precision by the processor's time) and their range.

Agreement: Spearman's rank correlation with float32 of the left-out scores of normal recordings, and of test scores, and
how many of the test's decisions change.  Of an encoder with random weights it says nothing about a pretrained one.
``--machines`` is a folder of machines with ``train`` and ``test``, ``--mn04`` the published file.

Threads that wait for one another sleep (``OMP_WAIT_POLICY=passive``): on a busy machine the processor's time would
otherwise count the waiting.

On a CUDA device the same, on that device: batches of 64 clips, by the clock, the device's queue emptied before and
after, float32 without TF32; recordings are scored by runs without training, since a detector computes on the processor.

A precision that this processor lacks, or is slower in, is refused by the package, and its speed is measured only where
``--refused`` names it; the table says so.  bfloat16 then takes up to several times as long as float32.  Writes
``low_precision.json`` and ``low_precision.md`` beside this file, or ``low_precision_gpu``, and keeps there what was
measured on other processors: the gain depends on the processor.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

# Before torch, which reads it once.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from encoders import processor
from encoders_gpu import CUDA, DEVICE
from low_precision_page import AIMS, leave
from torch import Tensor, nn

from asd_lightning import low_precision
from asd_lightning.embedder import Branch, Embedder, ScoredEmbedder
from asd_lightning.encoders.beats import BEATs
from asd_lightning.encoders.eat import EAT
from asd_lightning.encoders.mn04 import MN04
from asd_lightning.encoders.over_time import DeviationWeighted, Mean
from asd_lightning.encoders.pooling import ClsPooling, GridPooling
from asd_lightning.errors import UserError
from asd_lightning.features.fbank import beats_fbank, eat_fbank
from asd_lightning.features.mn04_log_mel import MN04LogMel
from asd_lightning.low_precision import lowered, refuse_without_support
from asd_lightning.precision import Precision
from asd_lightning.scoring.agreement import rank_agreement

CLIPS, SECONDS, RATE = 64 if CUDA else 8, 10, 16_000
measured = [*AIMS]
SYSTEMS = {
    "BEATs, mean": lambda: (beats_fbank(), BEATs(), partial(GridPooling, over_time=Mean())),
    "EAT, mean": lambda: (eat_fbank(), EAT(), partial(GridPooling, over_time=Mean())),
    "EAT, CLS": lambda: (eat_fbank(), EAT(), ClsPooling),
    "mn04, block 8": lambda: (MN04LogMel(), MN04(), partial(GridPooling, over_time=DeviationWeighted())),
}


def system(name: str, weights: Path | None = None) -> ScoredEmbedder:
    """With random weights, or mn04 with the published ones."""
    torch.manual_seed(0)
    front_end, encoder, pooling = SYSTEMS[name]()
    if weights is not None:
        from asd_lightning.encoders.weights.checkpoints import load_encoder

        encoder = load_encoder(str(weights), architecture="mn04")
    branch = Branch(front_end, encoder, pooling=pooling, embed_dim=None, finetuning="freeze")
    return ScoredEmbedder(Embedder({"x": branch})).eval().to(DEVICE)


def precisions_of(name: str) -> list[str]:
    """That the encoder computes in, and that are measured here."""
    own = ["bf16"] if name.startswith("mn04") else ["bf16", "int8"]
    return [precision for precision in own if precision in measured]


def sound(seed: int = 0, clips: int = CLIPS) -> Tensor:
    """Hums of different pitch and loudness in noise."""
    draw = torch.Generator().manual_seed(seed)
    times = torch.arange(SECONDS * RATE) / RATE
    pitch = 80 + 160 * torch.rand(clips, 1, generator=draw)
    tones = sum(torch.sin(2 * torch.pi * k * pitch * times) / k for k in range(1, 6))
    return (0.05 * (tones + torch.randn(clips, len(times), generator=draw))).to(DEVICE)


def spent(model: nn.Module, waveform: Tensor) -> tuple[float, float]:
    """Seconds of what is measured, the processor or the GPU, and by the clock."""
    if CUDA:
        torch.cuda.synchronize()
    clock, used = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        model(waveform)
    if CUDA:
        torch.cuda.synchronize()
    taken = time.perf_counter() - clock
    return taken if CUDA else time.process_time() - used, taken


def speed(name: str, threads: int, repeats: int, clips: int, weights: Path | None) -> list[dict[str, Any]]:
    torch.set_num_threads(threads)
    exact = system(name, weights)
    models: dict[str, nn.Module] = {"float32": exact}
    models |= {precision: lowered(exact, precision) for precision in precisions_of(name)}
    waveform = sound(clips=clips)
    for model in models.values():
        spent(model, waveform if CUDA else waveform[:1])
    taken = [{precision: spent(model, waveform) for precision, model in models.items()} for _ in range(repeats)]
    rows = []
    for precision in list(models)[1:]:
        used = [each["float32"][0] / each[precision][0] for each in taken]
        clock = [each["float32"][1] / each[precision][1] for each in taken]
        rows.append(
            {
                "system": name,
                "precision": precision,
                "threads": threads,
                "repeats": repeats,
                "median": statistics.median(used),
                "min": min(used),
                "max": max(used),
                "median_by_the_clock": statistics.median(clock),
                "float32_seconds_min": min(each["float32"][0] for each in taken),
            }
        )
        # A busy machine takes long: what is known is told at once.
        print(rows[-1], flush=True)
    return rows


def of_real_machines(machines: Path, weights: Path) -> list[dict[str, Any]]:
    """mn04 with its weights in float32 and in bfloat16."""
    return in_runs(machines, weights) if CUDA else in_detectors(machines, weights)


def in_detectors(machines: Path, weights: Path) -> list[dict[str, Any]]:
    """As ``asd enrol`` uses it."""
    os.environ["ASD_CACHE"] = tempfile.mkdtemp()
    from asd_lightning import Detector
    from asd_lightning.encoders.weights.store import import_weights

    import_weights(weights, name="mn04_as")
    # What is compared is told here, whatever it is.
    from asd_lightning.detector import enrolment

    enrolment.refuse_disagreement = lambda *_: None
    rows = []
    for folder in sorted(path for path in machines.iterdir() if (path / "train").is_dir()):
        made, judged = {}, {}
        for precision in ("float32", "bf16"):
            detector = Detector("mn04_as", clip_seconds=4.0, sounds=0, precision=precision, false_alarms=None)
            made[precision] = detector.fit(folder)
            judged[precision] = made[precision].judge(folder / "test")
        agreement = made["bf16"].machines_[folder.name].agreement
        found = ([(one.score, one.decision) for one in each] for each in judged.values())
        rows.append(compared(folder.name, agreement, *found))
    return rows


def in_runs(machines: Path, weights: Path) -> list[dict[str, Any]]:
    """As ``asd train experiment=mn04`` uses it, on the GPU."""
    from asd_lightning.configuration import compose_train
    from asd_lightning.experiment.train import train
    from asd_lightning.run_folder import results_of
    from asd_lightning.scoring.clip_scores import machine_name, read_scores

    scores: dict[str, dict[str, list[Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for precision in ("float32", "bf16"):
            folder = Path(name) / precision
            folder.mkdir()
            overrides = [
                "experiment=mn04",
                f"data.root={machines.resolve()}",
                f"data.cache_dir={Path(name) / 'cache'}",
                "data.clip_seconds=4.0",
                f"encoders.mn04.weights={weights.resolve()}",
                f"model.scoring_precision={precision}",
                f"trainer.accelerator={'gpu' if CUDA else 'cpu'}",
                "logger=[]",
                "~callbacks.progress",
                "name=benchmark",
            ]
            train(compose_train(overrides, folder), folder)
            results = results_of(folder)
            agreement = results.read_summary().get("agreement", {})
            scores[precision] = {}
            for row in sorted(read_scores(results.folder / "scores.csv")):
                machine = machine_name(row.machine, row.section)
                scores[precision].setdefault(machine, []).append((row.anomaly_score, row.decision))
    return [
        compared(machine, agreement[machine], exact, scores["bf16"][machine])
        for machine, exact in scores["float32"].items()
    ]


def compared(machine: str, agreement: float, exact: list[Any], low: list[Any]) -> dict[str, Any]:
    """Of test clips (score, decision) in float32 and in bfloat16."""
    scores = [np.array([score for score, _ in each]) for each in (exact, low)]
    return {
        "machine": machine,
        "precision": "bf16",
        "test_clips": len(exact),
        "agreement": agreement,
        "agreement_of_test": rank_agreement(*scores),
        "decisions_changed": sum(a[1] != b[1] for a, b in zip(exact, low, strict=True)),
        "largest_change_of_a_score": float(np.max(np.abs(scores[1] / scores[0] - 1))),
    }


def of_random_weights(name: str, clips: int = 12) -> list[dict[str, Any]]:
    """Of embeddings, relative to what tells clips apart: their deviation around the mean."""
    torch.set_num_threads(os.cpu_count() or 1)
    exact = system(name)
    with torch.inference_mode():
        waveform = sound(clips=clips)
        wanted = exact(waveform)
        scores = _distances(wanted)
        rows = []
        for precision in precisions_of(name):
            got = lowered(exact, precision)(waveform)
            change = (got - wanted).norm() / (wanted - wanted.mean(0)).norm()
            agreement = rank_agreement(scores, _distances(got))
            rows.append({"system": name, "precision": precision, "change": float(change), "agreement": agreement})
    return rows


def _distances(embeddings: Tensor) -> np.ndarray:
    """Of each clip to the nearest other one."""
    between = torch.cdist(embeddings.double(), embeddings.double()).fill_diagonal_(torch.inf)
    return between.min(1).values.cpu().numpy()


def refusal(precision: Precision) -> str | None:
    """What the package says where it refuses the precision on this processor."""
    try:
        refuse_without_support(precision, DEVICE.type)
    except UserError as why:
        return str(why)
    return None


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    refused = {precision: refusal(precision) for precision in AIMS}
    low_precision.refuse_without_support = lambda *_: None
    measured[:] = [precision for precision in AIMS if not refused[precision] or precision in arguments.refused]
    load = os.getloadavg()[0]
    names = [name for name in SYSTEMS if any(name.startswith(word) for word in arguments.systems)]
    result: dict[str, Any] = {
        "machine": {
            "processor": torch.cuda.get_device_name() if CUDA else processor(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
            "load_average_at_start": load,
            "refused": refused,
            "clips": arguments.clips,
            "seconds": SECONDS,
        },
        "speed": [
            row
            for name in names
            for threads in ((1,) if CUDA else (1, 2))
            for row in speed(
                *(name, threads, arguments.repeats, arguments.clips),
                arguments.mn04 if name.startswith("mn04") else None,
            )
        ],
        "random": [row for name in names if not name.startswith("mn04") for row in of_random_weights(name)],
        "real": [],
    }
    if arguments.machines and arguments.mn04:
        # What has been measured stays, whatever becomes of the rest.
        leave(result, CUDA)
        result["real"] = of_real_machines(arguments.machines, arguments.mn04)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clips", type=int, default=CLIPS, help=f"of a batch whose time is taken (default {CLIPS})")
    parser.add_argument("--refused", nargs="+", default=[], choices=[*AIMS], help="measure what is refused here")
    parser.add_argument("--systems", nargs="+", default=["BEATs", "EAT", "mn04"], help="by the first word")
    parser.add_argument("--machines", type=Path, metavar="DIR")
    parser.add_argument("--mn04", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    # Left alone, cuDNN rounds what float32 convolutions read.
    torch.backends.cudnn.allow_tf32 = False
    leave(measure(arguments), CUDA)


if __name__ == "__main__":
    main()
