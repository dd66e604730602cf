"""Is a submission what the organisers will accept?  Whatever breaks a rule is one sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from asd_lightning.errors import UserError
from asd_lightning.evaluation.ground_truth import read_ground_truth
from asd_lightning.foreign_files import ForeignFileError, load_yaml, read_csv
from asd_lightning.submission.writer import (
    DESCRIPTION_FIELDS,
    EVALUATION_NAME,
    LABEL,
    LABEL_FORM,
    META_SUFFIX,
    SCORE_FILE,
    TODO,
)

ClipNames = dict[tuple[str, str], list[str]]
"""(machine, section) -> file names of its test clips, ascending."""


class Problem(NamedTuple):
    """One thing that breaks a rule: the rule in a few words, and where and how it is broken."""

    rule: str
    text: str


def check_submission(folder: Path, expected: ClipNames | None = None) -> list[Problem]:
    """What is wrong with the submission in ``folder``; empty if nothing is.

    ``expected``: the clips that must be scored, of ``names_in_data`` or ``names_in_list``; without it the score files
    are checked against one another alone.  Raises ``UserError`` where ``folder`` is not a folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if next(islice(folder.iterdir(), _MOST_FILES, None), None):
        raise UserError(f"{folder}: more than {_MOST_FILES} files; name the folder of one submission")
    return [*_check_files(folder), *_check_scores(folder, expected), *_check_meta(folder)]


def problem_lines(problems: Sequence[Problem], at_most: int | None) -> list[str]:
    """The problems under their rules, of each rule ``at_most`` (``None``: all) and how many more there are.

    >>> problems = [Problem("not finite", "fan, line 3"), Problem("not finite", "fan, line 7")]
    >>> problem_lines(problems, 1)
    ['not finite: 2', '  fan, line 3', '  and 1 more']
    """
    rules: dict[str, list[str]] = {}
    for problem in problems:
        rules.setdefault(problem.rule, []).append(problem.text)
    lines = []
    for rule, texts in rules.items():
        lines += [f"{rule}: {len(texts)}", *(f"  {text}" for text in texts[:at_most])]
        if len(texts[:at_most]) < len(texts):
            lines.append(f"  and {len(texts) - len(texts[:at_most])} more")
    return lines


def names_in_data(root: Path) -> ClipNames:
    """The evaluation clips below a data folder."""
    from asd_lightning.data.layout import find_clips

    names: ClipNames = {}
    for clip in find_clips(root):
        if clip.split == "test" and EVALUATION_NAME.fullmatch(clip.name):
            names.setdefault((clip.machine, clip.section), []).append(clip.name)
    if not names:
        raise UserError(f"{root}: no evaluation clips (section_00_0001.wav) in any machine's test folder")
    return {section: sorted(files) for section, files in names.items()}


def names_in_list(path: Path) -> ClipNames:
    """The clips of an organisers' list (anything ``read_ground_truth`` reads); its truth is not looked at."""
    names: ClipNames = {}
    for machine, section, number in sorted(read_ground_truth(path)):
        names.setdefault((machine, section), []).append(f"section_{section}_{number:04d}.wav")
    return names


_FILES, _CLIPS, _ROWS, _META = "files", "clips", "rows", "description"
_MOST_ROWS, _MOST_FILES, _MOST_PROBLEMS = 20_000, 500, 1_000
"""A section has 200 clips, and a year at most 21 sections; of problems each file may have so many of a kind."""
_DISTINCT = 10
"""Different scores that a file must have; with fewer clips, as many as clips."""
_LABEL_LIKE = re.compile(r"_task\d+_\d", re.IGNORECASE)
_PACKAGE = "task2"
"""The folder of the organisers' package: a submission in it is in a folder that has its label's name."""


def _check_files(folder: Path) -> Iterator[Problem]:
    for path in sorted(folder.iterdir()):
        known = SCORE_FILE.fullmatch(path.name) or path.name.endswith((META_SUFFIX, ".pdf"))
        if not (known and path.is_file()) and not path.name.startswith("."):
            yield Problem(_FILES, f"{path.name}: not a file of a submission")


def _check_scores(folder: Path, expected: ClipNames | None) -> Iterator[Problem]:
    found: dict[tuple[str, str], set[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and (match := SCORE_FILE.fullmatch(path.name)):
            found.setdefault((match[2], match[3]), set()).add(match[1])
    if not found:
        yield Problem(_FILES, "no anomaly_score_<machine>_section_<nn>_test.csv in the folder")
    for machine, section in sorted(set(expected or found) - set(found)):
        yield Problem(_FILES, f"{machine} section {section}: no score files")
    for machine, section in sorted(set(found) - set(expected or found)):
        yield Problem(_FILES, f"{machine} section {section}: has score files, but no evaluation clips are known of it")
    for (machine, section), kinds in sorted(found.items()):
        end = f"{machine}_section_{section}_test.csv"
        for missing in sorted({"anomaly_score", "decision_result"} - kinds):
            yield Problem(_FILES, f"{missing}_{end}: missing")
        names = (expected or {}).get((machine, section))
        rows, unreadable = _readable({kind: folder / f"{kind}_{end}" for kind in sorted(kinds)})
        yield from unreadable
        for kind in rows:
            yield from _check_rows(f"{kind}_{end}", rows[kind], names, decisions=kind == "decision_result")
        if len(rows) == 2:
            yield from _check_pair(f"{machine} section {section}", rows["anomaly_score"], rows["decision_result"])


def _readable(paths: Mapping[str, Path]) -> tuple[dict[str, list[list[str]]], list[Problem]]:
    rows, problems = {}, []
    for kind, path in paths.items():
        try:
            # Bytes that are no text are reported with their row.
            rows[kind] = read_csv(path, errors="replace", most_rows=_MOST_ROWS)
        except ForeignFileError as error:
            problems.append(Problem(_FILES, f"{path.name}: {error.reason}"))
    return rows, problems


def _check_pair(section: str, scores: list[list[str]], decisions: list[list[str]]) -> Iterator[Problem]:
    """Scores and decisions of the same clips, where every row can be read: the higher scores are the alarms."""
    if _names(scores) != _names(decisions):
        yield Problem(_CLIPS, f"{section}: the two files name different clips, or in different order")
        return
    if any(_row_problem(row, decisions=False) for row in scores) or any(_row_problem(row, True) for row in decisions):
        return
    by_decision: dict[str, list[tuple[float, str]]] = {"0": [], "1": []}
    for (name, score), (_, decision) in zip(scores, decisions, strict=True):
        by_decision[decision].append((float(score), name))
    if not by_decision["0"] or not by_decision["1"]:
        return
    (loudest, normal), (quietest, alarm) = max(by_decision["0"]), min(by_decision["1"])
    if quietest < loudest:
        text = (
            f"{section}: {alarm} is called anomalous at score {quietest:g}, {normal} normal at {loudest:g}; higher "
            "scores must be the anomalous ones: are the scores negated, the decisions inverted, or clips mixed up?"
        )
        yield Problem("scores and decisions", text)


def _names(rows: Sequence[Sequence[str]]) -> list[str]:
    return [row[0] if row else "" for row in rows]


def _check_rows(file: str, rows: list[list[str]], expected: list[str] | None, decisions: bool) -> Iterator[Problem]:
    if not rows:
        yield Problem(_FILES, f"{file}: empty")
    yield from _first(_row_problems(file, rows, decisions), file)
    names = _names(rows)
    seen = set(names)
    yield from _first(_repetitions(file, names), file)
    if not decisions and (problem := _few_values(file, rows)):
        yield problem
    if names != sorted(names):
        yield Problem(_CLIPS, f"{file}: the rows are not in the order of the file names")
    if expected is not None and (len(seen) != len(expected) or seen != set(expected)):
        missing, extra = sorted(set(expected) - seen), sorted(seen - set(expected))
        example = f"missing {missing[0]}" if missing else f"unknown {extra[0]}"
        text = f"{file}: {len(missing)} of {len(expected)} clips missing, {len(extra)} unknown ({example})"
        yield Problem(_CLIPS, text)


def _row_problems(file: str, rows: Sequence[Sequence[str]], decisions: bool) -> Iterator[Problem]:
    for number, row in enumerate(rows, start=1):
        if problem := _row_problem(row, decisions):
            yield problem._replace(text=f"{file}, row {number}: {problem.text}")


def _repetitions(file: str, names: Sequence[str]) -> Iterator[Problem]:
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if name in seen:
            yield Problem(_CLIPS, f"{file}, row {number}: {name:.80} comes a second time")
        seen.add(name)


def _first(problems: Iterator[Problem], file: str) -> Iterator[Problem]:
    """The first few problems of a file: a file of another kind has one in each row."""
    yield from islice(problems, _MOST_PROBLEMS)
    if following := next(problems, None):
        yield Problem(following.rule, f"{file}: and more; mend these first")


def _few_values(file: str, rows: Sequence[Sequence[str]]) -> Problem | None:
    """Constant scores, or decisions in the place of scores: AUC needs an order of the clips."""
    readable = [row for row in rows if _row_problem(row, decisions=False) is None]
    distinct = len({float(row[1]) for row in readable})
    if distinct >= min(_DISTINCT, len(readable)):
        return None
    numbers = "number" if distinct == 1 else "numbers"
    text = f"{file}: {distinct} different {numbers} for {len(readable)} clips; are these constants, or decisions?"
    return Problem("scores", text)


def _row_problem(row: Sequence[str], decisions: bool) -> Problem | None:
    if len(row) != 2:
        return Problem(_ROWS, f"expected a file name and a number, got {','.join(row[:9])!r:.80}")
    name, value = row
    if not EVALUATION_NAME.fullmatch(name):
        return Problem("clip names", f"{name!r:.80} is not a clip name like section_00_0000.wav")
    if decisions:
        return None if value in ("0", "1") else Problem("decisions", f"decision {value!r:.80} is neither 0 nor 1")
    try:
        finite = math.isfinite(float(value))
    except ValueError:
        return Problem("scores", f"score {value!r:.80} is not a number")
    return None if finite else Problem("scores", f"score {value!r:.80} is not finite")


def _check_meta(folder: Path) -> Iterator[Problem]:
    files = sorted(path for path in folder.glob(f"*{META_SUFFIX}") if path.is_file())
    if len(files) != 1:
        yield Problem(_FILES, f"{len(files)} files named <label>{META_SUFFIX}; there must be one")
    else:
        yield from _check_folder(folder.resolve(), files[0].name.removesuffix(META_SUFFIX))
    for path in files:
        try:
            meta = load_yaml(path)
        except ForeignFileError as error:
            yield Problem(_META, f"{path.name}: {error.reason}")
            continue
        label = path.name.removesuffix(META_SUFFIX)
        for problem in (*_check_tree(meta), *_check_label(meta, label), *_check_values(meta)):
            yield Problem(_META, f"{path.name}: {problem}")
        for problem in _todos(meta, ""):
            yield Problem("description, still to do", f"{path.name}: {problem}")


def _check_folder(folder: Path, label: str) -> Iterator[Problem]:
    """A folder is named after the label where it is meant to be handed in, as its name or its parent's tells."""
    meant = _LABEL_LIKE.search(folder.name) or folder.parent.name == _PACKAGE
    if meant and folder.name != label:
        yield Problem(
            _FILES, f"the folder is named {folder.name}, the description {label}{META_SUFFIX}; name it {label}"
        )


_REQUIRED = (
    *(f"submission.{name}" for name in ("label", "name", "abbreviation", "authors")),
    *(f"system.description.{name}" for name in DESCRIPTION_FIELDS),
    *(f"system.{name}" for name in ("complexity.total_parameters", "complexity.MACS", "external_datasets")),
    *("system.source_code", "results.development_dataset"),
)
_AUTHOR = ("lastname", "firstname", "email", "affiliation.institution", "affiliation.location")


class _Absent:
    """Marks an absent field; None cannot, since null is a value."""


def _get(tree: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(tree, Mapping) or key not in tree:
            return _Absent
        tree = tree[key]
    return tree


def _check_tree(meta: Any) -> Iterator[str]:
    for path in _REQUIRED:
        if _get(meta, path) is _Absent:
            yield f"{path} is missing"


def _check_label(meta: Any, file_label: str) -> Iterator[str]:
    label = _get(meta, "submission.label")
    if label is not _Absent and label != file_label:
        yield f"submission.label is {label!r:.80}, the file is named {file_label}{META_SUFFIX}"
    if not LABEL.fullmatch(file_label):
        yield f"the label {file_label!r} has not the form {LABEL_FORM}"


def _check_values(meta: Any) -> Iterator[str]:
    abbreviation = _get(meta, "submission.abbreviation")
    if isinstance(abbreviation, str) and not abbreviation.startswith(TODO) and len(abbreviation) > 10:
        yield f"submission.abbreviation {abbreviation!r:.80} has {len(abbreviation)} characters, at most 10 are allowed"
    yield from _check_authors(_get(meta, "submission.authors"))
    parameters = _get(meta, "system.complexity.total_parameters")
    if not _is_open(parameters) and (not isinstance(parameters, int) or isinstance(parameters, bool) or parameters < 0):
        yield f"system.complexity.total_parameters must be a whole number, got {parameters!r:.80}"
    macs = _get(meta, "system.complexity.MACS")
    if macs is not None and not _is_open(macs) and not _is_number(macs, 0.0, math.inf):
        yield f"system.complexity.MACS must be a number or null, got {macs!r:.80}"
    yield from _check_results(_get(meta, "results.development_dataset"))


def _check_results(results: Any) -> Iterator[str]:
    for machine, values in results.items() if isinstance(results, Mapping) else ():
        fields = values.items() if isinstance(values, Mapping) else ((machine, values),)
        given = {name: value for name, value in fields if value is not None and not _is_open(value)}
        for name, value in given.items():
            if not _is_number(value, 0.0, 100.0):
                yield f"results.development_dataset.{machine}.{name} must be per cent, got {value!r:.80}"
        # All values up to 1 must be fractions: no pAUC is under 47 per cent.
        if given and all(_is_number(value, 0.0, 1.0) for value in given.values()):
            shown = ", ".join(f"{name} {value:g}" for name, value in given.items())
            yield f"results.development_dataset.{machine} must be per cent; these are fractions: {shown}"


def _check_authors(authors: Any) -> Iterator[str]:
    if authors is _Absent:
        return
    if not isinstance(authors, list) or not authors:
        yield "submission.authors must be a list of authors"
        return
    for number, author in enumerate(authors, start=1):
        for path in _AUTHOR:
            if _get(author, path) in (_Absent, None, ""):
                yield f"submission.authors, author {number}: {path} is missing"
    if sum(_get(author, "corresponding") is True for author in authors) != 1:
        yield "submission.authors: one of them must have corresponding: true"


def _is_open(value: Any) -> bool:
    """Absent, or still to do; both are reported elsewhere."""
    return value is _Absent or (isinstance(value, str) and value.startswith(TODO))


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _todos(tree: Any, path: str) -> Iterator[str]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _todos(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _todos(value, f"{path}[{index}]")
    elif isinstance(tree, str) and TODO in tree:
        yield f"{path} is still {tree!r:.80}"
