"""A described submission, and what is wrong with one."""

from collections.abc import Callable
from pathlib import Path

from asd_lightning.submission.check import (
    ClipNames,
    check_submission,
)

LABEL = "Huang_XJU_task2_1"
INFO = """
submission:
  name: BEATs and spectrum
  abbreviation: BEATs-FFT
  authors:
    - {lastname: Huang, firstname: Shun, email: a@b.cn, corresponding: true,
       affiliation: {institution: Xinjiang University, department: Computer Science, location: "Urumqi, China"}}
system:
  description:
    data_augmentation: mixup, SpecAugment
    acoustic_features: log-mel energies
    embeddings: BEATs
    machine_learning_method: ArcFace, k-NN
    aggregation_method: null
    domain_adaptation_method: null
    domain_generalization_method: SMOTE
    attribute_usage: class labels
    external_data_usage: pre-trained model
    development_data_usage: fine-tuning
  external_datasets:
    - {name: AudioSet, url: "https://research.google.com/audioset/"}
"""
EXPECTED = {(machine, "00"): [f"section_00_{i:04d}.wav" for i in range(5)] for machine in ("AutoTrash", "Polisher")}
SCORES = "anomaly_score_AutoTrash_section_00_test.csv"
DECISIONS = "decision_result_AutoTrash_section_00_test.csv"
META = f"{LABEL}.meta.yaml"


def broken(folder: Path, expected: ClipNames | None = None) -> list[str]:
    return [problem.text for problem in check_submission(folder, expected)]


def edited(old: str, new: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return edit
