"""Two microphones to one: by torch's transforms, by hand, and by what remains of a fault."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asd_lightning.features.two_microphones import (
    NothingLeftError,
    cancel_per_clip,
    lower,
    subtract_magnitudes,
    transfer,
)


def by_torch(near: np.ndarray, far: np.ndarray, window: int, lowered: bool) -> np.ndarray:
    shape = torch.hann_window(window, dtype=torch.float64)
    n, f = (
        torch.stft(torch.from_numpy(x), window, window // 2, window=shape, return_complex=True) for x in (near, far)
    )
    if lowered:
        both = n.abs() - f.abs()
        y = torch.polar(torch.where(both > 0, both, 0.1 * n.abs()), n.angle())
    else:
        y = n - (n * f.conj()).sum(1, keepdim=True) / f.abs().square().sum(1, keepdim=True) * f
    return torch.istft(y, window, window // 2, window=shape, length=len(near)).numpy()


@pytest.mark.parametrize("samples", [1500, 4000, 16_001])
def test_against_torch(samples: int) -> None:
    near, far = np.random.default_rng(samples).normal(size=(2, samples)) * 0.1
    np.testing.assert_allclose(cancel_per_clip(near, far), by_torch(near, far, 1024, False), atol=1e-9)
    np.testing.assert_allclose(subtract_magnitudes(near, far), by_torch(near, far, 512, True), atol=1e-12)


def test_one_band_by_hand() -> None:
    near, far = np.array([[1 + 1j], [2 - 1j], [2j]]), np.array([[1 + 0j], [1 - 1j], [1j]])
    (h,) = transfer(near, far)
    assert h == pytest.approx(1.5 + 0.5j)
    rest = near - h * far
    np.testing.assert_allclose(rest[:, 0], [-0.5 + 0.5j, 0, 0.5 + 0.5j], atol=1e-9)
    assert np.square(np.abs(near)).sum() == pytest.approx(11)
    assert np.square(np.abs(rest)).sum() == pytest.approx(1)
    np.testing.assert_allclose(np.abs(lower(near, far))[:, 0], [0.414214, 0.821854, 1], atol=1e-6)


def test_known_values_of_a_whole_signal() -> None:
    """Tones alone: both microphones hear all of them, so the canceller takes the machine's out as well."""
    n = np.arange(4000)
    s = np.sin(2 * np.pi * 440 * n / 16_000)
    z = np.sin(2 * np.pi * 1000 * n / 16_000 + 0.3) + 0.5 * np.sin(2 * np.pi * 2500 * n / 16_000)
    near, far = 0.4 * s + 0.3 * z, 0.05 * s + 0.6 * z
    assert np.sqrt(np.mean(near**2)) == pytest.approx(0.369121, abs=1e-6)
    canceled = cancel_per_clip(near, far)
    assert np.sqrt(np.mean(canceled**2)) == pytest.approx(0.038919, abs=1e-6)
    assert canceled.sum() == pytest.approx(2.127891, abs=1e-5)
    np.testing.assert_allclose(canceled[[1000, 2000, 3000]], [-0.006225, 0.011921, -0.017154], atol=1e-6)
    subtracted = subtract_magnitudes(near, far)
    assert np.sqrt(np.mean(subtracted**2)) == pytest.approx(0.247755, abs=1e-6)
    np.testing.assert_allclose(subtracted[[1000, 2000, 3000]], [0.006133, 0.008866, -0.023865], atol=1e-6)
    single = cancel_per_clip(near.astype(np.float32), far.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, canceled, atol=1e-6)


def test_scales_and_ends() -> None:
    near, far = np.random.default_rng(1).normal(size=(2, 5000)) * 0.1
    cleaned = cancel_per_clip(near, far)
    np.testing.assert_allclose(cancel_per_clip(near, 3 * far), cleaned, atol=1e-9)
    np.testing.assert_allclose(cancel_per_clip(7 * near, 7 * far), 7 * cleaned, atol=1e-9)
    np.testing.assert_array_equal(cancel_per_clip(near, 0 * far), near)
    np.testing.assert_array_equal(cancel_per_clip(0 * near, 0 * far), 0 * near)
    np.testing.assert_allclose(subtract_magnitudes(near, near), 0.1 * near, atol=1e-12)
    with pytest.raises(NothingLeftError, match="hear the same"):
        cancel_per_clip(0.5 * far, far)
    with pytest.raises(ValueError, match=r"512 samples are too few .* 513"):
        cancel_per_clip(near[:512], far[:512])
    with pytest.raises(ValueError, match=r"256 samples are too few .* 257"):
        subtract_magnitudes(near[:256], far[:256])


@pytest.mark.parametrize(("far", "noise", "remains"), [(0.5, 0.5, 0.3), (0.1, 1.0, 0.911)])
def test_what_remains_of_a_tone_that_both_microphones_hear(far: float, noise: float, remains: float) -> None:
    """The formula of the module's text in the tone's band; the window spreads half of it into either neighbour."""

    def kept(tone: float) -> float:
        return noise**2 / (noise**2 + tone**2) * (1 - 0.8 * far)

    assert kept(far) == pytest.approx(remains, abs=1e-3)
    rng = np.random.default_rng(0)
    samples, place = 16_000 * 120, 64
    tone = np.exp(2j * np.pi * place * np.arange(samples) / 1024).real
    window = np.hanning(1025)[:-1]
    # White noise that has the wanted amplitude in one band.
    surroundings = noise * window.sum() / 2 / np.sqrt(np.square(window).sum()) * rng.normal(size=samples)
    cleaned = cancel_per_clip(tone + 0.8 * surroundings, far * tone + surroundings)
    amplitude = 2 * abs(np.mean(cleaned * np.exp(-2j * np.pi * place * np.arange(samples) / 1024)))
    assert amplitude == pytest.approx(2 / 3 * kept(far) + 1 / 3 * kept(far / 2), abs=0.02)
