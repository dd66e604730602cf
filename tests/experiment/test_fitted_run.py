"""What a run keeps scores as the run did, in a fresh process without a training recording."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from asd_lightning import enrol, load_run, score
from asd_lightning.comparison.systems import compare_runs
from asd_lightning.configuration import CONF_DIR
from asd_lightning.data.layout import find_clips
from asd_lightning.errors import UserError
from asd_lightning.experiment.retest import retest
from asd_lightning.experiment.train import train
from asd_lightning.run_folder import results_of
from asd_lightning.scoring.clip_scores import read_scores
from asd_lightning.scoring.fitted import read_fitted, write_fitted
from tests.experiment.runs import tiny_config
from tests.experiment.test_sweep import comparison, official_scores, overrides_of
from tests.forked import run_forked

SYSTEMS = ("system1", "system2", "system3", "system4")


def classes(node):
    """The classes that a preset is made of."""
    if not isinstance(node, dict):
        return []
    own = [node["_target_"]] if "_target_" in node else []
    return own + [name for value in node.values() for name in classes(value)]


def one_of_each_kind():
    """Names of back-ends, of those made of the same classes the first: a test of each takes seconds."""
    kinds = {}
    for path in PRESETS:
        kinds.setdefault(tuple(classes(yaml.safe_load(path.read_text()))), path.stem)
    return tuple(sorted(kinds.values()))


PRESETS = sorted((CONF_DIR / "model/scorer").glob("*.yaml"))
BACK_ENDS = one_of_each_kind()
OTHERS = tuple(path.stem for path in PRESETS if path.stem not in BACK_ENDS)
QUIET = ["~callbacks.progress", "trainer.accelerator=cpu"]
# Scores the clips of a folder from each place, in the test's batches and one by one.
FRESH_PROCESS = """
import json, sys
from pathlib import Path
from asd_lightning import load_run
from asd_lightning.data.layout import find_clips

root, *places = sys.argv[1:]
clips = sorted((c for c in find_clips(Path(root)) if c.split == "test"), key=lambda c: (c.machine, c.name))
for place in places:
    run = load_run(place)
    known = {machine for machine, _ in run.machines}
    own = [clip for clip in clips if clip.machine in known]
    scored = []
    for batch_size in (32, 1):
        rows, _ = run.score_clips(own, batch_size)
        scored.append([[row.machine, row.file, row.anomaly_score, row.decision] for row in sorted(rows)])
    print(json.dumps(scored))
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
def statistics(tiny_data, tmp_path_factory):
    run = tmp_path_factory.mktemp("statistics") / "run"
    run.mkdir()
    train(tiny_config(run, tiny_data, "statistics", updates=0), run)
    return run


@pytest.fixture(scope="module")
def fan(tiny_data, tmp_path_factory):
    """The statistics of one machine: a back-end has each to itself, and there are many back-ends."""
    run = tmp_path_factory.mktemp("fan") / "run"
    run.mkdir()
    train(tiny_config(run, tiny_data, "statistics", ["data.machines=[fan]"], updates=0), run)
    return run


@pytest.fixture(scope="module")
def systems(tiny_data, tmp_path_factory):
    """The challenge entry in one line of a shell: the folder with a run of each system."""
    folder = tmp_path_factory.mktemp("systems")
    overrides = overrides_of(tiny_data, f"data.root={tiny_data}", f"experiment={','.join(SYSTEMS)}")
    process = run_forked(["train", *overrides], folder)
    assert process.returncode == 0, process.stdout + process.stderr
    return folder / "runs/swept"


@pytest.fixture(scope="module")
def tested(systems, fan):
    """The four systems, and the statistics with each back-end: the result sets of their tests."""
    sets = {system: results_of(systems / f"{job}_{system}_seed0") for job, system in enumerate(SYSTEMS)}
    for scorer in BACK_ENDS:
        sets[scorer] = retest(fan, [f"model/scorer={scorer}", *QUIET])
    return sets


@pytest.fixture(scope="module")
def scored(tested, bare, tmp_path_factory):
    """Of each: its scores in the batches of the test, and one by one, from one process that has run and files alone."""
    return scored_elsewhere(tested, bare, tmp_path_factory)


def scored_elsewhere(tested, bare, tmp_path_factory):
    places = [str(results.folder) for results in tested.values()]
    folder = tmp_path_factory.mktemp("elsewhere")
    done = run_forked([bare, *places], folder, code=FRESH_PROCESS)
    assert done.returncode == 0, done.stderr
    return dict(zip(tested, map(json.loads, done.stdout.splitlines()), strict=True))


def test_the_four_systems_by_the_command(systems):
    """A run of each system, a table and a figure."""
    rows = [
        row for row in comparison(systems) if (row["source"], row["machine"], row["metric"]) == ("runs", "all", "hmean")
    ]
    scores = {row["system"]: float(row["mean"]) for row in rows}
    assert scores == {system: pytest.approx(official_scores(systems, system)[0]) for system in SYSTEMS}
    assert (systems / "comparison.md").is_file()
    assert (systems / "comparison.png").is_file()


@pytest.mark.parametrize("name", [*SYSTEMS, *BACK_ENDS])
def test_scores_as_the_run_did(name, tested, scored):
    """In the batches of the test to the last bit; one by one within 1e-5 of the training scores' spread."""
    check_scores(name, tested, scored)


@pytest.mark.parametrize("name", [*SYSTEMS, "z_min"])
def test_a_detector_made_of_it_scores_as_the_run_did(name, tested, bare, tmp_path):
    """In the batches of the test to the last bit, with the decisions of the run's own thresholds."""
    enrol(tested[name].folder, tmp_path / "x.asd", sounds=0)
    before = sorted(read_scores(tested[name].scores))
    own = [path for machine in {row.machine for row in before} for path in bare.glob(f"{machine}/test/*.wav")]
    rows = score(tmp_path / "x.asd", sorted(own, key=lambda path: (path.parts[-3], path.name)))
    found = sorted((row.machine, Path(row.path).name, row.score, row.decision) for row in rows)
    assert [row[:3] for row in found] == [(row.machine, row.file, row.anomaly_score) for row in before]
    assert [row[3] in ("warning", "alarm") for row in found] == [bool(row.decision) for row in before]


@pytest.mark.slow
def test_scores_of_all_other_back_ends(fan, bare, tmp_path_factory):
    tested = {scorer: retest(fan, [f"model/scorer={scorer}", *QUIET]) for scorer in OTHERS}
    scored = scored_elsewhere(tested, bare, tmp_path_factory)
    for name in OTHERS:
        check_scores(name, tested, scored)


def check_scores(name, tested, scored):
    together, alone = scored[name]
    before = sorted(read_scores(tested[name].scores))
    assert together == [[row.machine, row.file, row.anomaly_score, row.decision] for row in before]
    machines = load_run(tested[name].folder).machines
    for (*_, anomaly_score, decision), row in zip(alone, before, strict=True):
        spread = np.std(machines[row.machine, row.section].training_scores)
        # After two updates system 2's embeddings are nearly alike, and float32 rounds what little tells them apart.
        rounding = 1e-6 * np.sqrt(abs(row.anomaly_score)) if name == "system2" else 0.0
        assert abs(anomaly_score - row.anomaly_score) <= max(1e-5 * spread, rounding)
        assert decision == row.decision


def test_recordings_of_one_name_are_several(statistics, bare, tmp_path):
    """Each has its row, named by its path; one alone may be given as it is."""
    paths = sorted((bare / "fan/test").iterdir())[:2]
    for name, path in zip("ab", paths, strict=True):
        (tmp_path / name).mkdir()
        shutil.copy(path, tmp_path / name / "today.wav")
    run = load_run(statistics)
    twins = [tmp_path / name / "today.wav" for name in "ab"]
    rows, _ = run.score(twins, "fan", batch_size=1)
    alone = [run.score(str(path), "fan")[0][0] for path in twins]
    assert [row.file for row in rows] == [str(path) for path in twins]
    # Two rows at once are another matrix product than one: the last bit may differ.
    assert [row.anomaly_score for row in rows] == pytest.approx([row.anomaly_score for row in alone], rel=1e-12)
    assert [row.file for row in alone] == ["today.wav", "today.wav"]
    with pytest.raises(UserError, match=r"today\.wav: is given twice"):
        run.score([twins[0], twins[0]], "fan")
    with pytest.raises(UserError, match="several machines: name one with machine=, of bearing, fan, gearbox"):
        run.score(twins)


def test_mixed_precision_is_kept(tiny_data, bare, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    train(tiny_config(run, tiny_data, "fft", updates=1), run)
    results = retest(run, [*QUIET, "trainer.precision=bf16-mixed"])
    clips = sorted((c for c in find_clips(bare) if c.split == "test"), key=lambda c: (c.machine, c.name))
    rows, _ = load_run(results.folder).score_clips(clips)
    assert sorted(rows) == sorted(read_scores(results.scores))
    assert {len(system.finished) for system in compare_runs([run, results.folder]).systems} == {1}
    machines, about = read_fitted(results.fitted)
    write_fitted(results.fitted, machines, about | {"precision": "64-true"})
    with pytest.raises(UserError, match=r"was tested with trainer\.precision=64-true"):
        load_run(results.folder)


def test_what_does_not_belong_together_is_refused(statistics, tiny_data, bare, tmp_path):
    with pytest.raises(UserError, match="machine pump: the run knows bearing, fan, gearbox"):
        load_run(statistics).score([], "pump")
    shutil.copytree(results_of(statistics).folder, tmp_path / "today")
    with pytest.raises(UserError, match="today: lies outside of a run"):
        load_run(tmp_path / "today")
    other = tmp_path / "other"
    other.mkdir()
    train(tiny_config(other, tiny_data, "fft", updates=1), other)
    shutil.copy(results_of(statistics).fitted, results_of(other).fitted)
    with pytest.raises(UserError, match="fitted with other weights"):
        load_run(other)
