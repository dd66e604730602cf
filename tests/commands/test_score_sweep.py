import csv
import dataclasses

import numpy as np
import pytest
import torch
import yaml

from asd_lightning.cli import main
from asd_lightning.evaluation.metrics import evaluate
from asd_lightning.run_folder import ResultSet, claim_results
from asd_lightning.scoring.clip_scores import read_scores
from asd_lightning.scoring.embedding_cache import read_embeddings, write_embeddings
from asd_lightning.scoring.feature_store import StoredFeatures, read_features, write_features
from tests.scoring.runs import make_run


@pytest.fixture
def run(tmp_path):
    make_run(tmp_path / "run", tmp_path / "data")
    return tmp_path / "run"


def test_one_table_is_printed_and_written(run, capsys):
    assert main(["score-sweep", str(run), "scorer=knn,mahalanobis,kmeans_4", "threshold=quantile"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("3 back-ends", "mahalanobis", "fan", "pump", "official score", "interval"))
    with (run / "score_sweep" / "scorers.csv").open() as file:
        rows = list(csv.DictReader(file))
    official = {
        row["scorer"]: float(row["estimate"])
        for row in rows
        if (row["quantity"], row["machine"], row["metric"]) == ("value", "all", "hmean")
    }
    # The run was scored with k-NN: its own numbers come out again.
    assert official["knn"] == evaluate(read_scores(run / "results" / "scores.csv")).official_score
    assert official.keys() == {"knn", "mahalanobis", "kmeans_4"}
    markdown = (run / "score_sweep" / "scorers.md").read_text()
    assert f"{100 * official['kmeans_4']:.2f}" in markdown
    assert markdown.count("\n| ") == 4


def test_the_run_stays_as_it_was(run, tmp_path):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["score-sweep", str(run), "scorer=knn", "--out", str(tmp_path / "out")]) == 0
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("choices.json", "scorers.csv", "scorers.md", "scorers.tex", "scorers_choice.csv"),
    ]


def test_a_sweep_replaces_no_other(run, tmp_path, capsys):
    def content(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    assert main(["score-sweep", str(run), "scorer=knn,mahalanobis"]) == 0
    assert "other choices" not in capsys.readouterr().out
    first = content(run / "score_sweep")
    assert main(["score-sweep", str(run), "scorer=knn"]) == 0
    assert f"written to {run}/score_sweep_2 ({run}/score_sweep holds a sweep of other choices)" in " ".join(
        capsys.readouterr().out.split()
    )
    assert content(run / "score_sweep") == first != content(run / "score_sweep_2")
    # The very same once more is written where it was, also after the run has been moved.
    moved = run.rename(tmp_path / "moved")
    assert main(["score-sweep", str(moved), "scorer=knn"]) == 0
    assert sorted(path.name for path in moved.glob("score_sweep*")) == ["score_sweep", "score_sweep_2"]
    named = tmp_path / "named"
    for words, status in (("scorer=knn", 0), ("scorer=knn", 0), ("scorer=mahalanobis", 2)):
        assert main(["score-sweep", str(moved), words, "-o", str(named)]) == status
    assert f"{named}: holds a sweep of other choices; give another folder with -o" in capsys.readouterr().err


def test_wrong_words_are_named(run, capsys):
    for words, message in (
        (["scorer"], "expected scorer=NAME"),
        (["k=5"], "expected scorer=NAME"),
        (["scorer=nothing"], "unknown nothing"),
        (["pooling=rdp"], "pooling=rdp: unknown rdp; choose all, or from run, mean, max, std, rdp_1"),
        (["pooling=mean"], "no stored features of mean ("),
        (["threshold=nothing"], "threshold=nothing: choose from"),
    ):
        assert main(["score-sweep", str(run), *words]) == 2
        assert message in capsys.readouterr().err


def test_no_run_is_an_error(tmp_path, capsys):
    assert main(["score-sweep", str(tmp_path)]) == 2
    assert "not the folder of a run" in capsys.readouterr().err


def test_moved_recordings_are_said_and_do_not_stop_it(run, tmp_path, caplog):
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert main(["score-sweep", str(run), "scorer=knn"]) == 0
    assert "not where they were" in caplog.text


def test_without_valid_embeddings_or_checkpoint_there_is_nothing_to_score(run, capsys):
    (run / "checkpoints" / "last.ckpt").unlink()
    (run / "results" / "embeddings.npz").write_bytes(b"")
    assert main(["score-sweep", str(run), "scorer=knn"]) == 2
    assert "train again" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named(run, capsys):
    (run / "checkpoints" / "last.ckpt").write_bytes(b"x")
    assert main(["score-sweep", str(run), "scorer=knn"]) == 2
    assert "not readable as a checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["weights", "options", "recording", "file"])
def test_embeddings_of_something_else_are_made_again(run, tmp_path, monkeypatch, caplog, change):
    """Whatever the key holds: once it differs, the run is tested again, and what that leaves is scored."""
    cache = read_embeddings(run / "results" / "embeddings.npz")
    if change == "weights":
        checkpoint = torch.load(run / "checkpoints" / "last.ckpt")
        checkpoint["state_dict"]["weight"][0, 0] += 1e-6
        torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
        reason = "made with other weights"
    elif change == "options":
        config = run / "config.yaml"
        config.write_text(config.read_text().replace("pad: tile", "pad: zero"))
        reason = "made with another pad"
    elif change == "recording":
        cache.query_clips[0].path.write_bytes(cache.query_clips[1].path.read_bytes())
        reason = "the recordings have changed"
    else:
        np.savez(run / "results" / "embeddings.npz", query=np.zeros((1, 1)))
        reason = "not embeddings with their clips"
    tested = []

    def retest(folder):
        tested.append(folder)
        results = claim_results(folder)
        write_embeddings(results.embeddings, cache)
        return results

    monkeypatch.setattr("asd_lightning.experiment.retest.retest", retest)
    assert main(["score-sweep", str(run), "scorer=knn"]) == 0
    assert tested == [run]
    assert reason in caplog.text


@pytest.mark.parametrize("given", ["max", "mean"])
def test_recordings_are_scored_as_the_run_scores_them(run, monkeypatch, given):
    seen = {}

    def sweep(*_, reduction, **__):
        seen["reduction"] = reduction
        return []

    monkeypatch.setattr("asd_lightning.comparison.back_ends.sweep", sweep)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"model": config["model"] | {"recording_score": given}}))
    assert main(["score-sweep", str(run), "scorer=knn"]) == 0
    assert seen == {"reduction": given}


@pytest.fixture
def stored(run):
    """Features of 4 bands: one pooling tells anomalies apart, the other is noise."""
    cache = read_embeddings(run / "results" / "embeddings.npz")
    rng = np.random.default_rng(0)
    for name, spread in (("mean", 0.3), ("rdp_4", 3.0)):
        reference, query = (
            rng.normal(size=(len(clips), 4, 6)) * [[[spread if c.condition == "anomaly" else 0.2]] for c in clips] + 1
            for clips in (cache.reference_clips, cache.query_clips)
        )
        features = StoredFeatures(name, reference.astype(np.float32), query.astype(np.float32), cache.key)
        write_features(ResultSet(run / "results").features(name), features)
    return run


def test_poolings_and_back_ends_in_one_table(stored, capsys):
    words = ["pooling=mean,rdp_4,mean_merged,run", "scorer=knn,beam"]
    assert main(["score-sweep", str(stored), *words]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("2 back-ends over 4 poolings of 80 test clips", "difference to mean, knn"))
    with (stored / "score_sweep" / "scorers.csv").open() as file:
        rows = list(csv.DictReader(file))
    official = {
        (row["pooling"], row["scorer"]): float(row["estimate"])
        for row in rows
        if (row["quantity"], row["machine"], row["metric"]) == ("value", "all", "hmean")
    }
    assert len(official) == 8
    # The embedding of the run was scored with k-NN before.
    assert official["run", "knn"] == evaluate(read_scores(stored / "results" / "scores.csv")).official_score
    table = (stored / "score_sweep" / "scorers.md").read_text().splitlines()
    order = [tuple(cell.strip(" *") for cell in line.split("|")[1:3]) for line in table if line.startswith("| ")][1:]
    assert order == sorted(official, key=lambda key: -official[key])
    assert order[0][0] == "rdp_4"
    without = {(row["pooling"], row["scorer"]) for row in rows if row["quantity"] == "difference"}
    assert without == official.keys() - {("mean", "knn")}


def test_all_is_everything_stored_beside_the_runs_own(stored, tmp_path):
    assert main(["score-sweep", str(stored), "pooling=all", "scorer=knn", "-o", str(tmp_path)]) == 0
    with (tmp_path / "scorers.csv").open() as file:
        found = dict.fromkeys(row["pooling"] for row in csv.DictReader(file))
    assert list(found) == ["run", "mean", "rdp_4", "mean_merged"]


def test_features_of_another_test_are_refused(stored, capsys):
    path = ResultSet(stored / "results").features("mean")
    features = read_features(path)
    other = dataclasses.replace(features.key, files="other")
    write_features(path, dataclasses.replace(features, key=other))
    assert main(["score-sweep", str(stored), "pooling=mean", "scorer=knn"]) == 2
    assert "stored features mean: of another test" in capsys.readouterr().err
    path.write_bytes(b"PK")
    assert main(["score-sweep", str(stored), "pooling=mean", "scorer=knn"]) == 2
    assert "mean.npz: not stored features" in capsys.readouterr().err
