import pytest
import torch

from asd_lightning.encoders.mel_bands import MelBands
from asd_lightning.encoders.over_time import Mean
from asd_lightning.encoders.pooling import GridPooling
from asd_lightning.encoders.statistics import TemporalStatistics
from asd_lightning.errors import UserError
from asd_lightning.features.spectrum import LogMelSpectrogram


def test_a_band_is_its_neighboring_mels_above_the_floor():
    features = torch.arange(2 * 3 * 128, dtype=torch.float32).reshape(2, 3, 128)
    encoder = MelBands(bands=8)
    grid = encoder.grid(encoder(features))
    assert grid.shape == (2, 3, 8, 16)
    torch.testing.assert_close(grid[1, 2, 5], features[1, 2, 80:96] + 100)


def test_the_mean_over_time_is_that_of_the_statistics():
    waveform = 0.1 * torch.randn(3, 16_000, generator=torch.Generator().manual_seed(0))
    features = LogMelSpectrogram()(waveform)
    assert features.min() >= -100
    encoder = MelBands()
    pooled = GridPooling(encoder.grid, Mean())(encoder(features))
    torch.testing.assert_close(pooled, TemporalStatistics(128, ["mean"])(features) + 100)


@pytest.mark.parametrize("bands", [0, 3, 129, 8.0, False, "8"])
def test_bands_that_do_not_divide_the_mels_are_refused(bands, unchecked):
    with pytest.raises(UserError, match=r"bands=.*: a whole number that divides the 128 mel bands is needed"):
        MelBands(bands=bands)
