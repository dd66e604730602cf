"""Transfers over a line and from a server that fail in every way met in practice."""

from __future__ import annotations

import gzip
import hashlib
import threading
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import requests

from asd_lightning.download import transfer
from asd_lightning.download.retry import RetryPolicy, get_json, new_session, passing_or_final, refuse_downgrade
from asd_lightning.download.transfer import StoppedError, Wanted, fetch, file_digest
from asd_lightning.errors import UserError
from tests.download.record_server import Fault, RecordServer, Request, serving
from tests.download.small_disk import small_disk

CONTENT = np.random.default_rng(0).bytes(1_000_003)
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
NAME = "dev_fan.zip"


def kept_of(sent: int) -> int:
    """Bytes on disk after the line broke: all that had arrived."""
    return sent


@pytest.fixture
def server() -> Iterator[RecordServer]:
    with serving(RecordServer({f"/{NAME}": CONTENT})) as running:
        yield running


class Fetching:
    """One fetch into a folder, with pauses recorded in the place of being waited for."""

    def __init__(self, server: RecordServer, folder: Path, tries: int = 4) -> None:
        self.wanted = Wanted(f"{server.url}/{NAME}", MD5, size=len(CONTENT))
        self.destination = folder / NAME
        self.part = folder / f"{NAME}.part"
        self.pauses: list[float] = []
        self.reported: list[int] = []
        self.stop = threading.Event()
        self.policy = RetryPolicy(tries=tries, sleep=self.pauses.append)

    def report(self, present: int, total: int | None) -> None:
        assert total in (None, len(CONTENT))
        self.reported.append(present)

    def __call__(self) -> bytes:
        with new_session() as session:
            digest = fetch(session, self.wanted, self.destination, self.policy, self.report, self.stop)
        assert digest == file_digest(self.destination, self.wanted.algorithm)
        return self.destination.read_bytes()


def test_whole_file_in_one_go(server: RecordServer, tmp_path: Path) -> None:
    fetching = Fetching(server, tmp_path)
    assert fetching() == CONTENT
    assert not fetching.part.exists()
    assert fetching.pauses == []
    assert fetching.reported[-1] == len(CONTENT)
    assert server.requests[0].user_agent.startswith("asd_lightning/")


def test_a_file_already_there_is_not_asked_for_again(server: RecordServer, tmp_path: Path) -> None:
    fetching = Fetching(server, tmp_path)
    fetching()
    assert fetching() == CONTENT
    assert len(server.requests) == 1


def test_connection_cut_at_every_tenth(server: RecordServer, tmp_path: Path) -> None:
    tenths = [len(CONTENT) * tenth // 10 for tenth in range(1, 10)]
    server.fault = lambda request: Fault(send_until=tenths[request.number]) if request.number < 9 else None
    fetching = Fetching(server, tmp_path, tries=2)
    assert fetching() == CONTENT
    assert server.starts(NAME) == [0, *map(kept_of, tenths)]
    assert len(fetching.pauses) == 9


@pytest.mark.parametrize("tenth", range(10))
def test_a_later_call_goes_on_where_the_line_broke(server: RecordServer, tmp_path: Path, tenth: int) -> None:
    cut = len(CONTENT) * tenth // 10
    server.fault = lambda _: Fault(send_until=cut)
    first = Fetching(server, tmp_path, tries=1)
    with pytest.raises(UserError, match="run the same command again to go on"):
        first()
    assert not first.destination.exists()
    assert first.part.read_bytes() == CONTENT[: kept_of(cut)]
    server.fault = lambda _: None
    assert Fetching(server, tmp_path)() == CONTENT
    assert server.starts(NAME) == [0, kept_of(cut)]


def test_pauses_double_and_stay_bounded(server: RecordServer, tmp_path: Path) -> None:
    server.fault = lambda _: Fault(503)
    fetching = Fetching(server, tmp_path, tries=9)
    with pytest.raises(UserError, match="503"):
        fetching()
    assert fetching.pauses == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_refusals_are_tried_again(server: RecordServer, tmp_path: Path, status: int) -> None:
    server.fault = lambda request: Fault(status) if request.number < 2 else None
    fetching = Fetching(server, tmp_path)
    assert fetching() == CONTENT
    assert fetching.pauses == [1, 2]


def test_retry_after_in_seconds_is_obeyed(server: RecordServer, tmp_path: Path) -> None:
    server.fault = lambda request: Fault(429, {"Retry-After": "37"}) if request.number == 0 else None
    fetching = Fetching(server, tmp_path)
    assert fetching() == CONTENT
    assert fetching.pauses == [37]


def test_who_waits_is_told_why_and_how_long(server: RecordServer, tmp_path: Path) -> None:
    server.fault = lambda request: Fault(429, {"Retry-After": "37"}) if request.number == 0 else None
    fetching = Fetching(server, tmp_path)
    told: list[str] = []
    fetching.policy = RetryPolicy(sleep=lambda _: None, tell=told.append)
    assert fetching() == CONTENT
    assert told == [f"{server.url}/{NAME} answered 429 Too Many Requests: trying again in 37 s"]


def test_retry_after_as_a_date_is_obeyed(server: RecordServer, tmp_path: Path) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    server.fault = lambda request: Fault(503, {"Retry-After": when}) if request.number == 0 else None
    fetching = Fetching(server, tmp_path)
    assert fetching() == CONTENT
    assert 200 < fetching.pauses[0] <= 300


def test_an_unreadable_retry_after_counts_for_nothing(server: RecordServer, tmp_path: Path) -> None:
    server.fault = lambda request: Fault(503, {"Retry-After": "soon"}) if request.number == 0 else None
    fetching = Fetching(server, tmp_path)
    assert fetching() == CONTENT
    assert fetching.pauses == [1]


def test_too_long_a_retry_after_is_an_error_not_a_wait(server: RecordServer, tmp_path: Path) -> None:
    server.fault = lambda _: Fault(429, {"Retry-After": "86400"})
    fetching = Fetching(server, tmp_path)
    with pytest.raises(UserError, match="86400 s: run the command again then"):
        fetching()
    assert fetching.pauses == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_final_refusals_are_not_tried_again(server: RecordServer, tmp_path: Path, status: int) -> None:
    server.fault = lambda _: Fault(status)
    fetching = Fetching(server, tmp_path)
    with pytest.raises(UserError, match=f"{status}.*--mirror"):
        fetching()
    assert len(server.requests) == 1


def test_wrong_checksum_once_is_fetched_again(server: RecordServer, tmp_path: Path) -> None:
    damaged = bytes(len(CONTENT))
    server.fault = lambda request: Fault(content=damaged) if request.number == 0 else None
    assert Fetching(server, tmp_path)() == CONTENT
    assert server.starts(NAME) == [0, 0]


def test_wrong_checksum_twice_is_an_error_that_leaves_nothing(server: RecordServer, tmp_path: Path) -> None:
    server.files[f"/{NAME}"] = bytes(len(CONTENT))
    fetching = Fetching(server, tmp_path)
    with pytest.raises(UserError, match=rf"checksum.*{MD5}.*--mirror"):
        fetching()
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 2


def test_a_part_damaged_on_disk_does_not_survive(server: RecordServer, tmp_path: Path) -> None:
    fetching = Fetching(server, tmp_path)
    fetching.part.write_bytes(bytes(500_000))
    assert fetching() == CONTENT
    assert server.starts(NAME) == [500_000, 0]


def test_a_part_longer_than_the_file_is_begun_again(server: RecordServer, tmp_path: Path) -> None:
    fetching = Fetching(server, tmp_path)
    fetching.part.write_bytes(CONTENT + b"more")
    assert fetching() == CONTENT
    assert server.starts(NAME) == [0]


def test_a_file_of_the_right_name_and_wrong_content_is_replaced(server: RecordServer, tmp_path: Path) -> None:
    fetching = Fetching(server, tmp_path)
    fetching.destination.write_bytes(bytes(len(CONTENT)))
    assert fetching() == CONTENT


def test_a_server_without_ranges_begins_again(server: RecordServer, tmp_path: Path) -> None:
    server.ranges = False
    server.fault = lambda request: Fault(send_until=600_000) if request.number == 0 else None
    fetching = Fetching(server, tmp_path)
    assert fetching() == CONTENT
    assert server.starts(NAME) == [0, kept_of(600_000)]  # it was asked, and sent everything


def test_a_server_without_ranges_that_always_breaks_is_given_up(server: RecordServer, tmp_path: Path) -> None:
    server.ranges = False
    server.fault = lambda _: Fault(send_until=600_000)
    fetching = Fetching(server, tmp_path, tries=3)
    with pytest.raises(UserError, match="gave up after 3 tries"):
        fetching()
    assert len(server.requests) <= 4  # the first one did bring something new


def test_a_wrong_range_is_not_glued_in(server: RecordServer, tmp_path: Path) -> None:
    # The file shrank on the server: its Content-Range tells another total.
    server.files[f"/{NAME}"] = CONTENT[:-10]
    fetching = Fetching(server, tmp_path, tries=2)
    fetching.part.write_bytes(CONTENT[:1000])
    with pytest.raises(UserError, match=rf"has {len(CONTENT) - 10} bytes, not the published {len(CONTENT)}.*--mirror"):
        fetching()
    assert server.starts(NAME) == [1000, 0]
    assert not fetching.destination.exists()
    assert not fetching.part.exists()


@pytest.mark.parametrize("length", ["", "many", "-5"])
def test_a_missing_or_senseless_length_is_no_matter(server: RecordServer, tmp_path: Path, length: str) -> None:
    server.fault = lambda _: Fault(length=length)
    assert Fetching(server, tmp_path)() == CONTENT


def test_a_server_that_does_not_stop_is_left(server: RecordServer, tmp_path: Path) -> None:
    server.fault = lambda _: Fault(content=CONTENT + bytes(50_000_000), length="")
    fetching = Fetching(server, tmp_path)
    with pytest.raises(UserError, match=rf"sent more than the {len(CONTENT)} bytes .*--mirror"):
        fetching()
    assert max(fetching.reported) <= len(CONTENT)
    assert fetching.part.read_bytes() == b""
    assert len(server.requests) == 1
    server.fault = lambda _: None
    assert fetching() == CONTENT


def test_redirects_are_followed_with_their_range(server: RecordServer, tmp_path: Path) -> None:
    server.files["/elsewhere/file"] = CONTENT
    server.fault = lambda request: Fault(302, {"Location": "/elsewhere/file"}) if NAME in request.path else None
    fetching = Fetching(server, tmp_path)
    fetching.part.write_bytes(CONTENT[:123_456])
    assert fetching() == CONTENT
    assert server.starts("elsewhere") == [123_456]


def test_encryption_is_not_given_up_on_the_way() -> None:
    refuse_downgrade("https://zenodo.org/a", "https://elsewhere.org/a")
    refuse_downgrade("http://mirror/a", "http://mirror/b")
    with pytest.raises(UserError, match=r"https://zenodo.org/a redirects to the unencrypted http://x/a.*--mirror"):
        refuse_downgrade("https://zenodo.org/a", "http://x/a")


def test_endless_redirects_are_an_error(server: RecordServer, tmp_path: Path) -> None:
    server.fault = lambda _: Fault(302, {"Location": f"/{NAME}"})
    with pytest.raises(UserError, match="redirects"):
        Fetching(server, tmp_path)()


def test_no_server_at_all(tmp_path: Path) -> None:
    fetching = Fetching(RecordServer(url="http://127.0.0.1:9"), tmp_path, tries=2)
    with pytest.raises(
        UserError, match=r"no connection to http://127.0.0.1:9\S+ \(Failed to [^<>(]* refused\).*HTTPS_PROXY"
    ):
        fetching()
    assert fetching.pauses == [1]


def test_a_certificate_that_is_not_trusted_is_final() -> None:
    fault = requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    told = passing_or_final(fault, "https://zenodo.org/a")
    assert isinstance(told, UserError)
    assert "REQUESTS_CA_BUNDLE" in str(told)


def test_a_broken_line_is_not_called_a_missing_network(server: RecordServer, tmp_path: Path) -> None:
    server.fault = lambda _: Fault(send_until=100_000)
    with pytest.raises(UserError, match=r"^the connection to \S+ broke \(.*run the same command again to go on"):
        Fetching(server, tmp_path, tries=1)()


def test_a_proxy_from_the_environment_is_used(
    server: RecordServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    fetching = Fetching(RecordServer(url="http://records.invalid"), tmp_path)
    server.files[f"http://records.invalid/{NAME}"] = CONTENT
    assert fetching() == CONTENT


def test_stopping_keeps_what_has_arrived(server: RecordServer, tmp_path: Path) -> None:
    fetching = Fetching(server, tmp_path)

    def stop_early(count: int, total: int | None) -> None:
        if count > 300_000:
            fetching.stop.set()

    with new_session() as session, pytest.raises(StoppedError):
        fetch(session, fetching.wanted, fetching.destination, fetching.policy, stop_early, fetching.stop)
    kept = fetching.part.stat().st_size
    assert 300_000 < kept < len(CONTENT)
    assert Fetching(server, tmp_path)() == CONTENT
    assert server.starts(NAME) == [0, kept]


def test_disk_full_is_told_and_keeps_what_has_arrived(server: RecordServer, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "1200k") as folder:
        fetching = Fetching(server, folder)

        def fill_up(count: int, total: int | None) -> None:
            if count > 300_000 and not (folder / "ballast").exists():
                (folder / "ballast").write_bytes(bytes(600_000))

        fetching.report = fill_up  # type: ignore[method-assign]
        with pytest.raises(UserError, match=r"no space left.*free some and run the command again"):
            fetching()
        part = (folder / f"{NAME}.part").read_bytes()
        assert len(part) > 100_000
        assert part == CONTENT[: len(part)]
        assert len(server.requests) == 1  # a full disk is no reason to ask again


def test_too_small_a_disk_is_told_before_the_first_byte(server: RecordServer, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "512k") as folder:
        with pytest.raises(UserError, match=r"no space left in .*1\.0 MB are needed.*free some"):
            Fetching(server, folder)()
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("known", ["md5", "sha256", "size", "nothing"])
def test_whatever_is_published_of_a_file_a_cut_line_is_mended(server: RecordServer, tmp_path: Path, known: str) -> None:
    server.fault = lambda request: Fault(send_until=600_000) if request.number == 0 else None
    fetching = Fetching(server, tmp_path)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    fetching.wanted = {
        "md5": Wanted(fetching.wanted.url, MD5),
        "sha256": Wanted(fetching.wanted.url, sha256, "sha256"),
        "size": Wanted(fetching.wanted.url, size=len(CONTENT)),
        "nothing": Wanted(fetching.wanted.url, algorithm="sha256"),
    }[known]
    assert fetching() == CONTENT
    assert server.starts(NAME) == [0, kept_of(600_000)]


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_only_a_checksum_vouches_for_what_an_earlier_call_left(
    server: RecordServer, tmp_path: Path, algorithm: Literal["md5", "sha256"]
) -> None:
    fetching = Fetching(server, tmp_path)
    fetching.part.write_bytes(bytes(1000))
    fetching.destination.write_bytes(bytes(len(CONTENT)))
    fetching.wanted = Wanted(fetching.wanted.url, None, algorithm, len(CONTENT))
    assert fetching() == CONTENT
    assert server.starts(NAME) == [0]
    fetching.wanted = Wanted(fetching.wanted.url, file_digest(fetching.destination, algorithm), algorithm)
    assert fetching() == CONTENT
    assert server.starts(NAME) == [0]


def test_a_web_page_in_place_of_the_file_is_told_and_not_kept(server: RecordServer, tmp_path: Path) -> None:
    page = b"<!DOCTYPE html><p>Sign in</p>"
    server.fault = lambda _: Fault(content=page)
    fetching = Fetching(server, tmp_path)
    fetching.wanted = Wanted(fetching.wanted.url, MD5)
    expected = pytest.raises(UserError, match=r"answered with a web page, not with a file: .*--mirror")
    with new_session() as session, expected:
        fetch(session, fetching.wanted, fetching.destination, fetching.policy)
    assert fetching.part.read_bytes() == b""
    assert not fetching.destination.exists()


def test_json_that_is_none_names_the_address(server: RecordServer) -> None:
    with new_session() as session, pytest.raises(UserError, match="did not answer with JSON"):
        get_json(session, f"{server.url}/{NAME}", RetryPolicy(tries=1))


def test_json_is_tried_again(server: RecordServer) -> None:
    server.files["/record"] = b'{"files": []}'

    def refuse_first(request: Request) -> Fault | None:
        return Fault(429, {"Retry-After": "5"}) if request.number == 0 else None

    server.fault = refuse_first
    pauses: list[float] = []
    with new_session() as session:
        assert get_json(session, f"{server.url}/record", RetryPolicy(sleep=pauses.append)) == {"files": []}
    assert pauses == [5]


@pytest.mark.parametrize("address", ["nonsense", "ftp://somewhere/file", "http://"])
def test_a_malformed_address_is_final(address: str) -> None:
    with new_session() as session, pytest.raises(UserError, match="http://"):
        get_json(session, address, RetryPolicy(sleep=lambda _: pytest.fail("no pause expected")))


# --- servers that mean harm -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 300_000, "deeper than 40 levels"),
        (b'{"a":' * 300_000 + b"1" + b"}" * 300_000, "deeper than 40 levels"),
        (b'"' + b"a" * 50_000_000 + b'"', "more than 4,194,304 bytes of JSON"),
        (b"[" + b"1," * 1_000_000 + b"1]", "more than 500,000 values"),
        (b"\xff\xfe[", "not JSON"),
    ],
)
def test_json_without_end_is_left(server: RecordServer, content: bytes, reason: str) -> None:
    server.fault = lambda _: Fault(content=content, length="")
    with new_session() as session, pytest.raises(UserError, match=rf"did not answer with JSON: .*{reason}") as error:
        get_json(session, f"{server.url}/record", RetryPolicy(tries=1))
    assert len(str(error.value)) < 500


def test_a_compressed_answer_is_not_unpacked_without_end(server: RecordServer) -> None:
    server.files["/record"] = gzip.compress(b"[" + b"1," * 100_000_000 + b"1]")
    server.headers = {"Content-Encoding": "gzip"}
    tracemalloc.start()
    with new_session() as session, pytest.raises(UserError, match="more than 4,194,304 bytes of JSON"):
        get_json(session, f"{server.url}/record", RetryPolicy(tries=1))
    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()


HASTY = RetryPolicy(tries=2, sleep=lambda _: None, least_bytes_per_second=1000.0, patience_seconds=0.3)


@pytest.mark.parametrize("length", [None, ""])
def test_a_trickle_is_given_up(server: RecordServer, tmp_path: Path, length: str | None) -> None:
    server.fault = lambda _: Fault(length=length, pause_seconds=0.05)
    fetching = Fetching(server, tmp_path)
    fetching.policy = HASTY
    with pytest.raises(UserError, match=r"sends \d+ bytes a second, too few to go on \(gave up after 2 tries"):
        fetching()
    assert len(server.requests) == 2  # what little arrives is no reason to go on for ever
    assert 0 < fetching.part.stat().st_size < 100


def test_json_that_trickles_is_given_up(server: RecordServer) -> None:
    server.files["/record"] = b"[" + b" " * 100_000
    server.fault = lambda _: Fault(pause_seconds=0.05)
    with new_session() as session, pytest.raises(UserError, match="too few to go on"):
        get_json(session, f"{server.url}/record", HASTY)


def test_an_endless_file_of_unknown_length_ends(server: RecordServer, tmp_path: Path) -> None:
    server.fault = lambda _: Fault(content=bytes(30_000_000), length="")
    fetching = Fetching(server, tmp_path)
    fetching.wanted = Wanted(fetching.wanted.url, largest=1_000_000)
    with pytest.raises(UserError, match="sent more than the 1000000 bytes"):
        fetch(new_session(), fetching.wanted, fetching.destination, fetching.policy)
    assert fetching.part.stat().st_size == 0


def test_a_huge_length_is_refused_before_the_first_byte(server: RecordServer, tmp_path: Path) -> None:
    server.fault = lambda _: Fault(length=str(10**12))
    wanted = Wanted(f"{server.url}/{NAME}")
    with pytest.raises(UserError, match=r"has 1\.0 TB, more than the 20\.0 GB that are taken"):
        fetch(new_session(), wanted, tmp_path / NAME, RetryPolicy(tries=1))
    assert list(tmp_path.iterdir()) == []


def test_the_disk_is_looked_at_on_the_way(
    server: RecordServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_BYTES_PER_LOOK", 100_000)
    free = iter([10**9, 10**9, 10**9, 10**5])
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": next(free)})())
    server.fault = lambda _: Fault(length="")
    with pytest.raises(UserError, match=r"no space left in .*what has arrived is kept"):
        fetch(new_session(), Wanted(f"{server.url}/{NAME}"), tmp_path / NAME, RetryPolicy(tries=1))
    assert 300_000 <= (tmp_path / f"{NAME}.part").stat().st_size < len(CONTENT)
