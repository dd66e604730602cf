import jaxtyping
import pytest
import torch

from asd_lightning.errors import UserError
from asd_lightning.training.schedule import inverse_sqrt, warmup_for


def rates(length, **arguments):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule = inverse_sqrt(optimizer, **arguments)
    seen = []
    for _ in range(length + 1):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_the_four_published_points():
    seen = rates(10_000)
    assert [seen[n] for n in (0, 480, 960, 10_000)] == pytest.approx([0, 5e-5, 1e-4, 3.098e-5], rel=2e-4)


def test_counting_batches_is_the_same_curve_eight_times_as_fast():
    by_batch, by_update = rates(1250, unit="micro_batch"), rates(10_000)
    assert by_batch == pytest.approx(by_update[::8])
    assert by_batch[120] == max(by_batch) == pytest.approx(1e-4)


def test_resumes_where_it_stopped():
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule = inverse_sqrt(optimizer, warmup=4)
    for _ in range(6):
        optimizer.step()
        schedule.step()
    resumed = inverse_sqrt(torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4), warmup=4)
    resumed.load_state_dict(schedule.state_dict())
    optimizer.step()
    schedule.step()
    resumed.step()
    assert resumed.get_last_lr() == schedule.get_last_lr()


def test_length_of_the_run_decides_the_warmup():
    assert rates(300, updates=300)[30] == max(rates(300, updates=300)) == 1e-4
    assert rates(1250, updates=1250, unit="micro_batch") == rates(1250, unit="micro_batch")
    assert rates(40, updates=40, unit="micro_batch")[4] == 1e-4
    assert rates(960, updates=-1) == rates(960)


@pytest.mark.parametrize(("updates", "warmup"), [(10_000, 960), (5_000, 960), (4_999, 500), (300, 30), (3, 1)])
def test_short_runs_warm_up_for_a_tenth(updates, warmup):
    assert warmup_for(updates) == warmup


@pytest.mark.parametrize("bad", [{"unit": "epoch"}, {"warmup": 0}, {"accumulate": 0}])
def test_bad_arguments_are_named(bad, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as installed: the checks are for tests
    with pytest.raises(UserError, match=next(iter(bad))):
        rates(1, **bad)
