"""Mutated files of runs, weights and submissions: each is read, or refused in one line.

A target has good files, made once, and a door that reads them.  A further one is a function that fills a folder, a
door, and a line at the end.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import random
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from asd_lightning.errors import UserError

# Not a disk, where there is something faster.
_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
# A message may quote one field of a table, which csv lets have 131,072 characters.
_LONGEST_MESSAGE = 140_000


class Mutants:
    """Mutated copies of a few good files, and the door that they go through.

    Args:
        fill: writes the good files into an empty folder; each is mutated in turn, the others stay as they are.
        read: gets the folder, and the file in it that is mutated.
        words: of the format, put in beside changed bytes.
    """

    def __init__(
        self, fill: Callable[[Path], None], read: Callable[[Path, Path], object], words: tuple[bytes, ...] = ()
    ) -> None:
        self._fill, self._read, self._words = fill, read, words

    def make(self, number: int) -> bytes:
        """The index of a good file in one byte, and that file mutated."""
        draw = random.Random(number)
        index = draw.randrange(len(self._files))
        return bytes([index]) + mutated(self._files[index].read_bytes(), draw, self._words)

    def check(self, data: bytes) -> None:
        """Read the folder with one file in the place of a good one.

        Raises:
            Exception: anything else than an error for users, in one line of a bearable length.
        """
        file = self._files[data[0]]
        original = file.read_bytes()
        file.write_bytes(data[1:])
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                self._read(self._folder, file)
        except UserError as error:
            text = str(error)
            if len(text) > _LONGEST_MESSAGE or len(text.splitlines()) != 1:
                raise AssertionError(f"{len(text):,} characters, {len(text.splitlines())} lines: {text:.300}") from None
        finally:
            file.write_bytes(original)

    @cached_property
    def _folder(self) -> Path:
        self._place = tempfile.TemporaryDirectory(dir=_MEMORY)
        self._fill(Path(self._place.name))
        return Path(self._place.name)

    @cached_property
    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.rglob("*") if path.is_file())


# --- mutations --------------------------------------------------------------------------------------------------------

_NUMBERS = tuple(n.to_bytes(size, "little") for size in (1, 2, 4, 8) for n in (0, 1, 0x7F, 2 ** (8 * size) - 1))


def mutated(content: bytes, rng: random.Random, words: tuple[bytes, ...]) -> bytes:
    """``content`` with one to four changes."""
    for _ in range(rng.randint(1, 4)):
        change = rng.choice(_CHANGES)
        content = change(content, rng, words)
    return content


def _place(content: bytes, rng: random.Random) -> int:
    """Most often near the beginning or the end, where headers and tables of contents are."""
    length = len(content)
    span = min(length, 4096)
    near = rng.random()
    if near < 0.4:
        return rng.randint(0, span)
    return length - rng.randint(0, span) if near < 0.7 else rng.randint(0, length)


def _byte(content: bytes, rng: random.Random, _: tuple[bytes, ...]) -> bytes:
    at = _place(content, rng)
    return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]


def _bit(content: bytes, rng: random.Random, _: tuple[bytes, ...]) -> bytes:
    at = _place(content, rng)
    flipped = bytes([content[at] ^ 1 << rng.randrange(8)]) if at < len(content) else b""
    return content[:at] + flipped + content[at + 1 :]


def _number(content: bytes, rng: random.Random, _: tuple[bytes, ...]) -> bytes:
    at, number = _place(content, rng), rng.choice(_NUMBERS)
    return content[:at] + number + content[at + len(number) :]


def _cut(content: bytes, rng: random.Random, _: tuple[bytes, ...]) -> bytes:
    return content[: _place(content, rng)]


def _without(content: bytes, rng: random.Random, _: tuple[bytes, ...]) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice((1, 2, 4, 16, 256)) :]


def _again(content: bytes, rng: random.Random, _: tuple[bytes, ...]) -> bytes:
    at = _place(content, rng)
    piece = content[at : at + rng.choice((1, 4, 16, 64, 512))]
    return content[:at] + piece * rng.choice((2, 3, 10, 1000)) + content[at:]


def _word(content: bytes, rng: random.Random, words: tuple[bytes, ...]) -> bytes:
    at, word = _place(content, rng), rng.choice(words or _NUMBERS)
    return content[:at] + word * rng.choice((1, 1, 1, 5, 2000)) + content[at + rng.choice((0, 0, len(word))) :]


def _swap(content: bytes, rng: random.Random, _: tuple[bytes, ...]) -> bytes:
    one, other = sorted((_place(content, rng), _place(content, rng)))
    length = min(rng.choice((1, 4, 16, 64)), other - one)
    first, second = content[one : one + length], content[other : other + length]
    return content[:one] + second + content[one + length : other] + first + content[other + length :]


_CHANGES = (_byte, _bit, _number, _cut, _without, _again, _word, _word, _swap)

# --- files and doors --------------------------------------------------------------------------------------------------


def _official() -> Any:
    return importlib.import_module("tests.encoders.official")


def _make_pickled(folder: Path) -> None:
    official = _official()
    cfg = official.BEATS_CFG | {"encoder_layers": 1}
    official.write_beats(folder / "beats.pt", official.draw(official.beats_shapes(cfg)), cfg)
    port = official.draw(official.eat_port_shapes(official.EAT_DIM, 1))
    official.write_fairseq(folder / "eat.pt", {official.fairseq_name(name): value for name, value in port.items()})


def _make_programs(folder: Path) -> None:
    """The pickles alone: a zip's checksum would tell every change of one before it is followed."""
    for name, members in _archives().items():
        (folder / f"{name}.pkl").write_bytes(members[f"{name}/data.pkl"])


def _read_program(folder: Path, file: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=_MEMORY, suffix=".pt") as checkpoint:
        with zipfile.ZipFile(checkpoint, "w") as archive:
            for member, content in _archives()[file.stem].items():
                archive.writestr(member, file.read_bytes() if member.endswith("data.pkl") else content)
        _read_weights(folder, Path(checkpoint.name))


@cache
def _archives() -> dict[str, dict[str, bytes]]:
    with tempfile.TemporaryDirectory(dir=_MEMORY) as place:
        _make_pickled(Path(place))
        archives = {path.stem: zipfile.ZipFile(path) for path in Path(place).iterdir()}
        return {name: {each: found.read(each) for each in found.namelist()} for name, found in archives.items()}


def _make_safetensors(folder: Path) -> None:
    official = _official()
    official.write_port(folder / "eat.safetensors", official.draw(official.eat_port_shapes(official.EAT_DIM, 1)))
    from asd_lightning.encoders.weights.conversion import read_official
    from asd_lightning.encoders.weights.store import write_weights

    write_weights(read_official(folder / "eat.safetensors"), folder / "own.safetensors", {"name": "own"})
    (folder / "own.json").unlink()


def _read_weights(_: Path, file: Path) -> None:
    from asd_lightning.encoders.weights.store import read_weights

    read_weights(file)


def _make_fitted(folder: Path) -> None:
    importlib.import_module("fuzz.fitted").write_good(folder)


def _read_fitted(_: Path, file: Path) -> None:
    importlib.import_module("fuzz.fitted").read_and_score(file)


def _make_npz(folder: Path) -> None:
    import numpy as np

    arrays = {"a": np.arange(40.0).reshape(4, 10), "text": np.array(["x", "yz"]), "flag": np.array(True)}
    np.savez(folder / "plain.npz", **arrays)
    np.savez_compressed(folder / "packed.npz", **arrays)


def _make_npy(folder: Path) -> None:
    import numpy as np

    np.save(folder / "numbers.npy", np.arange(40.0).reshape(4, 10))
    np.save(folder / "text.npy", np.array(["x", "yz"]))


def _read_npy(_: Path, file: Path) -> None:
    from asd_lightning.foreign_files import load_npz

    with tempfile.NamedTemporaryFile(dir=_MEMORY, suffix=".npz") as arrays:
        with zipfile.ZipFile(arrays, "w") as archive:
            archive.write(file, "a.npy")
        load_npz(Path(arrays.name))


def _read_npz(_: Path, file: Path) -> None:
    from asd_lightning.foreign_files import load_npz

    load_npz(file)


def _make_yaml(folder: Path) -> None:
    conf = Path(__file__).resolve().parents[1] / "conf"
    for path in (conf / "train.yaml", conf / "data" / "default.yaml", conf / "model" / "default.yaml"):
        shutil.copy(path, folder / f"{path.parent.name}_{path.name}")


def _read_yaml(_: Path, file: Path) -> None:
    from asd_lightning.foreign_files import load_yaml

    load_yaml(file)


def _make_json(folder: Path) -> None:
    summary = {"name": "a", "seed": 1, "macs": 1e9, "data": {"root": "data", "list": [1, None, True, "ü"]}}
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")


def _read_json(_: Path, file: Path) -> None:
    from asd_lightning.foreign_files import load_json

    load_json(file)


def _make_csv(folder: Path) -> None:
    rows = [f'"clip, {index}.wav",{index / 7}' for index in range(100)]
    (folder / "scores.csv").write_text("\r\n".join(rows), encoding="utf-8")


def _read_csv(_: Path, file: Path) -> None:
    from asd_lightning.foreign_files import read_csv

    read_csv(file)


def _make_run(folder: Path) -> None:
    importlib.import_module("tests.scoring.runs").make_run(folder / "run", folder / "data", machines=("fan",))
    shutil.rmtree(folder / "run" / "checkpoints")
    shutil.rmtree(folder / "data")


def _read_run(folder: Path, _: Path) -> None:
    """What a report, a comparison and a submission read."""
    from rich.progress import Progress

    from asd_lightning.comparison.systems import compare_runs
    from asd_lightning.pages.runs import read_runs
    from asd_lightning.pages.settings import differing_settings, environment_rows, run_facts

    comparison = compare_runs([folder / "run"])
    with Progress(disable=True) as progress:
        runs, _failed = read_runs(comparison, 2, progress)
    differing_settings([*runs, *runs])
    environment_rows(runs)
    for run in runs:
        run_facts(run)


def _make_submission(folder: Path) -> None:
    from asd_lightning.submission.writer import write_submission

    _make_run(folder)
    write_submission(folder / "run", "Li_XJU_task2_1", folder / "submission")
    shutil.rmtree(folder / "run")


def _check_submission(folder: Path, _: Path) -> None:
    from asd_lightning.submission.check import check_submission, problem_lines

    problem_lines(check_submission(folder / "submission"), 10)


_YAML_WORDS = (b"&a ", b"*a", b"!!python/name:os.system ", b"[", b"{", b"- ", b"? ", b": ", b"<<: ", b"2025-99-99")
_YAML_WORDS += (
    b"\n",
    b"  ",
    b"|\n",
    b">-\n",
    b'"\\ud800"',
    b"1e999",
    b".nan",
    b"0x",
    b"1:1:1",
    b"\xef\xbb\xbf",
    b"---\n",
)
_JSON_WORDS = (
    b"[",
    b"]",
    b"{",
    b"}",
    b'{"a":',
    b'"\\ud800"',
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,
    b",",
    b"null",
)
_CSV_WORDS = (b",", b'"', b"\r", b"\n", b"\0", b"\xff", b"9" * 5000, b"nan", b"../", b"=")
_ZIP_WORDS = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07")
_PICKLE_WORDS = (
    b"}",
    b"]",
    b"(",
    b"q\x00",
    b"h\x00",
    b"\x86",
    b"R",
    b"b",
    b"Q",
    b"s",
    b"u",
    b"J\xff\xff\xff\x7f",
    b".",
)
_NPY_WORDS = (b"\x93NUMPY", b"'|O'", b"'<f8'", b"(1000000000000,)", b"'fortran_order': True", b"(((")

weights = Mutants(_make_pickled, _read_weights, _ZIP_WORDS + _PICKLE_WORDS)
pickles = Mutants(_make_programs, _read_program, _PICKLE_WORDS)
safetensors = Mutants(_make_safetensors, _read_weights, (*_JSON_WORDS, b'"F8_E4M3"', b'"BOOL"', b"blocks."))
fitted = Mutants(_make_fitted, _read_fitted, (*_JSON_WORDS, b'"F32"', b'"metric"', b"KMeansScorer", b"-1", b"[0,0]"))
npz = Mutants(_make_npz, _read_npz, _ZIP_WORDS + _NPY_WORDS)
npy = Mutants(_make_npy, _read_npy, _NPY_WORDS)
yaml = Mutants(_make_yaml, _read_yaml, _YAML_WORDS)
json_ = Mutants(_make_json, _read_json, _JSON_WORDS)
csv = Mutants(_make_csv, _read_csv, _CSV_WORDS)
run = Mutants(_make_run, _read_run, _YAML_WORDS + _JSON_WORDS + _CSV_WORDS + _ZIP_WORDS)
submission = Mutants(_make_submission, _check_submission, _YAML_WORDS + _CSV_WORDS)
