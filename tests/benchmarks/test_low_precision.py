"""What was measured on one processor stays when another is measured."""

import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
REFUSED = "bf16: this processor multiplies bfloat16 numbers more slowly than float32 ones; choose float32"


@pytest.fixture
def pages(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import low_precision_page
    import results

    for module in (low_precision_page, results):
        monkeypatch.setattr(module, "HERE", tmp_path)
    return low_precision_page


def measured(processor, bf16, refused=None):
    row = {"system": "BEATs, mean", "precision": "bf16", "threads": 1, "median_by_the_clock": bf16}
    machine = {
        "processor": processor,
        "cores": 2,
        "torch": "2",
        "load_average_at_start": 0.0,
        "clips": 8,
        "seconds": 10,
    }
    return {
        "machine": {**machine, "refused": {"bf16": refused, "int8": None}},
        "speed": [{**row, "median": bf16, "min": bf16, "max": bf16}],
        "random": [],
        "real": [],
    }


def test_each_processor_keeps_its_own_rows(pages, tmp_path):
    for result in (
        measured("Xeon", 0.58, REFUSED),
        measured("EPYC", 2.0),
        measured("EPYC", 2.5),  # the same again
        measured("EPYC", 0.2, "bf16: lacks it"),  # of the same name, without the instructions
    ):
        pages.leave(result, on_gpu=False)
    kept = json.loads((tmp_path / "low_precision.json").read_text())["measured"]
    assert [(one["machine"]["processor"], one["speed"][0]["median"]) for one in kept] == [
        ("EPYC", 0.2),
        ("EPYC", 2.5),
        ("Xeon", 0.58),
    ]
    page = (tmp_path / "low_precision.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if "BEATs" in line]
    assert [(row[0], row[4], row[-1]) for row in rows] == [
        ("EPYC", "0.20 (0.20 to 0.20)", "no: refused"),
        ("EPYC", "2.50 (2.50 to 2.50)", "yes"),
        ("Xeon", "0.58 (0.58 to 0.58)", "no: refused"),
    ]
    assert f"The package refuses bf16 there (`{REFUSED}`)" in page


@pytest.mark.parametrize(("name", "on_gpu"), [("low_precision", False), ("low_precision_gpu", True)])
def test_the_page_is_of_the_kept_figures(pages, name, on_gpu):
    kept = json.loads((BENCHMARKS / f"{name}.json").read_text(encoding="utf-8"))["measured"]
    assert pages.page(kept, on_gpu) == (BENCHMARKS / f"{name}.md").read_text(encoding="utf-8")
