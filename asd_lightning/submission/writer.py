"""Challenge submissions (DCASE Task 2): two score files for each machine, and one description of the system.

anomaly_score_<machine>_section_00_test.csv     section_00_0000.wav,<float>      no header
decision_result_<machine>_section_00_test.csv   section_00_0000.wav,<0 or 1>
<label>.meta.yaml                               the fields of the organisers' template, in the form of 2025

The template itself was not at hand.  The fields are those of descriptions that participants published on GitHub:
Kret_CU_task2_1 of 2025 (MeghanRN/dcase2025_beats_knn), which has the description of 2022 (Xiao_HEU-HIT_task2_1 to 4,
with the organisers' comments, in liuyoude/DCASE2022Task2-Record), MACS, and results as auc_source, auc_target, pauc.
2021 (OptimusPrimus/dcase2021_task2) has neither attribute_usage nor domain_generalization_method.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from asd_lightning.atomic import write_text_atomically
from asd_lightning.errors import UserError
from asd_lightning.evaluation.metrics import MachineMetrics, read_metrics
from asd_lightning.foreign_files import YAML_BYTES, ForeignFileError, load_yaml, read_text
from asd_lightning.run_folder import find_results, unfinished_training
from asd_lightning.scoring.clip_scores import ClipScore, challenge_paths, read_scores, write_challenge_files
from asd_lightning.submission.encoders import other_encoders

LABEL = re.compile(r"[A-Za-z][A-Za-z-]*_[A-Za-z0-9-]+_task2_[1-4]")
LABEL_FORM = "<last name>_<institute>_task2_<1 to 4>, as in Huang_XJU_task2_1"
EVALUATION_NAME = re.compile(r"section_\d{2}_(?:test_)?\d+\.wav")
SCORE_FILE = re.compile(r"(anomaly_score|decision_result)_(.+)_section_(\d{2})_test\.csv")
META_SUFFIX = ".meta.yaml"
TODO = "TODO"
"""What stands in the description where only a person knows; a submission that still has one is not valid."""

DESCRIPTION_FIELDS = {
    "input_sampling_rate": "16kHz",
    "data_augmentation": f"{TODO}: comma-separated, such as mixup, SpecAugment",
    "front_end": None,
    "acoustic_features": f"{TODO}: comma-separated, such as log-mel energies, spectrum",
    "embeddings": f"{TODO}: comma-separated, such as BEATs, EAT",
    "machine_learning_method": f"{TODO}: comma-separated, such as ArcFace, k-NN, SMOTE",
    "aggregation_method": f"{TODO}: how predictions are joined over time, or null",
    "domain_adaptation_method": f"{TODO}: such as fine-tuning, or null",
    "domain_generalization_method": f"{TODO}: such as SMOTE of target clips, or null",
    "ensemble_method_subsystem_count": None,
    "decision_making": None,
    "attribute_usage": f"{TODO}: such as class labels, or null",
    "external_data_usage": f"{TODO}: such as pre-trained model, or null",
    "development_data_usage": f"{TODO}: such as pre-training, fine-tuning",
}


class Written(NamedTuple):
    """A submission's files, what a person should know before handing them in, and whose scores they are."""

    files: list[Path]
    notes: list[str]
    results: Path


def write_submission(run: Path, label: str, out: Path, info: Path | None = None) -> Written:
    """Write the submission of a finished run, or of one of its tests, to the folder ``out``.

    Its results give scores, the summary and, for the results on the development machines, the metrics.  Evaluation
    clips (``section_00_0001.wav``) are submitted; a run that scored none of them is written whole, as a rehearsal, and
    a note says so.  ``info`` is a YAML file with any of the description's fields, nested alike.
    Raises ``UserError`` on a malformed label, on missing or unusable files, on scores that are not finite, and where
    ``out`` already holds files of another submission, or another description under this label.
    """
    if not LABEL.fullmatch(label):
        raise UserError(f"--label {label}: a label has the form {LABEL_FORM}")
    results = find_results(run)
    scored = read_scores(results.scores)
    scores = _submitted(scored)
    meta = _filled(describe(label, results.read_summary(), _development_metrics(results.metrics, scored)), info)
    meta_path = out / f"{label}{META_SUFFIX}"
    _refuse_strangers(out, {path.name for path in challenge_paths(out, scores)} | {meta_path.name})
    text = yaml.safe_dump(meta, sort_keys=False, allow_unicode=True, width=100)
    if meta_path.is_file() and read_text(meta_path, YAML_BYTES, errors="replace") != text:
        raise UserError(
            f"{meta_path}: is there with other content, perhaps edited by hand; put your fields into a YAML for "
            "--info and remove it, or give another folder with --output"
        )
    paths = write_challenge_files(out, scores)
    write_text_atomically(meta_path, text)
    notes = list(_notes(scores))
    if unfinished := unfinished_training(results.read_summary()):
        notes.append(f"{results.folder}: its training was not finished ({unfinished}); finish it with resume=true")
    embeddings = meta["system"]["description"]["embeddings"]
    if isinstance(embeddings, str) and TODO not in embeddings and (other := other_encoders(results, embeddings)):
        notes.append(other)
    return Written([*paths, meta_path], notes, results.folder)


def describe(label: str, summary: Mapping[str, Any], development: Sequence[MachineMetrics]) -> dict[str, Any]:
    """The description with what the run knows of itself, and ``TODO`` where it knows nothing."""
    parameters, macs = summary.get("num_parameters"), summary.get("macs")
    return {
        "submission": {
            "label": label,
            "name": summary.get("name") or f"{TODO}: the system's name",
            "abbreviation": f"{TODO}: at most 10 characters",
            "authors": [
                {
                    "lastname": TODO,
                    "firstname": TODO,
                    "email": TODO,
                    "corresponding": True,
                    "affiliation": {"institution": TODO, "department": TODO, "location": f"{TODO}: city, country"},
                }
            ],
        },
        "system": {
            "description": DESCRIPTION_FIELDS | {"ensemble_method_subsystem_count": _fused(summary)},
            "complexity": {
                "total_parameters": f"{TODO}: a whole number" if parameters is None else parameters,
                "MACS": f"{TODO}: multiply-accumulates for one clip" if macs is None else macs,
            },
            "external_datasets": [{"name": f"{TODO}: data set of the pre-trained model", "url": TODO}],
            "source_code": None,
        },
        "results": {"development_dataset": {row.machine: _percentages(row) for row in development}},
    }


def _percentages(row: MachineMetrics) -> dict[str, float | None]:
    values = {"auc_source": row.auc_source, "auc_target": row.auc_target, "pauc": row.pauc}
    return {name: None if math.isnan(value) else 100 * value for name, value in values.items()}


def _filled(meta: dict[str, Any], info: Path | None) -> dict[str, Any]:
    if info is None:
        return meta
    try:
        given = load_yaml(info)
    except ForeignFileError as error:
        raise UserError(f"--info {error}") from None
    if not isinstance(given, dict):
        raise UserError(f"--info {info}: expected a mapping with submission: and system:")
    return _merged(meta, given, str(info))


def _fused(summary: Mapping[str, Any]) -> int | None:
    """How many systems are one in these results; ``None`` where they are of one."""
    fusion = summary.get("fusion")
    return len(fusion["parts"]) if isinstance(fusion, dict) and isinstance(fusion.get("parts"), list) else None


def _merged(template: dict[str, Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``template`` with the given leaves; lists are leaves.  A field the template lacks is a typing error."""
    merged = dict(template)
    for key, value in given.items():
        if key not in template:
            hint = get_close_matches(str(key), list(template), n=1)
            meant = f"did you mean {hint[0]}?" if hint else f"known are {', '.join(template)}"
            raise UserError(f"{where}: no field {key!r} in the description; {meant}")
        if isinstance(template[key], dict):
            if not isinstance(value, dict):
                raise UserError(f"{where}: {key} must be a mapping, got {value!r:.80}")
            value = _merged(template[key], value, where)
        merged[key] = value
    return merged


def _development_metrics(path: Path, scored: Sequence[ClipScore]) -> list[MachineMetrics]:
    """Metrics of machines whose clips' names hold the label; metrics from a joined truth are no development results."""
    machines = {score.machine for score in scored if not EVALUATION_NAME.fullmatch(score.file)}
    return [row for row in read_metrics(path) if row.machine in machines and not row.overall] if path.is_file() else []


def _submitted(scores: Sequence[ClipScore]) -> list[ClipScore]:
    """The evaluation clips, or all where there are none."""
    for score in scores:
        if not math.isfinite(score.anomaly_score):
            raise UserError(f"{score.machine}/{score.file}: anomaly_score is {score.anomaly_score}; test the run again")
    if not scores:
        raise UserError("the run has no scores: nothing to submit")
    return [score for score in scores if EVALUATION_NAME.fullmatch(score.file)] or list(scores)


def _notes(submitted: Sequence[ClipScore]) -> Iterator[str]:
    if not any(EVALUATION_NAME.fullmatch(score.file) for score in submitted):
        yield (
            "a rehearsal, not a submission: the run scored no evaluation clip (section_00_0000.wav), so its labelled "
            "clips are written instead; get the evaluation set (asd download), train with its additional training "
            "clips, and submit that run"
        )
    undecided = sorted({score.machine for score in submitted if math.isnan(score.threshold)})
    if undecided:
        yield f"no threshold for {', '.join(undecided)}: the decision file is empty there, and the challenge wants one"


def _refuse_strangers(out: Path, own: set[str]) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: not a folder; choose another")
    present = [path.name for path in sorted(out.iterdir())] if out.is_dir() else []
    strangers = [
        name for name in present if name not in own and (SCORE_FILE.fullmatch(name) or name.endswith(META_SUFFIX))
    ]
    if strangers:
        raise UserError(f"{out}: holds another submission ({strangers[0]}, ...); choose an empty folder")
