import pytest

from asd_lightning.encoders.family import EVERY, FAMILY, chosen_poolings, over_time
from asd_lightning.encoders.over_time import Deviation, DeviationWeighted, Max, Mean, PowerMean
from asd_lightning.errors import UserError


def test_the_family_is_the_one_that_is_promised():
    assert [over_time(name) for name in FAMILY] == [
        *(Mean(), Max(), Deviation()),
        *(DeviationWeighted(gamma=gamma) for gamma in (1.0, 4.0, 8.0, 16.0)),
        *(PowerMean(3.0), PowerMean(6.0), DeviationWeighted(gamma=16.0, power=3.0)),
    ]
    assert [name.replace("_", "") for name in FAMILY] == [
        *("mean", "max", "std", "rdp1", "rdp4", "rdp8", "rdp16", "gem3", "gem6", "rdp16gem3"),
    ]


def test_choices():
    assert chosen_poolings(None) == ()
    assert chosen_poolings(EVERY) == FAMILY
    assert chosen_poolings("max") == ("max",)
    assert chosen_poolings(["max", "mean", "max"]) == ("max", "mean")


@pytest.mark.parametrize("choice", ["rdp", ["mean", "rdp_5"], [], 4, True, {"mean": 1}, [["mean"]]])
def test_what_is_no_pooling_is_named(choice):
    with pytest.raises(UserError, match=r"store_features: .* is no pooling; choose all, or a list of mean, max, std"):
        chosen_poolings(choice)
