"""The list of mutations does not rot: each text stands in its file once, and the test files exist."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def mutations(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import mutations

    return mutations


def test_each_text_stands_in_its_file_once(mutations):
    found = {one.name: (ROOT / one.file).read_text(encoding="utf-8").count(one.before) for one in mutations.MUTATIONS}
    assert {name: count for name, count in found.items() if count != 1} == {}
    assert len(found) == len(mutations.MUTATIONS), "two mutations have one name"
    assert [one.name for one in mutations.MUTATIONS if one.before == one.after] == []


def test_its_tests_exist(mutations):
    named = [test.partition("::") for one in mutations.MUTATIONS for test in one.tests]
    assert [one for one in named if f"def {one[2]}" not in (ROOT / one[0]).read_text(encoding="utf-8")] == []


def test_outcomes_are_kept_while_their_mutation_is_the_same(mutations, monkeypatch):
    first, second = mutations.MUTATIONS[0], next(one for one in mutations.MUTATIONS if "|" in one.before)
    outcomes = {first: "tests/a.py", second: mutations.SURVIVED}
    page = mutations.page(outcomes)
    assert mutations.kept(page) == outcomes
    assert "1 of the 2 changes" in page
    monkeypatch.setattr(mutations, "MUTATIONS", (first._replace(after="another"), second))
    assert list(mutations.kept(page)) == [second]
