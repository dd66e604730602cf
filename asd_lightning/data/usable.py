"""Which of the decoded clips are used, and what is said of them, before a model hears one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from pathlib import Path

from asd_lightning.data.cache import ClipStore
from asd_lightning.data.doubts import doubtful_copies, doubtful_levels
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.data.recordings import is_of_challenge, mixed_lengths, mixed_rates
from asd_lightning.data.supplemental import Supplemental, is_clean, is_noise
from asd_lightning.errors import UserError

logger = logging.getLogger(__name__)

_NAMED_AT_MOST = 20


def report_skipped(skipped: Mapping[str, str], *, stop: bool) -> None:
    """Name recordings that could not be used.

    Args:
        skipped: place of each -> why.
        stop: they are an error.

    Raises:
        UserError: likewise.
    """
    if not skipped:
        return
    # One message for each recording, not for each of its windows.
    messages = list(dict.fromkeys(skipped.values()))
    if stop:
        raise UserError("\n".join(messages[:_NAMED_AT_MOST]))
    for message in messages[:_NAMED_AT_MOST]:
        logger.warning("skipped: %s", message)
    unnamed = f", {len(messages) - _NAMED_AT_MOST} of them not named here" if len(messages) > _NAMED_AT_MOST else ""
    logger.warning("%d recordings skipped%s", len(messages), unnamed)


def keep_trained(store: ClipStore, trained: Set[str], root: Path) -> None:
    """Drop machines without a normal training clip; go on with the others, and say so.

    Args:
        store: of which clips are dropped.
        trained: the machines with normal training clips.
        root: folder that they were looked for in.

    Raises:
        UserError: no machine has any.
    """
    for machine in sorted({clip.machine for clip in store.clips} - trained):
        logger.warning("%s: no normal training clips, so its test clips cannot be scored and are left out", machine)
    if not trained:
        reason = next(iter(store.skipped.values()), "put some under <machine>/train or normal/")
        raise UserError(f"{root}: no usable normal training clips; {reason}")
    store.keep(lambda clip: clip.machine in trained)
    for machine in sorted(trained):
        if not any(c.machine == machine and c.split == "train" and c.domain == "target" for c in store.clips):
            logger.info("%s: no target-domain training clips; scored against the source domain alone", machine)


def keep_supplemental(store: ClipStore, use: Supplemental, root: Path) -> None:
    """Both kinds are decoded, for other runs too; those asked for are kept, and must be there.

    Raises:
        UserError: there are none of a kind that is asked for.
    """
    wanted = {"noise": [is_noise], "clean": [is_clean], "both": [is_noise, is_clean], "none": []}[use]
    for is_kind, kind in ((is_noise, "noise"), (is_clean, "clean machine sound")):
        if is_kind not in wanted:
            continue
        having = {clip.machine for clip in store.clips if is_kind(clip)}
        if not having:
            raise UserError(
                f"{root}: no supplemental clips of {kind} (section_00_<kind>_<number>.wav in "
                "<machine>/supplemental); fetch them, or set data.supplemental=none"
            )
        for machine in sorted({clip.machine for clip in store.clips} - having):
            logger.warning("%s: no supplemental clips of %s; trained on without", machine, kind)
    store.keep(lambda clip: clip.split != "supplemental" or any(is_kind(clip) for is_kind in wanted))


def warn_of_mixtures(store: ClipStore, sample_rate: int) -> None:
    """Warn of machines whose clips differ in rate, length or level, or are the same in training and test."""
    of_machine: dict[str, list[int]] = {}
    for clip_id, clip in enumerate(store.clips):
        if clip.split != "supplemental":
            of_machine.setdefault(clip.machine, []).append(clip_id)
    for machine, ids in of_machine.items():
        # Recordings cut into windows are left out: any length of theirs is used whole.
        seconds = [store.samples(clip_id) / sample_rate for clip_id in ids if not store.clips[clip_id].cut]
        told = [mixed_rates(map(store.source_rate, ids)), mixed_lengths(seconds)]
        for doubt in (*told, doubtful_levels(store, ids, sample_rate), doubtful_copies(store, ids)):
            if doubt:
                logger.warning("%s: %s", machine, doubt)


def say_what_is_heard(store: ClipStore, heard: Preprocessing) -> None:
    """Log once how clips that are longer than a model's input are used."""
    windows = [clip for clip in store.clips if clip.cut]
    if windows:
        count = len({(clip.machine, clip.file) for clip in windows})
        logger.info("%d recordings are heard whole, in %d windows of %g s", count, len(windows), heard.clip_seconds)
    ids = range(len(store.clips))
    cropped = sum(store.samples(i) > heard.samples and is_of_challenge(store.clips[i]) for i in ids)
    if cropped:
        where = "the centre" if heard.test_windows == 1 else f"the mean of {heard.test_windows} crops"
        logger.info(
            "%d clips named as the challenge's are longer than data.clip_seconds=%g: as in the report, a random "
            "crop of each is trained on and %s is scored",
            *(cropped, heard.clip_seconds, where),
        )
