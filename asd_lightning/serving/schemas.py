"""What the API answers, as its OpenAPI document tells it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

Decision = Literal["normal", "warning", "alarm", "cannot judge", "not running"]


class Error(BaseModel):
    """Why a request is refused, in a sentence."""

    error: str = Field(examples=["today.wav: the file is empty; copy it again or remove it"])


class Health(BaseModel):
    """That the server answers, and of what."""

    status: Literal["ok"]
    version: str = Field(description="of asd_lightning", examples=["0.1.0"])
    file: str = Field(description="name of the detector's file", examples=["pump.asd"])
    content_hash: str = Field(description="of the detector that judges now", examples=["0c8e..."])
    note: str = Field(description="of the last change of the file, while the server ran; may be empty")
    read_only: bool = Field(description="whether nothing is accepted into the detector")


class Window(BaseModel):
    """One window of a recording; seconds."""

    start: float
    end: float
    score: float | None
    decision: Decision
    state: str | None


class Place(BaseModel):
    """Normal sound that a recording is most like; ``start`` in s of it."""

    recording: str
    start: float


class Judgment(BaseModel):
    """An element of what ``asd score --json`` prints; higher scores are more anomalous."""

    path: str = Field(description="name as it was given", examples=["today.wav"])
    machine: str = Field(examples=["pump"])
    score: float | None = Field(examples=[1.25])
    threshold: float | None = Field(description="warnings begin above it", examples=[1.0])
    decision: Decision
    p_value: float | None = Field(description="share of normal recordings that score as high", examples=[0.03])
    health: list[str] = Field(description="what is wrong with the sound")
    windows: list[Window]
    nearest: Place | None
    state: str | None


class Unread(BaseModel):
    """A recording of a batch that cannot be read."""

    path: str
    error: str


class Spectrogram(BaseModel):
    """Of the window that decides: ``levels[moment][band]`` in dB."""

    times: list[float] = Field(description="s of the recording, where each moment begins; 200 at most")
    frequencies: list[float] = Field(description="Hz, the middle of each band; 128 at most")
    levels: list[list[float]]


class Values(BaseModel):
    """How much of the score, or how far it falls without it; one for each step and each band."""

    times: list[float]
    frequencies: list[float]


class Ranges(BaseModel):
    """What is marked: ``[from, to]`` in s and in Hz, the most unlike first."""

    times: list[list[float]]
    frequencies: list[list[float]]


class Parts(BaseModel):
    """How unlike normal sound each step of time and each band is; empty where that is not known."""

    times: list[list[float]] = Field(description="[from, to] of each step, in s of the recording")
    frequencies: list[list[float]] = Field(description="[from, to] of each band, in Hz")
    values: Values
    marked: Ranges
    exact: bool = Field(description="whether the bands' values add up to the score, but for a constant")


class Nearest(Place):
    """Normal sound to compare with."""

    sound: str | None = Field(description="where a WAV of it is", examples=["/api/v1/sound/0-12"])
    is_nearest: bool = Field(description="false: the most alike of those whose sound is kept")


class Explanation(BaseModel):
    """Why a recording is judged as it is."""

    judgment: Judgment
    spectrogram: Spectrogram | None
    parts: Parts
    nearest: Nearest | None
    sentence: str = Field(description="the verdict in plain words")
    called_anomaly: bool = Field(description="by its name, or the folder in it; accepting it warns of that")


class Change(BaseModel):
    """One change of a machine's bank."""

    what: str = Field(examples=["accepted"])
    time: str = Field(description="UTC", examples=["2026-01-01T00:00:12Z"])
    recordings: int
    package: str
    before: str


class Accepted(BaseModel):
    """What accepting has done; ``version`` counts the machine's changes."""

    version: int = Field(examples=[1])
    change: Change
    notes: list[str] = Field(description="what is to be known of it: moved thresholds, what was left out, and why")


class Event(BaseModel, extra="allow"):
    """A line of ``asd watch``; see docs/watch.md."""

    id: str = Field(examples=["pump1-4f2a91-00000007"])
    kind: str = Field(examples=["alarm"])


Info = dict[str, Any]
