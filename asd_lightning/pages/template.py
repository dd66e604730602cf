"""One style, one script and one frame for every page: an HTML file that loads nothing else."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from asd_lightning import __version__
from asd_lightning.atomic import full_disk, write_atomically
from asd_lightning.errors import UserError
from asd_lightning.figures import TINTS, series_tint
from asd_lightning.pages.policy import content_policy

OURS = " – anomalous sound detection</title>"
"""By this a file is known for a page of this package."""
_BEGINNING = 2048


def refuse_other_file(out: Path) -> None:
    """Before the work: what a mistyped name would destroy is left alone.

    Raises:
        UserError: ``out`` is a folder, or a file that is no page of this package.
    """
    if out.is_dir():
        raise UserError(f"{out}: is a folder; name a file in it with --output")
    if not out.exists():
        return
    if out.is_file():
        with out.open("rb") as file:
            if OURS.encode() in file.read(_BEGINNING) or not out.stat().st_size:
                return
    raise UserError(f"{out}: is there already, and no page; give another file with --output")


def write_page(out: Path, template: str, shown: dict[str, Any]) -> Path:
    """Fill ``template`` with ``shown`` and write it whole or not at all; returns ``out``.

    Raises:
        UserError: ``out`` cannot be written.
    """
    text = render_page(template, shown)
    try:
        with write_atomically(out) as file:
            file.write(text.encode())
    except OSError as error:
        why = error.strerror or error
        raise full_disk(error) or UserError(f"cannot write {out} ({why}): name another file with --output") from error
    return out


def render_page(template: str, shown: dict[str, Any]) -> str:
    """The page as text; all that ``shown`` holds is escaped, unless it is ``Markup``."""
    environment = _environment()
    style = stylesheet()
    script = environment.get_template("page.js").render()
    frame = {
        "version": __version__,
        "ours": Markup(OURS),
        "style": Markup(style),
        "script": Markup(script),
        "policy": content_policy(script, style),
    }
    return environment.get_template(template).render(frame | shown)


def stylesheet() -> str:
    """The style that all pages share, with the colors of all that is drawn."""
    return _environment().get_template("page.css").render(tints=TINTS)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("asd_lightning.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number, "css": series_css, "in_parts": in_parts}
    return environment


def series_css(index: int) -> str:
    """CSS class of the index-th run."""
    return series_tint(index).css


def in_parts(name: str) -> Markup:
    """A name that goes on below after ``_``, ``.``, ``=`` or ``/`` where it must, and is copied as it is.

    >>> str(in_parts("eat_<b"))
    'eat_<wbr>&lt;b'
    """
    parts = re.split(r"(?<=[_.=/])", name)
    return Markup("<wbr>").join(parts)


def percent(value: float) -> str:
    """A fraction in per cent with one decimal, as on a page."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def number(value: float) -> str:
    """Four digits of a number."""
    return "–" if math.isnan(value) else f"{value:.4g}"
