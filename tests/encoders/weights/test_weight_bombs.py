"""Weight files of a few kilobytes that ask for the machine: each is refused in one line, in little time and memory."""

from __future__ import annotations

import json
import pickle
import resource
import struct
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from asd_lightning.cli import main
from asd_lightning.encoders.weights.checkpoints import load_encoder
from asd_lightning.encoders.weights.store import import_weights
from asd_lightning.encoders.weights.tensor_files import read_tensors
from asd_lightning.encoders.weights.unpickling import Placeholder, read_pickled, settings
from asd_lightning.errors import UserError
from tests.encoders import official


@pytest.fixture(autouse=True, scope="module")
def imported() -> None:
    """What torch imports at the first encoder without memory takes seconds, once."""
    with torch.device("meta"):
        torch.nn.init.normal_(torch.empty(1))


@contextmanager
def little(seconds: float = 10.0, megabytes: int = 300) -> Iterator[None]:
    """Time, and memory above the highest so far."""
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - start < seconds
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < megabytes * 1024


def refused(file: Path, reason: str) -> None:
    """Through both doors."""
    for door in (import_weights, lambda path: load_encoder(str(path))):
        with little(), pytest.raises(UserError, match=reason) as error:
            door(file)
        assert str(file) in str(error.value)
        assert len(str(error.value).splitlines()) == 1
        assert len(str(error.value)) < 2_000


def write(
    path: Path, program: bytes, storages: dict[str, bytes] | None = None, packing: int = zipfile.ZIP_STORED
) -> Path:
    """A file as ``torch.save`` writes it, around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program, packing)
        archive.writestr("archive/byteorder", b"little")
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def beats(change: Callable[[dict[str, Any]], object], path: Path, cfg: dict[str, Any] = official.BEATS_CFG) -> Path:
    state = official.draw(official.beats_shapes(official.BEATS_CFG))
    change(state)
    return official.write_beats(path, state, cfg)


# --- views ------------------------------------------------------------------------------------------------------------


def test_one_number_shown_ten_billion_times(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(100_000, 100_000)
    file = beats(lambda state: state.update({"encoder.layers.0.fc1.weight": huge}), tmp_path / "evil.pt")
    assert file.stat().st_size < 1_000_000
    refused(file, r"evil\.pt is refused: .*a view of shape \(100000, 100000\) of a storage of 1 numbers")


def test_a_storage_shown_many_times(tmp_path: Path) -> None:
    """Each view is in order; together, and with a configuration that fits, they ask for 20 times the file."""
    dim, layers = 1024, 8
    cfg = official.BEATS_CFG | {"encoder_layers": layers, "encoder_embed_dim": dim, "encoder_ffn_embed_dim": 4096}
    shapes = official.beats_shapes(cfg)
    shared = torch.zeros(max(int(np.prod(shape)) for shape in shapes.values()))
    state = {name: shared[: int(np.prod(shape))].view(shape) for name, shape in shapes.items()}
    refused(official.write_beats(tmp_path / "evil.pt", state, cfg), r"bytes ask for [\d,]+ bytes of tensors")


def program_of_view(storage: str, length: int, offset: Any, shape: Any, stride: Any) -> bytes:
    class Storage:
        pass

    class Pickler(pickle._Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, storage, "cpu", length) if isinstance(value, Storage) else None

    class View:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, shape, stride, False, OrderedDict())

    from io import BytesIO

    stream = BytesIO()
    Pickler(stream, protocol=2).dump({"cfg": official.BEATS_CFG, "model": {"encoder.layers.0.x": View()}})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("length", "offset", "shape", "stride", "reason"),
    [
        (10**12, 0, (4,), (1,), "wants more bytes than"),
        (-1, 0, (4,), (1,), "wants more bytes than"),
        (4, 1, (4,), (1,), "a view of shape"),
        (4, -1, (4,), (1,), "whose shape is no shape"),
        (4, 0, (4,), (-1,), "whose shape is no shape"),
        (4, 0, (2, 2), (3, 1), "a view of shape"),
        (4, 0, (10**10,), (0,), "a view of shape"),
        (4, 0, (2,) * 60, (0,) * 60, "dimensions"),
        (4, 0, (2, 2), (1,), "dimensions"),
        (4, 0, ("a",), (1,), "whose shape is no shape"),
        (4, 0, (1.5,), (1,), "whose shape is no shape"),
        (4, 0, [2], (1,), "without a storage or a shape"),
    ],
)
def test_views_stay_in_their_storage(
    length: int, offset: Any, shape: Any, stride: Any, reason: str, tmp_path: Path
) -> None:
    refused(write(tmp_path / "a.pt", program_of_view("0", length, offset, shape, stride), {"0": bytes(16)}), reason)


def test_missing_and_compressed_storages(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.pt", program_of_view("1", 4, 0, (4,), (1,)), {"0": bytes(16)}), "bytes are missing")
    file = tmp_path / "b.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", program_of_view("0", 10**8, 0, (10**8,), (1,)))
        archive.writestr("archive/data/0", bytes(4 * 10**8 // 100), zipfile.ZIP_DEFLATED)
    refused(file, "archive/data/0 is compressed")


def test_storages_in_the_wrong_place(tmp_path: Path) -> None:
    file = write(tmp_path / "a.pt", program_of_view("0", 4, 0, (4,), (1,)), {"0": bytes(16)})
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\x03\x04", 100) :][:4] = b"PK\x03\x04"
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 42 : directory + 46] = struct.pack("<I", 7)
    file.write_bytes(content)
    # Newer Pythons find first that two files overlap, and name the whole.
    refused(file, "is not where it should be|no complete torc")


def test_big_endian_files_are_refused_in_words(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/byteorder", b"big")
    refused(tmp_path / "a.pt", "its numbers are big-endian")


# --- the pickle -------------------------------------------------------------------------------------------------------


def test_a_deflated_pickle(tmp_path: Path) -> None:
    program = pickle.dumps({"cfg": {}, "model": {}, "x": "a" * 100_000_000}, 2)
    file = write(tmp_path / "evil.pt", program, packing=zipfile.ZIP_DEFLATED)
    del program
    assert file.stat().st_size < 1_000_000
    refused(file, r"data\.pkl is compressed")


def test_a_long_pickle(tmp_path: Path) -> None:
    refused(write(tmp_path / "evil.pt", b"\x80\x02" + b"}0" * 400_000 + b"N."), "more than 500,000 steps")
    refused(write(tmp_path / "more.pt", pickle.dumps("a" * 20_000_000, 2)), "a pickle of 20,")


def test_ten_million_layers(tmp_path: Path) -> None:
    refused(beats(dict, tmp_path / "evil.pt", official.BEATS_CFG | {"encoder_layers": 10**7}), "from 1 to 64")


def nested(levels: int, make: Callable[[Any, Any], Any]) -> Any:
    value: Any = make(1, 1)
    for _ in range(levels):
        value = make(value, value)
    return value


@pytest.mark.parametrize("place", ["layer_norm_first", "encoder_layers", "dropout", "unknown"])
@pytest.mark.parametrize("make", [lambda a, b: [a, b], lambda a, b: (a, b), lambda a, b: {"x": a, "y": b}])
def test_lists_that_share_their_items_are_not_expanded(place: str, make: Any, tmp_path: Path) -> None:
    """Sixty levels of pairs of one another are 10^18 items when they are written out, hashed, compared or shown."""
    cfg = official.BEATS_CFG | {place: nested(60, make)}
    file = beats(dict, tmp_path / "evil.pt", cfg)
    with little(), suppress(UserError):
        import_weights(file)


def test_keys_that_share_their_items_are_not_hashed(tmp_path: Path) -> None:
    program = b"\x80\x02}" + b"K\x01q\x00h\x00\x86q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"h\x00K\x01s."
    refused(write(tmp_path / "evil.pt", program), "keys are neither text nor small numbers")


def test_keys_of_one_hash_are_not_compared_each_with_each(tmp_path: Path) -> None:
    keys = [index * (2**61 - 1) for index in range(1, 100_000)]
    assert {hash(key) for key in keys[:100]} == {0}
    program = b"".join(b"\x8a\x0b" + key.to_bytes(11, "little") + b"N" for key in keys)
    refused(write(tmp_path / "evil.pt", b"\x80\x02}(" + program + b"u."), "keys are neither text nor small numbers")


def test_memory_at_far_numbers(tmp_path: Path) -> None:
    """Python's own unpickler makes room for all numbers below."""
    refused(write(tmp_path / "evil.pt", b"\x80\x02]r\xff\xff\xff\xff."), "holds a list")


def test_configurations_that_contain_themselves_end() -> None:
    around = Placeholder()
    around.state = {"_content": around}
    tree: dict[str, Any] = {"a": around, "b": 1}
    tree["self"] = tree
    assert settings(around) == {}
    assert settings(tree)["b"] == 1


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "holds a Placeholder"),
        (b"\x80\x02ctorch\nFloatTensor\nJ\xff\xff\xff\x7f\x85R.", r"torch\.FloatTensor"),
        (b"\x80\x02ctorch._utils\n_rebuild_meta_tensor_no_storage\n.", "_rebuild_meta_tensor_no_storage"),
        (b"\x80\x02ctorch._utils\n_rebuild_wrapper_subclass\n.", "_rebuild_wrapper_subclass"),
        (b"\x80\x02cfairseq.x\ny\n)R)R.", "a call of something that it has made"),
        (b"\x80\x02K\x01)R.", "a call of something"),
        (b"\x80\x02K\x01Q.", "a reference to something outside"),
        (b"\x80\x02]K\x01b.", "attributes for a list"),
        (b"\x80\x02K\x01K\x02a.", "items for a int"),
        (b"\x80\x02(cposix\nsystem\nX\x01\x00\x00\x00xo.", r"posix\.system"),
        (b"\x80\x02(X\x01\x00\x00\x00xiposix\nsystem\n.", "the step INST"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "the step SHORT_BINUNICODE"),
        (b"\x80\x02\x82\x01.", "the step EXT1"),
        (b"\x80\x02", "is damaged"),
        (b".", "is damaged"),
        (b"\x80\x02h\x07.", "is damaged"),
        (b"\x80\x02t.", "is damaged"),
        (b"\x80\x02X\xff\xff\xff\xffabc.", "is damaged"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "is damaged"),
        (b"\x80\x02(K\x01(K\x02K\x03uu.", "is refused"),
    ],
)
def test_steps_that_no_checkpoint_takes(program: bytes, reason: str, tmp_path: Path) -> None:
    refused(write(tmp_path / "evil.pt", program), reason)


def test_names_are_shown_short_and_without_control_characters(tmp_path: Path) -> None:
    state = {"\x1b[31m" + "x" * 100_000 + str(index): torch.zeros(1) for index in range(3)}
    torch.save({"cfg": {}, "model": state}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", r"called \\x1b\[31mxxx")


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"encoder_layers": 65},
        {"encoder_layers": 0},
        {"encoder_layers": True},
        {"encoder_layers": 2.0},
        {"encoder_layers": "2"},
        {"encoder_layers": None},
        {"encoder_embed_dim": 10**6, "encoder_attention_heads": 100},
        {"encoder_layers": 64, "encoder_embed_dim": 8192, "encoder_ffn_embed_dim": 32768},
        {"encoder_attention_heads": 0},
        {"conv_pos_groups": 0},
        {"conv_pos": 10**9},
        {"num_buckets": 4 * 10**9, "max_distance": 8 * 10**9},
        {"input_patch_size": 10**5},
        {"dropout": float("nan")},
        {"dropout": -1},
        {"dropout": "a lot"},
        {"deep_norm": 1},
    ],
)
def test_beats_of_impossible_sizes(change: dict[str, Any], tmp_path: Path) -> None:
    refused(beats(dict, tmp_path / "evil.pt", official.BEATS_CFG | change), r"evil\.pt: ")
    with pytest.raises(UserError, match="is not possible: "):
        load_encoder("random", architecture="beats", config=change)


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 10**7},
        {"embed_dim": 10**6},
        {"max_patches": 65536, "embed_dim": 8192},
        {"max_patches": 10**9},
        {"mlp_ratio": 1e9},
        {"mlp_ratio": float("inf")},
        {"patch_size": 0},
        {"num_heads": 0},
        {"mel_bins": [1]},
    ],
)
def test_eat_of_impossible_sizes(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="is not possible: "):
        load_encoder("random", architecture="eat", config=change)


def test_as_many_blocks_as_names(tmp_path: Path) -> None:
    shapes = official.eat_port_shapes(official.EAT_DIM, 1)
    tensors = official.draw(shapes) | {f"model.blocks.{index}.x": torch.zeros(1) for index in range(9_000)}
    save_file(tensors, tmp_path / "evil.safetensors")
    refused(tmp_path / "evil.safetensors", "depth must be a whole number from 1 to 64")


def test_more_tensors_than_any_encoder_has(tmp_path: Path) -> None:
    save_file({f"blocks.{index}.x": torch.zeros(1) for index in range(20_000)}, tmp_path / "evil.safetensors")
    refused(tmp_path / "evil.safetensors", "20,000 tensors are more than 10,000")


def test_a_long_header(tmp_path: Path) -> None:
    file = tmp_path / "evil.safetensors"
    file.write_bytes((90_000_000).to_bytes(8, "little") + b"{" + b" " * 90_000_000)
    refused(file, "is cut short, or is not a checkpoint")


@pytest.mark.parametrize(
    "record",
    [
        "[" * 300_000,
        "1",
        "null",
        '{"architecture": ["beats"], "config": {}}',
        '{"architecture": "beats", "config": [1]}',
        '{"architecture": "beats", "config": {"encoder_layers": 10000000}}',
        '{"architecture": "eat", "config": {"max_patches": 1000000000}}',
        '{"architecture": "eat", "config": {"depth": "' + "9" * 100_000 + '"}}',
        "{}",
    ],
)
def test_records_of_converted_files(record: str, tmp_path: Path) -> None:
    file = tmp_path / "evil.safetensors"
    save_file(official.draw(official.eat_port_shapes(128, 1)), file, metadata={"asd_lightning": record})
    with little(), pytest.raises(UserError) as error:
        load_encoder(str(file))
    assert str(file) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "config",
    ["[" * 100_000, "\xff", '{"model_type": "eat", "num_heads": [1]}', '{"model_type": "eat", "num_heads": 1e999}'],
)
def test_configurations_beside_the_file(config: str, tmp_path: Path) -> None:
    file = official.write_port(tmp_path / "a.safetensors", official.draw(official.eat_port_shapes(128, 1)))
    (tmp_path / "config.json").write_bytes(config.encode("latin-1"))
    with pytest.raises(UserError) as error:
        load_encoder(str(file))
    assert str(tmp_path) in str(error.value)


def test_numbers_of_odd_types(tmp_path: Path) -> None:
    tensors = official.draw(official.eat_port_shapes(128, 1))
    tensors["model.pre_norm.bias"] = torch.zeros(128, dtype=torch.int64)
    refused(official.write_port(tmp_path / "a.safetensors", tensors), "numbers of type I64")


# --- any damage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_damaged_files_are_one_line(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if form == "pt":
        original = beats(dict, tmp_path / "good.pt").read_bytes()
    else:
        tensors = official.draw(official.eat_port_shapes(128, 1))
        original = official.write_port(tmp_path / "good.safetensors", tensors).read_bytes()
    rng, file = np.random.default_rng(0), tmp_path / f"a.{form}"
    edges = np.r_[0:6_000, len(original) - 4_000 : len(original)]
    for _ in range(60):
        content = bytearray(original)
        for position in rng.choice(edges, size=rng.integers(1, 4)):
            content[position] = rng.integers(256)
        file.write_bytes(content)
        assert main(["weights", "import", str(file), "--as", "mine"]) in (0, 1, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_the_machine_reads_what_torch_writes(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "whole": base,
        "transposed": base.T,
        "part": base[1:3, ::2],
        "none": torch.empty(0, 3),
        "one": torch.tensor(3.0),
        "half": base.half(),
        "brain": base.bfloat16(),
        "parameter": torch.nn.Parameter(base),
        "long": torch.arange(3),
    }
    torch.save({"model": OrderedDict(tensors), "cfg": {"a": 1}}, tmp_path / "a.pt")
    stored = read_pickled(tmp_path / "a.pt")["model"]
    read = read_tensors(stored, tmp_path / "a.pt")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor.detach().float()), name
        assert read[name].is_contiguous()
        assert stored[name].shape == tuple(tensor.shape)


def test_records_are_json(tmp_path: Path) -> None:
    path = import_weights(beats(dict, tmp_path / "good.pt"))
    assert json.loads(path.with_suffix(".json").read_text())["architecture"] == "beats"
