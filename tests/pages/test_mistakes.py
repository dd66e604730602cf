import base64
import io

import numpy as np
import pytest
import soundfile
from rich.progress import Progress

from asd_lightning.comparison.systems import compare_runs
from asd_lightning.evaluation.worst_clips import WorstClip
from asd_lightning.pages.mistakes import MediaBudget, per_kind
from asd_lightning.pages.runs import read_runs
from asd_lightning.pages.sound import AUDIO_SECONDS, clip_media
from tests.scoring.runs import make_clips, make_run


@pytest.fixture
def run(tmp_path):
    make_run(tmp_path / "run", tmp_path / "data", machines=("fan",))
    with Progress(disable=True) as progress:
        (run,), _ = read_runs(compare_runs([tmp_path / "run"]), 10, progress)
    return run


@pytest.mark.parametrize(("machines", "count"), [(1, 3), (4, 3), (7, 1), (15, 1), (100, 1)])
def test_many_machines_show_fewer_clips_each(machines, count):
    assert per_kind(machines) == count


def test_sound_stops_at_the_budget(run):
    size = len(clip_media(run.embeddings.query_clips[0]).audio)
    budget = MediaBudget([run], limit=2 * size + size // 2)
    made = [budget.mistake(WorstClip("miss", score, (), 1.0)) for score in run.scores[:5]]
    assert [one.with_audio for one in made] == [True, True, False, False, False]
    assert all(one.media for one in made)
    assert budget.silent == 3
    assert budget.missing == []


def test_a_recording_that_is_gone_is_named(run):
    run.embeddings.query_clips[0].path.unlink()
    budget = MediaBudget([run])
    score = next(one for one in run.scores if one.file == run.embeddings.query_clips[0].name)
    made = budget.mistake(WorstClip("miss", score, (), 1.0))
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
