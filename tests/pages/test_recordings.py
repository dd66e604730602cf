"""A run names paths of recordings: a report reads those below the run's data folder, and says which folder that is."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import yaml
from rich.progress import Progress

from asd_lightning.comparison.systems import compare_runs
from asd_lightning.evaluation.worst_clips import WorstClip
from asd_lightning.pages.mistakes import MediaBudget
from asd_lightning.pages.page import write_report
from asd_lightning.pages.recordings import data_folder, lies_below
from asd_lightning.pages.runs import read_runs
from asd_lightning.scoring.embedding_cache import read_embeddings, write_embeddings
from tests.scoring.runs import make_run


@pytest.fixture
def run(tmp_path):
    make_run(tmp_path / "run", tmp_path / "data", machines=("fan",))
    return tmp_path / "run"


def read(folder):
    with Progress(disable=True) as progress:
        (run,), _ = read_runs(compare_runs([folder]), 2, progress)
    return run


def renamed(run, change):
    """The run with other paths in its table of clips."""
    path = run / "results" / "embeddings.npz"
    cache = read_embeddings(path)
    clips = tuple(dataclasses.replace(clip, path=change(clip.path)) for clip in cache.query_clips)
    write_embeddings(path, dataclasses.replace(cache, query_clips=clips))


def configured(run, root):
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"]["root"] = root
    path.write_text(yaml.safe_dump(config))


def media(run):
    reported = read(run)
    budget = MediaBudget([reported])
    return [budget.mistake(WorstClip("miss", score, (), 1.0)) for score in reported.scores], budget


def test_recordings_below_the_data_folder_are_shown_and_the_folder_is_said(run, tmp_path):
    made, budget = media(run)
    assert all(one.media for one in made)
    assert budget.folders == [tmp_path / "data"]
    page = write_report([run], tmp_path / "r.html", resamples=2).read_text()
    assert f"from recordings in <code>{tmp_path / 'data'}</code>" in page


@pytest.mark.parametrize("detour", ["", "data/..", "data/fan/../.."])
def test_any_other_sound_file_of_the_computer_stays_where_it_is(run, tmp_path, detour):
    (tmp_path / "private").mkdir()
    for path in (tmp_path / "data").rglob("*.wav"):
        shutil.copy(path, tmp_path / "private" / path.name)
    renamed(run, lambda path: tmp_path / detour / "private" / path.name)
    made, budget = media(run)
    assert not any(one.media for one in made)
    assert all("is not in the run's data folder" in one.missing for one in made)
    assert budget.folders == []
    page = write_report([run], tmp_path / "r.html", resamples=2).read_text()
    assert "data:audio" not in page


@pytest.mark.parametrize("root", ["/", "//", "/tmp/..", "${oc.env:HOME}", 3, None, "\0", "elsewhere"])
def test_folders_that_are_none(run, root):
    configured(run, root)
    made, _ = media(run)
    assert not any(one.media for one in made)


def test_links_inside_the_data_folder_are_followed(run, tmp_path):
    (tmp_path / "disk").mkdir()
    shutil.move(tmp_path / "data" / "fan", tmp_path / "disk" / "fan")
    (tmp_path / "data" / "fan").symlink_to(tmp_path / "disk" / "fan")
    made, _ = media(run)
    assert all(one.media for one in made)


def test_a_relative_data_folder_counts_from_where_the_run_was_started(run, tmp_path):
    configured(run, "data")
    assert data_folder(read(run)) == Path.cwd() / "data"
    (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"cwd": str(tmp_path)}}}))
    assert data_folder(read(run)) == tmp_path / "data"
    assert all(one.media for one in media(run)[0])
    (run / ".hydra" / "hydra.yaml").write_text("hydra: [1]")
    assert data_folder(read(run)) == Path.cwd() / "data"


def test_below_is_a_matter_of_whole_names():
    assert lies_below(Path("/data/fan/a.wav"), Path("/data"))
    assert not lies_below(Path("/database/a.wav"), Path("/data"))
    assert not lies_below(Path("data/a.wav"), Path("/data"))
    assert not lies_below(Path("/data/../etc/a.wav"), Path("/data"))
