"""Synthetic data sets: layout, reproducibility, class structure of 2025, and how hard the demo is."""

import csv
import functools
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import soundfile
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from asd_lightning.errors import UserError
from asd_lightning.synthetic import PRESETS, Clip, Machine, render_clip, synthesize, writer
from asd_lightning.synthetic.clips import clips_of
from asd_lightning.synthetic.draws import Draws, key_of

RATE = 16000
NAME = re.compile(r"section_(\d+)_(source|target)_(train|test)_(normal|anomaly)_(\d+)(?:_(.+))?\.wav")


def contents(root: Path) -> dict[str, str]:
    """SHA-256 of every file under ``root``, by relative path."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny") / "set"
    made = synthesize(root, "tiny", seed=0, progress=False)
    assert (made.clips, made.written) == (144, 144)
    return root


class TestLayout:
    def test_file_names_follow_the_grammar(self, tiny: Path) -> None:
        counts: Counter[tuple[str, ...]] = Counter()
        for path in tiny.rglob("*.wav"):
            parsed = NAME.fullmatch(path.name)
            assert parsed is not None, path.name
            section, domain, split, condition, _, suffix = parsed.groups()
            assert section == "00"
            assert path.parent.name == split
            assert (suffix == "noAttribute") == (path.parts[-3] == "bearing")
            counts[path.parts[-3], split, domain, condition] += 1
        for machine in ("fan", "gearbox", "bearing"):
            assert counts.pop((machine, "train", "source", "normal")) == 20
            assert counts.pop((machine, "train", "target", "normal")) == 4
            for domain in ("source", "target"):
                for condition in ("normal", "anomaly"):
                    assert counts.pop((machine, "test", domain, condition)) == 6
        assert not counts

    def test_indices_count_from_zero_within_domain_and_condition(self, tiny: Path) -> None:
        groups: dict[tuple[str, ...], list[int]] = {}
        for path in tiny.glob("fan/*/*.wav"):
            _, domain, split, condition, index, _ = NAME.fullmatch(path.name).groups()  # type: ignore[union-attr]
            groups.setdefault((split, domain, condition), []).append(int(index))
        assert all(sorted(indices) == list(range(len(indices))) for indices in groups.values())

    def test_wav_files_are_16_khz_mono_pcm16_of_the_rounded_waveform(self, tiny: Path) -> None:
        machine = PRESETS["tiny"].machines[0]
        clip = clips_of(machine, 6)[3]
        info = soundfile.info(tiny / clip.file_name)
        assert (info.samplerate, info.channels, info.subtype, info.frames) == (RATE, 1, "PCM_16", RATE)
        read, _ = soundfile.read(tiny / clip.file_name, dtype="int16")
        np.testing.assert_array_equal(read, np.rint(32767 * render_clip(machine, clip, seed=0)))

    def test_attribute_table_lists_every_clip_with_the_attributes_of_its_name(self, tiny: Path) -> None:
        for machine in ("fan", "gearbox", "bearing"):
            with (tiny / machine / "attributes_00.csv").open(newline="") as file:
                header, *rows = csv.reader(file)
            pairs = (len(header) - 1) // 2
            assert header == ["file_name", *(f"d{i}{c}" for i in range(1, pairs + 1) for c in "pv")]
            assert [row[0] for row in rows] == sorted(
                path.relative_to(tiny).as_posix() for path in tiny.glob(f"{machine}/*/*.wav")
            )
            for name, *cells in rows:
                suffix = NAME.fullmatch(Path(name).name).group(6)  # type: ignore[union-attr]
                assert "_".join(cell for cell in cells if cell) == ("" if suffix == "noAttribute" else suffix)

    def test_every_training_class_shows_early(self) -> None:
        machine = next(m for m in PRESETS["full"].machines if m.name == "ToyCar")
        first = [clip.attributes for clip in clips_of(machine, 50)[:40]]
        assert set(first) == {row.attributes for row in machine.of_domain("source")}


class TestReproducible:
    def test_same_bytes_with_two_processes_and_for_a_selection(self, tiny: Path, tmp_path: Path) -> None:
        synthesize(tmp_path / "two", "tiny", seed=0, jobs=2, progress=False)
        assert contents(tmp_path / "two") == contents(tiny)
        synthesize(tmp_path / "one", "tiny", seed=0, machines=["gearbox"], progress=False)
        whole = {name: value for name, value in contents(tiny).items() if name.startswith("gearbox/")}
        part = contents(tmp_path / "one")
        assert {name: value for name, value in part.items() if name != "synthetic.json"} == whole

    def test_the_samples_are_those_of_this_version(self) -> None:
        """Raise ``writer.VERSION`` with this hash: folders made by another version must not be mixed up with these."""
        plan = PRESETS["tiny"].machines
        clips = [(machine, clip) for machine in plan for clip in clips_of(machine, 6)[::5]]
        sound = b"".join(writer.wav_bytes(render_clip(machine, clip, 7)) for machine, clip in clips)
        assert (writer.VERSION, hashlib.sha256(sound).hexdigest()[:16]) == (1, "3853b18610f566e2")

    def test_another_seed_or_another_clip_is_another_recording(self) -> None:
        machine = PRESETS["tiny"].machines[0]
        clip, other = clips_of(machine, 6)[0], clips_of(machine, 6)[4]
        assert clip.attributes == other.attributes
        assert np.abs(np.corrcoef(render_clip(machine, clip, 0), render_clip(machine, clip, 1))[0, 1]) < 0.5
        assert np.abs(np.corrcoef(render_clip(machine, clip, 0), render_clip(machine, other, 0))[0, 1]) < 0.5

    def test_keys_and_uniforms_agree_with_hashlib_and_numpy(self) -> None:
        digest = hashlib.sha256(b"3\x1ffan\x1ftrain").digest()
        assert key_of(3, "fan", "train") == int.from_bytes(digest, "big")
        generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
        np.testing.assert_array_equal(Draws(3, "fan", "train").uniforms(100), generator.random(100))

    def test_noise_is_white_with_unit_variance(self) -> None:
        noise = Draws("noise").noise(200_000)
        assert abs(noise.mean()) < 0.01
        assert abs(noise.var() - 1.0) < 0.01
        lags = [np.mean(noise[:-lag] * noise[lag:]) for lag in range(1, 20)]
        assert np.abs(lags).max() < 0.015


class TestFolder:
    def test_nothing_to_do_twice(self, tiny: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
        assert synthesize(tiny, "tiny", seed=0, progress=False).written == 0
        assert before == {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}

    def test_manifest_says_what_it_is(self, tiny: Path) -> None:
        manifest = json.loads((tiny / "synthetic.json").read_text())
        assert (manifest["preset"], manifest["seed"], manifest["version"]) == ("tiny", 0, writer.VERSION)
        assert (manifest["machines"], manifest["clips"]) == (["fan", "gearbox", "bearing"], 144)

    def test_an_interrupted_call_is_taken_up_again(
        self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = iter(range(1000))

        def stopped(machine: Machine, clip: Clip, seed: int) -> np.ndarray:
            if next(calls) == 30:
                raise KeyboardInterrupt
            return render_clip(machine, clip, seed)

        with monkeypatch.context() as patch:
            patch.setattr(writer, "render_clip", stopped)
            with pytest.raises(KeyboardInterrupt):
                synthesize(tmp_path, "tiny", seed=0, progress=False)
        assert not (tmp_path / "synthetic.json").exists()
        with pytest.raises(UserError, match="another synthetic data set"):
            synthesize(tmp_path, "tiny", seed=1, progress=False)
        assert synthesize(tmp_path, "tiny", seed=0, progress=False).written == 144 - 30
        assert contents(tmp_path) == contents(tiny)

    def test_a_lost_clip_is_made_again(self, tmp_path: Path) -> None:
        synthesize(tmp_path, "tiny", machines=["fan"], progress=False)
        before = contents(tmp_path)
        next(iter(tmp_path.rglob("*.wav"))).unlink()
        assert synthesize(tmp_path, "tiny", machines=["fan"], progress=False).written == 1
        assert contents(tmp_path) == before

    def test_refuses_what_it_did_not_make(self, tiny: Path, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(UserError, match="not empty"):
            synthesize(tmp_path, "tiny", progress=False)
        with pytest.raises(UserError, match="is a file"):
            synthesize(tmp_path / "thesis.tex", "tiny", progress=False)
        assert contents(tmp_path).keys() == {"thesis.tex"}
        for other in ({"seed": 5}, {"machines": ["fan"]}, {"preset": "demo"}):
            with pytest.raises(UserError, match="another synthetic data set"):
                synthesize(tiny, **({"preset": "tiny", "progress": False} | other))  # type: ignore[arg-type]

    def test_a_changed_preset_of_the_same_name_is_another_data_set(self, tiny: Path) -> None:
        preset = PRESETS["tiny"]
        changed = replace(preset, machines=(replace(preset.machines[0], seconds=1.5), *preset.machines[1:]))
        with pytest.raises(UserError, match="another synthetic data set"):
            synthesize(tiny, changed, progress=False)


class TestClassesOf2025:
    """Against the counts taken from the file names of the release."""

    @staticmethod
    def released() -> Counter[tuple[str, str, str, float]]:
        with (Path(__file__).parents[1] / "data/train_attributes_2025.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        return Counter(
            {(r["machine"], r["domain"], r["attribute"], float(r["seconds"])): int(r["clips"]) for r in rows}
        )

    def test_every_class_has_the_released_number_of_clips(self) -> None:
        ours: Counter[tuple[str, str, str, float]] = Counter()
        for machine in PRESETS["full"].machines:
            for clip in clips_of(machine, 50):
                if clip.split == "train":
                    suffix = NAME.fullmatch(Path(clip.file_name).name).group(6)  # type: ignore[union-attr]
                    ours[machine.name, clip.domain, suffix, machine.seconds] += 1
        assert ours == self.released()

    def test_172_classes_and_15000_clips(self) -> None:
        names = [clip.file_name for clip in PRESETS["full"].clips()]
        assert len(set(names)) == len(names) == 18_000
        train = [
            (name.split("/")[0], *NAME.fullmatch(name.split("/")[2]).groups()) for name in names if "/train/" in name
        ]  # type: ignore[union-attr]
        assert len(train) == 15_000
        assert len({(row[0], row[6]) for row in train}) == 172
        assert len({(row[0], row[2], row[6]) for row in train}) == 179
        assert len({(row[0], row[2]) for row in train}) == 30
        assert len({row[0] for row in train}) == 15

    def test_test_clips_carry_attributes_of_their_domain(self) -> None:
        for machine in PRESETS["full"].machines:
            known = {(row.domain, row.attributes) for row in machine.classes}
            groups = Counter()
            for clip in clips_of(machine, 50):
                if clip.split == "test":
                    assert (clip.domain, clip.attributes) in known
                    groups[clip.domain, clip.fault is None] += 1
            assert set(groups.values()) == {50}
            assert len(groups) == 4


# --- difficulty -------------------------------------------------------------------------------------------------------


@functools.cache
def mel_filters() -> np.ndarray:
    """128 triangular filters on the HTK mel scale from 20 Hz to 8 kHz, each summing to 1; (513, 128)."""
    hertz = np.arange(513) * RATE / 1024
    mel = 2595 * np.log10(1 + np.array([20.0, 8000.0]) / 700)
    edges = 700 * (10 ** (np.linspace(*mel, 130) / 2595) - 1)
    rising = (hertz[:, None] - edges[:-2]) / np.diff(edges[:-1])
    falling = (edges[2:] - hertz[:, None]) / np.diff(edges[1:])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    empty = filters.sum(axis=0) == 0
    nearest = np.abs(hertz[:, None] - edges[1:-1]).argmin(axis=0)
    filters[nearest[empty], np.flatnonzero(empty)] = 1.0
    return filters / filters.sum(axis=0)


def log_mel_statistics(waveform: np.ndarray) -> np.ndarray:
    """Mean and standard deviation over time of the log-mel spectrogram: 256 numbers."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, 1024)[::512] * scipy.signal.get_window("hann", 1024)
    power = np.abs(scipy.fft.rfft(frames, axis=1)) ** 2
    decibels = 10 * np.log10(power @ mel_filters() + 1e-10)
    return np.concatenate([decibels.mean(axis=0), decibels.std(axis=0)])


@pytest.mark.parametrize("name", [machine.name for machine in PRESETS["demo"].machines])
def test_demo_is_neither_trivial_nor_hopeless_for_log_mel_statistics(name: str) -> None:
    """The nearest normal training clip in log-mel statistics: AUC over both domains between 0.6 and 0.9."""
    machine = next(m for m in PRESETS["demo"].machines if m.name == name)
    clips = clips_of(machine, PRESETS["demo"].test_clips)
    features = np.stack([log_mel_statistics(render_clip(machine, clip)) for clip in clips])
    train = np.array([clip.split == "train" for clip in clips])
    anomalous = np.array([clip.fault is not None for clip in clips])[~train]
    standard = (features - features[train].mean(axis=0)) / features[train].std(axis=0)
    for metric, table in (("cosine", features), ("euclidean", standard)):
        bank = NearestNeighbors(n_neighbors=1, metric=metric).fit(table[train])
        distance = bank.kneighbors(table[~train])[0][:, 0]
        assert 0.6 < roc_auc_score(anomalous, distance) < 0.9, metric


def test_demo_is_small_and_mostly_source() -> None:
    preset = PRESETS["demo"]
    seconds = {machine.name: machine.seconds for machine in preset.machines}
    assert sum(2 * RATE * seconds[clip.machine] for clip in preset.clips()) < 300e6
    for machine in preset.machines:
        targets = sum(row.clips for row in machine.of_domain("target"))
        assert 4 <= targets <= 0.1 * sum(row.clips for row in machine.classes)
