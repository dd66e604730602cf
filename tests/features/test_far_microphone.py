"""Far-microphone reduction, on two channels whose parts are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal
from torch import Tensor

from asd_lightning.errors import UserError
from asd_lightning.features.far_microphone import (
    HOP_LENGTH,
    WINDOW_LENGTH,
    FarMicrophoneReduction,
    fit_far_coefficients,
)

RATE = 16_000
DELAY = 48  # samples: about a metre


def machine(seed: int, seconds: float = 2.0) -> np.ndarray:
    """A hum whose phase and level differ from clip to clip."""
    generator = np.random.default_rng([seed, 1])
    time = np.arange(int(seconds * RATE)) / RATE
    phases = generator.uniform(0, 2 * np.pi, 20)
    return sum(np.sin(2 * np.pi * 50 * k * time + phases[k]) / k for k in range(1, 20)) * generator.uniform(0.02, 0.05)


def surroundings(seed: int, seconds: float = 2.0) -> np.ndarray:
    noise = 0.1 * np.random.default_rng([seed, 2]).standard_normal(int(seconds * RATE) + DELAY)
    return signal.lfilter([1.0], [1.0, -0.6], noise)


def two_channels(seed: int, leak: float = 0.0) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Both channels, and what the near one has of machine and surroundings: the noise reaches it late and weaker."""
    hum, noise = machine(seed), surroundings(seed)
    near_noise = 0.5 * noise[:-DELAY]
    far = noise[DELAY:] + leak * hum
    return torch.from_numpy(np.stack([hum + near_noise, far])).float(), hum, near_noise


def power_db(waveform: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(waveform**2)))


def test_coefficients_are_scipys_transfer_function() -> None:
    clips = [two_channels(seed)[0] for seed in range(3)]
    settings = {"window": "hann", "nperseg": WINDOW_LENGTH, "noverlap": WINDOW_LENGTH - HOP_LENGTH, "detrend": False}
    # scipy conjugates the first argument: P_xy with x the far and y the near channel.
    near, far = (np.stack([clip[channel].double().numpy() for clip in clips]) for channel in (0, 1))
    cross = signal.csd(far, near, RATE, **settings)[1].sum(0)
    power = signal.welch(far, RATE, **settings)[1].sum(0)
    np.testing.assert_allclose(fit_far_coefficients(clips).numpy(), cross / power, rtol=1e-5, atol=1e-7)


def test_the_coefficient_of_a_delayed_copy_is_known() -> None:
    noise = np.random.default_rng(0).standard_normal(20 * RATE)
    clip = torch.from_numpy(np.stack([0.5 * np.roll(noise, DELAY), noise]))
    frequencies = np.arange(WINDOW_LENGTH // 2 + 1) / WINDOW_LENGTH
    expected = 0.5 * np.exp(-2j * np.pi * frequencies * DELAY)
    assert np.abs(fit_far_coefficients([clip]).numpy() - expected)[1:-1].max() < 0.08


def test_surroundings_are_taken_out_of_clips_never_seen() -> None:
    reduction = FarMicrophoneReduction(fit_far_coefficients(two_channels(seed)[0] for seed in range(8)))
    for seed in range(100, 104):
        both, hum, noise = two_channels(seed)
        error = reduction(both[None])[0].numpy() - hum
        assert power_db(error) < power_db(noise) - 15


def test_a_machine_heard_by_the_far_microphone_survives() -> None:
    reduction = FarMicrophoneReduction(fit_far_coefficients(two_channels(seed, leak=0.2)[0] for seed in range(8)))
    both, hum, noise = two_channels(100, leak=0.2)
    reduced = reduction(both[None])[0].numpy()
    assert power_db(reduced) > power_db(hum) - 3
    assert power_db(reduced - hum) < power_db(noise) - 6


def test_noise_that_is_not_common_is_left_alone() -> None:
    def clip(seed: int) -> Tensor:
        return torch.from_numpy(np.stack([machine(seed), surroundings(seed)[DELAY:]])).float()

    reduction = FarMicrophoneReduction(fit_far_coefficients(clip(seed) for seed in range(20)))
    both = clip(100)
    change = (reduction(both[None])[0] - both[0]).numpy()
    assert power_db(change) < power_db(both[0].numpy()) - 10


def test_a_silent_far_microphone_changes_nothing() -> None:
    both = two_channels(0)[0]
    both[1] = 0
    reduction = FarMicrophoneReduction(fit_far_coefficients([both]))
    assert torch.equal(reduction(both[None])[0], both[0])


def test_each_clip_of_a_batch_stands_alone() -> None:
    reduction = FarMicrophoneReduction(fit_far_coefficients([two_channels(0)[0]]))
    batch = torch.stack([two_channels(seed)[0] for seed in (1, 2, 3)])
    together = reduction(batch)
    assert together.shape == (3, batch.shape[2])
    for clip, reduced in zip(batch, together, strict=True):
        torch.testing.assert_close(reduction(clip[None])[0], reduced)


def test_the_order_of_training_clips_does_not_matter() -> None:
    clips = [two_channels(seed)[0] for seed in range(4)]
    torch.testing.assert_close(fit_far_coefficients(clips), fit_far_coefficients(clips[::-1]))


def test_coefficients_travel_in_a_state_dict() -> None:
    fitted = FarMicrophoneReduction(fit_far_coefficients([two_channels(0)[0]]))
    fresh = FarMicrophoneReduction(torch.zeros(WINDOW_LENGTH // 2 + 1, dtype=torch.complex64))
    state = fitted.state_dict()
    assert all(not value.is_complex() for value in state.values())
    fresh.load_state_dict(state)
    both = two_channels(1)[0][None]
    assert torch.equal(fresh(both), fitted(both))


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="no training clips"):
        fit_far_coefficients([])
    with pytest.raises(UserError, match="two channels"):
        fit_far_coefficients([torch.zeros(1, RATE)])
    with pytest.raises(UserError, match="at least 1024 samples, got 100"):
        fit_far_coefficients([torch.zeros(2, 100)])
    with pytest.raises(UserError, match="two channels"):
        FarMicrophoneReduction(torch.zeros(513, dtype=torch.complex64))(torch.zeros(1, 3, RATE))
