"""Headers that cannot be true, files that are something else, and files that were cut: one rule for each."""

import contextlib
import io
import random
import struct

import numpy as np
import pytest
import soundfile

from asd_lightning.data.audio import BadAudioError, read_audio, read_header, refuse_too_short
from asd_lightning.data.check import check
from asd_lightning.data.container import check_container
from asd_lightning.data.layout import find_clips
from asd_lightning.data.measurement import measure, mixed_levels

RATE = 16_000
SOUND = 0.3 * np.sin(np.arange(4_000) / 5)
KINDS = {"RIFF": ("WAV", "LITTLE"), "RIFX": ("WAV", "BIG"), "extensible": ("WAVEX", "FILE"), "RF64": ("RF64", "FILE")}


def written(kind, subtype="PCM_16", samples=SOUND):
    stream = io.BytesIO()
    container, endian = KINDS[kind]
    soundfile.write(stream, samples, RATE, format=container, endian=endian, subtype=subtype)
    return bytearray(stream.getvalue())


def with_length(data, length, whole=None):
    """The WAV with another length of its sound, and of itself."""
    order = ">" if data[:4] == b"RIFX" else "<"
    if data[:4] == b"RF64":
        place = data.index(b"ds64") + 8
        struct.pack_into("<QQQ", data, place, length if whole is None else whole, length, 0)
        return data
    place = data.index(b"data") + 4
    struct.pack_into(f"{order}I", data, place, length)
    if whole is not None:
        struct.pack_into(f"{order}I", data, 4, whole)
    return data


def saved(tmp_path, data, name="a.wav"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


STREAMED = sorted(
    {limit - less for limit in (1 << 31, 1 << 32) for less in (1, 4, 8, 12, 36, 44, 46, 58, 80, 4096, 65_535)}
    | {(1 << 31) + more for more in (0, 1, 36, 44)}
)


@pytest.mark.parametrize("kind", ["RIFF", "RIFX", "extensible"])
@pytest.mark.parametrize("length", [0, *STREAMED])
@pytest.mark.parametrize("whole", [0, 0xFFFFFFFF, "follows", None])
def test_lengths_of_programs_that_stream(tmp_path, kind, length, whole):
    whole = min(length + 36, 0xFFFFFFFF) if whole == "follows" else whole
    path = saved(tmp_path, with_length(written(kind), length, whole))
    np.testing.assert_allclose(read_audio(path), SOUND, atol=2**-15)
    assert read_header(path).seconds == len(SOUND) / RATE
    assert "read to the file's end" in check_container(path).doubt


@pytest.mark.parametrize("length", [0, 2**64 - 1, 2**63 - 1, 2**63])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_an_empty_long_header(tmp_path, length, subtype):
    path = saved(tmp_path, with_length(written("RF64", subtype), length))
    np.testing.assert_allclose(read_audio(path), SOUND, atol=2**-15)
    assert check_container(path).doubt


def test_the_long_header_of_broadcasters(tmp_path):
    data = written("RF64")
    data[:4] = b"BW64"
    path = saved(tmp_path, data)
    np.testing.assert_allclose(read_audio(path), SOUND, atol=2**-15)
    assert check_container(path).doubt == ""
    np.testing.assert_allclose(read_audio(saved(tmp_path, with_length(data, 0))), SOUND, atol=2**-15)


def test_a_long_header_without_lengths(tmp_path):
    data = written("RF64")
    place = data.index(b"ds64")
    path = saved(tmp_path, data[:place] + data[place + 36 :])
    np.testing.assert_allclose(read_audio(path), SOUND, atol=2**-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [1, 2, 7, 8, 24, 36, 44, 46, 100, 500])
@pytest.mark.parametrize("both", [False, True])
def test_lengths_a_few_bytes_off(tmp_path, kind, more, both):
    data = written(kind)
    whole = len(data) - 8 + more if both else len(data) - 8
    path = saved(tmp_path, with_length(data, 2 * len(SOUND) + more, whole))
    np.testing.assert_allclose(read_audio(path), SOUND, atol=2**-15)
    assert check_container(path).doubt


def test_lengths_too_long_in_a_file_that_is_whole(tmp_path):
    data = written("RIFF")
    assert check_container(saved(tmp_path, with_length(data, 2 * len(SOUND) + 20_000))).doubt
    with pytest.raises(BadAudioError, match="truncated"):
        check_container(saved(tmp_path, with_length(data, 2 * len(SOUND) + 20_000, len(data) + 20_000)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("lost", [600, 1_000, 4_321, 7_000])
def test_a_file_that_was_cut_is_refused(tmp_path, kind, subtype, lost):
    path = saved(tmp_path, written(kind, subtype)[:-lost])
    with pytest.raises(BadAudioError, match="truncated, its header promises"):
        read_audio(path)


@pytest.mark.parametrize("kind", ["RIFF", "RIFX", "extensible"])
def test_a_header_much_shorter_than_its_file_is_told(tmp_path, kind):
    path = saved(tmp_path, with_length(written(kind), 2_000))
    assert len(read_audio(path)) == 1_000
    assert "6,000 bytes follow the 2,000" in check_container(path).doubt


def test_chunks_behind_the_sound_are_no_sound(tmp_path):
    note = b"LIST" + struct.pack("<I", 1_000) + bytes(1_000)
    data = written("RIFF") + note
    assert check_container(saved(tmp_path, data)) is None
    empty = with_length(written("RIFF", samples=SOUND[:0]), 0) + note
    with pytest.raises(BadAudioError, match="holds no samples"):
        read_audio(saved(tmp_path, empty))


def test_whole_files_are_read_as_they_are(tmp_path):
    for kind in KINDS:
        for subtype in ("PCM_16", "PCM_24", "FLOAT"):
            assert check_container(saved(tmp_path, written(kind, subtype))) is None


def test_tags_before_the_sound(tmp_path):
    tag = b"ID3\x03\0\0" + bytes([0, 0, 1, 2]) + bytes(130)
    for data in (written("RIFF"), with_length(written("RIFF"), 0), with_length(written("RF64"), 0)):
        np.testing.assert_allclose(read_audio(saved(tmp_path, tag + data)), SOUND, atol=2**-15)
    stream = io.BytesIO()
    soundfile.write(stream, SOUND, RATE, format="FLAC")
    np.testing.assert_allclose(read_audio(saved(tmp_path, tag + stream.getvalue(), "a.flac")), SOUND, atol=2**-15)


@pytest.mark.parametrize("inside", ["OGG", "MP3", "MAT5", "AIFF", "AU", "CAF", "W64"])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_other_formats_under_the_name_of_one_that_is_read(tmp_path, inside, suffix):
    stream = io.BytesIO()
    soundfile.write(stream, SOUND, RATE, format=inside)
    path = saved(tmp_path, stream.getvalue(), f"a.{suffix}")
    with pytest.raises(BadAudioError, match=r"not readable as audio \(it holds .*, and only WAV and FLAC are read\)"):
        read_audio(path)
    with pytest.raises(BadAudioError, match="only WAV and FLAC"):
        read_header(path)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\0\0\0 ftypM4A ", "MP4"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\xff\xfb\x90\x00" * 20, "MP3"),
        (b"RIFF\x10\0\0\0AVI LIST", "neither WAV nor FLAC"),
        (b"\0" * 100, "neither WAV nor FLAC"),
    ],
)
def test_what_else_has_the_name_of_a_recording(tmp_path, data, told):
    with pytest.raises(BadAudioError, match=told):
        read_audio(saved(tmp_path, data))


def test_random_headers_do_no_harm(tmp_path):
    """Whatever the bytes, a recording is read or refused."""
    draw = random.Random(0)
    whole = {kind: bytes(written(kind, samples=SOUND[:500])) for kind in KINDS}
    for number in range(600):
        data = bytearray(whole[draw.choice(list(whole))])
        for _ in range(draw.randint(1, 6)):
            place = draw.randrange(min(len(data), 120))
            data[place] = draw.choice([0, 0xFF, 0x7F, 0x80, draw.randrange(256)])
        path = saved(tmp_path, data[: draw.choice([len(data), draw.randrange(len(data))])], f"{number}.wav")
        with contextlib.suppress(BadAudioError):
            read_audio(path)


def machine(root, change):
    for folder, number in (("normal", 6), ("test/normal", 3), ("test/anomaly", 3)):
        (root / folder).mkdir(parents=True)
        for index in range(number):
            samples = np.random.default_rng(index).normal(size=4_000) * 0.1
            data = written("RIFF", samples=samples)
            (root / folder / f"{index}.wav").write_bytes(change(data))
    return root


def test_doubtful_headers_are_told_once_for_a_machine(tmp_path, caplog):
    root = machine(tmp_path / "pump", lambda data: with_length(data, 0x80000000, 0x80000024))
    assert len(find_clips(root)) == 12
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told.startswith("pump: 12 recordings have headers that cannot be true, such as ")
    (finding,) = [finding for finding in check(root).findings if "cannot be true" in finding.message]
    assert len(finding.files) == 12


@pytest.mark.parametrize("suffix", ["wave", "BWF", "w64", "aiff", "mp3", "rf64", "au"])
def test_other_names_of_recordings_beside_those_that_are_read(tmp_path, caplog, suffix):
    root = machine(tmp_path / "pump", bytes)
    (root / "test/normal/0.wav").rename(root / f"test/normal/0.{suffix}")
    assert len(find_clips(root)) == 11
    assert f"1 recordings are not used, since .{suffix.lower()} (1) cannot be read" in caplog.text


def test_less_than_a_frame_is_refused(tmp_path):
    for count, rate in ((1, RATE), (399, RATE), (1_000, 44_100)):
        path = tmp_path / "a.wav"
        soundfile.write(path, SOUND[:count], rate)
        with pytest.raises(BadAudioError, match=r"a\.wav: .* less than one frame \(25 ms\)"):
            measure(path)
    refuse_too_short(path, SOUND[:400], RATE)


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_samples_in_units_of_integers_come_with_the_likely_cause(tmp_path, bits):
    path = tmp_path / "a.wav"
    for gain in (0.9, 0.3):
        soundfile.write(path, gain * 2 ** (bits - 1) * SOUND / 0.3, RATE, subtype="FLOAT")
        with pytest.raises(BadAudioError, match=f"in units of {bits}-bit integers: divide them by {2 ** (bits - 1)} "):
            measure(path)
    soundfile.write(path, 1e25 * SOUND, RATE, subtype="FLOAT")
    with pytest.raises(BadAudioError, match="likely damaged"):
        measure(path)


def test_levels_far_from_one_another_are_told(tmp_path):
    assert mixed_levels([]) == mixed_levels([-20.0]) == mixed_levels([-60.0, -20.0, -np.inf, -160.0]) == ""
    assert "levels differ by 50 dB, from -70 to -20 dB of full scale (1 of 3" in mixed_levels([-20.0, -21.0, -70.0])
    root = machine(tmp_path / "pump", bytes)
    quiet = root / "test/normal/1.wav"
    samples, _ = soundfile.read(quiet)
    soundfile.write(quiet, samples / 2**15, RATE, subtype="FLOAT")
    assert [f.level for f in check(root).findings if "levels differ by 9" in f.message] == ["warning"]
