"""A test stores what a loop over steps and bands finds in the same tokens, and scores what it scores without that."""

import math

import numpy as np
import pytest
import torch

from asd_lightning.cli import main
from asd_lightning.encoders.family import FAMILY
from asd_lightning.errors import UserError
from asd_lightning.experiment.retest import retest
from asd_lightning.experiment.stored_features import chosen_sources, stored_sources
from asd_lightning.experiment.train import train
from asd_lightning.run_folder import CHECKPOINT
from asd_lightning.scoring.embedding_cache import read_embeddings
from asd_lightning.scoring.feature_store import read_features
from asd_lightning.training.build import load_module
from tests.experiment.runs import tiny_config

MACHINES = "data.machines=[fan]"


def stored_run(folder, data, system, *changes):
    folder.mkdir()
    train(tiny_config(folder, data, system, [MACHINES, *changes], updates=0), folder)
    return folder


def by_hand(steps: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The family over the T vectors of one band, as the papers have it."""
    x = np.array(steps, dtype=np.float64)
    mean = sum(x) / len(x)
    positive = np.maximum(x, 0)
    distance = [math.sqrt(sum((step - mean) ** 2)) for step in x]
    found = {
        "mean": mean,
        "max": np.array([max(column) for column in x.T]),
        "std": np.sqrt(sum((x - mean) ** 2) / len(x)),
        "gem_3": (sum(positive**3) / len(x)) ** (1 / 3),
        "gem_6": (sum(positive**6) / len(x)) ** (1 / 6),
    }
    for gamma in (1, 4, 8, 16):
        weight = [(1 + d / max(distance)) ** gamma for d in distance]
        weight = [w / sum(weight) for w in weight]
        found[f"rdp_{gamma}"] = sum(w * step for w, step in zip(weight, x, strict=True))
    found["rdp_16_gem_3"] = sum(w * step**3 for w, step in zip(weight, positive, strict=True)) ** (1 / 3)
    return found


# Where band f of step t lies in the tokens: of mn04 with bands kept a token is a step, channel by channel; EAT's first
# token is CLS.
CELLS = {
    "mn04": lambda tokens, bands, t, f: tokens[t].reshape(-1, bands)[:, f],
    "log_mel": lambda tokens, bands, t, f: tokens[bands * t + f],
    "beats_frozen": lambda tokens, bands, t, f: tokens[bands * t + f],
    "eat_frozen": lambda tokens, bands, t, f: tokens[1 + bands * t + f],
}


@pytest.mark.parametrize("system", CELLS)
def test_every_pooling_of_every_grid(tiny_data, tmp_path, system):
    run = stored_run(tmp_path / "run", tiny_data, system, "store_features=all")
    cache = read_embeddings(run / "results/embeddings.npz")
    assert sorted(path.stem for path in (run / "results/features").iterdir()) == sorted(FAMILY)
    module = load_module(run / CHECKPOINT)
    (branch,) = module.embedder.branches.values()
    row = 5
    heard = cache.key.preprocessing
    waveform = torch.from_numpy(heard.windows(heard.read(cache.query_clips[row].path)))
    with torch.inference_mode():
        (tokens,) = branch.encoder(branch.front_end(waveform)).numpy()
    bands = branch.encoder.grid.bands
    steps = (len(tokens) - (system == "eat_frozen")) // (1 if system == "mn04" else bands)
    for band in range(bands):
        found = by_hand([CELLS[system](tokens, bands, t, band) for t in range(steps)])
        assert sorted(found) == sorted(FAMILY)
        for name, expected in found.items():
            features = read_features(run / f"results/features/{name}.npz")
            assert (features.pooling, features.key, features.bands) == (name, cache.key, bands)
            assert (len(features.reference), len(features.query)) == (len(cache.reference), len(cache.query))
            # Half precision, and a batch of 32 in single precision.
            tolerance = 2e-3 * np.abs(expected).max()
            np.testing.assert_allclose(features.query[row, band], expected, rtol=0, atol=tolerance)


def test_a_later_test_stores_them_scores_as_before_and_the_sweep_finds_them(tiny_data, tmp_path, capsys, monkeypatch):
    tokens = "model/embedder/pooling@model.embedder.branches.mn04.pooling=tokens"
    run = stored_run(tmp_path / "run", tiny_data, "mn04", "data.clip_seconds=0.5", "data.test_windows=2", tokens)
    with pytest.raises(
        UserError,
        match=r"^no stored features of rdp_4 \(.*: stored no pooling\); asd test .* store_f",
    ):
        stored_sources(run, ["rdp_4"])
    with pytest.raises(UserError, match=r"^no stored features \(.*results: stored no pooling\); asd test"):
        stored_sources(run, ())
    retest(run, ["store_features=[mean,rdp_4]", "~callbacks.progress", "trainer.accelerator=cpu"])
    before, after = run / "results", run / "results_2"
    assert not (before / "features").exists()
    assert (before / "scores.csv").read_bytes() == (after / "scores.csv").read_bytes()
    caches = [read_embeddings(results / "embeddings.npz") for results in (before, after)]
    assert caches[0].key == caches[1].key
    np.testing.assert_array_equal(caches[0].query, caches[1].query)
    # Crops are averaged as the embeddings are; the run's own pooling is the mean of each channel in each band.
    mean = read_features(after / "features/mean.npz").query.astype(np.float64)
    own = caches[1].query.reshape(len(mean), -1, 8).swapaxes(1, 2)
    np.testing.assert_allclose(mean, own, rtol=0, atol=1e-3 * np.abs(own).max())
    monkeypatch.setattr("asd_lightning.experiment.retest.retest", lambda *_: pytest.fail("tested again"))
    count, sources = stored_sources(run, ())
    found = list(sources)
    assert count == 4
    assert [(one.pooling, one.bands) for one in found] == [
        *(("run", None), ("mean", 8), ("rdp_4", 8), ("mean_merged", 1)),
    ]
    assert [one.cache.query.shape[1] for one in found] == [256, 256, 256, 32]
    # Features of other weights are none of the run's.
    content = torch.load(run / CHECKPOINT, weights_only=True)
    next(value for name, value in content["state_dict"].items() if name.endswith("weight")).mul_(1.5)
    torch.save(content, run / CHECKPOINT)
    with pytest.raises(UserError, match="made with other weights"):
        stored_sources(run, ["mean"])


def test_a_system_without_a_grid_of_tokens_is_told_before_anything_is_embedded(
    tiny_data, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"store_features: one branch .* is needed.*\(statistics\) .*: none"):
        stored_run(tmp_path / "one", tiny_data, "statistics", "store_features=all")
    with pytest.raises(UserError, match=r"of this system's \(eat, beats\) these have one: eat, beats"):
        stored_run(tmp_path / "two", tiny_data, "system3", "store_features=all")
    assert main(["train", "experiment=mn04", f"data.root={tiny_data}", "store_features=[rdp]"]) == 2
    assert "store_features: 'rdp' is no pooling; choose all, or a list of mean" in capsys.readouterr().err


def test_names_of_poolings():
    assert chosen_sources("all") == ()
    assert chosen_sources("mean_merged, run,rdp_4,run") == ("mean_merged", "run", "rdp_4")
    with pytest.raises(UserError, match=r"pooling=mean,rdp: unknown rdp; choose all, or from run, mean, max"):
        chosen_sources("mean,rdp")
    with pytest.raises(UserError, match=r"unknown \(none named\)"):
        chosen_sources(",")


def test_what_several_tests_have_stored_is_swept_together(tiny_data, tmp_path):
    run = stored_run(tmp_path / "run", tiny_data, "mn04", "data.clip_seconds=0.5", "store_features=[mean]")
    retest(run, ["store_features=[max]", "~callbacks.progress", "trainer.accelerator=cpu"])
    count, sources = stored_sources(run, ())
    assert [source.pooling for source in sources] == ["run", "mean", "max", "mean_merged"]
    assert count == 4
    # A file under another pooling's name says so itself.
    (run / "results_2/features/max.npz").rename(run / "results/features/max.npz")
    (run / "results/features/mean.npz").rename(run / "results_2/features/max.npz")
    (run / "results/features/max.npz").rename(run / "results/features/mean.npz")
    with pytest.raises(UserError, match=r"mean.npz: holds the pooling max, under another's name"):
        list(stored_sources(run, ["mean"])[1])
