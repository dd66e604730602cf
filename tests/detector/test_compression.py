"""A detector whose back-end sees a part of the bank: what it costs is told, and is what an independent count says."""

import shutil
from functools import partial

import numpy as np
import pytest
from scipy.stats import spearmanr

import asd_lightning
from asd_lightning.cli import main
from asd_lightning.detector.bank import Bank, Item
from asd_lightning.detector.compression import Compression, compressed, compression
from asd_lightning.detector.thresholds import fit_bank
from asd_lightning.errors import UserError
from asd_lightning.scoring.compressed import CompressedScorer
from asd_lightning.scoring.held_out import held_out_scores
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.union import ResidualScorer
from tests.detector.sounds import hum, write, write_normal

NEAREST = {"kind": "KNNScorer", "metric": "euclidean", "smote": None}


def bank_of(clips):
    items = [Item(f"r{row}", f"f{row}", 0.0, 1.0, str(row), "source", "bank", 0) for row in range(len(clips))]
    return Bank(tuple(items), clips.astype(np.float32))


def test_the_loss_is_what_an_independent_count_says():
    bank = bank_of(np.random.default_rng(1).normal(size=(60, 6)))
    maker = compressed(NEAREST, 15)
    told = compression(bank, maker, "max", fit_bank(bank, maker, "max"), 0.1)
    clips, domain = bank.embeddings.astype(np.float64), np.zeros(60, bool)
    make = partial(KNNScorer, metric="euclidean", smote=None)
    whole = np.array([np.linalg.norm(np.delete(clips, row, axis=0) - clips[row], axis=1).min() for row in range(60)])
    smaller = held_out_scores(CompressedScorer(make, 15, standardize=False), clips, domain, 10)
    assert told.rank_correlation == pytest.approx(spearmanr(whole, smaller).statistic, rel=1e-12)
    changes = np.abs(smaller - whole) / np.subtract(*np.percentile(whole, [75, 25]))
    assert told.change == pytest.approx(np.median(changes), rel=1e-9)
    assert told.largest_change == pytest.approx(changes.max(), rel=1e-9)
    # With 60 recordings of a clip each, 5 above the threshold and one more are 6 of 61.
    assert told.warning_of_whole == pytest.approx(np.sort(whole)[-6], rel=1e-12)
    assert told.warning == pytest.approx(np.sort(smaller)[-6], rel=1e-12)
    assert (told.size, told.clips) == (15, 60)
    assert Compression.of_record(told.record()) == told


def test_nothing_is_told_where_nothing_is_left_out():
    bank = bank_of(np.random.default_rng(1).normal(size=(12, 6)))
    for maker in (NEAREST, compressed(NEAREST, 12)):
        assert compression(bank, maker, "max", fit_bank(bank, maker, "max"), 0.1) is None


@pytest.mark.parametrize(
    ("maker", "metric", "standardize"),
    [
        ({"kind": "ResidualScorer"}, "euclidean", True),
        ({"kind": "KNNScorer"}, "cosine", False),
        ({"kind": "KNNScorer", "metric": "euclidean", "standardize": True}, "euclidean", True),
        ({"kind": "GridScorer"}, "cosine", False),
        ({"kind": "GridScorer", "match": "euclidean", "whiten": True}, "euclidean", True),
    ],
)
def test_clips_are_chosen_as_they_are_compared(maker, metric, standardize):
    from asd_lightning.detector.constructors import scorer_maker

    made = scorer_maker(compressed(maker, 9))()
    assert (made.metric, made.standardize, made.size) == (metric, standardize, 9)


def test_a_detector_with_a_smaller_bank(tmp_path, capsys):
    normal, place = write_normal(tmp_path / "pump/normal", 24), tmp_path / "pump.asd"
    arguments = ["enrol", str(normal), "-o", str(place), "--clip-seconds", "1", "--sounds", "0"]
    assert main([*arguments, "--bank-size", "1"]) == 2
    assert "--bank-size 1" in capsys.readouterr().err
    assert main([*arguments, "--bank-size", "10"]) == 0
    assert "compressed: a bank of 10 clips in the place of 24" in capsys.readouterr().out
    machine = asd_lightning.Detector.load(place).machines_["pump"]
    assert isinstance(machine.scorer.parts["bank"], ResidualScorer)
    # A threshold of the compressed procedure: each clip by ten clips chosen without it.
    assert machine.promise.warning == machine.compression.warning
    assert main(["info", str(place)]) == 0
    assert "in the place of 24" in capsys.readouterr().out
    before = place.read_bytes()
    assert main(["accept", str(place), str(write(tmp_path / "later.wav", hum(500)))]) == 0
    assert asd_lightning.Detector.load(place).machines_["pump"].compression.clips == 25
    assert main(["undo", str(place)]) == 0
    assert place.read_bytes() == before


def test_a_run_has_its_back_end_already(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(__file__, run / "config.yaml")
    with pytest.raises(UserError, match="fitted already"):
        asd_lightning.enrol(run, tmp_path / "x.asd", bank_size=10)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("states", "folders"),
        ("clip-seconds", "4"),
        ("embedder", "mn04_as"),
        ("machine", "pump"),
        ("recordings", "recordings.csv"),
    ],
)
def test_what_a_run_has_decided_is_not_asked_for(option, value, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(__file__, run / "config.yaml")
    assert main(["enrol", str(run), "-o", str(tmp_path / "x.asd"), f"--{option}", value]) == 2
    told = capsys.readouterr().err
    assert f"{run}: is a run, which has its machines and hears as it was trained; --{option}: for a folder" in told
    assert len(told.splitlines()) == 1
