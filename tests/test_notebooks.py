"""Every notebook runs from top to bottom."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.forked import python_of_libraries
from tests.reference import REPOSITORY


@pytest.mark.parametrize("path", sorted((REPOSITORY / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", str(python_of_libraries()))  # the kernel's
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit notebooks without outputs"
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    told = [re.search(rf"{words} ([0-9.]+)", printed)[1] for words in ("official score", "by the command")]
    assert told[0] == told[1]
