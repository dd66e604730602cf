"""Reference numbers of the official code of BEATs, EAT and mn04, with weights and waveforms made by a recipe.

Only mn04 has cases of its published weights too.  Of the others three sizes of case exist; the small ones lie here, the
rest is read from the reference data where those are present.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.golden import compare, recipe
from tests.reference import shared_dir

HERE = Path(__file__).parent


def golden_case(name: str) -> SimpleNamespace:
    """A stored case: ``waves``, ``padding_mask``, ``target_length`` and the arrays to compare with."""
    for folder in (HERE, shared_dir() / "golden"):
        path = folder / "cases" / f"{name}.json"
        if path.exists():
            return compare.load_case(str(path))
    pytest.skip(f"reference case {name} not present")


def golden_layout(name: str) -> dict[str, Any]:
    """A published checkpoint's configuration (``cfg``) and the names and shapes of its tensors."""
    layout: dict[str, Any] = json.loads((HERE / "keys" / f"{name}.json").read_text())
    return layout


def golden_state(name: str) -> dict[str, Tensor]:
    """A state dict in a published layout, filled by the recipe."""
    arrays = recipe.make_state_dict(golden_layout(name)["tensors"])
    return {key: torch.from_numpy(array) for key, array in arrays.items()}


def golden_mn04_state() -> dict[str, Tensor]:
    """The recipe's state dict of mn04: variances halved, counters at zero."""
    state = golden_state("mn04_as")
    for name, tensor in state.items():
        if name.endswith("running_var"):
            state[name] = tensor / 2
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
    return state


def golden_gradients(name: str) -> dict[str, Any]:
    """Loss, and per parameter the rms and a projection of its gradient, all float64."""
    gradients: dict[str, Any] = json.loads((HERE / "cases" / f"{name}.json").read_text())
    return gradients


def largest_gradient_error(model: torch.nn.Module, expected: dict[str, Any], skip: str = "-") -> float:
    """Largest deviation of rms or projection of a parameter's gradient, relative to the rms."""
    worst = 0.0
    parameters = dict(model.named_parameters())
    for name, want in expected["parameters"].items():
        gradient = parameters[name].grad.double().flatten()
        rms = float(gradient.square().mean().sqrt())
        if name.endswith(skip):
            assert abs(rms) < 1e-12, name  # zero in theory
            continue
        direction = torch.from_numpy(recipe.pseudo_normal(f"grad/{name}", gradient.numel()))
        projection = float(gradient @ direction) / gradient.numel() ** 0.5
        worst = max(worst, abs(rms - want["rms"]) / want["rms"], abs(projection - want["projection"]) / want["rms"])
    return worst
