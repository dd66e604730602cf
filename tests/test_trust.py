"""A stored configuration calls nothing that nobody has vouched for."""

import copy

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from asd_lightning.cli import main
from asd_lightning.configuration import CONF_DIR, compose_train, plain
from asd_lightning.data.labels import ClassLabel
from asd_lightning.errors import UserError
from asd_lightning.experiment.recorded import retest_configuration
from asd_lightning.training.build import build_module, load_module
from asd_lightning.trust import own_targets, refuse_foreign_targets

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
    with pytest.raises(UserError, match=r"run\.yaml: would call .*no run needs that, so do not use the file$"):
        refuse_foreign_targets(stored(target, depth), "run.yaml", "model")


def test_every_target_of_the_configuration_passes():
    parts = ("model", "data", "trainer", "callbacks", "logger")
    for group, part in (("encoders", "model"), *zip(parts, parts, strict=True)):
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


# The standard library, what the package is made of, directly or not, and the package itself.
NOBODYS = ["os", "subprocess", "builtins", "torch", "numpy", "joblib", "yaml", "sympy", "asd_lightning"]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (
            "gone_branches.Levels",
            r"trusted, and cannot be imported here \(No module named 'gone_branches'\): install it",
        ),
        ("here_branches", r"a class or function in it is needed, such as here_branches\.Name"),
        ("here_branches.Levels", "trusted, and there is no Levels in here_branches"),
        ("here_branches.system", "trusted, and <built-in function system> is none of its own"),
    ],
)
def test_what_is_trusted_and_cannot_be_called_is_said_so(target, why, tmp_path, monkeypatch):
    (tmp_path / "here_branches.py").write_text("from os import system\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ASD_TRUST", "gone_branches,here_branches")
    with pytest.raises(UserError, match=why) as caught:
        refuse_foreign_targets(stored(target, 1), "run.yaml", "model")
    assert "allow it" not in str(caught.value)


@pytest.mark.parametrize("package", NOBODYS)
def test_what_can_run_anything_is_neither_trusted_nor_advised(package, monkeypatch, capsys):
    with pytest.raises(UserError, match="do not use the file") as caught:
        refuse_foreign_targets(stored(f"{package}.anything", 1), "run.yaml", "model")
    assert "--trust" not in str(caught.value)
    monkeypatch.setenv("ASD_TRUST", "")
    assert main(["test", "runs/a", "--trust", package]) == 2
    assert capsys.readouterr().err.startswith(f"asd: --trust {package}: part of Python or of what this package is made")
    monkeypatch.setenv("ASD_TRUST", f"mine,{package}")
    with pytest.raises(UserError, match=f"--trust {package}: "):
        refuse_foreign_targets(stored("mine.Own", 1), "run.yaml", "model")


@pytest.mark.parametrize("word", ["mine.branches", "./mine.py", "mine own", "-o"])
def test_a_package_is_trusted_by_its_name(word, monkeypatch, capsys):
    monkeypatch.setenv("ASD_TRUST", "")
    assert main(["test", "runs/a", "--trust", word]) == 2
    assert f"--trust {word}: the name of a package is needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("model", "_partial_", False),
        ("model", "_partial_", "yes"),
        ("model", "_args_", ["/etc/passwd"]),
        ("model", "_recursive_", False),
        ("model", "_convert_", "all"),
        ("data", "_convert_", "none"),
        ("data", "_partial_", True),
        ("data", "_any_", 1),
    ],
)
def test_a_file_is_built_as_the_configuration_builds_and_not_otherwise(part, key, value, tmp_path, monkeypatch):
    node = {"a": [{"b": {key: value}}]}
    with pytest.raises(UserError, match=rf"run\.yaml: holds {key}=.*, which no run of this package needs; remove it"):
        refuse_foreign_targets(node, "run.yaml", part)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(node))
    monkeypatch.setenv("ASD_CONFIG_DIR", str(tmp_path))
    refuse_foreign_targets(node, "run.yaml", part)


@pytest.mark.parametrize(("key", "value"), [("_args_", [7]), ("_recursive_", False), ("_partial_", False)])
def test_neither_a_run_nor_a_checkpoint_says_how_it_is_built(tmp_path, checkpoint, key, value):
    with pytest.raises(UserError, match=rf"config\.yaml: holds {key}="):
        retest_configuration(run_with(tmp_path, f"model.scorer.{key}", value), [], tmp_path / "out")
    checkpoint["asd_config"]["scorer"][key] = value
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=rf"last\.ckpt: holds {key}="):
        load_module(tmp_path / "last.ckpt")


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


def run_with(tmp_path, place="", value=None):
    """The record of a run in which somebody has put a value in a place."""
    config = compose_train(["experiment=system1", "encoders=tiny", "name=x", "logger=[tensorboard]"], tmp_path)
    record = OmegaConf.create(plain(config))
    if place:
        OmegaConf.update(record, place, value, merge=False, force_add=True)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(OmegaConf.to_container(record)))
    return tmp_path


CALL = {"_target_": "os.getcwd"}


@pytest.mark.parametrize(
    "place",
    ["model.scorer.made_by", "model.embedder.branches.beats.encoder", "data.root", "data.sample_rate", "data"],
)
def test_the_record_of_a_run_that_was_passed_on_calls_nothing(tmp_path, place):
    with pytest.raises(UserError, match=r"config\.yaml: would call 'os\.getcwd'"):
        retest_configuration(run_with(tmp_path, place, CALL), ["logger=[wandb]"], tmp_path / "out")


@pytest.mark.parametrize(
    ("place", "message"),
    [("trainer.precision", "precision=.* is no plain value"), ("seed", "seed=.* is no plain value")],
)
def test_what_is_taken_over_is_plain(tmp_path, place, message):
    with pytest.raises(UserError, match=message):
        retest_configuration(run_with(tmp_path, place, CALL), [], tmp_path / "out")


@pytest.mark.parametrize(
    "place", ["callbacks.x", "callbacks.results", "logger.x", "encoders.beats", "trainer.plugins", "name", "hydra.run"]
)
def test_what_is_not_taken_over_does_no_harm(tmp_path, place):
    config = retest_configuration(run_with(tmp_path, place, CALL), [], tmp_path / "out")
    assert "os.getcwd" not in OmegaConf.to_yaml(config)
    assert config.callbacks.results.directory == str(tmp_path / "out")
    assert list(config.logger) == ["csv"]


def test_a_checkpoint_that_looks_into_the_environment_is_not_built(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    checkpoint["asd_config"]["embedder"]["note"] = "${oc.env:SECRET}"
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"holds the reference '\$\{oc\.env:SECRET\}'") as caught:
        load_module(tmp_path / "last.ckpt")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("place", ["system", "data.root", "data.truth", "model.scorer.k", "trainer.precision"])
def test_a_record_does_not_look_into_this_computer(tmp_path, monkeypatch, place):
    monkeypatch.setenv("SECRET", "s3cret")
    run = run_with(tmp_path)
    record = yaml.safe_load((run / "config.yaml").read_text())
    *above, last = place.split(".")
    holder = record
    for part in above:
        holder = holder[part]
    holder[last] = "${oc.env:SECRET}"
    (run / "config.yaml").write_text(yaml.safe_dump(record))
    with pytest.raises(UserError, match=r"oc\.env:SECRET") as caught:
        retest_configuration(run, [], tmp_path / "out")
    assert "s3cret" not in str(caught.value)


def test_of_the_trainer_the_precision_is_taken_over(tmp_path):
    run = run_with(tmp_path, "trainer", {"_target_": "os.getcwd", "max_steps": 7, "precision": "bf16-mixed"})
    config = retest_configuration(run, ["logger=[csv]"], tmp_path / "out")
    assert config.trainer.precision == "bf16-mixed"
    assert config.trainer.max_steps == 10_000


EVIL = {
    "elsewhere": "# @package _global_\ncallbacks:\n  zz: {_target_: shutil.copyfile}\nmodel: {scorer: {k: 3}}\n",
    "target": "_target_: shutil.copyfile\n_partial_: true\n",
    "environment": "_target_: asd_lightning.scoring.knn.KNNScorer\n_partial_: true\nmetric: ${oc.env:HOME}\n",
    "decoded": "_target_: asd_lightning.scoring.knn.KNNScorer\n_partial_: true\nk: ${oc.decode:${oc.env:HOME}}\n",
    "place": "# @package _global_\n_target_: asd_lightning.scoring.knn.KNNScorer\n_partial_: true\n"
    "data: {cache_dir: elsewhere}\n",
}


@pytest.mark.parametrize("evil", EVIL)
def test_a_folder_that_a_run_remembers_is_not_trusted(tmp_path, monkeypatch, evil):
    """Whatever is in it: it gives one back-end, and neither callbacks, places nor what is in the environment."""
    monkeypatch.setenv("HOME", "3")
    folder = tmp_path / "remembered"
    run = run_with(tmp_path, "config_dirs", [str(folder)])
    (folder / "model/scorer").mkdir(parents=True)
    (folder / "model/scorer/five.yaml").write_text(EVIL[evil])
    (folder / "model/scorer/knn.yaml").write_text(EVIL["target"])
    try:
        config = retest_configuration(run, ["model/scorer=five"], tmp_path / "out")
    except UserError:
        assert evil != "place"
    else:
        assert "zz" not in config.callbacks
        assert config.data.cache_dir == "cache/clips"
    # The package's own names stay its own.
    assert retest_configuration(run, ["model/scorer=knn"], tmp_path / "out").model.scorer.metric == "cosine"
    good = "_target_: asd_lightning.scoring.knn.KNNScorer\n_partial_: true\nk: 5\n"
    (folder / "model/scorer/five.yaml").write_text(good)
    assert retest_configuration(run, ["model/scorer=five"], tmp_path / "out").model.scorer.k == 5
