"""What a run prints: what a reader can use, in order, in 80 columns."""

import re

import pytest
from pytorch_lightning.callbacks import RichProgressBar
from rich.progress import Progress
from torch import nn

from asd_lightning.encoders.statistics import TemporalStatistics
from asd_lightning.experiment.terminal import Pace, ProgressBar, own_part
from tests.experiment.runs import tiny_overrides
from tests.forked import run_forked


@pytest.fixture(scope="module")
def printed(tiny_data, tmp_path_factory):
    """Lines of a short run, its standard output and error in one pipe."""
    overrides = [text for text in tiny_overrides(tiny_data, "fft", updates=12) if not text.startswith("~")]
    done = run_forked(["train", *overrides, "test=true"], tmp_path_factory.mktemp("run"), merged=True)
    assert done.returncode == 0, done.stdout
    return [line.rstrip() for line in done.stdout.splitlines() if line.strip()]


def test_the_results_come_last(printed):
    bars = [index for index, line in enumerate(printed) if line.startswith(("Batches ", "Testing "))]
    scores = next(index for index, line in enumerate(printed) if "Official score" in line)
    assert len(bars) == 2
    assert max(bars) < scores
    assert printed[-1].startswith("Results: ")


def test_the_bar_is_one_line(printed):
    (training,) = (index for index, line in enumerate(printed) if line.startswith("Batches "))
    assert len(printed[training]) <= 80
    assert " 12/12 " in printed[training]
    assert "loss: " in printed[training]
    assert printed[training + 1].startswith("Testing ")


def test_the_bars_tell_time_and_speed_in_words(printed):
    bars = [line for line in printed if line.startswith(("Batches ", "Testing "))]
    for bar in bars:
        assert re.search(r" \d:\d\d:\d\d • (\d+|\d\.\d) batches/s| \d:\d\d:\d\d • \d+\.\d s/batch", bar), bar
        assert "it/s" not in bar


def test_a_bar_on_its_way_says_what_is_left():
    now = 0.0
    with Progress(Pace(), get_time=lambda: now, disable=True) as progress:
        task = progress.add_task("", total=100)
        assert Pace().render(progress.tasks[0]).plain == "0:00:00"
        for later in (10.0, 20.0, 30.0, 40.0):
            now = later
            progress.update(task, advance=5)
        # 20 batches in 40 s; what is left, by the last 15 of them in 30 s.
        assert Pace().render(progress.tasks[0]).plain == "0:00:40 • 0:02:40 left • 2.0 s/batch"
        now = 50.0
        progress.update(task, completed=100)
        assert Pace().render(progress.tasks[0]).plain == "0:00:50 • 2.0 batches/s"


def test_the_loss_is_read_every_tenth_batch_and_at_the_end(monkeypatch, unchecked):
    drawn = []
    monkeypatch.setattr(RichProgressBar, "on_train_batch_end", lambda *arguments: drawn.append(arguments[-1]))
    monkeypatch.setattr(ProgressBar, "total_train_batches", 25)
    bar = ProgressBar()
    for index in range(25):
        bar.on_train_batch_end(None, None, None, None, index)
    assert drawn == [9, 19, 24]


def test_an_encoder_of_ones_own_is_named_as_it_is_imported():
    assert own_part(nn.Identity()) == "torch.nn.modules.linear.Identity, "
    assert own_part(TemporalStatistics()) == ""


def test_the_system_is_named_with_its_true_size(printed):
    assert any(line.startswith("branch fft: embedding of 128, ") for line in printed)
    assert not any("FLOPs" in line for line in printed)
    (told,) = (match for line in printed if (match := re.match(r"loss and head: (\d+) classes, ([\d,]+) param", line)))
    classes, parameters = (int(number.replace(",", "")) for number in told.groups())
    bottleneck = (128 * 64 + 64) + 2 * 64 + (64 * 128 + 128) + 2 * 128
    assert parameters == classes * 128 + bottleneck


@pytest.mark.parametrize(
    "noise",
    [
        "weights_only",
        "GPU available",
        "TPU",
        "srun",
        "many workers",
        "LeafSpec",
        "`Trainer.fit` stopped",
        "Tip",
        "v_num",
    ],
)
def test_nothing_that_nobody_can_act_upon(printed, noise):
    assert not [line for line in printed if noise in line]
