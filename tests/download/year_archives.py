"""A small year of Task 2 as its records publish it, made from synthetic machines."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from asd_lightning.download.years import Year
from tests.download.record_server import RecordServer

DEV = ("fan", "gearbox")
EVALUATION = "bearing"


def publish_year(
    server: RecordServer, year: Year, machines: Path, dev: Sequence[str] = DEV, evaluation: str = EVALUATION
) -> None:
    """Serve ``machines`` as that year's records: ``dev`` as development machines, one as evaluation machine."""
    server.add_record(
        year.records["dev"], {f"dev_{name}.zip": zipped(machines, (machines / name).rglob("*")) for name in dev}
    )
    train = [path for path in (machines / evaluation).rglob("*") if path.parent.name != "test"]
    server.add_record(year.records["train"], {f"eval_data_{evaluation}_train.zip": zipped(machines, train)})
    test = anonymous(machines, evaluation)
    archive = pack({f"{evaluation}/test/{name}": path.read_bytes() for name, path in test.items()})
    server.add_record(year.records["test"], {f"eval_data_{evaluation}_test.zip": archive})
    rows = [f"{name},{path.name}" for name, path in test.items()]
    for url in year.truth_urls:
        heading = [] if "ground_truth_" in url else [evaluation]
        server.files[url.removeprefix("https://raw.githubusercontent.com")] = "\n".join([*heading, *rows]).encode()


def anonymous(machines: Path, evaluation: str = EVALUATION) -> dict[str, Path]:
    """Test clips of the evaluation machine by the names they are published under."""
    paths = sorted((machines / evaluation / "test").iterdir())
    return {f"section_00_{index:04d}.wav": path for index, path in enumerate(paths)}


def zipped(root: Path, paths: Iterable[Path]) -> bytes:
    files = sorted(path for path in paths if path.is_file())
    return pack({str(path.relative_to(root)): path.read_bytes() for path in files})


def pack(members: dict[str, bytes]) -> bytes:
    return _packed(tuple(members.items()))


@cache
def _packed(members: tuple[tuple[str, bytes], ...]) -> bytes:
    """Every year holds the same machines, and every test has all years."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()
