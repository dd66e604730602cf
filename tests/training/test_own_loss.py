"""A loss and a pooling of one's own, as docs/own-parts.md shows them."""

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from asd_lightning.configuration import compose_train, plain
from asd_lightning.data.labels import ClassLabel
from asd_lightning.features.mixup import Mixed
from asd_lightning.training.build import build_module, load_module

PAGE = Path(__file__).parents[2] / "docs/own-parts.md"
CLASSES = [ClassLabel("fan/a", True), ClassLabel("fan/b", True)]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    page = PAGE.read_text(encoding="utf-8")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").touch()
    (tmp_path / "mine/losses.py").write_text(
        re.search(r"`mine/losses\.py`:.*?```python\n(.*?)^```", page, re.M | re.S)[1]
    )
    loss = re.search(r"cross_entropy\.yaml`.*?```yaml\n(.*?)^```", page, re.M | re.S)[1]
    pooling = re.search(r"`pooling: (\{.*?\})`", page)[1]
    for name in ("mine", "mine.losses"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ASD_TRUST", "mine,tests")
    yield yaml.safe_load(loss), yaml.safe_load(pooling)
    for name in ("mine", "mine.losses"):
        sys.modules.pop(name, None)


class Tokens(nn.Module):
    """Waveform (batch, samples) to tokens (batch, samples / 16, 16)."""

    token_dim = 16

    def forward(self, waveform):
        return waveform.unflatten(1, (-1, 16))


def test_they_are_built_counted_for_mixed_clips_and_read_again(mine, tmp_path):
    config = plain(compose_train(["experiment=fft", "model/loss=scadacos", "name=x"], tmp_path).model)
    config["loss"], pooling = mine
    parts = {"front_end": {"_target_": "torch.nn.Identity"}, "encoder": {"_target_": f"{__name__}.Tokens"}}
    branch = {"_target_": "asd_lightning.embedder.Branch", **parts, "pooling": pooling, "embed_dim": None}
    config["embedder"]["branches"] = {"own": branch}
    module = build_module(config, CLASSES).eval()
    waveform, label = torch.randn(4, 160), torch.tensor([0, 1, 1, 0])
    embedding = module.embedder(waveform)
    assert torch.equal(embedding, waveform.reshape(4, 10, 16).amax(1))
    partner = torch.tensor([1, 0, 3, 2])
    mixed = Mixed(waveform, partner, label[partner], torch.tensor(0.75))
    shares = torch.tensor([[0.75, 0.25], [0.25, 0.75], [0.25, 0.75], [0.75, 0.25]])
    logits = embedding @ module.loss.classify.weight.T + module.loss.classify.bias
    wanted = -(shares * (logits - logits.logsumexp(1, keepdim=True))).sum(1).mean()
    torch.testing.assert_close(module.loss(embedding, label, mixed).total, wanted)
    content = {"state_dict": module.state_dict(), "global_step": 0}
    module.on_save_checkpoint(content)
    torch.save(content, tmp_path / "last.ckpt")
    again = load_module(tmp_path / "last.ckpt")
    assert torch.equal(again.loss.classify.weight, module.loss.classify.weight)
