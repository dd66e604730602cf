"""What a reproduction will do and take, told before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from asd_lightning.configuration import compose_train, for_hydra
from asd_lightning.data.folders import machine_folders
from asd_lightning.data.truth_place import find_truth
from asd_lightning.download.years import TEST_CLIPS, TRAINING_CLIPS, YEARS, Part
from asd_lightning.encoders.weights.catalog import find
from asd_lightning.encoders.weights.store import stored_path
from asd_lightning.errors import UserError
from asd_lightning.reproduction.costs import (
    DEVICES,
    Device,
    Hours,
    cache_bytes,
    checkpoint_bytes,
    clips_of_year,
    packed_bytes,
    run_hours,
    unpacked_bytes,
)
from asd_lightning.reproduction.targets import PublishedSystem, Target, composed
from asd_lightning.synthetic.writer import MANIFEST

# Settings that a reproduction gives itself, or that would start processes which run it once more.
_OWN = ("experiment", "name", "system", "seed", "resume", "test", "scale", "encoders", "devices", "trainer", "logger")
_NAMED_AT_MOST = 3
_OWN_OF_DATA = ("data.root", "data.truth", "data.machines", "data.pseudo_classes", "data.cache_dir")


@dataclass(frozen=True)
class Costed:
    """A system with the configuration of its runs and what each of them takes."""

    system: PublishedSystem
    config: Any
    hours: tuple[Hours, ...]


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes:
        target: what is repeated.
        data: folder of the year's recordings.
        output: folder of everything else.
        seeds: of each system.
        changes: further overrides, as on the command line.
        systems: what each takes.
        missing_parts: of the year's download.
        missing_weights: names in the catalog.
        device: what was found here.
        clusters: configuration of the run whose embeddings give classes; none where the target has no such run.
    """

    target: Target
    data: Path
    output: Path
    seeds: tuple[int, ...]
    changes: tuple[str, ...]
    systems: tuple[Costed, ...]
    missing_parts: tuple[Part, ...]
    missing_weights: tuple[str, ...]
    device: Device
    clusters: Any = None

    @property
    def clusters_hours(self) -> tuple[Hours, ...]:
        """Of the run that gives classes."""
        if self.clusters is None:
            return ()
        return tuple(run_hours(self.clusters, "clusters", clips_of_year(self.target.year)))

    @property
    def truth(self) -> Path:
        """The folder of the evaluation set's truth, where a download has left none beside the recordings."""
        return self.output / "truth"

    @property
    def download_bytes(self) -> int:
        """About what is to be fetched."""
        weights = sum(find(name).size or 0 for name in self.missing_weights)
        return packed_bytes(YEARS[self.target.year], self.missing_parts) + weights

    @property
    def disk_bytes(self) -> int:
        """About what will lie on the disk in the end that does not yet."""
        channels = [one.config.data.channel for one in self.systems]
        if self.clusters is not None:
            channels.append(self.clusters.data.channel)
        year = YEARS[self.target.year]
        weights = sum(find(name).size or 0 for name in self.missing_weights)
        runs = len(self.seeds) * sum(checkpoint_bytes(one.config) for one in self.systems)
        return unpacked_bytes(year, self.missing_parts) + cache_bytes(year, channels) + weights + runs


def make_plan(
    target: Target, data: Path | None, output: Path | None, seeds: Sequence[int] | None, changes: Sequence[str]
) -> Plan:
    """The plan; nothing is fetched, written or run.

    Raises:
        UserError: a setting is not as published, an override that a reproduction gives itself, bad seeds, or a data
            folder with other machines.
    """
    _refuse_own(changes)
    chosen = target.seeds if seeds is None else tuple(seeds)
    if not chosen or len(set(chosen)) != len(chosen) or min(chosen) < 0:
        raise UserError(f"seeds {','.join(map(str, chosen))}: give different whole numbers from 0, such as 0,1,2")
    folder = Path("data", f"dcase{target.year}") if data is None else data
    missing = tuple(_missing_parts(target, folder))
    _refuse_others(target, folder, missing)
    return Plan(
        target,
        folder,
        Path("runs", f"reproduce_{target.name}") if output is None else output,
        chosen,
        tuple(changes),
        tuple(_costed(target, system, changes) for system in target.systems),
        missing,
        tuple(_missing_weights(target)),
        _device(),
        _clusters(target, changes),
    )


def truth_of(plan: Plan) -> Path | None:
    """Where the evaluation machines' truth lies: in the reproduction's folder, or where a download has left it."""
    return next((path for root in (plan.truth, plan.data) if (path := find_truth(root)) is not None), None)


def plan_lines(plan: Plan) -> Iterator[str]:
    """The plan for people to read."""
    target = plan.target
    yield f"{target.name}: {target.source}"
    for one in plan.systems:
        score = one.system.official
        told = f"{_number(score.development)} on development machines"
        told += "" if score.evaluation is None else f", {_number(score.evaluation)} on evaluation machines"
        yield f"  {one.system.name} ({score.system}): published {told}"
    yield from (f"  open: {text}" for text in target.left_open)
    yield from _fetching(plan)
    yield from _taking(plan)
    yield f"results: {plan.output}; Ctrl-C, a kill or a cut line lose little: the same command goes on"


def _fetching(plan: Plan) -> Iterator[str]:
    year = f"DCASE {plan.target.year}"
    if plan.missing_parts:
        size = decimal(packed_bytes(YEARS[plan.target.year], plan.missing_parts))
        made = "" if plan.data.exists() else ", which does not exist yet and is made"
        yield f"to fetch: {year}, {', '.join(plan.missing_parts)}, about {size}, into {plan.data}{made}"
    else:
        yield f"here already: {year} in {plan.data}"
    for name in plan.missing_weights:
        yield f"to fetch: weights {name}, {decimal(find(name).size or 0)}"
    if plan.target.evaluated and truth_of(plan) is None:
        yield f"to fetch: truth of the evaluation machines, into {plan.truth}; no run is told of it"


def _taking(plan: Plan) -> Iterator[str]:
    free = " and ".join(f"{decimal(_free_bytes(place))} at {place}" for place in (plan.data, plan.output))
    yield (
        f"disk: about {decimal(plan.disk_bytes)} more (free are {free}), from counts and lengths of the clips, sizes "
        "of the weights, and cache and checkpoints of all runs"
    )
    here = "a GPU is here" if plan.device == "gpu" else "no GPU is here"
    yield f"device: {here}; measured were these, and nothing else:"
    for place, device in dict.fromkeys((hours.device, DEVICES[hours.device]) for hours in _all_hours(plan)):
        yield f"  {device}:"
        for one in plan.systems:
            yield from (f"    {one.system.name}: {_told(plan, hours)}" for hours in one.hours if hours.device == place)
        yield from (f"    classes: once {_told_once(hours)}" for hours in plan.clusters_hours if hours.device == place)
        for precision in ("bfloat16", "float32"):
            yield from _together(plan, place, precision)


def _free_bytes(place: Path) -> int:
    """On the disk that the folder is on, or will be."""
    there = next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _together(plan: Plan, *where: str) -> Iterator[str]:
    """The sum for a device and a precision, where there is more than one run."""
    own = [each for each in _all_hours(plan) for _ in plan.seeds if (each.device, each.precision) == where]
    own += [each for each in plan.clusters_hours if (each.device, each.precision) == where]
    hedge = max((each.hedge for each in own), default="")
    if len(own) > 1:
        yield f"    together: {hedge}{_hours(sum(each.hours for each in own))} in {where[1]}"


def _all_hours(plan: Plan) -> list[Hours]:
    return [hours for one in plan.systems for hours in one.hours]


def _told(plan: Plan, hours: Hours) -> str:
    return f"{len(plan.seeds)} x {_told_once(hours)}"


def _told_once(hours: Hours) -> str:
    setting = " (trainer.precision=bf16-mixed)" if hours.precision == "bfloat16" else ""
    return f"{hours.hedge}{_hours(hours.hours)} in {hours.precision}{setting}; {hours.why}"


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"


def _number(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"


def _costed(target: Target, system: PublishedSystem, changes: Sequence[str]) -> Costed:
    config = composed(target, system, changes)
    return Costed(system, config, tuple(run_hours(config, system.name, clips_of_year(target.year))))


def _clusters(target: Target, changes: Sequence[str]) -> Any:
    if not target.clusters:
        return None
    return compose_train([*target.clusters, *map(for_hydra, for_clusters(changes)), "name=reproduction", "data.root=."])


def for_clusters(changes: Sequence[str]) -> list[str]:
    """Those of the user's changes that the run for classes has as well: of another system, how it runs and reads."""
    return [change for change in changes if change.lstrip("+~").startswith(("trainer.", "data."))]


def _device() -> Device:
    import torch

    return "gpu" if torch.cuda.is_available() else "processor"


def _refuse_own(changes: Sequence[str]) -> None:
    for change in changes:
        key = change.lstrip("+~").partition("=")[0]
        if "=" not in change and not change.startswith("~"):
            raise UserError(f"{change}: settings are KEY=VALUE, as of asd train")
        if key in (*_OWN, *_OWN_OF_DATA) or key.startswith(("hydra.", "hydra/", "encoders.")):
            raise UserError(
                f"{change}: a reproduction sets {key} itself; asd train takes it, and --data, --seeds and -o say where "
                "and how often this is run"
            )


def _missing_parts(target: Target, root: Path) -> Iterator[Part]:
    year = YEARS[target.year]
    try:
        folders = dict(machine_folders(root))
    except UserError:
        folders = {}
    training, test = ("train", TRAINING_CLIPS), ("test", TEST_CLIPS)
    splits: dict[Part, tuple[tuple[str, ...], tuple[tuple[str, int], ...]]] = {
        "dev": (year.dev_machines, (training, test)),
        "train": (year.eval_machines, (training,)),
        "test": (year.eval_machines, (test,)),
    }
    for part in target.parts:
        machines, counts = splits[part]
        if not all(name in folders and _whole(folders[name], counts) for name in machines):
            yield part


def _refuse_others(target: Target, root: Path, missing: Sequence[Part]) -> None:
    """Nothing is fetched among other recordings, and synthetic machines are not those published."""
    if root.exists() and not root.is_dir():
        raise UserError(f"{root}: is a file; give the folder of DCASE {target.year} with --data")
    try:
        names = {name for name, _ in machine_folders(root)}
    except UserError:
        names = set()
    others = sorted(names - set(YEARS[target.year].machines))
    if (root / MANIFEST).is_file():
        found = "synthetic machines"
    elif others and missing:
        found = f"other machines ({', '.join(others[:_NAMED_AT_MOST])}{', ...' if others[_NAMED_AT_MOST:] else ''})"
    else:
        return
    raise UserError(
        f"{root}: holds {found}, among which nothing of DCASE {target.year} is fetched; give the year's folder with "
        "--data, or one that does not exist yet"
    )


def _whole(machine: Path, counts: Iterable[tuple[str, int]]) -> bool:
    """Whether there are as many files in each split as the year has clips."""
    return all(
        (machine / split).is_dir() and sum(1 for _ in (machine / split).iterdir()) >= count for split, count in counts
    )


def _missing_weights(target: Target) -> Iterator[str]:
    names = (value for one in target.systems for key, value in one.settings.items() if key.endswith("encoder.weights"))
    return (name for name in dict.fromkeys(names) if not stored_path(name).is_file())
