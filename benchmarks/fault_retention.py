"""What the ways to use a far microphone leave of a fault: tone, clicks and modulation at three levels of noise.

A machine (harmonics of a shaft and flow noise) stands near one microphone and is heard by the other at 0.3 of its
amplitude, later.  The surroundings are three sources, each of which reaches the two microphones by echoes of its own
over 30 ms, so no one filter leads from one microphone to the other.  Clips differ in speed, level and level of the
surroundings.  Measured for each way:

* how much of the fault's sound is left: the difference between a clip with and without the fault, both with the same
  noise, relative to the fault as the near microphone hears it;
* the AUC of faulty against normal clips, by mean and deviation of 128 log-mel bands and the Ledoit-Wolf distance to a
  bank of normal clips, over five machines.  ``residual`` subtracts half of the far embedding from the near one.

The rule, fixed before these numbers: the way with the highest mean AUC would be the default if it beats the near
microphone alone in the mean over all cells by more than the 95 % interval over the machines leaves open (paired, t
distribution), and the near microphone alone otherwise.  Writes ``fault_retention.json`` and ``fault_retention.md``:

    python benchmarks/fault_retention.py
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from results import keep
from rich.progress import track
from scipy import stats
from scipy.signal import fftconvolve
from sklearn.metrics import roc_auc_score

from asd_lightning.encoders.statistics import TemporalStatistics
from asd_lightning.features.spectrum import LogMelSpectrogram
from asd_lightning.features.two_microphones import cancel_per_clip, subtract_magnitudes
from asd_lightning.scoring.union import LedoitWolfScorer
from asd_lightning.synthetic.draws import Draws
from asd_lightning.synthetic.sources import SAMPLE_RATE, background, ringing, shaft_sound, sine_sum

Pair = tuple[np.ndarray, np.ndarray]

FAULTS = ("tone", "click", "modulation")
SNR_DB = (10.0, 0.0, -10.0)
"""Machine against surroundings at the near microphone."""
WAYS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "none": lambda near, _: near,
    "reduced_per_clip": cancel_per_clip,
    "subtracted": subtract_magnitudes,
}
ALL = (*WAYS, "residual")
SECONDS, LEAK, SHARE = 2.0, 0.3, 0.5
TONE, CLICK, DEPTH = 0.1, 1.0, 0.3
LEVEL = 0.03
SOURCES, ECHOES = ("factory", "street", "white"), 480


def clip(machine: int, name: str, fault: str | None, snr_db: float, measure: bool = False) -> Pair:
    """Near and far channel; the draws are the same with and without a fault.

    ``measure``: the surroundings are heard without their spread of levels.
    """
    draws, own = Draws("clip", machine, name, snr_db), Draws("machine", machine)
    seconds = np.arange(round(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    sound = machine_sound(draws, own, seconds, fault)
    near_noise, far_noise = surroundings(draws, own, seconds)
    level_db = snr_db + (0.0 if measure else draws.uniform(-4.0, 4.0))
    scale = 10.0 ** (-level_db / 20.0) / np.sqrt(np.mean(near_noise**2))
    gain = LEVEL * 10.0 ** (draws.uniform(-1.0, 1.0) / 20.0)
    near = sound + scale * near_noise + 0.003 * draws.noise(len(seconds))
    far = LEAK * np.roll(sound, 48) + scale * far_noise + 0.003 * draws.noise(len(seconds))
    return (gain * near).astype(np.float32), (gain * far).astype(np.float32)


def machine_sound(draws: Draws, own: Draws, seconds: np.ndarray, fault: str | None) -> np.ndarray:
    hertz = 29.0 * own.uniform(0.8, 1.2) * draws.uniform(0.985, 1.015)
    rate = 1.0 + 0.0008 * sine_sum(draws, seconds, 0.1, 0.8)
    turns = draws.uniform() + np.cumsum(hertz * rate) / SAMPLE_RATE
    amplitudes = own.uniforms(60, 0.3, 1.0) / np.sqrt(1.0 + np.arange(60))
    sound = shaft_sound(turns, amplitudes, draws.uniforms(60))
    sound /= np.sqrt(np.mean(sound**2))
    sound += 0.3 * draws.noise(len(seconds))
    tone_hz, rhythm, phase = own.uniform(1500.0, 2500.0), own.uniform(6.0, 9.0), draws.uniform()
    times = (np.arange(int(SECONDS * rhythm)) + phase + draws.uniforms(int(SECONDS * rhythm), 0.0, 0.2)) / rhythm
    if fault == "tone":
        sound = sound + TONE * np.sin(2.0 * np.pi * (tone_hz * seconds + phase))
    elif fault == "click":
        sound = sound + CLICK * ringing(len(seconds), times, np.ones(len(times)), 3000.0, 0.004)
    elif fault == "modulation":
        sound = sound * (1.0 + DEPTH * np.sin(2.0 * np.pi * (4.0 * seconds + phase)))
    return sound


def surroundings(draws: Draws, own: Draws, seconds: np.ndarray) -> Pair:
    """Both microphones' noise: the places of the sources, and so their echoes, are the machine's."""
    total = np.zeros((2, len(seconds)))
    for kind in SOURCES:
        noise = background(kind, draws, seconds)
        for place in total:
            echoes = own.noise(ECHOES) * np.exp(-np.arange(ECHOES) / (0.2 * ECHOES))
            place += fftconvolve(noise, echoes / np.linalg.norm(echoes))[: len(seconds)]
    return total[0], total[1]


class Embedder:
    """Mean and deviation of the log-mel bands."""

    def __init__(self) -> None:
        self.front_end = LogMelSpectrogram()
        self.encoder = TemporalStatistics()

    @torch.inference_mode()
    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.encoder(self.front_end(torch.from_numpy(waveform)[None]))[0].double().numpy()
        return found


def vectors(pair: Pair, embed: Embedder) -> dict[str, np.ndarray]:
    near, far = pair
    found = {name: embed(way(near, far)) for name, way in WAYS.items()}
    return found | {"residual": found["none"] - SHARE * embed(far)}


def aucs(machine: int, snr_db: float, counts: tuple[int, int], embed: Embedder) -> dict[tuple[str, str], float]:
    """(way, fault) -> AUC of one machine in surroundings of that level."""
    bank_size, test_size = counts

    def some(kind: str, count: int, fault: str | None) -> dict[str, np.ndarray]:
        rows = [vectors(clip(machine, f"{kind} {place}", fault, snr_db), embed) for place in range(count)]
        return {way: np.stack([row[way] for row in rows]) for way in ALL}

    bank, normal = some("train", bank_size, None), some("normal", test_size, None)
    found = {}
    for fault in FAULTS:
        faulty = some(fault, test_size, fault)
        for way in ALL:
            scorer = LedoitWolfScorer().fit(bank[way], np.zeros(bank_size, bool))
            scores = scorer.anomaly_score(np.concatenate([normal[way], faulty[way]]))
            found[way, fault] = float(roc_auc_score(np.arange(2 * test_size) >= test_size, scores))
    return found


def remains(machine: int, snr_db: float, fault: str, way: str) -> float:
    """Amplitude of what is left of the fault, relative to the fault at the near microphone."""
    plain, faulty = (clip(machine, "same", name, snr_db, measure=True) for name in (None, fault))
    left = WAYS[way](*faulty) - WAYS[way](*plain)
    return float(np.linalg.norm(left) / np.linalg.norm(faulty[0] - plain[0]))


def verdict(found: Mapping[tuple[float, str, str], np.ndarray]) -> tuple[str, str]:
    """By the rule of above: the default that the numbers would make, and why."""
    means = {way: np.mean([found[snr, way, fault] for snr in SNR_DB for fault in FAULTS], axis=0) for way in ALL}
    best = max(ALL, key=lambda way: float(means[way].mean()))
    if best == "none":
        return "none", "no way has a higher mean AUC than the near microphone alone"
    gain = 100 * (means[best] - means["none"])
    half = stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
    told = f"`{best}` has the highest mean AUC, {gain.mean():+.1f} points ({gain.mean() - half:+.1f} to "
    told += f"{gain.mean() + half:+.1f}) over the near microphone alone"
    return (best if gain.mean() > half else "none"), told


def table(result: dict[str, Any]) -> str:
    lines = ["# Fault retention with two microphones", "", "Amplitude left of the fault, mean over the machines:", ""]
    names = [f"{fault}, {snr:+.0f} dB" for fault, snr in itertools.product(FAULTS, SNR_DB)]
    lines += ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for way in WAYS:
        cells = [f"{result['remains'][f'{way}, {name}']:.2f}" for name in names]
        lines.append(f"| `{way}` | " + " | ".join(cells) + " |")
    lines += ["", "AUC in per cent, mean (standard error) over the machines:", ""]
    lines += ["| | " + " | ".join([*names, "mean"]) + " |", "|---|" + "---:|" * (len(names) + 1)]
    for way in ALL:
        rows = [np.array(result["auc"][f"{way}, {name}"]) for name in names]
        cells = [f"{100 * row.mean():.1f} ({100 * row.std(ddof=1) / np.sqrt(len(row)):.1f})" for row in rows]
        lines.append(f"| `{way}` | " + " | ".join([*cells, f"{100 * np.mean(rows):.1f}"]) + " |")
    lines += ["", f"By the rule in the script the default would be `{result['default']}`: {result['why']}."]
    lines.append("The default of the package stays the near microphone, which needs no second one.")
    lines += ["", f"{result['machines']} machines, {result['counts'][0]} normal clips of {SECONDS:g} s in the bank, "]
    lines[-1] += f"{result['counts'][1]} normal and {result['counts'][1]} faulty ones of each fault; decibels: machine "
    lines[-1] += (
        "against surroundings at the near microphone. `python benchmarks/fault_retention.py` measures it again."
    )
    return "\n".join(lines) + "\n"


def measure(machines: int, counts: tuple[int, int]) -> dict[str, Any]:
    embed = Embedder()
    found: dict[tuple[float, str, str], list[float]] = {}
    left: dict[tuple[float, str, str], list[float]] = {}
    for machine, snr_db in track([*itertools.product(range(machines), SNR_DB)], description="clips"):
        for (way, fault), auc in aucs(machine, snr_db, counts, embed).items():
            found.setdefault((snr_db, way, fault), []).append(auc)
        for way, fault in itertools.product(WAYS, FAULTS):
            left.setdefault((snr_db, way, fault), []).append(remains(machine, snr_db, fault, way))
    default, why = verdict({key: np.array(values) for key, values in found.items()})
    return {
        "auc": {f"{way}, {fault}, {snr:+.0f} dB": values for (snr, way, fault), values in found.items()},
        "remains": {f"{way}, {fault}, {snr:+.0f} dB": float(np.mean(row)) for (snr, way, fault), row in left.items()},
        "machines": machines,
        "counts": counts,
        "default": default,
        "why": why,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=5)
    parser.add_argument("--bank", type=int, default=60)
    parser.add_argument("--test", type=int, default=20, help="normal clips, and clips of each fault")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = measure(arguments.machines, (arguments.bank, arguments.test))
    keep("fault_retention", result, table(result))


if __name__ == "__main__":
    main()
