"""What a run shows while it trains and when its test has ended: speed for every logger, a dashboard on wandb."""

from __future__ import annotations

import logging
import netrc
import os
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from asd_lightning.atomic import write_text_atomically
from asd_lightning.data.batch import Batch
from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.evaluation.metrics import MachineMetrics
from asd_lightning.evaluation.worst_clips import worst_clips
from asd_lightning.experiment.multirun import is_sweep
from asd_lightning.experiment.result_files import Evaluated
from asd_lightning.experiment.results import evaluated
from asd_lightning.foreign_files import first_line
from asd_lightning.scoring.clip_scores import ClipScore, machine_name
from asd_lightning.training.module import AnomalousSoundModule

logger = logging.getLogger(__name__)

_GIB = 2**30
_RUN_ID = "wandb_run_id"


class Throughput(pl.Callback):
    """Logs clips per second over all devices and, on a GPU, the peak memory of this process in GiB.

    Lightning's ThroughputMonitor writes nine columns of its own naming, and none of memory.

    Args:
        window: micro-batches to average over; those of before the window are not counted.
    """

    def __init__(self, window: int = 50) -> None:
        self._ended: deque[float] = deque(maxlen=window + 1)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the times of an earlier training and the peak of memory before this one."""
        self._ended.clear()
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Log clips per second over the window and, on a GPU, the peak of memory."""
        self._ended.append(time.monotonic())
        if len(self._ended) > 1:
            seconds = self._ended[-1] - self._ended[0]
            clips = len(batch.label) * trainer.world_size * (len(self._ended) - 1)
            _log(pl_module, "train/clips_per_second", clips / seconds)
        if pl_module.device.type == "cuda":
            _log(pl_module, "train/gpu_memory_gib", torch.cuda.max_memory_allocated(pl_module.device) / _GIB)


def _log(pl_module: pl.LightningModule, name: str, value: float) -> None:
    # Lightning sends a plain number to the GPU, and waits until all that it has been given before is done.
    pl_module.log(name, torch.tensor(value))


_WORST = {"alarm": "test/loudest_alarms", "false alarm": "test/worst_false_alarms", "miss": "test/worst_misses"}


class WandbTest(pl.Callback):
    """Shows a test on wandb, where that is a logger: metrics, scores, and the clips that were judged most wrongly.

    Args:
        worst_clips: how many of each kind to listen to.
        seconds: of each, from its start.
        sample_rate: of the clips, in Hz.
    """

    def __init__(self, worst_clips: int = 4, seconds: float = 5.0, sample_rate: int = 16_000) -> None:
        self._worst_clips = worst_clips
        self._samples = round(seconds * sample_rate)
        self._sample_rate = sample_rate

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log metrics, scores and the worst clips, on the first process alone."""
        chosen = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        if not chosen or not trainer.is_global_zero or not isinstance(pl_module, AnomalousSoundModule):
            return
        found = evaluated(trainer)
        if found is None:
            logger.warning("wandb: nothing to show of the test, since callbacks.results, which evaluates, is left out")
            return
        content = _numbers(found) | self._audio(trainer.datamodule, found)  # type: ignore[attr-defined]
        for wandb_logger in chosen:
            wandb_logger.log_metrics(content, step=trainer.global_step)

    def _audio(self, datamodule: ClipDataModule, found: Evaluated) -> dict[str, Any]:
        import wandb

        clip_ids = {(clip.machine, clip.file): clip_id for clip_id, clip in enumerate(datamodule.clips)}
        content: dict[str, Any] = {name: [] for name in _WORST.values()}
        for worst in worst_clips([found.scores], self._worst_clips):
            clip = worst.clip
            content[_WORST[worst.kind]].append(
                wandb.Audio(
                    datamodule.waveform(clip_ids[clip.machine, clip.file])[: self._samples],
                    sample_rate=self._sample_rate,
                    caption=f"{clip.machine} {clip.file}: score {clip.anomaly_score:.4g}, threshold "
                    f"{clip.threshold:.4g}, {worst.margin:.2g} standard deviations on the wrong side",
                )
            )
        return content


def wandb_logger(
    save_dir: str | Path,
    name: str | None = None,
    project: str = "asd_lightning",
    log_model: bool = False,
    **init: Any,
) -> WandbLogger:
    """Lightning's WandbLogger, offline where there is no account; a sweep's jobs share a group.

    Args:
        save_dir: folder of the run; one that goes on after a restart continues its run on wandb.
        name: of the run; a sweep's job is called by its folder, which starts with the job's number.
        project: on wandb.
        log_model: store the last checkpoint as an artifact when training has ended.
        init: further arguments of ``wandb.init``, such as ``entity`` or ``tags``.
    """
    folder = Path(save_dir)
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        init = {"id": _run_id(folder)} | _mode() | init
    if is_sweep():
        name = folder.name
        init = {"group": folder.parent.name} | init
    # Lightning's own ``offline`` refuses checkpoints, which wandb keeps with an offline run until it is synchronised.
    return WandbLogger(name=name, save_dir=str(folder), project=project, log_model=log_model, **init)


@contextmanager
def finishing_wandb() -> Iterator[None]:
    """Ends the wandb run of what happens inside, as failed where it raises: a later logger would go on with the run."""
    try:
        yield
    except BaseException:
        _finish(exit_code=1)
        raise
    _finish(exit_code=0)


def _finish(exit_code: int) -> None:
    # Only where a logger has imported it.
    wandb = sys.modules.get("wandb")
    if wandb is not None:
        wandb.finish(exit_code=exit_code)


def _numbers(found: Evaluated) -> dict[str, Any]:
    import wandb

    machines = found.result.machines
    rows = [*machines, found.result.overall]
    columns = [field.name for field in fields(MachineMetrics)]
    content: dict[str, Any] = {
        "test/metrics": wandb.Table(columns=columns, data=[list(astuple(row)) for row in rows]),
        "test/scores": wandb.Table(columns=list(ClipScore._fields), data=[list(score) for score in found.scores]),
    }
    content |= {f"test/hmean/{machine_name(row.machine, row.section)}": row.hmean for row in machines}
    values: dict[str, list[float]] = {}
    for score in found.scores:
        values.setdefault(f"test/histogram/{score.machine}/{score.condition}", []).append(score.anomaly_score)
    return content | {name: wandb.Histogram(of_one) for name, of_one in values.items()}


def _run_id(folder: Path) -> str:
    """An id that a run keeps over restarts."""
    path = folder / _RUN_ID
    if not path.exists():
        write_text_atomically(path, uuid.uuid4().hex[:8])
    return first_line(path).strip()


def _mode() -> dict[str, str | None]:
    """Arguments for ``wandb.init``: offline without an account, and otherwise as wandb is set up."""
    import wandb

    settings = wandb.setup().settings
    if "WANDB_MODE" in os.environ or settings.mode != "online" or _has_account(settings.api_key, settings.base_url):
        return {}
    logger.info("wandb: no account found, so this run is kept offline; send it with wandb login, then wandb sync")
    # An offline run cannot be resumed, wandb would warn: its pieces have one id, and are put together when sent.
    return {"mode": "offline", "resume": None}


def _has_account(api_key: str | None, base_url: str) -> bool:
    if api_key or os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        logins = netrc.netrc(path)
    except (OSError, netrc.NetrcParseError):
        return False
    return any(logins.authenticators(host) for host in (urlsplit(base_url).netloc, "api.wandb.ai"))
