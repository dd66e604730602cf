"""Shapes are checked in every test, and a tiny data set is made once."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

# One thread for each process, those that tests start too: `make test` runs as many as there are cores, threads of
# several would wait for one another, and results depend on their number.  Torch and numpy read it when imported.
os.environ["OMP_NUM_THREADS"] = "1"

import omegaconf._utils
import pytest
import torch
import yaml
from jaxtyping import config, install_import_hook

import tests.checker  # noqa: F401  (the hook below looks it up by name)


def _read_configuration_faster() -> None:
    """Hydra's YAML files are read in C, to the same values: some hundred tests compose, and a fifth of that is YAML."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        loader = omegaconf._utils.get_yaml_loader()
    omegaconf._utils.get_yaml_loader = lambda: loader


# What is imported stays: to look for garbage in it, then and in every test, takes a twentieth of their time.
gc.disable()
install_import_hook("asd_lightning", "tests.checker.check")

# After the hook, so that they are checked too.
from asd_lightning.figures import save_figure  # noqa: E402
from asd_lightning.pages import plots  # noqa: E402
from asd_lightning.synthetic import synthesize  # noqa: E402

torch.set_num_threads(1)
_read_configuration_faster()


# Files of few tests that take long.  They come first: a worker that begins one last is waited for by the others.
_LONGEST = (
    "test_wheel.py",
    "test_fitted_run.py",
    "test_restart.py",
    "test_sweep.py",
    "test_processes.py",
    "test_notebooks.py",
    "test_recipes.py",
    "test_results.py",
    "test_watch.py",
    "test_identity.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _LONGEST.index(item.path.name) if item.path.name in _LONGEST else len(_LONGEST))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the ``tiny`` synthetic machines, shared by all tests: do not write into it."""
    root = tmp_path_factory.mktemp("data") / "tiny"
    synthesize(root, "tiny", seed=0)
    return root


@pytest.fixture(scope="session", autouse=True)
def _unpainted() -> Iterator[None]:
    """The plots of a run are made, but their files are empty: to paint them takes half the time of a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "save_figure", lambda _figure, path, dpi: path.write_bytes(b""))
        yield


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plots of a run are painted as a user's are: for tests that look at them."""
    monkeypatch.setattr(plots, "save_figure", save_figure)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations are not checked: for tests of what a user without a checker is told about a wrong argument."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
