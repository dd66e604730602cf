"""Shapes are checked in every test, and a tiny data set is made once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# One thread for each process, those that tests start too: `make test` runs as many as there are cores, threads of
# several would wait for one another, and results depend on their number.  Torch and numpy read it when imported.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from jaxtyping import config, install_import_hook

import tests.checker  # noqa: F401  (the hook below looks it up by name)

install_import_hook("asd_lightning", "tests.checker.check")

from asd_lightning.synthetic import synthesize  # noqa: E402  (after the hook, so that it is checked too)

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the ``tiny`` synthetic machines, shared by all tests: do not write into it."""
    root = tmp_path_factory.mktemp("data") / "tiny"
    synthesize(root, "tiny", seed=0)
    return root


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations are not checked: for tests of what a user without a checker is told about a wrong argument."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
