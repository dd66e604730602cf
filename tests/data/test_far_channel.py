"""The far microphone in the data room: fitted to training clips alone, once, and applied to every clip."""

import os

import numpy as np
import pytest
import soundfile
import torch
from hydra.utils import instantiate

from asd_lightning.configuration import compose_train
from asd_lightning.data import far_channel
from asd_lightning.data.audio import read_audio
from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.data.far_channel import fit_reductions
from asd_lightning.data.layout import find_clips
from asd_lightning.errors import UserError
from asd_lightning.features.far_microphone import NUM_BANDS, FarMicrophoneReduction, fit_far_coefficients

RATE = 16_000
DELAY = 20


def record(path, seed, gain=0.7, channels=2, seconds=0.6):
    """Far: noise. Near: the same a little later, and a hum."""
    rng = np.random.default_rng(seed)
    count = round(seconds * RATE)
    noise = 0.1 * rng.standard_normal(count + DELAY)
    hum = 0.05 * np.sin(2 * np.pi * 120 * np.arange(count) / RATE + rng.uniform(0, 6))
    both = np.stack([hum + gain * noise[:-DELAY], noise[DELAY:]], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, both[:, :channels], RATE, subtype="PCM_16")


@pytest.fixture
def root(tmp_path):
    for number, (machine, gain) in enumerate((("fan", 0.7), ("valve", -0.4))):
        for index in range(8):
            name = f"section_00_source_train_normal_{index:04d}.wav"
            record(tmp_path / "data" / machine / "train" / name, 100 * number + index, gain)
        for index in range(3):
            record(tmp_path / "data" / machine / "test" / f"section_00_{index:04d}.wav", 1000 + index, gain)
    return tmp_path / "data"


def module(root, tmp_path, **options):
    made = ClipDataModule(
        root, channel="reduced", clip_seconds=0.5, batch_size=4, cache_dir=tmp_path / "cache", **options
    )
    made.prepare_data()
    return made


def channels(path):
    return torch.from_numpy(soundfile.read(path, dtype="float32")[0].T.copy())


def test_every_clip_is_reduced_by_its_own_machines_training_clips(root, tmp_path):
    served = module(root, tmp_path)
    for machine in ("fan", "valve"):
        coefficients = fit_far_coefficients(channels(path) for path in sorted((root / machine / "train").iterdir()))
        reduction = FarMicrophoneReduction(coefficients)
        for clip_id, clip in enumerate(served.clips):
            if clip.machine == machine:
                expected = reduction(channels(clip.path)[None])[0].numpy()
                np.testing.assert_allclose(served.waveform(clip_id), expected, atol=1e-6)
                near = read_audio(clip.path)
                assert np.mean(expected**2) < 0.6 * np.mean(near**2)


def test_changing_or_removing_test_clips_changes_no_coefficient_and_no_training_clip(root, tmp_path):
    before = fit_reductions(find_clips(root), tmp_path / "one", RATE)
    first = module(root, tmp_path)
    training = {clip.path: first.waveform(i) for i, clip in enumerate(first.clips) if clip.split == "train"}
    record(root / "fan/test/section_00_0000.wav", 7, gain=-3.0)
    (root / "fan/test/section_00_0001.wav").unlink()
    after = fit_reductions(find_clips(root), tmp_path / "two", RATE)
    assert before.keys() == after.keys() == {"fan", "valve"}
    for machine in before:
        assert torch.equal(before[machine].coefficients, after[machine].coefficients)
    second = module(root, tmp_path)
    for clip_id, clip in enumerate(second.clips):
        if clip.split == "train":
            np.testing.assert_array_equal(second.waveform(clip_id), training[clip.path])


def test_changing_a_training_clip_changes_its_machine_alone(root, tmp_path):
    before = fit_reductions(find_clips(root), tmp_path, RATE)
    record(root / "fan/train/section_00_source_train_normal_0003.wav", 7, gain=-3.0)
    after = fit_reductions(find_clips(root), tmp_path, RATE)
    assert not torch.equal(before["fan"].coefficients, after["fan"].coefficients)
    assert torch.equal(before["valve"].coefficients, after["valve"].coefficients)


def test_test_clips_are_never_opened_for_the_fit(root, tmp_path, monkeypatch):
    opened = []
    decode_channels = far_channel.decode_channels
    monkeypatch.setattr(
        far_channel, "decode_channels", lambda path, *a: opened.append(path) or decode_channels(path, *a)
    )
    clips = find_clips(root)
    fit_reductions(clips, tmp_path, RATE)
    assert sorted(opened) == sorted(clip.path for clip in clips if clip.split == "train")
    fit_reductions(clips, tmp_path, RATE)
    assert len(opened) == 16, "fitted a second time"


def test_the_fit_takes_a_bounded_number_of_clips_alike_every_time(root, tmp_path, monkeypatch):
    monkeypatch.setattr(far_channel, "FIT_CLIPS", 3)
    opened = []
    decode_channels = far_channel.decode_channels
    monkeypatch.setattr(
        far_channel, "decode_channels", lambda path, *a: opened.append(path) or decode_channels(path, *a)
    )
    fit_reductions(find_clips(root, machines=["fan"]), tmp_path / "one", RATE)
    fit_reductions(find_clips(root, machines=["fan"]), tmp_path / "two", RATE)
    assert len(opened) == 6
    assert opened[:3] == opened[3:]


def test_other_coefficients_are_another_store(root, tmp_path):
    near = ClipDataModule(root, clip_seconds=0.5, cache_dir=tmp_path / "cache")
    near.prepare_data()
    reduced = module(root, tmp_path)
    assert not np.array_equal(near.waveform(0), reduced.waveform(0))
    np.testing.assert_array_equal(near.waveform(0), read_audio(near.clips[0].path))


def test_damaged_coefficients_are_fitted_again(root, tmp_path, caplog):
    before = fit_reductions(find_clips(root), tmp_path, RATE)
    for path in tmp_path.glob("far_*.npy"):
        os.truncate(path, 50)
    after = fit_reductions(find_clips(root), tmp_path, RATE)
    assert torch.equal(before["fan"].coefficients, after["fan"].coefficients)
    assert "damaged" in caplog.text


def test_one_channel_is_an_error_that_tells_the_way_out(root, tmp_path):
    for path in (root / "fan/train").iterdir():
        record(path, 3, channels=1)
    with pytest.raises(
        UserError, match=r"fan/train/.*has 1 channel\(s\), and data\.channel=reduced .*data\.channel to 0"
    ):
        module(root, tmp_path)


def test_a_test_clip_of_one_channel_is_left_out_and_named(root, tmp_path, caplog):
    record(root / "fan/test/section_00_0000.wav", 3, channels=1)
    served = module(root, tmp_path)
    assert sum(clip.split == "test" for clip in served.clips) == 5
    assert "fan/test/section_00_0000.wav: far-microphone reduction needs two channels" in caplog.text


def test_unusable_training_clips_do_not_spoil_the_fit(root, tmp_path, caplog):
    """Damaged, silent and too short: left out of the fit, and of training too."""
    folder = root / "fan/train"
    expected = fit_reductions(find_clips(root, machines=["fan"]), tmp_path / "one", RATE)
    (folder / "section_00_source_train_normal_0100.wav").write_bytes(b"not a sound")
    soundfile.write(folder / "section_00_source_train_normal_0101.wav", np.zeros((RATE, 2)), RATE)
    record(folder / "section_00_source_train_normal_0102.wav", 1, seconds=0.01)
    found = fit_reductions(find_clips(root, machines=["fan"]), tmp_path / "two", RATE)
    assert torch.equal(found["fan"].coefficients, expected["fan"].coefficients)
    served = module(root, tmp_path)
    assert sum(clip.machine == "fan" and clip.split == "train" for clip in served.clips) == 8
    assert "3 recordings skipped" in caplog.text


def test_an_unwritable_cache_is_named(root, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write the far microphone's coefficients.*data\.cache_dir"):
        module(root, tmp_path)


def test_the_option_reaches_the_data_module_from_the_command_line(root, tmp_path):
    data = [f"data.root={root}", f"data.cache_dir={tmp_path / 'cache'}", "data.clip_seconds=0.5"]
    config = compose_train(["experiment=statistics", "data.channel=reduced", *data], tmp_path)
    served = instantiate(config.data)
    served.prepare_data()
    for clip_id in range(3):
        np.testing.assert_array_equal(served.waveform(clip_id), module(root, tmp_path).waveform(clip_id))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", "objects", "another size", "no numbers"])
def test_coefficients_that_somebody_altered_are_fitted_again(tmp_path, caplog, content):
    path = tmp_path / "coefficients.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        arrays = {"objects": np.array([{}]), "another size": np.ones(3, np.complex64)}
        np.save(path, arrays.get(content, np.full(NUM_BANDS, np.nan, np.complex64)), allow_pickle=True)
    assert far_channel._read(path) is None
    assert "fitted again" in caplog.text
