"""Runs are averaged where they differ in nothing but the seed."""

import json

import yaml

from asd_lightning.comparison.settings import differing_settings, labels_of_difference, settings_of
from asd_lightning.comparison.systems import compare_runs
from asd_lightning.comparison.tables import hmean_table, metrics_table
from tests.comparison.runs import finished_run

CONFIG = {
    "system": "fft",
    "seed": 0,
    "data": {"root": "/d", "clip_seconds": 10.0, "num_workers": 0, "seed": 0},
    "model": {"loss": {"margin": 0.2}, "scorer": {"_target_": "x.KNNScorer", "k": 1}, "seed": 0},
    "trainer": {"max_steps": 100, "accelerator": "cpu"},
    "callbacks": {"ema": {"decay": 0.9}, "progress": {"a": 1}},
    "choices": {"model/scorer": "knn"},
}


def run(folder, changes=None, seed=0, clips="abc", choices=None, place="results"):
    config = json.loads(json.dumps(CONFIG))
    for key, value in {"seed": seed, "model.seed": seed, "data.seed": seed, **(changes or {})}.items():
        *above, last = key.split(".")
        holder = config
        for part in above:
            holder = holder[part]
        holder[last] = value
    config["choices"] |= choices or {}
    finished_run(folder, "fft", seed)
    results = folder / place
    if place != "results":
        (folder / "results").rename(results)
        finished_run(folder / "again", "fft", seed)
        (folder / "again/results").rename(folder / "results")
        (folder / "results/config.yaml").write_text(yaml.safe_dump(CONFIG))
    (results / "config.yaml").write_text(yaml.safe_dump(config))
    summary = json.loads((results / "summary.json").read_text())
    (results / "summary.json").write_text(json.dumps(summary | {"training_clips": clips}))
    return folder


def columns(*folders):
    return {system.name: len(system.finished) for system in compare_runs(folders).systems}


def test_seeds_are_averaged(tmp_path):
    runs = [run(tmp_path / str(seed), seed=seed) for seed in range(3)]
    assert columns(*runs) == {"fft": 3}


def test_another_margin_is_another_column(tmp_path):
    runs = [run(tmp_path / "a"), run(tmp_path / "b", {"model.loss.margin": 0.4}, seed=1)]
    assert columns(*runs) == {"fft margin=0.2": 1, "fft margin=0.4": 1}


def test_other_training_clips_are_another_column_and_another_place_is_not(tmp_path):
    one, moved = run(tmp_path / "a"), run(tmp_path / "b", {"data.root": "/elsewhere"}, seed=1)
    assert columns(one, moved) == {"fft": 2}
    other = run(tmp_path / "c", seed=2, clips="def")
    assert columns(one, moved, other) == {"fft training clips=abc": 2, "fft training clips=def": 1}


def test_who_watches_and_where_it_ran_does_not_matter(tmp_path):
    changes = {"trainer.accelerator": "gpu", "callbacks.progress": None, "data.num_workers": 4}
    assert columns(run(tmp_path / "a"), run(tmp_path / "b", changes, seed=1)) == {"fft": 2}


def test_what_was_chosen_as_a_whole_is_named_by_the_choice(tmp_path):
    scorer = {"_target_": "x.KMeansScorer", "clusters": 16}
    one = run(tmp_path / "a")
    other = run(tmp_path / "b", {"model.scorer": scorer}, choices={"model/scorer": "kmeans"})
    assert columns(one, other) == {"fft scorer=knn": 1, "fft scorer=kmeans": 1}


def test_a_later_test_is_known_by_how_its_weights_came_about():
    """It has a trainer and callbacks of its own."""
    later = CONFIG | {"trainer": {"max_steps": 10_000}, "callbacks": {"ema": None}}
    later["trained"] = {"trainer": CONFIG["trainer"], "callbacks": {"ema": CONFIG["callbacks"]["ema"]}}
    assert settings_of(later, {}) == settings_of(CONFIG, {})


def test_labels_stay_apart_where_a_choice_hides_the_difference():
    groups = [{"model.scorer.k": "1"}, {"model.scorer.k": "5"}, {"model.scorer.k": "9"}]
    choices = [{"model/scorer": "knn"}, {"model/scorer": "knn"}, {"model/scorer": "other"}]
    assert labels_of_difference(groups, choices) == ["k=1", "k=5", "k=9"]


def test_a_pooling_is_named_by_its_choice_where_all_have_the_branch():
    group, key = "model/embedder/pooling@model.embedder.branches.mn04.pooling", "model.embedder.branches.mn04.pooling"
    settings = [{f"{key}.over_time.gamma": gamma, "model.loss.margin": "0.2"} for gamma in ("4", "16")]
    chosen = [{"model/scorer": "knn", group: pooling} for pooling in ("rdp", "rdp_gem")]
    assert labels_of_difference(settings, chosen) == ["pooling=rdp", "pooling=rdp_gem"]
    assert labels_of_difference(settings, [chosen[0], {"model/scorer": "knn"}]) == ["gamma=4", "gamma=16"]


def test_a_share_counts_with_the_channel_that_it_belongs_to():
    """Runs of before have no such setting; what is stored beside the results changes no score."""
    before = settings_of({"data": {"channel": 0}}, {})
    assert settings_of({"data": {"channel": 0, "residual": 0.5}, "store_features": "all"}, {}) == before
    shares = [settings_of({"data": {"channel": "residual", "residual": share}}, {}) for share in (0.3, 0.5)]
    assert shares[0] != shares[1]


def test_a_compiled_training_is_another_and_one_of_before_is_not():
    before = settings_of({"data": {"channel": 0}}, {})
    assert settings_of({"data": {"channel": 0}, "compile": False}, {}) == before
    compiled = settings_of({"data": {"channel": 0}, "compile": True}, {})
    assert compiled == {**before, "compile": "True"}
    # A later test is composed anew: how the weights came about is the training's.
    assert settings_of({"data": {"channel": 0}, "compile": False, "trained": {"compile": True}}, {}) == compiled


def test_a_training_that_was_stopped_is_another_and_is_told(tmp_path):
    whole, stopped = run(tmp_path / "a"), run(tmp_path / "b", seed=1)
    for folder, made in ((whole, 100), (stopped, 30)):
        summary = folder / "results/summary.json"
        summary.write_text(json.dumps(json.loads(summary.read_text()) | {"updates": made, "updates_planned": 100}))
    assert columns(whole, stopped) == {"fft updates=all": 1, "fft updates=30": 1}
    told = f"fft: {stopped} is of a training that was not finished: 30 of 100 updates."
    assert compare_runs([stopped]).notes[0] == told
    # Results of before say nothing of it.
    assert columns(whole, run(tmp_path / "c", seed=2)) == {"fft": 2}


def test_systems_of_other_names_tell_every_setting_that_the_names_do_not(tmp_path):
    one = run(tmp_path / "a", {"system": "a k=1"})
    other = run(
        tmp_path / "b",
        {"trainer.max_steps": 30, "model.scorer": {"_target_": "x.Mahalanobis", "shrinkage": 0.1}},
        choices={"model/scorer": "mahalanobis"},
    )
    for folder, name in ((one, "short"), (other, "long")):
        summary = folder / "results/summary.json"
        summary.write_text(json.dumps(json.loads(summary.read_text()) | {"name": name}))
    comparison = compare_runs([tmp_path])
    told = [
        "The systems also differ in model.scorer: mahalanobis (long), knn (short).",
        "The systems also differ in trainer.max_steps: 30 (long), 100 (short).",
    ]
    for notes in (comparison.notes, hmean_table(comparison).notes, metrics_table(comparison).notes):
        assert [note for note in notes if "also differ" in note] == told


def test_what_the_names_tell_is_not_told_again():
    settings = [{"scorer.k": "1", "steps": "10"}, {"scorer.k": "2", "steps": "30"}, {"scorer.k": "2", "steps": "10"}]
    names = ["fft k=1", "fft k=2", "eat k=2"]
    assert differing_settings(names, settings, [{}] * 3) == ["steps: 10 (fft k=1, eat k=2), 30 (fft k=2)"]
    assert differing_settings(names[:1], settings[:1], [{}]) == []
    assert differing_settings([], [], []) == []


def test_a_run_without_results_is_not_set_apart_by_what_it_cannot_know(tmp_path):
    one = run(tmp_path / "a")
    unfinished = tmp_path / "b"
    (unfinished / ".hydra").mkdir(parents=True)
    (unfinished / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "trainer": {"max_steps": 9000}}))
    names = [system.name for system in compare_runs([one, unfinished]).systems]
    assert names == ["fft max_steps=100", "fft max_steps=9000"]


def test_what_follows_from_a_choice_that_the_name_tells_is_not_told():
    """By the package's own files: what was changed besides is told."""
    knn = {"_target_": "asd_lightning.scoring.knn.KNNScorer", "_partial_": "True", "metric": "cosine", "k": "1"}
    knn |= {"fusion": "min", "standardize": "False", "local_density": "None"}
    knn |= {"smote._target_": "asd_lightning.scoring.smote.Smote", "smote.ratio": "0.2", "smote.neighbors": "3"}
    other = {key: knn[key] for key in ("_target_", "_partial_")} | {"metric": "euclidean", "standardize": "True"}
    groups = [{f"model.scorer.{key}": value for key, value in group.items()} for group in (knn, other)]
    choices = [{"model/scorer": "knn"}, {"model/scorer": "knn_standardized"}]
    names = ["fft scorer=knn", "fft scorer=knn_standardized"]
    assert differing_settings(names, groups, choices) == []
    assert len(differing_settings(["a", "b"], groups, choices)) > 5
    changed = [groups[0] | {"model.scorer.k": "5"}, groups[1]]
    assert f"model.scorer.k: 5 ({names[0]}), - ({names[1]})" in differing_settings(names, changed, choices)


def test_branches_of_an_experiment_that_the_name_tells_are_not_told():
    at = "model.embedder.branches"
    first = {f"{at}.beats.normalize": "none", f"{at}.fft.normalize": "none"}
    fourth = {f"{at}.beats.normalize": "none", f"{at}.eat.normalize": "none", f"{at}.fft.normalize": "l2"}
    names, choices = ["system1", "system4"], [{"experiment": "system1"}, {"experiment": "system4"}]
    assert differing_settings(names, [first, fourth], choices) == []
    assert len(differing_settings(["a", "b"], [first, fourth], choices)) == 2
    changed = first | {f"{at}.fft.normalize": "l2"}, fourth | {f"{at}.fft.normalize": "none"}
    assert differing_settings(names, changed, choices) == [f"{at}.fft.normalize: l2 (system1), none (system4)"]
    without = {key: value for key, value in fourth.items() if ".eat." not in key} | {f"{at}.mn04.normalize": "none"}
    assert differing_settings(names, [first, without], choices) == [f"{at}.mn04: - (system1), given (system4)"]


def test_within_a_kind_that_some_systems_lack_every_setting_is_told():
    """Two k-NN beside a Mahalanobis distance; and of two branches of three systems the windows."""
    knn, other = "scorer._target_", {"scorer._target_": "x.Mahalanobis"}
    settings = [{knn: "x.KNN", "scorer.k": "1", "b.eat.w": "5"}, {knn: "x.KNN", "scorer.k": "2", "b.eat.w": "9"}, other]
    assert differing_settings(["A", "B", "C"], settings, [{}] * 3) == [
        "scorer: KNN (A, B), Mahalanobis (C)",
        "scorer.k: 1 (A), 2 (B)",
        "b: given (A, B), - (C)",
        "b.eat.w: 5 (A), 9 (B)",
    ]
