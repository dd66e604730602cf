"""From a recording to the waveforms that a model hears: one object, used wherever something is heard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from asd_lightning.data.audio import DecodeOptions, decode, to_float
from asd_lightning.errors import UserError

if TYPE_CHECKING:
    from asd_lightning.features.far_microphone import FarMicrophoneReduction

Pad = Literal["tile", "zero"]
# A spectrum's frame has 64 ms and an encoder's patch 175 ms; an hour is 230 MB, of each of the clips of a batch.
# Longer recordings are heard whole all the same: windows cover them.
WINDOW_SECONDS = (0.2, 3600.0)
"""Shortest and longest of all windows, in s."""
# Windows that begin closer together tell nothing more.
_SMALLEST_HOP = 1e-3
# In Hz: from what tells a machine's sound to what converters record with.
_RATES = (1_000, 768_000)
# They are held at a time.
_MOST_CROPS = 10_000
_CHANNELS = ("mean", "reduced", "reduced_per_clip", "subtracted", "residual")
# Of the far microphone's embedding; as much again as the near one's is no residual any more.
_SHARES = (0.0, 1.0)
# Less than this is no sound left over: lengths are told in whole samples.
_SMALLEST_REST = 1e-3


@dataclass(frozen=True)
class Preprocessing:
    """How recordings become waveforms of one length.

    Two embeddings of a recording compare only where they were made with equal fields.

    A clip of the challenge is heard as the paper hears it: cropped at its centre, or, with ``test_windows``, in several
    crops whose embeddings are averaged.  A recording of one's own is heard whole: windows cover it, and each is scored
    for itself.

    >>> Preprocessing(clip_seconds=4.0).places(10.0)
    [0.0, 4.0, 6.0]

    Attributes:
        sample_rate: in Hz.
        channel: which of several, from 0; their ``mean``; or of two the near one (0) less what the far one (1) tells of
            the surroundings: ``reduced`` by coefficients fitted to each machine, ``reduced_per_clip`` by those of the
            clip, ``subtracted`` by magnitudes; or ``residual``, where both are embedded.
        clip_seconds: length of every waveform.
        hop_seconds: from the start of one window of a long recording to the next; ``None`` is ``clip_seconds``.
        pad: repeat a short clip, or follow it with zeros.
        test_windows: evenly spaced crops of a clip, from its beginning to its end; a single one is the centre.
        residual: with that channel, how much of the far embedding is subtracted from the near one.

    Raises:
        UserError: a field outside its range.
    """

    sample_rate: int = 16_000
    channel: int | str = 0
    clip_seconds: float = 10.0
    hop_seconds: float | None = None
    pad: Pad = "tile"
    test_windows: int = 1
    residual: float = 0.5

    def __post_init__(self) -> None:
        if not _is_within(self.clip_seconds, *WINDOW_SECONDS):
            least, most = WINDOW_SECONDS
            raise UserError(
                f"data.clip_seconds={self.clip_seconds}: a number of seconds from {least:g} to {most:g} is needed; "
                "longer recordings are heard whole, in windows"
            )
        hop = self.hop_seconds
        if hop is not None and not _is_within(hop, _SMALLEST_HOP, self.clip_seconds):
            raise UserError(
                f"data.hop_seconds={hop}: a number of seconds from {_SMALLEST_HOP:g} to data.clip_seconds is needed, "
                "so that nothing is left unheard"
            )
        if type(self.sample_rate) is not int or not _is_within(self.sample_rate, *_RATES):
            least, most = _RATES
            raise UserError(f"data.sample_rate={self.sample_rate}: a whole number from {least:,} to {most:,} is needed")
        if not isinstance(self.channel, int) and self.channel not in _CHANNELS:
            raise UserError(f"data.channel={self.channel}: choose one of 0, 1, {', '.join(_CHANNELS)}")
        if not _is_within(self.residual, *_SHARES):
            raise UserError(f"data.residual={self.residual}: a share of the far embedding from 0 to 1 is needed")
        if type(self.test_windows) is not int or not 1 <= self.test_windows <= _MOST_CROPS:
            raise UserError(
                f"data.test_windows={self.test_windows!s:.40}: a whole number from 1 to {_MOST_CROPS:,} is needed"
            )
        if self.pad not in get_args(Pad):
            raise UserError(f"data.pad={self.pad}: choose one of {', '.join(get_args(Pad))}")

    @classmethod
    def of_options(cls, options: Mapping[str, Any]) -> Preprocessing:
        """Of a data module's options, those that say what is heard; the others are passed over."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in options.items() if name in names})

    @property
    def samples(self) -> int:
        """Of every waveform."""
        return round(self.clip_seconds * self.sample_rate)

    @property
    def decode_options(self) -> DecodeOptions:
        """Rate and channel; of ``reduced`` and ``residual`` the near one."""
        channel: Any = 0 if self.channel in ("reduced", "residual") else self.channel
        return DecodeOptions(self.sample_rate, channel)

    @property
    def far_options(self) -> DecodeOptions | None:
        """Of what is embedded beside the near microphone; ``None`` where nothing is."""
        return DecodeOptions(self.sample_rate, 1) if self.channel == "residual" else None

    @property
    def crops(self) -> list[float]:
        """Places of the crops of one clip: 0 is its beginning, 1 the last place at which a crop fits."""
        return [0.5] if self.test_windows == 1 else np.linspace(0.0, 1.0, self.test_windows).tolist()

    def places(self, seconds: float) -> list[float]:
        """Where the windows over a recording of that length start; the last one ends with it."""
        rest = seconds - self.clip_seconds
        if rest < _SMALLEST_REST:
            return [0.0]
        hop = self.hop_seconds or self.clip_seconds
        return [*(number * hop for number in range(math.ceil(rest / hop - 1e-9))), rest]

    def start_of_crop(self, length: int, position: float) -> int:
        """First sample of the crop at ``position`` (0 to 1) of a clip of ``length`` samples."""
        spare = max(length - self.samples, 0)
        return min(int(position * (spare + 1)), spare)

    def fit(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring a waveform to the length of all."""
        return fit_length(waveform, self.samples, self.pad)

    def read(
        self,
        path: Path,
        start: float = 0.0,
        seconds: float | None = None,
        reduction: FarMicrophoneReduction | None = None,
        far: bool = False,
    ) -> Float32[np.ndarray, " samples"]:
        """A recording, or a piece of it, in [-1, 1]; ``far``: what is embedded beside it.

        Raises:
            BadAudioError: unreadable, or otherwise unfit.
            UserError: the channel is ``reduced`` and there is no reduction.
        """
        if far and self.far_options is not None:
            return to_float(decode(path, self.far_options, start, seconds))
        if self.channel != "reduced":
            return to_float(decode(path, self.decode_options, start, seconds))
        if reduction is None:
            raise UserError(f"{path}: data.channel=reduced needs the machine's far-microphone coefficients")
        # Torch, which takes seconds to import, is needed for this alone.
        from asd_lightning.data.far_channel import decode_reduced

        return decode_reduced(path, reduction, self.sample_rate, start, seconds)

    def windows(self, waveform: NDArray[np.float32]) -> Float32[np.ndarray, "windows samples"]:
        """The crops of one clip."""
        starts = [self.start_of_crop(len(waveform), position) for position in self.crops]
        return np.stack([self.fit(waveform[start : start + self.samples]) for start in starts])


def _is_within(value: object, least: float | int, most: float | int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def fit_length(waveform: NDArray[np.float32], samples: int, pad: Pad = "tile") -> NDArray[np.float32]:
    """Bring a waveform that is too short to ``samples``: repeat it, or follow it with zeros."""
    missing = samples - len(waveform)
    if missing <= 0:
        return waveform[:samples]
    return np.resize(waveform, samples) if pad == "tile" else np.pad(waveform, (0, missing))
