"""The front-end of mn04: its table, lengths, precision; the stored cases are those of its encoder."""

from __future__ import annotations

import copy
import importlib.util
import math

import numpy as np
import pytest
import torch
import torchaudio.compliance.kaldi as kaldi
from hypothesis import given, settings
from hypothesis import strategies as st

from asd_lightning.errors import UserError
from asd_lightning.features import mn04_log_mel
from asd_lightning.features.mn04_log_mel import FEWEST_SAMPLES, MN04LogMel
from tests.golden import HERE

SILENCE = (math.log(1e-5) + 4.5) / 5


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mel_table_is_the_published_one(dtype: torch.dtype) -> None:
    """Single slopes move with the last bit of a logarithm, which is the processor's."""
    stored = np.load(HERE / "cases" / "mn04_mel_table.npz")["mel_table"].T
    _, mel = mn04_log_mel.tables(dtype, torch.device("cpu"))
    assert (mel.dtype, mel.shape) == (dtype, stored.shape)
    np.testing.assert_allclose(mel, stored, rtol=0, atol=3e-5)
    assert not mel[512].any()


def test_mel_table_in_float32_is_torchaudios() -> None:
    table, _ = kaldi.get_mel_banks(128, 1024, 32000, 0.0, 15000.0, 100.0, -500.0, 1.0)
    assert torch.equal(mn04_log_mel.tables(torch.float32, torch.device("cpu"))[1][:512], table.T)


@settings(max_examples=20, deadline=None)
@given(samples=st.integers(FEWEST_SAMPLES, 20_000))
def test_any_length(samples: int) -> None:
    features = MN04LogMel(32_000)(noise(2, samples))
    assert features.shape == (2, 1 + (samples - 1) // 320, 128)
    assert features.isfinite().all()


def test_too_short_a_clip_is_said() -> None:
    for rate, fewest in ((32_000, 514), (16_000, 257)):
        assert MN04LogMel(rate)(noise(1, fewest)).shape == (1, 2, 128)
        with pytest.raises(UserError, match=rf"at least 514 samples at 32 kHz .* from {fewest - 1} at {rate} Hz"):
            MN04LogMel(rate)(noise(1, fewest - 1))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("rate", [0, -16_000, 16_000.0, True, 999_983, 10**12])
def test_a_rate_that_cannot_be_is_said_before_its_filter_is_made(rate: int) -> None:
    with pytest.raises(UserError, match="sample_rate="):
        MN04LogMel(rate)


def test_other_rates() -> None:
    for rate in (8_000, 22_050, 44_100, 48_000):
        assert MN04LogMel(rate)(noise(1, rate)).shape == (1, 100, 128)


def test_silence_and_half_precision() -> None:
    features = MN04LogMel()(torch.zeros(1, 4_000).half())
    torch.testing.assert_close(features, torch.full((1, 25, 128), SILENCE))
    assert features.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rate", [16_000, 32_000])
def test_autocast_does_not_reach_the_front_end(dtype: torch.dtype, rate: int) -> None:
    with torch.autocast("cpu", dtype=dtype):
        inside = MN04LogMel(rate)(noise(2, 8_000))
    assert inside.dtype == torch.float32
    assert torch.equal(inside, MN04LogMel(rate)(noise(2, 8_000)))


def test_a_clip_is_heard_alone() -> None:
    waveform = noise(5, 16_000)
    each = torch.cat([MN04LogMel()(one[None]) for one in waveform])
    # Products of other shapes round otherwise.
    torch.testing.assert_close(MN04LogMel()(waveform), each, rtol=0, atol=1e-4)


def test_a_batch_in_one_piece_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    waveform = noise(3, 16_000)
    whole = mn04_log_mel._log_mel(MN04LogMel().resampled(waveform))
    torch.testing.assert_close(MN04LogMel()(waveform), whole, rtol=0, atol=3e-5)


def test_no_draws_no_state_and_copies() -> None:
    front_end = MN04LogMel()
    assert not front_end.state_dict()
    before = torch.get_rng_state()
    features = front_end(noise(1, 8_000))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(copy.deepcopy(front_end)(noise(1, 8_000)), features)
    assert torch.equal(front_end.bfloat16()(noise(1, 8_000)), features)


def test_a_run_is_read_where_nothing_has_imported_it_yet() -> None:
    """Stored runs are built without memory first, and building imports."""
    spec = importlib.util.spec_from_file_location("a_copy", mn04_log_mel.__file__)
    assert spec is not None
    assert spec.loader is not None
    with torch.device("meta"):
        copy_of_it = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(copy_of_it)
    assert torch.equal(copy_of_it.MN04LogMel()(noise(1, 8_000)), MN04LogMel()(noise(1, 8_000)))


def test_gradients_reach_the_waveform() -> None:
    waveform = noise(1, 4_000).requires_grad_()
    MN04LogMel()(waveform).square().sum().backward()
    assert waveform.grad is not None
    assert waveform.grad.abs().sum() > 0
