"""A whole year from a record server, interrupted and continued, and what a folder of it can be used for."""

from __future__ import annotations

import collections
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from asd_lightning.data.layout import find_clips
from asd_lightning.data.truth_place import find_truth
from asd_lightning.download.pipeline import Outcome, Selection, Source, download_year
from asd_lightning.download.retry import RetryPolicy
from asd_lightning.download.years import YEARS
from asd_lightning.errors import UserError
from asd_lightning.evaluation.ground_truth import read_ground_truth
from tests.download.record_server import Fault, RecordServer, serving
from tests.download.small_disk import small_disk
from tests.download.year_archives import DEV, EVALUATION, anonymous, publish_year
from tests.ports import closed_port

YEAR = YEARS[2025]
ARCHIVES = ["dev_fan.zip", "dev_gearbox.zip", "eval_data_bearing_train.zip", "eval_data_bearing_test.zip"]
TRUTH = "eval_data_list_2025.csv"


@pytest.fixture
def server(tiny_data: Path) -> Iterator[RecordServer]:
    records = RecordServer()
    publish_year(records, YEAR, tiny_data)
    with serving(records) as running:
        yield running


def download(
    server: RecordServer,
    root: Path,
    selection: Selection | None = None,
    file_list: Path | None = None,
    jobs: int = 4,
    keep_archives: bool = False,
) -> Outcome:
    return download_year(
        YEAR,
        root,
        selection,
        Source(server.url, file_list, RetryPolicy(tries=3, sleep=lambda _: None)),
        jobs,
        keep_archives,
        Console(file=io.StringIO()),
        read_ground_truth,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``, except the downloader's own state."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if ".download" not in path.relative_to(folder).parts
    }


def expected(tiny_data: Path, server: RecordServer) -> dict[str, bytes]:
    files = {f"dev_data/raw/{name}": data for name, data in contents(tiny_data).items() if name.startswith(DEV)}
    for name, data in contents(tiny_data / EVALUATION).items():
        if not name.startswith("test"):
            files[f"eval_data/raw/{EVALUATION}/{name}"] = data
    for name, path in anonymous(tiny_data).items():
        files[f"eval_data/raw/{EVALUATION}/test/{name}"] = path.read_bytes()
    files[f"eval_data/{TRUTH}"] = server.files[YEAR.truth_urls[0].removeprefix("https://raw.githubusercontent.com")]
    return files


def test_a_whole_year(server: RecordServer, tiny_data: Path, tmp_path: Path) -> None:
    outcome = download(server, tmp_path)
    assert sorted(outcome.fetched) == sorted([*ARCHIVES, TRUTH])
    assert contents(tmp_path) == expected(tiny_data, server)
    assert not list((tmp_path / ".download").glob("*.zip*"))
    clips = find_clips(tmp_path)
    splits = collections.Counter((clip.machine, clip.split) for clip in clips)
    assert splits == collections.Counter((clip.machine, clip.split) for clip in find_clips(tiny_data))


def test_it_does_without_torch() -> None:
    modules = "asd_lightning.download.pipeline, asd_lightning.data.check, asd_lightning.evaluation.ground_truth"
    command = [sys.executable, "-c", f"import sys, {modules}; sys.exit('torch' in sys.modules)"]
    assert subprocess.run(command, check=False).returncode == 0


def test_a_second_call_fetches_nothing(server: RecordServer, tmp_path: Path) -> None:
    download(server, tmp_path)
    before = contents(tmp_path)
    server.requests.clear()
    outcome = download(server, tmp_path)
    assert outcome.fetched == []
    assert sorted(outcome.present) == sorted([*ARCHIVES, TRUTH])
    assert not [request for request in server.requests if request.path.endswith("content")]
    assert contents(tmp_path) == before


def test_what_was_deleted_comes_back(server: RecordServer, tiny_data: Path, tmp_path: Path) -> None:
    download(server, tmp_path)
    shutil.rmtree(tmp_path / "dev_data" / "raw" / "fan" / "test")
    assert download(server, tmp_path).fetched == ["dev_fan.zip"]
    assert contents(tmp_path) == expected(tiny_data, server)


def test_a_file_revised_under_its_name_does_not_overwrite(
    server: RecordServer, tiny_data: Path, tmp_path: Path
) -> None:
    download(server, tmp_path, Selection(("dev",)))
    changed = tmp_path / "changed"
    shutil.copytree(tiny_data, changed)
    (changed / "fan" / "attributes_00.csv").write_text("other\n")
    publish_year(server, YEAR, changed)
    with pytest.raises(UserError, match=r"dev_fan.zip: .*attributes_00.csv: there already with other content"):
        download(server, tmp_path, Selection(("dev",)))
    assert (
        contents(tmp_path / "dev_data")["raw/fan/attributes_00.csv"]
        == (tiny_data / "fan" / "attributes_00.csv").read_bytes()
    )


@pytest.mark.parametrize("content", ["", "[]", '{"md5": 5}', '{"sizes": {}}'])
def test_a_damaged_marker_costs_an_unpacking(
    server: RecordServer, tiny_data: Path, tmp_path: Path, content: str
) -> None:
    download(server, tmp_path)
    (tmp_path / ".download" / "unpacked" / "dev_fan.zip.json").write_text(content)
    assert download(server, tmp_path).fetched == ["dev_fan.zip"]
    assert contents(tmp_path) == expected(tiny_data, server)
    assert download(server, tmp_path).fetched == []


def test_a_damaged_list_is_written_anew(server: RecordServer, tmp_path: Path) -> None:
    download(server, tmp_path)
    pinned = tmp_path / ".download" / "dcase2025.json"
    before = pinned.read_bytes()
    pinned.write_bytes(b"")
    download(server, tmp_path)
    assert pinned.read_bytes() == before


def test_what_others_have_unpacked_is_completed_and_told(
    server: RecordServer, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for parent, machines in (("dev_data", DEV), ("eval_data", (EVALUATION,))):
        for machine in machines:
            shutil.copytree(tiny_data / machine, tmp_path / parent / "raw" / machine)
    shutil.rmtree(tmp_path / "eval_data" / "raw" / EVALUATION / "test")
    min((tmp_path / "dev_data" / "raw" / "fan" / "train").iterdir()).unlink()
    kept = {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()}
    source = Source(server.url)
    download_year(YEAR, tmp_path, None, source, check_truth=read_ground_truth)
    assert "not unpacked by this command: bearing, fan, gearbox." in capsys.readouterr().err
    assert contents(tmp_path) == expected(tiny_data, server)
    assert {path: path.stat().st_ino for path in kept} == kept
    download_year(YEAR, tmp_path, None, source, check_truth=read_ground_truth)
    assert "not unpacked" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("selection", "fetched"),
    [
        (Selection(("dev",)), ["dev_fan.zip", "dev_gearbox.zip"]),
        (Selection(("dev", "truth"), ("gearbox",)), ["dev_gearbox.zip", TRUTH]),
        (Selection(("train", "test")), ["eval_data_bearing_train.zip", "eval_data_bearing_test.zip"]),
        (Selection(machines=("bearing", "fan")), [ARCHIVES[0], *ARCHIVES[2:], TRUTH]),
    ],
)
def test_parts_and_machines(server: RecordServer, tmp_path: Path, selection: Selection, fetched: list[str]) -> None:
    assert sorted(download(server, tmp_path, selection).fetched) == sorted(fetched)


def test_selections_add_up(server: RecordServer, tiny_data: Path, tmp_path: Path) -> None:
    for part in ("dev", "train", "test", "truth"):
        download(server, tmp_path, Selection((part,)))  # type: ignore[arg-type]
    assert contents(tmp_path) == expected(tiny_data, server)
    pinned = json.loads((tmp_path / ".download" / "dcase2025.json").read_text())
    assert sorted(row["name"] for row in pinned) == sorted([*ARCHIVES, TRUTH])


def test_an_unknown_machine_is_named(server: RecordServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no archive for pump.*bearing, fan, gearbox"):
        download(server, tmp_path, Selection(machines=("pump",)))


def test_a_pinned_list_needs_no_record(server: RecordServer, tiny_data: Path, tmp_path: Path) -> None:
    download(server, tmp_path / "first")
    pinned = tmp_path / "first" / ".download" / "dcase2025.json"
    assert "127.0.0.1" not in pinned.read_text()  # the list names the original server, a mirror is a choice
    for record in YEAR.records.values():
        del server.files[f"/api/records/{record}"]
    download(server, tmp_path / "second", file_list=pinned)
    assert contents(tmp_path / "second") == expected(tiny_data, server)


def test_one_failure_does_not_keep_the_others(server: RecordServer, tiny_data: Path, tmp_path: Path) -> None:
    server.fault = lambda request: Fault(404) if "dev_fan" in request.path else None
    with pytest.raises(UserError, match=r"1 files are not complete \(4 others are\):\n  dev_fan.zip: .*404"):
        download(server, tmp_path)
    server.fault = lambda _: None
    assert download(server, tmp_path).fetched == ["dev_fan.zip"]
    assert contents(tmp_path) == expected(tiny_data, server)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"<html>gone</html>", "answered with a web page"), (b"gone\n", "fetch the truth file again")],
)
def test_a_truth_file_that_is_none_is_not_kept(
    server: RecordServer, tmp_path: Path, content: bytes, message: str
) -> None:
    server.fault = lambda request: Fault(content=content) if TRUTH in request.path else None
    with pytest.raises(UserError, match=message):
        download(server, tmp_path, Selection(("truth",)))
    assert not (tmp_path / "eval_data" / TRUTH).exists()
    server.fault = lambda _: None
    assert download(server, tmp_path, Selection(("truth",))).fetched == [TRUTH]


def test_archives_can_be_kept(server: RecordServer, tmp_path: Path) -> None:
    download(server, tmp_path, keep_archives=True)
    assert sorted(path.name for path in (tmp_path / ".download").glob("*.zip")) == sorted(ARCHIVES)


def test_too_little_space_is_told_before_the_first_archive(server: RecordServer, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "256k") as root:
        with pytest.raises(UserError, match=r"too little space.*MB needed.*kB free.*--output.*--machines"):
            download(server, root)
        assert not [request for request in server.requests if request.path.endswith("content")]


def test_two_downloads_into_one_folder_do_not_mix(server: RecordServer, tmp_path: Path) -> None:
    server.gate = threading.Event()
    first = threading.Thread(target=download, args=(server, tmp_path))
    first.start()
    wait_for(lambda: list((tmp_path / ".download").glob("*.part")))
    with pytest.raises(UserError, match=r"another download into .* is running"):
        download(server, tmp_path)
    server.gate.set()
    first.join()


def test_a_folder_that_cannot_be_made(server: RecordServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--output"):
        download(server, tmp_path / "file" / "below")


def wait_for(condition: object, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.01)


def start_command(server: RecordServer, root: Path) -> subprocess.Popen[str]:
    """``asd download`` in a process of its own, up to where the server stops: in the middle of each archive."""
    server.gate = threading.Event()
    command = [sys.executable, "-m", "asd_lightning.cli", "download", "dcase2025", "-o", str(root)]
    environment = os.environ | {"ASD_DOWNLOAD_MIRROR": server.url}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        for name in ARCHIVES:
            (content,) = (content for path, content in server.files.items() if f"/{name}/" in path)
            part = root / ".download" / f"{name}.part"
            # What has come last may stay in a buffer until more comes, which nothing does before the time-out.
            wait_for(lambda p=part, c=content: p.exists() and p.stat().st_size > len(c) // 4)
    except BaseException:
        process.kill()
        raise
    return process


def finish(server: RecordServer, root: Path) -> list[int]:
    """Download again; where each archive's transfer began."""
    assert server.gate is not None
    server.gate.set()
    server.gate = None
    server.requests.clear()
    download(server, root)
    return [request.start for request in server.requests if request.path.endswith("content")]


def test_killed_while_downloading(server: RecordServer, tiny_data: Path, tmp_path: Path) -> None:
    process = start_command(server, tmp_path)
    process.kill()
    process.communicate()
    assert contents(tmp_path).keys() <= {f"eval_data/{TRUTH}"}
    assert all(start > 0 for start in finish(server, tmp_path))
    assert contents(tmp_path) == expected(tiny_data, server)


def test_interrupted_by_ctrl_c(server: RecordServer, tiny_data: Path, tmp_path: Path) -> None:
    process = start_command(server, tmp_path)
    process.send_signal(signal.SIGINT)
    # The server says nothing more, and nobody waits for it.
    _, told = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on from here" in told
    assert "Traceback" not in told
    finish(server, tmp_path)
    assert contents(tmp_path) == expected(tiny_data, server)


KILLED_WHILE_UNPACKING = """
import io, os, signal, sys
from pathlib import Path
from rich.console import Console
from asd_lightning.download import archives, pipeline
from asd_lightning.download.years import YEARS

unpack = archives._unpack

def unpack_half(opened, members, folder, stop, report):
    half = dict(list(members.items())[: len(members) // 2])
    unpack(opened, half, folder, stop, report)
    os.kill(os.getpid(), signal.SIGKILL)

archives._unpack = unpack_half
pipeline.download_year(
    YEARS[2025], Path(sys.argv[1]), source=pipeline.Source(sys.argv[2]), console=Console(file=io.StringIO())
)
"""


def test_killed_while_unpacking(server: RecordServer, tiny_data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_WHILE_UNPACKING, str(tmp_path), server.url]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert any((tmp_path / ".download" / "unpacking").rglob("*.wav"))
    assert contents(tmp_path).keys() <= {f"eval_data/{TRUTH}"}
    download(server, tmp_path)
    assert contents(tmp_path) == expected(tiny_data, server)
    assert not any((tmp_path / ".download" / "unpacking").rglob("*.wav"))


def test_the_truth_of_2026_is_a_file_for_each_machine(tiny_data: Path, tmp_path: Path) -> None:
    """As the evaluator publishes it: true names without their ending, one file a machine."""
    year, records = YEARS[2026], RecordServer()
    for url in year.truth_urls:
        machine = url.rpartition("/ground_truth_")[2].removesuffix("_section_00_test.csv")
        assert machine in year.eval_machines
        names = ["section_00_source_test_normal_0000_a_1", "section_00_target_test_anomaly_0003_noAttribute"]
        rows = [f"section_00_{number:04d}.wav,{name}" for number, name in enumerate(names)]
        records.files[url.removeprefix("https://raw.githubusercontent.com")] = "\n".join(rows).encode()
    with serving(records) as server:
        source = Source(server.url, None, RetryPolicy(tries=3, sleep=lambda _: None))
        for machines, count in ((("Sander",), 1), (None, 4)):
            outcome = download_year(
                year,
                tmp_path,
                Selection(("truth",), machines),
                source,
                console=Console(file=io.StringIO()),
                check_truth=read_ground_truth,
            )
            assert len(outcome.fetched) == count
    place = find_truth(tmp_path)
    assert place == tmp_path / "eval_data"
    truth = read_ground_truth(place)
    assert {machine for machine, _, _ in truth} == set(year.eval_machines)
    assert truth["ToyDrone", "00", 0] == ("source", "normal", "a_1")
    assert truth["ToyDrone", "00", 1] == ("target", "anomaly", "")


def test_without_a_way_to_the_server_the_other_ways_are_named_and_nothing_is_left(tmp_path: Path) -> None:
    with closed_port() as port:
        source = Source(f"http://127.0.0.1:{port}", None, RetryPolicy(tries=1))
        with pytest.raises(UserError, match=r"gave up after 1 tries.*--mirror ADDRESS.*--file-list FILE"):
            download_year(YEAR, tmp_path / "set", source=source, console=Console(file=io.StringIO()))
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "set").mkdir()
        with pytest.raises(UserError, match="gave up"):
            download_year(YEAR, tmp_path / "set", source=source, console=Console(file=io.StringIO()))
    assert (tmp_path / "set").is_dir()
