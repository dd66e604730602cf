"""The table of covered lines, added up by hand."""

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
