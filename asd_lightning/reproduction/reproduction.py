"""A published result repeated, from the plan to the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asd_lightning.download.years import YEARS
from asd_lightning.reproduction.fetching import fetch
from asd_lightning.reproduction.folder import output_of
from asd_lightning.reproduction.plan import Plan, make_plan, plan_lines, truth_of
from asd_lightning.reproduction.rehearsal import WARNING, rehearsal_ground, rehearsed
from asd_lightning.reproduction.running import Ground, run_all
from asd_lightning.reproduction.side_by_side import Beside, short_table, side_by_side, write_side_by_side
from asd_lightning.reproduction.targets import find_target
from asd_lightning.run_folder import ResultSet
from asd_lightning.tables import print_in_parts


@dataclass(frozen=True)
class Reproduction:
    """What was planned and, unless that was all, what came of it: rows and the files of the table."""

    plan: Plan
    rows: tuple[Beside, ...] = ()
    files: tuple[Path, ...] = ()


def planned(
    name: str,
    changes: Sequence[str] = (),
    data: Path | None = None,
    output: Path | None = None,
    seeds: Sequence[int] | None = None,
    rehearse: bool = False,
) -> Plan:
    """Make the plan of the target called ``name`` and print it; nothing is fetched, written or run.

    Raises:
        UserError: see ``find_target`` and ``make_plan``.
    """
    plan = make_plan(find_target(name), data, None if rehearse else output, seeds, changes)
    if rehearse:
        print(f"{WARNING}. What the reproduction itself would take:")
    print("\n".join(plan_lines(plan)))
    if not rehearse:
        return plan
    plan = rehearsed(plan, output, seeds)
    print(f"This rehearsal: {len(plan.seeds) * len(plan.systems)} runs, results in {plan.output}")
    return plan


def carried_out(plan: Plan, rehearse: bool = False, yes: bool = False) -> Reproduction:
    """Fetch, run and compare, whatever of it is not done yet; the table is printed and written.

    Raises:
        UserError: see ``fetch``, ``output_of``, ``run_all`` and ``side_by_side``.
        KeyboardInterrupt: Ctrl-C; the same call goes on.
    """
    with output_of(plan, rehearse):
        ground = rehearsal_ground(plan) if rehearse else _ground(plan, yes)
        results = run_all(plan, ground)
        rows, notes = side_by_side(plan, ground, results), list(_notes(plan, results, rehearse))
        files = write_side_by_side(plan, rows, rehearse, notes)
    print_in_parts(short_table(plan, rows, rehearse, notes))
    print(f"{', '.join(path.name for path in files)} written to {plan.output}")
    if rehearse:
        print(WARNING)
    return Reproduction(plan, tuple(rows), tuple(files))


def _ground(plan: Plan, yes: bool) -> Ground:
    fetch(plan, yes)
    year = YEARS[plan.target.year]
    return Ground(plan.data, truth_of(plan), year.dev_machines, year.eval_machines)


def _notes(plan: Plan, results: Mapping[str, Mapping[int, ResultSet]], rehearse: bool) -> Iterator[str]:
    """Of how many classes the runs were, where the authors say of how many theirs were."""
    published = plan.target.classes
    counts = {run.read_summary().get("classes") for runs in results.values() for run in runs.values()}
    if published and not rehearse and counts != {published}:
        found = ", ".join(sorted(map(str, counts)))
        yield f"Trained on {found} classes, and published are {published}: the recordings or the classes differ."
