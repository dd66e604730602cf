"""A detector has the scores of the run that it is made of, or whose training clips it was enrolled with."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import asd_lightning
from asd_lightning.detector.file import DetectorFile
from asd_lightning.errors import UserError
from asd_lightning.experiment.train import train
from asd_lightning.run_folder import results_of
from asd_lightning.scoring.clip_scores import read_scores
from asd_lightning.scoring.fitted import read_fitted, write_fitted
from tests.detector.sounds import hum, write
from tests.experiment.runs import tiny_config
from tests.forked import run_forked
from tests.reference import needs_reference, shared_dir

# In the batches of a run's test, and one by one: machine, file, score, decision; and what a command prints.
FRESH_PROCESS = """
import json, sys
from pathlib import Path
import asd_lightning
from asd_lightning.cli import main

root, *detectors = sys.argv[1:]
clips = sorted(Path(root).glob("*/test/*.wav"), key=lambda path: (path.parts[-3], path.name))
for path in detectors:
    found = []
    for batch_size in (32, 1):
        rows = asd_lightning.score(path, clips, batch_size=batch_size)
        found.append(sorted([row.machine, Path(row.path).name, row.score, row.decision] for row in rows))
    print(json.dumps(found))
main(["score", detectors[0], *map(str, clips), "--json"])
"""


@pytest.fixture(scope="module")
def bare(tiny_data, tmp_path_factory):
    """The machines with their test recordings alone."""
    root = tmp_path_factory.mktemp("bare") / "machines"
    shutil.copytree(tiny_data, root)
    for folder in root.glob("*/train"):
        shutil.rmtree(folder)
    return root


@pytest.fixture(scope="module")
def runs(tiny_data, tmp_path_factory):
    """Result sets of the statistics and of a trained network; `tests.experiment.test_fitted_run` has all systems."""
    sets = {}
    for system, updates in (("statistics", 0), ("fft", 1)):
        run = tmp_path_factory.mktemp(system)
        train(tiny_config(run, tiny_data, system, updates=updates), run)
        sets[system] = results_of(run)
    return sets


@pytest.fixture(scope="module")
def detectors(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("detectors")
    for name, results in runs.items():
        asd_lightning.enrol(results.folder, folder / f"{name}.asd", sounds=2)
    return folder


@pytest.fixture(scope="module")
def elsewhere(runs, detectors, bare, tmp_path_factory):
    """From a process that has the detectors' files and the test recordings alone; and what its command prints."""
    paths = [str(detectors / f"{name}.asd") for name in runs]
    done = run_forked([bare, *paths], tmp_path_factory.mktemp("elsewhere"), code=FRESH_PROCESS)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return dict(zip(runs, map(json.loads, lines), strict=False)), json.loads("\n".join(lines[len(paths) :]))


@pytest.mark.parametrize("name", ["statistics", "fft"])
def test_scores_and_decisions_are_the_runs(name, runs, detectors, elsewhere):
    """In the batches of the test to the last bit, one by one within 1e-5 of the training scores' spread."""
    together, alone = elsewhere[0][name]
    before = sorted(read_scores(runs[name].scores))
    assert [row[:3] for row in together] == [[row.machine, row.file, row.anomaly_score] for row in before]
    machines = asd_lightning.Detector.load(detectors / f"{name}.asd").machines_
    for (*_, first, decision), (*_, other, also), row in zip(together, alone, before, strict=True):
        assert decision in (("warning", "alarm") if row.decision else ("normal",))
        assert also == decision
        # After one update the network's embeddings are nearly alike, and float32 rounds what little tells them apart.
        rounding = 1e-6 * np.sqrt(abs(first)) if name == "fft" else 0.0
        assert abs(first - other) <= max(1e-5 * np.std(machines[row.machine].normal.scores), rounding)


def test_the_command_prints_what_the_function_returns(elsewhere):
    found, printed = elsewhere
    rows = sorted([row["machine"], Path(row["path"]).name, row["score"], row["decision"]] for row in printed)
    assert rows == found["statistics"][0]


def test_recordings_enrolled_with_have_the_scores_of_a_run_on_them(tiny_data, runs, tmp_path):
    """The same training clips, the same embedder and back-end: the same scores, whatever the batches."""
    for name in ("fan", "bearing"):
        asd_lightning.enrol(tiny_data / name / "train", tmp_path / "x.asd", clip_seconds=1.0, sounds=0)
    clips = sorted(path for name in ("fan", "bearing") for path in (tiny_data / name / "test").iterdir())
    found = {(row.machine, Path(row.path).name): row.score for row in asd_lightning.score(tmp_path / "x.asd", clips)}
    rows = [row for row in read_scores(runs["statistics"].scores) if row.machine in ("fan", "bearing")]
    assert rows
    for row in rows:
        assert found[row.machine, row.file] == pytest.approx(row.anomaly_score, rel=1e-6)


def test_a_run_lends_its_embedder_to_another_machine(runs, tmp_path):
    folder = tmp_path / "own/normal"
    for number in range(9):
        write(folder / f"{number}.wav", hum(number))
    run = runs["fft"].run
    asd_lightning.enrol(folder, tmp_path / "own.asd", embedder=str(run), sounds=0)
    detector = asd_lightning.Detector.load(tmp_path / "own.asd")
    other = asd_lightning.Detector.load(asd_lightning.enrol(run, tmp_path / "run.asd").save(tmp_path / "run.asd"))
    assert detector.hearing_.digest == other.hearing_.digest
    assert detector.machines_["own"].bank.embeddings.shape[1] == 128
    assert detector.judge(folder)[0].score < 1e-6


def test_a_runs_bank_grows_and_is_taken_back(detectors, bare, tmp_path):
    path = shutil.copy(detectors / "statistics.asd", tmp_path / "x.asd")
    before = path.read_bytes()
    clip = next((bare / "fan/test").glob("*normal*"))
    machine = asd_lightning.accept(path, clip).machines_["fan"]
    assert len(machine.bank.items) == 25
    assert asd_lightning.score(path, clip)[0].nearest.recording == f"{clip.name} (accepted, change 1)"
    asd_lightning.undo(path, "fan")
    assert path.read_bytes() == before


def test_a_rate_is_promised_of_a_run_where_it_is_asked_for(runs, tmp_path):
    detector = asd_lightning.enrol(runs["statistics"].run, tmp_path / "x.asd", false_alarms=0.1, sounds=0)
    for machine in detector.machines_.values():
        assert machine.normal.share_above(machine.promise.warning) <= 0.1
        assert "at most 10 %" in machine.sentence()
    with pytest.raises(UserError, match="cannot be promised"):
        asd_lightning.enrol(runs["statistics"].run, tmp_path / "y.asd", false_alarms=0.001)


@needs_reference("machines")
@needs_reference("weights/mn04_as_mAP_432.pt")
def test_a_fetched_encoder_is_named_or_comes_along(tmp_path, monkeypatch):
    """By name and checksum, or in the file; other weights of that name are refused."""
    from asd_lightning.encoders.weights.store import import_weights, stored_path

    monkeypatch.setenv("ASD_CACHE", str(tmp_path / "cache"))
    import_weights(shared_dir() / "weights/mn04_as_mAP_432.pt", name="mn04_as")
    folder = shared_dir() / "machines/mimii_pump"
    options = {"embedder": "mn04_as", "clip_seconds": 4.0, "sounds": 0}
    few = [path for path in sorted((folder / "train").iterdir()) if "target" in path.name]
    (tmp_path / "pump/train").mkdir(parents=True)
    for path in few:
        shutil.copy(path, tmp_path / "pump/train")
    asd_lightning.enrol(tmp_path / "pump/train", tmp_path / "named.asd", **options)
    asd_lightning.enrol(tmp_path / "pump/train", tmp_path / "whole.asd", self_contained=True, **options)
    clips = sorted((folder / "test").iterdir())[:3]
    wanted = asd_lightning.score(tmp_path / "named.asd", clips)
    told = asd_lightning.info(tmp_path / "named.asd")["weights"]["published"]["mn04"]
    assert told["name"] == "mn04_as"
    assert told["sha256"] == "899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c"
    assert "embedder" not in DetectorFile(tmp_path / "named.asd").header["digests"]
    stored = stored_path("mn04_as")
    shutil.move(stored, tmp_path / "kept")
    assert asd_lightning.score(tmp_path / "whole.asd", clips) == wanted
    with pytest.raises(UserError, match=r"named\.asd: the weights mn04_as are not on this machine"):
        asd_lightning.score(tmp_path / "named.asd", clips)
    from asd_lightning.encoders.weights.store import read_weights, write_weights

    weights = read_weights(tmp_path / "kept")
    first = next(iter(weights.tensors))
    changed = weights.tensors | {first: weights.tensors[first] + 1e-3}
    write_weights(dataclasses.replace(weights, tensors=changed), stored, {"name": "mn04_as"})
    with pytest.raises(UserError, match="others than the detector was made with"):
        asd_lightning.score(tmp_path / "named.asd", clips)


@pytest.fixture
def changed(runs, tmp_path):
    """A copy of the run on statistics, whose configuration names something else."""

    def change(**model):
        run = shutil.copytree(runs["statistics"].run, tmp_path / "run")
        for path in (run / "config.yaml", run / "results/config.yaml"):
            content = yaml.safe_load(path.read_text())
            content["model"] |= model
            path.write_text(yaml.safe_dump(content))
        return run

    return change


def branches(part, front_end="torch.nn.Identity"):
    return {"branches": {"own": {"_target_": "x", "front_end": {"_target_": front_end}, "encoder": part}}}


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ({"scorer": {"_target_": "mine.Mean", "_partial_": True}}, r"mine\.Mean is no part .* model/scorer=knn"),
        ({"embedder": branches({"_target_": "mine.Moments"})}, r"mine\.Moments is no part .* load_run score"),
        (
            {"embedder": branches({"_target_": "asd_lightning.encoders.installed.load_installed", "name": "ears"})},
            "encoder ears of another package cannot become part of a detector",
        ),
    ],
)
def test_a_part_of_ones_own_is_refused_at_once(model, why, changed, tmp_path):
    """Trust would not help: it is not asked for, and nothing is written."""
    run = changed(**model)
    with pytest.raises(UserError, match=why) as caught:
        asd_lightning.enrol(run, tmp_path / "x.asd")
    assert "trust" not in str(caught.value)
    with pytest.raises(UserError, match=why):
        asd_lightning.Detector(str(run)).fit(tmp_path)
    assert not (tmp_path / "x.asd").exists()


def test_a_run_whose_back_end_was_not_kept_does_not_score(changed, runs, tmp_path):
    run = changed()
    _, about = read_fitted(runs["statistics"].fitted)
    write_fitted(run / "results/fitted.safetensors", {}, about)
    for attempt in (asd_lightning.load_run, lambda place: asd_lightning.enrol(place, tmp_path / "x.asd")):
        with pytest.raises(UserError, match=r"a back-end of your own is not kept by a run.* model/scorer=knn"):
            attempt(run)
    assert not (tmp_path / "x.asd").exists()


def test_a_file_without_a_machine_is_refused(detectors, tmp_path):
    detector = asd_lightning.Detector.load(detectors / "statistics.asd")
    asd_lightning.Detector().begin(detector.hearing_).save(tmp_path / "none.asd")
    with pytest.raises(UserError, match=r"none\.asd: knows no machine"):
        asd_lightning.Detector.load(tmp_path / "none.asd")
