"""Encoders in bfloat16 and with 8-bit integers: what is rounded, what is not, and where it is refused."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F

from asd_lightning import low_precision
from asd_lightning.embedder import Branch, Embedder, EmbeddingHead, ScoredEmbedder
from asd_lightning.encoders.beats import BEATs, BEATsConfig
from asd_lightning.encoders.eat import EAT, EATConfig
from asd_lightning.encoders.mn04 import MN04, MN04Config
from asd_lightning.encoders.over_time import Mean
from asd_lightning.encoders.pooling import ClsPooling, GridPooling, MeanPooling
from asd_lightning.encoders.position_conv import PositionConv
from asd_lightning.encoders.statistics import TemporalStatistics
from asd_lightning.errors import UserError
from asd_lightning.features.fbank import beats_fbank, eat_fbank
from asd_lightning.features.mn04_log_mel import MN04LogMel
from asd_lightning.features.spectrum import LogMelSpectrogram
from asd_lightning.low_precision import (
    Int8Linear,
    Int8PositionConv,
    lowered,
    lowered_branches,
    refuse_without_support,
)
from asd_lightning.scoring.agreement import agrees, rank_agreement

TINY = BEATsConfig(
    encoder_layers=2,
    encoder_embed_dim=64,
    encoder_ffn_embed_dim=128,
    encoder_attention_heads=4,
    embed_dim=32,
    conv_pos=16,
    conv_pos_groups=4,
)
KINDS = ("beats", "eat", "mn04")


def branch(kind: str, **options) -> Branch:
    torch.manual_seed(0)
    made = {
        "beats": lambda: (beats_fbank(), BEATs(TINY), MeanPooling),
        "eat": lambda: (eat_fbank(96), EAT(EATConfig(depth=2, embed_dim=64, num_heads=4)), ClsPooling),
        "mn04": lambda: (MN04LogMel(), MN04(MN04Config(block=4)), partial(GridPooling, over_time=Mean())),
        "statistics": lambda: (LogMelSpectrogram(), TemporalStatistics(), None),
    }
    front_end, encoder, pooling = made[kind]()
    return Branch(front_end, encoder, pooling=pooling, **{"embed_dim": 8 if pooling else None, **options})


def system(*kinds: str, head: bool = False, **options) -> ScoredEmbedder:
    embedder = Embedder({kind: branch(kind, **options) for kind in kinds})
    return ScoredEmbedder(embedder, EmbeddingHead([*embedder.embed_dims.values()]) if head else None).eval()


def sound(clips: int = 3) -> torch.Tensor:
    return 0.1 * torch.randn(clips, 16_000, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def able(monkeypatch):
    """Nothing is refused, whatever the processor is: what it lacks takes longer, and gives the same."""
    monkeypatch.setattr(low_precision, "refuse_without_support", lambda *_: None)


@pytest.fixture
def unable(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(low_precision, "processor_features", lambda: {"avx2": True, "avx512_bf16": False})


def test_int8_is_the_product_of_rounded_numbers():
    """Against numpy: levels of the activations, levels of the weights, an integer product, two scales."""
    torch.manual_seed(0)
    linear = nn.Linear(96, 40)
    x = torch.randn(3, 17, 96) * torch.tensor([0.1, 1.0, 30.0])[:, None, None]
    weight, bias = linear.weight.detach().double().numpy(), linear.bias.detach().double().numpy()
    of_weight = np.abs(weight).max(1) / 127
    levels_w = np.rint(weight / of_weight[:, None])
    layer = Int8Linear(linear)
    highest = 127 if layer._seven_bits else 255
    with torch.inference_mode():
        got = layer(x).double().numpy()
    for clip, found in zip(x.double().numpy(), got, strict=True):
        low, high = min(clip.min(), 0.0), max(clip.max(), 0.0)
        unit = (high - low) / highest
        zero = np.rint(-low / unit)
        levels_x = np.clip(np.rint(clip / unit) + zero, 0, highest) - zero
        wanted = (levels_x @ levels_w.T) * unit * of_weight + bias
        # A number on the edge between two levels may fall to either side.
        assert np.abs(found - wanted).max() <= 2 * unit * np.abs(weight).max()
        assert np.abs(found - wanted).mean() <= 0.01 * np.abs(wanted - bias).mean()


def test_int8_of_a_clip_does_not_depend_on_its_company():
    torch.manual_seed(0)
    layer = Int8Linear(nn.Linear(64, 48, bias=False))
    clips = torch.randn(4, 33, 64) * torch.tensor([1.0, 100.0, 0.01, 3.0])[:, None, None]
    together = layer(clips)
    for clip, found in zip(clips, together, strict=True):
        assert torch.equal(layer(clip[None])[0], found)
        assert torch.equal(layer(clip), found)
    assert torch.equal(copy.deepcopy(layer)(clips), together)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_float32_to_the_bit_beside_a_lowered_copy(kind):
    model, clips = system(kind, head=True), sound()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.inference_mode():
        wanted = model(clips)
        for precision in ("bf16", *(["int8"] if kind != "mn04" else [])):
            low = lowered(model, precision)
            relative = (low(clips) - wanted).norm() / wanted.norm()
            assert 0 < relative < 0.1
            assert low(clips).dtype == torch.float32
        assert torch.equal(model(clips), wanted)
        assert lowered(model, "float32") is model
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def watched(model: ScoredEmbedder, kind: type) -> list[tuple[torch.dtype, torch.dtype]]:
    """Types that modules of a kind are given, and give."""
    seen = []
    for module in model.modules():
        if isinstance(module, kind):
            module.register_forward_hook(lambda _, given, made: seen.append((given[0].dtype, made.dtype)))
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_is_of_the_encoder_alone(kind):
    low = lowered(system(kind), "bf16")
    own = low.embedder.branches[kind]
    front_ends, encoders = watched(low, type(own.front_end)), watched(low, type(own.encoder))
    around = watched(low, type(own.pooling)), watched(low, type(own.projection))
    norms, convolutions = watched(low.embedder.branches[kind].encoder, nn.LayerNorm), watched(low, nn.Conv2d)
    with torch.inference_mode():
        low(sound())
    single, half = torch.float32, torch.bfloat16
    assert front_ends == [(single, single)]
    assert [given for given, _ in encoders] == [single]
    assert (single, single) in around[0]
    assert around[1][-1] == (single, single)  # the projection, the last linear layer
    assert {made for _, made in convolutions} == {half}
    assert {made for _, made in norms} <= {single}
    assert kind == "mn04" or {made for _, made in watched_linear(low, kind)} == {half}


def watched_linear(low: ScoredEmbedder, kind: str) -> list[tuple[torch.dtype, torch.dtype]]:
    seen = watched(low.embedder.branches[kind].encoder, nn.Linear)
    with torch.inference_mode():
        low(sound(1))
    return seen


@pytest.mark.parametrize("kind", ["beats", "eat"])
def test_bf16_is_torchs_autocast_around_the_encoder(kind):
    model, clips = system(kind, embed_dim=None), sound(2)
    own = model.embedder.branches[kind]
    reference = copy.deepcopy(own.encoder)
    for module in [*reference.modules()]:
        for name, child in [*module.named_children()]:
            if isinstance(child, nn.LayerNorm):
                setattr(module, name, Upcast(child))
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16):
            tokens = reference(own.front_end(clips))
        assert torch.equal(lowered(model, "bf16")(clips), own.pooling(tokens.float()))


class Upcast(nn.Module):
    """What autocast does with layer norms on a GPU."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.float())


@pytest.mark.parametrize("kind", ["beats", "eat"])
def test_int8_is_of_the_large_layers(kind):
    model = system(kind)
    low = lowered(model, "int8").embedder.branches[kind].encoder
    left = [name for name, module in low.named_modules() if isinstance(module, nn.Linear)]
    before = [name for name, m in model.embedder.branches[kind].encoder.named_modules() if isinstance(m, nn.Linear)]
    rounded = [name for name, module in low.named_modules() if isinstance(module, Int8Linear)]
    made = [name for name in rounded if "pos_conv" not in name]
    assert all(name.endswith("grep_linear") for name in left)
    assert sorted(left + made) == sorted(before)
    assert made
    assert len(rounded) - len(made) == (TINY.conv_pos_groups if kind == "beats" else 0)


@pytest.mark.parametrize("tokens", [1, 8, 21])
def test_int8_position_convolution_is_the_convolution_of_rounded_numbers(tokens):
    """Against torch's own; every channel hears each of its taps."""
    torch.manual_seed(0)
    conv = PositionConv(dim=24, kernel=16, groups=3)
    nn.init.normal_(conv.bias)
    clips = torch.randn(3, 24, tokens) * torch.tensor([0.1, 1.0, 30.0])[:, None, None]
    with torch.inference_mode():
        wanted = F.conv1d(clips, conv.weight, padding=8, groups=3)[..., :tokens]
        low = Int8PositionConv(conv)
        got = low(clips)
        for clip, made, exact in zip(clips, got, wanted, strict=True):
            assert torch.equal(low(clip[None])[0], made)
            assert (made - conv.bias[:, None] - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("kind", ["beats", "eat"])
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_an_embedding_does_not_depend_on_its_company(kind, precision):
    low, clips = lowered(system(kind), precision), sound(4) * torch.tensor([1.0, 0.01, 5.0, 1.0])[:, None]
    with torch.inference_mode():
        together, alone = low(clips), torch.cat([low(clip[None]) for clip in clips])
    # Sums may run in another order, and a number between two levels fall to either side.
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-3 if precision == "int8" else 0.02)


SLOW_HERE = r"^bf16: this processor multiplies bfloat16.*; choose float32$"


@pytest.fixture
def tried(monkeypatch):
    """What each product of the trial takes, by its type, and what was multiplied."""
    taken, asked = {}, []

    def seconds(one, other):
        asked.append((one.dtype, one.shape, other.shape, torch.get_num_threads()))
        return next(taken[one.dtype])

    monkeypatch.setattr(low_precision, "_seconds", seconds)
    low_precision.bf16_is_faster.cache_clear()
    yield taken, asked
    low_precision.bf16_is_faster.cache_clear()


@pytest.mark.usefixtures("unable")
@pytest.mark.parametrize(
    ("of_bf16", "of_float32", "faster"),
    [
        ([1.0] * 5, [2.5] * 5, True),
        ([2.0] * 5, [1.2] * 5, False),
        ([1.0] * 5, [1.0] * 5, False),  # no gain
        ([9.0, 9.0, 9.0, 1.0, 9.0], [2.0] * 5, True),  # slow at first, and on a busy machine
        ([2.0] * 5, [9.0, 9.0, 9.0, 9.0, 1.0], False),
    ],
)
def test_bf16_is_taken_where_a_product_of_it_takes_less_time(monkeypatch, tried, of_bf16, of_float32, faster):
    """That it has AVX512_BF16 does not tell.  The least of five of each counts."""
    monkeypatch.setattr(low_precision, "processor_features", lambda: {"avx512_bf16": True})
    taken, asked = tried
    taken |= {torch.bfloat16: iter(of_bf16), torch.float32: iter(of_float32)}
    threads = torch.get_num_threads()
    for _ in range(2):
        if faster:
            refuse_without_support("bf16")
        else:
            with pytest.raises(UserError, match=SLOW_HERE):
                refuse_without_support("bf16")
    # In turn, the same product in both, on one thread; and not again.
    shapes = (torch.Size([256, 768]), torch.Size([768, 768]))
    assert asked == [(dtype, *shapes, 1) for dtype in (torch.bfloat16, torch.float32)] * 5
    assert torch.get_num_threads() == threads


@pytest.mark.usefixtures("unable")
def test_nothing_is_tried_where_the_answer_is_known(monkeypatch, tried):
    with pytest.raises(UserError, match=r"^bf16: this processor has neither"):
        refuse_without_support("bf16")
    monkeypatch.setattr(low_precision, "processor_features", lambda: {"avx512_vnni": True})
    refuse_without_support("int8")
    refuse_without_support("float32")
    assert tried[1] == []


def test_the_trial_times_both_products():
    """Whatever this processor is: the time of each is its own, and there is an answer."""
    low_precision.bf16_is_faster.cache_clear()
    assert low_precision.bf16_is_faster() in (True, False)
    one = torch.ones(8, 8)
    assert low_precision._seconds(one, one) >= 0


def test_low_rank_updates_are_merged_in_the_copy():
    model = system("eat", finetuning="lora", lora_rank=4)
    for name, parameter in model.named_parameters():
        if "lora_b" in name:
            nn.init.normal_(parameter, std=0.1)
    names = [*model.state_dict()]
    with torch.inference_mode():
        wanted = model(sound())
        for precision in ("bf16", "int8"):
            low = lowered(model, precision)
            assert not [name for name in low.state_dict() if "lora" in name]
            assert (low(sound()) - wanted).norm() < 0.1 * wanted.norm()
    assert [*model.state_dict()] == names


def test_each_branch_that_can_is_lowered_and_the_others_stay():
    model = system("beats", "mn04", "statistics")
    assert lowered_branches(model.embedder, "bf16") == ["beats", "mn04"]
    assert lowered_branches(model.embedder, "int8") == ["beats"]
    assert lowered_branches(model.embedder, "float32") == []
    with torch.inference_mode():
        wanted, got = (each(sound()) for each in (model, lowered(model, "int8")))
    assert not torch.equal(got[:, :8], wanted[:, :8])
    assert torch.equal(got[:, 8:], wanted[:, 8:])


def test_what_computes_in_no_such_precision_is_refused():
    with pytest.raises(UserError, match=r"^int8: nothing in mn04 computes in it; choose float32 or bf16$"):
        lowered(system("mn04"), "int8")
    with pytest.raises(UserError, match=r"^bf16: nothing in statistics computes in it; choose float32$"):
        lowered(system("statistics"), "bf16")


@pytest.mark.usefixtures("unable")
def test_a_processor_without_the_instructions_is_told():
    with pytest.raises(UserError, match=r"^bf16: this processor has neither AVX512_BF16 nor AMX.*; choose float32$"):
        lowered(system("beats"), "bf16")
    with pytest.raises(UserError, match=r"^int8: this processor has no VNNI.*; choose float32$"):
        refuse_without_support("int8")
    refuse_without_support("float32")


@pytest.mark.parametrize(
    ("precision", "feature"),
    [("bf16", "avx512_bf16"), ("bf16", "amx_bf16"), ("int8", "avx512_vnni"), ("int8", "avx_vnni")],
)
def test_a_processor_with_one_of_the_instructions_is_taken(monkeypatch, precision, feature):
    monkeypatch.setattr(low_precision, "processor_features", lambda: {feature: True})
    monkeypatch.setattr(low_precision, "bf16_is_faster", lambda: True)
    refuse_without_support(precision)


def test_other_devices(monkeypatch):
    for able in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, able=able: able)
        if able:
            refuse_without_support("bf16", "cuda")
    with pytest.raises(UserError, match=r"bf16: this cuda device has none; choose float32"):
        refuse_without_support("bf16", "cuda")
    with pytest.raises(UserError, match=r"bf16: this mps device has none"):
        refuse_without_support("bf16", "mps")
    with pytest.raises(UserError, match=r"int8: is for processors.*on cuda; choose bf16 or float32"):
        refuse_without_support("int8", "cuda")


def test_what_the_processor_can_is_what_its_own_list_says(monkeypatch):
    monkeypatch.undo()
    flags = low_precision.processor_features()
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    listed = low_precision.processor_features()
    names = [name for needed in low_precision._NEEDED.values() for name in needed]
    if listed:
        assert [bool(flags.get(name)) for name in names] == [bool(listed.get(name)) for name in names]


def test_agreement_is_spearmans_rank_correlation():
    draw = np.random.default_rng(0)
    for ties in (False, True):
        one = draw.normal(size=40)
        other = one + 0.3 * draw.normal(size=40)
        if ties:
            one, other = one.round(1), other.round(1)
        assert rank_agreement(one, other) == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    assert rank_agreement(one, np.exp(one)) == 1
    assert rank_agreement(np.ones(3), np.ones(3)) == 1
    assert np.isnan(rank_agreement(np.ones(3), np.arange(3.0)))
    assert np.isnan(rank_agreement(np.empty(0), np.empty(0)))
    assert [agrees(value) for value in (1.0, 0.99, 0.9899, np.nan)] == [True, True, False, False]
