"""How the parts are put together: drop a step, and one of these turns red."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from asd_lightning.configuration import plain
from asd_lightning.data.batch import Batch
from asd_lightning.data.labels import ClassLabel
from asd_lightning.data.layout import Clip, find_clips
from asd_lightning.errors import UserError
from asd_lightning.features.mixup import mixup
from asd_lightning.scoring.machines import score_machines
from asd_lightning.training.build import build_module
from tests.experiment.runs import tiny_config

CLASSES = [ClassLabel("fan/a", True), ClassLabel("fan/b", True)]
SYSTEMS = ("system1", "system2", "system3", "system4")


def module_of(tmp_path, system="system1", *changes):
    config = tiny_config(tmp_path, tmp_path, system, changes)
    module = build_module(plain(config.model), CLASSES)
    module.trainer = pl.Trainer(max_steps=8, accelerator="cpu", logger=False)
    return module


@pytest.mark.parametrize("system", SYSTEMS)
def test_encoders_see_masks_in_training_and_the_clip_itself_in_test(tmp_path, system):
    module = module_of(tmp_path, system)
    torch.manual_seed(0)
    waveform = 0.1 * torch.randn(16, 16_000)
    for name, branch in module.embedder.branches.items():
        seen = []
        branch.encoder.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].clone()))
        branch.train()(waveform)
        branch.eval()(waveform)
        whole = branch.front_end(waveform)
        in_training, in_test = seen
        assert torch.equal(in_test, whole)
        changed = (in_training != whole).flatten(1).any(1)
        # Two masks of probability 0.5 each: of 16 clips some are masked, some are not.
        assert (0 < changed.sum() < 16) if name != "fft" else not changed.any()


def test_the_training_step_mixes_before_every_branch(tmp_path):
    module = module_of(tmp_path, "fft", "model.loss.head=none").train()
    module.log = module.log_dict = lambda *_, **__: None
    torch.manual_seed(1)
    batch = Batch(0.1 * torch.randn(8, 16_000), torch.arange(8) % 2, torch.arange(8))
    torch.manual_seed(2)
    loss = module.training_step(batch, 0)
    torch.manual_seed(2)
    mixed = mixup(batch.waveform, batch.label, 0.5)
    by_hand = module.loss(module.embedder(mixed.waveform), batch.label, mixed).total
    torch.testing.assert_close(loss, by_hand)
    unmixed = module.loss(module.embedder(batch.waveform), batch.label, None).total
    assert not torch.isclose(loss, unmixed)


def test_a_clip_in_several_windows_is_their_mean(tmp_path):
    module = module_of(tmp_path, "fft").eval()
    windows = 0.1 * torch.randn(2, 3, 16_000)
    each = torch.stack([module(windows[:, place]) for place in range(3)])
    torch.testing.assert_close(module(windows), each.mean(0))
    assert not torch.allclose(module(windows), each[0])


class Constant:
    """Scores every clip alike."""

    def fit(self, embeddings, is_target):
        self.count = len(embeddings)
        return self

    def anomaly_score(self, embeddings):
        return embeddings[:, 0]

    def leave_one_out_scores(self):
        return np.zeros(self.count)


class AtOne:
    def fit(self, training_scores, is_target):
        return 1.0


def clip(tmp_path, name, split, condition="normal"):
    return Clip(path=tmp_path / name, machine="fan", name=name, split=split, domain="source", condition=condition)


def test_a_score_on_the_threshold_is_no_alarm(tmp_path):
    clips = [clip(tmp_path, f"{n}.wav", "train") for n in range(2)]
    clips += [clip(tmp_path, f"{n}.wav", "test") for n in range(3)]
    query = np.array([2, 3, 4]), np.array([[np.nextafter(1.0, 0)], [1.0], [np.nextafter(1.0, 2)]])
    scores = score_machines(clips, (np.array([0, 1]), np.zeros((2, 1))), query, Constant, AtOne())
    assert [score.decision for score in scores] == [0, 0, 1]


@pytest.mark.parametrize("told_by", ["its name", "its label alone"])
def test_clips_labeled_anomaly_are_in_no_reference(tmp_path, monkeypatch, told_by):
    """Neither where the search for clips leaves them out, nor where one has come through it."""
    import soundfile

    from asd_lightning.data.datamodule import ClipDataModule

    rng = np.random.default_rng(0)
    names = [f"section_00_source_train_normal_{n:04d}.wav" for n in range(3)]
    names += ["section_00_source_train_anomaly_0003.wav"]
    for folder, files in (("train", names), ("test", ["section_00_source_test_normal_0000.wav"])):
        (tmp_path / "data/fan" / folder).mkdir(parents=True)
        for name in files:
            soundfile.write(tmp_path / "data/fan" / folder / name, 0.1 * rng.standard_normal(16_000), 16_000)
    if told_by == "its label alone":
        anomaly = tmp_path / "data/fan/train" / names[3]
        normal = anomaly.rename(anomaly.with_name("section_00_source_train_normal_0003.wav"))
        found = [
            replace(clip, condition="anomaly") if clip.path == normal else clip
            for clip in find_clips(tmp_path / "data")
        ]
        monkeypatch.setattr("asd_lightning.data.datamodule.find_clips", lambda *_: found)
    module = ClipDataModule(tmp_path / "data", clip_seconds=1.0, cache_dir=tmp_path / "cache")
    module.prepare_data()
    reference, _ = module.test_dataloader()
    ids = [int(clip_id) for batch in reference for clip_id in batch.clip_id]
    assert [module.clips[clip_id].name for clip_id in ids] == names[:3]


def test_a_loss_that_is_no_number_stops_before_the_weights_and_names_the_clips(tmp_path, monkeypatch):
    module = module_of(tmp_path, "fft").train()
    module.log = module.log_dict = lambda *_, **__: None
    clips = [
        Clip(path=Path(n), machine="fan", name=n, split="train", domain="source", condition="normal")
        for n in (f"{number}.wav" for number in range(8))
    ]
    monkeypatch.setattr(type(module), "_datamodule", lambda _: SimpleNamespace(clips=clips))
    optimizer = torch.optim.SGD(module.parameters())
    good = Batch(0.1 * torch.randn(4, 16_000), torch.arange(4) % 2, torch.arange(4))
    bad = Batch(torch.full((4, 16_000), torch.nan), torch.arange(4) % 2, torch.arange(4, 8))
    module.training_step(good, 0)
    module.on_before_optimizer_step(optimizer)
    module.training_step(good, 1)
    module.training_step(bad, 2)
    with pytest.raises(UserError, match=r"at update 1, in a batch of fan/4\.wav, fan/5\.wav, fan/6\.wav, fan/7\.wav;"):
        module.on_before_optimizer_step(optimizer)
