"""Clips that were cut from one recording, and nobody has said so."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binomtest

from asd_lightning.cli import main
from asd_lightning.detector.bank import Bank, Item
from asd_lightning.detector.likeness import alike_by_name
from tests.detector.sounds import write

WARNING = "clips are most alike the clip before or after them by name"


def bank(files, embeddings, recordings=None):
    named = files if recordings is None else recordings
    items = tuple(
        Item(recording, file, 0.0, 1.0, "", "source", "bank", 0) for recording, file in zip(named, files, strict=True)
    )
    return Bank(items, np.asarray(embeddings, np.float32))


def of_recordings(count, pieces, seed=0, within=0.3):
    draw = np.random.default_rng(seed)
    return np.repeat(draw.normal(size=(count, 20)), pieces, axis=0) + within * draw.normal(size=(count * pieces, 20))


def test_pieces_of_recordings_are_noticed_and_counted():
    embeddings = of_recordings(15, 4)
    # Sorted as text clip_10 comes before clip_2.
    files = [f"clip_{number}.wav" for number in range(60)]
    scaled = embeddings / embeddings.std(axis=0)
    apart = np.linalg.norm(scaled[:, None] - scaled, axis=2) + np.diag(np.full(60, np.inf))
    beside = int((np.abs(apart.argmin(axis=1) - np.arange(60)) == 1).sum())
    assert beside > 20
    assert binomtest(beside // 2, 60, 2 / 60, "greater").pvalue < 1e-3
    assert alike_by_name("pump", bank(files, embeddings), 0).startswith(
        f"pump: {beside} of 60 {WARNING} (by chance it would be 2)"
    )
    # Names that tell nothing of the order, a table, and another change's clips.
    shuffled = np.random.default_rng(1).permutation(60)
    assert not alike_by_name("pump", bank(files, embeddings[shuffled]), 0)
    assert not alike_by_name("pump", bank(files, embeddings, [f"r{number // 4}" for number in range(60)]), 0)
    assert not alike_by_name("pump", bank(files, embeddings), 1)


def test_drift_over_days_is_noticed_too():
    files = [f"2024-05-{day:02}.wav" for day in range(1, 31)]
    assert WARNING in alike_by_name("pump", bank(files, np.arange(30)[:, None] * np.ones((1, 4))), 0)


def test_independent_clips_are_rarely_warned_of():
    """Of 400 machines less than one, were the shares not also asked to be far from chance."""
    warned = 0
    for seed in range(100):
        for count in (5, 10, 30, 70):
            draw = np.random.default_rng(seed)
            files = [f"{number:03}.wav" for number in range(count)]
            warned += bool(alike_by_name("pump", bank(files, draw.normal(size=(count, 5))), 0))
    assert warned <= 1


def test_operating_conditions_that_the_names_tell_are_no_recordings():
    files = [f"section_00_source_train_normal_{n:04}_speed_{n // 8}.wav" for n in range(80)]
    independent = np.repeat(np.random.default_rng(0).normal(size=(10, 20)) * 10, 8, axis=0)
    independent = independent + np.random.default_rng(1).normal(size=(80, 20))
    assert not alike_by_name("pump", bank(files, independent), 0)
    assert WARNING in alike_by_name("pump", bank(files, of_recordings(20, 4)), 0)


@pytest.fixture
def cut(tmp_path):
    """Ten recordings, in three pieces each."""
    for number in range(30):
        write(tmp_path / f"pump/normal/piece_{number:02}.wav", piece(number))
    return tmp_path


def piece(number):
    """Noise of another color in each recording."""
    color = (number // 3 * 7 % 10 - 4.5) / 6
    return (0.05 * lfilter([1], [1, -color], np.random.default_rng(number).normal(size=16_000))).astype(np.float32)


def test_enrolling_accepting_and_info_tell_it_until_a_table_does(cut, capsys, caplog):
    normal, file = str(cut / "pump/normal"), cut / "pump.asd"
    assert main(["enrol", normal, "-o", str(file), "--clip-seconds", "1"]) == 0
    assert f"of 30 {WARNING}" in caplog.text
    capsys.readouterr()
    assert main(["info", str(file)]) == 0
    assert "  warning: pump: " in capsys.readouterr().out
    table = cut / "cut.csv"
    with table.open("w", newline="") as stream:
        rows = [(f"piece_{number:02}.wav", f"recording_{number // 3}") for number in range(30)]
        csv.writer(stream).writerows([("file", "recording"), *rows])
    caplog.clear()
    file.unlink()
    assert main(["enrol", normal, "-o", str(file), "--clip-seconds", "1", "--recordings", str(table)]) == 0
    assert WARNING not in caplog.text
    capsys.readouterr()
    main(["info", str(file)])
    assert "warning: pump" not in capsys.readouterr().out
    for number in range(30, 60):
        write(cut / f"later/piece_{number:02}.wav", piece(number))
    for command in ("accept", "calibrate"):
        caplog.clear()
        assert main([command, str(file), str(cut / "later")]) == 0
        assert f"of 30 {WARNING}" in caplog.text
        assert main(["undo", str(file)]) == 0


def test_a_table_that_fits_no_clip_or_some_is_told_or_refused(cut, capsys, caplog):
    normal, file, table = cut / "pump/normal", cut / "pump.asd", cut / "recordings.csv"
    enrolling = ["enrol", str(normal), "-o", str(file), "--clip-seconds", "1", "--no-sound"]
    table.write_text("file,recording\nelsewhere.wav,monday\n")
    assert main([*enrolling, "--recordings", str(table)]) == 2
    assert f"{table}: none of its rows fits any of 30 clips, such as {normal}/piece_00.wav" in capsys.readouterr().err
    assert not file.exists()
    # One that was found there by itself may be meant for others.
    assert main(enrolling) == 0
    assert f"all 30 clips have no row in {table} and count as recordings of their own; where some" in caplog.text
    caplog.clear()
    file.unlink()
    rows = [f"piece_{number:02}.wav,recording_{number // 3}\n" for number in range(18)]
    table.write_text("file,recording\n" + "".join(rows))
    assert main([*enrolling, "--recordings", str(table)]) == 0
    assert f"12 of 30 clips have no row in {table} and count as recordings of their own" in caplog.text
    file.unlink()
    table.write_text("file,recording\n")
    for given in (enrolling, [*enrolling, "--recordings", str(table)]):
        assert main(given) == 2
        assert f"{table}: has no rows" in capsys.readouterr().err
    assert not file.exists()
