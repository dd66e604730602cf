"""The wheel holds everything: installed elsewhere, it runs from another folder."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.reference import REPOSITORY


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A new environment with the wheel; the libraries it needs are borrowed from this one, this checkout is not."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, REPOSITORY, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env/bin/python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    # A line in a .pth file adds a path, but does not follow the .pth files there: the editable install stays out.
    site_packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "env"


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
    printed = run(asd, "train", "experiment=statistics", *more, cwd=tmp_path)
    assert "Official score" in printed
    assert (tmp_path / "runs/first/results/metrics.csv").is_file()
