"""What joins docs/ in the site: README as its first page, changelog, security policy, benchmarks, and their links.

Files keep the links that work in a checkout (``../benchmarks/watch.md``); here they become those between pages.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security-policy.md",
    "CONTRIBUTING.md": "contributing.md",
}
EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?!\1?$).+)*", re.M)
LINK = re.compile(r"(!?)\[([^\[\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def page_of(path: str) -> str | None:
    """The site's page of a file of the repository; None where it has none."""
    if path in ELSEWHERE:
        return ELSEWHERE[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return path if path.startswith("benchmarks/") and path.endswith((".md", ".svg")) else None


def file_of(page: str) -> str:
    """The file of the repository that a page of the site is made from."""
    elsewhere = {made: path for path, made in ELSEWHERE.items()}
    return elsewhere.get(page, page if page.startswith("benchmarks/") else f"docs/{page}")


def linked(markdown: str, page: str) -> str:
    """Links between files as links between pages; what the site has not (a notebook, a script) loses its link.

    >>> linked("[a](../benchmarks/watch.md#day), [b](../CHANGELOG.md), [c](data.md)", "watch.md")
    '[a](benchmarks/watch.md#day), [b](changelog.md), [c](data.md)'
    >>> linked("[d](docs/data.md) and [e](notebooks/first.ipynb)", "index.md")
    '[d](data.md) and `notebooks/first.ipynb`'
    >>> linked("![f](docs/absent/f.png), ![g](notebooks/g.png)", "index.md")
    '![f](absent/f.png), `notebooks/g.png`'
    """

    def one(found: re.Match[str]) -> str:
        image, text, there, part = found.groups("")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(file_of(page)), there))
        target = page_of(path)
        if target is None:
            return f"`{path}`"
        return f"{image}[{text}]({posixpath.relpath(target, posixpath.dirname(page) or '.')}{part})"

    return LINK.sub(one, markdown)


class Examples(griffe.Extension):  # type: ignore[misc]
    """Examples of docstrings as code, which Markdown would else take for quotations."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fence the examples of one object."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(docstring: str) -> str:
    """The docstring, its examples between fences."""
    return EXAMPLE.sub(lambda found: f"{found[1]}```pycon\n{found[0]}\n{found[1]}```", docstring)


def on_files(files: Files, config: Any) -> Files:
    """The repository's other pages, beside those of docs/."""
    for path in [*ELSEWHERE, *(f"benchmarks/{path.name}" for path in sorted((ROOT / "benchmarks").iterdir()))]:
        page = page_of(path)
        if page is not None and (ROOT / path).exists():
            files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with the site's links."""
    return linked(markdown, page.file.src_uri)
