"""Supplemental clips: further normals and noise for training, and for nothing else."""

import shutil

import numpy as np
import pytest
import soundfile
import torch

from asd_lightning.data.audio import read_audio
from asd_lightning.data.preprocessing import fit_length
from asd_lightning.data.sampler import StepSampler
from asd_lightning.data.supplemental import add_noise
from asd_lightning.errors import UserError
from tests.data.test_datamodule import make_module, waveforms, with_trainer

RATE = 16_000


@pytest.fixture(scope="module")
def root(tiny_data, tmp_path_factory):
    """The tiny machines; two have both kinds of supplemental clips, the third has noise alone."""
    folder = tmp_path_factory.mktemp("supplemental") / "data"
    shutil.copytree(tiny_data, folder)
    for number, machine in enumerate(("bearing", "fan", "gearbox")):
        rng = np.random.default_rng(number)
        (folder / machine / "supplemental").mkdir(exist_ok=True)
        for index in range(4):
            for kind in ("noise", "machine") if machine != "gearbox" else ("noise",):
                path = folder / machine / "supplemental" / f"section_00_{kind}_{index:04d}.wav"
                # Shorter and longer than what is served.
                soundfile.write(path, 0.1 * rng.standard_normal(6_000 + 3_000 * index), RATE)
    return folder


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.3])
def test_the_ratio_of_powers_is_the_one_asked_for(snr_db):
    rng = np.random.default_rng(0)
    waveform = (0.3 * rng.standard_normal(20_000)).astype(np.float32)
    noise = (0.001 * rng.uniform(-1, 1, 20_000)).astype(np.float32)
    added = add_noise(waveform, noise, snr_db).astype(np.float64) - waveform
    measured = 10 * np.log10(np.mean(waveform.astype(np.float64) ** 2) / np.mean(added**2))
    assert measured == pytest.approx(snr_db, abs=1e-3)
    # It is that noise, and in phase.
    assert np.corrcoef(added, noise)[0, 1] == pytest.approx(1, abs=1e-6)


def test_silence_has_no_ratio_to_set():
    waveform, silence = np.ones(10, dtype=np.float32), np.zeros(10, dtype=np.float32)
    np.testing.assert_array_equal(add_noise(waveform, silence, 0.0), waveform)
    np.testing.assert_array_equal(add_noise(silence, waveform, 0.0), silence)


def training(root, tmp_path, **options):
    how = {name: options.pop(name) for name in ("rank", "world_size", "global_step") if name in options}
    return with_trainer(make_module(root, tmp_path, **options), **how).train_dataloader()


def test_off_by_default(root, tiny_data, tmp_path):
    with_clips, without = (make_module(folder, tmp_path) for folder in (root, tiny_data))
    assert [clip.name for clip in with_clips.clips] == [clip.name for clip in without.clips]
    assert with_clips.classes == without.classes
    batches = [waveforms(with_trainer(module).train_dataloader()) for module in (with_clips, without)]
    assert torch.equal(*batches)


def test_clean_clips_are_trained_on_in_the_machines_class_without_attributes(root, tmp_path):
    plain, module = make_module(root, tmp_path), make_module(root, tmp_path, supplemental="clean")
    names = {label.name for label in module.classes}
    assert names - {label.name for label in plain.classes} <= {"bearing/noAttribute", "fan/noAttribute"}
    assert {"bearing/noAttribute", "fan/noAttribute"} <= names
    assert not any("machine" in name for name in names)
    with_trainer(module, max_steps=60)
    seen = {}
    for batch in module.train_dataloader():
        seen |= dict(zip(batch.clip_id.tolist(), batch.label.tolist(), strict=True))
    clean = [clip_id for clip_id in seen if module.clips[clip_id].split == "supplemental"]
    assert len(clean) == 8
    for clip_id in clean:
        assert module.classes[seen[clip_id]].name == f"{module.clips[clip_id].machine}/noAttribute"


@pytest.mark.parametrize("choice", ["noise", "clean", "both"])
def test_reference_and_query_never_change(root, tmp_path, choice):
    plain, module = make_module(root, tmp_path), make_module(root, tmp_path, supplemental=choice)
    for one, other in zip(plain.test_dataloader(), module.test_dataloader(), strict=True):
        assert torch.equal(waveforms(one), waveforms(other))
        ids = [torch.cat([batch.clip_id for batch in loader]).tolist() for loader in (one, other)]
        assert [plain.clips[i].name for i in ids[0]] == [module.clips[i].name for i in ids[1]]


def test_noise_is_of_the_machine_at_the_ratio_and_place_drawn(root, tmp_path):
    """Each training waveform again from the draws, by hand."""
    module = with_trainer(make_module(root, tmp_path, supplemental="noise", supplemental_snr_db=[3.0, 9.0]))
    plain = with_trainer(make_module(root, tmp_path))
    assert not any(clip.attribute == "machine" for clip in module.clips)
    ids = [i for i, clip in enumerate(module.clips) if clip.split == "train"]
    sampler = StepSampler([0] * len(ids), batch_size=8, total=10)
    ratios = []
    for step, (noisy, clean) in enumerate(zip(module.train_dataloader(), plain.train_dataloader(), strict=True)):
        for row, draw in enumerate(sampler.batch(step)):
            machine = module.clips[ids[draw.clip]].machine
            assert noisy.clip_id[row] == ids[draw.clip]
            paths = sorted((root / machine / "supplemental").glob("section_00_noise_*"))
            noise = read_audio(paths[int(draw.noise.clip * len(paths))])
            spare = max(len(noise) - 8_000, 0)
            start = min(int(draw.noise.crop * (spare + 1)), spare)
            noise = fit_length(noise[start : start + 8_000], 8_000)
            ratios.append(3 + 6 * draw.noise.snr)
            expected = add_noise(clean.waveform[row].numpy(), noise, ratios[-1])
            np.testing.assert_allclose(noisy.waveform[row], expected, atol=1e-7)
    assert min(ratios) < 3.5
    assert max(ratios) > 8.5


@pytest.mark.parametrize("choice", ["noise", "both"])
def test_draws_depend_on_seed_step_and_rank_alone(root, tmp_path, choice):
    whole = waveforms(training(root, tmp_path, supplemental=choice))
    assert torch.equal(whole, waveforms(training(root, tmp_path, supplemental=choice, num_workers=2)))
    rest = waveforms(training(root, tmp_path, supplemental=choice, global_step=3))
    assert torch.equal(rest, whole[3 * 2 * 8 :])
    joint = training(root, tmp_path, supplemental=choice, batch_size=16)
    shares = [training(root, tmp_path, supplemental=choice, rank=rank, world_size=2) for rank in (0, 1)]
    for batch, *parts in zip(joint, *shares, strict=True):
        assert torch.equal(batch.waveform, torch.cat([part.waveform for part in parts]))
    assert not torch.equal(whole, waveforms(training(root, tmp_path, supplemental=choice, seed=1)))


def test_noise_draws_are_uniform_and_independent():
    sampler = StepSampler([0] * 100, batch_size=100, total=100)
    draws = np.array([[draw.crop, *draw.noise] for step in range(100) for draw in sampler.batch(step)])
    assert draws.min() >= 0
    assert draws.max() < 1
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=5 / np.sqrt(12 * 10_000))
    np.testing.assert_allclose(np.corrcoef(draws.T), np.eye(4), atol=5 / np.sqrt(10_000))


def test_a_machine_without_the_kind_goes_on_without_and_none_at_all_is_an_error(root, tiny_data, tmp_path, caplog):
    make_module(root, tmp_path, supplemental="clean")
    assert "gearbox: no supplemental clips of clean machine sound; trained on without" in caplog.text
    for choice, kind in (("clean", "clean machine sound"), ("both", "noise")):
        with pytest.raises(UserError, match=rf"no supplemental clips of {kind}.*data\.supplemental=none"):
            make_module(tiny_data, tmp_path, supplemental=choice)


def test_silent_supplemental_clips_are_left_out(root, tmp_path, caplog):
    own = shutil.copytree(root, tmp_path / "own")
    soundfile.write(own / "fan/supplemental/section_00_noise_0000.wav", np.zeros(8_000), RATE)
    module = make_module(own, tmp_path, supplemental="noise")
    assert "section_00_noise_0000.wav: silent" in caplog.text
    assert sum(clip.split == "supplemental" and clip.machine == "fan" for clip in module.clips) == 3


@pytest.mark.parametrize("snr_db", [[15.0, 0.0], [3.0], []])
def test_a_range_that_is_none_is_refused(root, tmp_path, snr_db):
    with pytest.raises(UserError, match=r"supplemental_snr_db=.*lowest and the highest"):
        make_module(root, tmp_path, supplemental_snr_db=snr_db)
