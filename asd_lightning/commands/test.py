"""asd test: score a trained run again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asd_lightning.commands.grammar import split_output
from asd_lightning.errors import UserError

USAGE = """usage: asd test RUN [-o DIR] [KEY=VALUE ...]

Score the test clips of a trained run again: with another back-end, other clips,
or on several devices. Results go to DIR; by default to RUN/results, or to
RUN/results_2, results_3... where there are some already.

  asd test runs/pump model/scorer=knn_standardized
  asd test runs/pump data.root=pump_today -o today
  asd test runs/pump trainer=ddp devices=2

The overrides are those of asd train, as far as a test uses them: the back-end,
the recordings, the device, loggers, the seed. The embedder is the run's own."""


def run(arguments: Sequence[str]) -> int:
    """Check the arguments before torch is imported, then test the run again; the exit status."""
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    import logging

    from asd_lightning.experiment.computer import agree_with_slurm
    from asd_lightning.experiment.recorded import retest_configuration
    from asd_lightning.experiment.text_options import as_hydra_reads

    logging.basicConfig(format="asd: %(message)s")
    folder, out, rest = places(arguments)
    overrides = as_hydra_reads(rest)
    # What is wrong with them is told before torch is imported.
    agree_with_slurm(retest_configuration(folder, overrides, folder))
    from asd_lightning.experiment.retest import retest

    retest(folder, overrides, out)
    return 0


def places(arguments: Sequence[str]) -> tuple[Path, Path | None, list[str]]:
    """The run, the folder for results, and the overrides; ``run=`` and ``out=`` are older ways to say the first two."""
    words, outs = split_output(arguments)
    runs = [word.removeprefix("run=") for word in words if word.startswith("run=") or not _is_override(word)]
    if len(runs) != 1 or not runs[0]:
        raise UserError("give the run to test: asd test runs/NAME [-o DIR] [model/scorer=... data.root=...]")
    overrides = [word for word in words if _is_override(word) and not word.startswith("run=")]
    return Path(runs[0]).expanduser(), Path(outs[0]).expanduser() if outs else None, overrides


def _is_override(word: str) -> bool:
    """Whether a word is an override: not where a folder of that name exists, which may contain ``=``."""
    return not Path(word).is_dir() and ("=" in word or word.startswith("~"))
