"""Does a test notice?  Presets and steps of the assembly, changed one at a time in a copy of the checkout.

    python benchmarks/mutations.py [--only N ...]

Prints whether the tests of presets and assembly went red.  Not part of the test suite: it runs it many times.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TESTS = ("tests/test_presets.py", "tests/training/test_assembly.py", "tests/scoring/test_fitted.py")


class Mutation(NamedTuple):
    """Text in a file, and what stands there instead."""

    name: str
    file: str
    before: str
    after: str


MUTATIONS = (
    Mutation("scale", "conf/model/loss/os_scl.yaml", "scale: 30.0", "scale: 25.0"),
    Mutation("margin", "conf/model/loss/os_scl.yaml", "margin: 0.2", "margin: 0.3"),
    Mutation("head", "conf/model/loss/os_scl.yaml", "head: joint", "head: per_branch"),
    Mutation("gather", "conf/model/loss/os_scl.yaml", "gather: true", "gather: false"),
    Mutation("contrastive weight", "conf/model/loss/os_scl.yaml", "contrastive_weight: 1.0", "contrastive_weight: 0.5"),
    Mutation("BEATs mask width", "conf/model/embedder/branches/beats.yaml", "freq_width: 80", "freq_width: 40"),
    Mutation("BEATs mask chance", "conf/model/embedder/branches/beats.yaml", "probability: 0.5", "probability: 0.4"),
    Mutation("EAT mask width", "conf/model/embedder/branches/eat.yaml", "time_width: 80", "time_width: 60"),
    Mutation("EAT pooling", "conf/model/embedder/branches/eat.yaml", "pooling: cls", "pooling: tokens"),
    Mutation("RDP's gamma", "conf/model/embedder/pooling/rdp.yaml", "gamma: 4.0", "gamma: 8.0"),
    Mutation("bands", "conf/model/embedder/pooling/mean.yaml", "bands: keep", "bands: merge"),
    Mutation("bands of RDP-GeM", "conf/experiment/rdp2603.yaml", "bands: merge", "bands: keep"),
    Mutation("CLS in the grid", "asd_lightning/encoders/eat.py", "dim, extra=1)", "dim, extra=0)"),
    Mutation(
        "log-mel statistics", "conf/model/embedder/branches/statistics.yaml", "[mean, deviation]", "[mean, change]"
    ),
    Mutation("target frames", "conf/model/embedder/branches/eat.yaml", "target_frames: 1024", "target_frames: 998"),
    Mutation("schedule's unit", "conf/model/scheduler/inverse_sqrt.yaml", "unit: update", "unit: epoch"),
    Mutation("mixup alpha", "conf/model/default.yaml", "mixup_alpha: 0.5", "mixup_alpha: 0.4"),
    Mutation("score after head", "conf/model/default.yaml", "score_after_head: true", "score_after_head: false"),
    Mutation("recording score", "conf/model/default.yaml", "recording_score: max", "recording_score: mean"),
    Mutation("k", "conf/model/scorer/knn.yaml", "k: 1", "k: 2"),
    Mutation("metric", "conf/model/scorer/knn.yaml", "metric: cosine", "metric: euclidean"),
    Mutation("fusion", "conf/model/scorer/knn.yaml", "fusion: min", "fusion: pooled"),
    Mutation("percentile", "conf/model/threshold/gamma.yaml", "percentile: 90.0", "percentile: 95.0"),
    Mutation("labels", "conf/data/default.yaml", "labels: machine_attribute", "labels: machine"),
    Mutation("average's unit", "conf/callbacks/default.yaml", "unit: update", "unit: micro_batch"),
    Mutation("group", "conf/data/default.yaml", "group: recording", "group: clip"),
    Mutation("no masks", "asd_lightning/features/spec_augment.py", "if not self.training:", "if True:"),
    Mutation("first window", "asd_lightning/embedder.py", ".mean(1)", "[:, 0]"),
    Mutation("anomalies in the bank", "asd_lightning/data/datamodule.py", ' and clip.condition != "anomaly"', ""),
    Mutation("at the threshold", "asd_lightning/scoring/fitted.py", "anomaly_score > self", "anomaly_score >= self"),
    Mutation(
        *("own windows in the bank", "asd_lightning/scoring/held_out.py"),
        *("len(embeddings) == recording.max() + 1", "True"),
    ),
    Mutation(
        *("unheard recordings", "asd_lightning/scoring/machines.py"),
        *("fit_with(make_scorer(), embeddings, is_target, group)", "make_scorer().fit(embeddings, is_target)"),
    ),
    Mutation("VarMin's K", "conf/model/scorer/varmin.yaml", "neighbors: 4", "neighbors: 1"),
    Mutation("VarMin's alpha", "conf/model/scorer/beam_varmin.yaml", "alpha: fitted", "alpha: 1.0"),
    Mutation("bands of BEAM", "conf/model/scorer/beam.yaml", "match: beam", "match: coupled"),
    Mutation("form of local density", "conf/model/scorer/ldn.yaml", "rescale: ratio", "rescale: identity"),
    Mutation("no whitening", "conf/model/scorer/ldn_whitened.yaml", "whiten: true", "whiten: false"),
    Mutation("z per domain", "conf/model/scorer/domain_z.yaml", "fusion: domain_z", "fusion: min"),
    Mutation("ratio per domain", "conf/model/scorer/domain_ratio.yaml", "fusion: domain_ratio", "fusion: min"),
    Mutation("soft weights", "conf/model/scorer/daco_soft.yaml", "weights: soft", "weights: hard"),
    Mutation("Z-MIN", "conf/model/scorer/z_min.yaml", "combination: min", "combination: mean"),
    Mutation("logs of the pair", "conf/model/scorer/whitened_pair.yaml", "scale: log", "scale: identity"),
)


def noticed(mutation: Mutation) -> bool:
    """Whether the tests go red.

    Raises:
        ValueError: the text is not there any more: correct the table.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "checkout")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "runs", "cache", "data/demo"))
        path = copy / mutation.file
        text = path.read_text(encoding="utf-8")
        if mutation.before not in text:
            raise ValueError(f"{mutation.name}: {mutation.before!r} is not in {mutation.file}")
        path.write_text(text.replace(mutation.before, mutation.after), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS]
        # The copy comes first, before an installed checkout.
        environment = {"PYTHONPATH": str(copy), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, cwd=copy, env=environment, capture_output=True, check=False).returncode == 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[mutation.name for mutation in MUTATIONS])
    only = parser.parse_args().only
    survived = 0
    for mutation in MUTATIONS:
        if only is None or mutation.name in only:
            caught = noticed(mutation)
            survived += not caught
            print(f"{mutation.name:<24} {'noticed' if caught else 'SURVIVED'}", flush=True)
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
