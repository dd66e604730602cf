"""A machine with two speeds that is switched off at times: each speed has thresholds that keep the promise."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import asd_lightning
from asd_lightning.cli import main
from asd_lightning.commands.score import _earlier
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.machine import Machine
from asd_lightning.detector.promise import promise
from asd_lightning.detector.sorting import folders_of
from asd_lightning.detector.states import NamedStates, fit_named, state_features
from asd_lightning.errors import UserError
from asd_lightning.live.levels import common_levels, left_out_windows, levels_of
from asd_lightning.live.over_recordings import drift_note
from asd_lightning.scoring.normal_scores import NormalScores
from tests.detector.formats import write as formats
from tests.detector.sounds import RATE, write

COUNT = 10


def slow(seed, whine=0.0):
    """Half a second of a steady hum; the whine is the fault."""
    draw = np.random.default_rng(seed)
    time = np.arange(RATE // 2) / RATE
    tones = sum(np.sin(2 * np.pi * 120 * k * time + draw.uniform(0, 6)) / k for k in range(1, 6))
    made = 0.02 * draw.uniform(0.97, 1.03) * (tones + 0.5 * draw.normal(size=len(time)))
    return (made + whine * np.sin(2 * np.pi * 3000 * time)).astype(np.float32)


def fast(seed):
    """Louder and higher, and each time with another squeal, which is normal there."""
    draw = np.random.default_rng(seed + 5000)
    time = np.arange(RATE // 2) / RATE
    tones = sum(np.sin(2 * np.pi * 180 * k * time + draw.uniform(0, 6)) / k for k in range(1, 6))
    squeal = draw.uniform(2, 4) * np.sin(2 * np.pi * draw.uniform(1000, 6000) * time)
    return (0.06 * (tones + 0.5 * draw.normal(size=len(time)) + squeal)).astype(np.float32)


def off(seed):
    return (1e-3 * np.random.default_rng(seed + 9000).normal(size=RATE // 2)).astype(np.float32)


SPEEDS = {"fast": fast, "slow": slow, "off": off}
NORMAL = [make(seed) for make in SPEEDS.values() for seed in range(COUNT)]
FILED = [name for name in SPEEDS for _ in range(COUNT)]
OPTIONS = {"clip_seconds": 0.5, "false_alarms": 0.1, "sounds": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``pump/normal/{fast,slow,off}``."""
    root = tmp_path_factory.mktemp("states") / "pump/normal"
    for number, (name, waveform) in enumerate(zip(FILED, NORMAL, strict=True)):
        write(root / name / f"{number:02}.wav", waveform)
    return root


@pytest.fixture(scope="module")
def file(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "pump.asd"
    asd_lightning.enrol(folder, path, states="folders", **OPTIONS)
    return path


@pytest.fixture(scope="module")
def detector(file):
    return Detector.load(file)


def test_a_fault_that_a_common_threshold_hides_is_found(detector):
    faults = [slow(100 + seed, whine=0.03) for seed in range(4)]
    alone = Detector(states="none", **OPTIONS).fit(NORMAL[: 2 * COUNT])
    assert {one.decision for one in alone.judge(faults)} == {"normal"}
    found = detector.judge(faults)
    assert {one.decision for one in found} <= {"warning", "alarm"}
    assert {one.state for one in found} == {"slow"}
    machine = detector.machines_["pump"]
    assert {one.threshold for one in found} == {machine.in_states["slow"].promise.warning}
    assert {one.p_value for one in found} == {1 / (COUNT + 1)}


def test_off_is_not_running_and_normal_sound_is_normal(detector):
    judged = detector.judge([off(50), fast(50), slow(50)])
    assert [(one.decision, one.state) for one in judged] == [
        *(("not running", "off"), ("normal", "fast"), ("normal", "slow"))
    ]
    assert np.isnan(judged[0].score)
    own = detector.machines_["pump"].in_states
    # The threshold over all states is nobody's.
    np.testing.assert_equal([one.threshold for one in judged], [np.nan, *(own[name].promise.warning for name in own)])
    assert {item.state for item in detector.machines_["pump"].bank.items} == {"fast", "slow"}


def test_what_cannot_be_judged_has_the_threshold_of_its_state_or_none(detector, tmp_path):
    stuck = slow(50)
    stuck[1000:] = stuck[1000]
    (tmp_path / "x.wav").write_bytes(b"no sound")
    heard, unheard = *detector.judge([stuck]), *detector.judge([tmp_path / "x.wav"])
    assert (heard.decision, unheard.decision) == ("cannot judge", "cannot judge")
    own = detector.machines_["pump"].in_states.get(heard.state)
    np.testing.assert_equal(heard.threshold, np.nan if own is None else own.promise.warning)
    np.testing.assert_equal(unheard.threshold, np.nan)


def test_thresholds_are_those_of_each_states_left_out_scores(detector):
    """By a loop over the bank's items: each scored without its recording, ranked among those of its state."""
    machine = detector.machines_["pump"]
    bank = machine.bank
    left_out = left_out_windows(dataclasses.replace(machine, in_states={}), 0.5)
    states = {item.recording: item.state for item in bank.items}
    for name, own in machine.in_states.items():
        scores = [
            score for score, recording in zip(left_out.scores, left_out.recordings, strict=True)
            if states[recording] == name
        ]  # fmt: skip
        np.testing.assert_array_equal(own.normal.scores, np.sort(scores))
        # Ten recordings at a tenth: 0.1 * 11 - 1 leaves none above the threshold.
        assert own.promise.warning == np.sort(scores)[-1]
        assert own.promise == promise(NormalScores.fit(np.array(scores), np.arange(COUNT)), 0.1)


def test_a_recording_through_several_states_is_judged_window_by_window(detector):
    through = np.concatenate([off(60), fast(60), slow(60, whine=0.03), slow(61)])
    judged = detector.judge([through])[0]
    assert [window.state for window in judged.windows] == ["off", "fast", "slow", "slow"]
    assert judged.decision in ("warning", "alarm")
    assert (judged.state, judged.score) == ("slow", judged.windows[2].score)
    # The highest score is another's: it is normal there.
    assert judged.windows[1].score > judged.windows[2].score


def test_the_promise_is_kept_in_each_state(detector):
    """Scores of 400 machines with two states of nine recordings; by the whole path from items to thresholds."""
    from asd_lightning.detector.bank import Bank
    from asd_lightning.detector.thresholds import Fitted, thresholds_in_states

    draw = np.random.default_rng(0)
    states = NamedStates(("a", "b"), ((0.0,), (1.0,)), (1.0,))
    scorer = detector.machines_["pump"].scorer
    empty = Bank((), np.empty((0, 0), np.float32))
    above = {"a": [], "b": []}
    for _ in range(400):
        scores = np.concatenate([draw.exponential(1, 9), draw.exponential(20, 14)])
        names = [str(number) for number in range(23)]
        fitted = Fitted(scorer, names, names, ["a"] * 9 + ["b"] * 14, scores)
        made = thresholds_in_states(fitted, empty, states, (0.1, None), "max")
        for name, scale in (("a", 1), ("b", 20)):
            above[name].append(np.exp(-made[name].promise.warning / scale))
    assert np.mean(above["a"]) == pytest.approx(1 / 10, abs=0.015)
    assert np.mean(above["b"]) == pytest.approx(1 / 15, abs=0.01)


def test_absurd_states_in_a_file_are_refused(detector, unchecked):
    parts = detector.machines_["pump"].parts()
    told = json.loads(parts["record"].tobytes())
    one = told["states"]
    fewer = one | {"means": [row[:2] for row in one["means"]], "deviations": one["deviations"][:2]}
    for change in ({"states": None}, {"states": fewer}, {"states": "x"}, {"in_states": [{}]}, {"in_states": 3}):
        record = np.frombuffer(json.dumps(told | change).encode(), np.uint8)
        with pytest.raises(UserError, match=r"odd\.asd: a machine in it cannot be read"):
            Machine.of_parts(parts | {"record": record}, "odd.asd")
    with pytest.raises(UserError, match="1 states of 2 recordings"):
        Detector(**OPTIONS).fit(NORMAL[:2], filed=["a"])


def test_a_state_with_too_few_recordings_is_refused_in_one_line():
    few, filed = NORMAL[: COUNT + 5], FILED[: COUNT + 5]
    with pytest.raises(UserError, match=r"state slow: a rate of 0.1 .* 5 recordings.* 1 / 6 \(0.1667\)") as caught:
        Detector(**OPTIONS).fit(few, filed=filed)
    assert "\n" not in str(caught.value)
    found = Detector(clip_seconds=0.5, sounds=0).fit(few, filed=filed).machines_["machine"]
    assert {own.promise.rate for own in found.in_states.values()} == {1 / 6}
    with pytest.raises(UserError, match=r"state slow: 2 of its recordings .* takes 3"):
        Detector(clip_seconds=0.5, sounds=0).fit(NORMAL[: COUNT + 2], filed=FILED[: COUNT + 2])


def test_a_machine_that_is_off_is_not_enrolled_as_running(tmp_path, capsys):
    for number in range(3):
        write(tmp_path / f"pump/normal/Off/{number}.wav", off(number))
    assert main(["enrol", str(tmp_path / "pump/normal"), "-o", str(tmp_path / "x.asd"), "--states", "folders"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("asd: pump: holds no recording of the running machine (sub-folders: Off); give some")
    assert len(told.splitlines()) == 1
    with pytest.raises(UserError, match=r"sub-folders: idle, off"):
        Detector(clip_seconds=0.5).fit([off(seed) for seed in range(4)], filed=["off", "idle"] * 2)


def test_a_machine_that_is_off_is_not_joined_with_a_running_one(tmp_path, capsys):
    """Its sound would be normal: `not running` could never come, and nobody would know."""
    for number in range(6):
        write(tmp_path / f"pump/normal/run/{number}.wav", off(number))
        write(tmp_path / f"pump/normal/fast/{number}.wav", fast(number))
        write(tmp_path / f"pump/normal/off/{number}.wav", off(100 + number))
    file = tmp_path / "x.asd"
    assert main(["enrol", str(tmp_path / "pump/normal"), "-o", str(file), "--states", "folders"]) == 2
    told = capsys.readouterr().err
    assert "off (median level -60.0 dB), run (median level -60.0 dB) cannot be told apart" in told
    assert "fast" not in told
    assert len(told.splitlines()) == 1
    assert not file.exists()


def test_a_state_without_a_recording_is_told(folder, tmp_path, caplog):
    shutil.copytree(folder, tmp_path / "normal")
    (tmp_path / "normal/slower/monday").mkdir(parents=True)
    (tmp_path / "normal/standstill").mkdir()
    (tmp_path / "normal/standstill/a.mp3").write_bytes(b"ID3")
    asd_lightning.enrol(tmp_path / "normal", tmp_path / "x.asd", states="folders", **OPTIONS)
    assert "no normal recording in the sub-folders slower, standstill, so there is no such state" in caplog.text
    assert "1 recordings are not used, since .mp3 (1) cannot be read, such as" in caplog.text
    caplog.clear()
    asd_lightning.enrol(folder, tmp_path / "y.asd", states="folders", **OPTIONS)
    assert not caplog.text


def test_a_file_with_off_as_running_says_so(file, tmp_path, capsys):
    """Earlier versions joined them without a word."""
    loaded = Detector.load(file)
    machine = loaded.machines_["pump"]
    states = dataclasses.replace(machine.states, names=("fast", "idle+slow", "off"))
    in_states = {{"slow": "idle+slow"}.get(name, name): own for name, own in machine.in_states.items()}
    loaded.with_machine(dataclasses.replace(machine, states=states, in_states=in_states)).save(tmp_path / "old.asd")
    assert main(["info", str(tmp_path / "old.asd")]) == 0
    assert "state idle+slow: its recordings of the machine that is off" in " ".join(capsys.readouterr().out.split())
    assert main(["info", str(file)]) == 0
    assert "that is off" not in capsys.readouterr().out


def test_drift_goes_on_from_day_to_day_over_all_states(file, detector, tmp_path, capsys):
    """On a scale that the states share: a fast machine has not drifted, and a slow one that whines a little has."""
    machine, table = detector.machines_["pump"], tmp_path / "log.csv"
    score = ["score", str(file), "--csv", str(table), "--append"]
    for number in range(8):
        write(tmp_path / f"one/{number}.wav", (slow, fast)[number % 2](700 + number))
        write(tmp_path / f"two/{number}.wav", slow(800 + number, whine=0.03))
        write(tmp_path / f"rest/{number}.wav", off(900 + number))
    for day in ("rest", "one"):
        assert main([*score, str(tmp_path / day)]) in (0, 1)
        assert "drift" not in capsys.readouterr().err
    with table.open(newline="") as text:
        rows = [row for row in csv.DictReader(text) if row["state"] in ("slow", "fast")]
    assert {row["state"] for row in rows} == {"slow", "fast"}
    by_hand = []
    for row in rows:
        own = machine.in_states[row["state"]]
        middle = np.median(own.normal.scores)
        assert float(row["threshold"]) == own.promise.warning
        by_hand.append((float(row["score"]) - middle) / (own.promise.warning - middle))
    assert _earlier(table, {"pump": machine}) == ({"pump": pytest.approx(by_hand)}, [])
    assert main([*score, str(tmp_path / "two")]) == 1
    assert "of 16 recordings (with 8 earlier ones of the table)" in capsys.readouterr().err
    # By a threshold of another state, or of a state that is no longer there.
    lines = table.read_text().replace(",slow\n", ",slower\n").replace(",fast\n", ",slow\n")
    table.write_text(lines)
    assert _earlier(table, {"pump": machine}) == ({}, ["pump"])


def test_a_recording_through_several_states_is_tested_for_drift_by_its_windows(detector):
    machine = detector.machines_["pump"]
    through = detector.judge([np.concatenate([slow(seed), fast(seed)]) for seed in range(600, 606)])
    assert {window.state for window in through[0].windows} == {"slow", "fast"}
    # Thresholds may rest on recordings as long, each in one state.
    items = tuple(item._replace(file="one", start=0.5 * n) for n, item in enumerate(machine.bank.items))
    same = dataclasses.replace(machine, bank=dataclasses.replace(machine.bank, items=items))
    high = [one._replace(windows=tuple(w._replace(score=1e3) for w in one.windows)) for one in through]
    assert " windows:" in drift_note(same, high, (), 0.5)


def test_days_are_no_states(tmp_path, capsys):
    for number in range(COUNT):
        write(tmp_path / f"pump/normal/{'monday' if number % 2 else 'tuesday'}/{number:02}.wav", slow(number))
    assert main(["enrol", str(tmp_path / "pump/normal"), "-o", str(tmp_path / "x.asd"), "--clip-seconds", "0.5"]) == 0
    told = capsys.readouterr().out
    assert "states:" not in told
    assert "--states" not in told
    machine = Detector.load(tmp_path / "x.asd").machines_["pump"]
    assert machine.in_states == {}
    # Asked for, they are joined: left-out recordings of one are taken for the other.
    joined = Detector(clip_seconds=0.5, states="folders").fit(tmp_path / "pump/normal").machines_["pump"]
    assert joined.states.names == ("monday+tuesday",)
    assert joined.in_states == {}
    assert "states" not in json.loads(joined.parts()["record"].tobytes())["items"]


def test_the_command_tells_of_states(folder, file, tmp_path, capsys):
    arguments = ["enrol", str(folder), "--clip-seconds", "0.5", "--no-sound"]
    assert main([*arguments, "-o", str(tmp_path / "level.asd")]) == 0
    assert "sub-folders fast, off, slow sound different" in capsys.readouterr().out
    assert main([*arguments, "-o", str(tmp_path / "x.asd"), "--states", "folders"]) == 0
    told = capsys.readouterr().out
    for words in (
        "states: fast, slow, off; no alarms",
        "in state slow warnings on at most 9.09 %",
        "10 in fast",
    ):
        assert words in told
    assert main(["info", str(file)]) == 0
    assert "state off: not running, no alarms" in capsys.readouterr().out
    assert main(["info", str(file), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)["machines"][0]
    assert (about["warning"], about["alarm"]) == (None, None)
    assert all((own["warning"] is None) == (own["state"] == "off") for own in about["states"])
    assert [(own["state"], own["recordings"]) for own in about["states"]] == [("fast", 10), ("off", None), ("slow", 10)]
    clip = write(tmp_path / "clip.wav", slow(70))
    assert main(["score", str(file), str(clip), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "slow"
    assert main(["score", str(file), str(clip)]) == 0
    assert "slow" in capsys.readouterr().out
    write(folder / "../stray/more/1.wav", slow(1))
    write(folder / "../stray/2.wav", slow(2))
    assert main(["enrol", str(folder / "../stray"), "-o", str(tmp_path / "y.asd"), "--states", "folders"]) == 2
    assert "2.wav lies in no sub-folder" in capsys.readouterr().err


def test_it_grows_and_is_taken_back_to_the_bit(file, tmp_path):
    own = tmp_path / "pump.asd"
    own.write_bytes(file.read_bytes())
    clips = [write(tmp_path / f"{name}.wav", make(80)) for name, make in SPEEDS.items()]
    machine = asd_lightning.accept(own, *clips).machines_["pump"]
    assert [(item.state, item.version) for item in machine.bank.items[-2:]] == [("fast", 1), ("slow", 1)]
    assert {name: made.normal.recordings for name, made in machine.in_states.items()} == {"fast": 11, "slow": 11}
    accepted = own.read_bytes()
    later = [write(tmp_path / f"later/{seed}.wav", slow(seed)) for seed in range(200, 209)]
    scores = [one.score for one in asd_lightning.score(own, later)]
    machine = asd_lightning.calibrate(own, tmp_path / "later").machines_["pump"]
    np.testing.assert_array_equal(machine.in_states["slow"].normal.scores, np.sort(scores))
    assert machine.in_states["fast"].normal.recordings == 11
    asd_lightning.undo(own)
    assert own.read_bytes() == accepted
    asd_lightning.undo(own)
    assert own.read_bytes() == file.read_bytes()


def test_evaluate_counts_no_false_alarm_where_the_machine_is_off(file, tmp_path):
    write(tmp_path / "test/normal/off.wav", off(90))
    write(tmp_path / "test/anomaly/fault.wav", slow(90, whine=0.03))
    found = asd_lightning.evaluate(file, tmp_path / "test")
    assert (found.false_alarms[:2], found.hits[:2]) == ((0, 1), (1, 1))


def test_watch_hears_each_state_by_its_own_levels(file, tmp_path):
    for number, waveform in enumerate([fast(91), fast(92), *(slow(93 + n, whine=0.03) for n in range(3)), off(99)]):
        write(tmp_path / f"day/{number}.wav", waveform)
    from asd_lightning.live.offline import events_of

    events = events_of(file, sorted((tmp_path / "day").iterdir()), "pump")
    levels = [event for event in events if event["kind"] in ("warning", "alarm")]
    machine = Detector.load(file).machines_["pump"]
    assert levels
    assert levels[0]["state"] == "slow"
    promised = machine.in_states["slow"].promise
    assert levels[0]["threshold"] == {"warning": promised.warning, "alarm": promised.alarm}[levels[0]["kind"]]


def test_states_share_a_scale(detector):
    """0 is the median of a state's normal scores, 1 its warning; an alarm found on it lies in each state above that."""
    machine = detector.machines_["pump"]
    for name, own in machine.in_states.items():
        assert machine.common(float(np.median(own.normal.scores)), name) == pytest.approx(0)
        assert machine.common(own.promise.warning, name) == pytest.approx(1)
        level = levels_of(machine, 50.0, name)
        assert machine.common(level.alarm, name) == pytest.approx(50)
        assert levels_of(machine, 0.0, name).alarm == own.promise.alarm
    assert common_levels(machine).warning == 1
    assert left_out_windows(machine, 0.5).scores.max() == pytest.approx(1)


def test_features_are_shares_of_the_power():
    """By a plain sum over the spectrum's lines."""
    noise = np.random.default_rng(0).normal(size=2048)
    power = np.abs(np.fft.rfft((noise - noise.mean()) * np.hanning(2048))) ** 2
    hertz = np.arange(1025) * RATE / 2048
    found = state_features(noise, RATE)
    top = 8000.0
    for number in range(1, 14):
        low = top / np.sqrt(2)
        share = power[(hertz >= low) & (hertz < top if number > 1 else hertz <= top)].sum() / power.sum()
        assert found[number] == pytest.approx(10 * np.log10(share), abs=1e-9)
        top = low
    assert found[0] == pytest.approx(10 * np.log10(np.mean(noise**2)))
    assert 10 ** (found[1:] / 10) @ np.ones(14) == pytest.approx(1)
    assert np.isfinite(state_features(np.zeros(100), RATE)).all()


def test_states_are_left_out_as_by_a_slow_loop():
    draw = np.random.default_rng(1)
    features = draw.normal(0, 1, (60, 3)) + np.repeat([[0, 0, 0], [3, 0, 0], [0, 4, 0]], 20, axis=0)
    names, recording = np.repeat(["a", "b", "c"], 20), np.arange(60) // 4
    found = fit_named(features, names.tolist(), recording)
    for row in range(60):
        rest = recording != recording[row]
        groups = {name: features[rest & (np.array(found.filed) == name)] for name in found.states.names}
        residuals = np.concatenate([own - own.mean(axis=0) for own in groups.values()])
        unit = np.sqrt((residuals**2).mean(axis=0))
        far = {name: (((features[row] - own.mean(axis=0)) / unit) ** 2).sum() for name, own in groups.items()}
        assert found.taken[row] == min(far, key=far.get)


def test_folders_are_those_below_the_normal_sound(tmp_path):
    from asd_lightning.detector.enrolment import normal_clips

    for name in ("pump/normal/Off/1.wav", "pump/normal/a/b/2.wav", "pump/train/3.wav"):
        write(tmp_path / name, off(1))
    clips = normal_clips(tmp_path / "pump", "pump", None)
    assert folders_of(tmp_path / "pump", clips) == {"1.wav": "Off", "2.wav": "a", "3.wav": ""}


@pytest.mark.parametrize("path", sorted(Path(formats.__file__).parent.glob("*.asd")), ids=lambda path: path.stem)
def test_a_file_of_an_earlier_version_is_read_and_says_the_same(path):
    told = formats.told(Detector.load(path), int(path.stem.removeprefix("format_")))
    wanted = json.loads(path.with_suffix(".json").read_text())
    for one, other in zip(told, wanted, strict=True):
        assert (one["decision"], one["state"]) == (other["decision"], other.get("state", ""))
        if one["decision"] in ("not running", "cannot judge") and one["threshold"] == "nan":
            # Where each state has its own, the threshold over all of them stood here.
            other["threshold"] = "nan"
        numbers = [[float(own[name]) for name in ("score", "threshold", "p_value")] for own in (one, other)]
        np.testing.assert_allclose(*numbers, rtol=1e-6)
