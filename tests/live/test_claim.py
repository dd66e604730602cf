"""One process listens with a journal, and a kill gives it back."""

import subprocess
import sys

import pytest

from asd_lightning.errors import UserError
from asd_lightning.live.claim import Claim
from asd_lightning.live.journal import Journal, Place

HOLD = """
import sys
from pathlib import Path
from asd_lightning.live.claim import Claim
claim = Claim(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    path = tmp_path / "journal"
    journal = Journal(path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        (tmp_path / "link").symlink_to(path)
        for name in ("journal", "link"):
            with pytest.raises(UserError, match="another asd watch listens with this journal"):
                Claim(tmp_path / name)
        # Those who only look into it or leave a request are not kept out.
        journal.keep("pump1", Place("pump"), [])
        journal.ask("pump1", "acknowledge")
    finally:
        holder.kill()
        holder.communicate()
    Claim(path).close()


def test_it_is_given_back_and_is_of_one_journal(tmp_path):
    first, other = Claim(tmp_path / "a"), Claim(tmp_path / "b")
    with pytest.raises(UserError, match="another asd watch"):
        Claim(tmp_path / "a")
    first.close()
    Claim(tmp_path / "a").close()
    other.close()


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "journal.lock").write_text("notes of somebody\n" * 99)
    for path in (tmp_path / "journal", tmp_path / "nowhere" / "journal"):
        with pytest.raises(UserError, match="not usable as a lock"):
            Claim(path)
