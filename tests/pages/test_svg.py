import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asd_lightning.pages.svg import Axes, Scale, round_ticks, svg, text


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
@example(879609.9999999999, 1e-6)
def test_ticks_are_few_round_and_within(low, span):
    ticks = round_ticks(low, low + span)
    assert len(ticks) <= 7
    assert all(low <= tick <= low + span for tick in ticks)
    if span > 1e-9 * abs(low):
        assert len(ticks) >= 2


def test_ticks_of_a_point():
    assert round_ticks(3.0, 3.0) == [3.0]


def test_a_scale_maps_its_ends_and_survives_a_point():
    scale = Scale(0, 10, 100, 0)
    assert (scale(0), scale(10), scale(5)) == (100, 0, 50)
    assert Scale(1, 1, 0, 10)(1) == 5


@pytest.mark.parametrize("hostile", ['"><script>boom()</script>', "a & b", "<b>"])
def test_names_are_escaped(hostile):
    drawn = svg(Axes.of((0, 1), (0, 1)), hostile, [text(0, 0, hostile)])
    assert hostile not in drawn
    assert "<script" not in drawn
