"""A run says which code made it."""

import subprocess
from importlib.metadata import version

import pytest

from asd_lightning.experiment import provenance


@pytest.fixture
def checkout(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    return package


def test_the_commit_and_whether_files_differ_from_it(checkout):
    head = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert provenance.commit_of(checkout) == head.stdout.strip()
    (checkout / "new.py").write_text("")
    assert provenance.commit_of(checkout) == head.stdout.strip()
    (checkout / "__init__.py").write_text("changed = True\n")
    assert provenance.commit_of(checkout) == f"{head.stdout.strip()}+changes"


def test_no_checkout_no_commit(tmp_path, checkout, monkeypatch):
    """Nor for a package that lies in an environment inside of a checkout."""
    installed = checkout / "site-packages/other"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert provenance.commit_of(installed) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit_of(checkout) is None


def test_exact_versions_of_all_packages():
    lines = provenance.packages().splitlines()
    assert f"torch=={version('torch')}" in lines
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0].lower())
