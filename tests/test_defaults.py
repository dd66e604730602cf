"""The two defaults without training hear what nobody would miss."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from asd_lightning.configuration import compose_train, plain
from asd_lightning.data.labels import ClassLabel
from asd_lightning.scoring.held_out import left_out_scores
from asd_lightning.synthetic import SESSION_PRESETS, render_recording
from asd_lightning.synthetic.planted import PLANTED
from asd_lightning.synthetic.sessions import Sessions, recordings_of
from asd_lightning.training.build import build_module
from tests.reference import needs_reference, shared_dir

WEIGHTS = "weights/mn04_as_mAP_432.pt"
DEFAULTS = ["statistics", pytest.param("mn04", marks=needs_reference(WEIGHTS))]
# A quiet place and a loud one.
MACHINES = [machine for machine in SESSION_PRESETS["sessions"].machines if machine.name in ("fan", "BandSealer")]


def model_of(experiment, folder):
    changes = ["encoders.mn04.weights=" + str(shared_dir() / WEIGHTS)] if experiment == "mn04" else []
    return plain(compose_train([f"experiment={experiment}", "name=x", *changes], folder).model)


@pytest.mark.parametrize("experiment", DEFAULTS)
def test_every_planted_fault_is_heard(experiment, tmp_path):
    """In 19 of 20 clips or more, while few normal ones are taken for faulty."""
    model = model_of(experiment, tmp_path)
    embedder = build_module(model, [ClassLabel("fan", True), ClassLabel("pump", True)]).embedder.eval()

    def embedded(waveforms):
        with torch.no_grad():
            return embedder(torch.from_numpy(np.clip(waveforms, -1, 1)).float()).double().numpy()

    heard = {name: [] for name in ("", *PLANTED)}
    for machine in MACHINES:
        shorter = replace(machine, sessions=Sessions(train_clips=2, test_clips=1))
        recordings = [clips for clips in recordings_of(shorter) if clips[0].fault is None]
        sounds = [render_recording(shorter, clips) for clips in recordings]
        training = [clips[0].split == "train" for clips in recordings]
        normal = [sound[0][0] for sound, trained in zip(sounds, training, strict=True) if not trained]
        bank = np.stack([c[0] for sound, trained in zip(sounds, training, strict=True) if trained for c in sound])
        kept = [clips for clips, trained in zip(recordings, training, strict=True) if trained for _ in clips]
        is_target = np.array([clips[0].domain == "target" for clips in kept])
        number = np.unique([clips[0].recording for clips in kept], return_inverse=True)[1]
        make = instantiate(model["scorer"], _convert_="all")
        scorer = make().fit_recordings(embedded(bank), is_target, number)
        limit = np.quantile(left_out_scores(scorer, make, embedded(bank), is_target, number), 0.95)
        heard[""] += list(scorer.anomaly_score(embedded(np.stack(normal))) > limit)
        for name, plant in PLANTED.items():
            clips = np.stack([plant(waveform) for waveform in normal])
            heard[name] += list(scorer.anomaly_score(embedded(clips)) > limit)
    assert {name for name in PLANTED if np.mean(heard[name]) < 0.95} == set()
    assert np.mean(heard[""]) < 0.25
