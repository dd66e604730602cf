"""Names of files in any normal form, and in any locale."""

import os
import subprocess
import sys
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import soundfile

from asd_lightning.data.check import check
from asd_lightning.data.layout import find_clips
from asd_lightning.errors import UserError
from asd_lightning.evaluation.ground_truth import label_clips, read_ground_truth

FORMS = ("NFC", "NFD", "NFKD")
MACHINES = ("Lüfter", "café", "Ångström", "한국", "が")


def record(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).normal(size=1_600), 16_000)
    return path


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("on_disk", FORMS)
@pytest.mark.parametrize("in_table", FORMS)
def test_tables_and_files_need_not_agree_on_the_normal_form(tmp_path, machine, on_disk, in_table):
    folder = tmp_path / normalize(on_disk, machine)
    name = f"section_00_source_train_normal_0000_{machine}.wav"
    record(folder / "train" / normalize(on_disk, name))
    record(folder / "test/section_00_0000.wav", 1)
    table = f"file_name,d1p,d1v\n{name},{machine},\n"
    (folder / "attributes_00.csv").write_text(normalize(in_table, table), encoding="utf-8")
    truth = f"{machine}\nsection_00_0000.wav,section_00_target_test_anomaly_0000_{machine}.wav\n"
    (tmp_path / "eval_data_list_2025.csv").write_text(normalize(in_table, truth), encoding="utf-8")

    clips = find_clips(tmp_path, [normalize(in_table, machine)])
    assert {clip.machine for clip in clips} == {machine}
    assert all(clip.path.exists() for clip in clips)
    (known,) = [clip for clip in label_clips(tmp_path, clips) if clip.split == "test"]
    (trained,) = [clip for clip in clips if clip.split == "train"]
    assert (known.condition, known.domain) == ("anomaly", "target")
    assert known.attribute == trained.attribute == machine
    assert [machine for machine, _, _ in read_ground_truth(tmp_path / "eval_data_list_2025.csv")] == [machine]
    assert [finding.message for finding in check(tmp_path, label=label_clips).findings] == []


def test_two_files_whose_names_look_alike_are_refused(tmp_path):
    for form in ("NFC", "NFD"):
        record(tmp_path / "normal" / normalize(form, "Lüfter.wav"))
    record(tmp_path / "test/a.wav")
    if len(list((tmp_path / "normal").iterdir())) == 2:  # some file systems take them for one
        with pytest.raises(UserError, match="share a name"):
            find_clips(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere names are text")
@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_names_in_utf_8_are_that_in_every_locale(tmp_path, locale):
    for number in range(3):
        record(tmp_path / f"Prüfstände/normal/größe{number}.wav", number)
        record(tmp_path / f"Prüfstände/test/normal/größe{number}.wav", 10 + number)
    environment = os.environ | {"LC_ALL": locale, "PYTHONUTF8": "0"}
    environment.pop("PYTHONIOENCODING", None)
    command = [sys.executable, "-m", "asd_lightning.cli", "data", "check", str(tmp_path), "--json", "prüfung.json"]
    done = subprocess.run(command, env=environment, capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Prüfstände" in (tmp_path / "prüfung.json").read_text(encoding="utf-8").encode().decode("unicode_escape")
    script = "import asd_lightning.data.layout as l, sys; print(ascii([c.name for c in l.find_clips(sys.argv[1])][-1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert ascii("normal/größe2.wav") in done.stdout, done.stderr
