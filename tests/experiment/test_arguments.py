"""What a test takes over from the run it tests."""

import pytest
from hydra.core.hydra_config import HydraConfig

from asd_lightning.configuration import as_yaml, compose_train, instantiate_all
from asd_lightning.errors import UserError
from asd_lightning.experiment.identity import with_absolute_paths
from asd_lightning.experiment.recorded import retest_configuration
from asd_lightning.experiment.retest import retest
from asd_lightning.training.averaging import WeightEMA
from asd_lightning.training.checkpoint import LastCheckpoint


def run_with(folder, *overrides):
    """The folder of a run, as far as a test looks into it before it loads the weights."""
    config = with_absolute_paths(compose_train(["experiment=fft", "name=x", *overrides], folder))
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(as_yaml(config))
    return folder


@pytest.mark.parametrize("without", [[], ["~callbacks.ema"], ["callbacks.ema=null"]])
def test_callbacks_of_training_are_left_out_whatever_the_run_had(tmp_path, monkeypatch, without):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    config = retest_configuration(run_with(tmp_path / "run", *without), [], tmp_path / "results")
    callbacks = instantiate_all(config.callbacks)
    assert callbacks
    assert not any(isinstance(callback, WeightEMA | LastCheckpoint) for callback in callbacks)


@pytest.mark.parametrize("name", ["it's", "a,b", "[a]", "a=b c"])
def test_any_folder_will_do(tmp_path, monkeypatch, name):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    config = retest_configuration(run_with(tmp_path / name), [], tmp_path / name / "results")
    assert config.name == name
    assert config.callbacks.results.directory == str(tmp_path / name / "results")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("experiment=system1", "the system is the run's own"),
        ("scale=demo", "the system is the run's own"),
        ("encoders.beats.x=1", "the system is the run's own"),
        ("seed=-1", "seed=-1: a whole number of at least 0"),
        ("model.scorer.kk=3", r"model\.scorer\.kk: no such setting \(did you mean model\.scorer\.k\?\)"),
        ("data.rot=x", r"data\.rot: no such setting \(did you mean data\.root\?\)"),
        ("model/scorer=best", "model/scorer=best: no such choice"),
    ],
)
def test_what_a_test_cannot_change(tmp_path, monkeypatch, override, message):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    with pytest.raises(UserError, match=message):
        retest_configuration(run_with(tmp_path / "run"), [override], tmp_path)


def test_results_are_not_replaced(tmp_path):
    (tmp_path / "results_of_may").mkdir()
    (tmp_path / "results_of_may" / "scores.csv").write_text("of May")
    with pytest.raises(UserError, match="results_of_may: holds files already; give a new folder with --output"):
        retest(run_with(tmp_path / "run"), out=tmp_path / "results_of_may")
    assert (tmp_path / "results_of_may" / "scores.csv").read_text() == "of May"


def test_where_the_training_ran_is_not_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    run = run_with(tmp_path / "run", "trainer=ddp", "devices=4", "trainer.num_nodes=2", "trainer.precision=bf16-mixed")
    config = retest_configuration(run, ["devices=2"], tmp_path)
    assert (config.trainer.devices, config.trainer.num_nodes, config.trainer.strategy) == (2, 1, "auto")
    assert config.trainer.precision == "bf16-mixed"


def test_model_data_and_seed_are_the_recorded_ones_whatever_the_defaults_are_today(tmp_path, monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    run = run_with(tmp_path / "run", "model/scorer=gmm", "data.clip_seconds=3.5", "seed=7", "model.mixup_alpha=0.1")
    record = (run / "config.yaml").read_text().replace("components: 2", "components: 5")
    newer = ("hop_seconds", "recording_score", "scoring_precision")
    known = [line for line in record.splitlines() if not line.strip().startswith(newer)]
    (run / "config.yaml").write_text("\n".join(known))
    config = retest_configuration(run, ["+model.scorer.regularization=0.5", "data.machines=[fan]"], tmp_path / "out")
    scorer = config.model.scorer
    assert (scorer.components, scorer.regularization, scorer.seed) == (5, 0.5, 7)
    assert (config.data.clip_seconds, config.data.seed, config.data.machines) == (3.5, 7, ["fan"])
    assert (config.seed, config.model.mixup_alpha, config.model.seed) == (7, 0.1, 7)
    # What the run is too old to know is as today.
    assert (config.data.hop_seconds, config.model.recording_score) == (None, "max")
    assert config.model.scoring_precision == "float32"


def test_a_part_that_is_chosen_anew_replaces_the_recorded_one_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    run = run_with(tmp_path / "run", "model/scorer=gmm", "seed=7")
    config = retest_configuration(run, ["model/scorer=knn_standardized", "+model.scorer.k=3", "seed=8"], tmp_path / "o")
    assert (config.model.scorer.k, config.model.scorer.standardize, config.model.scorer.seed) == (3, True, 8)
    assert "components" not in config.model.scorer
    assert config.choices["model/scorer"] == "knn_standardized"
    assert (config.seed, config.model.seed, config.data.seed) == (8, 8, 8)


def test_the_recordings_are_where_they_were_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    monkeypatch.chdir(tmp_path)
    run = run_with(tmp_path / "run", "data.root=recordings", "data.truth=list.csv")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    data = retest_configuration(run, [], tmp_path / "out").data
    assert (data.root, data.truth) == (str(tmp_path / "recordings"), str(tmp_path / "list.csv"))
    assert data.cache_dir == "cache/clips"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.root=a,b", "data.root=a,b: several values; a test has one of each"),
        ("data.root=null", "data.root=null: the folder that holds the machines' recordings is needed"),
        ("~data.root", "data.root=null: the folder that holds the machines' recordings is needed"),
        ("data.machines=fan", r"data.machines=fan: give a list, \[fan\]"),
        (
            "callbacks=null",
            "callbacks=null: a choice is needed, callbacks=default; ~callbacks.NAME leaves a single one",
        ),
        ("model/scorer=null", "model/scorer=null: a choice is needed, model/scorer=beam"),
        ("~model.scorer", "model.scorer is missing, and a system needs one; choose another with model/scorer=NAME"),
        ("model.threshold=null", "model.threshold is missing"),
        ("model.scorer=knn", "model.scorer=knn: a choice takes a slash, model/scorer=knn"),
        ("model.threshold=gamma", "model.threshold=gamma: a choice takes a slash, model/threshold=gamma"),
        (
            "model.recording_score.bar=1",
            "model.recording_score is a plain value, model.recording_score=max, and nothing",
        ),
        ("+data.root.x=1", "data.root is a plain value, data.root=/.*, and nothing is below it"),
        ("~model.scorer.foo", r"model\.scorer\.foo: no such setting"),
        ("data.recordings=[]", r"data.recordings=\[\]: a table, or null for one beside the machines, is needed"),
        ("data.truth={a: 1}", "data.truth=.*: a list or folder, none, or null .* is needed"),
        ("data.cache_dir=null", "data.cache_dir=null: a folder in which decoded clips are kept, .* is needed"),
        ("data.machines=[]", r"data.machines=\[\]: give a list of names, or null for all machines"),
        ("system=null", "system=null: the system's name in comparisons is needed"),
        ("~system", "system=null: the system's name in comparisons is needed"),
        ("~seed", "seed=null: a whole number of at least 0 is needed"),
        ("~devices", "~devices: a run needs one; give devices=VALUE"),
        ("trainer.precision=16-true", "trainer.precision=16-true: choose one of 32-true, bf16-mixed, 16-mixed$"),
        ("+logger.x=1", "logger.x=1: logger.x._target_ is missing"),
        ("seed=4294967296", "seed=4294967296: at most 4,294,967,295 is possible"),
        ("data.test_windows=1000000000000", "data.test_windows=1000000000000: at most 10,000 is possible"),
    ],
)
def test_mistakes_in_a_test_are_one_line(tmp_path, override, message):
    with pytest.raises(UserError, match=message) as caught:
        retest_configuration(run_with(tmp_path / "run"), [override], tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.embedder=null", "what can be changed is model/scorer, model/threshold, .*, and with -o DIR the folder"),
        ("model.optimizer.lr=1", "changes nothing in a test; what can be changed"),
        ("model.seed=1", "changes nothing in a test; what can be changed"),
        ("test=false", "changes nothing in a test; what can be changed"),
        ("name=x", "changes nothing in a test; what can be changed"),
        ("resume=x", "changes nothing in a test; what can be changed"),
        ("accumulate=2", "changes nothing in a test; what can be changed"),
        ("compile=true", "changes nothing in a test; what can be changed"),
        ("++x.y=1", "changes nothing in a test; what can be changed"),
        ("~test", "changes nothing in a test; what can be changed"),
        ("hydra.run.dir=x", "changes nothing in a test; .* -o DIR"),
        ("hydra/launcher=joblib", "changes nothing in a test; what can be changed"),
        ("dvices=2", r"changes nothing in a test \(did you mean devices\?\)"),
        ("model.scorrer.k=3", r"changes nothing in a test \(did you mean model.scorer\?\)"),
        *(
            (override, "is the training's, and changes nothing in a test; results go elsewhere with -o DIR")
            for override in (
                *("data.batch_size=4", "data.sampler=uniform", "data.labels=machine", "data.supplemental=none"),
                *("data.seed=1", "trainer.max_steps=3", "trainer.accumulate_grad_batches=2", "callbacks.ema=null"),
                *("~callbacks.checkpoint", "callbacks.results.directory=x"),
            )
        ),
    ],
)
def test_what_a_test_would_make_nothing_of_is_refused(tmp_path, override, message):
    with pytest.raises(UserError, match=message) as caught:
        retest_configuration(run_with(tmp_path / "run"), [override], tmp_path / "out")
    assert str(caught.value).startswith(f"{override}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    [
        *("model/scorer=gmm", "model.scorer.k=2", "+model.scorer.local_density=1", "model.scorer.smote=null"),
        *("model/threshold=quantile", "model.score_after_head=false", "model.recording_score=mean", "seed=3"),
        *("system=other", "data.root=elsewhere", "data.machines=null", "data.truth=null", "data.channel=mean"),
        *("data.test_windows=3", "data.num_workers=null", "data.cache_dir=x", "trainer=ddp", "devices=2"),
        *("trainer.accelerator=cpu", "trainer.precision=bf16-mixed", "trainer.precision=32", "~callbacks.progress"),
        *("model.scoring_precision=int8", "logger=[]", "logger=[csv,tensorboard]", "callbacks.progress=null"),
    ],
)
def test_what_a_test_uses_can_be_changed(tmp_path, override):
    retest_configuration(run_with(tmp_path / "run"), [override], tmp_path / "out")
