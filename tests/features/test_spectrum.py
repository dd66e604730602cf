"""The table of mel bands against torchaudio's, which is no longer asked."""

import pytest
import torch
from torchaudio.functional import melscale_fbanks

from asd_lightning.features.spectrum import mel_triangles


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 16_000, 48_000])
@pytest.mark.parametrize(("window_length", "bands"), [(1024, 128), (1024, 64), (400, 17), (4096, 256), (512, 1)])
def test_mel_triangles_are_torchaudios_to_the_bit(sample_rate, window_length, bands):
    bins = window_length // 2 + 1
    wanted = melscale_fbanks(bins, 20.0, sample_rate / 2, bands, sample_rate, mel_scale="htk")
    with torch.device("meta"):
        found = mel_triangles(bins, bands, sample_rate)
    assert torch.equal(found, wanted)
