"""What a user calls the parts of a detector: the words by which they are chosen, and not the names of classes.

Parts of one's own cannot be in a detector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from inspect import Parameter, signature
from typing import Any

from asd_lightning.configuration import CONF_DIR, choices_of
from asd_lightning.detector.constructors import KINDS, SCORERS, Spec, callable_of, mapping_of, spec_of
from asd_lightning.foreign_files import load_yaml

_BRANCHES = {"TemporalStatistics": "statistics", "SpectrumCNN": "fft", "MelBands": "log_mel"}
"""Encoder without weights of its own -> the branch of ``conf/model/embedder/branches`` that has it."""
_GROUP = "model/scorer"
_PARTS = ("scorer", "smote", "mixup")


def encoder_name(encoder: Mapping[str, Any]) -> str:
    """The encoder of a detector's branch: a branch, or weights by their name.

    >>> encoder_name({"kind": "TemporalStatistics"}), encoder_name({"kind": "load_encoder", "weights": "mn04_as"})
    ('statistics', 'mn04_as')
    """
    kind = str(encoder["kind"])
    return _BRANCHES.get(kind) or str(encoder.get("weights", kind))


def back_end_name(maker: Spec) -> str:
    """The choice of ``model/scorer`` that a spec is like most, and what differs; of a smaller bank that of the whole.

    >>> back_end_name({"kind": "KNNScorer", "k": 5})
    'knn_5'
    >>> back_end_name({"kind": "ResidualScorer", "share": 0.9})
    'residual with share=0.9'

    Raises:
        UserError: not the spec of a back-end.
    """
    callable_of(maker.get("kind"), SCORERS)
    if maker["kind"] == "CompressedScorer":
        return back_end_name(dict(mapping_of(maker.get("scorer"))))
    own = _settings(maker)
    differing: dict[str, list[str]] = {}
    for name, theirs in _choices()[maker["kind"]].items():
        keys = sorted(key for key in own.keys() | theirs if own.get(key) != theirs.get(key))
        differing[name] = [f"{key}={own.get(key)!s:.40}" for key in keys]
    nearest = min(differing, key=lambda name: len(differing[name]))
    return f"{nearest} with {', '.join(differing[nearest])}" if differing[nearest] else nearest


@cache
def _choices() -> dict[str, dict[str, dict[str, Any]]]:
    """Kind -> name of each choice of that kind -> its settings: read once, a detector may have a thousand machines."""
    choices: dict[str, dict[str, dict[str, Any]]] = {}
    for name in choices_of(_GROUP):
        spec = spec_of(load_yaml(CONF_DIR / _GROUP / f"{name}.yaml"))
        choices.setdefault(spec["kind"], {})[name] = _settings(spec)
    return choices


def _settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A part's settings and those of the parts in it by dotted names, with what is left to the constructor."""
    known = signature(callable_of(spec.get("kind"), KINDS)).parameters.items()
    settings = {key: _plain(one.default) for key, one in known if one.default is not Parameter.empty} | dict(spec)
    # Nobody chooses by the seed.
    settings.pop("seed", None)
    found: dict[str, Any] = {}
    for key, value in settings.items():
        several = mapping_of(value) if key == "scorers" else {}
        parts = {f"{key}.{name}": part for name, part in several.items()}
        if key in _PARTS and value is not None:
            parts = {key: value}
        for place, part in parts.items():
            found |= {f"{place}.{inner}": one for inner, one in _settings(mapping_of(part)).items()}
        if not parts:
            found[key] = value
    return found


def _plain(default: Any) -> Any:
    """A default as a spec has it."""
    is_part = is_dataclass(default) and not isinstance(default, type)
    return {"kind": type(default).__name__, **asdict(default)} if is_part else default
