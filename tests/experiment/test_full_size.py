"""The four systems with encoders of full size and random weights: one update, then a test."""

import pytest

from asd_lightning.experiment.train import train
from tests.experiment.runs import last_checkpoint, tiny_config

FULL_SIZE = [
    "encoders=random",
    "data.clip_seconds=1.0",
    "data.machines=[fan]",
    "data.batch_size=2",
    "data.test_batch_size=8",
]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("system", "parameters"), [("system1", 92e6), ("system2", 91e6), ("system3", 181e6), ("system4", 182e6)]
)
def test_trains_a_step_and_tests(tiny_data, tmp_path, system, parameters):
    score = train(tiny_config(tmp_path, tiny_data, system, FULL_SIZE, updates=1), tmp_path)
    assert 0 < score < 1
    state = last_checkpoint(tmp_path)["state_dict"]
    names = {name for name in state if name.startswith("embedder.")}
    assert sum(state[name].numel() for name in names) == pytest.approx(parameters, rel=0.01)
