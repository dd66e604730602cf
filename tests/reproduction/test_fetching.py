"""What is lacking is fetched by the downloads there are, or told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from asd_lightning.cli import main
from asd_lightning.reproduction import fetching
from tests.ports import closed_port


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)


@pytest.fixture
def calls(monkeypatch):
    """The downloads as they would be called; nothing is fetched, so the first run finds no recordings."""
    made = []
    monkeypatch.setattr(fetching, "download_year", lambda *how, **_: made.append((how[1], how[2].parts)))
    monkeypatch.setattr(fetching, "fetch_weights", lambda name, **_: made.append(name))
    monkeypatch.setattr(fetching, "_refuse_unreachable", lambda _: None)
    return made


def test_much_is_fetched_without_a_terminal_only_where_it_is_asked_for(calls, capsys):
    assert main(["reproduce", "rdp2603"]) == 2
    assert "about 4.7 GB would be fetched, and there is no terminal to see it: give --yes" in capsys.readouterr().err
    assert calls == []
    assert main(["reproduce", "rdp2603", "--yes"]) == 2
    told = [(str(call[0]), call[1]) if isinstance(call, tuple) else call for call in calls]
    assert told == [
        "beats_iter3",
        ("data/dcase2025", ("dev", "train", "test")),
        ("runs/reproduce_rdp2603/truth", ("truth",)),
    ]


def test_without_a_network_a_line_for_each_says_what_to_fetch_where(tmp_path, monkeypatch, capsys):
    # Weights have servers of their own.
    weights = tmp_path / "cache/weights"
    weights.mkdir(parents=True)
    for name in ("beats_iter3", "eat_base"):
        (weights / f"{name}.safetensors").touch()
    with closed_port() as port:
        closed = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("ASD_DOWNLOAD_MIRROR", closed)
        assert main(["reproduce", "xju2025", "--yes"]) == 2
        assert capsys.readouterr().err.strip() == (
            f"asd: data/dcase2025 is not here or not whole, and {closed} cannot be reached: where it can, run "
            "`asd download dcase2025 --parts dev,train -o data/dcase2025`, and bring data/dcase2025 to this computer"
        )
        # All that is missing is told, not its first alone.
        assert main(["reproduce", "lora_2026", "--yes"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("run `")[2].partition("`")[0] for line in lines] == [
        "asd download dcase2026 --parts dev,train,test -o data/dcase2026",
        "asd download dcase2026 --parts truth -o runs/reproduce_lora_2026/truth",
    ]


def test_a_refused_attempt_does_not_keep_the_folder(calls, capsys):
    assert main(["reproduce", "rdp2603"]) == 2
    assert main(["reproduce", "rdp2603", "data.num_workers=1"]) == 2
    assert "give --yes" in capsys.readouterr().err.splitlines()[-1]
    assert list(Path().iterdir()) == []
    Path("mine").mkdir()
    assert main(["reproduce", "rdp2603", "-o", "mine"]) == 2
    assert [*Path().rglob("*")] == [Path("mine")]
