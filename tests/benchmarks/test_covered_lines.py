"""The table of covered lines, added up by hand."""

import pytest

from tests.reference import REPOSITORY


def test_lines_are_added_up_by_room(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    from covered_lines import table

    files = {
        "asd_lightning/data/cache.py": (100, 90),
        "asd_lightning/data/layout.py": (100, 100),
        "asd_lightning/encoders/weights/store.py": (50, 25),
        "asd_lightning/cli.py": (10, 0),
        "asd_lightning/errors.py": (0, 0),
    }
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(files) if line.startswith("|")][2:]
    assert rows == [
        ["(the package's own files)", "10", "10", "0.0%"],
        ["data", "200", "10", "95.0%"],
        ["encoders", "50", "25", "50.0%"],
        ["all", "260", "45", "82.7%"],
    ]
    assert "82.7% of the 260 lines" in "\n".join(table(files))


def test_lines_of_all_processes_are_joined_and_a_wheels_are_the_checkouts(tmp_path, monkeypatch):
    coverage = pytest.importorskip("coverage")
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    from covered_lines import join

    places = {"one": f"{REPOSITORY}/asd_lightning/errors.py", "two": "/venv/site-packages/asd_lightning/errors.py"}
    for number, (name, place) in enumerate(places.items()):
        data = coverage.CoverageData(str(tmp_path / name))
        data.add_lines({place: [1, 3 + number], "/venv/site-packages/asd_lightning/pages/templates/page.html": [1]})
        data.write()
    join([tmp_path / "one", tmp_path / "two"], tmp_path / "all")
    found = coverage.CoverageData(str(tmp_path / "all"))
    found.read()
    assert {name: sorted(found.lines(name)) for name in found.measured_files()} == {places["one"]: [1, 3, 4]}
