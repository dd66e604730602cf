"""The conformal threshold keeps its promise on fresh normal clips of the synthetic machines.

The bank is filled with some source clips, the threshold calibrated on others, and the false alarms are counted on clips
rendered after that.  Given a calibration of n clips, the number of alarms among m fresh source clips follows a
beta-binomial distribution (Vovk, "Conditional validity of inductive conformal predictors", 2012), which says how far
the observed rate may stray.  The target domain is promised nothing: its rate is printed beside.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from asd_lightning.data.synthetic import PRESETS, Clip, render_clip
from asd_lightning.encoders.statistics import TemporalStatistics
from asd_lightning.features.spectrum import LogMelSpectrogram
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.thresholds import ConformalThreshold

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


@pytest.fixture(scope="module", params=sorted(MACHINES))
def scores(request):
    """Scores of calibration clips, fresh source clips and fresh target clips; the target is in the bank, too."""
    name = request.param
    bank = np.concatenate([embed(name, "train", "source", BANK, 1), embed(name, "train", "target", 4, 2)])
    scorer = KNNScorer().fit(bank, np.arange(len(bank)) >= BANK)
    parts = (("source", CALIBRATION, 3), ("source", FRESH, 4), ("target", FRESH, 5))
    return [scorer.anomaly_score(embed(name, "test", *part)) for part in parts]


def test_false_alarms_on_fresh_source_clips_stay_within_the_promise(scores, capsys):
    calibration, source, target = scores
    threshold = ConformalThreshold(RATE).fit(calibration)
    above = int(RATE * (CALIBRATION + 1))
    alarms = stats.betabinom(FRESH, above, CALIBRATION + 1 - above)
    assert alarms.mean() / FRESH == pytest.approx(RATE)
    assert alarms.ppf(1e-4) <= (source > threshold).sum() <= alarms.ppf(1 - 1e-4)
    with capsys.disabled():
        observed = [f"{(scores > threshold).mean():.0%}" for scores in (source, target)]
        print(f" promised {RATE:.0%} for source, observed: source {observed[0]}, target {observed[1]}")


def test_a_threshold_calibrated_on_the_bank_itself_breaks_the_promise():
    """Why calibration clips must not be in the bank: they are at no distance from themselves."""
    clips = embed("fan", "test", "source", CALIBRATION, 3)
    scorer = KNNScorer().fit(clips, np.zeros(len(clips), dtype=bool))
    threshold = ConformalThreshold(RATE).fit(scorer.anomaly_score(clips))
    assert (scorer.anomaly_score(embed("fan", "test", "source", FRESH, 4)) > threshold).mean() > 3 * RATE
