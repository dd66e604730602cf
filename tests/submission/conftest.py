"""A finished run, its description, and a submission of both."""

from pathlib import Path

import pytest

from asd_lightning.submission.writer import write_submission
from tests.comparison.runs import finished_run
from tests.submission.described import INFO, LABEL


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return finished_run(tmp_path / "run")


@pytest.fixture
def info(tmp_path: Path) -> Path:
    path = tmp_path / "info.yaml"
    path.write_text(INFO)
    return path


@pytest.fixture
def submission(run_dir: Path, info: Path, tmp_path: Path) -> Path:
    write_submission(run_dir, LABEL, tmp_path / "out", info)
    return tmp_path / "out"
