"""A detector as one ONNX file: the same scores and decisions in any number of windows, or no file."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import asd_lightning
from asd_lightning import api
from asd_lightning.cli import main
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.file import DetectorFile
from asd_lightning.detector.states import LevelStates
from asd_lightning.errors import UserError
from asd_lightning.exporting import export as exports
from asd_lightning.exporting.about import about
from asd_lightning.exporting.agreement import BATCHES, LARGEST, difference, made_windows, opened, spread_of
from asd_lightning.exporting.graph import PRODUCER, onnx_bytes
from tests.detector.sounds import hum, whine, write

ROOT = Path(__file__).resolve().parents[2]
# What a computer with onnxruntime and numpy alone lacks.
WITHOUT = """
import runpy, sys
sys.modules.update(dict.fromkeys(("torch", "asd_lightning", "scipy", "soundfile", "sklearn", "onnx", "safetensors")))
script, *sys.argv[1:] = sys.argv[1:]
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def exported(pump, tmp_path_factory):
    """``pump.onnx``: exporting takes seconds, so once."""
    path = tmp_path_factory.mktemp("exported") / "pump.onnx"
    shutil.copy(pump / "pump.asd", path.with_suffix(".asd"))
    assert main(["export", str(path.with_suffix(".asd")), "-o", str(path)]) == 0
    return path


def of_detector(path, name=None):
    detector = Detector.load(path)
    machine = detector.machines_[name or next(iter(detector.machines_))]
    return machine, exports.exact_scores(machine, detector.hearing_)


def agrees(path, detector, windows, most=LARGEST):
    """The same scores and decisions, however many windows are scored at a time; returns the largest difference."""
    machine, exact = of_detector(detector)
    wanted, session = exact(windows), opened(path)
    unit = np.maximum(spread_of(machine.normal.scores), abs(wanted - np.median(machine.normal.scores)))
    largest = 0.0
    for size in BATCHES:
        parts = [session.run(None, {"waveform": windows[at : at + size]})[0] for at in range(0, len(windows), size)]
        found = np.concatenate(parts)
        largest = max(largest, float((abs(found - wanted) / unit).max()))
        assert [machine.decision(float(one)) for one in found] == [machine.decision(float(one)) for one in wanted]
    assert largest <= most
    return largest


def test_scores_and_decisions_are_the_detectors(exported):
    near = [(hum if number % 2 else whine)(500 + number) for number in range(50)]
    agrees(exported, exported.with_suffix(".asd"), np.concatenate([near, made_windows(50, 16_000, seed=9)]))


def documented(tmp_path, graph, *paths):
    """What the documented script prints, and says at last."""
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/export.md").read_text(encoding="utf-8"), re.S)
    assert 20 < len(script.strip().splitlines()) <= 45
    (tmp_path / "score_wav.py").write_text(script)
    command = [sys.executable, "-c", WITHOUT, tmp_path / "score_wav.py", graph, *paths]
    done = subprocess.run(command, capture_output=True, text=True)
    return [line.split("\t") for line in done.stdout.splitlines()], done.stderr


def with_metadata(path, to, **told):
    """The same graph, saying something else of itself; ``None`` leaves it out."""
    proto = onnx.load(path)
    before = {one.key: one.value for one in proto.metadata_props}
    kept = {name: text for name, text in {**before, **told}.items() if text is not None}
    del proto.metadata_props[:]
    helper.set_model_props(proto, kept)
    onnx.save(proto, to)
    return to


def assert_alike(rows, wanted):
    assert [(row[0], row[2]) for row in rows] == [(one.path, one.decision) for one in wanted]
    np.testing.assert_allclose([float(row[1]) for row in rows], [one.score for one in wanted], rtol=1e-6)


def test_the_documented_script_needs_numpy_and_onnxruntime_alone(exported, tmp_path):
    """On recordings as long as a window, shorter, longer by a little and by much, and of silence or with some in it."""
    paths = [write(tmp_path / f"{seconds}.wav", hum(700, seconds)) for seconds in (1.0, 0.6, 1.3, 4.0)]
    paths += [write(tmp_path / "whine.wav", whine(701, 2.5)), write(tmp_path / "dead.wav", np.zeros(16_000))]
    silence = np.zeros(32_000, np.float32)
    paths += [write(tmp_path / "part.wav", np.concatenate([hum(702, 1.0), silence]))]
    paths += [write(tmp_path / "loud.wav", np.concatenate([whine(703, 1.0), silence]))]
    rows, told = documented(tmp_path, exported, *paths)
    assert told == ""
    wanted = asd_lightning.score(exported.with_suffix(".asd"), paths)
    assert_alike(rows, wanted)
    assert {one.decision for one in wanted} >= {"normal", "alarm", "cannot judge"}


def test_the_documented_script_pads_and_judges_as_the_detector_does(exported, tmp_path):
    """The graph is the same of a detector that follows short sound by zeros, or knows when its machine is off."""
    detector = Detector.load(exported.with_suffix(".asd"))
    machine, hearing = detector.machines_["pump"], detector.hearing_
    paths = [write(tmp_path / "short.wav", hum(704, 0.8)), write(tmp_path / "whine.wav", whine(705, 0.8))]
    paths += [write(tmp_path / "faint.wav", 0.8 * hum(706)), write(tmp_path / "long.wav", 0.8 * hum(707, 2.0))]
    paths += [write(tmp_path / "begun.wav", np.concatenate([0.8 * hum(707), hum(708)]))]
    levels = [20 * np.log10(np.sqrt(np.mean(hum(seed).astype(float) ** 2))) for seed in (706, 708)]
    boundary = float(np.mean([levels[0] + 20 * np.log10(0.8), levels[1]]))
    zeros = dataclasses.replace(hearing, preprocessing=dataclasses.replace(hearing.preprocessing, pad="zero"))
    graph = with_metadata(exported, tmp_path / "x.onnx", pad="zero", not_running_below_db=repr(boundary))
    rows, told = documented(tmp_path, graph, *paths)
    assert told == ""
    detector.begin(zeros).with_machine(dataclasses.replace(machine, states=LevelStates(boundary)))
    wanted = detector.judge(paths)
    assert_alike(rows, wanted)
    assert {one.decision for one in wanted} >= {"normal", "alarm", "not running"}


def test_what_the_documented_script_cannot_score_it_says_in_one_line(exported, tmp_path):
    empty = write(tmp_path / "empty.wav", np.zeros(0))
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "nothing.wav").touch()
    mono = write(tmp_path / "mono.wav", hum(709))
    right = with_metadata(exported, tmp_path / "right.onnx", channel="1")
    mean = with_metadata(exported, tmp_path / "mean.onnx", channel="mean")
    for graph, path, reason in (
        (exported, empty, "empty.wav: 16-bit samples at 16000 Hz are needed, one at least"),
        (exported, tmp_path / "text.wav", "text.wav: not such a WAV file"),
        (exported, tmp_path / "nothing.wav", "nothing.wav: not such a WAV file"),
        (right, mono, "mono.wav: not such a WAV file"),
        (mean, mono, "which hear one channel"),
    ):
        rows, told = documented(tmp_path, graph, path)
        assert rows == []
        assert reason in told
        assert len(told.splitlines()) == 1
    without = with_metadata(exported, tmp_path / "u.onnx", warning=None, alarm=None, undecided="too few")
    ((_, score, decision),), _ = documented(tmp_path, without, mono)
    assert np.isfinite(float(score))
    assert decision == "cannot judge"


def test_what_the_file_says_of_itself(exported):
    proto = onnx.load(exported)
    told = {one.key: one.value for one in proto.metadata_props}
    machine, _ = of_detector(exported.with_suffix(".asd"))
    assert (float(told["warning"]), float(told["alarm"])) == (machine.promise.warning, machine.promise.alarm)
    assert told["content_hash"] == DetectorFile(exported.with_suffix(".asd")).content_hash
    assert (told["machine"], told["package"]) == ("pump", asd_lightning.__version__)
    wanted = {"sample_rate": "16000", "samples": "16000", "window_seconds": "1.0", "channel": "0", "pad": "tile"}
    assert wanted.items() <= told.items()
    assert (told["back_end"], told["recording_score"]) == ("ResidualScorer", "max")
    shapes = [[dim.dim_param or dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in proto.graph.input]
    assert shapes == [["batch", 16_000]]
    assert {one.domain for one in proto.opset_import} == {""}
    # Where the package lies on the computer that exported it, is nobody's business.
    assert not re.search(rb"\.py\b|site-packages|/tmp/", exported.read_bytes())


@pytest.mark.parametrize("scale", [0.0, 1e-7, 1e-5, 1e-3])
def test_silence_and_what_is_nearly_silent_has_the_detectors_score(exported, scale):
    """A graph "optimized" by onnxscript has no floor under the logarithm: its addend, 1e-10, was taken for 0."""
    _, exact = of_detector(exported.with_suffix(".asd"))
    windows = np.float32(scale) * made_windows(2, 16_000)
    np.testing.assert_allclose(opened(exported).run(None, {"waveform": windows})[0], exact(windows), rtol=1e-5)


def constant_graph(windows, score):
    """A graph by hand, which gives the same score to so many windows."""
    given = helper.make_tensor_value_info("waveform", TensorProto.FLOAT, [windows, 16_000])
    made = helper.make_tensor_value_info("anomaly_score", TensorProto.DOUBLE, [windows])
    nodes = [
        helper.make_node("ReduceMean", ["waveform", "axes"], ["mean"], keepdims=0),
        helper.make_node("Cast", ["mean"], ["double"], to=TensorProto.DOUBLE),
        helper.make_node("Mul", ["double", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "score"], ["anomaly_score"]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("zero", TensorProto.DOUBLE, [], [0.0]),
        helper.make_tensor("score", TensorProto.DOUBLE, [], [score]),
    ]
    graph = helper.make_graph(nodes, "g", [given], [made], constants)
    return helper.make_model(graph, producer_name=PRODUCER, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize(
    ("graph", "exact", "told"),
    [
        (constant_graph(3, 1.0), 1.0, "cannot score 1 windows at a time"),
        (constant_graph(1, 1.0), 1.0, "cannot score 5 windows at a time"),
        (constant_graph("n", 1.0), 1.01, r"differ from the detector's by 0\.01 of the spread .* 1e-05 is allowed"),
        (constant_graph("n", float("nan")), 1.0, "differ from the detector's by nan"),
    ],
)
def test_a_graph_that_is_frozen_or_scores_otherwise_is_refused(tmp_path, graph, exact, told):
    onnx.save(graph, tmp_path / "x.onnx")
    normal = np.array([0.0, 2.0])
    with pytest.raises(UserError, match=told):
        difference(tmp_path / "x.onnx", lambda x: np.full(len(x), exact), made_windows(32, 16_000), normal)


def test_ten_times_what_the_last_bits_change_is_allowed(tmp_path):
    onnx.save(constant_graph("n", 1.0), tmp_path / "x.onnx")
    windows, normal = made_windows(32, 16_000), np.array([0.0, 2.0])

    def shaky(step, apart=3e-5):
        return lambda x: np.full(len(x), 1 + apart + step * (x != windows).any())

    assert difference(tmp_path / "x.onnx", shaky(4e-6), windows, normal) == pytest.approx(3e-5)
    with pytest.raises(UserError, match="2e-05 is allowed"):
        difference(tmp_path / "x.onnx", shaky(2e-6), windows, normal)
    with pytest.raises(UserError, match=r"by 0\.02 of .* 0\.01 is allowed"):
        difference(tmp_path / "x.onnx", shaky(1.0, 0.02), windows, normal)


def test_nothing_is_left_of_a_graph_that_disagrees(pump, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "onnx_bytes", lambda *_: constant_graph("batch", 7.0).SerializeToString())
    compared = exports.difference

    def untouched(*arguments):
        # What ends the command while it compares, finds nothing that it could leave behind.
        assert not [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"]
        return compared(*arguments)

    monkeypatch.setattr(exports, "difference", untouched)
    with pytest.raises(UserError, match=r"pump\.asd: the graph's scores differ .*: nothing is written"):
        api.export(pump / "pump.asd", tmp_path / "new/x.onnx")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    # Nor is an earlier export replaced, which is all that would be.
    onnx.save(constant_graph("batch", 1.0), tmp_path / "before.onnx")
    before = (tmp_path / "before.onnx").read_bytes()
    with pytest.raises(UserError, match="nothing is written"):
        api.export(pump / "pump.asd", tmp_path / "before.onnx")
    assert (tmp_path / "before.onnx").read_bytes() == before


class Looped(torch.nn.Module):
    """As many front-ends and encoders on a processor: clip by clip."""

    def forward(self, waveform):
        return torch.cat([clip.square().mean(1) for clip in waveform.split(1)])


class Counted(torch.nn.Module):
    def forward(self, waveform):
        return waveform.square().mean(1) + torch.zeros(len(waveform))


@pytest.mark.parametrize("module", [Looped(), Counted()])
def test_code_that_holds_for_the_examples_windows_alone_is_refused(module):
    with pytest.raises(UserError, match="cannot be exported for any number of windows"):
        onnx_bytes(module, 800, {})


def test_what_cannot_be_exported_is_told_in_one_line(pump, unchecked):
    detector = Detector.load(pump / "pump.asd")
    machine, hearing = detector.machines_["pump"], detector.hearing_
    for precision in ("bf16", "int8", "bf16-mixed"):
        with pytest.raises(UserError, match=f"computes in {precision}, and a graph in float32, .* --precision$"):
            exports.graph_of(machine, dataclasses.replace(hearing, precision=precision), 16_000)
    crops = dataclasses.replace(hearing.preprocessing, test_windows=3)
    with pytest.raises(UserError, match=r"averages 3 crops of each clip \(data\.test_windows\)"):
        exports.graph_of(machine, dataclasses.replace(hearing, preprocessing=crops), 16_000)
    with pytest.raises(UserError, match="the back-end object keeps no state"):
        exports.graph_of(dataclasses.replace(machine, scorer=object()), hearing, 16_000)


def test_the_length_of_the_window(pump):
    hearing = Detector.load(pump / "pump.asd").hearing_
    assert exports.window_samples(hearing, None) == exports.window_samples(hearing, 1.0) == 16_000
    assert exports.window_samples(hearing, 2.5) == 40_000
    for seconds in (0.0, 61.0, float("nan")):
        with pytest.raises(UserError, match=r"--window-seconds .*: a number from 0\.2 to 60 is needed"):
            exports.window_samples(hearing, seconds)
    cnn = dataclasses.replace(hearing, embedder={"branches": [{"encoder": {"kind": "SpectrumCNN"}}]})
    with pytest.raises(UserError, match="the spectrum CNN is made for windows of 1 s"):
        exports.window_samples(cnn, 2.0)


def test_what_is_in_the_way_is_told(pump, tmp_path, monkeypatch, capsys):
    detector, other = pump / "pump.asd", tmp_path / "notes.txt"
    other.write_text("mine")
    for output, told in ((other, "was not written by asd export"), (tmp_path, "is a folder; give the name of a file")):
        with pytest.raises(UserError, match=told):
            api.export(detector, output)
    assert other.read_text() == "mine"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: is there and was not written by asd export"):
        api.export(detector, tmp_path / "pipe")
    assert main(["export", str(detector), "-o", f"{tmp_path}/new/"]) == 2
    assert "new/: is the name of a folder; give that of a file" in capsys.readouterr().err
    with pytest.raises(UserError, match="is the name of a folder"):
        api.export(detector, f"{tmp_path}/new/")
    with pytest.raises(UserError, match="machine fan: the detector knows pump; name one of them"):
        api.export(detector, tmp_path / "x.onnx", "fan")
    two = Detector.load(detector)
    two.with_machine(dataclasses.replace(two.machines_["pump"], name="fan")).save(tmp_path / "two.asd")
    with pytest.raises(UserError, match="of which machine\\? Name one with --machine, of pump, fan"):
        api.export(tmp_path / "two.asd", tmp_path / "x.onnx")
    for name in ("onnx", "onnxscript", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(UserError, match=rf"pip install 'asd_lightning\[export\]' \({name} is missing\)"):
                api.export(detector, tmp_path / "x.onnx")


def test_states_have_their_thresholds_in_the_metadata(tmp_path):
    folder = tmp_path / "pump/normal"
    for state, scale in (("slow", 0.2), ("fast", 1.0)):
        for number in range(10):
            write(folder / state / f"{number}.wav", scale * hum(number, pitch=120.0 if state == "slow" else 400.0))
    for number in range(3):
        write(folder / "off" / f"{number}.wav", 1e-3 * hum(number))
    detector = Detector(states="folders", clip_seconds=1.0, sounds=0).fit(folder)
    machine = detector.machines_["pump"]
    told = about(machine, detector.hearing_, 16_000, "")
    assert not {"warning", "alarm", "not_running_below_db"} & set(told)
    states = {one.pop("state"): one for one in json.loads(told["states"])}
    assert states["off"] == {"running": False, "warning": None, "alarm": None}
    for name in ("slow", "fast"):
        own = machine.thresholds(name).promise
        assert states[name] == {"running": True, "warning": own.warning, "alarm": own.alarm}


def test_windows_of_another_length_leave_nothing_unheard(pump):
    detector = Detector.load(pump / "pump.asd")
    machine, hearing = detector.machines_["pump"], detector.hearing_
    told = about(machine, hearing, 8_000, "")
    assert (told["window_seconds"], told["hop_seconds"], told["enrolled_window_seconds"]) == ("0.5", "0.5", "1.0")
    assert not {"warning", "alarm", "promise", "states"} & set(told)
    assert told["undecided"].startswith("the detector's thresholds hold for windows of 1 s and no others; enrol with")
    half = dataclasses.replace(hearing, preprocessing=dataclasses.replace(hearing.preprocessing, hop_seconds=0.25))
    assert about(machine, half, 16_000, "")["hop_seconds"] == "0.25"


def test_the_level_below_which_it_does_not_run(pump):
    detector = Detector.load(pump / "pump.asd")
    machine = detector.machines_["pump"]
    assert "not_running_below_db" not in about(machine, detector.hearing_, 16_000, "")
    off = dataclasses.replace(machine, states=LevelStates(-55.25))
    assert about(off, detector.hearing_, 16_000, "")["not_running_below_db"] == "-55.25"


def test_a_run_without_a_threshold_says_why(pump):
    detector = Detector.load(pump / "pump.asd")
    machine = detector.machines_["pump"]
    nan = dataclasses.replace(machine.promise, warning=float("nan"), alarm=float("nan"))
    told = about(
        dataclasses.replace(machine, promise=nan, of_run={"undecided": "too few"}), detector.hearing_, 16_000, ""
    )
    assert told["undecided"] == "too few"
    assert "warning" not in told


def test_made_windows_are_all_different():
    windows = made_windows(8, 4000)
    assert all((one != other).mean() > 0.9 for one, other in pairwise(windows))
    assert (windows == made_windows(8, 4000)).all()
