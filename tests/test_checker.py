"""The checker of the tests finds what jaxtyping's own decorator finds: nobody would miss one that finds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from jaxtyping import Float, jaxtyped

from asd_lightning.evaluation.intervals import weighted_auc
from tests.checker import check

if TYPE_CHECKING:
    from nowhere import Unknown

Rows = dict[str, Float[np.ndarray, " n"]]
checked = jaxtyped(typechecker=check)


@checked
def weighted(x: Float[np.ndarray, "n d"], by: Float[np.ndarray, " n"], wrong: bool = False) -> Float[np.ndarray, "n d"]:
    product = x * by[:, None]
    return product.T if wrong else product


@checked
def of_rows(rows: Rows, by: Float[np.ndarray, " n"], size: int | None = None) -> dict[str, Float[np.ndarray, " n"]]:
    # Its own axes have other sizes.
    weighted(np.ones((7, 2)), np.ones(7))
    return {name: row * by for name, row in rows.items()}


def scaled_by(by: float):
    """A function that is made anew at each call."""

    @checked
    def scaled(x: Float[np.ndarray, " n"], name: str = "") -> Float[np.ndarray, " n"]:
        return x * by

    return scaled


@checked
def pieces(x: Float[np.ndarray, " n"], unknown: Unknown = None) -> Iterator[float]:
    yield from x


@dataclass
class Plain:
    size: int


Held = checked(Plain)


def test_what_is_right_passes_whatever_the_sizes_of_the_call_before():
    for n in (3, 4):
        assert weighted(np.ones((n, 2)), np.ones(n)).shape == (n, 2)
        assert of_rows({"a": np.ones(n)}, by=np.ones(n))["a"].shape == (n,)
        assert list(pieces(np.ones(n), unknown="anything")) == [1.0] * n
        # Each by its own number.
        assert list(scaled_by(n)(np.ones(2))) == [n, n]
    assert Held(3).size == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda: weighted(np.ones((3, 2)), np.ones(4)),
        lambda: weighted(np.ones((3, 2)), np.ones(3), wrong=True),
        lambda: weighted(np.ones((3, 2), int), np.ones(3)),
        lambda: weighted(np.ones((3, 2)), by=np.ones(3), wrong="yes"),
        lambda: of_rows({"a": np.ones(3)}, np.ones(4)),
        lambda: of_rows({"a": np.ones(3)}, np.ones(3), "three"),
        lambda: pieces(np.ones((3, 3))),
        lambda: Held("three"),
        lambda: scaled_by(2.0)(np.ones((3, 3))),
        lambda: [scaled_by(one)(np.ones(3), name) for one, name in ((2.0, "a"), (3.0, 4))],
        lambda: weighted_auc(np.ones(3), np.array([True, False]), np.ones((1, 3), int)),
    ],
)
def test_what_is_wrong_is_found(call):
    with pytest.raises(TypeError):
        call()


def test_nothing_is_looked_at_where_a_test_says_so(unchecked):
    assert Held("three").size == "three"
    assert weighted(np.ones((3, 2)), np.ones(3), wrong=True).shape == (2, 3)
