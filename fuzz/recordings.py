"""Mutated WAV and FLAC files: each is read, or refused by name."""

from __future__ import annotations

import io
import random
import struct
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from asd_lightning.data.audio import BadAudioError, read_header, read_recording, refuse_too_short, refuse_unfit_samples

RATE = 16_000
_SAMPLES = 600
_KINDS = [
    *(("WAV", subtype, "LITTLE") for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW")),
    *(("WAV", subtype, "LITTLE") for subtype in ("ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610")),
    *(("WAV", subtype, "BIG") for subtype in ("PCM_16", "PCM_24")),
    *((container, subtype, "FILE") for container in ("WAVEX", "RF64") for subtype in ("PCM_16", "FLOAT")),
    *(("FLAC", subtype, "FILE") for subtype in ("PCM_16", "PCM_24")),
    *((container, None, "FILE") for container in ("MP3", "W64", "AIFF", "AU", "CAF")),
]
_ONE_CHANNEL = ("GSM610", "IMA_ADPCM", "MS_ADPCM")
# What counts, lengths and rates are near when they go wrong.
_EDGES = (0, 1, 2, 3, 4, 7, 8, 16, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_HEADER = 140


def make(seed: int) -> bytes:
    """A mutated file."""
    draw = random.Random(seed)
    data = bytearray(_whole(draw))
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3, 6, 12))):
        draw.choice(_MUTATIONS)(data, draw)
    return bytes(data)


def check(data: bytes) -> None:
    """Read ``data`` as a recording.

    Raises:
        Exception: anything else than the refusal of a recording, or a refusal that does not name it.
    """
    with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
        path = Path(folder) / "clip.wav"
        path.write_bytes(data)
        for read in (read_header, _read, _read_a_piece):
            try:
                read(path)
            except BadAudioError as error:
                if not str(error).startswith(str(path)):
                    raise AssertionError(f"a refusal without the file's name: {error}") from error


# Not a disk, where there is something faster.
_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


def _read(path: Path) -> None:
    samples, rate, _ = read_recording(path)
    refuse_too_short(path, samples, rate)
    refuse_unfit_samples(path, samples)


def _read_a_piece(path: Path) -> None:
    samples, rate, _ = read_recording(path, start=0.01, seconds=0.01)
    assert len(samples) <= max(round(0.01 * rate), 1)


def _whole(draw: random.Random) -> bytes:
    container, subtype, endian = draw.choice(_KINDS)
    channels = 1 if subtype in _ONE_CHANNEL or container == "MP3" else draw.choice((1, 1, 2, 3))
    noise = np.random.default_rng(draw.randrange(1 << 30)).normal(size=(_SAMPLES, channels))
    stream = io.BytesIO()
    soundfile.write(stream, 0.2 * noise, RATE, format=container, subtype=subtype, endian=endian)
    data = _without_time(stream.getvalue())
    if draw.random() < 0.1:
        size = draw.randrange(200)
        data = b"ID3\x03\0\0" + bytes([0, 0, size >> 7, size & 0x7F]) + bytes(size) + data
    return data + (b"LIST" + struct.pack("<I", 20) + bytes(20) if draw.random() < 0.1 else b"")


def _without_time(data: bytes) -> bytes:
    """Floating-point files tell when they were written, which would make an input another one every second."""
    place = data.find(b"PEAK")
    return data if place < 0 else data[: place + 12] + bytes(4) + data[place + 16 :]


def _place(data: bytearray, draw: random.Random) -> int:
    """Mostly in the header, where a byte says something."""
    return draw.randrange(max(min(len(data), _HEADER) if draw.random() < 0.8 else len(data), 1))


def _flip(data: bytearray, draw: random.Random) -> None:
    if data:
        data[_place(data, draw)] ^= 1 << draw.randrange(8)


def _set_number(data: bytearray, draw: random.Random) -> None:
    size = draw.choice((1, 2, 4, 8))
    value = draw.choice(_EDGES) if draw.random() < 0.7 else draw.randrange(1 << 32)
    begin = _place(data, draw) & ~1
    data[begin : begin + size] = (value % (1 << 8 * size)).to_bytes(size, draw.choice(("little", "big")))


def _cut(data: bytearray, draw: random.Random) -> None:
    del data[_place(data, draw) :]


def _remove(data: bytearray, draw: random.Random) -> None:
    begin = _place(data, draw)
    del data[begin : begin + draw.choice((1, 2, 4, 8, 100))]


def _insert(data: bytearray, draw: random.Random) -> None:
    begin = _place(data, draw)
    data[begin:begin] = draw.randbytes(draw.choice((1, 2, 4, 8, 100)))


def _repeat(data: bytearray, draw: random.Random) -> None:
    begin = _place(data, draw)
    data[begin:begin] = data[begin : begin + draw.choice((8, 24, 44, 200))]


def _splice(data: bytearray, draw: random.Random) -> None:
    data[_place(data, draw) :] = _whole(draw)[draw.randrange(_HEADER) :]


_MUTATIONS = (_flip, _flip, _set_number, _set_number, _set_number, _cut, _remove, _insert, _repeat, _splice)
