"""Decoding every format that is promised, and refusing every file that cannot be trusted."""

import os
import struct
import wave

import numpy as np
import pytest
import scipy.signal
import soundfile

from asd_lightning.data.audio import BadAudioError, DecodeOptions, decode, decode_channels, read_audio, read_header
from asd_lightning.data.measurement import measure

RATE = 16_000


@pytest.fixture
def waveform():
    return np.random.default_rng(0).uniform(-0.9, 0.9, size=4_000)


@pytest.mark.parametrize(
    ("suffix", "subtype", "step"),
    [
        ("wav", "PCM_16", 2**-15),
        ("wav", "PCM_24", 2**-23),
        ("wav", "PCM_32", 2**-31),
        ("wav", "FLOAT", 1e-7),
        ("flac", "PCM_16", 2**-15),
        ("flac", "PCM_24", 2**-23),
    ],
)
def test_formats(tmp_path, waveform, suffix, subtype, step):
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, waveform, RATE, subtype=subtype)
    decoded = read_audio(path)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, waveform, atol=max(step, 6e-8))
    assert decode(path, DecodeOptions()).dtype == (np.int16 if subtype == "PCM_16" else np.float32)


def test_sixteen_bits_are_exact(tmp_path):
    samples = np.array([-32768, -1, 0, 1, 32767], dtype=np.int16)
    soundfile.write(tmp_path / "clip.wav", samples, RATE, subtype="PCM_16")
    np.testing.assert_array_equal(decode(tmp_path / "clip.wav", DecodeOptions()), samples)
    np.testing.assert_array_equal(read_audio(tmp_path / "clip.wav"), samples / 32768)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(tmp_path, rate):
    """Against scipy's polyphase resampler, on a tone well inside the band and away from the edges."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "clip.wav", tone, rate, subtype="FLOAT")
    decoded = read_audio(tmp_path / "clip.wav")
    expected = scipy.signal.resample_poly(tone, RATE, rate, window=("kaiser", 12.0))
    assert len(decoded) == RATE
    np.testing.assert_allclose(decoded[500:-500], expected[500:-500], atol=2e-3)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_channels(tmp_path, waveform, subtype):
    stereo = np.stack([waveform, waveform[::-1]], axis=1)
    soundfile.write(tmp_path / "clip.wav", stereo, RATE, subtype=subtype)
    for channel, expected in [(0, stereo[:, 0]), (1, stereo[:, 1]), ("mean", stereo.mean(1))]:
        np.testing.assert_allclose(
            read_audio(tmp_path / "clip.wav", DecodeOptions(channel=channel)), expected, atol=2**-15
        )
    soundfile.write(tmp_path / "mono.wav", waveform, RATE)
    np.testing.assert_allclose(read_audio(tmp_path / "mono.wav", DecodeOptions(channel="mean")), waveform, atol=2**-15)
    with pytest.raises(BadAudioError, match=r"mono\.wav: has 1 channel\(s\), none numbered 1; set data.channel"):
        read_audio(tmp_path / "mono.wav", DecodeOptions(channel=1))


def test_a_piece_of_a_recording(tmp_path, waveform):
    path = tmp_path / "clip.wav"
    soundfile.write(path, waveform, RATE, subtype="FLOAT")
    piece = decode(path, DecodeOptions(), start=0.05, seconds=0.1)
    np.testing.assert_allclose(piece, waveform[800:2400], atol=1e-7)
    assert read_header(path).seconds == pytest.approx(0.25)


def a_wav(tmp_path, **how):
    path = tmp_path / "bad.wav"
    soundfile.write(path, np.full(1_000, 0.25), RATE, **how)
    return path


def truncated(tmp_path):
    path = a_wav(tmp_path)
    os.truncate(path, 1_000)
    return path


def lying(tmp_path):
    path = a_wav(tmp_path)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", 10_000_000)
    path.write_bytes(data)
    return path


def empty(tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"")
    return tmp_path / "bad.wav"


def text(tmp_path):
    (tmp_path / "bad.wav").write_text("this is not a sound\n" * 50)
    return tmp_path / "bad.wav"


def without_samples(tmp_path):
    soundfile.write(tmp_path / "bad.wav", np.empty(0), RATE)
    return tmp_path / "bad.wav"


def with_values(value):
    def make(tmp_path):
        samples = np.zeros(1_000)
        samples[500] = value
        soundfile.write(tmp_path / "bad.wav", samples, RATE, subtype="FLOAT")
        return tmp_path / "bad.wav"

    return make


def broken_link(tmp_path):
    (tmp_path / "bad.wav").symlink_to(tmp_path / "gone.wav")
    return tmp_path / "bad.wav"


def a_folder(tmp_path):
    (tmp_path / "bad.wav").mkdir()
    return tmp_path / "bad.wav"


def a_pipe(tmp_path):
    os.mkfifo(tmp_path / "bad.wav")
    return tmp_path / "bad.wav"


def half_a_flac(tmp_path):
    path = tmp_path / "bad.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 50_000), RATE)
    os.truncate(path, path.stat().st_size // 2)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (truncated, "truncated, its header promises 2,000 bytes of sound and 956 are there; copy it again"),
        (lying, "truncated, its header promises 10,000,000 bytes"),
        (empty, "the file is empty; copy it again or remove it"),
        (text, "not readable as audio .*; convert it to WAV or FLAC"),
        (without_samples, "holds no samples"),
        (with_values(np.nan), "NaN or infinite samples; export it again"),
        (with_values(np.inf), "NaN or infinite samples"),
        (broken_link, "a broken link; mend or remove it"),
        (a_folder, "a folder that is not listed"),
        (a_pipe, "is no file but a pipe"),
        (half_a_flac, "not readable|truncated"),
    ],
)
def test_bad_files_are_named_with_the_remedy(tmp_path, make, message):
    path = make(tmp_path)
    with pytest.raises(BadAudioError, match=message) as caught:
        decode(path, DecodeOptions())
    assert str(caught.value).startswith(str(path))


def test_no_permission(tmp_path, monkeypatch):
    path = a_wav(tmp_path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser reads everything
        monkeypatch.setattr(
            "pathlib.Path.open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
        )
    with pytest.raises(BadAudioError, match="no permission to read; change it"):
        decode(path, DecodeOptions())


def test_a_streamed_header_of_unknown_length_is_read_to_the_end(tmp_path):
    path = a_wav(tmp_path)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = b"\xff" * 4
    path.write_bytes(data)
    assert len(decode(path, DecodeOptions())) == 1_000


def test_eight_bits(tmp_path):
    """Unsigned in the file, 128 is zero; written by the standard library."""
    values = np.array([0, 64, 127, 128, 129, 255], dtype=np.uint8)
    with wave.open(str(tmp_path / "clip.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(RATE)
        file.writeframes(values.tobytes())
    np.testing.assert_array_equal(read_audio(tmp_path / "clip.wav"), (values.astype(float) - 128) / 128)


@pytest.mark.parametrize(
    ("container", "endian"), [("WAVEX", "FILE"), ("RF64", "FILE"), ("WAV", "BIG"), ("WAV", "LITTLE")]
)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_kinds_of_wav_whole_and_truncated(tmp_path, waveform, container, endian, subtype):
    path = tmp_path / "clip.wav"
    soundfile.write(path, waveform, RATE, format=container, endian=endian, subtype=subtype)
    assert path.read_bytes()[:4] == {"RF64": b"RF64"}.get(container, b"RIFX" if endian == "BIG" else b"RIFF")
    np.testing.assert_allclose(read_audio(path), waveform, atol=2**-15)
    os.truncate(path, path.stat().st_size - 1_000)
    with pytest.raises(BadAudioError, match="truncated, its header promises"):
        read_audio(path)


def a_flac(path, seconds=1.0):
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, round(RATE * seconds)), RATE)
    return path


def test_a_flac_that_does_not_tell_its_length_is_refused(tmp_path):
    """As written by programs that stream: the total in STREAMINFO, 36 bits from byte 21 of the file on, is zero."""
    path = a_flac(tmp_path / "clip.flac")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    for read in (read_audio, read_header):
        with pytest.raises(BadAudioError, match=r"does not tell its length; write it again, as with: flac"):
            read(path)


def test_names_that_are_not_utf_8(tmp_path):
    path = a_flac(tmp_path / "plain.flac")
    odd = path.rename(tmp_path / os.fsdecode(b"P\xfcmpe.flac"))
    assert len(read_audio(odd)) == RATE
    assert read_header(odd).seconds == 1.0


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    for name in ("folder.wav", "loop.wav", "plain.wav/below.wav"):
        (tmp_path / "plain.wav").write_bytes(b"RIFF")
        with pytest.raises(BadAudioError, match=name):
            read_audio(tmp_path / name)


def test_a_recording_that_vanishes_while_it_is_read(tmp_path, monkeypatch):
    path = a_wav(tmp_path)
    monkeypatch.setattr("asd_lightning.data.audio.check_container", lambda path: path.unlink())
    with pytest.raises(BadAudioError, match=r"bad\.wav: not readable as audio"):
        read_audio(path)


def test_all_channels(tmp_path, waveform):
    three = np.stack([waveform, waveform[::-1], 0.5 * waveform], axis=1)
    soundfile.write(tmp_path / "clip.wav", three, RATE, subtype="PCM_16")
    channels = decode_channels(tmp_path / "clip.wav", RATE, start=0.05, seconds=0.1)
    np.testing.assert_allclose(channels, three[800:2400].T, atol=2**-15)
    halved = decode_channels(tmp_path / "clip.wav", RATE // 2)
    assert halved.shape == (3, 2_000)
    for channel in (0, 1):
        options = DecodeOptions(RATE // 2, channel)
        np.testing.assert_allclose(halved[channel], read_audio(tmp_path / "clip.wav", options), atol=1e-6)


@pytest.mark.parametrize("scale", [1e25, 2.0**31, 2.0**23, 2.0**15, 100.0])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_samples_far_beyond_full_scale_are_refused_by_name(tmp_path, scale, subtype):
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.5 * scale * np.sin(np.arange(1600)), 16_000, subtype=subtype)
    with pytest.raises(BadAudioError, match=r"a\.wav: samples reach .*full scale is 1"):
        decode(path, DecodeOptions())
    with pytest.raises(BadAudioError, match=r"a\.wav: samples reach .*full scale is 1"):
        measure(path)


def test_channels_far_beyond_full_scale_do_not_cancel(tmp_path):
    path = tmp_path / "a.wav"
    wave_of_one = 1e6 * np.sin(np.arange(1600))
    soundfile.write(path, np.stack([wave_of_one, -wave_of_one], axis=1), 16_000, subtype="FLOAT")
    with pytest.raises(BadAudioError, match="full scale is 1"):
        decode(path, DecodeOptions(channel="mean"))


def test_some_decibels_over_full_scale_are_kept(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, 3.9 * np.sin(np.arange(1600)), 16_000, subtype="FLOAT")
    assert decode(path, DecodeOptions()).max() > 3
