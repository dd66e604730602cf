"""asd test: score a trained run again."""

from __future__ import annotations

from collections.abc import Sequence

USAGE = """usage: asd test run=RUN [out=DIR] [overrides]

Score the test clips of a trained run again: with another back-end, other clips, or on several devices.
Results go to RUN/results, or to RUN/results_2, results_3... where there are some already, or to DIR.

  asd test run=runs/pump model/scorer=knn_standardized
  asd test run=runs/pump data.root=pump_today out=today
  asd test run=runs/pump trainer=ddp devices=2

The overrides are those of asd train; the embedder is the run's own."""


def run(arguments: Sequence[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    from asd_lightning.training.retest import main

    return main(arguments)
