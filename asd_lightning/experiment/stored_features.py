"""What a sweep scores of a run: its embeddings, and other poolings of the same tokens that a test has stored."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from asd_lightning.comparison.back_ends import OWN, Source
from asd_lightning.encoders.family import EVERY, FAMILY
from asd_lightning.errors import UserError
from asd_lightning.experiment.run_embeddings import valid_embeddings
from asd_lightning.run_folder import ResultSet
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
    for results, cache in valid_embeddings(run, reasons):
        stored = [name for name in FAMILY if results.features(name).is_file()]
        follow = [name for name, source in _DERIVED.items() if source in stored]
        wanted = tuple(names) or ((OWN, *stored, *follow) if stored else ())
        lacking = [name for name in wanted if name not in (OWN, *stored, *follow)]
        if wanted and not lacking:
            logger.info("using the features in %s", results.folder)
            return len(wanted), (_source(results, cache, name) for name in wanted)
        reasons.append(f"{results.folder}: no stored features{' of ' if lacking else ''}{', '.join(lacking)}")
    told = "; ".join(reasons) or f"{run}: no embeddings in it"
    raise UserError(f"{told}; asd test {run} store_features=all hears the clips once more and stores every pooling")


def _source(results: ResultSet, cache: EmbeddingCache, name: str) -> Source:
    if name == OWN:
        return Source(OWN, cache)
    stored = read_features(results.features(_DERIVED.get(name, name)))
    features = stored.merged() if name in _DERIVED else stored
    return Source(name, features.instead_of(cache), features.bands)
