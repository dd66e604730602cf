"""Recordings of one's own: long ones are cut into clips, and what makes them differ for no reason is told."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from asd_lightning.data.audio import BadAudioError, read_header
from asd_lightning.data.file_names import parse_file_name
from asd_lightning.data.layout import Clip

# Up to here a recording is one clip, cropped; beyond, cropping would waste most of it.
_CUT_BEYOND = 2.0
# A clip this many times shorter or longer than is usual for its machine is heard by its length.
_VERY_DIFFERENT = 2.0


def cut_recordings(clips: Sequence[Clip], clip_seconds: float) -> list[Clip]:
    """Cut each plain recording of at least twice ``clip_seconds`` into consecutive clips of that length.

    Clips named in the DCASE grammar are what they are.  What is left over at the end of a recording is part of the
    last clip's successor only if it is at least half a clip long.  An unreadable recording is passed on: decoding it
    will say what is wrong.
    """
    return [piece for clip in clips for piece in _cut(clip, clip_seconds)]


def _cut(clip: Clip, clip_seconds: float) -> Iterator[Clip]:
    if parse_file_name(clip.path.stem) is not None:
        yield clip
        return
    try:
        total = read_header(clip.path).seconds
    except BadAudioError:
        total = 0.0
    if total < _CUT_BEYOND * clip_seconds:
        yield clip
        return
    count = int(total / clip_seconds + 0.5)
    for number in range(count):
        start = number * clip_seconds
        # In full: a rounded second would give two pieces of a day-long recording one name.
        place = f"{start:.6f}".rstrip("0").rstrip(".")
        yield dataclasses.replace(clip, name=f"{clip.name}#t={place}", start=start, seconds=clip_seconds)


def mixed_rates(sample_rates: Iterable[int]) -> str:
    """What to say of one machine's recordings at these rates (Hz); "" where all are alike."""
    counts = Counter(sample_rates)
    if len(counts) < 2:
        return ""
    told = ", ".join(f"{count} at {rate} Hz" for rate, count in sorted(counts.items()))
    return (
        f"recorded at different rates ({told}): the lower ones lack the upper frequencies, and that alone tells them "
        f"apart; record all alike, or resample all to {min(counts)} Hz"
    )


def mixed_lengths(seconds: Sequence[float]) -> str:
    """What to say of one machine's clips of these lengths (s); "" where none is far from the usual one."""
    usual = statistics.median(seconds) if seconds else 0.0
    short = [length for length in seconds if length * _VERY_DIFFERENT < usual]
    long = [length for length in seconds if length > usual * _VERY_DIFFERENT]
    kinds = ((short, "shorter than half"), (long, "longer than twice"))
    told = [f"{len(group)} of {len(seconds)} are {kind} the usual {usual:g} s" for group, kind in kinds if group]
    if not told:
        return ""
    return (
        f"clips of very different lengths ({', '.join(told)}): short ones are repeated and long ones are cropped to "
        "data.clip_seconds, which a model may hear; use clips of one length"
    )
