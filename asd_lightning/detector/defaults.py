"""What a detector is made of where nothing is said: the presets of ``conf/experiment``, read in one place."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.detector.constructors import Spec, embedder_spec, spec_of
from asd_lightning.detector.hearing import Hearing
from asd_lightning.errors import UserError

# As publishers store weights.
_WEIGHT_FILES = (".pt", ".pth", ".safetensors")
_EXAMPLE = "mn04_as"
STATISTICS = "statistics"
CLIP_SECONDS = 10.0

# Architecture of a fetched encoder -> the preset that uses it as it is.
_EXPERIMENTS = {"mn04": "mn04", "beats": "beats_frozen", "eat": "eat_frozen"}


class Preset(NamedTuple):
    """How to hear, and the back-end that suits it."""

    hearing: Hearing
    maker: Spec


def preset(embedder: str, clip_seconds: float = CLIP_SECONDS, self_contained: bool = False) -> Preset:
    """The embedder called ``embedder``, with the back-end that its preset names.

    Args:
        embedder: ``statistics``, or the name of fetched weights (``asd weights list``).
        clip_seconds: length of the windows.
        self_contained: take the weights into the detector's file.

    Raises:
        UserError: an unknown embedder, or weights that are not here.
    """
    from asd_lightning.configuration import compose_train, hydra_as_before, plain

    overrides = [] if embedder == STATISTICS else _of_weights(embedder)
    experiment = STATISTICS if embedder == STATISTICS else _EXPERIMENTS[_architecture(embedder)]
    with hydra_as_before():
        config = plain(
            compose_train([f"experiment={experiment}", f"data.clip_seconds={clip_seconds}", *overrides], Path())
        )
    model, data = config["model"], config["data"]
    head = model["loss"].get("head", "joint") if model["score_after_head"] else "none"
    hearing = Hearing(Preprocessing.of_options(data), embedder_spec(model["embedder"], head), model["recording_score"])
    return Preset(_with_weights(hearing, self_contained), spec_of(model["scorer"]))


def _with_weights(hearing: Hearing, self_contained: bool) -> Hearing:
    """The same, with what its weights are: those that it needs are found now, or never."""
    from asd_lightning.encoders.weights.checkpoints import encoder_arguments

    model = hearing.model
    told = {}
    branches = model.embedder.branches.named_children()
    for (name, branch), spec in zip(branches, hearing.embedder["branches"], strict=True):
        encoder = spec["encoder"]
        # Complete, so that it can be built without the weights' file.
        encoder |= encoder_arguments(branch.get_submodule("encoder"))
        if "weights" in encoder:
            told[name] = {"name": str(encoder["weights"]), "sha256": _published(str(encoder["weights"]))}
    return hearing.with_weights(model, self_contained, told)


def _of_weights(name: str) -> list[str]:
    return [f"encoders.{_architecture(name)}.weights='{name}'"]


def _architecture(name: str) -> str:
    """The architecture of weights by their name."""
    from asd_lightning.encoders.weights.catalog import CATALOG
    from asd_lightning.encoders.weights.store import read_record, stored_path

    if name in CATALOG:
        return CATALOG[name].architecture
    if Path(name).name == name and stored_path(name).is_file():
        return str(read_record(stored_path(name)).get("architecture"))
    if Path(name).suffix in _WEIGHT_FILES:
        raise UserError(
            f"--embedder {name}: a file of weights gets a name first: `asd weights import {name} --as NAME`, with NAME "
            f"as in `asd weights list` (such as {_EXAMPLE}), and then --embedder NAME"
        )
    near = next((known for known in CATALOG if name and known.startswith(name)), _EXAMPLE)
    raise UserError(
        f"--embedder {name}: choose {STATISTICS}, the folder of a run, or weights by name, such as {near} "
        f"(`asd weights list`; those of a file at hand by `asd weights import FILE --as {near}`)"
    )


def _published(name: str) -> str:
    """The sha256 of the published file that weights were converted from; "" where nothing tells."""
    from asd_lightning.encoders.weights.store import read_record, stored_path

    try:
        return str(read_record(stored_path(name)).get("source_sha256", ""))
    except UserError:
        return ""
