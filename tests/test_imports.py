"""The tree is the data flow: a stage knows those before it, and nothing knows the command line."""

import ast
from pathlib import Path

import pytest

import asd_lightning

ROOT = Path(asd_lightning.__file__).parent
BASE = {
    "",
    "atomic",
    "configuration",
    "errors",
    "figures",
    "foreign_files",
    "limits",
    "older_names",
    "own_code",
    "plain_text",
    "precision",
    "tables",
    "trust",
    "unread",
    "yaml_loader",
}
STAGES = (
    "features",
    "download",
    "synthetic",
    "data",
    "encoders",
    "losses",
    "embedder",
    "low_precision",
    "scoring",
    "evaluation",
    "run_folder",
    "training",
    "comparison",
    "selection",
    "submission",
    "pages",
    "experiment",
    "reproduction",
    "detector",
    "explanation",
    "exporting",
    "archive",
    "live",
    "serving",
    "api",
    "commands",
    "cli",
)


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return {f"{module}.".split(".")[1] for module in modules if module.split(".")[0] == "asd_lightning"}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_stage_imports_no_later_one(path: Path) -> None:
    stage = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if stage == "__init__":  # the public API
        return
    known = BASE if stage in BASE else {*BASE, *STAGES[: STAGES.index(stage) + 1]}
    assert imported(path) <= known
