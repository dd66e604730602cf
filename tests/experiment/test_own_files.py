"""Configuration files of one's own: what a file lacks is told with its name."""

from __future__ import annotations

import pytest
from hydra.core.hydra_config import HydraConfig

from asd_lightning import cli

OVERRIDE = "defaults:\n  - override /model/loss: arcface\n"
BACK_END = "_target_: asd_lightning.scoring.knn.KNNScorer\n"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("experiment/mine", OVERRIDE, "experiment/mine.yaml: its first line must be `# @package _global_`"),
        ("experiment/mine", "seed: 3\n", "experiment/mine.yaml: its first line must be `# @package _global_`"),
        ("experiment/mine", "# @package _global_\nseed: 3\n x: [\n", "mine.yaml, line 3: not readable as YAML"),
        ("model/scorer/mine", BACK_END, "model/scorer/mine.yaml needs a line `_partial_: true`"),
    ],
)
def test_a_line_that_is_missing(file, text, message, tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    monkeypatch.setenv("ASD_CONFIG_DIR", "own")
    path = tmp_path / "own" / f"{file}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert cli.main(["train", f"{file.rpartition('/')[0]}=mine", f"data.root={tiny_data}"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("asd: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("own", [True, False])
def test_a_choice_of_ones_own_without_its_folder(own, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ASD_CONFIG_DIR", raising=False)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    if own:
        monkeypatch.setenv("ASD_CONFIG_DIR", str(tmp_path))
    assert cli.main(["train", "model/scorer=five", "data.root=nowhere"]) == 2
    told = capsys.readouterr().err
    assert "model/scorer=five: no such choice" in told
    assert ("--config-dir FOLDER" in told) == (not own)
