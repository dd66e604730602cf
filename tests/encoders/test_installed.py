"""Encoders from other packages: found by their entry point, and not imported unless trusted."""

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from asd_lightning.configuration import compose_train, plain
from asd_lightning.data.labels import ClassLabel
from asd_lightning.encoders.installed import InstalledEncoder, load_installed
from asd_lightning.errors import UserError
from asd_lightning.training.build import build_module, load_module

PAGE = Path(__file__).parents[2] / "docs/own-parts.md"
CLASSES = [ClassLabel("fan/a", True), ClassLabel("fan/b", True)]


def install(folder, distribution, offers):
    """As an installer leaves it: the metadata of a distribution."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[asd_lightning.encoders]\n" + "\n".join(offers))


@pytest.fixture
def ears(tmp_path, monkeypatch):
    """The package that the documentation shows."""
    page = PAGE.read_text(encoding="utf-8")
    (tmp_path / "ears").mkdir()
    code = re.search(r"`ears/__init__\.py`:\n\n<!-- [^\n]* -->\n```python\n(.*?)^```", page, re.M | re.S)[1]
    (tmp_path / "ears/__init__.py").write_text(code)
    install(tmp_path, "ears", [re.search(r'^ears = "(.*)"$', page, re.M)[0].replace('"', "")])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("ASD_TRUST", raising=False)
    yield tmp_path
    sys.modules.pop("ears", None)


def model(tmp_path):
    name = "model.embedder.branches.installed.encoder.name=ears"
    filters = "+model.embedder.branches.installed.encoder.config.filters=32"
    overrides = ["experiment=fft", "model/embedder/branches=[installed]", "model.score_after_head=false"]
    overrides += [name, filters, "name=x"]
    return plain(compose_train(overrides, tmp_path).model)


def test_an_installed_package_is_not_imported_unless_trusted(ears, tmp_path):
    with pytest.raises(UserError, match=r"encoder ears: would call 'ears\.Ears'; .*allow it with --trust ears"):
        load_installed("ears")
    with pytest.raises(Exception, match="--trust ears"):
        build_module(model(tmp_path), CLASSES)
    assert "ears" not in sys.modules


@pytest.mark.usefixtures("ears")
def test_it_is_a_branch_and_its_weights_are_the_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("ASD_TRUST", "ears")
    module = build_module(model(tmp_path), CLASSES).eval()
    waveform = 0.1 * torch.randn(2, 16_000)
    embedding = module(waveform)
    assert embedding.shape == (2, 32)
    encoder = module.embedder.branches["installed"].encoder
    torch.testing.assert_close(embedding, encoder.encoder.encode(waveform).mean(1))
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    content = {"state_dict": module.state_dict(), "global_step": 0}
    module.on_save_checkpoint(content)
    torch.save(content, tmp_path / "last.ckpt")
    assert torch.equal(load_module(tmp_path / "last.ckpt")(waveform), embedding)
    monkeypatch.setenv("ASD_TRUST", "")
    with pytest.raises(UserError, match="--trust ears"):
        load_module(tmp_path / "last.ckpt")
    monkeypatch.setenv("ASD_TRUST", "ears")
    (tmp_path / "ears-1.0.dist-info/entry_points.txt").unlink()
    with pytest.raises(UserError, match=r"encoder ears: not installed; install the package that offers it") as caught:
        load_module(tmp_path / "last.ckpt")
    assert "copy the run again" not in str(caught.value)


def test_mistakes_are_named(ears, monkeypatch):
    monkeypatch.setenv("ASD_TRUST", "ears,others")
    with pytest.raises(UserError, match=r"encoder eras: not installed.*ears"):
        load_installed("eras")
    with pytest.raises(UserError, match="encoder None: not installed"):
        load_installed(None)
    with pytest.raises(UserError, match=r"encoder ears: ears:Ears cannot be made: .*no_such"):
        load_installed("ears", {"no_such": 1})
    install(ears, "others", ["ears = others:Ears", "gone = ears:Gone", "outside = ears:torch.nn.Identity"])
    with pytest.raises(UserError, match="encoder ears: offered by ears:Ears and others:Ears; uninstall one"):
        load_installed("ears")
    for name in ("gone", "outside"):
        # What a trusted package only imports is not its own.
        with pytest.raises(UserError, match=f"encoder {name}: would call"):
            load_installed(name)


class Deaf(nn.Module):
    token_dim = 3


class TwoEars(Deaf):
    needs_reference = True


@pytest.mark.parametrize(
    ("encoder", "message"), [(Deaf(), "with encode"), (TwoEars(), "says needs_reference, and wants a far microphone")]
)
def test_what_a_branch_cannot_use(encoder, message):
    with pytest.raises(UserError, match=f"encoder mine: .*{message}"):
        InstalledEncoder(encoder, "mine")
