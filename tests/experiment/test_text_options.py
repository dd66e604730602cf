"""Names and folders are text, whatever they look like, and ~ is the home folder."""

import random
from pathlib import Path

import pytest

from asd_lightning.configuration import compose_train, for_hydra
from asd_lightning.experiment.text_options import as_text

NAMES = [
    "2024_11_25", "1e2", "00", "007", "1_000", "-3", "+4", ".5", "5.", "1e-3", "1E5", "inf", "nan", "-inf", "true",
    "True", "FALSE", "false", "0x10", "0b1", "12:30", "1,5"[:1], "2024-11-25", "1.2.3", "on", "yes", "pump", "3 pumps",
    "Prüfstand", "한국", "größe 2", "1e2ü",
]  # fmt: skip


def composed(*overrides: str):
    return compose_train([for_hydra(as_text(override)) for override in overrides])


@pytest.mark.parametrize("name", NAMES)
def test_what_looks_like_a_number_is_text(name):
    config = composed(f"name={name}", f"data.root={name}", f"data.machines=[{name},pump]", f"data.cache_dir={name}")
    assert [config.name, config.data.root, config.data.cache_dir] == [name] * 3
    assert list(config.data.machines) == [name, "pump"]


def test_numbers_of_all_forms_are_text():
    draw = random.Random(0)
    for _ in range(60):
        name = draw.choice("0123456789") + "".join(draw.choice("0123456789_eE.-+") for _ in range(draw.randint(0, 8)))
        assert composed(f"data.root={name}").data.root == name


def test_nothing_is_still_nothing():
    assert composed("data.machines=null").data.machines is None
    assert composed("data.truth=null").data.truth is None
    assert composed("data.truth=1e5").data.truth == "1e5"


def test_numbers_are_still_numbers():
    config = composed("seed=7", "data.clip_seconds=1e1", "trainer.max_steps=1_000")
    assert (config.seed, config.data.clip_seconds, config.trainer.max_steps) == (7, 10.0, 1000)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.root=~/pumps", "data.root=HOME/pumps"),
        ("data.root=~", "data.root=HOME"),
        ("data.root='~/my pumps'", "data.root='HOME/my pumps'"),
        ("data.root=~/a,~/b", "data.root=HOME/a,HOME/b"),
        ("data.cache_dir=~/c", "data.cache_dir=HOME/c"),
        ("data.truth=~/list.csv", "data.truth=HOME/list.csv"),
        ("hydra.run.dir=~/runs/a", "hydra.run.dir=HOME/runs/a"),
        ("encoders.beats.weights=~/beats.pt", "encoders.beats.weights=HOME/beats.pt"),
        ("+data.recordings=~/r.csv", "+data.recordings=HOME/r.csv"),
        ("data.root=a~b", "data.root='a~b'"),
        ("data.root=a/~", "data.root='a/~'"),
        ("~data.root", "~data.root"),
        ("name=~x", "name='~x'"),
        ("data.root=1e2,2e3", "data.root='1e2','2e3'"),
        ("data.root=${oc.env:HOME}/x", "data.root=${oc.env:HOME}/x"),
    ],
)
def test_the_home_folder(monkeypatch, override, expected):
    monkeypatch.setenv("HOME", "/home/me")
    assert as_text(override) == expected.replace("HOME}", "HOME\0}").replace("HOME", "/home/me").replace(
        "/home/me\0}", "HOME}"
    )


def test_the_home_folder_of_other_commands(tmp_path, monkeypatch, capsys):
    from asd_lightning.cli import main

    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["data", "check", "~/pumps"]) == 2
    assert f"{tmp_path}/pumps: no such folder" in capsys.readouterr().err
    assert main(["test", "run=~/runs/a"]) == 2
    assert f"{tmp_path}/runs/a: not the folder of a run" in capsys.readouterr().err


def test_the_home_folder_from_python(tmp_path, monkeypatch):
    from asd_lightning.data.folders import machine_folders

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pump/normal").mkdir(parents=True)
    assert machine_folders(Path("~/pump")) == [("pump", tmp_path / "pump")]
