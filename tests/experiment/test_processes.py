"""Several processes: each clip is scored once, and the scores are those of one process."""

import csv
import json
import os

import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from pytorch_lightning.strategies import FSDPStrategy

from asd_lightning.errors import UserError
from asd_lightning.training.averaging import _agree_on_buffers, _refuse_sharding
from asd_lightning.training.gather import gather_by_clip_id
from tests.experiment.runs import assert_identical, last_checkpoint, tiny_overrides
from tests.forked import COMMAND, run_forked
from tests.ports import own_port


def asd(cwd, *arguments, command=COMMAND):
    """Lightning starts all processes but the first anew, with the script of the command."""
    (cwd / "asd").write_text(command)
    with own_port() as port:
        # Lightning would take one that is free at the moment, and listen there seconds later.
        environment = os.environ | {"MASTER_PORT": str(port)}
        done = run_forked(arguments, cwd, script=cwd / "asd", code=command, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def anomaly_scores(folder):
    with (folder / "scores.csv").open() as file:
        return {(row["machine"], row["file"]): float(row["anomaly_score"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory):
    """System 1 with layer-drop, trained and tested by two processes with the command line a user types."""
    folder = tmp_path_factory.mktemp("ddp")
    overrides = [*tiny_overrides(tiny_data, updates=4), "trainer=ddp", "devices=2", "data.batch_size=4"]
    asd(folder, "train", *overrides, "+encoders.beats.config.encoder_layerdrop=0.5", "hydra.run.dir=run")
    return folder / "run"


def test_two_processes_train_and_write_one_set_of_results(run):
    assert last_checkpoint(run)["global_step"] == 4
    assert sorted(path.name for path in run.iterdir() if path.is_dir()) == [".hydra", "checkpoints", "logs", "results"]
    assert len(anomaly_scores(run / "results")) == 72


@pytest.mark.parametrize("processes", [2, 3])
def test_scores_equal_those_of_one_process(run, processes):
    """Those of the two that have trained it, and of three that test it again."""
    alone, together = run / "results_alone", run / "results"
    if not alone.exists():
        done = run_forked(["test", "run=.", f"out={alone}"], run)
        assert done.returncode == 0, done.stderr
    if processes == 3:
        together = run / "results_3_processes"
        asd(run, "test", "run=.", "trainer=ddp", "devices=3", f"out={together}")
    assert [json.loads((each / "summary.json").read_text())["world_size"] for each in (alone, together)] == [
        1,
        processes,
    ]
    one, several = anomaly_scores(alone), anomaly_scores(together)
    assert one.keys() == several.keys()
    # Batches are composed otherwise, so the last bits of an embedding may differ; the banks hold the same clips.
    assert max(abs(one[clip] - several[clip]) for clip in one) < 1e-6


def _gather(rank, path, results):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=3)
    # Seven clips dealt to three ranks; the sampler of another library would have padded rank 1 and 2 with 0 and 1.
    ids = [[0, 3, 6], [1, 4, 0], [2, 5, 1]][rank]
    embeddings = torch.tensor(ids, dtype=torch.float32)[:, None].expand(-1, 2)
    batches = [torch.tensor(ids[:2]), torch.tensor(ids[2:])], [embeddings[:2], embeddings[2:]]
    results[rank] = [array.tolist() for array in gather_by_clip_id(*batches)]
    dist.destroy_process_group()


def test_a_clip_that_comes_twice_counts_once(tmp_path):
    with mp.Manager() as manager:
        results = manager.dict()
        mp.start_processes(_gather, (tmp_path / "store", results), nprocs=3, start_method="fork")
        assert dict(results) == {rank: [list(range(7)), [[i, i] for i in range(7)]] for rank in range(3)}


def test_nothing_gathered_is_empty():
    ids, embeddings = gather_by_clip_id([], [])
    assert len(ids) == len(embeddings) == 0


def test_sharded_weights_are_refused_with_averaging():
    strategy = object.__new__(FSDPStrategy)  # Lightning refuses to make one on a CPU
    with pytest.raises(UserError, match=r"FSDPStrategy splits the weights.*trainer\.strategy=ddp.*~callbacks\.ema"):
        _refuse_sharding(strategy)


def _train_statistics(rank, path, results):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    module = pl.LightningModule()
    module.norm = torch.nn.BatchNorm1d(3)
    module.norm(torch.full((4, 3), float(rank)) + torch.arange(4.0)[:, None])
    _agree_on_buffers(module)
    results[rank] = [buffer.tolist() for buffer in module.buffers()]
    dist.destroy_process_group()


def test_batch_norm_statistics_agree_before_testing(tmp_path):
    with mp.Manager() as manager:
        results = manager.dict()
        mp.start_processes(_train_statistics, (tmp_path / "store", results), nprocs=2, start_method="fork")
        assert results[0] == results[1]


# As on a CUDA device, but that what torch traces of the blocks runs as it is.
_TRACED = """
import os
import sys
from pathlib import Path

from torch._dynamo.utils import counters

from asd_lightning.cli import main
from asd_lightning.training import compilation

compilation.BACKEND, compilation.refuse_without_compiler = "eager", lambda _: None
status = main(sys.argv[1:])
Path("graphs_of_rank_" + os.environ.get("LOCAL_RANK", "0")).write_text(str(counters["stats"]["unique_graphs"]))
sys.exit(status)
"""


@pytest.mark.slow
def test_two_processes_train_compiled_blocks_as_they_train_the_others(tiny_data, tmp_path):
    """To the bit: the same operations, and a sum of two gradients has no order."""
    graphs, losses, checkpoints = [], [], []
    for choice in ("false", "true"):
        folder = tmp_path / choice
        folder.mkdir()
        overrides = [*tiny_overrides(tiny_data, "system2", updates=2), "trainer.log_every_n_steps=1", "test=false"]
        changes = ["trainer=ddp", "devices=2", "data.batch_size=4", "hydra.run.dir=run", f"compile={choice}"]
        asd(folder, "train", *overrides, *changes, command=_TRACED)
        graphs.append([int((folder / f"graphs_of_rank_{rank}").read_text()) for rank in range(2)])
        with (folder / "run/logs/version_0/metrics.csv").open() as file:
            losses.append([row["train/total"] for row in csv.DictReader(file) if row["train/total"]])
        checkpoints.append(last_checkpoint(folder / "run"))
    # All blocks of EAT are one graph.
    assert graphs == [[0, 0], [1, 1]]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 2
    for part in ("state_dict", "current_model_state", "optimizer_states"):
        assert_identical(*(checkpoint[part] for checkpoint in checkpoints))
