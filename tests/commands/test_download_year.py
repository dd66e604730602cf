"""From a record server to a result: a year of full size, with faults on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asd_lightning.cli import main
from asd_lightning.data.check import check
from asd_lightning.download.years import YEARS
from asd_lightning.evaluation.ground_truth import label_clips
from asd_lightning.synthetic import synthesize
from tests.download.record_server import Fault, RecordServer, Request, serving
from tests.download.year_archives import publish_year

YEAR = YEARS[2025]
DEV, EVALUATION = "fan", "CoffeeGrinder"


def add_supplemental(folder: Path, seconds: float) -> None:
    """A hundred noise clips, as 2025 has them beside its training clips."""
    folder.mkdir()
    for index in range(YEAR.supplemental_clips):
        noise = 0.01 * np.random.default_rng(index).standard_normal(int(16_000 * seconds))
        soundfile.write(folder / f"section_00_noise_{index:04d}.wav", noise, 16_000)


def unreliable(request: Request) -> Fault | None:
    """Every archive breaks off once, refuses once, and then comes."""
    if not request.path.endswith("content"):
        return Fault(503, {"Retry-After": "0"}) if request.number == 0 else None
    return {0: Fault(send_until=20_000_000), 1: Fault(429, {"Retry-After": "0"})}.get(request.number)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_download_check_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = synthesize(tmp_path / "machines", "full", machines=[DEV, EVALUATION], jobs=2).root
    assert YEAR.seconds is not None
    for name in (DEV, EVALUATION):
        add_supplemental(machines / name / "supplemental", YEAR.seconds[name])
    records = RecordServer(fault=unreliable)
    publish_year(records, YEAR, machines, [DEV], EVALUATION)
    monkeypatch.chdir(tmp_path)
    with serving(records) as server:
        assert main(["download", "dcase2025", "--mirror", server.url]) == 0
        assert [start > 0 for start in server.starts("dev_fan.zip")] == [False, True, True]
    root = tmp_path / "data" / "dcase2025"
    report = check(root, label=label_clips)
    assert report.year == 2025
    assert [finding for finding in report.findings if finding.machine in (DEV, EVALUATION)] == []
    assert report.ok
    overrides = ["experiment=fft", "scale=demo", "trainer.max_steps=4", "data.clip_seconds=10.0", "name=year"]
    assert main(["train", *overrides, f"data.root={root}", f"data.machines=[{DEV}]"]) == 0
    assert any((tmp_path / "runs" / "year").rglob("*.csv"))
