"""Published files in, encoders out: each format, each way a file can be wrong, the full-size reference numbers."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import hydra.utils
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from asd_lightning.cli import main
from asd_lightning.encoders.beats import BEATs, BEATsConfig
from asd_lightning.encoders.eat import EAT, EATConfig
from asd_lightning.encoders.mn04 import MN04Config
from asd_lightning.encoders.weights import store
from asd_lightning.encoders.weights.checkpoints import architecture_only, encoder_arguments, load_encoder
from asd_lightning.encoders.weights.store import import_weights, read_record, stored_path
from asd_lightning.errors import UserError
from tests.encoders import official
from tests.golden import golden_mn04_state
from tests.reference import needs_reference, shared_dir

TINY_BEATS = {key: value for key, value in official.BEATS_CFG.items() if key in BEATsConfig.__dataclass_fields__}
TINY_EAT = {
    "embed_dim": official.EAT_DIM,
    "depth": official.EAT_DEPTH,
    "num_heads": official.EAT_HEADS,
    "mlp_ratio": 4.0,
}
POSITIONS = "fixed_positional_encoder.positions"


@pytest.fixture
def beats_file(tmp_path: Path) -> Path:
    state = official.draw(official.beats_shapes(official.BEATS_CFG))
    return official.write_beats(tmp_path / "tiny_beats.pt", state, official.BEATS_CFG)


def write_case(name: str, folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """One published format in small, and the tensors its encoder should end up with."""
    if name.startswith("beats"):
        cfg = official.FINETUNED_CFG if name == "beats_finetuned" else official.BEATS_CFG
        state = official.draw(official.beats_shapes(cfg))
        expected = {key: tensor for key, tensor in state.items() if not key.startswith("predictor.")}
        return official.write_beats(folder / f"{name}.pt", state, cfg), expected
    finetuned = name.endswith("finetuned")
    port = official.draw(official.eat_port_shapes(official.EAT_DIM, official.EAT_DEPTH, finetuned))
    port[f"model.{POSITIONS}"] = EAT(EATConfig(**TINY_EAT)).fixed_positional_encoder.positions.clone()
    if "fp16" in name:
        port = {key: tensor.half() if POSITIONS not in key else tensor for key, tensor in port.items()}
    heads = ("model.head.", "model.fc_norm.")
    expected = {key.removeprefix("model."): t.float() for key, t in port.items() if not key.startswith(heads)}
    if name.startswith("eat_port"):
        return official.write_port(folder / f"{name}.safetensors", port), expected
    prefix = "model." if finetuned else ""
    state = {prefix + official.fairseq_name(key): tensor for key, tensor in port.items()}
    if not finetuned:
        decoder = official.eat_fairseq_shapes(official.EAT_DIM, official.EAT_DEPTH)
        state |= official.draw({key: shape for key, shape in decoder.items() if ".decoder." in key})
    return official.write_fairseq(folder / f"{name}.pt", state, plain_cfg="plain" in name), expected


CASES = [
    "beats",
    "beats_finetuned",
    "eat_port",
    "eat_port_finetuned",
    "eat_fairseq",
    "eat_fairseq_plain_fp16",
    "eat_fairseq_finetuned",
]


@pytest.mark.parametrize("name", CASES)
def test_every_format_converts_exactly_and_loads(name: str, tmp_path: Path) -> None:
    file, expected = write_case(name, tmp_path)
    path = import_weights(file)
    assert path == stored_path(name)
    stored = load_file(path)
    assert stored.keys() == expected.keys()
    for key, tensor in expected.items():
        assert stored[key].dtype == torch.float32
        assert torch.equal(stored[key], tensor), key
    by_name, by_file = load_encoder(name).eval(), load_encoder(str(file)).eval()
    for encoder in (by_name, by_file):
        assert encoder.state_dict().keys() == expected.keys()
        assert all(torch.equal(tensor, expected[key]) for key, tensor in encoder.state_dict().items())
    features = torch.randn(2, 64, 128)
    with torch.no_grad():
        tokens = by_name(features)
        assert torch.equal(tokens, by_file(features))
    assert torch.isfinite(tokens).all()


def test_configurations_are_those_of_the_file(tmp_path: Path) -> None:
    assert load_encoder(str(write_case("beats", tmp_path)[0])).config == BEATsConfig(**TINY_BEATS)
    finetuned = load_encoder(str(write_case("beats_finetuned", tmp_path)[0])).config
    assert isinstance(finetuned, BEATsConfig)
    # The file's 0.6 per layer would leave the patch embedding almost no gradient: 1 unless asked for.
    assert (finetuned.dropout, finetuned.layer_wise_gradient_decay_ratio) == (0.0, 1.0)
    assert load_encoder(str(write_case("eat_fairseq", tmp_path)[0])).config == EATConfig(**TINY_EAT)
    # Without a stated number of heads it is one for every 64 channels, as in EAT-base and EAT-large.
    assert load_encoder(str(write_case("eat_port", tmp_path)[0])).config == EATConfig(**TINY_EAT)


def test_heads_stated_beside_the_file_count(tmp_path: Path) -> None:
    file, _ = write_case("eat_port", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "eat", "num_heads": 4}))
    config = load_encoder(str(file)).config
    assert isinstance(config, EATConfig)
    assert config.num_heads == 4
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "eat", "layer_norm_first": True}))
    with pytest.raises(UserError, match="layer_norm_first=True; only False"):
        load_encoder(str(file))


def test_position_table_of_another_length_is_recomputed(tmp_path: Path) -> None:
    shapes = official.eat_port_shapes(official.EAT_DIM, official.EAT_DEPTH)
    shapes[f"model.{POSITIONS}"] = (1, 512, official.EAT_DIM)
    encoder = load_encoder(str(official.write_port(tmp_path / "old.safetensors", official.draw(shapes))))
    assert torch.equal(encoder.state_dict()[POSITIONS], EAT(EATConfig(**TINY_EAT)).state_dict()[POSITIONS])


@needs_reference("golden")
@pytest.mark.parametrize(
    ("keys", "shapes"),
    [
        ("beats_iter3_plus_as2m", lambda cfg: official.beats_shapes(cfg)),
        ("beats_iter3_plus_as2m_finetuned", lambda cfg: official.beats_shapes(cfg)),
        ("eat_base_hf", lambda cfg: official.eat_port_shapes(cfg["embed_dim"], cfg["depth"])),
        ("eat_base_fairseq", lambda _: official.eat_fairseq_shapes(768, 12)),
    ],
)
def test_small_layouts_are_the_published_ones(keys: str, shapes: Any) -> None:
    layout = json.loads((shared_dir() / "golden" / "keys" / f"{keys}.json").read_text())
    assert shapes(layout["cfg"]) == {name: tuple(entry["shape"]) for name, entry in layout["tensors"].items()}


def test_record_says_where_the_weights_are_from(beats_file: Path) -> None:
    path = import_weights(beats_file, name="mine")
    record = read_record(path)
    assert json.loads(path.with_suffix(".json").read_text()) == record
    assert record["source_bytes"] == beats_file.stat().st_size
    assert record["architecture"] == "beats"
    assert BEATsConfig(**record["config"]) == BEATsConfig(**TINY_BEATS)
    assert len(record["tensors"]) == len(official.beats_shapes(official.BEATS_CFG))
    assert not list(path.parent.glob(".*"))  # no temporary file left


# --- files that are wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("encoder.layers.1.fc1.bias"), r"lacks encoder\.layers\.1\.fc1\.bias"),
        (lambda state: state.update({"encoder.odd": torch.ones(1)}), r"has the unknown encoder\.odd"),
        (lambda state: state.update({"layer_norm.bias": torch.ones(7)}), r"layer_norm\.bias is \(7,\), not \(32,\)"),
    ],
    ids=["missing", "extra", "shape"],
)
def test_tensors_that_do_not_fit_are_named(change: Any, message: str, tmp_path: Path) -> None:
    state = official.draw(official.beats_shapes(official.BEATS_CFG))
    change(state)
    file = official.write_beats(tmp_path / "odd.pt", state, official.BEATS_CFG)
    with pytest.raises(UserError, match=message) as error:
        import_weights(file)
    assert str(file) in str(error.value)
    assert "Take the published file" in str(error.value)
    assert not stored_path("odd").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_file(suffix: str, tmp_path: Path) -> None:
    file, _ = write_case("beats" if suffix == ".pt" else "eat_port", tmp_path)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"is cut short.*Get the file again"):
        import_weights(file)


def test_web_page_empty_file_and_no_file(tmp_path: Path) -> None:
    page, empty = tmp_path / "BEATs_iter3.pt", tmp_path / "empty.pt"
    page.write_text("\n<!DOCTYPE html><html><body>Sign in</body></html>")
    empty.touch()
    with pytest.raises(UserError, match=r"is a web page.*Open the address in a browser"):
        import_weights(page)
    with pytest.raises(UserError, match=r"empty\.pt is empty"):
        import_weights(empty)
    with pytest.raises(UserError, match=r"absent\.pt does not exist"):
        load_encoder(str(tmp_path / "absent.pt"))


def test_other_models_are_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "other.pt"
    torch.save({"cfg": {}, "model": {"conv1.weight": torch.ones(2)}}, file)
    with pytest.raises(UserError, match=r"neither BEATs nor EAT nor mn04: its tensors are called conv1\.weight"):
        import_weights(file)
    torch.save({"state_dict": {}}, file)
    with pytest.raises(UserError, match=r"no 'model' dictionary, only state_dict"):
        import_weights(file)
    torch.save([1, 2], file)
    with pytest.raises(UserError, match="holds a list"):
        import_weights(file)


def test_mn04_of_another_width_and_another_network_of_its_kind_are_refused(tmp_path: Path) -> None:
    state = golden_mn04_state()
    wider = state | {"features.0.0.weight": torch.ones(16, 1, 3, 3)}
    other = {name.replace("conc_se_layers.0.", ""): tensor for name, tensor in state.items()}
    file = tmp_path / "mn10_as_mAP_471.pt"
    for payload, message in (
        (wider, r"does not fit the mn04 encoder .*features\.0\.0\.weight is \(16, 1, 3, 3\), not \(8, 1, 3, 3\)"),
        (other, r"does not fit the mn04 encoder .*lacks features\.11\.block\.2\.conc_se_layers\.0\.fc1\.bias"),
        (state | {"extra": "text"}, None),
    ):
        torch.save(payload, file)
        if message is None:  # what is no tensor is left out, as of the other formats
            assert import_weights(file).is_file()
            continue
        with pytest.raises(UserError, match=message) as error:
            import_weights(file)
        assert "\n" not in str(error.value)


@needs_reference("weights/mn04_as_mAP_432.pt")
def test_the_published_mn04_is_recognized_and_loads(tmp_path: Path) -> None:
    file = tmp_path / "any_name.pt"
    file.write_bytes((shared_dir() / "weights/mn04_as_mAP_432.pt").read_bytes())
    path = import_weights(file)
    assert path == stored_path("mn04_as")
    assert read_record(path)["checksum"] == "as published"
    encoder = load_encoder("mn04_as", architecture="mn04", config={"block": 10, "bands": "merge"})
    assert encoder.config == MN04Config(10, "merge")
    published = torch.load(file, weights_only=True)
    assert all(torch.equal(tensor, published[name]) for name, tensor in encoder.state_dict().items())
    with pytest.raises(UserError, match="are of mn04, but the branch asks for architecture=beats"):
        load_encoder("mn04_as", architecture="beats")
    with pytest.raises(UserError, match="is not possible: block must be a whole number from 0 to 16, got 17"):
        load_encoder("mn04_as", config={"block": 17})
    with pytest.raises(UserError, match="mn04 is small and has none"):
        load_encoder("mn04_as", gradient_checkpointing=True)


def test_beats_configuration_of_an_unknown_kind(tmp_path: Path) -> None:
    state = official.draw(official.beats_shapes(official.BEATS_CFG))
    file = official.write_beats(tmp_path / "odd.pt", state, official.BEATS_CFG | {"layer_norm_first": True})
    with pytest.raises(UserError, match=r"odd\.pt: .*layer_norm_first"):
        import_weights(file)


class Malicious:
    """Unpickling this runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("place", ["cfg", "model", "extra_state"])
def test_malicious_pickle_is_refused_unrun(place: str, tmp_path: Path) -> None:
    marker, file = tmp_path / "marker", tmp_path / "evil.pt"
    torch.save({"cfg": {}, "model": {}, place: {"x": Malicious(marker)}}, file)
    torch.load(file, weights_only=False)
    assert marker.exists()  # the file is what it is meant to be
    marker.unlink()
    with pytest.raises(UserError, match=r"refused.*system.*Nothing in it was run"):
        import_weights(file)
    with pytest.raises(UserError, match="refused"):
        load_encoder(str(file))
    assert not marker.exists()


class ThroughAPlaceholder:
    """Calls a permitted name's placeholder, then asks for an attribute of it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (OmegaConf, "create")


def test_attribute_access_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "evil.pt"
    torch.save({"cfg": ThroughAPlaceholder(), "model": {}}, file)
    with pytest.raises(UserError, match=r"refused.*builtins\.getattr"):
        import_weights(file)


def test_permitted_names_are_not_called_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name under fairseq is a placeholder: its function does not run, even where such a package is installed."""
    marker, module = tmp_path / "marker", ModuleType("fairseq.files")
    module.touch = type("touch", (), {"__new__": lambda _, path: Path(path).touch()})
    module.touch.__module__ = "fairseq.files"
    monkeypatch.setitem(sys.modules, "fairseq", ModuleType("fairseq"))
    monkeypatch.setitem(sys.modules, "fairseq.files", module)
    call = type("Call", (), {"__reduce__": lambda _: (module.touch, (str(marker),))})()
    file = tmp_path / "evil.pt"
    state = official.draw(official.beats_shapes(official.BEATS_CFG))
    torch.save({"cfg": official.BEATS_CFG, "model": state, "extra_state": call}, file)
    torch.load(file, weights_only=False)
    assert marker.exists()
    marker.unlink()
    assert import_weights(file).is_file()
    assert not marker.exists()


def test_no_space_left(beats_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match=r"no space left in .* are needed .*set ASD_CACHE"):
        import_weights(beats_file)
    assert not stored_path("tiny_beats").exists()


def test_disk_that_fills_up_while_writing(beats_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_written(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(store, "save_file", half_written)
    with pytest.raises(UserError, match=r"cannot write .*tiny_beats\.safetensors: .*Free some space"):
        import_weights(beats_file)
    assert list(store.weights_dir().iterdir()) == []


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_published_name_needs_the_published_bytes(
    beats_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    named = beats_file.rename(tmp_path / "BEATs_iter3.pt")
    with pytest.raises(UserError, match=r"not the published BEATs_iter3\.pt: sha256 .* expected 8d1b.*--as NAME"):
        import_weights(named)
    with caplog.at_level(logging.WARNING):
        path = import_weights(named, name="beats_iter3")
    assert "imported as beats_iter3 all the same" in caplog.text
    assert read_record(path)["checksum"] == "differs from the published file"
    assert load_encoder("beats_iter3", architecture="beats").config == BEATsConfig(**TINY_BEATS)
    with pytest.raises(UserError, match="holds a beats encoder, but eat_base_finetuned is eat"):
        import_weights(named, name="eat_base_finetuned")


def test_missing_weights_say_how_to_get_them() -> None:
    with pytest.raises(UserError, match=r"`asd weights fetch beats_iter3`.*`asd weights import FILE --as beats_iter3`"):
        load_encoder("beats_iter3")
    with pytest.raises(UserError, match=r"no pretrained encoder is called 'beats_iter4'; there are beats_iter3, "):
        load_encoder("beats_iter4")


@pytest.mark.parametrize("name", ["random", "../x", "a/b", ".hidden", ""])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UserError, match="cannot name weights"):
        stored_path(name)


def test_wrong_architecture_is_refused(beats_file: Path) -> None:
    with pytest.raises(UserError, match=r"are of beats, but the branch asks for architecture=eat"):
        load_encoder(str(beats_file), architecture="eat")


def test_unconverted_and_foreign_records(tmp_path: Path) -> None:
    file, _ = write_case("eat_port", tmp_path)
    with pytest.raises(UserError, match="was not converted by asd"):
        read_record(file)


# --- random, overrides, rebuilding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("architecture", "config"), [("beats", TINY_BEATS), ("eat", TINY_EAT)])
def test_random_only_by_name_and_with_a_warning(
    architecture: str, config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        encoder = load_encoder("random", architecture=architecture, config=config, gradient_checkpointing=True)
    assert "random weights" in caplog.text
    assert encoder.gradient_checkpointing
    assert encoder.config == (BEATsConfig(**config) if architecture == "beats" else EATConfig(**config))
    with pytest.raises(UserError, match="architecture=beats or architecture=eat"):
        load_encoder("random")
    with pytest.raises(UserError, match="choose one of beats, eat"):
        load_encoder("random", architecture="vit")


def test_configuration_can_be_changed(beats_file: Path) -> None:
    encoder = load_encoder(str(beats_file), config={"encoder_layerdrop": 0.0, "layer_wise_gradient_decay_ratio": 0.6})
    assert isinstance(encoder.config, BEATsConfig)
    assert (encoder.config.encoder_layerdrop, encoder.config.layer_wise_gradient_decay_ratio) == (0.0, 0.6)
    with pytest.raises(UserError, match=r"config has no layerdrop; it has .*encoder_layerdrop"):
        load_encoder(str(beats_file), config={"layerdrop": 0.0})
    with pytest.raises(UserError, match=r"does not fit .*lacks encoder\.layers\.2\."):
        load_encoder(str(beats_file), config={"encoder_layers": 3})
    with pytest.raises(UserError, match="is not possible: encoder_embed_dim 48"):
        load_encoder(str(beats_file), config={"encoder_attention_heads": 5})


def test_rebuilds_from_a_training_checkpoint_alone(beats_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    import_weights(beats_file, name="mine")
    trained = load_encoder("mine", config={"dropout": 0.2})
    checkpoint = json.loads(json.dumps(encoder_arguments(trained)))
    stored_path("mine").unlink()
    with caplog.at_level(logging.WARNING), architecture_only():
        rebuilt = load_encoder("mine", **checkpoint)
        again = load_encoder("random", **checkpoint)
        with pytest.raises(UserError, match="no pretrained encoder is called 'mine'"):
            load_encoder("mine", architecture="beats", config={"dropout": 0.2})  # sizes are not recorded
    assert not caplog.records
    assert rebuilt.config == again.config == trained.config
    rebuilt.load_state_dict(trained.state_dict())
    small = load_encoder("random", architecture="mn04", config={"block": 4})
    with architecture_only():
        assert load_encoder("absent", **encoder_arguments(small)).config == MN04Config(4, "keep")
    with pytest.raises(UserError):
        load_encoder("mine", **checkpoint)  # outside, the weights are needed
    assert encoder_arguments(torch.nn.Linear(1, 1)) == {}


def test_hydra_instantiates_it_and_the_command_line_changes_it() -> None:
    node = OmegaConf.create(
        {
            "_target_": "asd_lightning.encoders.weights.checkpoints.load_encoder",
            "architecture": "beats",
            "weights": "beats_iter3",
        }
    )
    node.merge_with_dotlist(["weights=random", *(f"config.{key}={value}" for key, value in TINY_BEATS.items())])
    encoder = hydra.utils.instantiate(node)
    assert isinstance(encoder, BEATs)
    assert encoder.config == BEATsConfig(**TINY_BEATS)


# --- full size --------------------------------------------------------------------------------------------------------


def golden_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, shared_dir() / "golden" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@needs_reference("golden")
@pytest.mark.parametrize(
    ("keys", "case", "limit"),
    [
        ("beats_iter3_plus_as2m", "beats_6s", 1e-5),
        ("beats_iter3_plus_as2m_finetuned", "beats_6s", 1e-5),
        ("eat_base_hf", "eat_6s", 3e-6),
        ("eat_base_fairseq", "eat_6s", 3e-6),
    ],
)
def test_full_size_files_give_the_reference_numbers(keys: str, case: str, limit: float, tmp_path: Path) -> None:
    """File in a true format -> ``asd weights import`` -> ``load_encoder`` -> the official code's features."""
    golden = shared_dir() / "golden"
    layout = json.loads((golden / "keys" / f"{keys}.json").read_text())
    recipe = golden_module("recipe")
    state = {name: torch.from_numpy(array) for name, array in recipe.make_state_dict(layout["tensors"]).items()}
    if keys.startswith("beats"):
        file = official.write_beats(tmp_path / "weights.pt", state, layout["cfg"])
    elif keys == "eat_base_hf":
        file = official.write_port(tmp_path / "weights.safetensors", state)
    else:
        payload = {"cfg": OmegaConf.create({"model": {"num_heads": 12}}), "model": {**state, "_ema": dict(state)}}
        file = tmp_path / "weights.pt"
        torch.save(payload, file)
    assert main(["weights", "import", str(file), "--as", "full"]) == 0
    encoder = load_encoder("full").eval()
    arrays = np.load(golden / "cases" / f"{case}.npz")
    with torch.no_grad():
        tokens = encoder(torch.from_numpy(arrays["fbank_item0"]).reshape(1, -1, 128))[0, ::3].double().numpy()
    truth = arrays["features_item0"].astype(np.float64).reshape(tokens.shape)
    assert np.sqrt(((tokens - truth) ** 2).mean() / (truth**2).mean()) < limit
    store.stored_path("full").unlink()
