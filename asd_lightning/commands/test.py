"""asd test: score a trained run again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asd_lightning.errors import UserError

USAGE = """usage: asd test run=RUN [out=DIR] [overrides]

Score the test clips of a trained run again: with another back-end, other clips,
or on several devices. Results go to DIR; by default to RUN/results, or to
RUN/results_2, results_3... where there are some already.

  asd test run=runs/pump model/scorer=knn_standardized
  asd test run=runs/pump data.root=pump_today out=today
  asd test run=runs/pump trainer=ddp devices=2

The overrides are those of asd train; the embedder is the run's own."""


_RUN, _OUT = "run=", "out="


def run(arguments: Sequence[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    import logging

    from asd_lightning.configuration import for_hydra
    from asd_lightning.experiment.arguments import retest_configuration
    from asd_lightning.experiment.computer import agree_with_slurm
    from asd_lightning.experiment.text_options import as_text

    logging.basicConfig(format="asd: %(message)s")
    runs = [argument.removeprefix(_RUN) for argument in arguments if argument.startswith(_RUN)]
    outs = [argument.removeprefix(_OUT) for argument in arguments if argument.startswith(_OUT)]
    if len(runs) != 1 or len(outs) > 1 or "" in [*runs, *outs]:
        raise UserError("give the run to test: asd test run=runs/NAME [out=DIR] [model/scorer=... data.root=...]")
    folder, out = Path(runs[0]).expanduser(), Path(outs[0]).expanduser() if outs else None
    overrides = [for_hydra(as_text(argument)) for argument in arguments if not argument.startswith((_RUN, _OUT))]
    # What is wrong with them is told before torch is imported.
    agree_with_slurm(retest_configuration(folder, overrides, folder))
    from asd_lightning.experiment.retest import retest

    retest(folder, overrides, out)
    return 0
