"""Long recordings of one's own, cut into clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from asd_lightning.data.audio import BadAudioError, duration
from asd_lightning.data.file_names import parse_file_name
from asd_lightning.data.layout import Clip

# Up to here a recording is one clip, cropped; beyond, cropping would waste most of it.
_CUT_BEYOND = 2.0


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
        total = duration(clip.path)
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
