"""The files of the page: those here, and no others, are sent."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from asd_lightning.pages.template import stylesheet

_FOLDER = Path(__file__).with_name("page")
# As all pages of this package have it, made of a template.
_SHARED = "/static/style.css"
_KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_NAMES = {
    "/": "index.html",
    **{
        f"/static/{name}": name
        for name in (
            "page.css",
            "page.js",
            "charts.js",
            "elements.js",
            "live.js",
            "server.js",
            "windows.js",
            "words.js",
        )
    },
}
PATHS = (*_NAMES, _SHARED)
"""Where they are."""


@cache
def page_file(path: str) -> tuple[str, str]:
    """Content and kind of what is at one of `PATHS`.

    >>> page_file("/static/page.js")[1], page_file("/static/style.css")[1]
    ('text/javascript', 'text/css')
    """
    if path == _SHARED:
        return stylesheet(), _KINDS[".css"]
    file = _FOLDER / _NAMES[path]
    return file.read_text(encoding="utf-8"), _KINDS[file.suffix]
