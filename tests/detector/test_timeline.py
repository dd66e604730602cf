"""Timelines: what is drawn where, and that nothing else is written over."""

import numpy as np
import pytest

from asd_lightning.cli import main
from asd_lightning.detector.judging import Judgment, Window
from asd_lightning.detector.timeline import plot_timelines, timeline
from asd_lightning.errors import UserError
from asd_lightning.figures import decision_tint
from tests.detector.sounds import hum, whine, write

NAN = float("nan")


def judgment(path, machine, *windows):
    made = tuple(Window(5.0 * n, 5.0 * n + 5.0, score, decision) for n, (score, decision) in enumerate(windows))
    return Judgment(path, machine, 1.0, 2.0, "normal", 0.5, (), made, None)


TWO = [
    judgment("a.wav", "pump", (1.0, "normal"), (2.5, "warning"), (9.0, "cannot judge")),
    judgment("b.wav", "pump", (4.0, "alarm"), (NAN, "not running")),
]


def corners(axis, label):
    """Begin, end and height of each piece of one decision."""
    (found,) = [one for one in axis.collections if one.get_label() == label]
    boxes = [path.get_extents() for path in found.get_paths()]
    return [(box.x0, box.x1, box.y1) for box in boxes]


def test_recordings_lie_end_to_end_in_the_colors_of_decisions():
    figure = timeline(TWO, {"pump": 3.0})
    (axis,) = figure.axes
    assert axis.get_title() == "pump: 2 recordings"
    assert corners(axis, "normal") == [(0, 5, 1)]
    assert corners(axis, "warning") == [(5, 10, 2.5)]
    assert corners(axis, "cannot judge") == [(10, 15, 1)]
    assert corners(axis, "alarm") == [(15, 20, 4)]
    assert corners(axis, "not running") == [(20, 25, 1)]
    (alarm,) = [one for one in axis.collections if one.get_label() == "alarm"]
    assert np.allclose(
        alarm.get_facecolor()[0, :3], [int(decision_tint("alarm").light[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    )
    levels = {line.get_label(): line.get_ydata()[0] for line in axis.lines if "above" in line.get_label()}
    assert levels == {"warning above": 2.0, "alarm above": 3.0}
    # What could not be judged does not stretch the scale.
    assert axis.get_ylim()[1] < 5


def test_each_machine_has_a_panel_and_one_recording_its_name():
    figure = timeline([*TWO, judgment("x$.wav", "fan", (1.0, "normal"))], {})
    assert [axis.get_title() for axis in figure.axes] == ["pump: 2 recordings", "x$.wav (fan): normal"]
    labeled = timeline([*TWO, judgment("x.wav", "fan")], {}, {"fan": "score, 1 = warning"})
    assert [axis.get_ylabel() for axis in labeled.axes] == ["score", "score, 1 = warning"]


def test_the_last_window_is_seen_where_it_overlaps():
    one = TWO[0]._replace(windows=(Window(0.0, 5.0, 1.0, "normal"), Window(3.0, 8.0, 3.0, "alarm")))
    (axis,) = timeline([one], {}).axes
    assert corners(axis, "normal") == [(0, 3, 1)]
    assert corners(axis, "alarm") == [(3, 8, 3)]


def test_hours_are_told_in_hours_and_nothing_in_seconds():
    long = TWO[0]._replace(windows=(Window(0.0, 4 * 3600.0, 1.0, "normal"),))
    assert timeline([long], {}).axes[0].get_xlabel() == "time, h"
    assert timeline([TWO[0]._replace(windows=())], {}).axes[0].get_xlabel() == "time, s"


def test_a_folder_gets_a_picture_for_each_recording(tmp_path):
    both = [TWO[0], TWO[0]._replace(path="elsewhere/a.wav"), TWO[1]]
    written = plot_timelines(both, {}, tmp_path / "pictures")
    assert [path.name for path in written] == ["a.svg", "a_2.svg", "b.svg"]
    assert "a.wav" in (tmp_path / "pictures/a.svg").read_text()
    assert plot_timelines(both, {}, tmp_path / "pictures") == written


def test_no_folder_is_made_of_the_name_of_another_picture(tmp_path):
    with pytest.raises(
        UserError, match=r"t\.pdf: no picture that ends in \.pdf is drawn; give \.svg, \.png or a folder"
    ):
        plot_timelines([], {}, tmp_path / "t.pdf")
    assert not list(tmp_path.iterdir())
    (tmp_path / "run.3").mkdir()
    assert plot_timelines([], {}, tmp_path / "run.3") == []


def test_only_a_timeline_is_replaced(tmp_path):
    plot_timelines(TWO, {}, tmp_path / "one.png")
    plot_timelines(TWO, {}, tmp_path / "one.png")
    for name in ("photo.png", "drawing.svg", "notes.txt"):
        (tmp_path / name).write_bytes(b"mine")
        with pytest.raises(UserError, match="no timeline"):
            plot_timelines(TWO, {}, tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"mine"


def test_score_draws(pump, tmp_path, capsys):
    detector = str(pump / "pump.asd")
    clip = write(tmp_path / "today.wav", np.concatenate([hum(80, 2.0), whine(81)]))
    assert main(["score", detector, str(clip), "--plot", str(tmp_path / "today.svg")]) == 1
    assert "today.svg: 1 picture" in capsys.readouterr().out
    assert "today.wav (pump)" in (tmp_path / "today.svg").read_text()
    assert main(["score", detector, str(clip), "--plot", str(clip)]) == 2
    assert main(["score", detector, str(clip), "--plot", str(tmp_path / "x.svg"), "--events"]) == 2
