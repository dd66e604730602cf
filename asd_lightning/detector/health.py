"""Whether a sensor can be believed: what is wrong with a waveform that says nothing about the machine.

A broken sensor must not be heard as normal, nor a fault of the machine as a broken sensor.  So each check looks for
what machines do not do, and compares with the enrolled normal clips: what the sensor showed then is no defect.  A loud
clip is none, since faults are loud; an enrolled clip's sound at another level is.

The limits below are fixed.  Not found: a loop that was resampled after it arose, a gain changed by less than
``GAIN_DB``, a gain turned up where the spectrum is not quite an enrolled one (it is judged as the loud sound that it
is), flat tops that were filtered afterwards, and a clock that runs fast or slow.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from asd_lightning.errors import UserError

SILENCE_DB = -90.0
"""Level (dB of full scale) below which there is nothing but the converter's own noise."""
QUIET_DB = 20.0
"""A clip this much below the quietest enrolled one is not the machine's."""
GAIN_DB = 20.0
"""The spectrum of an enrolled clip, this much louder or quieter, is a changed gain."""
CLIPPED_SHARE = 0.02
"""Share of samples that have the largest or the least value; loud faults clip a few."""
OFFSET, OFFSET_SHARE, SMALLEST_OFFSET = 0.05, 0.1, 0.001
"""Mean of the samples: large in itself, or in its share of the power."""
DROPOUT_SECONDS = 0.005
"""Sound does not stand still for so long."""
EMPTY_DB = 20.0
"""Power above a frequency, this much below the least enrolled."""
BEYOND_ENROLLED = 4.0
"""Flat tops, offsets and pauses count from this many times the largest enrolled."""

BANDS = 32
"""Of equal width, up to half the sampling rate."""
_FEWEST_EMPTY = 4
_FRAME_SECONDS = 0.032
_SMALLEST_FRAME = 4 * BANDS
_FEWEST_VALUES, _FEW_RUNS = 8, 4096
_PATTERN = 64
_FEWEST_CHANGES = 16
_EQUAL = 1e-6
_MOST_SPECTRA = 500
# Spectra as far apart as neighbors among the enrolled are alike.  Faults may be loud, and are not quiet: less is asked
# of what is quieter.
_ALIKE_LOUDER, _ALIKE_QUIETER = 1.5, 4.5
_FLOOR = 1e-20


class Features(NamedTuple):
    """What is measured of a clip.

    Attributes:
        level: in dB of full scale, without the mean.
        offset: mean of the samples.
        clipped: share of samples that have the largest or the least value.
        pause: longest time without change in s, at other values.
        bands: power of each band in dB of full scale.
        repeats: the end of the clip repeats what was before it, sample by sample.
    """

    level: float
    offset: float
    clipped: float
    pause: float
    bands: Float[np.ndarray, " bands"]
    repeats: float


@dataclass(frozen=True)
class SensorReference:
    """What the sensor gives of normal sound; clips far outside of it cannot be judged.

    Attributes:
        sample_rate: in Hz.
        quietest: least level in dB of full scale.
        offset: largest absolute mean of the samples.
        clipped: largest share of samples that have the clip's largest or least value.
        pause: longest time without change in s.
        repeats: whether a clip repeats itself exactly.
        least_above: least power from each band upwards, in dB.
        spectra: power of the bands in dB, of up to 500 clips.
        far: largest distance in dB of an enrolled spectrum to the nearest other, whatever their levels.

    >>> noise = np.random.default_rng(0).normal(0, 0.01, (3, 16000))
    >>> reference = SensorReference.fit(noise[:2], 16000)
    >>> reference.reasons(noise[2])
    ()
    >>> reference.reasons(0.0 * noise[2])
    ('silent: all samples are the same, so the sensor is unplugged or muted',)
    >>> reference.reasons(noise[2] + 0.2)
    ('a constant offset of 0.20 of full scale, enrolled clips had at most 0.00',)
    """

    sample_rate: int
    quietest: float
    offset: float
    clipped: float
    pause: float
    repeats: bool
    least_above: tuple[float, ...]
    spectra: tuple[tuple[float, ...], ...]
    far: float

    @classmethod
    def fit(cls, waveforms: Iterable[Float[np.ndarray, " _"]], sample_rate: int) -> SensorReference:
        """From raw waveforms of the normal training clips, in [-1, 1], neither repeated nor normalised in level.

        Args:
            waveforms: taken one at a time.
            sample_rate: in Hz.

        Raises:
            UserError: no waveform, or none that can be measured: NaN or infinite samples, silence or too few samples.
        """
        return cls.of_measured([measured(waveform, sample_rate) for waveform in waveforms], sample_rate)

    @classmethod
    def of_measured(cls, clips: Sequence[Features | None], sample_rate: int) -> SensorReference:
        """From what `measured` has found in the clips, each of them at ``sample_rate``; see `fit`."""
        usable = [clip for clip in clips if clip is not None]
        if not usable:
            raise UserError(
                f"no normal clip has {least_seconds(sample_rate):.2g} s of sound in it: check the sensor before its "
                "sound is enrolled"
            )
        chosen = np.unique(np.linspace(0, len(usable) - 1, min(len(usable), _MOST_SPECTRA)).astype(int))
        spectra = np.stack([usable[place].bands for place in chosen])
        return cls(
            sample_rate=sample_rate,
            quietest=min(clip.level for clip in usable),
            offset=max(abs(clip.offset) for clip in usable),
            clipped=max(clip.clipped for clip in usable),
            pause=max(clip.pause for clip in usable),
            repeats=any(clip.repeats > 0 for clip in usable),
            least_above=tuple(np.min([_above(clip.bands) for clip in usable], axis=0).tolist()),
            spectra=tuple(map(tuple, spectra.tolist())),
            far=_farthest_neighbor(spectra),
        )

    def reasons(self, waveform: Float[np.ndarray, " samples"]) -> tuple[str, ...]:
        """Why the clip cannot be judged, a sentence each; empty where it can.

        Args:
            waveform: raw, in [-1, 1], at the reference's sampling rate.
        """
        useless = _useless(waveform, self.sample_rate)
        if useless:
            return (useless,)
        clip = _measure(waveform, self.sample_rate)
        quiet = self._quiet(clip)
        found = [
            self._loop(clip),
            self._dropout(clip),
            self._clipping(clip),
            self._offset(clip),
            # What is too quiet to be heard has no spectrum to speak of.
            quiet or self._band_limit(clip) or self._gain(clip),
        ]
        return tuple(reason for reason in found if reason)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> SensorReference:
        """What gave ``state``.

        Raises:
            UserError: not what :meth:`to_dict` gives.
        """
        try:
            numbers = {name: float(state[name]) for name in ("quietest", "offset", "clipped", "pause", "far")}
            above = np.array(state["least_above"], np.float64)
            spectra = np.array(state["spectra"], np.float64)
            rate, repeats = int(state["sample_rate"]), bool(state["repeats"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"sensor reference: {error!r} in the kept state; fit the detector again") from error
        finite = np.isfinite([*numbers.values(), *above.flat, *spectra.flat]).all()
        if above.shape != (BANDS,) or spectra.ndim != 2 or spectra.shape[1] != BANDS or not finite or rate < 1:
            raise UserError("sensor reference: the kept state is not one; fit the detector again")
        kept_above, kept_spectra = tuple(above.tolist()), tuple(map(tuple, spectra.tolist()))
        return cls(rate, repeats=repeats, least_above=kept_above, spectra=kept_spectra, **numbers)

    def _loop(self, clip: Features) -> str:
        if self.repeats or not clip.repeats:
            return ""
        return f"a loop: the last {clip.repeats:.3g} s repeat what was before, sample by sample"

    def _dropout(self, clip: Features) -> str:
        if clip.pause < max(DROPOUT_SECONDS, BEYOND_ENROLLED * self.pause):
            return ""
        return f"a dropout: the samples stand still for {1000 * clip.pause:.3g} ms"

    def _clipping(self, clip: Features) -> str:
        if clip.clipped < max(CLIPPED_SHARE, BEYOND_ENROLLED * self.clipped):
            return ""
        return f"clipping: {100 * clip.clipped:.3g} % of the samples are cut off at the largest value"

    def _offset(self, clip: Features) -> str:
        power = clip.offset**2
        large = power > OFFSET_SHARE * (power + 10 ** (clip.level / 10)) and abs(clip.offset) > SMALLEST_OFFSET
        if not (large or abs(clip.offset) > OFFSET) or abs(clip.offset) < BEYOND_ENROLLED * self.offset:
            return ""
        return f"a constant offset of {clip.offset:.2f} of full scale, enrolled clips had at most {self.offset:.2f}"

    def _quiet(self, clip: Features) -> str:
        below = self.quietest - clip.level
        if below < QUIET_DB:
            return ""
        return (
            f"{below:.0f} dB quieter than the quietest enrolled clip: the sensor is covered or turned down, or the "
            "machine stands"
        )

    def _band_limit(self, clip: Features) -> str:
        empty = _above(clip.bands) < np.array(self.least_above) - EMPTY_DB
        first = int(np.argmax(empty))
        if not empty[1 : 1 + BANDS - _FEWEST_EMPTY].any():
            return ""
        hertz = first / BANDS * self.sample_rate / 2
        return f"nothing above {hertz:.0f} Hz, where enrolled clips had sound: the sampling rate or a filter changed"

    def _gain(self, clip: Features) -> str:
        difference = clip.bands - np.array(self.spectra)
        change = difference.mean(axis=1)
        distance = difference.std(axis=1)
        nearest = int(np.argmin(distance))
        alike = _ALIKE_LOUDER if change[nearest] > 0 else _ALIKE_QUIETER
        if distance[nearest] > alike * self.far or abs(change[nearest]) < GAIN_DB:
            return ""
        louder = "louder" if change[nearest] > 0 else "quieter"
        return f"the enrolled sound, {abs(change[nearest]):.0f} dB {louder}: the gain was changed"


def fingerprint(waveform: Float[np.ndarray, " samples"]) -> str:
    """Digest of the samples: two clips of a microphone never have the same."""
    return hashlib.sha256(np.ascontiguousarray(waveform, np.float32).tobytes()).hexdigest()


def standing_still(digest: str, previous: str) -> str:
    """Why a clip cannot be judged that is the one before once more; "" where it is another.

    Args:
        digest: :func:`fingerprint` of it.
        previous: of the clip before; "" where there is none.
    """
    return "the same samples as the clip before: the input stands still" if previous and previous == digest else ""


def measured(waveform: Float[np.ndarray, " samples"], sample_rate: int) -> Features | None:
    """What a clip tells of the sensor; ``None`` where it has no sound that can be measured."""
    return None if _useless(waveform, sample_rate) else _measure(waveform, sample_rate)


def least_seconds(sample_rate: int) -> float:
    """Of a shorter clip nothing can be measured, in s."""
    return _frame(sample_rate) / sample_rate


def _useless(waveform: Float[np.ndarray, " samples"], sample_rate: int) -> str:
    """Why nothing can be measured; "" where something can."""
    if len(waveform) < _frame(sample_rate):
        return f"too short: {len(waveform)} samples"
    if not np.isfinite(waveform).all():
        return "broken samples: NaN or infinite"
    if np.ptp(waveform) == 0:
        return "silent: all samples are the same, so the sensor is unplugged or muted"
    level = _decibels(np.var(waveform, dtype=np.float64))
    return f"silent: {level:.0f} dB of full scale, so the sensor is unplugged or muted" if level < SILENCE_DB else ""


def _measure(waveform: Float[np.ndarray, " samples"], sample_rate: int) -> Features:
    samples = waveform.astype(np.float64)
    offset = samples.mean()
    tops, pause = _standing(samples)
    return Features(
        level=float(_decibels(samples.var())),
        offset=float(offset),
        clipped=tops / len(samples),
        pause=pause / sample_rate,
        bands=_band_powers(samples - offset, _frame(sample_rate)),
        repeats=_repeated(samples) / sample_rate,
    )


def _standing(samples: Float[np.ndarray, " samples"]) -> tuple[int, int]:
    """Samples at the largest and the least value, and the longest run of equal samples elsewhere."""
    starts = np.append(0, np.flatnonzero(np.diff(samples) != 0) + 1)
    lengths = np.diff(np.append(starts, len(samples)))
    values = samples[starts]
    extreme = (values == values.max()) | (values == values.min())
    # Sound of few steps of the converter is at its extremes often.
    ordered = np.sort(values[:_FEW_RUNS])
    few = 1 + np.count_nonzero(ordered[1:] != ordered[:-1]) < _FEWEST_VALUES
    return 0 if few else int(lengths[extreme].sum()), int(lengths[~extreme].max(initial=0))


def _repeated(samples: Float[np.ndarray, " samples"]) -> int:
    """Samples at the end that repeat those before them; 0 where there are none."""
    pattern = samples[: -_PATTERN - 1 : -1]
    if np.count_nonzero(np.diff(pattern)) < _FEWEST_CHANGES:
        return 0
    places = np.arange(_PATTERN - 1, len(samples) - 1)
    for back, value in enumerate(pattern):
        places = places[np.abs(samples[places - back] - value) <= _EQUAL]
        if not len(places):
            return 0
    period = len(samples) - 1 - int(places[-1])
    length = min(period, len(samples) - period)
    same: Bool[np.ndarray, " length"] = np.abs(samples[-length:] - samples[-length - period : -period]) <= _EQUAL
    return length if length >= _PATTERN and same.all() else 0


def _frame(sample_rate: int) -> int:
    """Samples of a frame: a power of 2."""
    return int(max(2 ** round(math.log2(_FRAME_SECONDS * sample_rate)), _SMALLEST_FRAME))


def _band_powers(samples: Float[np.ndarray, " samples"], frame: int) -> Float[np.ndarray, " bands"]:
    """Mean power of each band in dB; a full-scale square wave has 0 dB in all of them together."""
    window = np.hanning(frame)
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame) * window
    power = np.square(np.abs(np.fft.rfft(frames, axis=1)[:, 1:])).mean(axis=0) * 2 / (frame * np.square(window).sum())
    return np.asarray(_decibels(power.reshape(BANDS, -1).sum(axis=1)))


def _above(bands: Float[np.ndarray, " bands"]) -> Float[np.ndarray, " bands"]:
    """Power from each band upwards in dB."""
    return np.asarray(_decibels(np.cumsum(10 ** (bands[::-1] / 10))[::-1]))


def _farthest_neighbor(spectra: Float[np.ndarray, "clips bands"]) -> float:
    """Largest distance of a clip's spectrum to its nearest other, whatever their levels."""
    shape = spectra - spectra.mean(axis=1, keepdims=True)
    if len(shape) < 2:
        return 0.0
    nearest = [np.delete(np.square(shape - one).mean(axis=1), row).min() for row, one in enumerate(shape)]
    return float(np.sqrt(max(nearest)))


def _decibels(power: Any) -> Any:
    """Of power relative to full scale; floored at -200 dB."""
    return 10 * np.log10(np.maximum(power, _FLOOR))
