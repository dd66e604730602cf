"""From a recording to what a model hears."""

import math
from itertools import pairwise

import jaxtyping
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.data.recordings import clips_of, cut_recordings
from asd_lightning.detector.hearing import Hearing
from asd_lightning.errors import UserError

RATE = 16_000


def tone_with_click(path, seconds, at):
    waveform = 0.01 * np.sin(np.arange(round(seconds * RATE)) / 7)
    waveform[round(at * RATE)] = 0.9
    soundfile.write(path, waveform, RATE, subtype="PCM_16")


def windows_of(path, preprocessing):
    """What is heard of a file, shape (windows, crops, samples)."""
    pieces = cut_recordings(clips_of([path], "pump"), preprocessing)
    read = [preprocessing.read(piece.path, piece.start, piece.seconds) for piece in pieces]
    return np.stack([preprocessing.windows(waveform) for waveform in read])


@given(
    seconds=st.floats(0.01, 500),
    clip_seconds=st.floats(0.2, 20),
    share=st.one_of(st.none(), st.floats(0.05, 1)),
)
def test_windows_leave_nothing_out_and_none_sticks_out(seconds, clip_seconds, share):
    heard = Preprocessing(clip_seconds=clip_seconds, hop_seconds=share and share * clip_seconds)
    places = heard.places(seconds)
    assert places[0] == 0
    assert all(0 < later - earlier <= clip_seconds + 1e-6 for earlier, later in pairwise(places))
    if seconds > clip_seconds + 1e-3:
        assert places[-1] + clip_seconds == pytest.approx(seconds)
    else:
        assert places == [0.0]


@pytest.mark.parametrize("at", [0.01, 1.2, 3.7, 4.99])
def test_a_click_anywhere_is_in_a_window(tmp_path, at):
    tone_with_click(tmp_path / "a.wav", 5.0, at)
    heard = windows_of(tmp_path / "a.wav", Preprocessing(clip_seconds=2.0))
    assert heard.shape == (3, 1, 32_000)
    assert np.abs(heard).max() > 0.8


def test_a_path_and_its_waveform_are_heard_alike(tmp_path):
    tone_with_click(tmp_path / "a.wav", 5.3, 2.0)
    waveform, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    preprocessing = Preprocessing(clip_seconds=2.0, test_windows=3)
    heard = Hearing(preprocessing, {})
    (clip,) = clips_of([tmp_path / "a.wav"], "pump")
    in_memory = [preprocessing.windows(heard.waveform(piece)) for piece in heard.pieces_of_waveform(waveform, clip)]
    np.testing.assert_array_equal(windows_of(tmp_path / "a.wav", preprocessing), in_memory)


def test_short_recordings_are_padded(tmp_path):
    tone_with_click(tmp_path / "a.wav", 0.5, 0.1)
    both = [Preprocessing(clip_seconds=1.0, pad=pad) for pad in ("tile", "zero")]
    tiled, zeros = (windows_of(tmp_path / "a.wav", preprocessing)[0, 0] for preprocessing in both)
    np.testing.assert_array_equal(tiled[:8000], tiled[8000:])
    assert not zeros[8000:].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(
            (
                {"clip_seconds": value},
                f"data.clip_seconds={value}: a number of seconds from 0.2 to 3600 is needed; longer",
            )
            for value in (0, -1.0, 0.1, 1e9, 3601, math.inf, -math.inf, math.nan, True, None, "10 s")
        ),
        *(
            ({"hop_seconds": value}, f"data.hop_seconds={value}: a number of seconds from 0.001 to data.clip_seconds")
            for value in (0.0, -1.0, 1e-9, 11.0, math.inf, math.nan, "1")
        ),
        *(
            ({"sample_rate": value}, f"data.sample_rate={value}: a whole number from 1,000 to 768,000 is needed")
            for value in (0, -16_000, 16_000.0, 10**12, True, "16k", None)
        ),
        ({"channel": "both"}, "data.channel=both: choose one of 0, 1, mean, reduced, reduced_per_clip, subtracted"),
        ({"pad": "reflect"}, "data.pad=reflect"),
    ],
)
def test_bad_options_are_named(options, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as installed: the checks are for tests
    with pytest.raises(UserError, match=message) as caught:
        Preprocessing(**options)
    assert "\n" not in str(caught.value)


def test_reduced_needs_coefficients(tmp_path):
    tone_with_click(tmp_path / "a.wav", 1.0, 0.1)
    with pytest.raises(UserError, match=r"a\.wav: data\.channel=reduced needs the machine's far-microphone"):
        Preprocessing(channel="reduced").read(tmp_path / "a.wav")
