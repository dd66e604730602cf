"""Pictures and sound of single clips, as data that a page can carry with it."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float
from matplotlib import colormaps
from PIL import Image
from scipy.signal import stft

from asd_lightning.data.audio import DecodeOptions, decode, to_float
from asd_lightning.data.layout import Clip

SAMPLE_RATE = 16_000
AUDIO_SECONDS = 5.0
"""Of each clip, from its middle."""
_WINDOW = 1024
_RANGE_DB = 70.0
_PICTURE = (110, 240)
_PEAK = 0.7
_LARGEST_GAIN = 30.0


class ClipMedia(NamedTuple):
    """A clip's spectrogram and sound as data URIs; ``seconds`` of the whole clip, ``heard`` of the sound."""

    picture: str
    audio: str
    seconds: float
    heard: float


def clip_media(clip: Clip, channel: int | str = 0) -> ClipMedia:
    """Spectrogram of the whole clip, and its middle ``AUDIO_SECONDS`` as FLAC, brought to one peak level.

    Raises:
        BadAudioError: the recording is not there any more, or cannot be read.
    """
    options = DecodeOptions(SAMPLE_RATE, "mean" if channel == "mean" else 1 if channel == 1 else 0)
    waveform = to_float(decode(Path(clip.path), options, clip.start, clip.seconds))
    heard = _middle(waveform, round(AUDIO_SECONDS * SAMPLE_RATE))
    seconds = len(waveform) / SAMPLE_RATE
    return ClipMedia(_picture(waveform), flac_uri(heard), seconds, len(heard) / SAMPLE_RATE)


def _middle(waveform: Float[np.ndarray, " samples"], length: int) -> Float[np.ndarray, " part"]:
    start = max(len(waveform) - length, 0) // 2
    return waveform[start : start + length]


def gain_for(*waveforms: Float[np.ndarray, " _"]) -> float:
    """What brings the loudest peak of some waveforms to one level; each then is as loud beside the others as it was."""
    peak = max(float(np.abs(waveform).max()) for waveform in waveforms)
    return min(_PEAK / peak, _LARGEST_GAIN) if peak else 1.0


def flac_uri(waveform: Float[np.ndarray, " samples"], sample_rate: int = SAMPLE_RATE, gain: float | None = None) -> str:
    """A FLAC file of 16 bits as a data URI, by default brought to one peak level."""
    buffer = io.BytesIO()
    louder = np.clip((gain_for(waveform) if gain is None else gain) * waveform, -1, 1)
    soundfile.write(buffer, louder, sample_rate, format="FLAC", subtype="PCM_16")
    return _data_uri("audio/flac", buffer.getvalue())


def picture_uri(decibels: Float[np.ndarray, "rows columns"], low: float, high: float) -> str:
    """Levels in dB as a PNG's data URI, the last row at the top; ``low`` and below is black."""
    level = np.clip((decibels[::-1] - low) / (high - low), 0, 1)
    # A palette instead of colours for each pixel: a third of the bytes.
    picture = Image.fromarray(np.minimum((level * 256).astype(int), 255).astype(np.uint8))
    picture.putpalette(colormaps["magma"](np.arange(256), bytes=True)[:, :3].tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return _data_uri("image/png", buffer.getvalue())


def _picture(waveform: Float[np.ndarray, " samples"]) -> str:
    """Power in dB, 0 to 8 kHz upwards, each picture from its own maximum down."""
    _, _, spectrum = stft(waveform, SAMPLE_RATE, nperseg=min(_WINDOW, len(waveform)), nfft=_WINDOW, noverlap=None)
    power = np.abs(spectrum[:-1]) ** 2
    decibels = 10 * np.log10(np.maximum(_shrunk(power), 1e-16))
    top = float(decibels.max())
    return picture_uri(decibels, top - _RANGE_DB, top)


def _shrunk(power: Float[np.ndarray, "bins frames"]) -> Float[np.ndarray, "rows columns"]:
    """Means over blocks, so that the picture has at most the size it is shown in."""
    for axis, size in enumerate(_PICTURE):
        count = power.shape[axis]
        starts = np.unique(np.linspace(0, count, min(size, count), endpoint=False).astype(int))
        lengths = np.diff(starts, append=count)
        sums = np.add.reduceat(power, starts, axis=axis)
        power = sums / (lengths[:, None] if axis == 0 else lengths)
    return power


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
