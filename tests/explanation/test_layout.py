"""Bands are where a tone of their frequency is loudest."""

from pathlib import Path

import numpy as np
import pytest
import torch

from asd_lightning.configuration import compose_train, hydra_as_before, plain
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.detector.constructors import embedder_spec
from asd_lightning.detector.hearing import Hearing
from asd_lightning.explanation.layout import layout_of, occluded_bands
from asd_lightning.features.fbank import beats_fbank
from asd_lightning.features.mn04_log_mel import MN04LogMel
from asd_lightning.features.spectrum import LogMelSpectrogram

TONES = (437.0, 1010.0, 3000.0, 6200.0)


def tone(frequency):
    return 0.1 * torch.sin(2 * torch.pi * frequency * torch.arange(16_000) / 16_000)


def hearing_of(*overrides, head="none"):
    with hydra_as_before():
        config = plain(compose_train(list(overrides), Path()))
    return Hearing(Preprocessing(clip_seconds=1.0), embedder_spec(config["model"]["embedder"], head))


@pytest.mark.parametrize("front_end", [LogMelSpectrogram(), MN04LogMel(), beats_fbank(), LogMelSpectrogram(64)])
@pytest.mark.parametrize("frequency", TONES)
def test_the_edges_of_mel_bands_enclose_their_tone(front_end, frequency):
    loudest = int(front_end(tone(frequency)[None])[0].mean(0).argmax())
    edges = front_end.band_edges
    assert len(edges) == front_end(tone(frequency)[None]).shape[2] + 2
    assert edges[loudest] < frequency < edges[loudest + 2]


@pytest.mark.parametrize("experiment", ["statistics", "log_mel"])
@pytest.mark.parametrize("frequency", TONES)
def test_the_dimensions_of_a_tone_are_of_its_band(experiment, frequency):
    hearing = hearing_of(f"experiment={experiment}")
    layout = layout_of(hearing)
    with torch.inference_mode():
        apart = (hearing.model(tone(frequency)[None]) - hearing.model(0 * tone(frequency)[None]))[0].numpy()
    assert len(layout.of_dimension) == len(apart)
    of_band = np.bincount(layout.of_dimension, np.abs(apart))
    loudest = int(np.argmax(of_band))
    assert layout.bands.low[loudest] - 20 < frequency < layout.bands.high[loudest] + 20
    np.testing.assert_array_equal(layout.bands.low[1:], layout.bands.high[:-1])


def test_what_mixes_all_frequencies_has_no_bands():
    assert layout_of(hearing_of("experiment=fft")) is None
    assert layout_of(hearing_of("experiment=log_mel", "model.embedder.branches.log_mel.pooling.bands=merge")) is None
    assert layout_of(hearing_of("experiment=statistics", head="joint")) is None


def test_bands_for_trials_reach_from_20_hz_to_half_the_rate():
    bands = occluded_bands(48_000)
    assert (len(bands.low), bands.low[0], bands.high[-1]) == (16, pytest.approx(20), pytest.approx(24_000))
    np.testing.assert_array_equal(bands.low[1:], bands.high[:-1])
