"""``asd reproduce``: what an interrupt leaves."""

from __future__ import annotations

from asd_lightning import cli


def test_an_interrupted_reproduction_says_how_it_goes_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("asd_lightning.reproduction.reproduction.carried_out", interrupted)
    assert cli.main(["reproduce", "xju2025", "--rehearse", "-o", str(tmp_path / "x")]) == 130
    assert capsys.readouterr().err == "asd: interrupted; the same command goes on from here\n"
