import pytest
import torch
from scipy import stats
from torchaudio.functional import mask_along_axis_iid

from asd_lightning.errors import UserError
from asd_lightning.features.spec_augment import SpecAugment


def masked_lines(fbank):
    """Per clip the number of frames and of mel bands that are all zero."""
    zero = fbank == 0
    return zero.all(2).sum(1), zero.all(1).sum(1)


def test_masks_are_contiguous_zero_blocks_over_the_whole_clip():
    torch.manual_seed(0)
    fbank = torch.rand(64, 300, 128) + 1
    masked = SpecAugment()(fbank)
    zero = masked == 0
    torch.testing.assert_close(masked[~zero], fbank[~zero], rtol=0, atol=0)
    time, freq = zero.all(2), zero.all(1)
    assert torch.equal(zero, time[:, :, None] | freq[:, None, :])
    for lines in (time, freq):
        # A block begins at most once: one rise from kept to masked.
        padded = torch.nn.functional.pad(lines.int(), (1, 0))
        assert (padded.diff(dim=1) == 1).sum(1).max() <= 1
        assert lines.sum(1).max() < 80


def test_widths_and_starts_follow_torchaudio():
    torch.manual_seed(1)
    fbank = torch.ones(4000, 120, 8)
    ours = SpecAugment(time_width=80, freq_width=0, probability=1.0)(fbank)[:, :, 0] == 0
    theirs = mask_along_axis_iid(fbank, 80, 0.0, 1)[:, :, 0] == 0
    assert stats.ks_2samp(ours.sum(1), theirs.sum(1)).pvalue > 1e-3
    assert stats.ks_2samp(ours.int().argmax(1), theirs.int().argmax(1)).pvalue > 1e-3
    # floor(U(0, 80)): every whole width from 0 to 79 as often as another.
    assert stats.chisquare(torch.bincount(ours.sum(1), minlength=80)).pvalue > 1e-3


def test_each_mask_and_clip_has_its_own_draw_of_the_probability():
    torch.manual_seed(2)
    time, freq = masked_lines(SpecAugment(probability=0.3)(torch.ones(4000, 160, 100)))
    wide = 79 / 80  # a drawn width of 0 masks nothing
    timed, freqed = (time > 0).float().mean().item(), (freq > 0).float().mean().item()
    both = ((time > 0) & (freq > 0)).float().mean().item()
    assert timed == pytest.approx(0.3 * wide, abs=0.03)
    assert freqed == pytest.approx(0.3 * wide, abs=0.03)
    assert both == pytest.approx(0.09 * wide**2, abs=0.02)


def test_masks_at_the_floor_are_those_at_zero():
    torch.manual_seed(6)
    fbank = torch.randn(32, 120, 128) + torch.arange(32)[:, None, None]
    torch.manual_seed(7)
    zero = SpecAugment(80, 40, probability=0.7, count=2)(fbank)
    torch.manual_seed(7)
    floor = SpecAugment(80, 40, probability=0.7, count=2, fill="floor")(fbank)
    masked = zero == 0
    assert masked.any()
    assert torch.equal(floor, torch.where(masked, fbank.amin((1, 2), keepdim=True), fbank))


def test_count_masks_more():
    torch.manual_seed(3)
    one, _ = masked_lines(SpecAugment(probability=1.0, freq_width=0)(torch.ones(500, 1000, 2)))
    three, _ = masked_lines(SpecAugment(probability=1.0, freq_width=0, count=3)(torch.ones(500, 1000, 2)))
    assert 2.5 < three.float().mean() / one.float().mean() < 3.0


def test_mask_wider_than_the_clip():
    torch.manual_seed(4)
    time, freq = masked_lines(SpecAugment(time_width=80, freq_width=500, probability=1.0)(torch.ones(2000, 30, 16)))
    # Width U(0, 30) of 30 frames: never more than the clip holds, and no clip is lost as a whole.
    assert time[freq == 0].max() == 29
    assert freq.max() == 15


def test_only_in_training():
    layer = SpecAugment(probability=1.0).eval()
    fbank = torch.ones(4, 100, 128)
    assert layer(fbank) is fbank


def test_input_is_not_changed_and_probability_zero_masks_nothing():
    fbank = torch.ones(8, 200, 128)
    SpecAugment(probability=1.0)(fbank)
    assert (fbank == 1).all()
    assert torch.equal(SpecAugment(probability=0.0)(fbank), fbank)


def test_same_seed_same_masks():
    fbank = torch.ones(8, 200, 128)
    torch.manual_seed(5)
    first = SpecAugment()(fbank)
    torch.manual_seed(5)
    assert torch.equal(SpecAugment()(fbank), first)


@pytest.mark.parametrize("bad", [{"time_width": -1}, {"probability": 1.5}, {"count": -1}, {"fill": "mean"}])
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_named(bad):
    with pytest.raises(UserError, match="SpecAugment"):
        SpecAugment(**bad)
