"""The wheel holds everything: installed elsewhere, it runs from another folder."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.forked import python_of_libraries, run_forked
from tests.reference import REPOSITORY
from tests.walk import blocks


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A new environment with the wheel; the libraries it needs are borrowed from this one, this checkout is not."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--installer", "uv", "--wheel", "--outdir", folder, REPOSITORY, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env")
    python = folder / "env/bin/python"
    install = [sys.executable, "-m", "uv", "pip", "install", "--python", python, "--no-deps", "--no-index"]
    run(*install, wheel, cwd=folder)
    # A line in a .pth file adds a path, but does not follow the .pth files there: the editable install stays out.
    site_packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "env"


@pytest.fixture(autouse=True)
def found_beside_it(own_parts, monkeypatch):
    """Of what lies outside of the environment: the user's own parts, and not this checkout."""
    monkeypatch.setenv("PYTHONPATH", str(own_parts))


def test_the_wheel_carries_code_and_configuration(environment, tmp_path):
    where = "import asd_lightning.configuration as c; print(c.CONF_DIR)"
    conf = Path(run(environment / "bin/python", "-c", where, cwd=tmp_path).strip())
    assert conf.is_relative_to(environment)
    shipped = {path.relative_to(conf) for path in conf.rglob("*.yaml")}
    assert shipped == {path.relative_to(REPOSITORY / "conf") for path in (REPOSITORY / "conf").rglob("*.yaml")}


def test_the_installed_command_runs_from_another_folder(environment, tmp_path):
    asd = environment / "bin/asd"
    run(asd, "synth", "--preset", "tiny", "--out", "machines", cwd=tmp_path)
    more = [
        "data.root=machines",
        "data.clip_seconds=1.0",
        "data.num_workers=0",
        "name=first",
        "trainer.accelerator=cpu",
    ]
    python = python_of_libraries(str(environment / "bin/python"))
    printed = run(python, asd, "train", "experiment=statistics", *more, cwd=tmp_path)
    assert "Official score" in printed
    assert (tmp_path / "runs/first/results/metrics.csv").is_file()


@pytest.fixture(scope="module")
def own_parts(tmp_path_factory):
    """What the documentation shows, as files; of the module ``mine`` each tutorial has a part."""
    folder = tmp_path_factory.mktemp("own")
    pages = ("docs/own-branch.md", "docs/own-back-end.md", "docs/own-parts.md")
    files = [one for page in pages for one in blocks(page) if one.file and one.file.startswith(("mine/", "own/"))]
    assert len(files) == 9
    for one in files:
        path = folder / one.file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(one.text)
    return folder


def test_parts_of_ones_own_from_the_wheel(environment, own_parts):
    """Trained, tested, in a sweep of runs, resumed and in a sweep of back-ends; trusted by name, or not called."""

    def asd(*words):
        return run_forked(words, own_parts, python=str(environment / "bin/python"))

    def run(*words):
        done = asd(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("synth", "--preset", "tiny", "-o", "machines")
    small = ["data.root=machines", "data.clip_seconds=1.0", "data.num_workers=0", "trainer.accelerator=cpu"]
    train = ["train", "--config-dir", "own", *small]
    run(*train, "experiment=levels_five", "name=levels")
    assert "five" in run("train", "--config-dir", "own", "--help")
    refused = asd("test", "runs/levels")
    assert refused.returncode == 2
    assert "would call 'mine.Levels'" in refused.stderr
    assert "allow it with --trust mine" in refused.stderr
    run("test", "runs/levels", "--trust", "mine", "-o", "again")
    run("test", "runs/levels", "--trust", "mine", "model/scorer=five", "-o", "five")
    scores = [(own_parts / place / "scores.csv").read_bytes() for place in ("runs/levels/results", "again", "five")]
    assert scores[0] == scores[1] == scores[2]
    # Of a run that has none of them the remembered folder is no licence either.
    run(*train, "experiment=statistics", "name=plain")
    refused = asd("test", "runs/plain", "model/scorer=five")
    assert "would call 'mine.FiveNeighbours'" in refused.stderr
    updates = ["experiment=levels_five", "trainer.max_steps=2", "data.batch_size=8", "name=longer"]
    run(*train, *updates, "test=false")
    run(*train, *updates, "resume=true")
    assert (own_parts / "runs/longer/results/metrics.csv").is_file()
    swept = run("score-sweep", "runs/levels", "scorer=knn,five", "--trust", "mine")
    assert "five" in swept
    assert "failed" not in swept
    run(*train, "-m", "experiment=levels_five,statistics", "name=both")
    table = (own_parts / "runs/both/comparison.csv").read_text()
    assert "levels" in table
    assert "failed" not in table
