"""The averaged weights are what is tested and saved."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import nn

from asd_lightning.errors import UserError
from asd_lightning.experiment.train import train
from asd_lightning.training.averaging import WeightEMA
from asd_lightning.training.build import load_module
from tests.experiment.runs import last_checkpoint, tiny_config


class Walk(pl.LightningModule):
    """One weight that each update raises by 1, and one batch-norm statistic; remembers both after every update."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.norm = nn.BatchNorm1d(1)
        self.history = []
        self.tested = None

    def training_step(self, batch, batch_idx):
        self.norm(torch.arange(4.0)[:, None] * (batch_idx + 1))
        return -self.weight.sum()

    def on_train_batch_end(self, *_):
        self.history.append((self.weight.item(), self.norm.running_mean.item()))

    def test_step(self, batch, batch_idx):
        self.tested = (self.weight.item(), self.norm.running_mean.item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fit(tmp_path, updates=6, accumulate=1, **options):
    module = Walk()
    trainer = pl.Trainer(
        max_steps=updates,
        accumulate_grad_batches=accumulate,
        accelerator="cpu",
        callbacks=[WeightEMA(**options), pl.callbacks.ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=1)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, torch.utils.data.DataLoader(torch.zeros(updates * accumulate)))
    return trainer, module


def recursion(history, decays):
    average = torch.tensor(history[0], dtype=torch.float64)
    for value, decay in zip(history[1:], decays, strict=True):
        average = decay * average + (1 - decay) * torch.tensor(value, dtype=torch.float64)
    return pytest.approx(tuple(average.tolist()), rel=1e-5)


def test_a_short_run_averages_faster(tmp_path):
    trainer, module = fit(tmp_path, decay=0.9995)
    expected = recursion(module.history, [(1 + n) / (10 + n) for n in range(1, 6)])
    trainer.test(module, torch.utils.data.DataLoader(torch.zeros(1)), verbose=False)
    assert module.tested == expected
    assert module.tested != pytest.approx(module.history[-1])


def test_a_long_run_has_the_constant_decay(tmp_path, monkeypatch):
    monkeypatch.setattr("asd_lightning.training.averaging.SHORT_RUN", 0)
    _, module = fit(tmp_path, decay=0.9)
    assert (module.weight.item(), module.norm.running_mean.item()) == recursion(module.history, [0.9] * 5)


def test_a_decay_per_micro_batch_is_raised_to_the_accumulation(tmp_path, monkeypatch):
    monkeypatch.setattr("asd_lightning.training.averaging.SHORT_RUN", 0)
    _, module = fit(tmp_path, decay=0.9, accumulate=2, unit="micro_batch")
    assert (module.weight.item(), module.norm.running_mean.item()) == recursion(module.history[1::2], [0.81] * 5)


def test_testing_from_the_checkpoint_on_the_same_trainer_tests_the_average(tmp_path):
    """Lightning's own callback loads the raw weights here and says nothing."""
    trainer, module = fit(tmp_path)
    average = module.weight.item()
    trainer.test(
        module, torch.utils.data.DataLoader(torch.zeros(1)), ckpt_path=str(tmp_path / "last.ckpt"), verbose=False
    )
    assert module.tested[0] == pytest.approx(average)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]["weight"].item() == pytest.approx(
        average
    )


def test_an_impossible_decay_is_refused():
    with pytest.raises(UserError, match=r"decay=1\.0: a number from 0 to below 1"):
        WeightEMA(decay=1.0)


@pytest.mark.parametrize(
    "system",
    [
        *(pytest.param(system, marks=pytest.mark.slow) for system in ("system1", "system2", "system3")),
        *("system4", "fft", "statistics", "mn04", "rdp2603"),
    ],
)
def test_restored_scores_equal_trained_ones_exactly(tiny_data, tmp_path, system):
    """Trains 6 updates, tests, saves, loads, tests: to the last bit."""
    import numpy as np

    from asd_lightning.experiment import train as training

    modules = []
    build = training.build_module
    training_build = lambda *arguments: modules.append(build(*arguments)) or modules[-1]  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "build_module", training_build)
        untrained = system in ("statistics", "mn04", "rdp2603")
        updates = 0 if untrained else 6
        score = train(tiny_config(tmp_path, tiny_data, system, updates=updates), tmp_path)
    (module,) = modules
    assert 0 < score < 1
    restored = load_module(tmp_path / "checkpoints/last.ckpt")
    waveform = torch.from_numpy(np.random.default_rng(0).normal(scale=0.1, size=(3, 16_000)).astype(np.float32))
    with torch.no_grad():
        assert torch.equal(restored(waveform), module.eval()(waveform))
    if not untrained:
        averaged, raw = (last_checkpoint(tmp_path)[key] for key in ("state_dict", "current_model_state"))
        assert all(torch.equal(value, averaged[name]) for name, value in restored.state_dict().items())
        assert any(not torch.equal(value, raw[name]) for name, value in averaged.items())


def test_a_run_of_any_length_ends_with_a_checkpoint_of_what_was_tested(tiny_data, tmp_path):
    """Checkpoints come every 2 updates; this run has 3."""
    train(tiny_config(tmp_path, tiny_data, "fft", ["test=false"], updates=3), tmp_path)
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint["global_step"] == 3
    assert {"current_model_state", "averaging_state"} <= checkpoint.keys()


@pytest.mark.parametrize("unit", ["foo", "updates", ""])
def test_units_are_the_two_that_there_are(unit):
    with pytest.raises(UserError, match=f"callbacks.ema.unit={unit}: choose one of update, micro_batch"):
        WeightEMA(unit=unit)


def test_the_average_is_kept_where_the_training_is(unchecked):
    """When Lightning makes it, the weights are still in the processor's memory."""
    average = WeightEMA()
    strategy = SingleDeviceStrategy(torch.device("meta"))
    trainer = SimpleNamespace(strategy=strategy, accumulate_grad_batches=1, max_steps=10)
    average.setup(trainer, Walk(), "fit")
    assert {tensor.device.type for tensor in average._average_model.state_dict().values()} == {"meta"}
