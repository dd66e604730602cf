"""What a test brings into a fusion: its scores, and those of its training recordings by back-ends without them.

The latter are no file's: back-ends are fitted again to the embeddings that the test has left, with its own settings.
That this gives the test's own scores is checked, so the fusion is of what the test says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from asd_lightning.comparison.back_ends import instantiated
from asd_lightning.comparison.settings import CLIPS
from asd_lightning.comparison.systems import Run
from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError
from asd_lightning.experiment.run_embeddings import embeddings_of_test
from asd_lightning.foreign_files import load_yaml
from asd_lightning.older_names import of_today
from asd_lightning.scoring.clip_scores import ClipScore, machine_name, read_scores
from asd_lightning.scoring.embedding_cache import CacheKey, EmbeddingCache
from asd_lightning.scoring.fitted import FittedMachine, MachineKey
from asd_lightning.scoring.heard import unheard
from asd_lightning.scoring.machines import fit_machines, score_clips
from asd_lightning.scoring.thresholds import Threshold
from asd_lightning.scoring.windows import WindowReduction, numbered
from asd_lightning.trust import refuse_foreign_targets

SAME = 1e-9
"""Scores that differ by no more, relative to their size or to 1, are the same: another processor rounds otherwise."""


@dataclass(frozen=True)
class LeftOut:
    """The training clips of one machine, by name, and their scores by back-ends without their recordings."""

    files: tuple[str, ...]
    is_target: Bool[np.ndarray, " n"]
    recording: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Part:
    """One test in a fusion.

    Attributes:
        name: of its system, among those that it is fused with.
        run: where it is and what it says of itself.
        scores: of its test recordings, by machine, section and name.
        left_out: of its training recordings, by machine.
        threshold: the rule of its decisions.
        key: what its embeddings depend on.
        summary: what the test says of itself.
    """

    name: str
    run: Run
    scores: tuple[ClipScore, ...]
    left_out: dict[MachineKey, LeftOut]
    threshold: Threshold
    key: CacheKey
    summary: dict[str, Any]


def read_part_of(name: str, run: Run) -> Part:
    """Read a test, and score its training recordings.

    Raises:
        UserError: no valid embeddings, settings that call what nobody has vouched for, a machine with a single training
            recording, or scores that its embeddings and settings do not give again.
    """
    results = run.results
    cache = embeddings_of_test(results)
    scores = tuple(sorted(read_scores(results.scores)))
    make_scorer, threshold, reduction = _settings(run)
    table = [*cache.reference_clips, *cache.query_clips]
    reference, query = np.split(np.arange(len(table)), [len(cache.reference)])
    # The test has told its warnings.
    with unheard():
        fitted = fit_machines(table, (reference, cache.reference), make_scorer, threshold, reduction)
    again, _ = score_clips(table, (query, cache.query), fitted, reduction)
    _refuse_other_scores(run, scores, again)
    wanted = {(score.machine, score.section) for score in scores}
    left_out = {key: _left_out(key, cache, machine) for key, machine in fitted.items() if key in wanted}
    return Part(name, run, scores, left_out, threshold, cache.key, results.read_summary())


def refuse_unlike(one: Part, other: Part) -> None:
    """Refuse tests of other recordings.

    Raises:
        UserError: names both and what differs.
    """
    both = f"{one.run.folder} and {other.run.folder}"
    for digest, (called, _) in CLIPS.items():
        if one.summary.get(digest) != other.summary.get(digest):
            raise UserError(f"{both}: other {called}; fuse tests of the same recordings")
    # What the digests do not hold, or older tests have not.
    if odd := sorted({score[:6] for score in one.scores} ^ {score[:6] for score in other.scores}):
        raise UserError(f"{both}: differ in {'/'.join(odd[0][:3])}; fuse tests of the same recordings, with one truth")
    for key, recordings in one.left_out.items():
        if recordings.files != other.left_out[key].files:
            raise UserError(f"{both}: other training recordings of {machine_name(*key)}; fuse tests of the same ones")


def refuse_copy(one: Part, other: Part) -> None:
    """Refuse a test that says what another says: a copy of it, or of a seed that nothing depends on.

    Raises:
        UserError: all scores of two tests of the same recordings are the same to the bit; names both.
    """
    if [score.anomaly_score for score in one.scores] == [score.anomaly_score for score in other.scores]:
        raise UserError(
            f"{one.run.folder} and {other.run.folder}: all scores are the same, to the bit; one of them would count "
            "twice: leave it out"
        )


def _settings(run: Run) -> tuple[Any, Threshold, WindowReduction]:
    """How a test has scored: what makes its back-end, its threshold's rule, and how windows become a recording."""
    path = run.results.config_of_run
    try:
        model = of_today(load_yaml(path))["model"] if path else {}
        scorer, threshold = model["scorer"], model["threshold"]
        refuse_foreign_targets([scorer, threshold], str(path), "model")
        return instantiated(scorer), instantiated(threshold), "mean" if model["recording_score"] == "mean" else "max"
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: does not say how scores are made ({error}); test the run again") from None


def _refuse_other_scores(run: Run, scores: Sequence[ClipScore], again: Sequence[ClipScore]) -> None:
    found = {score[:3]: score.anomaly_score for score in again}
    if odd := sorted(found.keys() ^ {score[:3] for score in scores}):
        raise UserError(f"{run.results.embeddings}: not of the clips of scores.csv ({odd[0][2]}, ...); test again")
    for score in scores:
        if abs(found[score[:3]] - score.anomaly_score) > SAME * max(1.0, abs(score.anomaly_score)):
            raise UserError(
                f"{run.results.scores}: {score.machine}/{score.file} has the score {score.anomaly_score}, and its "
                f"embeddings and settings give {found[score[:3]]}; test the run again (asd test RUN)"
            )


def _left_out(key: MachineKey, cache: EmbeddingCache, machine: FittedMachine) -> LeftOut:
    """The machine's training recordings in the order of their names, whatever order the test had them in."""
    own = [clip for clip in cache.reference_clips if (clip.machine, clip.section) == key]
    first: dict[str, Clip] = {}
    for clip in own:
        first.setdefault(clip.file, clip)
    if len(machine.training_scores) != len(first):
        raise UserError(f"{machine_name(*key)}: {machine.undecided}; a fusion needs them too: record more")
    files = list(first)
    order = sorted(range(len(files)), key=files.__getitem__)
    is_target = np.array([first[files[place]].domain == "target" for place in order])
    recording = numbered([first[files[place]].recording for place in order])
    return LeftOut(tuple(files[place] for place in order), is_target, recording, machine.training_scores[order])
