"""What the loaders serve."""

import logging
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from asd_lightning.data.audio import read_audio
from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.data.preprocessing import fit_length
from asd_lightning.data.sampler import StepSampler
from asd_lightning.errors import UserError


def make_module(root, tmp_path, **options):
    module = ClipDataModule(root, cache_dir=tmp_path / "cache", **{"clip_seconds": 0.5, "batch_size": 8} | options)
    module.prepare_data()
    return module


def with_trainer(module, rank=0, world_size=1, accumulate=2, max_steps=5, global_step=0):
    module.trainer = SimpleNamespace(
        accumulate_grad_batches=accumulate,
        max_steps=max_steps,
        global_step=global_step,
        global_rank=rank,
        world_size=world_size,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    return module


def waveforms(loader):
    return torch.cat([batch.waveform for batch in loader])


def test_reference_and_query(tiny_data, tmp_path):
    module = make_module(tiny_data, tmp_path)
    reference, query = module.test_dataloader()
    for loader, split in ((reference, "train"), (query, "test")):
        ids = torch.cat([batch.clip_id for batch in loader]).tolist()
        assert ids == [i for i, clip in enumerate(module.clips) if clip.split == split]
    for batch in reference:
        assert batch.waveform.dtype == torch.float32
        for waveform, label, clip_id in zip(*batch[:3], strict=True):
            clip = module.clips[clip_id]
            whole = read_audio(clip.path)
            start = (len(whole) - 8_000 + 1) // 2
            np.testing.assert_array_equal(waveform, whole[start : start + 8_000])
            assert module.classes[label].name == f"{clip.machine}/{clip.attribute or 'noAttribute'}"


def test_windows_span_the_clip(tiny_data, tmp_path):
    module = make_module(tiny_data, tmp_path, test_windows=3)
    batch = next(iter(module.test_dataloader()[1]))
    whole = read_audio(module.clips[batch.clip_id[0]].path)
    assert batch.waveform.shape[1:] == (3, 8_000)
    np.testing.assert_array_equal(batch.waveform[0, 0], whole[:8_000])
    np.testing.assert_array_equal(batch.waveform[0, 2], whole[-8_000:])


def test_short_clips_are_tiled_or_followed_by_zeros():
    short = np.arange(1, 4, dtype=np.float32)
    np.testing.assert_array_equal(fit_length(short, 8), [1, 2, 3, 1, 2, 3, 1, 2])
    np.testing.assert_array_equal(fit_length(short, 5, "zero"), [1, 2, 3, 0, 0])


def test_the_run_has_exactly_its_length_and_repeats_with_the_seed(tiny_data, tmp_path):
    loaders = [with_trainer(make_module(tiny_data, tmp_path, seed=seed)).train_dataloader() for seed in (1, 1, 2)]
    first, again, other = (waveforms(loader) for loader in loaders)
    assert len(loaders[0]) == 10
    assert len(first) == 80
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_workers_change_nothing(tiny_data, tmp_path):
    alone, helped = (
        waveforms(with_trainer(make_module(tiny_data, tmp_path, num_workers=workers)).train_dataloader())
        for workers in (0, 2)
    )
    assert torch.equal(alone, helped)


def test_goes_on_at_the_step_the_trainer_has_reached(tiny_data, tmp_path):
    whole = waveforms(with_trainer(make_module(tiny_data, tmp_path)).train_dataloader())
    rest = waveforms(with_trainer(make_module(tiny_data, tmp_path), global_step=3).train_dataloader())
    assert torch.equal(rest, whole[3 * 2 * 8 :])


def test_ranks_share_one_draw_without_overlap(tiny_data, tmp_path):
    joint = with_trainer(make_module(tiny_data, tmp_path, batch_size=16)).train_dataloader()
    shares = [with_trainer(make_module(tiny_data, tmp_path), rank, 2).train_dataloader() for rank in (0, 1)]
    for batch, *parts in zip(joint, *shares, strict=True):
        assert torch.equal(batch.waveform, torch.cat([part.waveform for part in parts]))
    test_ids = [
        torch.cat([b.clip_id for b in with_trainer(make_module(tiny_data, tmp_path), rank, 3).test_dataloader()[1]])
        for rank in range(3)
    ]
    together = torch.cat(test_ids).tolist()
    assert len(together) == len(set(together)) == len(module_queries(tiny_data, tmp_path))


def module_queries(tiny_data, tmp_path):
    return [clip for clip in make_module(tiny_data, tmp_path).clips if clip.split == "test"]


def test_uniform_sampler_shows_every_clip_once_an_epoch():
    sampler = StepSampler([0] * 50, batch_size=10, total=10, seed=3)
    epochs = [[draw.clip for step in range(5 * e, 5 * e + 5) for draw in sampler.batch(step)] for e in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(50))
    assert epochs[0] != epochs[1]


def test_class_balanced_sampler_draws_classes_alike():
    labels = [0] * 90 + [1] * 9 + [2]
    sampler = StepSampler(labels, batch_size=100, total=100, seed=0, sampler="class_balanced")
    drawn = np.array([labels[draw.clip] for step in range(100) for draw in sampler.batch(step)])
    # Binomial(10000, 1/3) has a standard deviation of 47.
    np.testing.assert_allclose(np.bincount(drawn), 10_000 / 3, atol=5 * 47)


def test_crops_are_uniform():
    sampler = StepSampler([0] * 100, batch_size=100, total=100, seed=0)
    crops = np.array([draw.crop for step in range(100) for draw in sampler.batch(step)])
    assert 0 <= crops.min() < 0.01
    assert 0.99 < crops.max() < 1
    assert crops.mean() == pytest.approx(0.5, abs=5 / np.sqrt(12 * 10_000))


def test_too_few_clips_for_a_batch_is_said():
    with pytest.raises(UserError, match=r"5 training clips do not fill one step of 8; lower data\.batch_size"):
        StepSampler([0] * 5, batch_size=8, total=1)


@pytest.fixture
def own_copy(tiny_data, tmp_path):
    return shutil.copytree(tiny_data, tmp_path / "copy")


def test_bad_files_are_skipped_with_a_count_or_stop_the_run(own_copy, tmp_path, caplog):
    victims = sorted(own_copy.rglob("*train_normal*.wav"))[:25]
    for path in victims:
        path.write_bytes(b"")
    module = make_module(own_copy, tmp_path)
    assert not {clip.path for clip in module.clips} & set(victims)
    assert "25 recordings skipped, 5 of them not named here" in caplog.text
    assert f"{victims[0]}: the file is empty" in caplog.text
    with pytest.raises(UserError, match="the file is empty"):
        make_module(own_copy, tmp_path, on_bad_file="stop")


def test_a_machine_without_training_clips_is_left_out_and_the_others_go_on(own_copy, tmp_path, caplog):
    machine = sorted(path.name for path in own_copy.iterdir() if path.is_dir())[0]
    shutil.rmtree(own_copy / machine / "train")
    module = make_module(own_copy, tmp_path)
    assert machine not in {clip.machine for clip in module.clips}
    assert len({clip.machine for clip in module.clips}) == 2
    assert f"{machine}: no normal training clips" in caplog.text
    next(iter(module.test_dataloader()[1]))


def test_no_training_clips_at_all_stops(own_copy, tmp_path):
    for folder in own_copy.glob("*/train"):
        shutil.rmtree(folder)
    with pytest.raises(UserError, match="no usable normal training clips; put some under"):
        make_module(own_copy, tmp_path)


def test_a_machine_without_target_clips_is_said(own_copy, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for path in own_copy.glob("fan/train/*_target_*"):
        path.unlink()
    make_module(own_copy, tmp_path)
    assert "fan: no target-domain training clips; scored against the source domain alone" in caplog.text


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("option", ["channel", "labels", "pad", "sampler", "supplemental", "on_bad_file"])
def test_a_choice_that_is_none_is_refused_with_those_there_are(tiny_data, tmp_path, option):
    with pytest.raises(UserError, match=rf"data.{option}=typo: choose one of \w+, \w+"):
        make_module(tiny_data, tmp_path, **{option: "typo"})


def test_rates_and_lengths_that_tell_clips_apart_are_warned_of(tmp_path, caplog):
    rng = np.random.default_rng(0)
    for number in range(12):
        rate, seconds = 8_000 if number < 3 else 16_000, 0.2 if number > 9 else 0.5
        path = tmp_path / f"pump/normal/{number:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.uniform(-0.5, 0.5, round(rate * seconds)), rate)
    for _ in range(2):  # decoded, and from the cache
        caplog.clear()
        make_module(tmp_path / "pump", tmp_path)
        assert "pump: recorded at different rates (3 at 8000 Hz, 9 at 16000 Hz)" in caplog.text
        assert "2 of 12 are shorter than half the usual 0.5 s" in caplog.text


def test_clips_that_are_alike_are_not_warned_of(tiny_data, tmp_path, caplog):
    with caplog.at_level("WARNING", "asd_lightning"):  # whatever level a test before this one has left
        make_module(tiny_data, tmp_path)
    assert caplog.text == ""


def test_ones_own_recordings(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(5):
        path = tmp_path / f"pump/normal/take {number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.uniform(-0.5, 0.5, 16_000), 8_000)
    module = make_module(tmp_path / "pump", tmp_path, clip_seconds=0.5)
    assert [label.name for label in module.classes] == ["pump/noAttribute"]
    assert len(module.clips) == 20


def own_recordings(folder, count=4, seconds=1.3, click=None):
    """Noise of several windows; ``click`` (s) is loud in the first test recording."""
    rng = np.random.default_rng(0)
    for split in ("normal", "test"):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            waveform = 0.05 * rng.normal(size=round(seconds * 16_000))
            if click is not None and (split, number) == ("test", 0):
                waveform[round(click * 16_000)] = 0.99
            soundfile.write(folder / split / f"{number}.wav", waveform, 16_000, subtype="PCM_16")
    return folder


@pytest.mark.parametrize("click", [0.02, 0.6, 1.28])
def test_ones_own_recordings_are_heard_whole(tmp_path, click):
    """In training and in test; a cropped one would lose its ends."""
    module = make_module(own_recordings(tmp_path / "pump", click=click), tmp_path)
    reference, query = module.test_dataloader()
    assert waveforms(reference).shape == waveforms(query).shape == (12, 8_000)
    loud = [module.clips[i].file for batch in query for w, _, i in zip(*batch[:3], strict=True) if w.max() > 0.9]
    assert set(loud) == {"test/0.wav"}


@pytest.mark.parametrize(("group", "recordings"), [("recording", 2), ("clip", 4)])
def test_a_table_beside_the_machines_says_what_was_cut_from_one_recording(tmp_path, group, recordings):
    root = own_recordings(tmp_path / "pump")
    rows = "".join(f"normal/{number}.wav,day {number % 2}\n" for number in range(4))
    (root / "recordings.csv").write_text(f"file,recording\n{rows}")
    module = make_module(root, tmp_path, group=group)
    assert len({clip.recording for clip in module.clips if clip.split == "train"}) == recordings
    elsewhere = (root / "recordings.csv").rename(tmp_path / "table.csv")
    assert len({clip.recording for clip in make_module(root, tmp_path).clips if clip.split == "train"}) == 4
    named = make_module(root, tmp_path, group=group, recordings=elsewhere)
    assert len({clip.recording for clip in named.clips if clip.split == "train"}) == recordings
