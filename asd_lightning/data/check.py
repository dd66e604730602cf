"""Checking a data folder: what is there, what is missing, and which recordings are not what they should be."""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from asd_lightning.data.attribute_table import read_attribute_table
from asd_lightning.data.audio import BadAudioError
from asd_lightning.data.file_names import parse_file_name
from asd_lightning.data.layout import Clip, survey
from asd_lightning.data.measurement import Measurement, measure_all, mixed_levels
from asd_lightning.data.recordings import mixed_rates
from asd_lightning.download.years import (
    SOURCE_TRAINING_CLIPS,
    TARGET_TRAINING_CLIPS,
    TEST_CLIPS_PER_DOMAIN_AND_CONDITION,
    YEARS,
    Year,
)
from asd_lightning.errors import UserError
from asd_lightning.plain_text import file_name

SAMPLE_RATE = 16_000
_MOST_CLIPPED = 1e-3
_SECONDS_TOLERANCE = 0.01
_NAMES_SHOWN = 3
_YEAR_IN_NAME = re.compile(r"dcase(20\d\d)", re.IGNORECASE)

Measured = Mapping[Path, Measurement | BadAudioError]
Place = tuple[str, str, str]  # split, domain, condition


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    ``error`` spoils a result or a training; ``warning`` may be meant so. ``files`` are those concerned, if any.
    """

    level: Literal["error", "warning"]
    machine: str
    message: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class MachineSummary:
    """What is there of one machine.

    ``clips`` counts by (split, domain, condition), ``attributes`` by attribute and then by ``split/domain``; a
    supplemental clip's kind stands in the attribute's place.
    """

    machine: str
    clips: dict[Place, int]
    attributes: dict[str, dict[str, int]]
    seconds: tuple[float, ...]
    sample_rates: tuple[int, ...]
    channels: tuple[int, ...]
    level_db: float | None


@dataclass(frozen=True)
class Report:
    """The outcome of a check; ``year`` is None where nothing told it, and counts were then compared with nothing.

    ``understood``: machine -> what its folders of one's own recordings were taken for.
    """

    root: Path
    year: int | None
    machines: list[MachineSummary]
    findings: list[Finding]
    understood: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether no finding is an error; warnings are allowed."""
        return not any(finding.level == "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Plain data, for a file."""
        machines = [
            asdict(summary) | {"clips": {"/".join(place): count for place, count in summary.clips.items()}}
            for summary in self.machines
        ]
        findings = [asdict(finding) for finding in self.findings]
        return {
            "root": str(self.root),
            "year": self.year,
            "ok": self.ok,
            "machines": machines,
            "findings": findings,
            "understood": dict(self.understood),
        }


def check(
    root: Path,
    year: int | None = None,
    console: Console | None = None,
    label: Callable[[Path, Sequence[Clip]], list[Clip]] | None = None,
) -> Report:
    """Read every clip below ``root`` and compare what is there with what the year should have.

    Without ``year`` it is taken from the download's own notes or the folder's name. ``label`` tells, from the folder
    and its clips, the labels of anonymous test clips; without it they stay anonymous.

    Raises:
        UserError: no such folder, no clips, or an unknown year.
    """
    if year is not None and year not in YEARS:
        raise UserError(f"unknown year {year}: choose one of {', '.join(map(str, YEARS))}")
    year = year or guess_year(root)
    known = YEARS.get(year) if year else None
    clips, notes = survey(root)
    if label is not None:
        clips = label(root, clips)
    measured = measure_all([clip.path for clip in clips], console)
    by_machine: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_machine[clip.machine].append(clip)
    findings = [*_missing_machines(root, by_machine, known), *_duplicates(clips, measured)]
    doubtful = [note for note in notes if note.level == "warning"]
    findings += [Finding("warning", note.machine, note.message, tuple(map(str, note.files))) for note in doubtful]
    for machine, own in by_machine.items():
        findings += _counts(machine, own, known)
        findings += _audio(machine, own, measured, known)
        findings += _names(machine, own)
    summaries = [_summary(machine, own, measured) for machine, own in by_machine.items()]
    understood = {note.machine: note.message for note in notes if note.level == "info"}
    findings.sort(key=lambda finding: (finding.level, finding.machine))
    return Report(root, year, summaries, findings, understood)


def guess_year(root: Path) -> int | None:
    """The year that the download's notes or the folder's name tell."""
    for path in (*sorted((root / ".download").glob("dcase*.json")), root.resolve()):
        match = _YEAR_IN_NAME.search(path.name)
        if match and int(match[1]) in YEARS:
            return int(match[1])
    return None


def _missing_machines(root: Path, present: Iterable[str], year: Year | None) -> Iterator[Finding]:
    if year is None:
        return
    for machine in sorted(set(year.machines) - set(present)):
        part = "dev" if machine in year.dev_machines else "train,test"
        command = f"asd download dcase{year.year} -o {shlex.quote(str(root))} --machines {machine} --parts {part}"
        message = f"not there: {command}"
        yield Finding("warning", machine, message)
    for machine in sorted(set(present) - set(year.machines)):
        yield Finding("warning", machine, f"is no machine of {year.year}")


def _place(clip: Clip) -> Place:
    return clip.split, clip.domain, clip.condition


def _counts(machine: str, clips: Sequence[Clip], year: Year | None) -> Iterator[Finding]:
    counts = Counter(_place(clip) for clip in clips)
    splits = Counter(clip.split for clip in clips)
    if not splits["train"]:
        yield Finding("error", machine, "has no training clips: fetch them, or leave the machine out of training")
    if not splits["test"]:
        yield Finding("warning", machine, "has no test clips: it can be trained on, not evaluated")
    elif counts["test", "unknown", "unknown"]:
        yield Finding("warning", machine, "has test clips without labels: they are scored, not evaluated")
    if year is None or machine not in year.machines:
        return
    for place, expected in _expected_counts(counts, year).items():
        if counts[place] != expected:
            message = f"{' '.join(place)}: {counts[place]} clips instead of {expected}: fetch the archive again"
            yield Finding("error", machine, message)


def _expected_counts(counts: Mapping[Place, int], year: Year) -> dict[Place, int]:
    """What a machine of that year should have, of the splits that are there at all."""
    splits = {split for split, _, _ in counts}
    expected: dict[Place, int] = {}
    if "train" in splits:
        expected["train", "source", "normal"] = SOURCE_TRAINING_CLIPS
        expected["train", "target", "normal"] = TARGET_TRAINING_CLIPS
        if year.supplemental_clips:
            expected["supplemental", "unknown", "unknown"] = year.supplemental_clips
    if counts.get(("test", "unknown", "unknown")):
        expected["test", "unknown", "unknown"] = 4 * TEST_CLIPS_PER_DOMAIN_AND_CONDITION
    elif "test" in splits:
        for domain in ("source", "target"):
            for condition in ("normal", "anomaly"):
                expected["test", domain, condition] = TEST_CLIPS_PER_DOMAIN_AND_CONDITION
    return expected


def _audio(machine: str, clips: Sequence[Clip], measured: Measured, year: Year | None) -> Iterator[Finding]:
    good: dict[Path, Measurement] = {}
    for clip in clips:
        result = measured[clip.path]
        if isinstance(result, BadAudioError):
            yield Finding("error", machine, str(result), (str(clip.path),))
        else:
            good[clip.path] = result
    yield from _unusual_format(machine, good, year)
    if told := mixed_levels(m.level_db for m in good.values() if not m.silent):
        yield Finding("warning", machine, told)
    for message, concerned in (
        ("silent: a silent training clip is left out", [path for path, m in good.items() if m.silent]),
        (
            f"clipped in more than {_MOST_CLIPPED:.1%} of the samples: record at a lower gain",
            [path for path, m in good.items() if m.clipped > _MOST_CLIPPED and not m.silent],
        ),
    ):
        if concerned:
            yield Finding("warning", machine, message, tuple(map(str, concerned)))


def _unusual_format(machine: str, good: Mapping[Path, Measurement], year: Year | None) -> Iterator[Finding]:
    """Clips that differ from what the year has or, where nothing is known, from most of the machine's own."""
    seconds = year.seconds.get(machine) if year is not None and year.seconds is not None else None
    rates = {path: m.sample_rate for path, m in good.items()}
    if told := mixed_rates(rates.values()):
        most = Counter(rates.values()).most_common(1)[0][0]
        yield Finding("warning", machine, told, tuple(str(path) for path, rate in rates.items() if rate != most))
    for label, values, usual in (
        ("sampled at {} Hz", {} if told else rates, SAMPLE_RATE),
        ("of {} channels", {path: m.channels for path, m in good.items()}, year.channels if year else None),
        ("of {} s", {path: round(m.seconds, 2) for path, m in good.items()}, seconds),
    ):
        if not values:
            continue
        reference = Counter(values.values()).most_common(1)[0][0] if usual is None else usual
        odd = [path for path, value in values.items() if abs(value - reference) > _SECONDS_TOLERANCE]
        if odd:
            counts = sorted(Counter(values[path] for path in odd).items())
            several = len(counts) > 1
            found = label.format(", ".join(f"{value:g}" + f" ({count})" * several for value, count in counts))
            message = f"{found}, where {reference:g} is usual: they are resampled, cropped or reduced to one channel"
            yield Finding("warning", machine, message, tuple(map(str, odd)))


def _duplicates(clips: Sequence[Clip], measured: Measured) -> Iterator[Finding]:
    """Clips of the same sound; between training and test they make the result meaningless."""
    groups: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        result = measured[clip.path]
        if isinstance(result, Measurement) and not result.silent:
            groups[result.digest].append(clip)
    for group in groups.values():
        if len(group) < 2:
            continue
        splits = {clip.split for clip in group}
        files = tuple(str(clip.path) for clip in group)
        if {"train", "test"} <= splits:
            yield Finding("error", group[0].machine, "the same sound in training and test: remove one of them", files)
        else:
            yield Finding("warning", group[0].machine, "the same sound more than once", files)


def _names(machine: str, clips: Sequence[Clip]) -> Iterator[Finding]:
    """The attribute table against the names, attributes that differ only in case."""
    folders = {clip.path.parent.parent for clip in clips if clip.path.parent.name == clip.split}
    for folder in sorted(folders):
        yield from _table_against_names(machine, folder, clips)
    spellings: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        spellings[clip.attribute.casefold()].add(clip.attribute)
    for variants in spellings.values():
        if len(variants) > 1:
            message = f"attributes that differ only in case: {', '.join(sorted(variants))}"
            yield Finding("warning", machine, message)


def _table_against_names(machine: str, folder: Path, clips: Sequence[Clip]) -> Iterator[Finding]:
    path = folder / "attributes_00.csv"
    if not path.exists():
        return
    try:
        table = read_attribute_table(path)
    except UserError as error:
        yield Finding("error", machine, str(error), (str(path),))
        return
    named = {
        file_name(clip.path.stem): clip
        for clip in clips
        if clip.path.is_relative_to(folder) and clip.condition != "unknown"
    }
    labeled = {stem: clip for stem, clip in named.items() if clip.attribute and stem in table}
    other = [str(clip.path) for stem, clip in labeled.items() if table[stem] not in ("", clip.attribute)]
    if other:
        yield Finding("warning", machine, f"{path.name} tells other attributes than their names", tuple(other))
    # Evaluation test clips have anonymous names, which no row can be compared with.
    told = {split for stem in named if (split := _labeled_split(stem))}
    absent = [stem for stem in table if stem not in named and _labeled_split(stem) in told]
    if absent:
        yield Finding("error", machine, f"listed in {path.name}, not there: fetch the archive again", tuple(absent))


def _labeled_split(stem: str) -> str | None:
    name = parse_file_name(stem)
    return None if name is None or name.condition == "unknown" else name.split


def _summary(machine: str, clips: Sequence[Clip], measured: Measured) -> MachineSummary:
    good = [result for clip in clips if isinstance(result := measured[clip.path], Measurement)]
    loud = [result.level_db for result in good if not result.silent]
    return MachineSummary(
        machine,
        dict(sorted(Counter(_place(clip) for clip in clips).items())),
        _by_attribute(clips),
        tuple(sorted({round(result.seconds, 2) for result in good})),
        tuple(sorted({result.sample_rate for result in good})),
        tuple(sorted({result.channels for result in good})),
        sum(loud) / len(loud) if loud else None,
    )


def _by_attribute(clips: Sequence[Clip]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        counts[clip.attribute or "noAttribute"][f"{clip.split}/{clip.domain}"] += 1
    return {attribute: dict(sorted(counts[attribute].items())) for attribute in sorted(counts)}


_COLUMNS_MEAN = (
    "train, test: clips of source/target; blind: unlabelled test clips; extra: supplemental clips; attr.: attributes "
    "in training; s, Hz, ch, dB: length, sampling rate, channels and mean level"
)


def print_report(report: Report, console: Console) -> None:
    """A table (train and test as source/target, blind is unlabelled, extra is supplemental), then the findings."""
    title = f"{report.root} ({f'DCASE {report.year}' if report.year else 'year unknown'})"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("machine", "train", "test", "blind", "extra", "attr.", "s", "Hz", "ch", "dB"):
        table.add_column(heading, justify="left" if heading == "machine" else "right", no_wrap=True)
    for summary in report.machines:
        table.add_row(*_cells(summary))
    console.print(table)
    console.print(_COLUMNS_MEAN, highlight=False)
    for machine, message in report.understood.items():
        console.print(f"{machine}: {message}", markup=False, highlight=False, soft_wrap=True)
    for finding in report.findings:
        names = ", ".join(Path(name).name for name in finding.files[:_NAMES_SHOWN])
        more = f" and {len(finding.files) - _NAMES_SHOWN} more" if len(finding.files) > _NAMES_SHOWN else ""
        count = f" [{len(finding.files)}: {names}{more}]" if finding.files else ""
        # Not wrapped, so that commands and paths in it can be copied.
        text = f"{finding.level}: {finding.machine}: {finding.message}{count}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if report.year is None:
        console.print("year unknown: counts were compared with nothing (give --year)", highlight=False)


def _cells(summary: MachineSummary) -> list[str]:
    def total(split: str, domain: str) -> int:
        return sum(count for place, count in summary.clips.items() if place[:2] == (split, domain))

    def numbers(values: Sequence[int] | Sequence[float]) -> str:
        return ", ".join(f"{value:g}" for value in values[:_NAMES_SHOWN]) + (
            ", ..." if len(values) > _NAMES_SHOWN else ""
        )

    return [
        summary.machine,
        f"{total('train', 'source')}/{total('train', 'target')}",
        f"{total('test', 'source')}/{total('test', 'target')}",
        str(total("test", "unknown")),
        str(sum(count for place, count in summary.clips.items() if place[0] == "supplemental")),
        str(sum(any(place.startswith("train/") for place in places) for places in summary.attributes.values())),
        numbers(summary.seconds),
        numbers(summary.sample_rates),
        numbers(summary.channels),
        "" if summary.level_db is None else f"{summary.level_db:.1f}",
    ]
