"""A stored configuration calls nothing that nobody has vouched for."""

import copy

import pytest
import torch
import yaml

from asd_lightning.configuration import CONF_DIR, compose_train, plain
from asd_lightning.data.labels import ClassLabel
from asd_lightning.errors import UserError
from asd_lightning.experiment.arguments import retest_configuration
from asd_lightning.training.build import build_module, load_module
from asd_lightning.trust import PARTS, own_targets, refuse_foreign_targets

# Each would run code or write files: by name, through a module that this package imports, and through one's own names.
FOREIGN = [
    "os.system",
    "joblib.load",
    "builtins.eval",
    "torch.load",
    "asd_lightning.training.build.torch.load",
    "asd_lightning.atomic.write_atomically",
    "asd_lightning.trust.os.system",
    "pathlib.Path.write_text",
    "asd_lightning.experiment.dashboard.wandb_logger",
    "",
    None,
    ["os.system"],
]


def stored(target, depth):
    node = {"_target_": target}
    for _ in range(depth):
        node = {"a": [{"b": node}]}
    return node


@pytest.mark.parametrize("target", FOREIGN, ids=str)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_foreign_callables_are_refused_wherever_they_stand(target, depth):
    with pytest.raises(UserError, match=r"run\.yaml: would call .*ASD_TRUST="):
        refuse_foreign_targets(stored(target, depth), "run.yaml", "model")


def test_every_target_of_the_configuration_passes():
    for group, part in (("encoders", "model"), *((part, part) for part in PARTS)):
        for path in (CONF_DIR / group).rglob("*.yaml"):
            # References between the files of the configuration are resolved in what a run stores.
            text = path.read_text().replace("${", "(")
            refuse_foreign_targets(yaml.safe_load(text), str(path), part)
    assert "asd_lightning.embedder.Branch" in own_targets("model")


def test_a_trusted_package_may_be_named_but_not_walked_through(tmp_path, monkeypatch):
    (tmp_path / "my_branches.py").write_text("import os\nfrom pathlib import Path\n\nclass Mine:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine = stored("my_branches.Mine", 1)
    with pytest.raises(UserError, match="ASD_TRUST=my_branches"):
        refuse_foreign_targets(mine, "run.yaml", "model")
    monkeypatch.setenv("ASD_TRUST", "other, my_branches")
    refuse_foreign_targets(mine, "run.yaml", "model")
    for walked in ("my_branches.os.system", "my_branches.Path", "my_branches.absent", "my_branches"):
        with pytest.raises(UserError):
            refuse_foreign_targets(stored(walked, 1), "run.yaml", "model")


def test_what_is_typed_now_is_meant():
    refuse_foreign_targets(stored("my.Own", 1), "run.yaml", "model", ["model.x._target_=my.Own"])


@pytest.fixture
def checkpoint(tmp_path):
    config = plain(compose_train(["encoders=tiny", "experiment=fft", "name=x"], tmp_path))["model"]
    module = build_module(config, [ClassLabel("fan/a", True), ClassLabel("fan/b", True)])
    content = {"state_dict": module.state_dict(), "global_step": 0}
    module.on_save_checkpoint(content)
    return content


def test_a_checkpoint_that_names_a_foreign_callable_is_not_built(tmp_path, checkpoint):
    path, witness = tmp_path / "last.ckpt", tmp_path / "witness"
    torch.save(checkpoint, path)
    load_module(path)
    for part in ("optimizer", "scorer", "threshold"):
        attacked = copy.deepcopy(checkpoint)
        attacked["asd_config"][part] = {"_target_": "os.mkdir", "path": str(witness)}
        torch.save(attacked, path)
        with pytest.raises(UserError, match=r"last\.ckpt: would call 'os\.mkdir'"):
            load_module(path)
    assert not witness.exists()


def run_with(tmp_path, *overrides):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    return tmp_path


@pytest.mark.parametrize(
    "override",
    [
        "+model.scorer.made_by._target_=os.getcwd",
        "++trainer.precision={_target_: os.getcwd}",
        "++data.root={_target_: os.getcwd}",
        "++data.sample_rate={_target_: os.getcwd}",
        "++encoders.beats={_target_: os.getcwd}",
        "++name={_target_: os.getcwd}",
    ],
)
def test_the_overrides_of_a_run_that_was_passed_on_call_nothing(tmp_path, override):
    """Whichever part of the configuration they stand in, or are referred to from."""
    run = run_with(tmp_path, "experiment=system1", override)
    with pytest.raises(UserError, match=r"overrides\.yaml: would call 'os\.getcwd'"):
        retest_configuration(run, ["logger=[wandb]"], tmp_path / "out")


@pytest.mark.parametrize("override", ["+model/scorer@callbacks.x=knn", "++hydra.run.dir=x", "~callbacks.results"])
def test_they_put_nothing_where_it_does_not_belong(tmp_path, override):
    config = retest_configuration(run_with(tmp_path, "experiment=fft", override), [], tmp_path / "out")
    assert set(config.callbacks) == set(retest_configuration(tmp_path, [], tmp_path / "out").callbacks)
    assert "x" not in config.callbacks
    assert config.callbacks.results.directory == str(tmp_path / "out")


def test_a_checkpoint_that_looks_into_the_environment_is_not_built(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    checkpoint["asd_config"]["embedder"]["note"] = "${oc.env:SECRET}"
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"holds the reference '\$\{oc\.env:SECRET\}'") as caught:
        load_module(tmp_path / "last.ckpt")
    assert "s3cret" not in str(caught.value)


def test_they_do_not_look_into_this_computer(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    run = run_with(tmp_path, "experiment=fft", "system='${oc.env:SECRET}'")
    with pytest.raises(UserError, match="looks into this computer"):
        retest_configuration(run, [], tmp_path / "out")


def test_they_choose_no_logger_no_callback_and_no_trainer(tmp_path):
    run = run_with(
        tmp_path,
        "experiment=fft",
        "logger=[tensorboard]",
        "+logger.csv.prefix=https://example.org",
        "callbacks.results.directory=/elsewhere",
        "hydra.run.dir=/elsewhere",
        "trainer.max_steps=7",
        "trainer.precision=bf16-mixed",
    )
    config = retest_configuration(run, ["logger=[csv]"], tmp_path / "out")
    assert list(config.logger) == ["csv"]
    assert "prefix" not in config.logger.csv
    assert config.callbacks.results.directory == str(tmp_path / "out")
    assert config.trainer.precision == "bf16-mixed"
