"""File lists in each of the record API's forms, revisions, mirrors, selections and truth files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from asd_lightning.download.records import (
    RemoteFile,
    list_year,
    newest_revisions,
    on_mirror,
    read_file_list,
    select,
    write_file_list,
)
from asd_lightning.download.retry import RetryPolicy, new_session
from asd_lightning.download.years import YEARS, find_year
from asd_lightning.errors import UserError
from tests.download.record_server import RecordServer, entry, serving
from tests.reference import needs_reference, shared_dir

POLICY = RetryPolicy(tries=1)
DEV_2025 = 15097779


@pytest.fixture
def server() -> Iterator[RecordServer]:
    with serving(RecordServer()) as running:
        yield running


def publish(server: RecordServer, path: str, document: Any) -> None:
    server.files[path] = json.dumps(document).encode()


def list_dev(server: RecordServer) -> list[RemoteFile]:
    with new_session() as session:
        return list_year(session, YEARS[2025], ["dev"], server.url, POLICY)


def zip_entry(name: str) -> dict[str, Any]:
    return entry(name, name.encode(), f"https://zenodo.org/api/records/{DEV_2025}/files/{name}/content")


def test_the_records_of_each_year() -> None:
    assert {year: tuple(YEARS[year].records.values()) for year in YEARS} == {
        2023: (7882613, 7830345, 7860847),
        2024: (10902294, 11259435, 11363076),
        2025: (15097779, 15392814, 15519362),
        2026: (19336329, 20151556, 20437238),
    }
    assert YEARS[2025].record_url("dev") == "https://zenodo.org/api/records/15097779"


@needs_reference("dcase/train_attributes_2025.csv")
def test_the_machines_of_2025_and_their_clip_lengths() -> None:
    lines = (shared_dir() / "dcase" / "train_attributes_2025.csv").read_text().splitlines()[1:]
    rows = [(cells[0], cells[1], float(cells[-1])) for cells in (line.split(",") for line in lines)]
    year = YEARS[2025]
    assert set(year.dev_machines) == {machine for machine, subset, _ in rows if subset == "dev"}
    assert set(year.eval_machines) == {machine for machine, subset, _ in rows if subset == "additional"}
    assert year.seconds == {machine: seconds for machine, _, seconds in rows}


@pytest.mark.parametrize("name", ["dcase2025", "DCASE2025", "2025"])
def test_a_year_by_its_names(name: str) -> None:
    assert find_year(name).year == 2025


@pytest.mark.parametrize("name", ["dcase2022", "2o25", "", "dcase"])
def test_an_unknown_year_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UserError, match="dcase2023, dcase2024, dcase2025, dcase2026"):
        find_year(name)


def test_zenodos_form(server: RecordServer) -> None:
    files = [zip_entry("dev_fan.zip"), zip_entry("dev_ToyCar.zip"), zip_entry("LICENSE.txt")]
    publish(server, f"/api/records/{DEV_2025}", {"id": DEV_2025, "files": files})
    listed = list_dev(server)
    assert [(file.name, file.part, file.machine) for file in listed] == [
        ("dev_fan.zip", "dev", "fan"),
        ("dev_ToyCar.zip", "dev", "ToyCar"),
    ]
    assert listed[0].size == len(b"dev_fan.zip")
    assert f"md5:{listed[0].md5}" == files[0]["checksum"]
    assert listed[0].url == files[0]["links"]["self"]


@pytest.mark.parametrize("as_mapping", [True, False])
def test_inveniordms_form(server: RecordServer, as_mapping: bool) -> None:
    rows = [zip_entry("dev_fan.zip"), zip_entry("dev_valve.zip")]
    for row in rows:
        row["links"] = {"self": "https://zenodo.org/description", "content": f"https://zenodo.org/{row['key']}"}
    entries = {row.pop("key"): row for row in rows} if as_mapping else rows
    publish(server, f"/api/records/{DEV_2025}", {"files": {"enabled": True, "entries": entries}})
    listed = list_dev(server)
    assert [(file.machine, file.url) for file in listed] == [
        ("fan", "https://zenodo.org/dev_fan.zip"),
        ("valve", "https://zenodo.org/dev_valve.zip"),
    ]


def test_a_file_list_on_pages_of_its_own(server: RecordServer) -> None:
    base = f"/api/records/{DEV_2025}"
    link = f"https://zenodo.org{base}/files"
    publish(server, base, {"files": {"enabled": True}, "links": {"files": link}})
    publish(server, f"{base}/files", {"entries": [zip_entry("dev_fan.zip")], "links": {"next": f"{link}?page=2"}})
    publish(server, f"{base}/files?page=2", {"entries": [zip_entry("dev_valve.zip")], "links": {"self": link}})
    assert [file.machine for file in list_dev(server)] == ["fan", "valve"]


def test_pages_without_end_are_an_error(server: RecordServer) -> None:
    base = f"/api/records/{DEV_2025}"
    for page, following in ((1, 2), (2, 1)):
        document = {"entries": [zip_entry("dev_fan.zip")], "links": {"next": f"{base}?page={following}"}}
        publish(server, base if page == 1 else f"{base}?page=2", document)
        publish(server, f"{base}?page={page}", document)
    with pytest.raises(UserError, match="more than 100 pages"):
        list_dev(server)


@pytest.mark.parametrize(
    "document",
    [
        [],
        "text",
        {"files": []},
        {"hits": {}},
        {"files": None},
        {"files": 5},
        {"files": ["dev_fan.zip"]},
        {"files": {"entries": {"dev_fan.zip": 5}}},
        {"files": [], "links": ["x"]},
        {"files": [zip_entry("dev_fan.zip") | {"links": ["x"]}]},
        {"files": [zip_entry("dev_fan.zip") | {"links": {"self": 5}}]},
    ],
)
def test_what_is_not_a_record_is_an_error(server: RecordServer, document: Any) -> None:
    publish(server, f"/api/records/{DEV_2025}", document)
    with pytest.raises(UserError, match=r"right server|record server"):
        list_dev(server)


@pytest.mark.parametrize("missing", ["checksum", "size"])
def test_a_list_without_checksum_or_size_is_refused(server: RecordServer, missing: str) -> None:
    row = zip_entry("dev_fan.zip")
    del row[missing]
    publish(server, f"/api/records/{DEV_2025}", {"files": [row]})
    with pytest.raises(UserError, match="--file-list"):
        list_dev(server)


@pytest.mark.parametrize("name", ["dev_../../etc.zip", "dev_a/b.zip", "../dev_fan.zip", "dev_fan.zip.exe"])
def test_a_name_that_is_a_path_is_never_taken(server: RecordServer, name: str) -> None:
    publish(server, f"/api/records/{DEV_2025}", {"files": [zip_entry("dev_fan.zip"), zip_entry(name)]})
    assert [file.name for file in list_dev(server)] == ["dev_fan.zip"]


def remote(name: str, machine: str, part: Any = "dev") -> RemoteFile:
    return RemoteFile(name, f"https://zenodo.org/{name}", part, machine, 1, "0" * 32)


@pytest.mark.parametrize("newest_first", [True, False])
def test_dev_toycar_r2_replaces_dev_toycar(newest_first: bool) -> None:
    files = [remote("dev_ToyCar_r2.zip", "ToyCar"), remote("dev_ToyCar.zip", "ToyCar"), remote("dev_fan.zip", "fan")]
    chosen = newest_revisions(files if newest_first else files[::-1])
    assert {file.name for file in chosen} == {"dev_ToyCar_r2.zip", "dev_fan.zip"}


def test_revisions_count_as_numbers_and_per_part() -> None:
    files = [
        remote("eval_data_RoboticArm_train_r9.zip", "RoboticArm", "train"),
        remote("eval_data_RoboticArm_train_r10.zip", "RoboticArm", "train"),
        remote("eval_data_RoboticArm_test.zip", "RoboticArm", "test"),
    ]
    assert newest_revisions(files) == files[1:]


def test_revised_names_of_2024_and_2026_are_recognized(server: RecordServer) -> None:
    names = ["dev_ToyCarEmu.zip", "dev_ToyCar.zip", "dev_ToyCar_r2.zip"]
    publish(server, f"/api/records/{DEV_2025}", {"files": [zip_entry(name) for name in names]})
    assert {(file.name, file.machine) for file in list_dev(server)} == {
        ("dev_ToyCarEmu.zip", "ToyCarEmu"),
        ("dev_ToyCar_r2.zip", "ToyCar"),
    }


def test_a_mirror_keeps_the_path() -> None:
    url = "https://zenodo.org/api/records/1/files/a.zip/content?x=1"
    assert on_mirror(url, None) == url
    assert on_mirror(url, "http://host/sub/") == "http://host/sub/api/records/1/files/a.zip/content?x=1"
    assert on_mirror("http://host/sub/a.zip", "http://host/sub") == "http://host/sub/a.zip"
    assert on_mirror("archives/a.zip", "http://host/sub") == "http://host/sub/archives/a.zip"


def test_a_relative_address_needs_a_mirror() -> None:
    with pytest.raises(UserError, match="--mirror"):
        on_mirror("archives/a.zip", None)


def test_selecting_machines_keeps_the_truth_file() -> None:
    files = [remote("dev_fan.zip", "fan"), remote("dev_valve.zip", "valve"), remote("list.csv", "", "truth")]
    assert [file.name for file in select(files, ["valve"])] == ["dev_valve.zip", "list.csv"]
    assert select(files, None) == files
    with pytest.raises(UserError, match=r"no archive for pump.*fan, valve"):
        select(files, ["pump", "fan"])
    with pytest.raises(UserError, match=r"covers every machine: leave --machines out"):
        select(files[2:], ["valve"])


def test_a_pinned_list_comes_back_as_written(tmp_path: Path) -> None:
    files = [remote("dev_fan.zip", "fan"), RemoteFile("eval_data_list_2025.csv", "https://host/x.csv", "truth", "")]
    write_file_list(tmp_path / "list.json", files)
    assert read_file_list(tmp_path / "list.json") == files


@pytest.mark.parametrize(
    "rows",
    [
        "not json",
        "{}x",
        [{"name": "dev_fan.zip"}],
        [{"name": "../../dev_fan.zip", "url": "http://a/b", "part": "dev", "machine": "fan"}],
        [{"name": "dev_fan.zip", "url": "http://a/b", "part": "dev", "machine": "../fan"}],
        [{"name": "../x.csv", "url": "http://a/b", "part": "truth", "machine": ""}],
        [{"name": "dev_fan.zip", "url": "http://a/b", "part": "test", "machine": "fan"}],
        [{"name": "dev_fan.zip", "url": "http://a/b", "part": "dev", "machine": "fan", "size": "big"}],
        [{"name": "dev_fan.zip", "url": "http://a/b", "part": "dev", "machine": "fan", "md5": "xyz"}],
    ],
)
def test_a_wrong_pinned_list_is_refused(tmp_path: Path, rows: Any) -> None:
    path = tmp_path / "list.json"
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    with pytest.raises(UserError, match=r"list.json"):
        read_file_list(path)


@pytest.mark.parametrize(
    ("url", "mirror"),
    [
        ("http://host:18011/a.zip", "http://host:1801"),
        ("http://host.evil.org/a.zip", "http://host"),
        ("http://host@evil.org/a.zip", "http://host"),
        ("http://host:80@evil.org/a.zip", "http://host:80"),
        ("http://evil.org/http://host/a.zip", "http://host"),
        ("https://host/a.zip", "http://host"),
        ("http://host/mirrored/a.zip", "http://host/mirror"),
        ("http://host/mirror/../a.zip", "http://host/mirror"),
        ("ftp://host/a.zip", "http://host"),
    ],
)
def test_a_mirror_is_a_server_and_a_folder_not_a_beginning(url: str, mirror: str) -> None:
    assert on_mirror(url, mirror) == f"{mirror}/{urlsplit(url).path.lstrip('/')}"


@pytest.mark.parametrize(
    ("url", "mirror"),
    [
        ("http://host/m/a.zip", "http://host:80/m/"),
        ("http://HOST:80/m/a.zip", "http://host/m"),
        ("https://host:443/a.zip", "https://host"),
        ("http://host:1801/a.zip?x=1", "http://host:1801"),
    ],
)
def test_what_is_on_the_mirror_stays(url: str, mirror: str) -> None:
    assert on_mirror(url, mirror) == url


@pytest.mark.parametrize("url", ["http://host:99999/a", "http://[::1/a", "http://host:a/b"])
def test_addresses_that_are_none_are_named(url: str) -> None:
    with pytest.raises(UserError, match="is no address"):
        on_mirror(url, "http://host")


@pytest.mark.parametrize("link", ["//evil.invalid/page", "https://zenodo.org//evil.invalid/page", "http://[::1/"])
def test_the_next_page_is_on_the_same_server(server: RecordServer, link: str) -> None:
    server.files["/api/records/15097779"] = json.dumps({"entries": [], "links": {"next": link}}).encode()
    with new_session() as session, pytest.raises(UserError, match=r"127\.0\.0\.1\S+page answered 404|is no address"):
        list_year(session, find_year("dcase2025"), ["dev"], server.url, RetryPolicy(tries=1))
    assert all(not request.path.startswith("//evil") for request in server.requests)
