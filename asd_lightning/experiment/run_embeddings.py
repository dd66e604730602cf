"""The embeddings of a run: those a test has left, where they are still those of its weights and recordings."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.errors import UserError
from asd_lightning.experiment.identity import digest_of
from asd_lightning.foreign_files import load_yaml
from asd_lightning.older_names import of_today
from asd_lightning.run_folder import CHECKPOINT, CONFIG, ResultSet, is_result_set, no_run, result_sets
from asd_lightning.scoring.embedding_cache import (
    EmbeddingCache,
    model_digest,
    read_embeddings,
    recordings_state,
)

logger = logging.getLogger(__name__)

_AGAIN = "test the run again (asd test RUN)"


class _Expected(NamedTuple):
    """What a cache must have been made with; ``models`` is empty where the run has no checkpoint to compare with.

    ``training_clips`` is a digest, "" where an older checkpoint does not tell them; ``precision`` is the encoders'.
    """

    models: frozenset[str]
    preprocessing: Preprocessing
    training_clips: str
    precision: str


def embeddings_of_run(run: Path) -> EmbeddingCache:
    """Valid embeddings of a run, of whichever of its tests; where there are none, the run is tested again.

    Where the recordings or the checkpoint are gone there is nothing to compare or to embed: the cache is used, and the
    log says so.

    Raises:
        UserError: not the folder of a run, or neither valid embeddings nor a checkpoint to embed with.
    """
    expected = _expected(run)
    reasons: list[str] = []
    for results, cache in _valid(run, expected, reasons):
        logger.info("using the embeddings in %s", results.folder)
        return cache
    return _embed_again(run, expected, reasons or [f"{run}: no embeddings in it"])


def valid_embeddings(run: Path, reasons: list[str]) -> Iterator[tuple[ResultSet, EmbeddingCache]]:
    """The tests of a run whose embeddings are those of its weights and recordings; why others are not, is added.

    Raises:
        UserError: not the folder of a run.
    """
    return _valid(run, _expected(run), reasons)


def embeddings_of_test(results: ResultSet) -> EmbeddingCache:
    """The embeddings that one test has left, where they are those of its run's weights and of the recordings.

    Raises:
        UserError: there are none, or they are not.
    """
    results.refuse_fusion("give the runs that are in it")
    path = results.config_of_run
    config: Any = load_yaml(path) if path else None
    try:
        heard = Preprocessing.of_options(config["data"])
        after_head = {"score_after_head": config["model"]["score_after_head"]}
        # Tests of before had no other.
        precision = str(config["model"].get("scoring_precision", "float32"))
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{results.folder}: does not say how its scores were made; {_AGAIN}") from None
    models: frozenset[str] = frozenset()
    if results.run is None:
        logger.warning("%s: lies outside of a run: nothing tells whether it is of the last weights", results.folder)
    else:
        models, _ = _of_checkpoint(results.run / CHECKPOINT, after_head)
    cache = read_embeddings(results.embeddings)
    if reason := _mismatch(cache, _Expected(models, heard, "", precision)):
        raise UserError(f"{results.embeddings}: {reason}; {_AGAIN}")
    return cache


def _valid(run: Path, expected: _Expected, reasons: list[str]) -> Iterator[tuple[ResultSet, EmbeddingCache]]:
    for results in result_sets(run):
        if not results.embeddings.is_file():
            continue
        try:
            cache = read_embeddings(results.embeddings)
        except UserError as error:
            reasons.append(str(error))
            continue
        reason = _mismatch(cache, expected) or _of_other_clips(results, expected)
        if reason:
            reasons.append(f"{results.embeddings}: {reason}")
        else:
            yield results, cache


def _expected(run: Path) -> _Expected:
    path = run / CONFIG
    if is_result_set(run):
        ResultSet(run).refuse_fusion("give one of the runs in it")
        raise UserError(f"{run}: holds one test; give the folder of its run, and which of its embeddings fit is found")
    if not path.is_file():
        raise no_run(run)
    config = load_yaml(path)
    if not isinstance(config, dict) or not isinstance(config.get("data"), dict):
        raise UserError(f"{path}: not the configuration of a run; copy the run again")
    models, training_clips = _of_checkpoint(run / CHECKPOINT)
    model = config.get("model")
    precision = model.get("scoring_precision", "float32") if isinstance(model, dict) else "float32"
    return _Expected(models, Preprocessing.of_options(config["data"]), training_clips, str(precision))


def _of_checkpoint(path: Path, changes: Mapping[str, Any] | None = None) -> tuple[frozenset[str], str]:
    """Digests of a checkpoint's model, and the digest of the clips it was trained on.

    Args:
        path: of the checkpoint.
        changes: what a test has of the model's settings in place of the run's.

    An older checkpoint has two digests: of names and configuration as they are stored, which its own tests recorded,
    and as they are today.
    """
    if not path.is_file():
        logger.warning("%s is not there: nothing tells whether the embeddings are of the run's last weights", path)
        return frozenset(), ""
    import torch

    from asd_lightning.encoders.weights.unpickling import read_pickled
    from asd_lightning.training.module import rename_head

    try:
        # Memory-mapped: the optimizer's state, most of the file, is not read.
        read_pickled(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        at_its_time = model_digest(content["state_dict"], content["asd_config"] | (changes or {}))
        rename_head(content)
        clips = content.get("asd_training_clips")
        today = model_digest(content["state_dict"], of_today(content["asd_config"]) | (changes or {}))
        return frozenset({at_its_time, today}), digest_of(clips) if clips else ""
    except Exception as error:
        raise UserError(
            f"{path}: not readable as a checkpoint of asd train ({error}); train again or copy it again"
        ) from error


def _mismatch(cache: EmbeddingCache, expected: _Expected) -> str:
    """Why a cache cannot be used for the run; "" where it can."""
    if expected.models and cache.key.model not in expected.models:
        return "made with other weights than the run's checkpoint"
    if cache.key.preprocessing != expected.preprocessing:
        made, wanted = asdict(cache.key.preprocessing), asdict(expected.preprocessing)
        odd = ", ".join(name for name in wanted if made[name] != wanted[name])
        return f"made with another {odd} than the run's configuration"
    if cache.key.precision != expected.precision:
        return f"made in {cache.key.precision!s:.20}, and the run's configuration says {expected.precision:.20}"
    state = recordings_state(cache)
    if state == "absent":
        logger.warning("the recordings are not where they were: using their embeddings as they are")
    return "the recordings have changed since" if state == "changed" else ""


def _of_other_clips(results: ResultSet, expected: _Expected) -> str:
    """Whether a test was made on other machines than the run's; "" where it was not."""
    try:
        found = results.read_summary().get("training_clips")
    except UserError as error:
        return str(error)
    other = expected.training_clips and found and found != expected.training_clips
    return "of other normal recordings than the run was trained on" if other else ""


def _embed_again(run: Path, expected: _Expected, reasons: list[str]) -> EmbeddingCache:
    for reason in reasons:
        logger.warning("%s", reason)
    if not expected.models:
        raise UserError(f"{run}: no valid embeddings and no {CHECKPOINT} to make them with; train again")
    logger.warning("embedding the clips of %s again", run)
    from asd_lightning.experiment.retest import retest

    return read_embeddings(retest(run).embeddings)
