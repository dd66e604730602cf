"""The transformer blocks of BEATs and EAT compiled for a training: the same numbers from fewer and larger kernels.

The blocks of an encoder are equal but for their weights, so one is compiled and serves all: "regional compilation",
https://docs.pytorch.org/tutorials/recipes/regional_compilation.html.  Weights keep their names.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from asd_lightning.embedder import Embedder
from asd_lightning.errors import UserError

# Of torch.compile; tests take one that needs no compiler.
BACKEND = "inductor"
_C_COMPILERS = ("cc", "gcc", "clang")


@contextmanager
def compiled(embedder: Embedder, device: torch.device) -> Iterator[None]:
    """Within, the ``transformer_blocks`` of the branches' encoders run compiled; afterwards as before.

    Compiled is the training alone: what is scored is computed as a later test computes it.  Dropout draws other numbers
    than without, the same ones for the same seed.

    Args:
        embedder: on whatever device.
        device: of the training.

    Raises:
        UserError: the device is no CUDA device, no encoder has such blocks, or what compiles is missing.
    """
    refuse_without_compiler(device)
    encoders = [branch.get_submodule("encoder") for branch in embedder.branches.children()]
    blocks = [block for encoder in encoders for block in getattr(encoder, "transformer_blocks", ())]
    if not blocks:
        raise UserError("compile=true: no encoder here has transformer blocks, as BEATs and EAT have; leave it out")
    for block in blocks:
        # A training has batches of one size: kernels for any size would be slower.
        block.compile(backend=BACKEND, dynamic=False)
    try:
        yield
    finally:
        for block in blocks:
            _interpret(block)


def _interpret(block: nn.Module) -> None:
    """Undo `torch.nn.Module.compile`."""
    block._compiled_call_impl = None


def refuse_without_compiler(device: torch.device) -> None:
    """Refuse a training on anything but a CUDA device, and one where Triton or a C compiler is missing.

    Raises:
        UserError: says which.
    """
    if device.type != "cuda":
        raise UserError(f"compile=true: is for a training on a CUDA device, and this one is on {device}; leave it out")
    here = {
        "Triton (pip install triton)": importlib.util.find_spec("triton") is not None,
        f"a C compiler ({', '.join(_C_COMPILERS)}, or CC=)": bool(
            os.environ.get("CC") or any(shutil.which(name) for name in _C_COMPILERS)
        ),
    }
    if missing := [name for name, there in here.items() if not there]:
        raise UserError(f"compile=true: {' and '.join(missing)} is needed and not here; install it, or leave it out")
