"""Truth about anonymous test clips: it makes metrics out of finished scores, and touches no score."""

import logging
import math
import shutil

import pytest

from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.errors import UserError
from asd_lightning.experiment.identity import with_absolute_paths
from asd_lightning.experiment.train import train
from asd_lightning.scoring.clip_scores import read_scores
from tests.experiment.runs import tiny_config

TRUTH = "eval_data_list_2025.csv"


@pytest.fixture(scope="module")
def released(tiny_data, tmp_path_factory):
    """The machines as released: two for development, and one whose test clips have lost their names to a list."""
    root = tmp_path_factory.mktemp("released") / "dcase2025"
    for machine, part in (("fan", "dev_data"), ("gearbox", "dev_data"), ("bearing", "eval_data")):
        shutil.copytree(tiny_data / machine, root / part / "raw" / machine)
    rows = ["bearing"]
    for index, path in enumerate(sorted((root / "eval_data/raw/bearing/test").iterdir())):
        rows.append(f"section_00_{index:04d}.wav,{path.name}")
        path.rename(path.with_name(f"section_00_{index:04d}.wav"))
    (root.parent / TRUTH).write_text("\n".join(rows))
    return root


def scores_of(output, root, *changes):
    official_score = train(tiny_config(output, root, "statistics", changes=["trainer.max_steps=0", *changes]), output)
    return official_score, read_scores(output / "results/scores.csv")


def test_scores_are_the_same_with_and_without_truth(tiny_data, released, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    _, blind = scores_of(tmp_path / "blind", released, "data.machines=[bearing]")
    assert {score.condition for score in blind} == {"unknown"}
    truth = f"data.truth={released.parent / TRUTH}"
    official_score, labeled = scores_of(tmp_path / "labelled", released, "data.machines=[bearing]", truth)
    assert f"labels of the test clips are those of {released.parent / TRUTH}" in caplog.text
    assert 0 < official_score < 1
    key = ("file", "anomaly_score", "threshold", "decision")
    assert [[getattr(s, name) for name in key] for s in blind] == [[getattr(s, n) for n in key] for s in labeled]
    # The same clips under the names that tell everything.
    expected, named = scores_of(tmp_path / "named", tiny_data, "data.machines=[bearing]")
    assert official_score == expected
    assert [score[:2] + score[3:] for score in labeled] == [score[:2] + score[3:] for score in named]


def test_the_truth_of_a_download_is_found_by_itself(released, tmp_path):
    _, blind = scores_of(tmp_path / "blind", released)
    assert {s.condition for s in blind if s.machine == "bearing"} == {"unknown"}
    place = shutil.copy(released.parent / TRUTH, released / "eval_data" / TRUTH)
    try:
        official_score, labeled = scores_of(tmp_path / "labelled", released)
    finally:
        (released / "eval_data" / TRUTH).unlink()
    assert place == released / "eval_data" / TRUTH
    assert {s.condition for s in labeled} == {"normal", "anomaly"}
    assert math.isfinite(official_score)


def test_a_truth_that_lies_there_is_not_joined_where_none_is_wanted(released, tmp_path):
    root = tmp_path / "dcase2025"
    shutil.copytree(released, root)
    shutil.copy(released.parent / TRUTH, root / "eval_data" / TRUTH)
    module = ClipDataModule(root, cache_dir=tmp_path, truth="none")
    assert module.truth_path is None
    assert ClipDataModule(root, cache_dir=tmp_path).truth_path == root / "eval_data" / TRUTH
    config = with_absolute_paths(tiny_config(tmp_path / "run", root, "statistics", changes=["data.truth=none"]))
    assert config.data.truth == "none"


def test_the_data_module_knows_the_place_and_nothing_else(released, tmp_path):
    module = ClipDataModule(
        released, machines=["bearing"], clip_seconds=0.5, cache_dir=tmp_path, truth=released.parent / TRUTH
    )
    module.prepare_data()
    assert module.truth_path == released.parent / TRUTH
    assert {clip.condition for clip in module.clips if clip.split == "test"} == {"unknown"}


def test_an_absent_truth_is_told_before_anything_is_decoded(released, tmp_path):
    module = ClipDataModule(released, cache_dir=tmp_path / "cache", truth=tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"none\.csv: no such truth"):
        module.prepare_data()
    assert not (tmp_path / "cache").exists()
