"""The conformal threshold keeps its promise on fresh normal clips of the synthetic machines.

The threshold is calibrated on clips that the bank lacks, or, as a test run does it, on the bank's own clips, each left
out in turn; false alarms are counted on clips rendered after that.  With n calibration clips the number of alarms
among m fresh source clips follows a beta-binomial distribution (Vovk, "Conditional validity of inductive conformal
predictors", 2012), which says how far the observed rate may stray.  The target domain is promised nothing: its rate is
printed beside.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from asd_lightning.encoders.statistics import TemporalStatistics
from asd_lightning.features.spectrum import LogMelSpectrogram
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.thresholds import ConformalThreshold
from asd_lightning.synthetic import PRESETS, Clip, render_clip

RATE = 0.1
BANK, CALIBRATION, FRESH = 40, 99, 150
MACHINES = {machine.name: machine for machine in PRESETS["tiny"].machines}


def embed(name, split, domain, count, seed):
    """Log-mel statistics of ``count`` normal clips, whose operating conditions are drawn at random."""
    machine = MACHINES[name]
    rows = [row for row in machine.classes if row.domain == domain]
    chosen = np.random.default_rng(seed).integers(0, len(rows), count)
    clips = [Clip(name, split, domain, 1000 * seed + i, rows[row].attributes) for i, row in enumerate(chosen)]
    waveforms = np.stack([render_clip(machine, clip, 0) for clip in clips]).astype(np.float32)
    return TemporalStatistics()(LogMelSpectrogram()(torch.from_numpy(waveforms))).numpy()


def source(clips):
    return np.zeros(len(clips), dtype=bool)


def alarms_of(above, fresh):
    """Distribution of the number of alarms among fresh clips where ``above`` of the calibration scores are above."""
    return stats.betabinom(fresh, above, CALIBRATION + 1 - above)


@pytest.fixture(scope="module", params=sorted(MACHINES))
def clips(request):
    """Embeddings: source and target clips for the bank, for the calibration, and fresh source and target clips."""
    parts = (("source", BANK, 1), ("target", 4, 2), ("source", CALIBRATION, 3), ("source", FRESH, 4))
    return [embed(request.param, "train", *part) for part in (*parts, ("target", FRESH, 5))]


def false_alarms(scorer, threshold, clips, capsys):
    """Alarms among fresh source clips; the observed rates are printed."""
    above = [scorer.anomaly_score(fresh) > threshold for fresh in clips[3:]]
    with capsys.disabled():
        observed = " target ".join(f"{each.mean():.0%}" for each in above)
        print(f" promised {RATE:.0%} for source, observed: source {observed}")
    return int(above[0].sum())


def test_calibration_clips_beside_the_bank(clips, capsys):
    bank = np.concatenate(clips[:2])
    scorer = KNNScorer().fit(bank, np.arange(len(bank)) >= BANK)
    threshold = ConformalThreshold(RATE).fit(scorer.anomaly_score(clips[2]), source(clips[2]))
    alarms = alarms_of(int(RATE * (CALIBRATION + 1)), FRESH)
    assert alarms.mean() / FRESH == pytest.approx(RATE)
    assert alarms.ppf(1e-4) <= false_alarms(scorer, threshold, clips, capsys) <= alarms.ppf(1 - 1e-4)


def test_leave_one_out_scores_of_the_bank(clips, capsys):
    """Fewer alarms than promised are right, too: a fresh clip has one neighbour more to choose from."""
    bank = np.concatenate([clips[2], clips[1]])
    is_target = np.arange(len(bank)) >= CALIBRATION
    scorer = KNNScorer().fit(bank, is_target)
    threshold = ConformalThreshold(RATE).fit(scorer.leave_one_out_scores(), is_target)
    alarms = alarms_of(int(RATE * (CALIBRATION + 1)), FRESH)
    assert false_alarms(scorer, threshold, clips, capsys) <= alarms.ppf(1 - 1e-4)


def test_a_threshold_calibrated_on_the_bank_itself_breaks_the_promise():
    """Why calibration clips must not be in the bank: they are at no distance from themselves."""
    clips = embed("fan", "test", "source", CALIBRATION, 3)
    scorer = KNNScorer().fit(clips, source(clips))
    threshold = ConformalThreshold(RATE).fit(scorer.anomaly_score(clips), source(clips))
    assert (scorer.anomaly_score(embed("fan", "test", "source", FRESH, 4)) > threshold).mean() > 3 * RATE
