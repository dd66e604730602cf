"""Where the larger reference data lie: outside the repository, and optional."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def shared_dir() -> Path:
    """Folder of reference data: ``ASD_SHARED``, else ``shared`` beside the repository."""
    return Path(os.environ.get("ASD_SHARED", REPOSITORY.parent / "shared"))


def needs_reference(name: str) -> pytest.MarkDecorator:
    """Skip a test where ``shared_dir() / name`` is absent."""
    return pytest.mark.skipif(not (shared_dir() / name).exists(), reason=f"reference data {name} not present")
