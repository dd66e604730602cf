"""Pictures of scores: a panel for each machine, of very many machines the first."""

import logging

import numpy as np
import pytest
from PIL import Image

from asd_lightning.pages import plots
from asd_lightning.scoring.clip_scores import ClipScore, alarm_lines, by_machine


def scores_of(machines):
    rows = [(d, c) for d in ("source", "target") for c in ("normal", "anomaly")]
    return [
        ClipScore(f"m{m}", "00", f"{number}.wav", *row, "", float(number + m), 2.0, int(number + m > 2))
        for number, row in enumerate(rows)
        for m in machines
    ]


@pytest.mark.usefixtures("painted")
def test_of_very_many_machines_the_first_are_drawn(tmp_path, monkeypatch, caplog):
    plots.plot_roc(scores_of(range(2)), tmp_path / "two.png")
    monkeypatch.setattr(plots, "MOST_PANELS", 2)
    with caplog.at_level(logging.INFO):
        plots.plot_roc(scores_of(range(5)), tmp_path / "five.png")
    assert "the first 2 of 5 machines" in caplog.text
    np.testing.assert_array_equal(*(np.asarray(Image.open(tmp_path / name)) for name in ("two.png", "five.png")))


def test_scores_by_machine_are_what_a_search_for_each_finds():
    scores = scores_of([3, 1, 10, 2])
    grouped = by_machine(scores)
    assert list(grouped) == sorted({score.machine for score in scores})
    for machine, own in grouped.items():
        assert own == [score for score in scores if score.machine == machine]
    assert [line.partition(":")[0] for line in alarm_lines(scores)] == list(grouped)
