"""The same numbers by function, command and HTTP; and what accepting does to the file."""

import asyncio
import json
import math
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

import asd_lightning
from asd_lightning.cli import main
from asd_lightning.detector.actions import accept, enrol
from asd_lightning.detector.detector import Detector
from asd_lightning.errors import UserError
from asd_lightning.serving import answers
from tests.detector.sounds import RATE, hum, whine, write, write_normal
from tests.serving.conftest import HERE, asking, served


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Normal and faulty sound in every form that is read, long and short, under names of both kinds."""
    root = tmp_path_factory.mktemp("recordings")
    write(root / "normal.wav", hum(50))
    write(root / "faulty.wav", whine(51))
    write(root / "long.wav", whine(52, seconds=3.3))
    write(root / "section_00_source_test_normal_0001_long.wav", hum(53, seconds=3.3))
    soundfile.write(root / "stereo.flac", np.stack([whine(54), hum(55)], axis=1), RATE)
    soundfile.write(root / "rate.wav", hum(56, seconds=2.6)[::2], 8_000, subtype="FLOAT")
    write(root / "silent.wav", np.zeros(RATE, np.float32))
    return sorted(root.iterdir())


def by_command(capsys, *arguments):
    main(["score", *map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


def by_function(judgment):
    """What is told of it, by hand."""
    numbers = {
        name: None if math.isnan(value) else value
        for name, value in judgment._asdict().items()
        if name in ("score", "threshold", "p_value")
    }
    return numbers | {"decision": judgment.decision, "health": list(judgment.health)}


def form(path, field="file"):
    return (field, (str(path), path.read_bytes()))


def test_scores_and_decisions_are_those_of_the_function_and_the_command(pump, recordings, ask, capsys):
    detector = pump / "pump.asd"
    decisions = set()
    for path in recordings:
        (told,) = by_command(capsys, detector, path)
        answer = ask("POST", "/api/v1/score", files=[form(path)])
        assert (answer.status_code, answer.json()) == (200, told)
        raw = ask(
            *("POST", "/api/v1/score"),
            params={"name": str(path)},
            content=path.read_bytes(),
            headers={"Content-Type": "audio/wav"},
        )
        assert raw.json() == told
        (judgment,) = asd_lightning.score(detector, path)
        assert told | by_function(judgment) == told
        decisions.add(told["decision"])
    assert decisions == {"normal", "alarm", "cannot judge"}


def test_a_batch_is_what_the_command_says_of_several_together(pump, recordings, ask, capsys, tmp_path):
    told = by_command(capsys, pump / "pump.asd", *recordings)
    answer = ask("POST", "/api/v1/batch", files=[form(path, "files") for path in recordings])
    assert answer.json() == told
    torn = tmp_path / "torn.flac"
    torn.write_bytes(next(path for path in recordings if path.suffix == ".flac").read_bytes()[:2000])
    text = write(tmp_path / "notes.wav", hum(0))
    text.write_text("not sound")
    sent = [text, recordings[0], recordings[0], torn]
    answer = ask("POST", "/api/v1/batch", files=[form(path, "files") for path in sent]).json()
    assert answer[1] == answer[2] == told[0]
    assert answer[0] == {
        "path": str(text),
        "error": f"{text}: not readable as audio (it is neither WAV nor FLAC); convert it to WAV or FLAC, or remove it",
    }
    assert answer[3]["path"] == str(torn)
    assert str(torn) in answer[3]["error"]
    assert "asd_serve" not in json.dumps(answer)


def test_info_is_what_the_command_prints(pump, ask, capsys, monkeypatch):
    monkeypatch.chdir(pump)
    assert main(["info", "pump.asd", "--json"]) == 0
    assert ask("GET", "/api/v1/info").json() == json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def plant(pump, tmp_path_factory):
    """A detector of two machines."""
    root = tmp_path_factory.mktemp("plant")
    shutil.copy(pump / "pump.asd", root / "plant.asd")
    write_normal(root / "fan/normal", 12, first=300)
    enrol(root / "fan/normal", root / "plant.asd", clip_seconds=1.0, sounds=1)
    return root / "plant.asd"


def test_of_several_machines_one_is_told_or_in_the_name(plant, tmp_path, capsys):
    ask = asking(served(plant))
    sound = write(tmp_path / "pump/today.wav", hum(60))
    content = sound.read_bytes()

    def asked(name, route="score", field="file", **query):
        return ask("POST", f"/api/v1/{route}", params=query, files={field: (name, content)})

    (told,) = by_command(capsys, plant, sound)
    assert told["machine"] == "pump"
    assert asked(str(sound)).json() == told
    assert asked("pump/today.wav").json() == told | {"path": "pump/today.wav"}
    assert asked("today.wav", machine="fan").json()["machine"] == "fan"
    unknown = asked("today.wav", machine="pmup")
    assert (unknown.status_code, unknown.json()["error"]) == (
        404,
        "machine pmup: the detector knows pump, fan; name one of them",
    )
    untold = asked("today.wav")
    assert (untold.status_code, "of which machine?" in untold.json()["error"]) == (422, True)
    assert asked("today.wav", "batch", "files", machine="pmup").status_code == 404
    assert "of which machine?" in asked("today.wav", "batch", "files").json()[0]["error"]


def test_accepting_makes_the_file_that_the_command_makes_and_judges_with_it(own, tmp_path):
    by_hand = Path(shutil.copy(own, tmp_path / "by_hand.asd"))
    sound = write(tmp_path / "today.wav", whine(70))
    ask = asking(served(own))
    before = ask("POST", "/api/v1/score", files=[form(sound)]).json()
    answer = ask("POST", "/api/v1/accept", files={"file": ("today.wav", sound.read_bytes())})
    accept(by_hand, sound)
    assert answer.status_code == 200
    kept, made = (Detector.load(path).machines_["pump"] for path in (own, by_hand))
    assert kept.bank.items == made.bank.items
    assert (kept.promise, kept.changes[0]) == (made.promise, made.changes[0])
    assert answer.json()["version"] == len(made.changes) - 1 == 1
    assert answer.json()["change"] | {"time": ""} == {
        "what": "accepted",
        "time": "",
        "recordings": 1,
        "package": asd_lightning.__version__,
        "before": made.changes[-1].before,
    }
    after = ask("POST", "/api/v1/score", files=[form(sound)]).json()
    assert after["threshold"] != before["threshold"]
    assert after["score"] < before["score"]
    again = ask("POST", "/api/v1/accept", files=[form(sound)])
    assert (again.status_code, "in the detector already" in again.json()["error"]) == (422, True)


def test_the_file_that_a_command_writes_meanwhile_judges_from_then_on(own, tmp_path):
    ask = asking(served(own))
    before = ask("GET", "/api/v1/health").json()
    accept(own, write(tmp_path / "today.wav", whine(71)))
    after = ask("GET", "/api/v1/health").json()
    assert before["content_hash"] != after["content_hash"] == Detector.load(own).read_from.content_hash
    assert "written anew" in after["note"]
    own.write_bytes(b"no detector")
    told = ask("GET", "/api/v1/health").json()
    assert (told["content_hash"], "goes on" in told["note"]) == (after["content_hash"], True)
    info = ask("GET", "/api/v1/info")
    assert (info.status_code, str(own.parent) in info.text) == (503, False)
    sound = write(tmp_path / "later.wav", hum(72))
    assert ask("POST", "/api/v1/score", files=[form(sound)]).status_code == 200
    refused = ask("POST", "/api/v1/accept", files=[form(sound)])
    assert (refused.status_code, own.read_bytes()) == (503, b"no detector")


def test_many_who_accept_at_once_are_all_heard(own, tmp_path):
    sounds = [write(tmp_path / f"{number}.wav", hum(80 + number)) for number in range(4)]

    async def all_at_once():
        transport = httpx.ASGITransport(served(own))
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            return await asyncio.gather(*(client.post("/api/v1/accept", files=[form(sound)]) for sound in sounds))

    answers_ = asyncio.run(all_at_once())
    assert sorted(answer.json()["version"] for answer in answers_) == [1, 2, 3, 4]
    machine = Detector.load(own).machines_["pump"]
    assert len(machine.bank.items) == 30 + 4
    assert [change.what for change in machine.changes[1:]] == ["accepted"] * 4


def test_nothing_is_lost_of_what_somebody_else_writes_while_a_recording_is_accepted(own, tmp_path, monkeypatch):
    sound, other = (write(tmp_path / f"{number}.wav", hum(90 + number)) for number in range(2))
    whole = answers.judged

    def judged_meanwhile(*given):
        accept(own, other)
        return whole(*given)

    monkeypatch.setattr(answers, "judged", judged_meanwhile)
    answer = asking(served(own))("POST", "/api/v1/accept", files=[form(sound)])
    assert (answer.status_code, "changed meanwhile" in answer.json()["error"]) == (409, True)
    assert len(Detector.load(own).machines_["pump"].bank.items) == 31


def test_nothing_is_accepted_into_a_file_that_does_not_judge(plant, pump, tmp_path, caplog):
    own = Path(shutil.copy(plant, tmp_path / "own.asd"))
    ask, sound = asking(served(own)), write(tmp_path / "today.wav", whine(73))
    judging = ask("GET", "/api/v1/health").json()["content_hash"]
    # A detector in itself, but without one of the machines.
    replaced = shutil.copy(pump / "pump.asd", tmp_path / "new.asd")
    content = Path(replaced).read_bytes()
    Path(replaced).replace(own)
    health = ask("GET", "/api/v1/health").json()
    assert (health["content_hash"], "own.asd: lacks fan now" in health["note"]) == (judging, True)
    assert str(own.parent) not in health["note"]
    assert caplog.text.count("lacks fan now") == 1
    for answer in (ask("POST", "/api/v1/accept?machine=pump", files=[form(sound)]), ask("GET", "/api/v1/info")):
        assert (answer.status_code, "lacks fan now" in answer.json()["error"]) == (409, True)
        assert str(own.parent) not in answer.text
    assert own.read_bytes() == content


def test_a_file_that_is_removed_is_told_and_the_one_before_goes_on(own, tmp_path, caplog):
    ask, sound = asking(served(own)), write(tmp_path / "today.wav", hum(74))
    content = own.read_bytes()
    own.unlink()
    for _ in range(2):
        note = ask("GET", "/api/v1/health").json()["note"]
        assert "the detector from before goes on: own.asd: " in note
        assert ask("POST", "/api/v1/score", files=[form(sound)]).status_code == 200
    assert caplog.text.count("goes on") == 1
    own.write_bytes(content)
    assert "written anew" in ask("GET", "/api/v1/health").json()["note"]


def test_a_damaged_excerpt_is_told_without_its_place(own, tmp_path):
    content = bytearray(own.read_bytes())
    start = content.index(b"fLaC") + 100
    content[start] ^= 0xFF
    own.write_bytes(content)
    ask, sound = asking(served(own)), write(tmp_path / "today.wav", hum(75))
    for answer in (ask("POST", "/api/v1/explain", files=[form(sound)]), ask("GET", "/api/v1/sound/0-0")):
        assert (answer.status_code, answer.json()["error"].startswith("own.asd: ")) == (503, True)
        assert str(own.parent) not in answer.text


def test_a_folder_that_cannot_be_written_is_not_told(own, tmp_path, monkeypatch):
    def refused(path):
        raise UserError(f"{path}: cannot be written, since nothing can be in {path.parent} (Read-only file system)")

    monkeypatch.setattr(answers, "refuse_unwritable", refused)
    answer = asking(served(own))("POST", "/api/v1/accept", files=[form(write(tmp_path / "today.wav", hum(76)))])
    assert (answer.status_code, "own.asd: cannot be written" in answer.json()["error"]) == (503, True)
    assert own.parent.name not in answer.text.replace("own.asd", "")


def test_an_answer_says_what_accepting_has_done_and_what_not(own, tmp_path, caplog):
    ask = asking(served(own))

    def accepted(name, waveform):
        sent = [("file", (name, write(tmp_path / "sent.wav", waveform).read_bytes()))]
        return ask("POST", "/api/v1/accept", files=sent)

    before = ask("GET", "/api/v1/info").json()["machines"][0]["warning"]
    notes = accepted("whine.wav", whine(77)).json()["notes"]
    after = ask("GET", "/api/v1/info").json()["machines"][0]["warning"]
    assert notes == [f"warnings begin above {after:.6g} from here on, and before above {before:.6g}"]
    assert "whine.wav" not in caplog.text
    first, *_ = accepted("short.wav", hum(78, seconds=0.25)).json()["notes"]
    assert first.startswith("short.wav: taken into the bank, but what sounds so still cannot be judged")
    # Of one recording the log has one line, however many windows it has.
    long = hum(79, seconds=3.3)
    assert accepted("long.wav", long).status_code == 200
    caplog.clear()
    assert accepted("long.wav", long).status_code == 422
    told = [one.getMessage() for one in caplog.records if one.name.startswith("asd_lightning.detector")]
    assert told == ["long.wav: in the detector already, 4 of 4 pieces; left out"]


@pytest.mark.parametrize("name", ["fault_2.wav", "anomaly/0.wav", "section_00_source_test_anomaly_0001.wav"])
def test_what_its_name_calls_an_anomaly_is_told_in_the_commands_words(own, tmp_path, monkeypatch, caplog, name):
    # The folder that the server was started in says nothing of what it is sent.
    (tmp_path / "anomaly").mkdir()
    monkeypatch.chdir(tmp_path / "anomaly")
    by_hand = shutil.copy(own, tmp_path / "by_hand.asd")
    ask, told = asking(served(own)), "1 of 1 recordings are called anomalies by folder or name, and taken as normal"
    for number, sent in enumerate((name, "0412.wav")):
        sound = write(tmp_path / "sent.wav", whine(90 + number)).read_bytes()
        form = {"file": (sent, sound)}
        assert ask("POST", "/api/v1/explain", files=form).json()["called_anomaly"] == (sent == name)
        notes = ask("POST", "/api/v1/accept", files=form).json()["notes"]
        assert [note for note in notes if told in note] == [f"{name}: {told} all the same"] * (sent == name)
    caplog.clear()
    accept(by_hand, write(tmp_path / name, whine(90)))
    assert f"{tmp_path / name}: {told} all the same" in caplog.messages


def test_what_cannot_be_accepted_changes_nothing(own, tmp_path):
    content = own.read_bytes()
    sound = write(tmp_path / "today.wav", hum(95))
    refused = asking(served(own, read_only=True))("POST", "/api/v1/accept", files=[form(sound)])
    assert (refused.status_code, "read-only" in refused.json()["error"]) == (403, True)
    sound.write_bytes(sound.read_bytes()[:5000])
    torn = asking(served(own))("POST", "/api/v1/accept", files={"file": ("today.wav", sound.read_bytes())})
    assert (torn.status_code, torn.json()["error"].startswith("today.wav: truncated")) == (400, True)
    assert own.read_bytes() == content
