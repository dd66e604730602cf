"""Size and cost of what each experiment scores with: parameters and multiply-accumulates.

    python benchmarks/sizes.py [experiment ...]

Of a clip of 10 s at 16 kHz, with encoders of full size and random weights; nothing here depends on their values.
Writes ``sizes.md`` beside this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hydra.utils import instantiate

from asd_lightning.configuration import choices_of, compose_train
from asd_lightning.embedder import Embedder
from asd_lightning.evaluation.complexity import count_macs

SECONDS, RATE = 10, 16_000
HEADER = "| experiment | parameters | of them trained | multiply-accumulates of a clip of 10 s |"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", default=choices_of("experiment"))
    args = parser.parse_args()
    lines = ["`python benchmarks/sizes.py`", "", HEADER, "|---|---:|---:|---:|", *map(row, args.experiments)]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def row(experiment: str) -> str:
    """A line of the table."""
    model = embedder(experiment)
    parameters = [each.numel() for each in model.parameters()]
    trained = [each.numel() for each in model.parameters() if each.requires_grad]
    macs = count_macs(model, SECONDS * RATE)
    return f"| `{experiment}` | {sum(parameters):,} | {sum(trained):,} | {macs / 1e9:,.2f} G |"


def embedder(experiment: str) -> Embedder:
    """The system that ``experiment`` scores with, with random weights."""
    config = compose_train([f"experiment={experiment}", "encoders=random", "data.root=unused"])
    made: Embedder = instantiate(config.model.embedder)
    return made.eval()


if __name__ == "__main__":
    main()
