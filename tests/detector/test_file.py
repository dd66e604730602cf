"""A detector's file is whole and unaltered, or refused in one line; nothing in it is executed."""

import hashlib
import json
import random
import shutil

import numpy as np
import pytest
from safetensors.numpy import save

from asd_lightning.detector.actions import info, score
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.file import FORMAT, DetectorFile, part_digest, write_detector
from asd_lightning.errors import UserError

PARTS = {"embedder": {"weight": np.arange(6.0).reshape(2, 3)}, "machine/0": {"a": np.array(3), "b": np.zeros((0, 2))}}


@pytest.fixture
def path(tmp_path):
    write_detector(tmp_path / "x.asd", {"machines": []}, PARTS)
    return tmp_path / "x.asd"


def refusal(action, *arguments):
    with pytest.raises(UserError) as caught:
        action(*arguments)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


def read_all(path):
    DetectorFile(path).check()


def test_what_is_written_is_read_and_equal_content_gives_equal_bytes(path, tmp_path):
    file = DetectorFile(path)
    file.check()
    for part, arrays in PARTS.items():
        read = file.part(part)
        assert read.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
            assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
    assert file.part("sound/0") == {}
    write_detector(tmp_path / "again.asd", {"machines": []}, PARTS)
    assert (tmp_path / "again.asd").read_bytes() == path.read_bytes()


def test_the_hash_is_of_the_header_with_zeros_in_its_place(path):
    """By hand: sha256 of the header, which has the digest of every part in it."""
    content = path.read_bytes()
    head = content[8 : 8 + int.from_bytes(content[:8], "little")]
    told = DetectorFile(path).content_hash
    assert hashlib.sha256(head.replace(told.encode(), b"0" * 64)).hexdigest() == told
    assert part_digest(PARTS["embedder"]).encode() in head


def test_every_byte_counts(path):
    whole = path.read_bytes()
    draw = random.Random(0)
    places = {*range(60), *draw.sample(range(len(whole)), 150), len(whole) - 1}
    for place in sorted(places):
        altered = bytearray(whole)
        altered[place] ^= 1 << draw.randrange(8)
        path.write_bytes(altered)
        assert "x.asd" in refusal(read_all, path), place


def test_a_truncated_file_is_refused(path):
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        told = refusal(read_all, path)
        assert "x.asd" in told
        assert length < 9 or "cut short" in told
    path.write_bytes(whole + b"more")
    assert "cut short" not in refusal(read_all, path)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 8 + b"{}",
        (1 << 40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (60_000_000).to_bytes(8, "little") + b"[" * 1000,
        b"\x80\x04\x95" + b"x" * 200,
        save({"a": np.zeros(3)}, {"fitted": "{}"}),
        save({"a": np.zeros(3)}, {"asd_detector": "[]"}),
        save({"a": np.zeros(3)}, {"asd_detector": '{"format": 1, "content_hash": "", "digests": {}}'}),
    ],
)
def test_what_is_no_detector_is_refused(tmp_path, content):
    (tmp_path / "x.asd").write_bytes(content)
    assert "x.asd" in refusal(read_all, tmp_path / "x.asd")
    assert "x.asd" in refusal(info, tmp_path / "x.asd")
    assert "no such file" in refusal(read_all, tmp_path / "absent.asd")


def rewritten(pump, target, change):
    """The pump's file, well formed and with the right hashes, that says something else."""
    file = DetectorFile(pump / "pump.asd")
    header = {name: value for name, value in file.header.items() if name not in ("content_hash", "digests", "package")}
    parts = {part: file.part(part) for part in file.header["digests"]}
    change(header, parts)
    write_detector(target, header, parts)


def test_a_newer_version_says_what_to_do(pump, tmp_path):
    rewritten(pump, tmp_path / "new.asd", lambda header, _: header.update(format=FORMAT + 1))
    assert f"has format {FORMAT + 1}" in refusal(score, tmp_path / "new.asd", pump / "pump/normal")
    assert "install a newer asd_lightning" in refusal(info, tmp_path / "new.asd")


def record(parts):
    return json.loads(parts["machine/0"]["record"].tobytes())


def with_record(parts, change):
    told = record(parts)
    change(told)
    parts["machine/0"]["record"] = np.frombuffer(json.dumps(told).encode(), np.uint8)


ABSURD = [
    lambda h, _: h["preprocessing"].update(sample_rate=10**12),
    lambda h, _: h["preprocessing"].update(clip_seconds=1e300),
    lambda h, _: h["preprocessing"].update(surprise=1),
    lambda h, _: h.update(embedder={"branches": []}),
    lambda h, _: h.update(embedder={"branches": [{"name": "a", "front_end": {"kind": "os.system"}}]}),
    lambda h, _: h["embedder"]["branches"][0]["encoder"].update(kind="LogMelSpectrogram"),
    lambda h, _: h["embedder"]["branches"][0]["encoder"].update(statistics=["x"]),
    lambda h, _: h["embedder"]["branches"][0]["front_end"].update(num_mels=10**9),
    lambda h, _: h["embedder"]["branches"][0].update(finetuning="lora", lora_rank=10**9),
    lambda h, _: h["embedder"].update(head="joint"),
    lambda h, _: h.update(machines=[{"machine": "pump"}]),
    lambda h, _: h.update(machines=[{"machine": "pump", "number": 7}]),
    lambda h, _: h.pop("recording_score"),
    lambda _, p: p["machine/0"].pop("record"),
    lambda _, p: p["machine/0"].pop("scorer/components"),
    lambda _, p: p["machine/0"].update(embeddings=p["machine/0"]["embeddings"][:2].copy()),
    lambda _, p: p["machine/0"].update(embeddings=p["machine/0"]["embeddings"] * np.float32(np.nan)),
    lambda _, p: with_record(p, lambda r: r["scorer"].update(kind="os.system")),
    lambda _, p: with_record(p, lambda r: r["scorer"]["options"].update(share=-1.0)),
    lambda _, p: with_record(p, lambda r: r["promise"].update(warning="high")),
    lambda _, p: with_record(p, lambda r: r["items"].update(start="x")),
    lambda _, p: with_record(p, lambda r: r.update(changes=[{"exec": 1}])),
    lambda _, p: with_record(p, lambda r: r.update(blocking=[])),
]


@pytest.mark.parametrize("number", range(len(ABSURD)))
def test_a_sound_file_that_says_something_absurd_is_refused(pump, tmp_path, unchecked, number):
    path = tmp_path / "odd.asd"
    rewritten(pump, path, ABSURD[number])
    clip = next((pump / "pump/normal").iterdir())
    assert "odd.asd" in refusal(lambda: Detector.load(path).judge(clip, "pump"))


def test_weights_of_another_shape_are_refused_before_they_are_made(pump, tmp_path, unchecked):
    def change(header, parts):
        parts["embedder"] = {"embedder.branches.a.encoder.x": np.zeros(3, np.float32)}
        encoder = {"kind": "SpectrumCNN", "channels": 10**8}
        branch = {"name": "a", "front_end": {"kind": "MagnitudeSpectrum"}, "encoder": encoder}
        header["embedder"] = {"branches": [branch], "head": "none"}

    rewritten(pump, tmp_path / "large.asd", change)
    clip = next((pump / "pump/normal").iterdir())
    assert "shape" in refusal(lambda: Detector.load(tmp_path / "large.asd").judge(clip))


def test_a_machine_is_read_when_it_is_asked_for(pump, tmp_path):
    def change(header, parts):
        header["machines"] += [{"machine": "fan", "number": 1}]
        parts["machine/1"] = {"record": np.zeros(3, np.uint8)}

    rewritten(pump, tmp_path / "two.asd", change)
    detector = Detector.load(tmp_path / "two.asd")
    clip = next((pump / "pump/normal").iterdir())
    assert detector.judge(clip, "pump")[0].decision == "normal"
    assert "enrol it again" in refusal(detector.judge, clip, "fan")


def test_a_file_that_is_replaced_meanwhile_is_read_as_it_was(pump, tmp_path):
    path = shutil.copy(pump / "pump.asd", tmp_path / "pump.asd")
    detector = Detector.load(path)
    write_detector(tmp_path / "pump.asd", {"machines": []}, {})
    assert detector.machines_["pump"].bank.items


def test_a_failed_write_leaves_the_file(pump, tmp_path, monkeypatch):
    path = tmp_path / "pump.asd"
    shutil.copy(pump / "pump.asd", path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("asd_lightning.atomic.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        Detector.load(path).save(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["pump.asd"]
