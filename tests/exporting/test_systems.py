"""Every system as a file: the detector's scores of 100 clips, however many at a time.  An export takes seconds each."""

import numpy as np
import pytest
import torch

from asd_lightning import api
from asd_lightning.configuration import compose_train, hydra_as_before, plain
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.detector import detector as detectors
from asd_lightning.detector.constructors import embedder_spec, spec_of
from asd_lightning.detector.defaults import Preset
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.hearing import Hearing
from tests.detector.sounds import hum, whine, write_normal
from tests.exporting.test_export import agrees, of_detector

# Experiment, back-end, and the largest difference in deviations of normal sound's scores: 1e-5, or the rounding of
# cosines, or of a random network, by which all sound is nearly alike; or ten times what the last bit of each sample
# changes the detector's own scores by, which tells how far they are certain at all.
SYSTEMS = [
    ("statistics", "knn_whitened", 1e-5),
    ("log_mel", "beam_varmin", 1e-4),
    ("fft", "z_min", 1e-4),
    ("system1", "knn", 1e-4),
    ("system2", "daco_soft", 1e-4),
    ("system3", "gmm", 1e-4),
    ("system4", "domain_z_smote", 1e-4),
    ("beats_frozen", "ldn", 1e-4),
    ("eat_frozen", "residual", 1e-4),
]


def detector_of(name, scorer, monkeypatch):
    with hydra_as_before():
        config = plain(
            compose_train([f"experiment={name}", "encoders=tiny", "data.clip_seconds=1.0", f"model/scorer={scorer}"])
        )
    torch.manual_seed(0)
    model = config["model"]
    head = model["loss"].get("head", "joint") if model["score_after_head"] else "none"
    hearing = Hearing(Preprocessing.of_options(config["data"]), embedder_spec(model["embedder"], head))
    made = Preset(hearing.with_weights(hearing.model, True, {}), spec_of(model["scorer"]))
    monkeypatch.setattr(detectors, "preset", lambda *_: made)
    return Detector(sounds=5)


def moved_by_last_bits(path, clips):
    """How far the detector's own scores move when each sample becomes the next number, up or down by chance."""
    machine, exact = of_detector(path)
    wanted, normal = exact(clips), machine.normal.scores
    away = np.random.default_rng(3).choice(np.array([-2, 2], np.float32), clips.shape)
    moved = abs(exact(np.nextafter(clips, away)) - wanted)
    return float((moved / np.maximum(normal.std(), abs(wanted - np.median(normal)))).max())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scorer", "most"), SYSTEMS)
def test_a_system_scores_as_its_detector(name, scorer, most, tmp_path, monkeypatch, unchecked):
    normal = write_normal(tmp_path / "pump/normal", 30)
    path = detector_of(name, scorer, monkeypatch).fit(normal).save(tmp_path / "pump.asd")
    made = api.export(path, tmp_path / "pump.onnx")
    clips = np.stack([(hum if number % 2 else whine)(500 + number) for number in range(100)])
    allowed = max(most, 10 * moved_by_last_bits(path, clips))
    assert made.difference <= allowed
    agrees(made.path, path, clips, allowed)
