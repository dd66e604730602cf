"""What a reproduction takes: bytes by the counts and lengths of the clips, hours by what benchmarks have measured.

Hours are of the committed figures of ``benchmarks/training_gpu.json``, ``encoders_gpu.json`` and ``encoders.json``, of
one H100 and of four cores; a test compares the copies here with them.  What was not measured is bounded, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from omegaconf import DictConfig

from asd_lightning.download.years import TEST_CLIPS, TRAINING_CLIPS, YEARS, Part, Year
from asd_lightning.encoders.weights.catalog import find

Device = Literal["gpu", "processor"]

DEVICES: dict[Device, str] = {"gpu": "one NVIDIA H100 80GB HBM3", "processor": "4 cores of an AMD EPYC"}
"""What was measured on."""
BFLOAT16_HOURS = {"system1": 1.7914249156250013, "system4": 2.3423564293402768, "lora_w1_2026": 0.8286435833333439}
"""Of a whole training on the GPU with ``trainer.precision=bf16-mixed``; ``training_gpu.json``, the report's batch."""
_LIKE = {"system2": "system4", "system3": "system4", "lora_2026": "lora_w1_2026"}
# Clips of 10 s a second in float32, the encoder alone, at 16 clips on the GPU, 4 (training) and 8 on the processor.
TRAINED = {
    "gpu": {"beats": 107.50381138804505, "eat": 131.2188089303166},
    "processor": {"beats": 4 / 5.585527158000332, "eat": 4 / 4.573129379999955},
}
EMBEDDED = {
    "gpu": {"beats": 346.3965723105934, "eat": 399.4689808903894},
    "processor": {"beats": 8 / 3.730416888000036, "eat": 8 / 3.089536532999773},
}
_FILES = {"gpu": "encoders_gpu.json", "processor": "encoders.json"}
_ENCODERS = frozenset({"beats", "eat"})
_RATE = 16_000
# As `asd download` reckons: recordings shrink to about 0.75 of their size in a zip file.
_PACKED = 0.75
# Weights, two moments of Adam's, and the averaged weights.
_COPIES_OF_TRAINED = 4
_SECONDS_UNKNOWN = 10.0


class Hours(NamedTuple):
    """Of one run on a device; at least these where what is known is a part of it."""

    device: Device
    hours: float
    precision: Literal["float32", "bfloat16"]
    hedge: Literal["", "at least ", "roughly "]
    why: str


def unpacked_bytes(year: Year, parts: Iterable[Part]) -> int:
    """Size of a year's clips of 16 bits, from their counts and lengths."""
    training = TRAINING_CLIPS + year.supplemental_clips
    sizes = {
        "dev": (training + TEST_CLIPS) * _seconds(year, year.dev_machines),
        "train": training * _seconds(year, year.eval_machines),
        "test": TEST_CLIPS * _seconds(year, year.eval_machines),
        "truth": 0.0,
    }
    return round(sum(sizes[part] for part in parts) * _RATE * 2 * year.channels)


def packed_bytes(year: Year, parts: Iterable[Part]) -> int:
    """About what has to be fetched."""
    return round(_PACKED * unpacked_bytes(year, parts))


def cache_bytes(year: Year, channels: Sequence[Any]) -> int:
    """Decoded clips of all machines, once for each way to take the channels: 4 bytes a sample where they are mixed."""
    clips = TRAINING_CLIPS + TEST_CLIPS
    samples = clips * _seconds(year, year.machines) * _RATE
    return round(sum(samples * (2 if isinstance(channel, int) else 4) for channel in set(channels)))


def checkpoint_bytes(config: DictConfig) -> int:
    """Of one run: its encoders, with the optimizer's moments and the average where they are trained."""
    total = 0
    for branch in config.model.embedder.branches.values():
        weights = branch.encoder.get("weights")
        copies = _COPIES_OF_TRAINED if branch.get("finetuning") == "full" else 1
        total += copies * (find(weights).size or 0) if weights else 0
    return total


def run_hours(config: DictConfig, name: str, clips: int) -> Iterator[Hours]:
    """What a run takes: a training on the GPU in both precisions, all else in float32.

    Args:
        config: of the run.
        name: of the system.
        clips: that are embedded in the end.
    """
    if config.trainer.max_steps:
        yield _in_bfloat16(name)
    branches = {key: branch for key, branch in config.model.embedder.branches.items() if key in _ENCODERS}
    seen = config.trainer.max_steps * config.accumulate * config.data.batch_size
    hedge, why = _of_encoders(seen > 0, {branch.finetuning for branch in branches.values()})
    for device in DEVICES:
        seconds = sum(seen / TRAINED[device][key] + clips / EMBEDDED[device][key] for key in branches)
        yield Hours(device, seconds / 3600, "float32", hedge, f"benchmarks/{_FILES[device]}: {why}")


def _of_encoders(trained: bool, finetuning: set[str]) -> tuple[Literal["", "at least ", "roughly "], str]:
    """How hours of the encoders alone stand to those of a run, and what they are."""
    if not trained:
        return "", "one pass of the encoder over all clips"
    if "full" in finetuning:
        return "at least ", "the encoders alone"
    return "roughly ", "the encoder alone, as if all of it were trained and in batches of another size"


def _in_bfloat16(name: str) -> Hours:
    of, why = name, "benchmarks/training_gpu.json: the training alone"
    if name in _LIKE:
        of = _LIKE[name]
        more = "the same on another channel" if of.startswith("lora") else "which has its branches and more"
        why = f"not measured; that of {of}, {more}"
    return Hours("gpu", BFLOAT16_HOURS[of], "bfloat16", "", why)


def clips_of_year(year: int) -> int:
    """Training and test clips of all its machines."""
    return len(YEARS[year].machines) * (TRAINING_CLIPS + TEST_CLIPS)


def _seconds(year: Year, machines: Iterable[str]) -> float:
    """Of one clip of each machine, added up; 10 where a length is not published."""
    return sum((year.seconds or {}).get(machine, _SECONDS_UNKNOWN) for machine in machines)
