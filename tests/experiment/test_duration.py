"""A training that will take long says so once, early; the clock is not a real one."""

import logging
from types import SimpleNamespace

import pytest

from asd_lightning.experiment.duration import LongTraining


class Training:
    """What the callback sees of a trainer, with micro-batches that take as long as they are told to."""

    is_global_zero = True
    strategy = SimpleNamespace(root_device="cpu")

    def __init__(self, updates, accumulate=4):
        self.max_steps, self.accumulate_grad_batches, self.global_step, self.now = updates, accumulate, 0, 100.0

    def run(self, callback, *seconds):
        for number, taken in enumerate(seconds, start=1):
            self.now += taken
            self.global_step = number // self.accumulate_grad_batches
            callback.on_train_batch_end(self, None, None, None, number - 1)


@pytest.fixture
def told(caplog, unchecked):
    def run(training, *seconds, **options):
        callback = LongTraining(clock=lambda: training.now, **options)
        callback.on_train_start(training, None)
        with caplog.at_level(logging.INFO):
            training.run(callback, *seconds)
        return [record.getMessage() for record in caplog.records]

    return run


def test_said_once_with_hours_and_days(told):
    # The first takes 60 s and counts for nothing; then 40 s a micro-batch, 160 s an update, and 2000 are left.
    (message,) = told(Training(2000), 60, *[40] * 20)
    assert message.startswith(
        "this training will take about 89 hours (3.7 days) on cpu: 2000 updates of 160 s are left"
    )


def test_said_as_soon_as_half_a_minute_is_measured(told):
    training = Training(20_000, accumulate=1)
    assert told(training, 5, *[10] * 2) == []
    (message,) = told(training, 5, *[10] * 3)
    # 4 of 20,000 updates are done: 19,996 of 10 s are 55.54 hours.
    assert "about 56 hours (2.3 days)" in message


@pytest.mark.parametrize(("hours", "said"), [(12.0, 1), (14.0, 0)])
def test_only_what_is_long(told, hours, said):
    # 600 updates of 20 micro-batches of 4 s: 13.3 hours.
    messages = told(Training(600, accumulate=20), 1, *[4] * 10, hours=hours)
    assert len(messages) == said
    assert all("about 13 hours on cpu" in message for message in messages)


def test_not_where_there_is_no_end_nor_on_other_processes(told):
    assert told(Training(-1), 1, *[4000] * 5) == []
    other = Training(20_000)
    other.is_global_zero = False
    assert told(other, 1, *[4000] * 5) == []


def test_every_run_has_it():
    from asd_lightning.configuration import compose_train, plain

    assert plain(compose_train([]))["callbacks"]["long_training"]["_target_"].endswith(".LongTraining")
