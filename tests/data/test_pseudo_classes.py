import dataclasses
from pathlib import Path

import numpy as np
import pytest

from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.data.layout import Clip
from asd_lightning.data.pseudo_classes import pseudo_classes, read_pseudo_classes, write_pseudo_classes
from asd_lightning.errors import UserError
from asd_lightning.experiment.run_embeddings import embeddings_of_run
from asd_lightning.experiment.train import train
from tests.experiment.runs import last_checkpoint, tiny_config


def clip(number, domain="source", **how):
    name = f"{domain}_{number:04d}.wav"
    given = {"machine": "fan", "split": "train", "domain": domain, "condition": "normal"} | how
    return Clip(path=Path(name), name=name, **given)


def numpy_k_means(points, starts):
    """Lloyd's steps until nothing moves."""
    centers = points[starts].copy()
    while True:
        nearest = np.argmin(((points[:, None] - centers) ** 2).sum(2), axis=1)
        moved = np.array([points[nearest == k].mean(0) for k in range(len(centers))])
        if np.array_equal(moved, centers):
            return nearest
        centers = moved


def of_seven_states():
    """990 source clips and 10 of the target: 7 clusters, as in a machine of the challenge, and 1."""
    generator = np.random.default_rng(0)
    centers = 10 * generator.normal(size=(7, 5))
    clips = [clip(i) for i in range(990)] + [clip(i, "target") for i in range(10)]
    return clips, np.concatenate([centers[np.arange(990) % 7], np.zeros((10, 5))]) + generator.normal(size=(1000, 5))


def test_seven_source_clusters_and_one_of_the_target():
    clips, embeddings = of_seven_states()
    found = pseudo_classes(clips, embeddings)
    labels = [found["fan", one.name] for one in clips]
    expected = numpy_k_means(embeddings[:990], list(range(7)))
    assert labels[:990] == [f"pseudo_source_{number}" for number in expected]
    assert set(labels[990:]) == {"pseudo_target_0"}
    shuffled = np.random.default_rng(1).permutation(1000)
    assert pseudo_classes([clips[i] for i in shuffled], embeddings[shuffled]) == found


@pytest.mark.parametrize(("n", "clusters"), [(1, 1), (124, 1), (125, 1), (249, 1), (250, 2), (375, 3), (1000, 8)])
def test_number_of_clusters(n, clusters):
    embeddings = np.random.default_rng(n).normal(size=(n, 3))
    assert len(set(pseudo_classes([clip(i) for i in range(n)], embeddings).values())) == clusters


def test_of_normal_training_clips_without_an_attribute_alone():
    clips, embeddings = of_seven_states()
    found = pseudo_classes(clips, embeddings)
    others = [
        clip(5000, split="test"),
        clip(5001, split="supplemental"),
        clip(5002, condition="anomaly"),
        clip(5003, attribute="spd_31V"),
    ]
    assert pseudo_classes([*clips, *others], np.concatenate([embeddings, np.full((4, 5), 1e3)])) == found


def test_windows_of_a_recording_are_of_one_class():
    clips, embeddings = of_seven_states()
    halves = [
        dataclasses.replace(one, name=f"{one.name}#t={start:g}", file=one.name, start=start, seconds=1.0)
        for one in clips
        for start in (0.0, 1.0)
    ]
    apart = np.repeat(embeddings, 2, axis=0)
    apart[::2] += 3
    apart[1::2] -= 3
    assert pseudo_classes(halves, apart) == pseudo_classes(clips, embeddings)


def test_a_table_is_read_as_it_was_written(tmp_path):
    classes = {("fan", "normal/a, b.wav"): "pseudo_source_0", ("Pumpe", "ü.wav"): "pseudo_target_0"}
    write_pseudo_classes(tmp_path / "table.csv", classes)
    assert read_pseudo_classes(tmp_path / "table.csv") == classes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "no such table of pseudo-classes"),
        ("file,pseudo_class\n", "its first line must be machine,file,pseudo_class"),
        ("machine,file,pseudo_class\nfan,a.wav,\n", "row 2: a machine, a file and its class are needed"),
        ("machine,file,pseudo_class\nfan,a.wav,x\nfan,a.wav,y\n", "row 3: a.wav is said to be of two classes"),
        ("\0", "not readable as CSV|its first line"),
    ],
)
def test_bad_tables_are_named(tmp_path, text, told):
    path = tmp_path / "table.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=rf"table\.csv.*({told})"):
        read_pseudo_classes(path)


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_bad_share_is_named(share):
    with pytest.raises(UserError, match="share"):
        pseudo_classes([clip(0)], np.zeros((1, 2)), share=share)


def test_they_stand_for_attributes_in_training_classes_alone(tiny_data, tmp_path):
    known = ClipDataModule(tiny_data, cache_dir=tmp_path / "cache", clip_seconds=0.5)
    known.prepare_data()
    without = [one for one in known.clips if one.split == "train" and not one.attribute]
    assert without
    found = pseudo_classes(known.clips, np.arange(len(known.clips) * 2.0).reshape(-1, 2), share=0.3)
    assert found.keys() == {(one.machine, one.file) for one in without}
    write_pseudo_classes(tmp_path / "table.csv", found)
    module = ClipDataModule(
        tiny_data, cache_dir=tmp_path / "cache", clip_seconds=0.5, pseudo_classes=tmp_path / "table.csv"
    )
    module.prepare_data()
    assert module.clips == known.clips, "results by attribute know nothing of them"
    names = {label.name for label in module.classes}
    kept = {label.name for label in known.classes if label.has_attribute}
    assert names == kept | {f"{machine}/{name}" for (machine, _), name in found.items()}
    reference, query = module.test_dataloader()
    for batch in reference:
        for label, clip_id in zip(batch.label.tolist(), batch.clip_id.tolist(), strict=True):
            one = module.clips[clip_id]
            own = one.attribute or found[one.machine, one.file]
            assert module.classes[label].name == f"{one.machine}/{own}"
    assert {label for batch in query for label in batch.label.tolist()} <= {-1, *range(len(names))}


def test_a_table_of_other_clips_is_refused(tiny_data, tmp_path):
    write_pseudo_classes(tmp_path / "table.csv", {("elsewhere", "a.wav"): "x"})
    module = ClipDataModule(tiny_data, cache_dir=tmp_path / "cache", pseudo_classes=tmp_path / "table.csv")
    module.prepare_data()
    with pytest.raises(UserError, match=r"table\.csv: none of its files is a training clip's"):
        _ = module.classes


def test_a_run_keeps_its_table(tiny_data, tmp_path):
    (tmp_path / "first").mkdir()
    train(tiny_config(tmp_path / "first", tiny_data, "statistics", updates=0), tmp_path / "first")
    cache = embeddings_of_run(tmp_path / "first")
    found = pseudo_classes(cache.reference_clips, cache.reference, share=0.2)
    write_pseudo_classes(tmp_path / "table.csv", found)
    changes = [f"data.pseudo_classes={tmp_path / 'table.csv'}"]
    (tmp_path / "second").mkdir()
    train(tiny_config(tmp_path / "second", tiny_data, "statistics", changes, updates=0), tmp_path / "second")
    assert read_pseudo_classes(tmp_path / "second/pseudo_classes.csv") == found
    classes = {name for name, _ in last_checkpoint(tmp_path / "second")["asd_classes"]}
    assert classes >= {f"{machine}/{name}" for (machine, _), name in found.items()}
    assert not (tmp_path / "first/pseudo_classes.csv").exists()
