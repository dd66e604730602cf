"""Front-ends and embedders in products give the numbers of the package's own, which others' code vouches for."""

import numpy as np
import pytest
import torch

from asd_lightning.configuration import compose_train, hydra_as_before, plain
from asd_lightning.detector.constructors import build_embedder, embedder_spec
from asd_lightning.encoders.statistics import TemporalStatistics
from asd_lightning.errors import UserError
from asd_lightning.exporting.embedder import SortedStatistics, exportable
from asd_lightning.exporting.front_ends import TwoStepTransform, as_products
from asd_lightning.features.fbank import beats_fbank, eat_fbank
from asd_lightning.features.mn04_log_mel import MN04LogMel
from asd_lightning.features.spectrum import LogMelSpectrogram, MagnitudeSpectrum
from tests.detector.sounds import hum

FRONT_ENDS = {
    "beats": beats_fbank,
    "eat_padded": eat_fbank,
    "eat_cut": lambda: eat_fbank(64),
    "log_mel": LogMelSpectrogram,
    "log_mel_odd": lambda: LogMelSpectrogram(40, 999, 333),
    **{f"mn04_{rate}": lambda rate=rate: MN04LogMel(rate) for rate in (16_000, 32_000, 44_100)},
    "magnitude": MagnitudeSpectrum,
}
SYSTEMS = ("statistics", "log_mel", "system1", "system3", "system4", "beats_frozen")


def made_windows(count, samples):
    return np.stack([hum(number, samples / 16_000) for number in range(count)])


@pytest.mark.parametrize("samples", [16_000, 17_640])
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_numbers_are_the_front_ends(name, samples):
    front_end = FRONT_ENDS[name]()
    windows = torch.from_numpy(made_windows(3, samples))
    wanted = front_end(windows)
    found = as_products(front_end, samples)(windows)
    # Of spectra, which grow with the window, in units of their largest.
    tolerance = 1e-6 * float(wanted.abs().max()) if name == "magnitude" else 2e-4
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("points", "bins"), [(30, 16), (64, 32), (97, 49), (4000, 2001)])
def test_the_transform_is_numpys(points, bins):
    signal = np.random.default_rng(0).normal(size=(2, 3, points))
    wanted = np.abs(np.fft.rfft(signal))[..., :bins] ** 2
    found = TwoStepTransform(points, bins)(torch.from_numpy(signal.astype(np.float32))).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * wanted.max())


def test_an_offset_does_not_drown_what_is_heard():
    """Quiet sound on a constant: its mean goes before anything is rounded."""
    windows = torch.from_numpy(1e-3 * made_windows(2, 16_000) + np.float32(0.5))
    wanted = beats_fbank()(windows.double())
    torch.testing.assert_close(as_products(beats_fbank(), 16_000)(windows).double(), wanted, rtol=0, atol=5e-3)


def test_what_has_no_products_is_refused():
    with pytest.raises(UserError, match="the front-end Identity cannot be exported; KaldiFbank, "):
        as_products(torch.nn.Identity(), 16_000)
    with pytest.raises(UserError, match="16001 samples, 1 times 16001, have no spectrum in small products; choose"):
        as_products(MagnitudeSpectrum(), 16_001)
    with pytest.raises(UserError, match="frames of 1024 samples every 511 cannot be exported"):
        as_products(LogMelSpectrogram(hop_length=511), 16_000)


def test_statistics_are_sorted_alike():
    names = ["mean", "deviation", "change", "p0", "p12.5", "p50", "p100", "m1-4"]
    exact = TemporalStatistics(128, names)
    features = LogMelSpectrogram()(torch.from_numpy(made_windows(3, 16_000)))
    torch.testing.assert_close(SortedStatistics(exact)(features), exact(features), rtol=0, atol=0)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_systems_embeddings_are_its_own(name):
    changes = [f"experiment={name}", "data.clip_seconds=1.0", "encoders=tiny"]
    with hydra_as_before():
        model = plain(compose_train(changes))["model"]
    torch.manual_seed(0)
    embedder = build_embedder(embedder_spec(model["embedder"], model["loss"].get("head", "joint")))
    before = {key: tensor.clone() for key, tensor in embedder.state_dict().items()}
    windows = torch.from_numpy(made_windows(3, 16_000))
    made = exportable(embedder, 16_000)
    with torch.inference_mode():
        wanted, found = embedder(windows), made(windows)
    torch.testing.assert_close(found, wanted, rtol=0, atol=3e-5 * float(wanted.std()))
    assert all(torch.equal(tensor, before[key]) for key, tensor in embedder.state_dict().items())
