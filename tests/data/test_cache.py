"""The clip cache: decoded once, never stale, never torn, safe with several writers."""

import json
import multiprocessing
import os
import pickle
import shutil
import stat
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from filelock import FileLock

from asd_lightning.data import cache
from asd_lightning.data.audio import BadAudioError, DecodeOptions, decode, read_audio
from asd_lightning.data.cache import ClipStore
from asd_lightning.data.layout import Clip, find_clips
from asd_lightning.errors import UserError

OPTIONS = DecodeOptions()


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(6):
        path = tmp_path / f"data/fan/train/section_00_source_train_normal_{number:04d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        subtype = "FLOAT" if number == 2 else "PCM_16"
        soundfile.write(path, rng.uniform(-0.5, 0.5, 1_000 + 101 * number), 16_000, subtype=subtype)
    return tmp_path / "data"


def open_store(folder, tmp_path, options=OPTIONS) -> ClipStore:
    return ClipStore(find_clips(folder), tmp_path / "cache", options)


def assert_true(store: ClipStore) -> None:
    for index, clip in enumerate(store.clips):
        np.testing.assert_array_equal(store.read(index), read_audio(clip.path))
        assert store.samples(index) == len(read_audio(clip.path))
        np.testing.assert_array_equal(store.read(index, 10, 50), read_audio(clip.path)[10:50])


def count_decoding(monkeypatch) -> list:
    calls = []
    monkeypatch.setattr(cache, "decode", lambda path, *rest: calls.append(path) or decode(path, *rest))
    return calls


def test_decoded_once_and_read_back_exactly(folder, tmp_path, monkeypatch):
    calls = count_decoding(monkeypatch)
    assert_true(open_store(folder, tmp_path))
    assert len(calls) == 6
    assert_true(pickle.loads(pickle.dumps(open_store(folder, tmp_path))))
    assert len(calls) == 6


def test_the_recordings_own_rate_is_kept(folder, tmp_path):
    soundfile.write(min(folder.rglob("*.wav")), np.random.default_rng(1).uniform(-0.5, 0.5, 800), 8_000)
    for _ in range(2):
        store = open_store(folder, tmp_path)
        assert [store.source_rate(index) for index in range(6)] == [8_000] + 5 * [16_000]
        assert store.samples(0) == 1_600


@pytest.mark.timeout(600)
def test_an_intact_store_is_read_by_many_at_a_time(folder, tmp_path):
    assert_true(open_store(folder, tmp_path))
    (lock,) = (tmp_path / "cache").glob("*.lock")
    with FileLock(lock):
        assert_true(open_store(folder, tmp_path))


def test_sixteen_bits_stay_sixteen_bits(folder, tmp_path):
    open_store(folder, tmp_path)
    (index,) = (tmp_path / "cache").glob("*/index.json")
    types = [dtype for _, dtype, *_ in json.loads(index.read_text())["entries"]]
    assert types == ["int16", "int16", "float32", "int16", "int16", "int16"]


def test_a_changed_recording_is_decoded_again(folder, tmp_path):
    open_store(folder, tmp_path)
    path = next(folder.rglob("*0001.wav"))
    before = path.stat()
    samples, rate = soundfile.read(path)
    soundfile.write(path, -samples, rate)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert_true(open_store(folder, tmp_path))


def test_other_options_are_another_store(folder, tmp_path):
    assert open_store(folder, tmp_path).samples(0) == 1_000
    assert open_store(folder, tmp_path, DecodeOptions(sample_rate=8_000)).samples(0) == 500


@pytest.mark.parametrize("damage", ["truncate", "flip", "no index", "garbled index"])
def test_a_torn_store_is_written_again(folder, tmp_path, damage, caplog):
    open_store(folder, tmp_path)
    (store,) = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    samples = store / "samples.bin"
    if damage == "truncate":
        os.truncate(samples, samples.stat().st_size - 1)
    elif damage == "flip":
        data = bytearray(samples.read_bytes())
        data[len(data) // 2] ^= 1
        samples.write_bytes(data)
    elif damage == "no index":
        (store / "index.json").unlink()
    else:
        (store / "index.json").write_text('{"format"')
    assert_true(open_store(folder, tmp_path))
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (0, -1),
        (0, 1.5),
        (0, 10**30),
        (0, 999),
        (1, "O"),
        (1, "float64"),
        (2, -1),
        (2, "0"),
        (3, None),
        (4, 0),
        (None, []),
    ],
)
def test_an_index_that_somebody_altered_is_not_believed(folder, tmp_path, caplog, column, value):
    open_store(folder, tmp_path)
    (path,) = (tmp_path / "cache").glob("*/index.json")
    index = json.loads(path.read_text())
    if column is None:
        index["entries"][0] = value
    else:
        index["entries"][0][column] = value
    path.write_text(json.dumps(index))
    assert_true(open_store(folder, tmp_path))
    assert "damaged" in caplog.text


@pytest.mark.parametrize("sample", [np.nan, np.inf, 1e25])
def test_samples_that_no_recording_has_are_not_believed(folder, tmp_path, caplog, sample):
    """Though their check sum is right."""
    open_store(folder, tmp_path)
    (path,) = (tmp_path / "cache").glob("*/index.json")
    index = json.loads(path.read_text())
    number = [dtype for _, dtype, *_ in index["entries"]].index("float32")
    offset = sum(np.dtype(row[1]).itemsize * row[0] for row in index["entries"][:number])
    size = 4 * index["entries"][number][0]
    data = bytearray((path.parent / "samples.bin").read_bytes())
    data[offset : offset + 4] = np.float32(sample).tobytes()
    (path.parent / "samples.bin").write_bytes(data)
    index["entries"][number][2] = zlib.crc32(data[offset : offset + size])
    path.write_text(json.dumps(index))
    assert_true(open_store(folder, tmp_path))
    assert "damaged" in caplog.text


def test_a_pipe_named_by_another_store_does_not_hang(folder, tmp_path):
    """Whoever may write to a shared cache could name one."""
    open_store(folder, tmp_path)
    (path,) = (tmp_path / "cache").glob("*/index.json")
    os.mkfifo(tmp_path / "pipe")
    index = json.loads(path.read_text())
    other = path.parent.with_name("f" * 24)
    other.mkdir()
    (other / "index.json").write_text(json.dumps(index | {"files": index["files"] | {str(tmp_path / "pipe"): "1-a"}}))
    assert len(open_store(folder, tmp_path, DecodeOptions(sample_rate=8_000))) == 6


@pytest.mark.parametrize(("umask", "shared"), [(0o022, 0o755), (0o002, 0o775), (0o077, 0o700)])
def test_rights_follow_the_umask(folder, tmp_path, umask, shared):
    before = os.umask(umask)
    try:
        open_store(folder, tmp_path)
    finally:
        os.umask(before)
    for path in (tmp_path / "cache").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (shared if path.is_dir() else shared & 0o666), path


def as_nobody(call) -> str:
    """What ``call`` returns, or the UserError it ends with, in a process of another user."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    if (child := os.fork()) == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            sender.send(str(call()))
        except UserError as error:
            sender.send(str(error))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    sender.close()
    return str(receiver.recv())


@pytest.mark.skipif(not hasattr(os, "fork") or os.getuid() != 0, reason="to be another user needs root")
def test_a_cache_that_may_only_be_read(folder):
    """Another user reads what is there, and is told what to do where something is missing."""
    # Not below pytest's own folder, into which nobody else may look.
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        shutil.copytree(folder, place / "data")
        open_store(place / "data", place)
        place.chmod(0o755)
        assert as_nobody(lambda: len(open_store(place / "data", place))) == "6"
        told = as_nobody(lambda: open_store(place / "data", place, DecodeOptions(sample_rate=8_000)))
    assert "cannot write the clip cache" in told
    assert "set data.cache_dir to a folder of your own" in told


def test_an_interrupted_decoding_leaves_nothing_that_is_trusted(folder, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "_append", fail)
    with pytest.raises(KeyboardInterrupt):
        open_store(folder, tmp_path)
    monkeypatch.undo()
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert_true(open_store(folder, tmp_path))


def _open_and_sum(arguments) -> float:
    folder, where = arguments
    store = open_store(folder, where)
    return float(sum(np.abs(store.read(index)).sum() for index in range(len(store))))


def test_several_processes_may_start_at_once(folder, tmp_path):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        sums = pool.map(_open_and_sum, [(folder, tmp_path)] * 3)
    assert len(set(sums)) == 1
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


def test_bad_files_are_skipped_and_named_and_silence_is_left_out_of_training(folder, tmp_path, caplog):
    (folder / "fan/train/section_00_source_train_normal_0007.wav").write_bytes(b"")
    for split in ("train", "test"):
        (folder / "fan" / split).mkdir(exist_ok=True)
        soundfile.write(folder / f"fan/{split}/section_00_source_{split}_normal_0008.wav", np.zeros(500), 16_000)
    store = open_store(folder, tmp_path)
    assert len(store) == 7
    assert sorted(message.split(": ")[1].split(";")[0] for message in store.skipped.values()) == [
        "silent",
        "the file is empty",
    ]
    assert "section_00_source_test_normal_0008.wav: silent; it is scored like any other" in caplog.text


def test_an_unwritable_cache_is_named(folder, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write the clip cache.*set data\.cache_dir"):
        open_store(folder, tmp_path)


def test_clip_pieces(folder, tmp_path):
    path = next(folder.rglob("*0003.wav"))
    clip = Clip(
        path=path, machine="fan", name="x", split="train", domain="source", condition="normal", start=0.01, seconds=0.02
    )
    store = ClipStore([clip], tmp_path / "cache", OPTIONS)
    np.testing.assert_array_equal(store.read(0), read_audio(path)[160:480])


def stores(tmp_path) -> set[str]:
    return {path.parent.name for path in (tmp_path / "cache").glob("*/index.json")}


def test_a_store_of_changed_recordings_is_removed_when_it_is_replaced(folder, tmp_path):
    open_store(folder, tmp_path, DecodeOptions(sample_rate=8_000))
    kept = stores(tmp_path)
    open_store(folder, tmp_path)
    (stale,) = stores(tmp_path) - kept
    soundfile.write(next(folder.rglob("*0001.wav")), np.full(50, 0.1) * np.arange(50), 16_000)
    open_store(folder, tmp_path)
    # The other rate's store is as stale: its recording has changed too.
    assert len(stores(tmp_path)) == 1
    assert not stores(tmp_path) & {stale, *kept}
    assert_true(open_store(folder, tmp_path))


def test_stores_of_unchanged_or_absent_recordings_stay(folder, tmp_path):
    """Of another choice of clips, as other seeds hold out others, and of a disk that is not mounted now."""
    clips = find_clips(folder)
    other = folder.parent / "other" / "data"
    shutil.copytree(folder, other)
    for choice in (clips, clips[:4], clips[2:], find_clips(other)):
        ClipStore(choice, tmp_path / "cache", OPTIONS)
    before = stores(tmp_path)
    assert len(before) == 4
    other.rename(other.with_name("unmounted"))
    ClipStore(clips[1:], tmp_path / "cache", OPTIONS)
    assert stores(tmp_path) > before


def test_a_store_in_use_outlives_its_replacement(folder, tmp_path):
    old = open_store(folder, tmp_path)
    expected = read_audio(old.clips[1].path)
    soundfile.write(next(folder.rglob("*0001.wav")), np.full(50, 0.1) * np.arange(50), 16_000)
    open_store(folder, tmp_path)
    assert len(stores(tmp_path)) == 1
    np.testing.assert_array_equal(old.read(1), expected)


def test_what_a_killed_process_left_is_removed(folder, tmp_path):
    open_store(folder, tmp_path)
    (key,) = stores(tmp_path)
    shutil.rmtree(tmp_path / "cache" / key)
    leftover = tmp_path / "cache" / f"{key}.abc.partial"
    leftover.mkdir()
    (leftover / "samples.bin").write_bytes(bytes(1_000))
    assert_true(open_store(folder, tmp_path))
    assert not leftover.exists()


def test_a_recording_that_was_away_for_a_moment_is_not_lost_for_good(folder, tmp_path, monkeypatch, caplog):
    victim = next(folder.rglob("*0003.wav"))

    def away(path, *rest):
        if path == victim:
            raise BadAudioError(f"{path}: not readable as audio (System error.)")
        return decode(path, *rest)

    monkeypatch.setattr(cache, "decode", away)
    assert len(open_store(folder, tmp_path)) == 5
    assert len(open_store(folder, tmp_path)) == 5
    monkeypatch.undo()
    store = open_store(folder, tmp_path)
    assert len(store) == 6
    assert not store.skipped
    assert "can be read by now" in caplog.text
    assert_true(store)


def test_a_recording_that_vanishes_between_listing_and_decoding(folder, tmp_path):
    clips = find_clips(folder)
    clips[2].path.unlink()
    store = ClipStore(clips, tmp_path / "cache", OPTIONS)
    assert store.clips == clips[:2] + clips[3:]
    assert store.skipped == {str(clips[2].path): f"{clips[2].path}: no such file"}
