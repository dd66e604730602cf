"""Going on with a run that was interrupted, and only with that run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from asd_lightning.configuration import recorded
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import load_yaml
from asd_lightning.older_names import of_today
from asd_lightning.run_folder import CHECKPOINT, CONFIG

# What may differ when a run goes on: where it runs, how it is watched, how it is scored.
_FREE = frozenset(
    {"resume", "test", "devices", "compile", "name", "system", "choices", "config_dirs", "callbacks", "logger"}
    | {"store_features"}
    | {f"model.{option}" for option in ("scorer", "threshold", "recording_score")}
    | {f"data.{option}" for option in ("num_workers", "cache_dir", "test_batch_size", "truth", "on_bad_file")}
    | {f"data.{option}" for option in ("recordings", "group")}
)
# The one setting of the trainer that must not differ: schedule, average and draws depend on the length.
_LENGTH = "trainer.max_steps"
# Recorded absolute, and given as one likes.
_PATHS = ("data.root", "data.pseudo_classes")
_NAMED_AT_MOST = 5


def checkpoint_to_resume(output_dir: Path, resume: bool) -> Path | None:
    """The checkpoint of the run in ``output_dir``, ``None`` where there is none yet.

    Raises:
        UserError: the folder holds a run and ``resume`` is not asked for.
    """
    checkpoint = output_dir / CHECKPOINT
    if not checkpoint.exists():
        return None
    if not resume:
        raise UserError(f"{output_dir}: already holds a run; go on with resume=true, or choose another name=")
    return checkpoint


def refuse_another_run(output_dir: Path, config: DictConfig) -> None:
    """Raises ``UserError`` where the folder holds a run with other data, model or seed than ``config`` has."""
    if not (output_dir / CHECKPOINT).exists() or not (output_dir / CONFIG).exists():
        return
    before = dict(_leaves(of_today(OmegaConf.to_container(OmegaConf.create(load_yaml(output_dir / CONFIG))))))
    # Older runs drew held-out recordings by their own seed.
    before.setdefault("data.hold_out_seed", before.get("data.seed"))
    before.setdefault("data.residual", 0.5)
    now = dict(_leaves(recorded(config)))
    differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if _LENGTH in differing:
        raise UserError(
            f"{output_dir}: holds a run of {before[_LENGTH]} updates (now {now[_LENGTH]}); its learning rates and its "
            "average are made for that length: give the same trainer.max_steps, or train another run with name="
        )
    if differing:
        named = ", ".join(f"{key}={before.get(key)} (now {now.get(key)})" for key in differing[:_NAMED_AT_MOST])
        raise UserError(f"{output_dir}: holds a run with {named}; go on with the same command, or choose another name=")


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if key in _FREE or (key.startswith("trainer.") and key != _LENGTH):
        return
    if key in _PATHS and node is not None:
        yield key, str(Path(str(node)).absolute())
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node
