"""Samples from a pipe."""

import io

import numpy as np

from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.live.streams import SamplesLostError, StreamInput

RATE = 1000
HEARD = Preprocessing(sample_rate=RATE, clip_seconds=1.0)


def test_samples_from_a_pipe_in_windows():
    samples = np.arange(-1250, 1250, dtype="<i2")
    stretches = list(StreamInput(io.BytesIO(samples.tobytes()), HEARD, now=lambda: 100.0).stretches({}, bool))
    assert [stretch.offsets for stretch in stretches] == [[0.0], [1.0], [2.0]]
    heard = np.concatenate([stretch.windows[0] for stretch in stretches])
    np.testing.assert_array_equal(heard, samples.astype(np.float32) / 32768)
    short = list(StreamInput(io.BytesIO(samples[:1400].tobytes()), HEARD).stretches({}, bool))
    assert [stretch.offsets for stretch in short] == [[0.0]]


def test_overlapping_windows_from_a_pipe():
    samples = np.arange(3000, dtype="<i2")
    hearing = Preprocessing(sample_rate=RATE, clip_seconds=1.0, hop_seconds=0.25)
    stretches = list(StreamInput(io.BytesIO(samples.tobytes()), hearing).stretches({}, bool))
    offsets = [offset for stretch in stretches for offset in stretch.offsets]
    assert offsets == [0.25 * number for number in range(10)]
    assert len(stretches[-1].windows[0]) == 750
    for stretch in stretches:
        for window, offset in zip(stretch.windows, stretch.offsets, strict=True):
            assert window[0] * 32768 == offset * RATE


class Pieces:
    """A stream that gives these pieces one after another, ``None`` where samples are lost."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def read(self, size):
        piece = self.pieces.pop(0) if self.pieces else b""
        if piece is None:
            raise SamplesLostError
        return piece


def test_pieces_of_any_length_are_put_together():
    samples = np.arange(2000, dtype="<i2").tobytes()
    pieces = Pieces(samples[:501], samples[501:504], samples[504:])
    heard = [window for stretch in StreamInput(pieces, HEARD).stretches({}, bool) for window in stretch.windows]
    np.testing.assert_array_equal(np.concatenate(heard) * 32768, np.arange(2000))


def test_no_window_has_a_seam_where_samples_were_lost():
    samples = np.arange(5000, dtype="<i2")
    pieces = Pieces(samples[:1500].tobytes(), None, samples[3000:].tobytes())
    stretches = list(StreamInput(pieces, HEARD).stretches({}, bool))
    assert [offset for stretch in stretches for offset in stretch.offsets] == [0.0, 1.5, 2.5]
    for stretch in stretches:
        for window in stretch.windows:
            assert (np.diff(window * 32768) == 1).all()


def test_a_clock_that_jumps_moves_the_time_alone():
    samples = np.arange(3000, dtype="<i2").tobytes()
    clock = iter([100.0, 5000.0, 20.0])
    steady = list(StreamInput(io.BytesIO(samples), HEARD, now=lambda: 7.0).stretches({}, bool))
    jumping = list(StreamInput(io.BytesIO(samples), HEARD, now=lambda: next(clock)).stretches({}, bool))
    assert [stretch.time for stretch in jumping] == [99.0, 4999.0, 19.0]
    for one, other in zip(steady, jumping, strict=True):
        assert (one.offsets, one.seconds, one.place) == (other.offsets, other.seconds, other.place)
