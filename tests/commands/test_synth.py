"""The command writes the data set, says so, and repeats nothing."""

import json
from pathlib import Path

import pytest

from asd_lightning.cli import main


def test_writes_then_has_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["synth", "--preset", "tiny", "--out", str(tmp_path), "--machines", "fan", "--seed", "3", "--jobs", "1"]
    assert main(arguments) == 0
    assert "wrote 48 of 48 clips" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "synthetic.json").read_text())
    assert (manifest["preset"], manifest["seed"], manifest["machines"]) == ("tiny", 3, ["fan"])
    assert len(list(tmp_path.glob("fan/*/*.wav"))) == 48
    assert main(arguments) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--preset", "huge"], "unknown preset 'huge'"),
        (["--preset", "tiny", "--machines", "fan,toaster"], "unknown machine toaster: tiny has fan, gearbox, bearing"),
        (["--preset", "tiny", "--jobs", "0"], "jobs is 0"),
    ],
)
def test_bad_arguments_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], words: str
) -> None:
    assert main(["synth", "--out", str(tmp_path), *extra]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
