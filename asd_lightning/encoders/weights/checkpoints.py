"""Pretrained encoders by name: what ``encoder:`` in a branch's configuration instantiates.

encoder:
  _target_: asd_lightning.encoders.weights.checkpoints.load_encoder
  architecture: beats
  weights: beats_iter3
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from torch import nn

from asd_lightning.encoders.mn04 import MN04
from asd_lightning.encoders.weights import catalog
from asd_lightning.encoders.weights.catalog import RANDOM
from asd_lightning.encoders.weights.conversion import CONFIGS, Encoder, EncoderConfig, architecture_of, build, check_fit
from asd_lightning.encoders.weights.store import read_weights, stored_path
from asd_lightning.errors import UserError

_LOG = logging.getLogger(__name__)
_architecture_only = ContextVar("architecture_only", default=False)


def load_encoder(
    weights: str,
    *,
    architecture: str | None = None,
    config: Mapping[str, Any] | None = None,
    gradient_checkpointing: bool = False,
) -> Encoder:
    """BEATs, EAT or mn04 with pretrained weights.

    Args:
        weights: a name (``asd weights list``), the path of a converted or published file, or ``random``: no weights at
            all, for tests and trial runs, and never unless asked for by that name.
        architecture: ``beats``, ``eat`` or ``mn04``; needed with ``random``, otherwise checked against the weights.
        config: changes to the encoder's configuration, such as ``{encoder_layerdrop: 0.0}``, by the names of
            ``BEATsConfig``, ``EATConfig`` and ``MN04Config``.
        gradient_checkpointing: recompute activations in the backward pass, for less memory; not of mn04.

    Returns:
        The encoder, whose ``config`` is what it was built with.

    Raises:
        UserError: weights that are not here, do not fit, or are of another architecture; an unknown configuration key.
    """
    rebuilding = _architecture_only.get()
    if weights == RANDOM or (rebuilding and _is_complete(architecture, config)):
        encoder = build(_changed(_default_config(architecture), config))
        if not rebuilding:
            _LOG.warning(
                "%s starts from random weights, as weights=random asks: scores mean nothing about a pretrained system",
                architecture,
            )
    else:
        encoder = _pretrained(weights, architecture, config)
    if not isinstance(encoder, MN04):
        encoder.gradient_checkpointing = gradient_checkpointing
    elif gradient_checkpointing:
        raise UserError("gradient_checkpointing=true: mn04 is small and has none; leave it out")
    return encoder


@contextmanager
def architecture_only() -> Iterator[None]:
    """Within it, ``load_encoder`` builds without weights what a training checkpoint is about to fill.

    ``config`` must then be complete, as ``encoder_arguments`` recorded it; where it is not, the weights are read all
    the same, for the configuration they carry.
    """
    token = _architecture_only.set(True)
    try:
        yield
    finally:
        _architecture_only.reset(token)


def encoder_arguments(encoder: nn.Module) -> dict[str, Any]:
    """Arguments for ``load_encoder`` that rebuild ``encoder`` under ``architecture_only``, as plain data.

    Store them with a training checkpoint and merge them over the branch's ``encoder`` node.  Empty for an encoder that
    has no such weights, which needs nothing from elsewhere.
    """
    if not isinstance(encoder, Encoder):
        return {}
    return {"architecture": architecture_of(encoder.config), "config": dataclasses.asdict(encoder.config)}


def _pretrained(weights: str, architecture: str | None, config: Mapping[str, Any] | None) -> Encoder:
    read = read_weights(find_weights(weights))
    if architecture not in (None, read.architecture):
        raise UserError(
            f"weights={weights} are of {read.architecture}, but the branch asks for architecture={architecture}"
        )
    changed = _changed(read.config, config)
    if changed != read.config:
        shapes = {name: tuple(tensor.shape) for name, tensor in read.tensors.items()}
        check_fit(changed, shapes, f"weights={weights}")
    encoder = build(changed)
    encoder.load_state_dict(read.tensors)
    return encoder


def find_weights(weights: str) -> Path:
    """The file that ``weights`` names: a name among the converted weights, or a path.

    Raises:
        UserError: neither; the message says how to get the weights.
    """
    if Path(weights).name != weights or Path(weights).suffix in (".pt", ".safetensors"):
        return Path(weights)  # a missing file is reported by the reader
    stored = stored_path(weights)
    if stored.is_file():
        return stored
    catalog.find(weights)
    raise UserError(
        f"the weights {weights} are not on this machine: run `asd weights fetch {weights}`, or, with the published "
        f"file at hand, `asd weights import FILE --as {weights}`"
    )


def _is_complete(architecture: str | None, config: Mapping[str, Any] | None) -> bool:
    names = {field.name for field in dataclasses.fields(_config_class(architecture))} if architecture else set()
    return config is not None and bool(names) and names <= set(config)


def _default_config(architecture: str | None) -> EncoderConfig:
    if architecture is None:
        raise UserError(f"weights=random needs architecture={' or architecture='.join(CONFIGS)}")
    return _config_class(architecture)()


def _config_class(architecture: str) -> type[EncoderConfig]:
    for name, config_class in CONFIGS.items():
        if name == architecture:
            return config_class
    raise UserError(f"architecture={architecture!r}: choose one of {', '.join(CONFIGS)}")


def _changed(config: EncoderConfig, changes: Mapping[str, Any] | None) -> EncoderConfig:
    names = [field.name for field in dataclasses.fields(config)]
    unknown = sorted(set(changes or {}) - set(names))
    if unknown:
        raise UserError(f"the encoder's config has no {', '.join(unknown)}; it has {', '.join(names)}")
    try:
        return dataclasses.replace(config, **(changes or {}))
    except (ValueError, TypeError) as error:
        raise UserError(f"the encoder's config is not possible: {error}") from error
