"""What happens to a machine that is listened to, and the line of JSON that says so."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

Kind = Literal[
    "started",
    "alarm",
    "warning",
    "normal",
    "not running",
    "running",
    "cannot judge",
    "judging",
    "drift",
    "acknowledged",
    "shelved",
    "unshelved",
    "input lost",
    "input back",
    "unreadable",
    "detector",
]
KINDS: tuple[str, ...] = get_args(Kind)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Years 1 to 9999, in s since 1970: a file may say any time of itself.
_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.0


@dataclass(frozen=True)
class Event:
    """One event of one input.

    Attributes:
        number: counts the events of the input, from 1, without a gap.
        source: name of the input.
        machine: which is heard there.
        kind: what happened: a level was reached (``alarm``, ``warning``) or left (``normal``); the machine stopped or
            started; the sound cannot be judged, or can again; somebody acknowledged or shelved; the input failed.
        position: seconds of sound heard up to the event.
        time: ISO 8601 in UTC: of the sound, where that is known, else of the computer.
        score: anomaly score of the window that decided; ``None`` where none did.
        threshold: the level that it was compared with.
        file: recording that the window is of; "" for streams.
        offset: start of the window in that file or stream, in s.
        note: a sentence.
        excerpt: name of a WAV file with the window's sound; "" where none was kept.
        state: of the machine in that window; "" where it has one.
        journal: mark of the journal that the event is in, a part of the id; "" for none.
    """

    number: int
    source: str
    machine: str
    kind: Kind
    position: float
    time: str
    score: float | None = None
    threshold: float | None = None
    file: str = ""
    offset: float = 0.0
    note: str = ""
    excerpt: str = ""
    state: str = ""
    journal: str = ""

    @property
    def id(self) -> str:
        """The same for the same event, however often it is delivered, and of no event of another journal.

        >>> Event(7, "pump1", "pump", "alarm", 12.0, "2026-01-01T00:00:12Z", journal="4f2a91").id
        'pump1-4f2a91-00000007'
        """
        return "-".join(filter(None, (self.source, self.journal, f"{self.number:08d}")))

    def line(self) -> str:
        """One line of JSON, without the line's end."""
        content = {"id": self.id, **asdict(self)}
        # The id says it.
        del content["journal"]
        # JSON has no nan.
        content |= {name: None for name in ("score", "threshold") if not _is_number(content[name])}
        return json.dumps(content, allow_nan=False)


def utc(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, with milliseconds; what is out of its years is the first or last of them.

    >>> utc(0.5), utc(3e11)
    ('1970-01-01T00:00:00.500Z', '9999-12-31T23:59:59.000Z')
    """
    time = _EPOCH + timedelta(seconds=min(max(seconds, _FIRST), _LAST))
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
