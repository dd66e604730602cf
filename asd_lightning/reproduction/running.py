"""The runs of a reproduction: every system with every seed, each going on where it was left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asd_lightning.atomic import write_text_atomically
from asd_lightning.data.layout import NO_TRUTH
from asd_lightning.data.pseudo_classes import pseudo_classes, write_pseudo_classes
from asd_lightning.errors import UserError
from asd_lightning.experiment.claim import claimed
from asd_lightning.experiment.single import train_once
from asd_lightning.foreign_files import ForeignFileError, load_json
from asd_lightning.reproduction.plan import Plan
from asd_lightning.run_folder import CHECKPOINT, ResultSet

MARKER = "reproduction.json"


@dataclass(frozen=True)
class Ground:
    """What the runs stand on.

    Attributes:
        root: folder of the recordings.
        truth: where the truth of the evaluation machines is: no run is told of it.
        development: machines.
        evaluation: machines.
        overrides: that every run has besides.
        training: that those which train have besides.
        rehearsed: the machines are synthetic and the encoders tiny.
    """

    root: Path
    truth: Path | None
    development: tuple[str, ...]
    evaluation: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    rehearsed: bool = False


@contextmanager
def output_of(plan: Plan, rehearsed: bool) -> Iterator[None]:
    """The folder of this very reproduction, for this process alone.

    Raises:
        UserError: another reproduction's, a folder of other things, or one that is in use.
    """
    told = json.dumps({"target": plan.target.name, "rehearsal": rehearsed, "changes": plan.changes}, indent=2)
    folder = plan.output
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder with -o")
    if (folder / MARKER).is_file():
        try:
            same = load_json(folder / MARKER) == json.loads(told)
        except ForeignFileError:
            same = False
        if not same:
            raise UserError(f"{folder}: holds another reproduction ({MARKER}); give another folder with -o")
    elif folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: holds files and no reproduction; give another folder with -o")
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(folder / MARKER, told)
    with claimed(folder):
        yield


def run_all(plan: Plan, ground: Ground) -> dict[str, dict[int, ResultSet]]:
    """Run what is not finished: the results by the system's name and the seed.

    Raises:
        UserError: what a run raises.
        KeyboardInterrupt: Ctrl-C; what is trained so far is kept, and the same call goes on.
    """
    classes = _pseudo_classes(plan, ground)
    found: dict[str, dict[int, ResultSet]] = {}
    # Seed by seed: what is there early is a whole, of fewer seeds.
    for number, seed in enumerate(plan.seeds):
        for place, one in enumerate(plan.systems, start=1 + number * len(plan.systems)):
            print(f"run {place} of {len(plan.seeds) * len(plan.systems)}: {one.system.name}, seed {seed}")
            name, training = one.system.name, ground.training if one.config.trainer.max_steps else ()
            words = (*one.system.overrides, *plan.changes, f"system={name}", *classes, *training)
            results = _run(plan.output / f"{name}_seed{seed}", ground, seed, *words)
            found.setdefault(name, {})[seed] = results
    return found


def _pseudo_classes(plan: Plan, ground: Ground) -> tuple[str, ...]:
    """Classes of clips without attributes, by the embeddings of a run of the encoder as it is."""
    if not plan.target.clusters:
        return ()
    path = plan.output / "clusters.csv"
    if not path.is_file():
        from asd_lightning.experiment.run_embeddings import embeddings_of_run

        print("classes of clips without attributes: the encoder as it is, then k-means")
        _run(plan.output / "clusters", ground, 0, *plan.target.clusters, "system=clusters")
        embeddings = embeddings_of_run(plan.output / "clusters")
        write_pseudo_classes(path, pseudo_classes(embeddings.reference_clips, embeddings.reference))
    return (f"data.pseudo_classes={path}",)


def _run(folder: Path, ground: Ground, seed: int, *words: str) -> ResultSet:
    if not (folder / CHECKPOINT).is_file():
        # Of a run that was stopped before it had done anything; nobody else's, since the folder above is claimed.
        shutil.rmtree(folder, ignore_errors=True)
    where = (f"data.root={ground.root}", f"data.truth={NO_TRUTH}", f"hydra.run.dir={folder}")
    from asd_lightning.training.checkpoint import InterruptedRunError

    try:
        return train_once(*words, f"seed={seed}", *where, "resume=true", *ground.overrides)
    except (InterruptedRunError, SystemExit):
        # Lightning makes an exit of Ctrl-C outside of a training.
        raise KeyboardInterrupt from None
