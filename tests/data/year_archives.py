"""A small year of Task 2 as its records publish it, made from synthetic machines."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

from asd_lightning.data.download.years import Year
from tests.data.record_server import RecordServer

DEV = ("fan", "gearbox")
EVALUATION = "bearing"


def publish_year(server: RecordServer, year: Year, machines: Path) -> None:
    """Serve ``machines`` as that year's records: fan and gearbox as development, bearing as evaluation machine."""
    dev = {f"dev_{name}.zip": zipped(machines, (machines / name).rglob("*")) for name in DEV}
    server.add_record(year.records["dev"], dev)
    train = [*(machines / EVALUATION / "train").iterdir(), machines / EVALUATION / "attributes_00.csv"]
    server.add_record(year.records["train"], {f"eval_data_{EVALUATION}_train.zip": zipped(machines, train)})
    test = anonymous(machines)
    archive = pack({f"{EVALUATION}/test/{name}": path.read_bytes() for name, path in test.items()})
    server.add_record(year.records["test"], {f"eval_data_{EVALUATION}_test.zip": archive})
    if year.truth_url is not None:
        rows = [f"{name},{path.name}" for name, path in test.items()]
        server.files[year.truth_url.removeprefix("https://raw.githubusercontent.com")] = "\n".join(
            [EVALUATION, *rows]
        ).encode()


def anonymous(machines: Path) -> dict[str, Path]:
    """Test clips of the evaluation machine by the names they are published under."""
    paths = sorted((machines / EVALUATION / "test").iterdir())
    return {f"section_00_{index:04d}.wav": path for index, path in enumerate(paths)}


def zipped(root: Path, paths: Iterable[Path]) -> bytes:
    files = sorted(path for path in paths if path.is_file())
    return pack({str(path.relative_to(root)): path.read_bytes() for path in files})


def pack(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
