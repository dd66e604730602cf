"""The runs of a reproduction: every system with every seed, each going on where it was left."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from asd_lightning.data.pseudo_classes import pseudo_classes, write_pseudo_classes
from asd_lightning.data.truth_place import NO_TRUTH
from asd_lightning.experiment.single import train_once
from asd_lightning.reproduction.plan import Plan, for_clusters
from asd_lightning.run_folder import CHECKPOINT, ResultSet, results_of


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
        words = (*plan.target.clusters, *for_clusters(plan.changes), "system=clusters")
        _run(plan.output / "clusters", ground, 0, *words)
        embeddings = embeddings_of_run(plan.output / "clusters")
        write_pseudo_classes(path, pseudo_classes(embeddings.reference_clips, embeddings.reference))
    return (f"data.pseudo_classes={path}",)


def _run(folder: Path, ground: Ground, seed: int, *words: str) -> ResultSet:
    if not (folder / CHECKPOINT).is_file():
        # Of a run that was stopped before it had done anything; nobody else's, since the folder above is claimed.
        shutil.rmtree(folder, ignore_errors=True)
    elif not results_of(folder).scores.is_file():
        # Results without their scores are of no use, and would count as finished.
        shutil.rmtree(results_of(folder).folder, ignore_errors=True)
    where = (f"data.root={ground.root}", f"data.truth={NO_TRUTH}", f"hydra.run.dir={folder}")
    from asd_lightning.training.checkpoint import InterruptedRunError

    try:
        return train_once(*words, f"seed={seed}", *where, "resume=true", *ground.overrides)
    except (InterruptedRunError, SystemExit):
        # Lightning makes an exit of Ctrl-C outside of a training.
        raise KeyboardInterrupt from None
