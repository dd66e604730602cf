"""Lines for a person in a terminal, and for other programs."""

import pytest

from asd_lightning.commands.lines import print_lines

LONG = "  " + "warnings on at most 10 % of normal sound, " * 4 + "x" * 90


@pytest.mark.parametrize("terminal", [True, False])
def test_a_long_line_goes_on_below_in_a_terminal_alone(terminal, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "80")
    print_lines(["short", "\x1b[2J", LONG])
    first, second, *more = capsys.readouterr().out.splitlines()
    assert (first, second) == ("short", r"\x1b[2J")
    if not terminal:
        assert more == [LONG]
        return
    assert len(more) > 2
    assert " ".join(line.strip() for line in more) == " ".join(LONG.split())
    assert [line for line in more if len(line) > 80] == [" " * 6 + "x" * 90]
    assert all(line.startswith(" " * 6) for line in more[1:])
