"""Small finished runs, as a test leaves them on disk."""

import json
from pathlib import Path

import numpy as np

from asd_lightning.evaluation.metrics import evaluate, write_metrics
from asd_lightning.run_folder import results_of
from asd_lightning.scoring.clip_scores import ClipScore, read_scores, write_scores


def development_clips(machine: str, seed: int, each: int = 12) -> list[ClipScore]:
    rng = np.random.default_rng(seed)
    clips = []
    for domain in ("source", "target"):
        for condition in ("normal", "anomaly"):
            for index in range(each):
                score = float(rng.normal() + (condition == "anomaly"))
                name = f"section_00_{domain}_test_{condition}_{index:04d}_x_1.wav"
                clips.append(ClipScore(machine, "00", name, domain, condition, "x_1", score, 0.5, int(score > 0.5)))
    return clips


def evaluation_clips(machine: str, seed: int, count: int = 5) -> list[ClipScore]:
    values = np.random.default_rng(seed).normal(size=count).tolist()
    return [
        ClipScore(machine, "00", f"section_00_{i:04d}.wav", "unknown", "unknown", "", value, 0.0, int(value > 0))
        for i, value in enumerate(values)
    ]


def finished_run(
    folder: Path,
    name: str = "eat_beats",
    seed: int = 0,
    machines: tuple[str, ...] = ("fan", "valve"),
    draw: int = 0,
) -> Path:
    """A run folder with scores, metrics and summary; another ``draw`` scores the same clips otherwise."""
    scores = [
        clip for i, machine in enumerate(machines) for clip in development_clips(machine, 1000 * draw + 10 * seed + i)
    ]
    scores += [clip for machine in ("AutoTrash", "Polisher") for clip in reversed(evaluation_clips(machine, seed))]
    result = evaluate(scores)
    (folder / ".hydra").mkdir(parents=True)
    write_scores(folder / "results" / "scores.csv", scores)
    write_metrics(result, folder / "results")
    summary = {
        "name": name,
        "experiment": name,
        "seed": seed,
        "official_score": result.official_score,
        "num_parameters": 90_123_456,
        "macs": 2.5e10,
    }
    (folder / "results" / "summary.json").write_text(json.dumps(summary))
    return folder


def shifted(folder: Path, name: str, seed: int, shift: float) -> Path:
    """A run whose anomalies lie further out than those of ``finished_run``, and the rest where it is."""
    results = results_of(finished_run(folder, name, seed))
    scores = [
        score._replace(anomaly_score=score.anomaly_score + shift * (score.condition == "anomaly"))
        for score in read_scores(results.scores)
    ]
    write_scores(results.scores, scores)
    write_metrics(evaluate(scores), results.folder)
    return folder
