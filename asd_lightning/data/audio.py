"""Decoding one recording into samples, and refusing what cannot be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float32
from numpy.typing import NDArray

from asd_lightning.data.container import NOT_AUDIO, check_container, source
from asd_lightning.data.container import BadAudioError as BadAudioError
from asd_lightning.data.resampling import RateError, resample
from asd_lightning.features.two_microphones import NothingLeftError, cancel_per_clip, subtract_magnitudes

_OneChannel = Literal[0, 1, "mean"]
_TwoMicrophones = Literal["reduced_per_clip", "subtracted"]
Channel = _OneChannel | _TwoMicrophones
# From the waveforms near the machine and far from it to one.
_TWO_MICROPHONES: dict[_TwoMicrophones, Callable[..., Float32[np.ndarray, " samples"]]] = {
    "reduced_per_clip": cancel_per_clip,
    "subtracted": subtract_magnitudes,
}
# int16 or float32, by the source
Samples = NDArray[Any]
_Dtype = Literal["int16", "float32"]

# Longer than any recording (two thousand years at 16 kHz): libsndfile reports such a number where a FLAC header states
# no length.
_MOST_FRAMES = 1 << 50

# Values read in one go; more than in any but very long recordings.
_MOST_AT_ONCE = 1 << 25

# Floating-point recordings may overshoot full scale by some dB, not by far.
HIGHEST_PEAK = 8.0
_OVERSHOOT = 1.5

# Seconds that one column of a spectrum looks at.
_FRAME = 0.025


class Recording(NamedTuple):
    """Samples, shape (samples, channels), int16 or float32 in [-1, 1]; rate in Hz; format as libsndfile names it."""

    samples: Samples
    sample_rate: int
    subtype: str


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How recordings become samples.

    Attributes:
        sample_rate: in Hz; other rates are resampled, see `asd_lightning.data.resampling`.
        channel: which channel of several, counted from 0; their mean; or both of two microphones to one, of this very
            recording (``reduced_per_clip``, ``subtracted``: `asd_lightning.features.two_microphones`).  In the 2026
            release channel 0 is the near microphone and channel 1 the far one.
    """

    sample_rate: int = 16_000
    channel: Channel = 0


def decode(path: Path, options: DecodeOptions, start: float = 0.0, seconds: float | None = None) -> Samples:
    """Samples of one recording, shape (samples,).

    8 and 16-bit sources that are neither resampled nor mixed become int16, full scale 2^15; all else becomes float32 in
    [-1, 1] as the file has it.  WAV (8, 16, 24, 32-bit, float, RF64) and FLAC are read, any rate, any channel count.

    Args:
        path: the recording.
        options: rate and channel.
        start: first second to read.
        seconds: how much to read; ``None`` reads to the end.

    Raises:
        BadAudioError: empty, truncated, not audio, unreadable, without samples, NaN, infinite or far beyond full scale,
            no such channel, a rate that is not resampled from; of two microphones: another number of channels, too
            short, or nothing left of the near one.
    """
    if options.channel == "reduced_per_clip" or options.channel == "subtracted":
        return _of_two_microphones(path, decode_channels(path, options.sample_rate, start, seconds), options.channel)
    samples, rate, _ = read_recording(path, start, seconds)
    mono = _select_channel(path, samples, options.channel)
    # In a mean, what is far beyond full scale in two channels may cancel.
    refuse_unfit_samples(path, samples if options.channel == "mean" else mono)
    return mono if rate == options.sample_rate else _resample(path, mono, rate, options.sample_rate)


def decode_channels(
    path: Path, sample_rate: int, start: float = 0.0, seconds: float | None = None
) -> Float32[np.ndarray, "channels samples"]:
    """All channels of one recording in [-1, 1], else like `decode`."""
    samples, rate, _ = read_recording(path, start, seconds)
    refuse_unfit_samples(path, samples)
    channels = to_float(np.ascontiguousarray(samples.T))
    return channels if rate == sample_rate else _resample(path, channels, rate, sample_rate)


def _of_two_microphones(
    path: Path, channels: Float32[np.ndarray, "channels samples"], how: _TwoMicrophones
) -> Float32[np.ndarray, " samples"]:
    if len(channels) != 2:
        raise BadAudioError(
            f"{path}: has {len(channels)} channel(s), and data.channel={how} needs two, the near and the far "
            "microphone; set data.channel to 0"
        )
    try:
        return _TWO_MICROPHONES[how](*channels)
    except NothingLeftError as error:
        raise BadAudioError(f"{path}: {error}; it cannot be judged, unless data.channel is 0") from error
    except ValueError as error:
        raise BadAudioError(f"{path}: {error}") from error


def read_recording(path: Path, start: float = 0.0, seconds: float | None = None) -> Recording:
    """A recording as the file has it; see `decode` for what is read and raised (but unfit samples are passed on)."""
    repair = check_container(path)
    try:
        with source(path, repair) as stream, soundfile.SoundFile(stream) as file:
            _refuse_unknown_length(path, file.frames)
            rate, subtype = file.samplerate, file.subtype
            file.seek(min(round(start * rate), file.frames))
            remaining = file.frames - file.tell()
            frames = remaining if seconds is None else min(round(seconds * rate), remaining)
            dtype: _Dtype = "int16" if subtype in {"PCM_16", "PCM_S8", "PCM_U8"} else "float32"
            samples = _read(file, frames, dtype)
    except (soundfile.LibsndfileError, OSError) as error:
        raise BadAudioError(NOT_AUDIO.format(path=path, error=error)) from error
    except MemoryError as error:
        raise BadAudioError(f"{path}: too long to be decoded at once; cut it into shorter recordings") from error
    if not frames:
        raise BadAudioError(f"{path}: holds no samples; record it again or remove it")
    if len(samples) < frames:
        raise BadAudioError(
            f"{path}: truncated, {frames:,} samples are promised and {len(samples):,} are there; copy it again or "
            "remove it"
        )
    return Recording(samples, rate, subtype)


def _read(file: soundfile.SoundFile, frames: int, dtype: _Dtype) -> Samples:
    """``frames`` samples of each channel, or as many as there are: a header may promise more than memory holds."""
    parts = []
    while frames > 0:
        part: Samples = file.read(min(frames, max(_MOST_AT_ONCE // file.channels, 1)), dtype=dtype, always_2d=True)
        parts.append(part)
        frames = frames - len(part) if len(part) else 0
    if not parts:
        return np.empty((0, file.channels), dtype)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _refuse_unknown_length(path: Path, frames: int) -> None:
    if frames > _MOST_FRAMES:
        raise BadAudioError(
            f"{path}: its header does not tell its length; write it again, as with: flac --force {path}"
        )


def refuse_unfit_samples(path: Path, samples: Samples) -> None:
    """Refuse floating-point samples that no recording has; integers cannot be out of range.

    Raises:
        BadAudioError: NaN, infinite, or far beyond full scale.
    """
    if samples.dtype == np.int16:
        return
    peak = float(np.abs(samples).max())
    if not np.isfinite(peak):
        raise BadAudioError(f"{path}: holds NaN or infinite samples; export it again or remove it")
    if peak > HIGHEST_PEAK:
        raise BadAudioError(f"{path}: samples reach {peak:,.6g}, and full scale is 1; {_likely_cause(peak)}")


def _likely_cause(peak: float) -> str:
    for bits in (8, 16, 24, 32):
        scale = 2 ** (bits - 1)
        if peak <= scale * _OVERSHOOT:
            return (
                f"they are likely in units of {bits}-bit integers: divide them by {scale} and export it again, or "
                "remove it"
            )
    return "no integers reach so far, so it is likely damaged: export it again or remove it"


def refuse_too_short(path: Path, samples: Samples, rate: int) -> None:
    """Refuse a recording that is too short: repeated to a clip's length it would be a tone that nobody recorded.

    Raises:
        BadAudioError: shorter than one frame of a spectrum.
    """
    if len(samples) < _FRAME * rate:
        raise BadAudioError(
            f"{path}: {len(samples)} samples are {1000 * len(samples) / rate:.3g} ms, less than one frame "
            f"({1000 * _FRAME:g} ms); record it again or remove it"
        )


def to_float(samples: Samples) -> NDArray[np.float32]:
    """Samples as float32 in [-1, 1]; int16 is divided by 2^15."""
    waveform: NDArray[np.float32] = samples.astype(np.float32, copy=False)
    if samples.dtype == np.int16:
        waveform *= np.float32(2**-15)
    return waveform


def read_audio(path: Path | str, options: DecodeOptions | None = None) -> NDArray[np.float32]:
    """One recording as a float32 waveform, shape (samples,); see `decode` for what is raised."""
    return to_float(decode(Path(path), options or DecodeOptions()))


class Header(NamedTuple):
    """Length of a recording in seconds, its rate in Hz, and how many channels it has."""

    seconds: float
    sample_rate: int
    channels: int = 1


def read_header(path: Path) -> Header:
    """What a recording's header says.

    Raises:
        BadAudioError: empty, truncated or not audio.
    """
    repair = check_container(path)
    try:
        with source(path, repair) as stream, soundfile.SoundFile(stream) as file:
            frames, rate, channels = file.frames, file.samplerate, file.channels
    except (soundfile.LibsndfileError, OSError) as error:
        raise BadAudioError(NOT_AUDIO.format(path=path, error=error)) from error
    _refuse_unknown_length(path, frames)
    return Header(frames / rate, rate, channels)


def is_silent(samples: Samples) -> bool:
    """Whether every sample has the same value: a dead channel, whatever its offset."""
    return bool(samples.min() == samples.max())


def _select_channel(path: Path, samples: Samples, channel: _OneChannel) -> Samples:
    count = samples.shape[1]
    if channel == "mean" and count > 1:
        return _mean(samples)
    channel = 0 if channel == "mean" else channel
    if not 0 <= channel < count:
        raise BadAudioError(f"{path}: has {count} channel(s), none numbered {channel}; set data.channel to 0 or mean")
    mono: Samples = np.ascontiguousarray(samples[:, channel])
    return mono


def _mean(samples: Samples) -> NDArray[np.float32]:
    scale = 2**-15 if samples.dtype == np.int16 else 1.0
    mean: NDArray[np.float64] = samples.mean(axis=1, dtype=np.float64) * scale
    return mean.astype(np.float32)


def _resample(path: Path, samples: Samples, rate: int, new_rate: int) -> NDArray[np.float32]:
    try:
        return resample(to_float(samples), rate, new_rate)
    except RateError as error:
        raise BadAudioError(f"{path}: {error}") from error
