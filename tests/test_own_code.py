"""What is told of a mistake in somebody's own part: which part, what, and the file and line of their code."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import nn

from asd_lightning.embedder import Branch, Embedder, refuse_odd_branch
from asd_lightning.encoders.pooling import MeanPooling
from asd_lightning.encoders.statistics import TemporalStatistics
from asd_lightning.errors import UserError
from asd_lightning.experiment.train import users_mistake
from asd_lightning.own_code import called, is_own
from asd_lightning.scoring.calls import fit_with

CODE = """from torch import nn


class Levels(nn.Module):
    def forward(self, waveform):
        return waveform.unfold(2, 160, 160)


class Moments(nn.Module):
    out_dim = 2

    def forward(self, features):
        return features[:, :2] / self.nothing


class NoLength(nn.Module):
    pass


class Unmade:
    def __init__(self):
        self.size = {}["size"]


class BackEnd:
    def fit(self, embeddings, is_target):
        return 1 / 0

    anomaly_score = leave_one_out_scores = fit
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A package of one's own, in the folder where the command is given."""
    (tmp_path / "mine_here").mkdir()
    (tmp_path / "mine_here" / "__init__.py").write_text(CODE)
    (tmp_path / "mine_here" / "part.py").write_text("import nothing_like_it\n")
    (tmp_path / "mine_here" / "slip.py").write_text("x = 1\ndef f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import mine_here

    yield mine_here
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine_here"]:
        del sys.modules[name]


def _told(front_end: nn.Module, encoder: nn.Module) -> str:
    with pytest.raises(UserError) as caught:
        Branch(front_end, encoder)(torch.zeros(3, 1600))
    return str(caught.value)


def test_front_end_and_encoder_are_named_with_file_and_line(mine):
    told = _told(mine.Levels(), mine.Moments())
    assert told.startswith("front-end mine_here.Levels.forward has failed with IndexError: Dimension out of range")
    assert told.endswith("(mine_here/__init__.py, line 6)")
    told = _told(nn.Identity(), mine.Moments())
    assert told.startswith("encoder mine_here.Moments.forward has failed with AttributeError: 'Moments' object has")
    assert told.endswith("(mine_here/__init__.py, line 13)")


def test_the_branch_that_gives_nan_is_named(mine):
    own, given = Branch(nn.Identity(), mine.Moments()), Branch(nn.Identity(), TemporalStatistics(num_bands=4))
    scored = np.zeros((3, 2 + given.scored_dim))
    refuse_odd_branch(Embedder({"given": given, "mine": own}), scored)
    scored[1, -1] = np.nan
    with pytest.raises(
        UserError, match=r"branch mine: its encoder mine_here\.Moments gives .* 1 of 3 clips, and given n"
    ):
        refuse_odd_branch(Embedder({"given": given, "mine": own}), scored)
    with pytest.raises(UserError, match=r"branch mine: its encoder mine_here\.Moments gives .* for 1 of 3 clips; look"):
        refuse_odd_branch(Embedder({"mine": own}), scored[:, -2:])
    # A damaged recording, perhaps: the back-end says so.
    refuse_odd_branch(Embedder({"given": given}), np.full((3, given.scored_dim), np.nan))


def test_of_a_back_end_too(mine):
    with pytest.raises(UserError, match=r"back-end mine_here\.BackEnd\.fit has failed .*zero \(mine_here.*, line 27\)"):
        fit_with(mine.BackEnd(), np.zeros((2, 2)), np.zeros(2, bool), np.arange(2))


def test_an_encoder_must_say_its_length(mine):
    told = _told(nn.Identity(), mine.NoLength())
    assert told.startswith("encoder mine_here.NoLength has no out_dim, the length of what it gives: add a line such as")
    with pytest.raises(UserError, match=r"encoder mine_here\.NoLength has no token_dim"):
        Branch(nn.Identity(), mine.NoLength(), pooling=MeanPooling)
    encoder = mine.Moments()
    encoder.out_dim = "2"
    assert "says '2' as its out_dim" in _told(nn.Identity(), encoder)


def test_a_mistake_of_the_package_and_too_little_memory_stay_what_they_are(mine):
    def lacks(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert not is_own(MeanPooling(2))
    with pytest.raises(TypeError):
        called(MeanPooling(2), "pooling")
    with pytest.raises(torch.OutOfMemoryError):
        called(lacks, "encoder", None)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nothing_like_it.Levels", r"no package nothing_like_it is found; .* PYTHONPATH, or it must be installed"),
        ("mine_here.Level", r"mine_here has no Level \(did you mean Levels\?\)"),
        ("mine_here.part.Levels", r"cannot be imported, ModuleNotFoundError.*\(mine_here/part\.py, line 1\)"),
        ("mine_here.slip.Levels", r"cannot be imported, SyntaxError: .*\(mine_here/slip\.py, line 2\)"),
        ("mine_here.Unmade", r"KeyError: 'size' \(mine_here/__init__\.py, line 22\)"),
    ],
)
def test_what_cannot_be_imported_or_made(target, why, mine):
    with pytest.raises(InstantiationException) as caught:
        instantiate({"scorer": {"_target_": target}})
    told = users_mistake(caught.value)
    assert isinstance(told, UserError)
    assert re.match(rf"scorer: ({re.escape(target)}: )?(.* )?{why}$", str(told)), told
    assert "\n" not in str(told)
