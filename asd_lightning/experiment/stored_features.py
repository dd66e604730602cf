"""What a sweep scores of a run: its embeddings, and other poolings of the same tokens that a test has stored."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from asd_lightning.comparison.back_ends import OWN, Source
from asd_lightning.encoders.family import EVERY, FAMILY
from asd_lightning.errors import UserError
from asd_lightning.experiment.run_embeddings import valid_embeddings
from asd_lightning.scoring.embedding_cache import EmbeddingCache
from asd_lightning.scoring.feature_store import read_features

logger = logging.getLogger(__name__)

# What follows from a stored pooling, and from which.
_DERIVED = {"mean_merged": "mean"}
CHOICES = (OWN, *FAMILY, *_DERIVED)
"""Every name that ``pooling=`` may have beside ``all``."""


def chosen_sources(choice: str) -> tuple[str, ...]:
    """The names of a comma-separated list, each once; of ``all``, which depends on what is stored, none.

    Raises:
        UserError: an unknown name.
    """
    if choice == EVERY:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in choice.split(",") if name.strip()))
    unknown = ", ".join(name for name in names if name not in CHOICES) or ("" if names else "(none named)")
    if unknown:
        raise UserError(f"pooling={choice}: unknown {unknown}; choose all, or from {', '.join(CHOICES)}")
    return names


def stored_sources(run: Path, names: Sequence[str]) -> tuple[int, Iterator[Source]]:
    """The chosen poolings of a run's clips, read one by one as they are wanted; no clip is embedded again.

    Args:
        run: its folder.
        names: of ``CHOICES``; none for everything: the run's own embeddings, all that is stored, and what follows.

    Returns:
        How many there are, and the poolings.

    Raises:
        UserError: not the folder of a run, or no test with valid embeddings has stored what is wanted.
    """
    reasons: list[str] = []
    own: EmbeddingCache | None = None
    places: dict[str, Path] = {}
    for results, cache in valid_embeddings(run, reasons):
        own = own or cache
        if cache.key == own.key:
            here = [name for name in FAMILY if results.features(name).is_file()]
            # Tests of the same model on the same clips: what one has not stored another may have.
            places |= {name: results.features(name) for name in here if name not in places}
            reasons.append(f"{results.folder}: stored {', '.join(here) or 'no pooling'}")
    follow = [name for name, source in _DERIVED.items() if source in places]
    stored = [name for name in FAMILY if name in places]
    wanted = tuple(names) or ((OWN, *stored, *follow) if stored else ())
    lacking = [name for name in wanted if name not in (OWN, *stored, *follow)]
    if own is not None and wanted and not lacking:
        logger.info("using the features of %s", ", ".join(sorted({str(path.parent) for path in places.values()})))
        return len(wanted), (_source(places, own, name) for name in wanted)
    told = "; ".join(reasons) or f"{run}: no embeddings in it"
    missing = f"no stored features{' of ' if lacking else ''}{', '.join(lacking)}"
    raise UserError(
        f"{missing} ({told}); asd test {run} store_features=all hears the clips once more and stores every pooling"
    )


def _source(places: Mapping[str, Path], cache: EmbeddingCache, name: str) -> Source:
    if name == OWN:
        return Source(OWN, cache)
    path = places[_DERIVED.get(name, name)]
    stored = read_features(path)
    if stored.pooling != path.stem:
        raise UserError(f"{path}: holds the pooling {stored.pooling}, under another's name; store them again")
    features = stored.merged() if name in _DERIVED else stored
    return Source(name, features.instead_of(cache), features.bands)
