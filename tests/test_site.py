"""The documentation as a site: every page is in its menu, and links between files become links between pages."""

import doctest
import importlib.util
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("mkdocs")


@pytest.fixture(scope="module")
def site():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs/site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_menu(entries):
    for entry in entries:
        values = [entry] if isinstance(entry, str) else entry.values()
        for value in values:
            yield from [value] if isinstance(value, str) else in_menu(value)


def test_every_page_is_in_the_menu(site):
    menu = list(in_menu(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    elsewhere = {made for path, made in site.ELSEWHERE.items() if (ROOT / path).exists()}
    assert sorted(menu) == sorted(pages | elsewhere)


def test_examples(site):
    assert doctest.testmod(site).failed == 0


def test_a_benchmarks_link_leads_back(site):
    assert (
        site.linked("[a](../docs/promise.md#x) [b](growth.svg)", "benchmarks/watch.md")
        == "[a](../promise.md#x) [b](growth.svg)"
    )
    assert (
        site.linked("[a](https://example.org/x.md) [b](#here)", "watch.md")
        == "[a](https://example.org/x.md) [b](#here)"
    )


def test_examples_of_docstrings_are_code(site):
    assert site.fenced("Half.\n\n>>> half(3)\n1.5\n\nAnd so on.") == (
        "Half.\n\n```pycon\n>>> half(3)\n1.5\n```\n\nAnd so on."
    )
    assert site.fenced("Nothing to fence.") == "Nothing to fence."
