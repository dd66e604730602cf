import jaxtyping
import pytest
import torch

from asd_lightning.errors import UserError
from asd_lightning.training.schedule import constant, cosine, inverse_sqrt, warmup_for


def rates(length, make=inverse_sqrt, **arguments):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule = make(optimizer, **arguments)
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


def test_constant_after_its_warmup():
    seen = rates(6000, constant, warmup=5000, updates=37_500)
    assert seen[:5001] == pytest.approx([1e-4 * n / 5000 for n in range(5001)])
    assert set(seen[5000:]) == {1e-4}
    assert rates(40, constant, updates=40)[3:6] == pytest.approx([0.75e-4, 1e-4, 1e-4])
    assert rates(200, constant, unit="micro_batch")[120] == 1e-4


@pytest.mark.parametrize(("unit", "accumulate"), [("update", 8), ("micro_batch", 4)])
def test_half_a_cosine_against_torchs_own(unit, accumulate):
    """Its recursive form, from the end of the warm-up on."""
    length, warmup = 6000, 960 if unit == "update" else 240
    seen = rates(length, cosine, updates=length, unit=unit, accumulate=accumulate)
    assert seen[: warmup + 1] == pytest.approx([1e-4 * n / warmup for n in range(warmup + 1)])
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=length - warmup)
    expected = [1e-4]
    for _ in range(length - warmup):
        optimizer.step()
        theirs.step()
        expected.append(theirs.get_last_lr()[0])
    assert seen[warmup:] == pytest.approx(expected, abs=1e-12)
    assert seen[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("updates", [1, 2, 3])
def test_a_cosine_of_a_very_short_run(updates):
    seen = rates(updates, cosine, updates=updates)
    assert seen[1] == 1e-4
    assert updates == 1 or seen[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("updates", [None, -1])
def test_a_cosine_needs_its_end(updates):
    with pytest.raises(UserError, match=r"trainer\.max_steps"):
        rates(1, cosine, updates=updates)


@pytest.mark.parametrize("make", [inverse_sqrt, constant, cosine])
@pytest.mark.parametrize("bad", [{"unit": "epoch"}, {"warmup": 0}, {"accumulate": 0}])
def test_bad_arguments_are_named(make, bad, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as installed: the checks are for tests
    with pytest.raises(UserError, match=next(iter(bad))):
        rates(1, make, updates=6000, **bad)
