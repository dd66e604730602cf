import base64
import dataclasses
import io

import numpy as np
import pytest
import soundfile
from rich.progress import Progress

from asd_lightning.pages.mistakes import MediaBudget, per_kind, worst_clips
from asd_lightning.pages.runs import read_runs
from asd_lightning.pages.sound import AUDIO_SECONDS, clip_media
from asd_lightning.scoring.clip_scores import ClipScore
from tests.scoring.runs import make_clips, make_run


@pytest.fixture
def run(tmp_path):
    make_run(tmp_path / "run", tmp_path / "data", machines=("fan",))
    with Progress(disable=True) as progress:
        (run,), _ = read_runs([tmp_path / "run"], 10, progress)
    return run


def scored(*values):
    """Normal clips n0, n1, ... and anomalies a0, a1, ... with threshold 1."""
    clips = []
    for number, (condition, value) in enumerate(values):
        name = f"{condition[0]}{number}.wav"
        clips.append(ClipScore("fan", "00", name, "source", condition, "", value, 1.0, int(value > 1.0)))
    return tuple(clips)


def test_the_worst_come_first_and_only_what_is_wrong(run):
    clips = scored(
        ("normal", 1.5), ("normal", 0.5), ("normal", 3.0), ("anomaly", 0.9), ("anomaly", 2.0), ("anomaly", 0.1)
    )
    found = list(worst_clips([dataclasses.replace(run, scores=clips)], ("fan", "00"), 5))
    assert [(kind, clip.file) for kind, clip, _ in found] == [
        ("false alarm", "n2.wav"),
        ("false alarm", "n0.wav"),
        ("miss", "a5.wav"),
        ("miss", "a3.wav"),
    ]
    assert len(list(worst_clips([dataclasses.replace(run, scores=clips)], ("fan", "00"), 1))) == 2


def test_several_runs_judge_one_clip_each_in_its_own_unit(run):
    first = dataclasses.replace(run, scores=scored(("normal", 1.2), ("normal", 2.0), ("anomaly", 5.0)))
    scaled = [(clip.condition, 1 + 1000 * (clip.anomaly_score - 1)) for clip in first.scores]
    second = dataclasses.replace(run, scores=scored(*scaled))
    found = list(worst_clips([first, second], ("fan", "00"), 1))
    (kind, clip, judgements) = found[0]
    assert (kind, clip.file, len(found)) == ("false alarm", "n1.wav", 1)
    assert [(judgement.run, judgement.wrong) for judgement in judgements] == [(0, True), (1, True)]


def test_of_clips_without_label_the_loudest_alarms_are_heard(run):
    unknown = tuple(clip._replace(condition="unknown") for clip in run.scores)
    found = list(worst_clips([dataclasses.replace(run, scores=unknown)], ("fan", "00"), 3))
    alarms = sorted(
        (clip for clip in unknown if clip.decision and clip.machine == "fan"), key=lambda c: -c.anomaly_score
    )
    assert [kind for kind, _, _ in found] == ["alarm"] * 3
    assert [clip.file for _, clip, _ in found] == [clip.file for clip in alarms[:3]]


def test_clips_without_threshold_are_no_mistakes(run):
    without = tuple(clip._replace(threshold=float("nan"), decision=None) for clip in run.scores)
    assert list(worst_clips([dataclasses.replace(run, scores=without)], ("fan", "00"), 3)) == []


@pytest.mark.parametrize(("machines", "count"), [(1, 3), (4, 3), (7, 1), (15, 1), (100, 1)])
def test_many_machines_show_fewer_clips_each(machines, count):
    assert per_kind(machines) == count


def test_sound_stops_at_the_budget(run):
    size = len(clip_media(run.embeddings.query_clips[0]).audio)
    budget = MediaBudget([run], limit=2 * size + size // 2)
    made = [budget.mistake("miss", score, ()) for score in run.scores[:5]]
    assert [one.with_audio for one in made] == [True, True, False, False, False]
    assert all(one.media for one in made)
    assert budget.silent == 3
    assert budget.missing == []


def test_a_recording_that_is_gone_is_named(run):
    run.embeddings.query_clips[0].path.unlink()
    budget = MediaBudget([run])
    score = next(one for one in run.scores if one.file == run.embeddings.query_clips[0].name)
    made = budget.mistake("miss", score, ())
    assert made.media is None
    assert "no such file" in made.missing
    assert budget.missing == [f"fan/{score.file}"]


def test_the_sound_is_the_middle_of_the_clip_at_one_peak_level(tmp_path):
    clip = make_clips(tmp_path, "fan")[0]
    ramp = np.linspace(0.0, 0.1, 8 * 16_000)
    soundfile.write(clip.path, ramp, 16_000, subtype="PCM_24")
    media = clip_media(clip)
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(media.audio.partition(",")[2])))
    assert (rate, len(heard) / rate, media.heard, media.seconds) == (16_000, AUDIO_SECONDS, AUDIO_SECONDS, 8.0)
    middle = ramp[round(1.5 * 16_000) : round(6.5 * 16_000)]
    np.testing.assert_allclose(heard, middle * 0.7 / middle.max(), atol=1e-3)


def test_silence_has_a_picture_and_a_sound(tmp_path):
    clip = make_clips(tmp_path, "fan")[0]
    soundfile.write(clip.path, np.zeros(800), 16_000)
    media = clip_media(clip)
    assert media.picture.startswith("data:image/png;base64,")
    assert media.audio.startswith("data:audio/flac;base64,")
