"""The closed list of what a detector's file may be made of, and its parts as plain data.

A run's configuration names callables of any module (`asd_lightning.trust` decides which are called).  A detector's file
names kinds: words of the list below, which stand for parts of this package and for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from asd_lightning.errors import UserError
from asd_lightning.scoring.protocol import Scorer, ScorerState

if TYPE_CHECKING:
    from asd_lightning.embedder import ScoredEmbedder

Spec = dict[str, Any]
"""Plain data: ``kind`` and the arguments of its constructor."""

_FRONT_ENDS = {
    "LogMelSpectrogram": "features.spectrum",
    "MagnitudeSpectrum": "features.spectrum",
    "MN04LogMel": "features.mn04_log_mel",
    "beats_fbank": "features.fbank",
    "eat_fbank": "features.fbank",
}
_ENCODERS = {
    "TemporalStatistics": "encoders.statistics",
    "SpectrumCNN": "encoders.spectrum_cnn",
    "MelBands": "encoders.mel_bands",
    "load_encoder": "encoders.weights.checkpoints",
}
_POOLINGS = dict.fromkeys(("AttentiveStatistics", "MeanPooling", "ClsPooling", "GridPooling"), "encoders.pooling")
_OVER_TIME = dict.fromkeys(
    ("Mean", "Max", "Deviation", "RankWeighted", "PowerMean", "DeviationWeighted"), "encoders.over_time"
)
SCORERS = {
    "KNNScorer": "scoring.knn",
    "KMeansScorer": "scoring.centers",
    "MahalanobisScorer": "scoring.gaussian",
    "GaussianMixtureScorer": "scoring.gaussian",
    "GridScorer": "scoring.grid",
    "LedoitWolfScorer": "scoring.union",
    "ResidualScorer": "scoring.union",
    "DomainScorer": "scoring.domains",
    "DacoScorer": "scoring.domains",
    "CombinedScorer": "scoring.combined",
    "CompressedScorer": "scoring.compressed",
}
_SETTINGS = {"Smote": "scoring.smote", "MemMixup": "scoring.mixup"}
KINDS: Mapping[str, str] = _FRONT_ENDS | _ENCODERS | _POOLINGS | _OVER_TIME | SCORERS | _SETTINGS
"""Name -> module of this package.  Nothing else is made from a detector's file."""

NOT_KEPT = "cannot become part of a detector, which is opened without running anybody's code"
"""What is to be said of a part of somebody's own."""
_INSTALLED = "asd_lightning.encoders.installed.load_installed"
_TARGET, _PARTIAL, _KIND = "_target_", "_partial_", "kind"
# Of a branch in a configuration, what matters outside of training.
# The encoder first: of a branch that cannot be kept, it is what was chosen.
_BRANCH = ("encoder", "front_end", "pooling", "embed_dim", "normalize", "finetuning", "scored_pooling")
# Of low-rank updates that have not become part of the weights.
_LOW_RANK = ("lora_rank", "lora_alpha", "lora_layers")
_MOST_BRANCHES = 16


def spec_of(config: Any) -> Any:
    """A part of a configuration with kinds in the place of targets.

    Raises:
        UserError: a part that is not on the list, such as one of one's own.
    """
    if isinstance(config, Mapping):
        if config.get(_TARGET) == _INSTALLED:
            raise UserError(f"encoder {config.get('name')!s:.60} of another package {NOT_KEPT}")
        own = {str(key): spec_of(value) for key, value in config.items() if key not in (_TARGET, _PARTIAL)}
        return own if _TARGET not in config else {_KIND: _kind_of(str(config[_TARGET])), **own}
    return [spec_of(value) for value in config] if isinstance(config, list | tuple) else config


def embedder_spec(config: Mapping[str, Any], head: str) -> Spec:
    """The ``embedder`` of a configuration, less what training alone has a use for.

    Args:
        config: with ``branches``.
        head: `asd_lightning.embedder.Head` that the embedding passes before it is scored, "none" for none.

    Returns:
        Of an encoder with low-rank updates the one that `merge_low_rank` makes of it.

    Raises:
        UserError: see `spec_of`.
    """
    # A list: embeddings are concatenated in this order.
    branches = [
        {"name": name} | {key: spec_of(branch[key]) for key in _BRANCH if key in branch}
        for name, branch in config["branches"].items()
    ]
    for branch in branches:
        if branch.get("finetuning") == "lora":
            branch["finetuning"] = "freeze"
    return {"branches": branches, "head": head}


def build_embedder(spec: Spec) -> ScoredEmbedder:
    """The embedder that a spec describes, in evaluation mode; weights that it names are read.

    Raises:
        UserError: a kind that is not on the list or not of its place, an argument that does not fit, weights that are
            not there.
    """
    from asd_lightning.embedder import Branch, Embedder, EmbeddingHead, ScoredEmbedder

    built = {}
    for name, options in branches_of(spec).items():
        front_end = _made(options.pop("front_end", None), _FRONT_ENDS)
        encoder = _made(options.pop("encoder", None), _ENCODERS)
        for place in ("pooling", "scored_pooling"):
            if options.get(place) is not None:
                options[place] = _pooling(options[place])
        if unknown := sorted(set(options) - {*_BRANCH, *_LOW_RANK}):
            raise UserError(f"branch {name!s:.40}: holds {unknown[0]!r:.40}, which no branch has")
        built[name] = Branch(front_end, encoder, **options)
    embedder = Embedder(built)
    head = EmbeddingHead(list(embedder.embed_dims.values()), spec.get("head", "none"))
    return ScoredEmbedder(embedder, head).eval()


def scorer_maker(spec: Spec) -> Callable[[], Scorer]:
    """What makes the unfitted back-end that a spec describes.

    >>> scorer_maker({"kind": "KNNScorer", "k": 2, "smote": {"kind": "Smote", "ratio": 0.5}})().k
    2

    Raises:
        UserError: a kind that is not on the list or not of its place.
    """
    options = dict(mapping_of(spec))
    make = callable_of(options.pop(_KIND, None), SCORERS)
    for name, place in (("smote", _SETTINGS), ("mixup", _SETTINGS)):
        if options.get(name) is not None:
            options[name] = _made(options[name], place)
    if "scorer" in options:
        options["scorer"] = scorer_maker(options["scorer"])
    if "scorers" in options:
        options["scorers"] = {name: scorer_maker(part) for name, part in mapping_of(options["scorers"]).items()}
    return partial(make, **options)


def scorer_of(kind: object, state: ScorerState) -> Scorer:
    """A fitted back-end from what a file has of it; the module of its kind alone is imported.

    Raises:
        UserError: a kind that is not on the list, or a state that is none of its.
    """
    made: Scorer = callable_of(kind, SCORERS).from_state(state)  # type: ignore[attr-defined]
    return made


def branches_of(spec: Spec) -> dict[str, Spec]:
    """The branches of an embedder's spec by name, in their order.

    Raises:
        UserError: none, too many, or two of one name.
    """
    branches = spec.get("branches")
    if not isinstance(branches, list) or not 1 <= len(branches) <= _MOST_BRANCHES:
        raise UserError(f"holds {branches!s:.60} where a list of 1 to {_MOST_BRANCHES} branches belongs")
    named = {str(mapping_of(branch).get("name")): {**branch} for branch in branches}
    if len(named) < len(branches):
        raise UserError("holds two branches of one name")
    for branch in named.values():
        branch.pop("name", None)
    return named


def pretrained(spec: Spec) -> dict[str, Spec]:
    """Of an embedder's spec, the encoders that have weights of their own, by branch."""
    encoders = {name: mapping_of(branch.get("encoder")) for name, branch in branches_of(spec).items()}
    return {name: dict(encoder) for name, encoder in encoders.items() if encoder.get(_KIND) == "load_encoder"}


def _pooling(spec: Any) -> Callable[[Any], Any]:
    options = dict(mapping_of(spec))
    make = callable_of(options.pop(_KIND, None), _POOLINGS)
    if options.get("over_time") is not None:
        options["over_time"] = _made(options["over_time"], _OVER_TIME)
    return partial(make, **options)


def _made(spec: Any, place: Mapping[str, str]) -> Any:
    options = dict(mapping_of(spec))
    return callable_of(options.pop(_KIND, None), place)(**options)


def callable_of(kind: Any, place: Mapping[str, str]) -> Callable[..., Any]:
    """What a kind stands for.

    Raises:
        UserError: it is not in that part of the list.
    """
    if not isinstance(kind, str) or kind not in place:
        raise UserError(f"holds the kind {kind!r:.60}, and {', '.join(place)} are what can stand there")
    made: Callable[..., Any] = getattr(import_module(f"asd_lightning.{place[kind]}"), kind)
    return made


def mapping_of(value: Any) -> Mapping[str, Any]:
    """A part with its settings; raises ``UserError`` where it is none."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise UserError(f"holds {value!s:.60} where a part with its settings belongs")
    return value


def _kind_of(target: str) -> str:
    module, _, name = target.rpartition(".")
    if module != f"asd_lightning.{KINDS.get(name)}":
        raise UserError(f"{target:.99} is no part of this package's own, and {NOT_KEPT}")
    return name
