"""Shapes are checked in every test, and a tiny data set is made once."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

# One thread for each process, those that tests start too: `make test` runs as many as there are cores, threads of
# several would wait for one another, and results depend on their number.  Torch and numpy read it when imported.
os.environ["OMP_NUM_THREADS"] = "1"
# Python's parser of arguments asks for a translation of each of its words, and looks for its file each time.
os.environ["LANGUAGE"] = "C"

import hypothesis
import pytest
from jaxtyping import config

from tests import checker, forked, lighter

# What is imported stays: to look for garbage in it, then and in every test, takes a twentieth of their time.
gc.disable()
checker.install()

# The same examples each time and everywhere, and none too late: what somebody changes is what makes a test fail, not
# chance or a busy machine.  `--hypothesis-profile=search --hypothesis-seed=N` looks at others; one that fails is kept
# as an `@example`.
for _name, _same in (("same", True), ("search", False)):
    hypothesis.settings.register_profile(
        _name, derandomize=_same, deadline=None, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
hypothesis.settings.load_profile("same")


def pytest_configure(config: pytest.Config) -> None:
    # The process that deals tests out to others runs none, and they begin once it has: it imports nothing heavy.
    if config.getoption("numprocesses", None):
        forked.serve_all_workers()
    else:
        import torch

        torch.set_num_threads(1)
        lighter.compose_lighter()


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
    # Passes are rare: what the tests' modules import later is most of what they look through, and no garbage.
    gc.set_threshold(20_000, 10, 50)
    gc.enable()


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the ``tiny`` synthetic machines, shared by all tests: do not write into it."""
    from asd_lightning.synthetic import synthesize

    root = tmp_path_factory.mktemp("data") / "tiny"
    synthesize(root, "tiny", seed=0)
    return root


@pytest.fixture(autouse=True)
def _messages_of_commands_end_with_their_test() -> Iterator[None]:
    """A command that a test calls says where messages go: to that test's output, which is closed for the next."""
    yield
    root = logging.getLogger()
    for handler in list(root.handlers):
        if not type(handler).__module__.startswith("_pytest"):
            root.removeHandler(handler)
    root.setLevel(logging.WARNING)


@pytest.fixture(scope="module", autouse=True)
def _signals_are_given_back() -> Iterator[None]:
    """A handler that stays is every later test's, and processes of a pool that inherit it do not end when told."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.fixture(scope="session", autouse=True)
def _unpainted() -> None:
    lighter.leave_unpainted()


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plots of runs and comparisons are painted as a user's are: for tests that look at them."""
    from asd_lightning.comparison import plot
    from asd_lightning.figures import save_figure
    from asd_lightning.pages import plots

    for module in (plots, plot):
        monkeypatch.setattr(module, "save_figure", save_figure)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations are not checked: for tests of what a user without a checker is told about a wrong argument."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
