"""Faults that nobody would miss, and which back-ends miss them.

    python benchmarks/planted_faults.py --weights mn04_as

On normal test clips of four of the synthetic machines ``sessions``, one of each kind of place, five faults are planted,
each by itself: a tone of one second 20 dB above the whole clip, one click a second, a level 30 dB lower, a dropout, a
slow modulation.  A fault is heard where the clip's score is above the 95th percentile of the machine's training clips,
each scored without its recording.  The table says of every back-end under ``conf/model/scorer`` in what share of the
clips it hears each fault, on the embeddings of ``experiment=statistics`` and ``experiment=mn04``, and how many normal
clips it takes for faulty.  It goes to ``planted_faults.csv`` and ``planted_faults.md``.
"""

from __future__ import annotations

import argparse
import logging

import numpy as np
import torch
from clips_in_memory import Scored, Sound, as_read, embedded, parted, rendered
from combinations import OF_BANDS, Family, family_of
from folders import REPOSITORY
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.progress import Progress
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from asd_lightning.atomic import write_text_atomically
from asd_lightning.comparison.back_ends import known_back_ends
from asd_lightning.errors import UserError
from asd_lightning.synthetic import SESSION_PRESETS
from asd_lightning.synthetic.planted import PLANTED
from asd_lightning.tables import Row, Table, csv_text, markdown_lines
from asd_lightning.trust import read_part

SEED, QUANTILE = 0, 0.95
MACHINES = ("bearing", "slider", "ToyTrain", "gearbox")
"""In a quiet place, a hall, a street and a loud place."""


def planted(sound: Sound) -> dict[str, torch.Tensor]:
    """Normal test clips as they are (""), and with each fault."""
    normal = [
        waveform.double().numpy()
        for clip, waveform in zip(sound.clips, sound.waveforms, strict=True)
        if clip.split == "test" and clip.fault is None
    ]
    made = {name: [np.clip(fault(waveform), -1.0, 1.0) for waveform in normal] for name, fault in PLANTED.items()}
    return {"": as_read(normal)} | {name: as_read(waveforms) for name, waveforms in made.items()}


def heard(scored: Scored, back_end: str, tests: dict[str, np.ndarray]) -> dict[str, float]:
    """Share of the clips with each fault that score above the left-out training clips' 95th percentile."""
    limit = np.quantile(scored.left_out(back_end), QUANTILE)
    return {name: float(np.mean(scored.of(back_end, table) > limit)) for name, table in tests.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="mn04_as", help="name or path of mn04's weights")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    machines = SESSION_PRESETS["sessions"].only(MACHINES).machines
    shares: dict[tuple[str, str], list[dict[str, float]]] = {}
    with threadpool_limits(1), Progress() as progress:
        task = progress.add_task("machines x embeddings", total=2 * len(machines))
        for machine in machines:
            sound = rendered(machine, SEED)
            for name, embedding in EMBEDDINGS.items():
                family = family_of(name, arguments.weights)
                for back_end, share in of_machine(family, embedding, sound).items():
                    shares.setdefault((name, back_end), []).append(share)
                progress.advance(task)
    keep({key: _mean(found) for key, found in shares.items()})


def _mean(shares: Sequence[dict[str, float]]) -> dict[str, float]:
    return {fault: float(np.mean([share[fault] for share in shares])) for fault in shares[0]}


def of_machine(family: Family, embedding: str, sound: Sound) -> dict[str, dict[str, float]]:
    training = parted(sound, embedded(family, sound.waveforms)[embedding])
    tests = {name: embedded(family, waveforms)[embedding] for name, waveforms in planted(sound).items()}
    found = {}
    for name, path in known_back_ends().items():
        if name in (*OF_BANDS, "coupled") and family.bands(embedding) == 1:
            continue
        make = instantiate(OmegaConf.create(read_part(path, "model", SEED)), _convert_="all")
        try:
            found[name] = heard(Scored(training, {name: make}, family.bands(embedding)), name, tests)
        except UserError as error:
            print(f"{name}: {error}")
    return found


def keep(shares: dict[tuple[str, str], dict[str, float]]) -> None:
    names = ("", *PLANTED)
    table = [[*key, *(f"{share[name]:.3f}" for name in names)] for key, share in shares.items()]
    header = ["embedding", "back_end", "false_alarms", *PLANTED]
    write_text_atomically(REPOSITORY / "benchmarks" / "planted_faults.csv", csv_text([header, *table]))
    lines: list[str] = []
    for embedding, named in EMBEDDINGS.items():
        own = sorted(
            ((name, share) for (of, name), share in shares.items() if of == embedding), key=lambda one: -least(one[1])
        )
        rows = tuple(Row((name, *(f"{100 * share[fault]:.0f}" for fault in (*PLANTED, "")))) for name, share in own)
        heading = ("back-end", *PLANTED, "none")
        lines += [f"`experiment={embedding}` ({named}):", "", *markdown_lines(Table("", heading, rows)), ""]
    text = "\n".join(lines)
    write_text_atomically(REPOSITORY / "benchmarks" / "planted_faults.md", text)
    print(text)


def least(share: dict[str, float]) -> float:
    return min(share[fault] for fault in PLANTED)


EMBEDDINGS = {"statistics": "mean+deviation+p10+p50+p90", "mn04": "8 keep rdp"}
"""Of the two defaults."""


if __name__ == "__main__":
    main()
