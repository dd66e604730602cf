"""Recordings, weights and truth brought here by the downloads there are; what cannot be had is one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import requests
from rich.console import Console
from rich.filesize import decimal

from asd_lightning.download.pipeline import Selection, Source, download_year
from asd_lightning.download.records import on_mirror
from asd_lightning.download.retry import new_session
from asd_lightning.download.years import MIRROR_VARIABLE, YEARS, Part
from asd_lightning.encoders.weights.catalog import find
from asd_lightning.encoders.weights.store import fetch_weights, weights_dir
from asd_lightning.errors import UserError
from asd_lightning.evaluation.ground_truth import read_ground_truth
from asd_lightning.reproduction.plan import Plan, truth_of

MUCH_BYTES = 2 * 10**9
"""More than this is fetched unasked only where somebody sees the plan and can stop it."""
_PATIENCE_SECONDS = 10.0


def fetch(plan: Plan, yes: bool) -> None:
    """Bring what the plan lacks; what an earlier call has brought stays.

    Args:
        plan: what is to be had.
        yes: much may be fetched without a terminal.

    Raises:
        UserError: much without a terminal, no network, or what a download raises.
    """
    if plan.download_bytes > MUCH_BYTES and not yes and not sys.stderr.isatty():
        raise UserError(
            f"about {decimal(plan.download_bytes)} would be fetched, and there is no terminal to see it: give --yes"
        )
    _refuse_unreachable(plan)
    console = Console(stderr=True)
    for name in plan.missing_weights:
        fetch_weights(name, console=console)
    if plan.missing_parts:
        _download(plan, plan.data, plan.missing_parts, console)
    if plan.target.evaluated and truth_of(plan) is None:
        _download(plan, plan.truth, ("truth",), console)
        if notice := YEARS[plan.target.year].truth_notice:
            console.print(notice)


def _download(plan: Plan, root: Path, parts: tuple[Part, ...], console: Console) -> None:
    download_year(
        *(YEARS[plan.target.year], root, Selection(parts), Source(_mirror())),
        console=console,
        check_truth=read_ground_truth,
    )


def _refuse_unreachable(plan: Plan) -> None:
    """Ask each server once, shortly: the downloads themselves are patient for minutes."""
    needed = [("/".join(address.split("/")[:3]), command, place) for address, command, place in _needed(plan)]
    silent = {server for server in dict.fromkeys(server for server, _, _ in needed) if not _answers(server)}
    lines = [
        f"{place} is not here or not whole, and {server} cannot be reached: where it can, run `{command}`, and bring "
        f"{place} to this computer"
        for server, command, place in needed
        if server in silent
    ]
    if lines:
        raise UserError("\n".join(lines))


def _answers(server: str) -> bool:
    try:
        with new_session() as session:
            session.head(server, timeout=_PATIENCE_SECONDS, allow_redirects=False)
    except requests.RequestException:
        return False
    return True


def _needed(plan: Plan) -> Iterator[tuple[str, str, Path]]:
    """Address, command that fetches what lies behind it, and where it belongs."""
    year = YEARS[plan.target.year]
    if plan.missing_parts:
        record = on_mirror(year.record_url(plan.missing_parts[0]), _mirror())
        parts = ",".join(plan.missing_parts)
        yield record, f"asd download dcase{year.year} --parts {parts} -o {plan.data}", plan.data
    for name in plan.missing_weights:
        # Without an address, to fetch them says how else they are to be had.
        if (address := find(name).url) is not None:
            yield address, f"asd weights fetch {name}", weights_dir() / f"{name}.safetensors"
    if plan.target.evaluated and truth_of(plan) is None:
        address = on_mirror(year.truth_urls[0], _mirror())
        yield address, f"asd download dcase{year.year} --parts truth -o {plan.truth}", plan.truth


def _mirror() -> str | None:
    return os.environ.get(MIRROR_VARIABLE) or None
