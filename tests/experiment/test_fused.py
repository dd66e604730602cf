"""Runs fused: against one back-end made of several, a loop over the definition, and what others make of the results."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import zmap

from asd_lightning import cli, compare, fuse
from asd_lightning.errors import UserError
from asd_lightning.evaluation.metrics import evaluate
from asd_lightning.run_folder import ResultSet, results_of
from asd_lightning.scoring.clip_scores import read_scores, write_scores
from asd_lightning.scoring.embedding_cache import EmbeddingCache, files_digest, read_embeddings, write_embeddings
from asd_lightning.scoring.knn import KNNScorer
from tests.experiment.fusable import KNN, TEST, TRAINING, WHITENED, change_summary, fusable, rescore


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two systems of two embeddings, a and b, a again by another back-end, and a copy of a; seeds 0."""
    folder = tmp_path_factory.mktemp("made")
    fusable(folder / "a", folder / "data", "one", draw=1)
    fusable(folder / "b", folder / "data", "two", draw=2)
    fusable(folder / "w", folder / "data", "whitened", draw=1, scorer=WHITENED)
    shutil.copytree(folder / "a", folder / "copy")
    return folder


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures and the list of packages take longer than all else; one test has them."""
    if request.function is not test_the_results_are_read_like_any:
        for name in ("plot_scores", "plot_roc"):
            monkeypatch.setattr(f"asd_lightning.experiment.result_files.{name}", lambda *_: None)
        monkeypatch.setattr("asd_lightning.experiment.result_files.packages", lambda: "")


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    for name in ("a", "b", "w"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(("by", "combination"), [("mean_z", "mean"), ("z_min", "min")])
def test_two_tests_of_one_embedding_are_a_back_end_of_two(
    made: Path, tmp_path: Path, by: str, combination: str
) -> None:
    parts = {"near": dict(KNN), "white": dict(WHITENED)}
    combined = {"_target_": "asd_lightning.scoring.combined.CombinedScorer", "_partial_": True, "scorers": parts}
    fusable(tmp_path / "c", made / "data", "both", draw=1, scorer=combined | {"combination": combination})
    (found,) = fuse(made / "a", made / "w", output=tmp_path / "fused", by=by)
    expected = {score[:3]: score for score in read_scores(results_of(tmp_path / "c").scores)}
    scores = read_scores(found.scores)
    assert len(scores) == len(expected) == 2 * TEST
    for score in scores:
        assert score.anomaly_score == pytest.approx(expected[score[:3]].anomaly_score, rel=1e-12, abs=1e-12)
        assert score.threshold == pytest.approx(expected[score[:3]].threshold, rel=1e-12)
        assert score.decision == expected[score[:3]].decision


def test_a_weighted_mean_of_two_embeddings_by_a_loop(made: Path, tmp_path: Path) -> None:
    (found,) = fuse(made / "a", made / "b", output=tmp_path / "fused", weights=[3, 1])
    expected: dict[tuple[str, str], float] = {}
    limits = {}
    for machine in ("fan", "pump"):
        fused_left_out = np.zeros(TRAINING)
        for run, weight in (("a", 0.75), ("b", 0.25)):
            cache = read_embeddings(results_of(made / run).embeddings)
            own = [row for row, clip in enumerate(cache.reference_clips) if clip.machine == machine]
            is_target = np.array([cache.reference_clips[row].domain == "target" for row in own])
            scorer = KNNScorer().fit(cache.reference[own].astype(float), is_target)
            left_out = scorer.leave_one_out_scores()
            fused_left_out += weight * zmap(left_out, left_out)
            for clip, vector in zip(cache.query_clips, cache.query, strict=True):
                if clip.machine == machine:
                    z = zmap(scorer.anomaly_score(vector[None].astype(float)), left_out)[0]
                    expected[machine, clip.name] = expected.get((machine, clip.name), 0.0) + weight * z
        limits[machine] = np.quantile(fused_left_out, 0.9)
    for score in read_scores(found.scores):
        assert score.anomaly_score == pytest.approx(expected[score.machine, score.file], rel=1e-9, abs=1e-9)
        assert score.threshold == pytest.approx(limits[score.machine], rel=1e-9)
        assert score.decision == (score.anomaly_score > score.threshold)


def test_nothing_of_the_test_set_goes_into_a_score(runs: Path) -> None:
    """Most test clips gone, others changed, one there twice: the rest have the same bits; labels say nothing.

    Of all methods: tests/scoring/test_fusion.py.
    """
    (before,) = fuse(runs / "a", runs / "b", output=runs / "before", by="rank")
    known = {score[:3]: score for score in read_scores(before.scores)}
    for run in ("a", "b"):
        cache = read_embeddings(results_of(runs / run).embeddings)
        kept = np.arange(0, len(cache.query), 3)
        clips = [cache.query_clips[row] for row in kept]
        vectors = cache.query[kept]
        vectors[1::2] *= np.float32(-1.5)
        twice = replace(clips[0], name="again.wav", file="again.wav", recording="again.wav")
        changed = replace(cache, query=np.append(vectors, vectors[:1], axis=0), query_clips=(*clips, twice))
        rewrite(runs / run, changed)
    (after,) = fuse(runs / "a", runs / "b", output=runs / "after", by="rank")
    scores = {score.file: score for score in read_scores(after.scores)}
    for clip in clips[::2]:
        assert scores[clip.file] == known[clip.machine, "00", clip.file]
    assert scores["again.wav"].anomaly_score == scores[clips[0].file].anomaly_score
    swapped = {"normal": "anomaly", "anomaly": "normal"}
    for run in ("a", "b"):
        path = results_of(runs / run).scores
        write_scores(path, [score._replace(condition=swapped[score.condition]) for score in read_scores(path)])
    (other,) = fuse(runs / "a", runs / "b", output=runs / "other", by="rank")
    assert [score[6:] for score in read_scores(other.scores)] == [score[6:] for score in read_scores(after.scores)]
    assert other.read_summary()["official_score"] != after.read_summary()["official_score"]


def rewrite(run: Path, cache: EmbeddingCache) -> None:
    """These are the run's embeddings and test clips now."""
    files = files_digest([*cache.reference_clips, *cache.query_clips])
    cache = replace(cache, key=replace(cache.key, files=files))
    write_embeddings(results_of(run).embeddings, cache)
    rescore(run, cache)


def test_the_results_are_read_like_any(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fuse", str(runs / "a"), str(runs / "b"), "-o", str(runs / "fused")]) == 0
    assert "Official score" in capsys.readouterr().out
    found = ResultSet(runs / "fused")
    scores = read_scores(found.scores)
    summary = found.read_summary()
    assert summary["official_score"] == evaluate(scores).official_score
    assert summary["name"] == "one + two"
    assert summary["num_parameters"] == 1001 + 1002
    assert [part["folder"] for part in summary["fusion"]["parts"]] == [str(runs / run / "results") for run in "ab"]
    keys = [read_embeddings(results_of(runs / run).embeddings).key for run in "ab"]
    assert [(part["model"], part["files"]) for part in summary["fusion"]["parts"]] == [(k.model, k.files) for k in keys]
    names = {path.name for path in found.folder.iterdir()}
    assert {"metrics.md", "scores.png", "roc.png", "challenge", "packages.txt", "config.yaml"} <= names
    # Two ways to fuse are two systems, beside what they are of.
    fuse(runs / "a", runs / "b", output=runs / "lowest", by="z_min")
    comparison = compare(runs)
    assert {system.name for system in comparison.systems} == {
        "one",
        "two",
        "whitened",
        "one + two by=mean_z",
        "one + two by=z_min",
    }
    page = runs / "page.html"
    assert cli.main(["report", str(runs / "fused"), str(runs / "a"), "-o", str(page)]) == 0
    written = page.read_text()
    assert "one + two" in written
    # By the rule of the first part.
    assert len(re.findall(r"</i>(one|one \+ two)</span>quantile, quantile 0\.9", written)) == 2
    label = "Me_Lab_task2_1"
    assert cli.main(["submit", str(runs / "fused"), "--label", label, "-o", str(runs / label)]) == 0
    description = yaml.safe_load((runs / label / f"{label}.meta.yaml").read_text())
    assert description["system"]["description"]["ensemble_method_subsystem_count"] == 2
    capsys.readouterr()
    for words in (["score-sweep", "{}"], ["select", "{}", str(runs / "a")], ["fuse", "{}", str(runs / "a"), "-o", "x"]):
        assert cli.main([word.format(runs / "fused") for word in words]) == 2
        told = capsys.readouterr().err
        assert "fused: a fusion of runs, which has no embeddings; " in told
        assert told.count("\n") == 1
    assert cli.main(["test", str(runs / "fused")]) == 2
    assert "fused: a fusion of runs" in capsys.readouterr().err


def test_a_fusion_of_many_has_a_short_name_and_its_parts_are_told_once(made: Path, tmp_path: Path) -> None:
    fusable(tmp_path / "c", made / "data", "three", draw=3)
    fuse(made / "a", made / "b", made / "w", output=tmp_path / "fused")
    (system,) = (comparison := compare(tmp_path / "fused")).systems
    assert system.name == "fused of 3"
    assert comparison.notes[-1:] == ("fused of 3: one + two + whitened.",)
    fuse(made / "a", made / "b", tmp_path / "c", output=tmp_path / "other")
    comparison = compare(tmp_path / "fused", tmp_path / "other")
    names = {"fused of 3 parts=one + two + whitened", "fused of 3 parts=one + two + three"}
    assert {system.name for system in comparison.systems} == names
    assert not [note for note in comparison.notes if "fused of 3:" in note]


def test_systems_of_the_same_seeds_are_fused_seed_by_seed(made: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        for number, name in enumerate(("one", "two")):
            fusable(tmp_path / "sweep" / f"{name}{seed}", made / "data", name, seed, draw=10 * number + seed)
    found = fuse(tmp_path / "sweep", output=tmp_path / "fused")
    assert [results.folder for results in found] == [tmp_path / "fused" / "0", tmp_path / "fused" / "1"]
    assert [results.read_summary()["seed"] for results in found] == [0, 1]
    fuse(tmp_path / "sweep" / "one1", tmp_path / "sweep" / "two1", output=tmp_path / "alone")
    assert (tmp_path / "alone" / "scores.csv").read_bytes() == found[1].scores.read_bytes()
    (system,) = compare(tmp_path / "fused").systems
    assert [run.seed for run in system.finished] == [0, 1]
    # Seeds of one system, and systems of other seeds: one result.
    (seeds,) = fuse(tmp_path / "sweep" / "one0", tmp_path / "sweep" / "one1", output=tmp_path / "seeds")
    assert seeds.read_summary()["name"] == "one x2"
    assert seeds.read_summary()["seed"] is None
    (mixed,) = fuse(*(tmp_path / "sweep" / name for name in ("one0", "one1", "two0")), output=tmp_path / "mixed")
    assert [part["system"] for part in mixed.read_summary()["fusion"]["parts"]] == ["one seed=0", "one seed=1", "two"]


def edit_scores(run: Path) -> None:
    path = results_of(run).scores
    first, *rest = read_scores(path)
    write_scores(path, [first._replace(anomaly_score=first.anomaly_score + 1e-6), *rest])


def edit_embeddings(run: Path) -> None:
    path = results_of(run).embeddings
    cache = read_embeddings(path)
    write_embeddings(path, replace(cache, key=replace(cache.key, model="another")))


def edit_target(run: Path) -> None:
    path = results_of(run).config
    path.write_text(path.read_text().replace("asd_lightning.scoring.knn.KNNScorer", "os.system"))


def remove_settings(run: Path) -> None:
    results_of(run).config.write_text("data: {clip_seconds: 1.0}\n")


def fail(run: Path) -> None:
    shutil.rmtree(run / "results")
    (run / "failure.txt").write_text("no disk\n")


def rename_clip(run: Path) -> None:
    path = results_of(run).scores
    first, *rest = read_scores(path)
    write_scores(path, [first._replace(attribute="another"), *rest])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: change_summary(run, test_clips="other"), r"a and .*b: other test clips; fuse tests of the same"),
        (lambda run: change_summary(run, training_clips="other"), "other training clips"),
        (lambda run: change_summary(run, recordings="other"), "other recordings"),
        (rename_clip, "differ in fan/00/section"),
        (edit_scores, r"scores\.csv: fan/.* has the score (\d+\.\d+), and its embeddings and settings give (?!\1)"),
        (edit_embeddings, r"embeddings\.npz: made with other weights than the run's checkpoint; test the run again"),
        (edit_target, r"config\.yaml: would call 'os\.system'"),
        (remove_settings, "does not say how its scores were made"),
        (lambda run: results_of(run).embeddings.unlink(), "no embeddings there"),
        (fail, r"b: not finished \(failed: no disk\)"),
    ],
)
def test_what_cannot_be_fused_is_named(runs: Path, change, message: str) -> None:
    change(runs / "b")
    with pytest.raises(UserError, match=message):
        fuse(runs / "a", runs / "b", output=runs / "fused")
    assert not (runs / "fused").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "a: one test alone; give two or more"),
        (["a", "b", "--weights", "1,2,3"], "3 weights for 2 systems (one, two)"),
        (["a", "b", "--weights", "1,0"], "weights must be numbers above 0"),
        (["a", "b", "--weights", "1,x"], "--weights 1,x: give equal, or numbers"),
        (["a", "b", "--weights", "2,1", "--by", "z_min"], "a minimum has no weights"),
        (["a", "b", "--weights=-1,1"], "--weights -1,1: weights must be numbers above 0"),
        (["a", "nowhere"], "nowhere: no such folder"),
        (["a", "copy"], "a and copy: all scores are the same, to the bit; one of them would count twice"),
    ],
)
def test_wrong_words_are_named(made: Path, tmp_path: Path, monkeypatch, capsys, words: list[str], message: str) -> None:
    monkeypatch.chdir(made)
    assert cli.main(["fuse", *words, "-o", str(tmp_path / "fused")]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "fused").exists()


def test_a_weight_that_looks_like_an_option_is_told_how_to_be_written(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["fuse", "a", "b", "-o", "c", "--weights", "-1,1"])
    told = capsys.readouterr().err.splitlines()[-1]
    assert "--weights: expected one argument (equal (default), or a number above 0 for each system" in told
    assert told.endswith("one that begins with - is written --weights=VALUE")


def test_a_filled_folder_is_left_alone(made: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files already"):
        fuse(made / "a", made / "b", output=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_nothing_is_left_where_writing_fails(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_):
        raise RuntimeError("no attributes")

    monkeypatch.setattr("asd_lightning.experiment.result_files.write_attributes", failing)
    with pytest.raises(RuntimeError, match="no attributes"):
        fuse(made / "a", made / "b", output=tmp_path / "fused")
    assert not (tmp_path / "fused").exists()


def test_a_machine_of_one_recording_cannot_be_placed(runs: Path) -> None:
    for run in ("a", "b"):
        cache = read_embeddings(results_of(runs / run).embeddings)
        one = tuple(
            replace(clip, recording="one") if clip.machine == "pump" else clip for clip in cache.reference_clips
        )
        rewrite(runs / run, replace(cache, reference_clips=one))
    with pytest.raises(UserError, match="pump: there is one training recording"):
        fuse(runs / "a", runs / "b", output=runs / "fused")


def test_a_test_of_the_same_run_is_a_part_too(runs: Path) -> None:
    shutil.copytree(runs / "w" / "results", runs / "a" / "results_2")
    (found,) = fuse(runs / "a", runs / "a" / "results_2", output=runs / "fused")
    (other,) = fuse(runs / "a", runs / "w", output=runs / "other")
    assert found.scores.read_bytes() == other.scores.read_bytes()
    # One model, two back-ends.
    assert found.read_summary()["num_parameters"] == 1001
    assert json.loads(found.summary.read_text())["fusion"]["weights"] == "equal"
