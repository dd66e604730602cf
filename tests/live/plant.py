"""A detector and inputs that need no sound: a window's first sample is its score."""

from types import SimpleNamespace

import numpy as np

from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.detector.judging import Judgment, Window
from asd_lightning.live.current import InUse
from asd_lightning.live.inputs import Stretch
from asd_lightning.live.listener import Surroundings

RATE = 100
NAN = float("nan")


def waveform(score, number):
    """One second; ``number`` makes it unlike any other."""
    return np.concatenate([[score], np.full(RATE - 1, number)]).astype(np.float32)


class ListeningDetector:
    """Warnings above 1, alarms above 2; scores of -1 are unfit, those of -2 are of a machine that is off."""

    hearing_ = SimpleNamespace(preprocessing=Preprocessing(sample_rate=1000, clip_seconds=1.0))

    def __init__(self, machines=("pump",), alarm=2.0):
        normal, promise = SimpleNamespace(scores=np.array([0.0, 0.2, 0.4])), SimpleNamespace(warning=1.0, alarm=alarm)
        own = SimpleNamespace(promise=promise, normal=normal)
        scale = {"middle": lambda _: 0.2, "common": lambda score, _: score}
        machine = SimpleNamespace(**vars(own), **scale, in_states={}, thresholds=lambda _: own)
        self.machines_ = dict.fromkeys(machines, machine)

    def judge(self, waveforms, machine, batch_size, progress):
        assert not progress
        return [self._one(float(one[0]), machine) for one in waveforms]

    def _one(self, score, machine):
        decision = {-1.0: "cannot judge", -2.0: "not running"}.get(score, "normal")
        health = ("silence",) if decision == "cannot judge" else ()
        shown = NAN if score < 0 else score
        return Judgment("0", machine, shown, 1.0, decision, NAN, health, (Window(0.0, 1.0, shown, decision),), None)


class Now:
    """The detector in use, which a test may change."""

    def __init__(self, detector=None):
        self.in_use = InUse(detector or ListeningDetector(), 0, "")

    def get(self):
        return self.in_use


class Scores:
    """An input of so many windows a stretch, which can be heard again from any place."""

    def __init__(self, scores, a_stretch=2):
        self.scores, self.a_stretch = list(scores), a_stretch

    def stretches(self, place, was_heard):
        for begin in range(place.get("next", 0), len(self.scores), self.a_stretch):
            part = self.scores[begin : begin + self.a_stretch]
            yield Stretch(
                windows=[waveform(score, begin + number) for number, score in enumerate(part)],
                offsets=[float(begin + number) for number in range(len(part))],
                seconds=float(len(part)),
                place={"next": begin + len(part)},
                file="day.wav",
                time=1000.0 + begin,
            )


def unmarked(event):
    """An event as every journal has it: without the journal's mark in its names."""
    mark = event["id"].removeprefix(event["source"]).removesuffix(f"-{event['number']:08d}")
    return event | {name: event[name].replace(mark, "", 1) for name in ("id", "excerpt")}


def around(folder, **changes):
    return Surroundings(**{"detector": Now(), "journal": folder / "journal", "drift": False, **changes})
