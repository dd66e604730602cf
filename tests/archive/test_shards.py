import pickle
import re
from pathlib import Path

import pytest

from asd_lightning.archive.shards import Wanted, read_told, scored_keys, shard_path, table_of, write_shard
from asd_lightning.detector.judging import Judgment, Place, Window
from asd_lightning.errors import UserError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NAN = float("nan")
HEARD = Judgment(
    "/a/pump/1.wav", "pump", 2.5, 2.0, "warning", 0.01, ("dead", "stuck"),
    (Window(0.0, 1.0, 2.5, "warning"), Window(1.0, 2.0, NAN, "cannot judge")), Place("7.wav", 3.0),
)  # fmt: skip
UNHEARD = Judgment("/a/fan/\udcff.wav", "fan", NAN, 1.0, "cannot judge", NAN, ("unreadable",), (), None)


def test_a_row_is_a_window_and_nothing_is_lost(tmp_path):
    told = write_shard(tmp_path / "scores-1.parquet", "hash", [HEARD, UNHEARD])
    assert read_told(tmp_path / "scores-1.parquet") == told
    assert (told.content_hash, dict(told.decisions)) == ("hash", {"warning": 1, "cannot judge": 1})
    rows = table_of([tmp_path / "scores-1.parquet"]).to_pylist()
    same = {
        "path": "/a/pump/1.wav", "machine": "pump", "decision": "warning", "score": 2.5, "threshold": 2.0,
        "p_value": 0.01, "health": "dead; stuck", "nearest": "7.wav", "nearest_start": 3.0,
    }  # fmt: skip
    expected = [
        dict.fromkeys(same)
        | {"path": "/a/fan/\\udcff.wav", "machine": "fan", "decision": "cannot judge", "threshold": 1.0}
        | {"health": "unreadable", "window_start": None, "window_end": None, "window_score": None},
        same | {"window_start": 0.0, "window_end": 1.0, "window_score": 2.5},
        same | {"window_start": 1.0, "window_end": 2.0, "window_score": None},
    ]
    assert [{name: row[name] for name in expected[0]} for row in rows] == expected
    # Whatever fields judgments and windows come to have, each is a column.
    assert set(rows[0]) >= {*Judgment._fields} - {"windows"} | {f"window_{name}" for name in Window._fields}


def test_the_documented_columns_are_those_that_are_written(tmp_path):
    write_shard(tmp_path / "scores-1.parquet", "hash", [HEARD])
    text = (Path(__file__).parents[2] / "docs/scaling.md").read_text(encoding="utf-8")
    listed = text.partition("A row is a\n  window: ")[2].partition("Any reader")[0]
    assert re.findall("`(.+?)`", listed) == table_of([tmp_path / "scores-1.parquet"]).column_names


def test_a_recording_is_found_again_by_its_path_and_machine(tmp_path):
    write_shard(tmp_path / "scores-1.parquet", "hash", [HEARD, UNHEARD])
    wanted = [Wanted(Path(one.path), one.machine) for one in (HEARD, UNHEARD)]
    assert list(scored_keys([tmp_path / "scores-1.parquet"])) == [one.key for one in wanted]
    assert wanted[0]._replace(machine="fan").key != wanted[0].key
    places = {shard_path(tmp_path, *asked) for asked in (("hash", wanted), ("other", wanted), ("hash", wanted[:1]))}
    assert len(places) == 3
    assert all(re.fullmatch(r"scores-[0-9a-f]{32}\.parquet", place.name) for place in places)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("was unpickled",))


def test_files_of_others_are_refused_before_types_in_them_are_made(tmp_path, monkeypatch):
    """Ray registers a type for Parquet that unpickles; in a file it is named by the stored schema."""
    monkeypatch.setattr(pq, "ParquetFile", lambda *_: pytest.fail("was opened"))
    path = tmp_path / "scores-1.parquet"
    field = pa.field("path", pa.binary(), metadata={"ARROW:extension:name": "ray.data.arrow_pickled_object"})
    pq.write_table(pa.table([[pickle.dumps(Bomb())]], schema=pa.schema([field])), path)
    for read in (read_told, lambda path: list(scored_keys([path])), lambda path: table_of([path])):
        with pytest.raises(UserError, match=r"scores-1\.parquet: no shard as asd score"):
            read(path)


def test_what_is_no_shard_or_cut_short_is_told_in_one_line(tmp_path):
    path = tmp_path / "scores-1.parquet"
    write_shard(path, "hash", [HEARD])
    whole = path.read_bytes()
    plain = tmp_path / "scores-2.parquet"
    pq.write_table(pa.table({"path": ["a"]}), plain, store_schema=False)
    contents = [b"", b"PAR1", whole[:-1], whole[:-300], b"\xff" * 8 + whole[-8:], plain.read_bytes()]
    contents.append(whole[:4] + bytes(len(whole) - 12) + whole[-8:])
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(UserError, match="no shard") as raised:
            read_told(path)
        assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="no shard"):
        list(scored_keys([plain]))
