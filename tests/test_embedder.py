"""Branches and the embedder, the spectrum CNN, and the training-free statistics."""

from functools import partial

import numpy as np
import pytest
import scipy.signal
import torch
import torchaudio.functional
from torch import nn

from asd_lightning.embedder import Branch, Embedder, EmbeddingHead, FeaturePerturbation, ScoredEmbedder
from asd_lightning.encoders.mel_bands import MelBands
from asd_lightning.encoders.mn04 import MN04, MN04Config
from asd_lightning.encoders.over_time import Mean
from asd_lightning.encoders.pooling import GridPooling, MeanPooling
from asd_lightning.encoders.spectrum_cnn import SameConv1d, SpectrumCNN
from asd_lightning.encoders.statistics import TemporalStatistics
from asd_lightning.errors import UserError
from asd_lightning.features.mn04_log_mel import MN04LogMel
from asd_lightning.features.spectrum import LogMelSpectrogram, MagnitudeSpectrum

mean_of_bands = partial(GridPooling, over_time=Mean())


def test_spectrum_cnn_has_the_published_shapes_and_size():
    shapes = []
    network = SpectrumCNN()
    for layer in network.convolutions:
        layer.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
    network.dense[0].register_forward_hook(lambda _, inputs, __: shapes.append(tuple(inputs[0].shape[1:])))
    assert network(torch.rand(2, 80_000)).shape == (2, 128)
    assert shapes[::2] == [(128, 1250), (128, 40), (128, 10), (1280,)]
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_573_888
    assert not [name for name, _ in network.named_parameters() if "bias" in name and "dense" not in name]
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features, layer.bias) for layer in linear] == [
        (1280, 128, None),
        *[(128, 128, None)] * 4,
    ]


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "padding"),
    [(80_000, 256, 64, (96, 96)), (1_250, 64, 32, (31, 31)), (40, 16, 4, (6, 6))],
)
def test_same_padding(length, kernel, stride, padding):
    """Against scipy: pad by the stated amounts, correlate, take every stride-th."""
    layer = SameConv1d(1, 1, kernel, stride, bias=False).double()
    signal = torch.randn(1, 1, length, dtype=torch.float64)
    expected = scipy.signal.correlate(
        np.pad(signal[0, 0].numpy(), padding), layer.weight[0, 0].detach().numpy(), mode="valid", method="direct"
    )[::stride]
    np.testing.assert_allclose(layer(signal)[0, 0].detach().numpy(), expected, atol=1e-12)


def test_spectrum_cnn_follows_the_clip_length_and_says_when_it_does_not_fit():
    assert SpectrumCNN(clip_seconds=1.0)(torch.rand(2, 8_000)).shape == (2, 128)
    with pytest.raises(ValueError, match=r"8000 bins, built for 80000; set the spectrum CNN's clip_seconds"):
        SpectrumCNN()(torch.rand(2, 8_000))


def test_squeeze_excitation_is_a_switch():
    plain, gated = (sum(p.numel() for p in SpectrumCNN(squeeze_excitation=on).parameters()) for on in (False, True))
    assert gated - plain == 3 * 2 * 128 * 8


def test_spectrum_branch_stays_in_float32_under_mixed_precision():
    branch = Branch(MagnitudeSpectrum(), SpectrumCNN(clip_seconds=1.0)).eval()
    waveform = torch.randn(2, 16_000).clamp(-1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = branch(waveform)
    assert torch.equal(mixed, branch(waveform))


def test_magnitude_spectrum_against_numpy():
    waveform = np.random.default_rng(0).normal(size=(2, 1_000)).astype(np.float32)
    expected = np.abs(np.fft.rfft(waveform.astype(np.float64)))[:, :500]
    np.testing.assert_allclose(MagnitudeSpectrum()(torch.from_numpy(waveform)), expected, rtol=1e-4, atol=1e-4)


def log_mel_by_scipy(waveform):
    """Independent: scipy's STFT, triangles drawn from the HTK formula."""
    _, _, spectrum = scipy.signal.stft(
        waveform.astype(np.float64),
        window="hann",
        nperseg=1024,
        noverlap=512,
        boundary=None,
        padded=False,
        scaling="psd",
    )
    power = np.abs(spectrum) ** 2 * (scipy.signal.get_window("hann", 1024) ** 2).sum()
    edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([20, 8_000]) / 700)), 130) / 2595) - 1)
    bins = np.arange(513) * 16_000 / 1024
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    triangles /= np.maximum(triangles.sum(0), 1e-30)
    return 10 * np.log10(power.T @ triangles + 1e-10)


def test_log_mel_statistics_against_scipy():
    waveform = np.random.default_rng(0).normal(scale=0.1, size=(2, 16_000)).astype(np.float32)
    branch = Branch(LogMelSpectrogram(), TemporalStatistics())
    expected = [np.concatenate([spectrum.mean(0), spectrum.std(0)]) for spectrum in map(log_mel_by_scipy, waveform)]
    np.testing.assert_allclose(branch(torch.from_numpy(waveform)), np.array(expected), atol=2e-3)


def test_branches_are_concatenated_in_order():
    branches = {
        name: Branch(LogMelSpectrogram(num_mels=mels), TemporalStatistics(mels)) for name, mels in (("a", 8), ("b", 4))
    }
    embedder = Embedder(branches)
    waveform = torch.randn(3, 4_000)
    assert embedder.embed_dims == {"a": 16, "b": 8}
    assert torch.equal(embedder(waveform), torch.cat([branches["a"](waveform), branches["b"](waveform)], dim=1))
    with pytest.raises(UserError, match="at least one branch"):
        Embedder({})


@pytest.mark.parametrize("normalize", ["none", "l2", "batch", "layer"])
def test_branch_normalization(normalize):
    branch = Branch(LogMelSpectrogram(num_mels=8), TemporalStatistics(8), normalize=normalize)
    expected = {
        "none": lambda z: z,
        "l2": lambda z: z / z.norm(dim=1, keepdim=True),
        "batch": lambda z: (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt(),
        "layer": lambda z: (z - z.mean(1, keepdim=True)) / (z.var(1, correction=0, keepdim=True) + 1e-5).sqrt(),
    }
    waveform = torch.randn(6, 4_000)
    plain = branch.encoder(branch.front_end(waveform))
    torch.testing.assert_close(branch(waveform), expected[normalize](plain), atol=1e-4, rtol=1e-4)


def test_mn04_branch_is_the_mean_over_time_of_its_block_of_the_resampled_clip():
    """As experiment=mn04 has it: nothing of the branch trains, and nothing is drawn at random behind the encoder."""
    encoder = MN04(MN04Config(block=8, bands="keep"))
    branch = Branch(MN04LogMel(), encoder, pooling=MeanPooling, embed_dim=None, finetuning="freeze").train()
    waveform = 0.1 * torch.randn(2, 16_000)
    with torch.no_grad():
        resampled = torchaudio.functional.resample(waveform, 16_000, 32_000)
        (block,) = encoder.block_outputs(MN04LogMel(32_000)(resampled), [8])
        torch.testing.assert_close(branch(waveform), block.mean(3).flatten(1))
    assert branch.embed_dim == 256
    assert not any(parameter.requires_grad for parameter in branch.parameters())
    merged = Branch(MN04LogMel(), MN04(MN04Config(8, "merge")), pooling=MeanPooling, embed_dim=None)
    assert merged.embed_dim == 32
    assert Branch(MN04LogMel(), encoder, pooling=MeanPooling).eval()(waveform).shape == (2, 128)


@pytest.mark.usefixtures("unchecked")
def test_unknown_normalization_is_said():
    with pytest.raises(UserError, match=r"normalize='unit': choose one of none, l2, batch, layer"):
        Branch(LogMelSpectrogram(), TemporalStatistics(), normalize="unit")


def test_the_head_and_what_is_scored():
    torch.manual_seed(0)
    head = EmbeddingHead([5, 3], "per_branch")
    embedding = torch.randn(12, 8)
    head(embedding)  # moves the running statistics, with which a clip is scored alone
    head.eval()
    after = head(embedding)
    assert after.shape == embedding.shape
    assert not torch.allclose(after, embedding)
    torch.testing.assert_close(head(embedding[:1]), after[:1])
    torch.testing.assert_close(after[:, :5], head.perturbations[0](embedding[:, :5]))
    assert EmbeddingHead([8], "none")(embedding) is embedding


def test_the_tokens_may_be_scored_and_the_projection_trained():
    torch.manual_seed(0)
    front_end, encoder = LogMelSpectrogram(), MelBands(bands=8)
    branch = Branch(front_end, encoder, pooling=MeanPooling, embed_dim=5, scored_pooling=mean_of_bands)
    plain = Branch(front_end, encoder, pooling=MeanPooling, embed_dim=3)
    embedder = Embedder({"a": branch, "b": plain}).eval()
    waveform = 0.1 * torch.randn(3, 16_000)
    levels = encoder(front_end(waveform))  # step by step, the bands of each
    by_hand = levels.view(3, -1, 8, encoder.token_dim).mean(1).flatten(1)
    assert embedder(waveform).shape == (3, 8)
    torch.testing.assert_close(embedder.scored(waveform), torch.cat([by_hand, plain(waveform)], dim=1))
    assert torch.equal(ScoredEmbedder(embedder)(waveform), embedder.scored(waveform))
    torch.testing.assert_close(ScoredEmbedder(embedder)(waveform[:1, None]), embedder.scored(waveform[:1]))
    assert ScoredEmbedder(embedder, EmbeddingHead([5, 3], "none"))(waveform).shape == (3, 128 + 3)
    with pytest.raises(UserError, match=r"branch a: its scored_pooling .*model\.score_after_head=false"):
        ScoredEmbedder(embedder, EmbeddingHead([5, 3]))


def test_head_is_the_bottleneck_of_the_method():
    shapes = [
        (type(layer).__name__, *(tuple(p.shape) for p in layer.parameters())) for layer in FeaturePerturbation(128)
    ]
    assert shapes == [
        ("Linear", (64, 128), (64,)),
        ("ReLU",),
        ("BatchNorm1d", (64,), (64,)),
        ("Linear", (128, 64), (128,)),
        ("ReLU",),
        ("BatchNorm1d", (128,), (128,)),
    ]


def test_a_head_that_cannot_be_is_named(unchecked):
    with pytest.raises(UserError, match="head='both'"):
        EmbeddingHead([4], "both")
    with pytest.raises(UserError, match="too few"):
        EmbeddingHead([1])


def test_a_clip_has_one_spectrogram_whichever_others_it_comes_with():
    torch.manual_seed(0)
    waveform, front_end = 0.1 * torch.randn(9, 16_000), LogMelSpectrogram()
    assert torch.equal(front_end(waveform), torch.cat([front_end(one[None]) for one in waveform]))


class TwoNumbers(nn.Module):
    def __init__(self, out_dim, over_time=False):
        super().__init__()
        self.out_dim, self.over_time = out_dim, over_time

    def forward(self, features):
        numbers = torch.stack([features.mean(1), features.std(1)], dim=1)
        return numbers[:, None] if self.over_time else numbers


def test_an_encoder_that_gives_another_length_than_it_says_is_named():
    waveform = torch.rand(3, 160)
    assert Branch(nn.Identity(), TwoNumbers(2))(waveform).shape == (3, 2)
    with pytest.raises(UserError, match="encoder TwoNumbers: says out_dim 3, but gives 2;"):
        Branch(nn.Identity(), TwoNumbers(3))(waveform)
    with pytest.raises(UserError, match=r"says out_dim 2, but gives shape \(3, 1, 2\);"):
        Branch(nn.Identity(), TwoNumbers(2, over_time=True)).scored(waveform)
