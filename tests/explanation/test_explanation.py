"""What is planted is found where it was planted, and exact parts add up to the score."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asd_lightning import Detector
from asd_lightning.data.layout import Clip
from asd_lightning.detector.enrolment import enrol_machine
from asd_lightning.detector.excerpts import excerpts
from asd_lightning.detector.hearing import Sound
from asd_lightning.detector.judging import Judgment
from asd_lightning.errors import UserError
from asd_lightning.explanation.explanation import Explanation, Unlike, explained, marked_bands
from asd_lightning.explanation.page import why, write_explanation
from tests.detector.sounds import RATE, hum, whine, write
from tests.explanation.test_layout import hearing_of

SECONDS = 5.0
NORMAL = [hum(number, SECONDS) for number in range(10)]


@pytest.fixture(scope="module")
def detector():
    return Detector(clip_seconds=SECONDS).fit(NORMAL)


@pytest.fixture(scope="module")
def toned(detector, tmp_path_factory):
    return explain(detector, tmp_path_factory.mktemp("toned"), whine(40, SECONDS))


def explain(detector, tmp_path, waveform):
    return explained(detector, write(tmp_path / "today.wav", waveform))


def rescored(detector, found):
    sound = detector.sounds_given([found.waveform])
    embeddings = detector.hearing_.embed(sound, lambda *_: None).embeddings
    return detector.machines_["machine"].anomaly_score(embeddings)[0]


def test_a_planted_tone_is_in_its_band_all_the_time(toned):
    assert toned.judgment.decision in ("warning", "alarm")
    (band,) = toned.marked_bands()
    assert band.low < 3000 < band.high
    assert band.high - band.low < 300
    assert sum(one.high - one.low for one in toned.marked_moments()) > 0.85 * SECONDS


@pytest.mark.parametrize(("share", "told"), [(1.0, "100"), (0.996, "100"), (0.1, "10"), (0.032, "3.2"), (4e-4, "0.04")])
def test_shares_are_told_in_plain_per_cents(detector, toned, share, told):
    found = replace(toned, judgment=toned.judgment._replace(p_value=share))
    assert f"About {told} % of normal recordings" in " ".join(why(found, detector.machines_["machine"]))


def test_bands_add_up_to_the_score(detector, toned):
    assert toned.bands.exact
    total = toned.bands.values.sum() + toned.bands.constant
    assert total == pytest.approx(rescored(detector, toned), rel=1e-9)
    assert total == pytest.approx(toned.judgment.score, rel=1e-6)


def test_a_planted_click_is_at_its_moment(detector, tmp_path):
    waveform = hum(42, SECONDS)
    first, draw = round(4.2 * RATE), np.random.default_rng(0)
    waveform[first : first + 800] += (np.exp(-np.arange(800) / 150) * draw.normal(size=800)).astype(np.float32)
    moments = explain(detector, tmp_path, waveform).marked_moments()
    assert moments[0].low <= 4.2 < moments[0].high
    assert sum(one.high - one.low for one in moments) <= 0.5


def test_of_a_long_recording_the_loudest_window_is_explained(detector, tmp_path):
    waveform = hum(43, 20.0)
    waveform[11 * RATE : 14 * RATE] += whine(0, 3.0) - hum(0, 3.0)
    found = explain(detector, tmp_path, waveform)
    assert (found.window.start, found.window.end) == (10.0, 15.0)
    assert found.window.score == found.judgment.score
    (moment,) = found.marked_moments()
    assert (moment.low, moment.high) == (pytest.approx(11, abs=0.2), pytest.approx(14, abs=0.2))


def test_the_nearest_is_shown_where_its_sound_is_kept(detector, tmp_path):
    """All ten are kept, and one is asked for again, a little changed; then of two."""
    found = explain(detector, tmp_path, 0.999 * NORMAL[0])
    assert found.counterpart.is_nearest
    assert found.counterpart.place == found.judgment.nearest
    np.testing.assert_allclose(found.counterpart.waveform, NORMAL[0], atol=1e-4)
    machine = detector.machines_["machine"]
    sounds = detector.sounds_of("machine")
    few = Detector(clip_seconds=SECONDS).begin(detector.hearing_)
    few.with_machine(machine, {row: sounds[row] for row in ("0", "9")})
    other = explain(few, tmp_path, 0.999 * NORMAL[5])
    assert other.judgment.nearest.recording == "5"
    assert not other.counterpart.is_nearest
    assert other.counterpart.place.recording in ("0", "9")
    # A file that holds something else is no excerpt.
    few.with_machine(machine, {"0": np.frombuffer(b"no FLAC", np.uint8)})
    assert explain(few, tmp_path, 0.999 * NORMAL[5]).counterpart is None


def test_without_excerpts_the_recording_stands_in_for_itself(tmp_path):
    silent = Detector(clip_seconds=2.0, sounds=0).fit([hum(number, 2.0) for number in range(10)])
    waveform = hum(44, 2.0)
    waveform[RATE : RATE + 800] += np.random.default_rng(0).normal(scale=0.5, size=800).astype(np.float32)
    found = explain(silent, tmp_path, waveform)
    assert (found.counterpart, found.own_sound, found.bands.exact) == (None, True, True)
    moment = found.marked_moments()[0]
    assert moment.low <= 1.0 < moment.high


JUDGMENT = Judgment("x.wav", "machine", 1.0, 2.0, "normal", 0.5, (), (), None)
CLIP = Clip(path=Path(), machine="machine", name="", split="train", domain="source", condition="normal")
MAKERS = {
    "beam": {"kind": "GridScorer", "match": "beam", "bands": 8},
    "neighbor": {"kind": "KNNScorer", "metric": "euclidean"},
    "mixture": {"kind": "GaussianMixtureScorer", "components": 1},
}


MERGED = "model.embedder.branches.log_mel.pooling.bands=merge"


@pytest.mark.parametrize(
    ("overrides", "maker"),
    [
        (["experiment=log_mel"], "beam"),
        (["experiment=statistics"], "mixture"),
        (["experiment=log_mel", MERGED], "neighbor"),
    ],
)
def test_other_embedders_and_back_ends_find_the_tone_too(overrides, maker, tmp_path):
    """Bands of a match exactly; a likelihood, and an embedding without bands, by trial."""
    hearing = hearing_of(*overrides)
    detector = Detector(clip_seconds=1.0).begin(hearing)
    sounds = [Sound(replace(CLIP, path=Path(f"{number}"), name=f"{number}"), hum(number)) for number in range(12)]
    machine, _, kept = enrol_machine("machine", sounds, hearing, MAKERS[maker])
    found = explain(detector.with_machine(machine, excerpts(kept, hearing, 20)), tmp_path, whine(45))
    assert found.bands.exact == (maker == "beam")
    band = found.marked_bands()[0]
    assert band.low < 3000 < band.high
    assert found.bands.values.argmax() == np.argmax((found.bands.low < 3000) & (found.bands.high > 3000))
    if found.bands.exact:
        assert found.bands.values.sum() == pytest.approx(rescored(detector, found), rel=1e-9)


def test_a_smaller_bank_has_bands_too_and_a_steady_tone_no_moment(tmp_path):
    """What stands in for a stretch of a steady tone is the tone: what the score changes by is the exchange's doing."""
    small = Detector(clip_seconds=2.0, sounds=0, bank_size=8).fit([hum(number, 2.0) for number in range(10)])
    found = explain(small, tmp_path, whine(40, 2.0))
    assert found.own_sound
    assert found.bands.exact
    assert found.bands.values.sum() + found.bands.constant == pytest.approx(rescored(small, found), rel=1e-9)
    (band,) = found.marked_bands()
    assert band.low < 3000 < band.high
    assert found.marked_moments() == []
    page = write_explanation(found, small.machines_["machine"], "x.asd", tmp_path / "why.html").read_text()
    assert "; no moment stands out." in page
    assert "<p>No moment stands out: the score does not fall clearly when any one stretch is exchanged.</p>" in page


def test_of_a_likelihood_without_sound_bands_are_not_told_apart(tmp_path):
    hearing = hearing_of("experiment=statistics")
    sounds = [Sound(replace(CLIP, path=Path(f"{number}"), name=f"{number}"), hum(number)) for number in range(12)]
    machine, _, _ = enrol_machine("machine", sounds, hearing, MAKERS["mixture"])
    found = explain(Detector(clip_seconds=1.0).begin(hearing).with_machine(machine, {}), tmp_path, whine(45))
    assert found.bands is None
    page = write_explanation(found, machine, "x.asd", tmp_path / "why.html").read_text()
    assert "The score of this detector is no sum over bands of frequency" in page


def test_moments_stand_out_where_a_fall_is_clear():
    def marked(*values, least=0.0):
        steps = np.arange(float(len(values)))
        moments = Unlike(steps, steps + 1, np.array(values), least=least)
        return [one[:2] for one in Explanation(JUDGMENT, RATE, moments=moments).marked_moments()]

    assert marked(0.0, 0.1, 3.0, 2.0, 0.1) == [(2, 4)]
    assert marked(0.0, -0.9, 1.0) == [(2, 3)]
    assert marked(0.01, -1.0, -0.8, 0.02) == []
    assert marked(0.0, 0.1, 0.0, least=0.2) == []
    assert marked(-1.0, 0.0) == []


def test_what_cannot_be_judged_has_no_parts(detector, tmp_path):
    dead = explain(detector, tmp_path, np.zeros(RATE, np.float32))
    assert dead.judgment.decision == "cannot judge"
    assert (dead.window, dead.bands, dead.moments, dead.counterpart) == (None, None, None, None)
    (tmp_path / "text.wav").write_text("no sound")
    unreadable = explained(detector, tmp_path / "text.wav")
    assert (unreadable.judgment.decision, unreadable.waveform) == ("cannot judge", None)
    assert unreadable.marked_bands() == unreadable.marked_moments() == []
    with pytest.raises(UserError, match="one recording is explained at a time"):
        explained(detector, tmp_path)


def test_marked_are_the_bands_that_hold_half():
    low = np.arange(10.0)
    values = np.array([0, 4, 0, 0, 0, 3, 1, 0, -5, 0.5])
    (first, second) = marked_bands(Unlike(low, low + 1, values))
    assert (first, second) == ((1, 2, 4), (5, 6, 3))
    assert marked_bands(Unlike(low, low + 1, np.zeros(10))) == []
