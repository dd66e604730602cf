"""BEATs' attention with gated positions on a GPU: the package's form against FlexAttention and plain products.

    python benchmarks/gated_attention_gpu.py

Batches of 10 s clips (496 tokens, 12 heads of 64) in bfloat16, forward and backward to queries, keys, values, gate and
bias.  A mask padded to a multiple of 8 is not among the forms: BEATs' tokens are 8 to each column of patches, so the
mask is aligned at every length.  Writes ``gated_attention_gpu.json`` and ``.md`` beside this file; without a CUDA
device it runs small tensors on the processor and writes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from encoders_gpu import CUDA, DEVICE, seconds
from results import keep_if_measured
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from asd_lightning.encoders.gated_attention import gated_attention

HEADS, WIDTH, TOKENS = (12, 64, 496) if CUDA else (2, 64, 128)
DTYPE = torch.bfloat16 if CUDA else torch.float32
Form = Callable[..., Tensor]


def flex(q: Tensor, k: Tensor, v: Tensor, gate: Tensor, bias: Tensor) -> Tensor:
    def gated(score: Tensor, clip: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + gate[clip, head, query] * bias[head, query, key]

    attended: Tensor = flex_attention(q, k, v, score_mod=gated)
    return attended


def products(q: Tensor, k: Tensor, v: Tensor, gate: Tensor, bias: Tensor) -> Tensor:
    scores = (q @ k.transpose(-2, -1)) * WIDTH**-0.5 + gate[..., None] * bias
    return scores.softmax(-1) @ v


def forms() -> dict[str, Form]:
    found: dict[str, Form] = {"package": gated_attention, "plain products": products}
    if CUDA:
        found["FlexAttention, compiled"] = torch.compile(flex, dynamic=False)
        found["package, compiled"] = torch.compile(gated_attention, dynamic=False)
    return found


def inputs(batch: int) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(batch, HEADS, TOKENS, WIDTH)] * 3 + [(batch, HEADS, TOKENS), (HEADS, TOKENS, TOKENS)]
    return [torch.randn(shape, device=DEVICE, dtype=DTYPE).requires_grad_() for shape in shapes]


def forward(form: Form, tensors: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return form(*tensors)


def training(form: Form, tensors: list[Tensor], direction: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(form(*tensors), tensors, direction)


def deviation(got: tuple[Tensor, ...], want: tuple[Tensor, ...]) -> float:
    """The largest relative error of the output and the gradients."""
    pairs = zip(got, want, strict=True)
    return max(float((one.double() - other.double()).norm() / other.double().norm()) for one, other in pairs)


def measure(form: Form, batch: int, repeats: int) -> dict[str, Any]:
    tensors = inputs(batch)
    direction = torch.randn_like(tensors[0])
    exact = [tensor.detach().float().requires_grad_() for tensor in tensors]
    want = (forward(products, exact), *training(products, exact, direction.float()))
    try:
        got = (forward(form, tensors), *training(form, tensors, direction))
    except RuntimeError as error:
        return {"refused": str(error).splitlines()[0]}
    return {
        "forward_milliseconds": 1e3 * seconds(lambda: forward(form, tensors), repeats),
        "training_milliseconds": 1e3 * seconds(lambda: training(form, tensors, direction), repeats),
        "largest_relative_error": deviation(got, want),
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"Measured on {result['device']}, torch {result['torch']}, {result['dtype']}; against float32 products.",
        "",
        "| batch | form | forward | forward and backward | largest relative error |",
        "|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        if "refused" in row:
            lines.append(f"| {row['batch']} | {row['form']} | {row['refused']} | | |")
            continue
        lines.append(
            f"| {row['batch']} | {row['form']} | {row['forward_milliseconds']:.2f} ms | "
            f"{row['training_milliseconds']:.2f} ms | {row['largest_relative_error']:.1e} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64] if CUDA else [2])
    parser.add_argument("--repeats", type=int, default=20 if CUDA else 1)
    arguments = parser.parse_args()
    rows = [
        {"batch": batch, "form": name} | measure(form, batch, arguments.repeats)
        for batch in arguments.batches
        for name, form in forms().items()
    ]
    device = torch.cuda.get_device_name() if CUDA else "the processor"
    result = {"device": device, "torch": torch.__version__, "dtype": str(DTYPE).removeprefix("torch."), "rows": rows}
    keep_if_measured("gated_attention_gpu", result, table(result), CUDA)


if __name__ == "__main__":
    main()
