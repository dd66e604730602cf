"""Everything but the cluster: `without_cluster` scores shards in this process.  With one: `test_ray`."""

import contextlib
import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest

import asd_lightning
from asd_lightning.archive import cluster, worker
from asd_lightning.archive.cluster import workers
from asd_lightning.archive.listing import found
from asd_lightning.archive.scoring import _lines_from, score_archive
from asd_lightning.archive.shards import begun_path, shards_of, table_of
from asd_lightning.archive.worker import Job, ShardWriter, listed, machine_of, packed, unpacked
from asd_lightning.cli import main
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.file import DetectorFile
from asd_lightning.detector.judging import Window
from asd_lightning.errors import UserError
from tests.detector.sounds import write_normal

pytest.importorskip("pyarrow")
DECISIONS = Counter({"normal": 9, "alarm": 1, "cannot judge": 2})


def job(plant, folder, shard=4, **options):
    content_hash = DetectorFile(plant / "plant.asd").content_hash
    given = {"words": (f"{plant}/archive",), "machine": None} | options
    return Job(plant / "plant.asd", content_hash, output=folder, shard=shard, batch_size=32, **given)


def recordings(rows):
    return {(row["path"], row["machine"]): row for row in rows}


@pytest.mark.usefixtures("without_cluster")
def test_rows_are_the_windows_that_the_detector_judges(plant, tmp_path):
    words = [f"{plant}/archive/**", f"{plant}/archive/monday/pump"]
    got = score_archive(plant / "plant.asd", words, tmp_path / "scores", shard=4)
    assert (got.decisions, got.scored, got.recordings) == (DECISIONS, 12, 12)
    assert len(shards_of(tmp_path / "scores")) == 3
    rows = table_of(shards_of(tmp_path / "scores")).to_pylist()
    own = recordings(rows)
    known = [path for path in found(words[:1]) if path.parent.name != "lift"]
    judgments = Detector.load(plant / "plant.asd").judge(known)
    assert len(own) == len(judgments) + 1
    assert len(rows) == sum(max(len(one.windows), 1) for one in judgments) + 1
    for one in judgments:
        row = own[one.path, one.machine]
        assert row["decision"] == one.decision
        assert row["health"] == "; ".join(one.health)
        assert row["score"] == (pytest.approx(one.score, rel=1e-6) if one.windows else None)
        windows = [[row[f"window_{name}"] for name in Window._fields] for row in rows if row["path"] == one.path]
        expected = [[*window._replace(score=pytest.approx(window.score, rel=1e-6))] for window in one.windows]
        assert windows == (expected or [[None] * len(Window._fields)])
    (lift,) = (row for row in rows if "lift" in row["path"])
    assert (lift["machine"], lift["decision"]) == ("", "cannot judge")
    assert "none of the folders above it" in lift["health"]


@pytest.mark.usefixtures("without_cluster")
def test_what_complete_shards_hold_is_not_scored_again(plant, tmp_path, monkeypatch):
    scores = tmp_path / "scores"
    for word, now in ((f"{plant}/archive/monday", 8), (f"{plant}/archive", 4), (f"{plant}/archive", 0)):
        before = {path: path.stat().st_mtime_ns for path in shards_of(scores)}
        got = asd_lightning.score(plant / "plant.asd", word, engine="ray", output=scores, shard=3)
        assert got.scored == now
        assert {path: path.stat().st_mtime_ns for path in before} == before
    assert got.decisions == DECISIONS
    # One that is lost is made again, and no other.
    shards_of(scores)[0].unlink()
    (scores / ".scores-1.parquet.123456.tmp").touch()
    (scores / ".scores-1.parquet.begun").touch()
    again = score_archive(plant / "plant.asd", [plant / "archive"], scores, shard=3)
    assert (again.decisions, 0 < again.scored <= 3) == (DECISIONS, True)
    assert [path.name for path in scores.iterdir() if path.name.startswith(".scores")] == []
    table = table_of(shards_of(scores))
    assert len(recordings(table.to_pylist())) == 12
    # Nothing to do starts no cluster.
    monkeypatch.setattr("asd_lightning.archive.scoring.connected", lambda: pytest.fail("a cluster was started"))
    assert score_archive(plant / "plant.asd", [plant / "archive"], scores, shard=3).scored == 0


@pytest.mark.usefixtures("without_cluster")
def test_a_changed_detector_refuses_to_mix(plant, tmp_path, monkeypatch):
    detector = tmp_path / "plant.asd"
    detector.write_bytes((plant / "plant.asd").read_bytes())
    score_archive(detector, [plant / "archive/monday"], tmp_path / "scores")
    asked = job(plant, tmp_path / "meanwhile")
    asd_lightning.accept(detector, *(write_normal(tmp_path / "more/pump", 3, first=400).iterdir()))
    with pytest.raises(UserError, match=r"scores-\w+\.parquet: is of another detector than .*give another -o"):
        score_archive(detector, [plant / "archive"], tmp_path / "scores")
    # The same of one that is changed while it is at work.
    meanwhile = asked.__class__(**{**vars(asked), "detector": detector})
    (row,) = listed(meanwhile, b"")
    assert "was changed meanwhile" in row["error"]
    with pytest.raises(UserError, match="was changed meanwhile"):
        ShardWriter(meanwhile).write(unpacked(next(listed(asked, b""))["shard"]))
    assert not (tmp_path / "meanwhile").exists()


@pytest.mark.usefixtures("without_cluster")
def test_the_command_counts_and_its_status_says_what_was_found(plant, tmp_path, capsys):
    def score(*words, output="scores"):
        return main(["score", str(plant / "plant.asd"), *words, "--engine", "ray", "-o", str(tmp_path / output)])

    assert score(f"{plant}/archive/monday/**/clip_*.wav") == 0
    assert score(f"{plant}/archive/tuesday/fan", output="fan") == 3
    assert score(f"{plant}/archive/**", "--shard", "5") == 1
    printed = capsys.readouterr().out
    assert [line.split() for line in printed.splitlines()[-9:] if "alarm" in line] == [["│", "alarm", "│", "1", "│"]]
    assert "5 of them were scored by this call" in " ".join(printed.split())


@pytest.mark.usefixtures("without_cluster")
def test_without_a_terminal_a_line_tells_now_and_then_how_far_it_is(plant, tmp_path, capsys):
    score_archive(plant / "plant.asd", [plant / "archive/monday"], tmp_path / "scores", shard=8)
    score_archive(plant / "plant.asd", [plant / "archive"], tmp_path / "scores", shard=3)
    counts = re.findall(r"^asd: (\d+) recordings scored$", capsys.readouterr().err, re.MULTILINE)
    assert counts == ["8", "11", "12"]


def test_many_shards_are_told_by_tenths(capsys):
    advance = _lines_from(1000)
    for _ in range(4000):
        advance(256)
    counts = [int(line.split()[1].replace(",", "")) - 1000 for line in capsys.readouterr().err.splitlines()]
    assert counts[:3] == [256, 512, 768]
    assert len(counts) < 80
    assert all(later <= 1.1 * count + 256 for count, later in zip(counts, [*counts[1:], 4000 * 256], strict=True))


def test_mistakes_are_told_in_one_line_before_anything_is_started(plant, tmp_path, capsys, monkeypatch):
    archive, detector = f"{plant}/archive/**", str(plant / "plant.asd")
    (tmp_path / "file").touch()
    engine = ["--engine", "ray", "-o", str(tmp_path / "scores")]
    mistakes = [
        ([archive, "--engine", "ray"], "give -o DIR"),
        ([archive, "-o", "scores"], "give --engine ray too"),
        ([archive, "--shard", "3"], "give --engine ray too"),
        ([archive, *engine, "--json"], "give it without --json"),
        (["-", *engine], "give it without --json"),
        ([archive, *engine, "--shard", "0"], "--shard 0: a shard holds one recording or more"),
        ([archive, *engine, "--machine", "lift"], "machine lift: the detector knows pump, fan"),
        ([f"{plant}/absent/**", *engine], "no recordings there"),
        ([archive, "--engine", "ray", "-o", str(tmp_path / "file")], "no folder"),
    ]
    for arguments, told in mistakes:
        assert main(["score", detector, *arguments]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    assert not (tmp_path / "scores").exists()
    for options, told in (({"output": "scores"}, "engine='ray'"), ({"engine": "ray"}, "needs output=")):
        with pytest.raises(UserError, match=told):
            asd_lightning.score(detector, archive, **options)
    with pytest.raises(UserError, match="waveforms are judged without it"):
        asd_lightning.score(detector, [1.0], engine="ray", output=tmp_path / "scores")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["score", detector, archive, *engine]) == 2
    assert capsys.readouterr().err == "asd: --engine ray needs Ray Data: pip install 'asd_lightning[ray]'\n"


def test_one_command_at_a_time_writes_into_a_folder(plant, tmp_path):
    from asd_lightning.archive.scoring import _alone_in

    with _alone_in(tmp_path / "scores"), pytest.raises(UserError, match="another command is scoring into it"):
        score_archive(plant / "plant.asd", [plant / "archive"], tmp_path / "scores")


def test_a_shard_that_another_worker_has_written_is_not_scored_again(plant, tmp_path, monkeypatch):
    asked = job(plant, tmp_path)
    shard = unpacked(next(listed(asked, b""))["shard"])
    first = ShardWriter(asked).write(shard)
    monkeypatch.setattr(worker, "judged", lambda *_: pytest.fail("scored twice"))
    assert ShardWriter(asked).write(shard) == first


def test_a_recording_that_ends_its_workers_is_told_after_some(plant, tmp_path, monkeypatch):
    """A worker that dies leaves no answer; the next one is given the same shard."""
    asked = job(plant, tmp_path)
    shard = unpacked(next(listed(asked, b""))["shard"])
    with monkeypatch.context() as patched:
        patched.setattr(worker, "judged", lambda *_: 1 / 0)
        for _ in range(5):
            with contextlib.suppress(ZeroDivisionError):
                ShardWriter(asked).write(shard)
        with pytest.raises(UserError, match=r"clip_100.wav to .*: 5 workers have ended .* these 4 recordings"):
            ShardWriter(asked).write(shard)
    begun_path(tmp_path / "unknown").touch()
    assert not shards_of(tmp_path)


def test_shards_are_listed_without_what_is_done(plant, tmp_path):
    whole = [one for row in listed(job(plant, tmp_path), b"") for one in unpacked(row["shard"])]
    assert len(whole) == 12
    done = b"".join(one.key for one in whole[::2])
    rest = [unpacked(row["shard"]) for row in listed(job(plant, tmp_path), done)]
    assert [one for shard in rest for one in shard] == whole[1::2]
    assert [len(shard) for shard in rest] == [4, 2]
    odd = [worker.Wanted(Path("/a/\udcff\n\u00e9.wav"), "p\u00fcmp")]
    assert unpacked(packed(odd)) == odd


@pytest.mark.parametrize(
    ("path", "names", "machine", "expected"),
    [
        ("/a/pump/x.wav", "pump", None, "pump"),
        ("/a/fan/x.wav", "pump", None, "pump"),
        ("/pump/fan/day/x.wav", "pump fan", None, "fan"),
        ("/a/b/pump", "pump fan", None, ""),
        ("/a/pump/x.wav", "pump fan", "fan", "fan"),
    ],
)
def test_whose_recording_it_is(path, names, machine, expected):
    assert machine_of(Path(path), frozenset(names.split()), machine) == expected


def test_workers_are_as_many_as_cores_or_some_for_each_gpu():
    assert workers({"CPU": 3.0}, True) == (3, 0.0)
    assert workers({"CPU": 16.0, "GPU": 1.0}, True) == (4, 0.25)
    assert workers({"CPU": 16.0, "GPU": 1.0}, False) == (16, 0.0)
    assert workers({"CPU": 2.0, "GPU": 4.0}, True) == (4, 0.25)
    assert cluster.workers({}, False) == (1, 0.0)


class BusyRay:
    """A machine on which a node starts at the third try, or never."""

    def __init__(self, fails):
        self.fails, self.asked = fails, []

    def init(self, **options):
        self.asked.append(options)
        if len(self.asked) <= self.fails:
            raise ConnectionError("timed out\nduring startup")

    def shutdown(self):
        pass


def test_a_node_that_starts_slowly_is_started_again():
    busy = BusyRay(2)
    cluster._start(busy, None)
    assert [one["address"] for one in busy.asked] == ["local"] * 3
    assert not any(one["include_dashboard"] for one in busy.asked)
    with pytest.raises(UserError, match=r"does not start on this machine \(timed out during startup\)"):
        cluster._start(BusyRay(9), None)
    with pytest.raises(UserError, match=r"RAY_ADDRESS=10\.0\.0\.1:6379: no Ray cluster answers there"):
        cluster._start(BusyRay(9), "10.0.0.1:6379")
