"""asd train: train, then test."""

from __future__ import annotations

from collections.abc import Sequence

from asd_lightning.commands.grammar import prints_alone, refuse_unknown_options
from asd_lightning.errors import UserError

USAGE = """usage: asd train [KEY=VALUE ...] [-m]

Train a system on a folder of recordings, then score its test clips.
Results go to runs/NAME.

  asd train experiment=statistics data.root=pump name=pump
  asd train experiment=system1 data.root=data/dcase2025 name=a
  asd train experiment=system1 data.root=data/dcase2025 name=a resume=true
  asd train -m experiment=system1,system4 seed=0,1,2 data.root=data/dcase2025

The first trains nothing and needs no weights; the third goes on with the second
where it was interrupted; the last runs every combination and ends with a table.

Most used:
  experiment=NAME             the system
  data.root=DIR               the recordings, in a layout of the README
  name=NAME                   folder in runs/; by default experiment and time
  scale=demo                  tiny encoders, 400 updates: minutes on a laptop
  seed=N                      of every draw
  trainer.max_steps=N         updates of the weights
  data.batch_size=N           clips at a time; fewer need less memory
  accumulate=N                batches to an update
  devices=N                   devices of this computer, with trainer=ddp
  model/scorer=NAME           the back-end that scores

Choices:
{choices}

Lists are written [a,b]; loggers and branches are lists. --cfg job prints every
setting, and the README has a table of the switches. --config-dir DIR adds files
of your own: docs/own-branch.md. --hydra-help: Hydra's own."""


def run(arguments: Sequence[str]) -> int:
    """Check the arguments before torch is imported, then train and test; the exit status."""
    if {"-h", "--help"} & set(arguments):
        print(USAGE.format(choices=_choices()))
        return 0
    refuse_unknown_options(arguments)
    from asd_lightning.configuration import let_hydra_print, own_folders, search_path
    from asd_lightning.experiment.arguments import check_arguments
    from asd_lightning.experiment.computer import check_computer
    from asd_lightning.experiment.text_options import as_hydra_reads

    fit = as_hydra_reads(arguments)
    if prints_alone(arguments):
        if {"-m", "--multirun"} & set(arguments):
            raise UserError("-m: settings are shown of one run; leave -m out and give one value of each list")
        let_hydra_print([*search_path(own_folders()), *fit])
        return 0
    check_computer(fit, check_arguments(fit))
    from asd_lightning.experiment.train import main

    return main([*search_path(own_folders()), *fit])


def _choices() -> str:
    """Each group of the configuration in which there is something to choose."""
    from textwrap import fill

    from asd_lightning.configuration import CONF_DIR, own_folders

    groups: dict[str, list[str]] = {}
    for folder in (CONF_DIR, *own_folders()):
        for path in sorted(folder.rglob("*/*.yaml")):
            groups.setdefault(str(path.parent.relative_to(folder)), []).append(path.stem)
    return "\n".join(
        fill(f"{group + '=':<28}{' '.join(names)}", 80, initial_indent="  ", subsequent_indent=" " * 30)
        for group, names in groups.items()
        if len(names) > 1
    )
