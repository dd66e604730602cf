"""A detector in a lower precision: made only where it ranks normal sound as float32 does, and kept so."""

import json

import pytest
import torch
from scipy.stats import spearmanr
from sklearn.base import clone
from torch import nn

from asd_lightning import Detector, low_precision
from asd_lightning.cli import main
from asd_lightning.configuration import compose_train, hydra_as_before, plain
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.detector import detector as detectors
from asd_lightning.detector import enrolment
from asd_lightning.detector.actions import accept, enrol, info, score, undo
from asd_lightning.detector.constructors import embedder_spec, spec_of
from asd_lightning.detector.defaults import Preset
from asd_lightning.detector.file import DetectorFile
from asd_lightning.detector.hearing import Hearing
from asd_lightning.detector.thresholds import fit_bank
from asd_lightning.errors import UserError
from tests.detector.sounds import hum, whine, write, write_normal

ABLE = {"avx512_bf16": True, "avx512_vnni": True}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A processor that can do everything, and a tiny BEATs with its weights in the file."""
    monkeypatch.setattr(low_precision, "processor_features", lambda: ABLE)
    monkeypatch.setattr(low_precision, "bf16_is_faster", lambda: True)
    changes = ["experiment=beats_frozen", "encoders=tiny", "data.clip_seconds=1.0", "model/scorer=knn_euclidean"]
    with hydra_as_before():
        config = plain(compose_train(changes))
    torch.manual_seed(0)
    hearing = Hearing(Preprocessing.of_options(config["data"]), embedder_spec(config["model"]["embedder"], "none"))
    hearing = hearing.with_weights(hearing.model, True, {})
    made = Preset(hearing, spec_of(config["model"]["scorer"]))
    monkeypatch.setattr(detectors, "preset", lambda *_: made)
    return hearing


@pytest.fixture
def normal(tmp_path):
    return write_normal(tmp_path / "pump/normal", 12)


@pytest.fixture
def agreeing(monkeypatch):
    """What the tiny encoder has to say of made sound is not the matter of a test."""
    monkeypatch.setattr(enrolment, "rank_agreement", lambda *_: 0.9951)


class Coarse(nn.Module):
    """An embedder that a precision changes more than these do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.model(waveform).round()


def test_the_number_is_spearmans_of_left_out_scores(normal, monkeypatch):
    found = []
    monkeypatch.setattr(enrolment, "refuse_disagreement", lambda *given: found.append(given))
    monkeypatch.setattr(low_precision, "lowered", lambda model, precision: Coarse(model))
    exact, low = (Detector(sounds=0, precision=each).fit(normal) for each in ("float32", "bf16"))
    scores = [
        fit_bank(one.machines_["pump"].bank, one.machines_["pump"].maker, one.hearing_.reduction).scores
        for one in (exact, low)
    ]
    wanted = spearmanr(*scores).statistic
    assert found == [("pump", "bf16", pytest.approx(wanted, abs=1e-9))]
    assert 0 < wanted < 0.999
    assert low.machines_["pump"].agreement == found[0][2] == low.learnt_.agreement
    assert exact.machines_["pump"].agreement is None


@pytest.mark.usefixtures("agreeing")
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_it_is_kept_and_told(normal, tmp_path, precision, capsys):
    path = tmp_path / "pump.asd"
    assert main(["enrol", str(normal), "-o", str(path), "--precision", precision, "--no-sound"]) == 0
    told = f"{precision} ranks its left-out normal recordings as float32 does: rank correlation 0.9951"
    assert told in capsys.readouterr().out
    made = Detector(sounds=0, precision=precision).fit(normal)
    assert DetectorFile(path).header["precision"] == precision
    loaded = Detector.load(path)
    assert loaded.precision == precision
    assert loaded.machines_["pump"].agreement == 0.9951
    clips = [write(tmp_path / "a.wav", hum(500)), write(tmp_path / "b.wav", whine(501))]
    assert [one.score for one in loaded.judge(clips)] == [one.score for one in made.judge(clips)]
    assert [one.score for one in loaded.judge(clips, batch_size=1)] == pytest.approx(
        [one.score for one in made.judge(clips)], rel=1e-3
    )
    float32 = Detector(sounds=0).fit(normal).machines_["pump"].bank.embeddings
    assert (float32 != made.machines_["pump"].bank.embeddings).any()
    assert main(["info", str(path), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["precision"], about["machines"][0]["agreement"]) == (precision, 0.9951)
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert told in out
    assert f"in {precision}" in out
    copied = clone(loaded)
    assert copied.precision == precision
    assert not hasattr(copied, "machines_")
    before = path.read_bytes()
    assert accept(path, write(tmp_path / "more.wav", hum(600))).machines_["pump"].agreement == 0.9951
    undo(path)
    assert path.read_bytes() == before


def test_below_it_nothing_is_made(normal, tmp_path, monkeypatch, capsys):
    path = tmp_path / "pump.asd"
    for correlation, told in ((0.98994, "0.9899"), (float("nan"), "nan")):
        monkeypatch.setattr(enrolment, "rank_agreement", lambda *_, found=correlation: found)
        assert main(["enrol", str(normal), "-o", str(path), "--precision", "bf16"]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == (
            "asd: pump: in bf16 its left-out normal recordings rank otherwise than in float32 (rank correlation "
            f"{told}, and 0.99 is needed); take float32"
        )
        assert not path.exists()


@pytest.mark.usefixtures("agreeing")
def test_without_the_instructions_it_is_neither_made_nor_used(normal, tmp_path, monkeypatch):
    path = tmp_path / "pump.asd"
    enrol(normal, path, precision="bf16", sounds=0)
    monkeypatch.setattr(low_precision, "processor_features", dict)
    with pytest.raises(UserError, match=r"pump\.asd: bf16: this processor has neither .*; choose float32"):
        score(path, write(tmp_path / "a.wav", hum(500)))
    assert info(path)["precision"] == "bf16"
    monkeypatch.setattr(Hearing, "waveform", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"^int8: this processor has no VNNI"):
        enrol(normal, tmp_path / "other.asd", precision="int8")
    assert not (tmp_path / "other.asd").exists()


@pytest.mark.usefixtures("agreeing")
def test_machines_of_one_file_have_one_precision(normal, tmp_path):
    path = tmp_path / "pump.asd"
    enrol(normal, path, precision="bf16", sounds=0)
    with pytest.raises(UserError, match=r"hears otherwise than asked for here \(embedder, clip length, precision\)"):
        enrol(write_normal(tmp_path / "fan/normal", 6), path, sounds=0)
    enrol(tmp_path / "fan/normal", path, precision="bf16", sounds=0)
    assert [*Detector.load(path).machines_] == ["pump", "fan"]


def test_float32_is_written_as_before(normal, tmp_path):
    """Older versions read it, and older files are float32."""
    path = tmp_path / "pump.asd"
    enrol(normal, path, sounds=0)
    assert DetectorFile(path).header["precision"] == "32-true"
    assert info(path)["precision"] == "float32"
    assert Detector.load(path).precision == "float32"
    record = Detector.load(path).machines_["pump"].parts()["record"].tobytes()
    assert b"agreement" not in record


def test_what_is_no_precision_of_the_embedder_is_refused(normal, tmp_path, monkeypatch, tiny):
    with pytest.raises(UserError, match=r"precision half: choose one of float32, bf16, int8"):
        Detector(precision="half").fit(normal)
    monkeypatch.undo()
    assert main(["enrol", str(normal), "-o", str(tmp_path / "x.asd"), "--precision", "int8"]) == 2
    mixed = Hearing(tiny.preprocessing, tiny.embedder, precision="bf16-mixed")
    with pytest.raises(UserError, match=r"the run was tested in bf16-mixed.*; choose float32, which leaves it so"):
        mixed.in_precision("int8")
    assert mixed.in_precision("float32") is mixed
