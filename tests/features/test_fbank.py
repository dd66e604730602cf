"""The filter bank against torchaudio's, one clip at a time and in double precision, and against stored cases."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
import torchaudio.compliance.kaldi as kaldi
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asd_lightning.errors import UserError
from asd_lightning.features import fbank
from asd_lightning.features.fbank import KaldiFbank, beats_fbank, eat_fbank
from asd_lightning.features.spectrum import LogMelSpectrogram
from tests.golden import compare, golden_case

BEATS_SPREAD, EAT_SPREAD = 2 * 6.55582, 2 * 4.569  # normalised values times this are log units


def rounded_mel_scale(f: Tensor) -> Tensor:
    """torchaudio's, with a correctly rounded logarithm: its own depends on the processor."""
    return 1127.0 * (1.0 + f / 700.0).double().log().float()


def reference_beats(waveform: Tensor, dtype: torch.dtype) -> Tensor:
    clips = [
        kaldi.fbank(x[None] * 2**15, num_mel_bins=128, sample_frequency=16000, frame_length=25, frame_shift=10)
        for x in waveform.to(dtype)
    ]
    return (torch.stack(clips) - 15.41663) / BEATS_SPREAD


def reference_eat(waveform: Tensor, dtype: torch.dtype, target_frames: int | None) -> Tensor:
    clips = []
    for x in waveform.to(dtype):
        log_mel = kaldi.fbank(
            (x - x.mean())[None],
            htk_compat=True,
            sample_frequency=16000,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=128,
            dither=0.0,
            frame_shift=10,
        )
        if target_frames is not None:
            missing = max(0, target_frames - len(log_mel))
            log_mel = torch.nn.functional.pad(log_mel, (0, 0, 0, missing))[:target_frames]
        clips.append(log_mel)
    return (torch.stack(clips) + 4.268) / EAT_SPREAD


def clip(kind: str, samples: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(samples, generator=generator) * 2 - 1
    time = torch.arange(samples) / 16000
    return {
        "silence": torch.zeros(samples),
        "direct current": torch.full((samples,), 0.37),
        "full-scale noise": noise,
        "quiet noise on direct current": 1e-3 * noise + 0.7,
        "tone": 0.8 * torch.sin(2 * math.pi * 1234.5 * time),
        "impulse": (torch.arange(samples) == samples // 2).float(),
    }[kind]


KINDS = ["silence", "direct current", "full-scale noise", "quiet noise on direct current", "tone", "impulse"]


@pytest.mark.parametrize("name", ["beats_6s", "beats_10s", "eat_6s_t608", "eat_10s"])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 3e-4), (torch.float64, 1e-6)])
def test_stored_cases(name: str, dtype: torch.dtype, limit: float) -> None:
    case = golden_case(name)
    front_end = beats_fbank() if name.startswith("beats") else eat_fbank(case.target_length)
    (row,) = compare.compare(case, {"fbank": front_end(torch.from_numpy(case.waves).to(dtype))})
    assert row[2] < limit


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [400, 559, 560, 37521])
@pytest.mark.parametrize("encoder", ["beats", "eat"])
def test_error_at_most_twice_that_of_torchaudio_in_float32(kind: str, samples: int, encoder: str) -> None:
    waveform = clip(kind, samples)[None]
    if encoder == "beats":
        truth, single = (reference_beats(waveform, dtype) for dtype in (torch.float64, torch.float32))
        own = beats_fbank()(waveform)
    else:
        truth, single = (reference_eat(waveform, dtype, None) for dtype in (torch.float64, torch.float32))
        own = eat_fbank(truth.shape[1])(waveform)
    assert own.dtype == torch.float32
    assert (own - truth).abs().max() <= 2 * (single - truth).abs().max()


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(400, 60_000), seed=st.integers(0, 2**16), frames=st.integers(1, 400))
def test_double_precision_is_torchaudio_at_any_length(samples: int, seed: int, frames: int) -> None:
    waveform = torch.stack([clip("full-scale noise", samples, seed), clip("tone", samples)]).double()
    # Power spectra of a pure tone fall to rounding error far from it, hence noise beside it.
    waveform[1] += 0.01 * waveform[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kaldi, "mel_scale", rounded_mel_scale)
        beats, eat = reference_beats(waveform, torch.float64), reference_eat(waveform, torch.float64, frames)
    torch.testing.assert_close(beats_fbank()(waveform), beats, rtol=0, atol=1e-9)
    torch.testing.assert_close(eat_fbank(frames)(waveform), eat, rtol=0, atol=1e-9)


def test_noise_bins_within_a_thousandth() -> None:
    waveform = torch.stack([clip("full-scale noise", 160_000, seed) for seed in range(4)])
    deviation = (beats_fbank()(waveform) - reference_beats(waveform, torch.float64)).abs() * BEATS_SPREAD
    assert (deviation < 1e-3).double().mean() >= 0.9999


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mel_table_is_torchaudios(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    if dtype == torch.float64:
        monkeypatch.setattr(kaldi, "mel_scale", rounded_mel_scale)
    table, _ = kaldi.get_mel_banks(128, 512, 16000.0, 20.0, 0.0, 100.0, -500.0, 1.0)
    assert torch.equal(fbank._mel_table(dtype)[:256], table.T)
    assert fbank._mel_table(dtype)[256].abs().max() == 0


def test_parts_of_a_batch_and_of_a_long_clip_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = torch.stack([clip("full-scale noise", 50_000, seed) for seed in range(5)])
    whole = beats_fbank()(waveform)
    for frames_at_a_time in (1, 100, 311, 700):
        monkeypatch.setattr(fbank, "_CPU_FRAMES", frames_at_a_time)
        torch.testing.assert_close(beats_fbank()(waveform), whole, rtol=0, atol=3e-5)


def test_padding_is_zero_before_normalization() -> None:
    features = eat_fbank(20)(clip("silence", 1600)[None])
    assert features.shape == (1, 20, 128)
    torch.testing.assert_close(features[0, 8:], torch.full((12, 128), 4.268 / EAT_SPREAD))
    torch.testing.assert_close(features[0, :8], torch.full((8, 128), (math.log(2**-23) + 4.268) / EAT_SPREAD))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_does_not_reach_the_front_end(dtype: torch.dtype) -> None:
    waveform = clip("full-scale noise", 16_000)[None]
    with torch.autocast("cpu", dtype=dtype):
        inside = beats_fbank()(waveform)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, beats_fbank()(waveform))


def test_half_precision_waveform_gives_finite_float32() -> None:
    features = beats_fbank()(clip("full-scale noise", 16_000)[None].half())
    assert features.dtype == torch.float32
    assert features.isfinite().all()


def test_no_gradient_no_state_and_copies() -> None:
    front_end = beats_fbank()
    assert not front_end(clip("tone", 4000)[None].requires_grad_()).requires_grad
    assert front_end.state_dict() == {}
    assert list(front_end.buffers()) == []
    waveform = clip("tone", 4000)[None]
    for twin in (copy.deepcopy(front_end), pickle.loads(pickle.dumps(front_end)), beats_fbank().bfloat16()):
        assert torch.equal(twin(waveform), front_end(waveform))


def test_too_short_names_the_samples_needed() -> None:
    with pytest.raises(UserError, match=r"at least 400 samples .*, got 399; take longer clips"):
        beats_fbank()(torch.zeros(2, 399))


@pytest.mark.parametrize("samples", [0, 1, 1023])
def test_too_short_for_one_window_is_one_line(samples: int) -> None:
    with pytest.raises(UserError, match=f"at least 1024 samples, got {samples}; take longer clips"):
        LogMelSpectrogram()(torch.zeros(2, samples))


def test_wrong_arguments_are_named(unchecked: None) -> None:
    with pytest.raises(ValueError, match="window_type must be 'povey' or 'hanning', not 'hamming'"):
        KaldiFbank("hamming", 0.0, 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="target_frames must be at least 1, not 0"):
        eat_fbank(0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu() -> None:
    waveform = torch.stack([clip("full-scale noise", 160_000, seed) for seed in range(4)])
    deviation = (beats_fbank()(waveform.cuda()).cpu() - reference_beats(waveform, torch.float64)).abs() * BEATS_SPREAD
    assert (deviation < 1e-3).double().mean() >= 0.9999
