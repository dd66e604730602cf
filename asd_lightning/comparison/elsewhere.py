"""A choice that no label of the machine it is used on has decided: by the other machines' scores.

The best of many systems on some test clips is flattered by having been chosen on them.  Chosen on all other machines, a
system says on the machine left out what such a choice is worth on a machine that nobody has labels of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from asd_lightning.evaluation.metrics import ALL, harmonic_mean
from asd_lightning.plain_text import natural_order

Values = Mapping[tuple[str, str], float]
"""(machine, metric) -> fraction; of several seeds their mean."""

_OFFICIAL = ("auc_source", "auc_target", "pauc")


class ChosenElsewhere(NamedTuple):
    """A machine, the system chosen without it, and the best on it; fractions.

    The last row, of ``ALL``, has the official score of all these choices, and the system with the best one.
    """

    machine: str
    chosen: str
    hmean: float
    best: str
    best_hmean: float


def chosen_elsewhere(systems: Mapping[str, Values]) -> Iterator[ChosenElsewhere]:
    """For each machine the system with the highest official score over the others; the first of equals.

    Nothing where there are fewer than two systems or machines, or not all systems have all machines.

    >>> def values(*machines):
    ...     return {(name, metric): x for name, x in zip("abc", machines) for metric in ("auc_source", "pauc")}
    >>> rows = list(chosen_elsewhere({"one": values(0.9, 0.6, 0.6), "two": values(0.5, 0.7, 0.7)}))
    >>> [(row.machine, row.chosen, row.best) for row in rows]
    [('a', 'two', 'one'), ('b', 'one', 'two'), ('c', 'one', 'two'), ('all', '', 'one')]
    """
    sets = {frozenset(machine for machine, _ in values) - {ALL} for values in systems.values()}
    machines = sorted(next(iter(sets), frozenset()), key=natural_order)
    if len(systems) < 2 or len(machines) < 2 or len(sets) > 1:
        return
    taken: list[float] = []
    for machine in machines:
        others = [name for name in machines if name != machine]
        chosen = _best({name: official(values, others) for name, values in systems.items()})
        here = {name: official(values, [machine]) for name, values in systems.items()}
        best = _best(here)
        taken += _parts(systems[chosen], [machine])
        yield ChosenElsewhere(machine, chosen, here[chosen], best, here[best])
    overall = {name: official(values, machines) for name, values in systems.items()}
    best = _best(overall)
    yield ChosenElsewhere(ALL, "", harmonic_mean(taken), best, overall[best])


def choice_note(rows: Sequence[ChosenElsewhere], over_seeds: bool = False) -> str:
    """What the choices are worth, in a sentence; "" without them.

    Args:
        rows: see ``chosen_elsewhere``.
        over_seeds: the values are means over several seeds, whose score is not the mean of the seeds' scores.
    """
    if not rows or math.isnan(rows[-1].hmean):
        return ""
    told = rows[-1]
    means = (
        " Both are scores of means over seeds, which may order systems otherwise than the table's means of scores."
        if over_seeds
        else ""
    )
    return (
        f"Choosing for each machine by the scores on the others gives {100 * told.hmean:.2f}. One system for all "
        f"machines, chosen by the labels that score it, gives at most {100 * told.best_hmean:.2f}: {told.best}.{means}"
    )


def official(values: Values, machines: Iterable[str]) -> float:
    """The harmonic mean of AUC source, AUC target and pAUC over machines."""
    return harmonic_mean(_parts(values, machines))


def _parts(values: Values, machines: Iterable[str]) -> list[float]:
    return [values.get((machine, metric), math.nan) for machine in machines for metric in _OFFICIAL]


def _best(scores: Mapping[str, float]) -> str:
    return max(scores, key=lambda name: -math.inf if math.isnan(scores[name]) else scores[name])
