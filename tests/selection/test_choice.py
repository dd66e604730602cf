import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from asd_lightning.cli import main
from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError
from asd_lightning.experiment.selected import candidates_of
from asd_lightning.run_folder import results_of
from asd_lightning.scoring.embedding_cache import read_embeddings, write_embeddings
from asd_lightning.scoring.feature_store import StoredFeatures, write_features
from asd_lightning.selection.choice import Candidate, Judged, conclude, judge, select_from
from asd_lightning.selection.table import selection_table
from tests.scoring.runs import make_run


def clip(machine, index, domain="source", attribute=""):
    name = f"section_00_{domain}_train_normal_{index:04d}_{attribute or 'noAttribute'}.wav"
    return Clip(
        path=Path("/nowhere") / name, machine=machine, name=name, split="train", domain=domain, condition="normal",
        attribute=attribute,
    )  # fmt: skip


def candidate(name, spread, machines=("fan", "pump"), seed=0):
    """Machines a length of 1 apart, their clips ``spread``."""
    rng = np.random.default_rng(seed)
    clips = tuple(clip(machine, index) for machine in machines for index in range(12))
    centers = np.repeat(np.eye(len(machines), 6), 12, axis=0)
    return Candidate(name, centers + spread * rng.normal(size=(len(clips), 6)), clips, name)


def test_the_embedding_that_tells_machines_apart_is_chosen():
    selection = select_from([candidate("near", 1.0), candidate("far", 0.2), candidate("noise", 9.0)])
    assert selection.criterion == "pseudo-AUC"
    assert (selection.default, selection.chosen) == ("near", "far")
    assert [one.name for one in selection.judged if one.vetoed] == [
        min(selection.judged, key=lambda o: o.pseudo_auc).name
    ]
    table = selection_table(selection)
    assert [row.cells[0] for row in table.rows] == ["near (default)", "far", "noise"]
    assert [row.kind for row in table.rows] == ["plain", "emphasis", "plain"]
    assert "points of pseudo-AUC from the default, near" in selection.reason


def judged(name, value, bound=0.5):
    kinds = {"feature": value, "cross-class": value, "cross-domain": np.nan, "cross-attribute": np.nan}
    return Judged(name, value, kinds, bound, 0.2)


@pytest.mark.parametrize(
    ("values", "chosen", "reason"),
    [
        ((0.800, 0.809), None, "cannot tell: all within 1 point of each other; keep a"),
        ((0.800, 0.820), "b", "b: +2.00 points"),
        ((0.992, 0.999), None, "cannot tell"),
        ((0.9901, 0.9999, 1.0), None, "cannot tell"),
        ((0.980, 0.999), "b", "b: +1.90 points"),
        ((0.900, 0.800), "a", "keep a: no other is more than 1 point above it"),
        ((0.900, 0.909, 0.500), "a", "keep a: no other is more than 1 point above it"),
        ((0.900, 0.911, 0.500), "b", "b: +1.10 points"),
    ],
)
def test_what_follows(values, chosen, reason):
    selection = conclude([judged(name, value) for name, value in zip("abc", values, strict=False)])
    assert selection.chosen == chosen
    assert selection.reason.startswith(reason)


def test_all_above_what_saturates():
    selection = conclude([judged("a", 0.9905), judged("b", 0.9905 + 0.0095), judged("c", 0.9915)])
    assert selection.chosen is None


def test_a_machine_alone_has_the_bound():
    one, other = (candidate(name, spread, ("fan",)) for name, spread in (("a", 0.1), ("b", 0.5)))
    selection = select_from([one, other])
    assert selection.criterion == "bound"
    assert any("about as weak as the variance" in note for note in selection_table(selection).notes)
    bounds = [judge(each).bound for each in (one, other)]
    assert selection.chosen in ("ab"[int(np.argmax(bounds))], None)


def test_what_cannot_be_compared():
    one = candidate("one", 0.5)
    with pytest.raises(UserError, match="two candidates or more"):
        select_from([one])
    with pytest.raises(UserError, match="two: other training recordings than one"):
        select_from([one, candidate("two", 0.5, ("fan", "valve"))])
    with pytest.raises(UserError, match="two: the same embedding as one; back-ends are not chosen by this"):
        select_from([one, dataclasses.replace(one, name="two")])
    with pytest.raises(UserError, match=r"zero: fan: .*row 3 is all zeros"):
        judge(dataclasses.replace(one, name="zero", embeddings=one.embeddings * (np.arange(24) != 3)[:, None]))
    with pytest.raises(UserError, match="one: fan has a single recording"):
        judge(dataclasses.replace(one, embeddings=one.embeddings[11:], clips=one.clips[11:]))


def change(run, **fields):
    path = run / "results" / "embeddings.npz"
    write_embeddings(path, dataclasses.replace(read_embeddings(path), **fields))


def test_test_clips_are_never_looked_at(tmp_path):
    """Whatever is embedded of them, and whatever their names say they are, the numbers are the same."""
    make_run(tmp_path / "run", tmp_path / "data")
    before = judge(*candidates_of(tmp_path / "run"))
    cache = read_embeddings(tmp_path / "run/results/embeddings.npz")
    other = {"normal": "anomaly", "anomaly": "normal"}
    swapped = tuple(dataclasses.replace(clip, condition=other[clip.condition]) for clip in cache.query_clips)
    noise = np.random.default_rng(5).normal(size=cache.query.shape).astype(cache.query.dtype)
    change(tmp_path / "run", query=noise, query_clips=swapped)
    assert judge(*candidates_of(tmp_path / "run")) == before


def test_the_command(tmp_path, capsys):
    make_run(tmp_path / "one", tmp_path / "data")
    make_run(tmp_path / "two", tmp_path / "data")
    assert main(["select", str(tmp_path / "one"), str(tmp_path / "two")]) == 2
    assert "two: the same embedding as one; back-ends are not chosen by this" in capsys.readouterr().err
    assert main(["select", str(tmp_path / "one"), str(tmp_path / "one")]) == 2
    assert "one: two runs of that name" in capsys.readouterr().err
    assert main(["select", str(tmp_path / "one")]) == 2
    assert "two candidates or more" in capsys.readouterr().err
    assert main(["select", str(tmp_path / "one"), "scor=ldn"]) == 2
    assert (
        capsys.readouterr().err == "asd: scor=ldn: no such option (did you mean score?), and no folder of that name\n"
    )


def test_stored_poolings_are_candidates(tmp_path, capsys):
    """Of one run, whose own embedding is the default."""
    cache = make_run(tmp_path / "run", tmp_path / "data")
    rng = np.random.default_rng(0)
    for name, noise in (("mean", 0.0), ("max", 3.0)):
        reference, query = (
            (2 * part[:, :8] + noise * rng.normal(size=(len(part), 8))).astype(np.float32).reshape(-1, 2, 4)
            for part in (cache.reference, cache.query)
        )
        path = results_of(tmp_path / "run").features(name)
        write_features(path, StoredFeatures(name, reference, query, cache.key))
    command = ["select", str(tmp_path / "run"), "pooling=run,mean,max", "-o", str(tmp_path / "out")]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("run (default)", "run:mean", "run:max", "domain balance"))
    told = " ".join(shown.split())
    reason = told.split("By pseudo-AUC: ")[1].split(". Per cent")[0]
    assert len(reason) > 10
    assert told.count(reason) == 1
    with (tmp_path / "out/selection.csv").open() as file:
        rows = {row["candidate"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["run", "run:mean", "run:max"]
    by_hand = judge(Candidate("x", 2 * cache.reference[:, :8], cache.reference_clips, "x"))
    assert float(rows["run:mean"]["pseudo_auc"]) == pytest.approx(by_hand.pseudo_auc, abs=1e-3)
    assert rows["run:max"]["pseudo_auc"] != rows["run:mean"]["pseudo_auc"]
    before = (tmp_path / "out/selection.csv").read_bytes()
    for changed in ([command[1], "pooling=run,mean"], [*command[1:3], "score=ldn"]):
        assert main(["select", *changed, *command[3:]]) == 2
        told = f"{tmp_path / 'out'}: holds a selection of other choices; give another folder with -o"
        assert told in capsys.readouterr().err
    assert (tmp_path / "out/selection.csv").read_bytes() == before
    assert main(command) == 0
    assert main([*command[:2], "pooling=average"]) == 2
    assert "pooling=average: unknown average" in capsys.readouterr().err
    assert main([*command[:2], "score=best"]) == 2
    assert "score=best: choose one of nearest, ldn" in capsys.readouterr().err
