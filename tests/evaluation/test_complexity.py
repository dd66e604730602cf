"""Multiply-accumulates against counts by hand."""

import pytest
import torch
from torch import nn

from asd_lightning.embedder import Branch
from asd_lightning.encoders.beats import BEATs, BEATsConfig
from asd_lightning.encoders.spectrum_cnn import SpectrumCNN
from asd_lightning.evaluation.complexity import count_macs
from asd_lightning.features.fbank import beats_fbank
from asd_lightning.features.spectrum import MagnitudeSpectrum


def test_spectrum_cnn():
    convolutions = 128 * (256 * 1250 + 128 * 64 * 40 + 128 * 16 * 10)
    dense = 1280 * 128 + 4 * 128 * 128
    branch = Branch(MagnitudeSpectrum(), SpectrumCNN()).eval()
    assert count_macs(branch, 160_000) == convolutions + dense


def test_full_size_beats_needs_98_7_gflop():
    """The size published for a 10 s clip; the mel product adds 998 x 514 x 128."""
    encoder = nn.Sequential(beats_fbank(), BEATs(BEATsConfig())).eval()
    assert 2 * count_macs(encoder, 160_000) == pytest.approx(98.7e9, rel=0.01)
    assert torch.is_grad_enabled()


def test_the_clip_is_where_the_windows_are_of_what_has_no_weights():
    class Untrained(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mel", torch.zeros(100, 3, device="meta"))

        def forward(self, waveform):
            assert waveform.device == self.mel.device
            return waveform @ self.mel

    assert count_macs(Untrained(), 100) == 300
