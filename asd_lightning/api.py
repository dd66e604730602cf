"""What the commands do, as functions of the same names and arguments, for notebooks and programs.

Training and testing print their progress and table as the commands do; no global state of Hydra's is left behind, and
what is wrong is a `UserError`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from asd_lightning.atomic import file_path, refuse_unwritable
from asd_lightning.detector.actions import accept, calibrate, enrol, evaluate, info, undo
from asd_lightning.errors import UserError
from asd_lightning.run_folder import ResultSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asd_lightning.archive.scoring import ScoredArchive
    from asd_lightning.comparison.systems import Comparison
    from asd_lightning.detector.given import Recordings
    from asd_lightning.detector.judging import Judgment
    from asd_lightning.explanation.explanation import Explanation
    from asd_lightning.exporting.export import Export
    from asd_lightning.reproduction.reproduction import Reproduction
    from asd_lightning.scoring.fusion import Method
    from asd_lightning.selection.choice import Selection
    from asd_lightning.selection.normals import Score
    from asd_lightning.submission.writer import Written


__all__ = [
    "accept",
    "calibrate",
    "compare",
    "enrol",
    "evaluate",
    "explain",
    "export",
    "fuse",
    "info",
    "report",
    "reproduce",
    "score",
    "serve",
    "submit",
    "test",
    "train",
    "undo",
]


@overload
def score(
    detector: Path | str, recordings: Recordings, machine: str | None = None, batch_size: int = 32
) -> list[Judgment]: ...


@overload
def score(
    detector: Path | str,
    recordings: Recordings,
    machine: str | None = None,
    batch_size: int = 32,
    *,
    engine: Literal["ray"],
    output: Path | str,
    shard: int = 256,
) -> ScoredArchive: ...


def score(
    detector: Path | str,
    recordings: Recordings,
    machine: str | None = None,
    batch_size: int = 32,
    *,
    engine: Literal["ray"] | None = None,
    output: Path | str | None = None,
    shard: int = 256,
) -> list[Judgment] | ScoredArchive:
    """Judge recordings, as ``asd score`` does.

    Args:
        detector: its file.
        recordings: a file, a folder, several files, or waveforms in [-1, 1] at the detector's rate; with an engine
            files, folders and patterns (``archive/**``).
        machine: whose; by default the only one, or the one whose name is that of a folder above the recording.
        batch_size: windows at a time.
        engine: ``ray`` for the nodes of a cluster.
        output: with an engine, the folder of the Parquet shards.
        shard: with an engine, recordings of a shard.

    Returns:
        A judgment for each recording; with an engine what the shards hold, which `asd_lightning.archive.shards` reads.

    Raises:
        UserError: not a detector, no recordings, an unknown machine, or what `score_archive` raises.
    """
    from asd_lightning.detector import actions

    if engine is None:
        if output is not None:
            raise UserError(f"output={output}: is of archives; give engine='ray' too")
        return actions.score(detector, recordings, machine, batch_size)
    from asd_lightning.archive.scoring import score_archive

    if engine != "ray" or output is None:
        raise UserError(f"engine={engine}: there is ray, and it needs output=, a folder of shards")
    words = [recordings] if isinstance(recordings, Path | str) else list(recordings)
    if not all(isinstance(word, Path | str) for word in words):
        raise UserError("engine=ray: takes files, folders and patterns; waveforms are judged without it")
    return score_archive(detector, words, output, machine=machine, shard=shard, batch_size=batch_size)


def train(*overrides: str) -> ResultSet:
    """Train a system and score its test clips, as ``asd train`` does: the same run from the same words.

    Args:
        overrides: ``KEY=VALUE``, as on the command line; of a sweep (``-m``) call this once for each run.

    Returns:
        The results of its test; the run's folder is ``results.run``.

    Raises:
        UserError: an override that does not fit, bad data, or a folder that holds a run already.

    Example:
        >>> import tempfile
        >>> from asd_lightning.synthetic import synthesize
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = synthesize(folder / "machines", "tiny")  # doctest: +ELLIPSIS
        tiny: synthesizing clips...
        >>> small = ["data.clip_seconds=1.0", f"data.cache_dir={folder}/cache", f"hydra.run.dir={folder}/run"]
        >>> results = train("experiment=statistics", f"data.root={folder}/machines", *small)  # doctest: +ELLIPSIS
        decoding...
        >>> 0 < results.read_summary()["official_score"] < 1
        True
    """
    from asd_lightning.experiment.single import train_once

    return train_once(*overrides)


def test(run: Path | str, *overrides: str, output: Path | str | None = None) -> ResultSet:  # noqa: PT028
    """Score a trained run's test clips again, as ``asd test`` does.

    Args:
        run: its folder.
        overrides: ``KEY=VALUE``, as on the command line.
        output: folder for the results; by default the next of ``results_2``, ``results_3``... in the run.

    Raises:
        UserError: not the folder of a run, an override that does not fit, or a filled ``output``.
    """
    from asd_lightning.configuration import hydra_as_before
    from asd_lightning.experiment.retest import retest
    from asd_lightning.experiment.text_options import as_hydra_reads

    with hydra_as_before():
        return retest(Path(run), as_hydra_reads(overrides), _path(output))


def compare(*folders: Path | str, output: Path | str | None = None) -> Comparison:
    """One table from many runs, as ``asd compare`` makes it: runs that differ in nothing but the seed are averaged.

    Args:
        folders: runs, results of tests, or folders with runs anywhere below them.
        output: folder for ``comparison.csv``, ``.md`` and ``.png``; by default nothing is written.

    Raises:
        UserError: a folder is missing or holds no run, or ``output`` holds a comparison of others.
    """
    from asd_lightning.comparison.output import write_comparison
    from asd_lightning.comparison.systems import compare_runs

    places = [Path(folder) for folder in folders]
    comparison = compare_runs(places)
    if output is not None:
        write_comparison(comparison, places, Path(output))
    return comparison


def select(
    *runs: Path | str, output: Path | str | None = None, score: Score = "nearest", pooling: str = "run"
) -> Selection:
    """Which of several embeddings to take, from normal training clips alone, as ``asd select`` says it.

    Args:
        runs: each a candidate, an encoder, a layer or a pooling; the fixed default first.
        output: folder for ``selection.csv``, ``.md`` and ``.tex``; by default nothing is written.
        score: ``nearest`` or ``ldn``, see ``asd_lightning.selection.normals.Bank``.
        pooling: ``all``, or names separated by commas, of what tests have stored (``store_features=``); ``run`` is the
            embedding that the run scored.

    Raises:
        UserError: a single run, runs of other recordings, runs that differ in nothing but the back-end, or ``output``
            holds a selection of other choices.
    """
    from asd_lightning.experiment.selected import select_runs
    from asd_lightning.experiment.stored_features import chosen_sources
    from asd_lightning.selection.table import write_selection

    places, poolings = [Path(run) for run in runs], chosen_sources(pooling)
    selection = select_runs(places, score, poolings)
    if output is not None:
        write_selection(selection, Path(output), places, {"pooling": list(poolings), "score": score})
    return selection


def fuse(
    *runs: Path | str, output: Path | str, by: Method = "mean_z", weights: Sequence[float] | None = None
) -> list[ResultSet]:
    """Several runs of the same recordings as one result set, as ``asd fuse`` makes it.

    Args:
        runs: runs, results of tests, or folders with runs below them; where all systems have the same seeds, those of
            one seed are fused.
        output: a new folder for the results; of several seeds, for a folder of each.
        by: ``mean_z``, ``z_min`` or ``rank``, see ``asd_lightning.scoring.fusion.fuse_scores``.
        weights: a number above 0 for each system, in their order; by default all count alike.

    Returns:
        The results, one for each seed.

    Raises:
        UserError: fewer than two tests, tests of other recordings, one without valid embeddings or whose embeddings do
            not give its scores again, weights that do not fit, or a filled folder.
    """
    from asd_lightning.experiment.fused import fuse_runs

    numbers = None if weights is None else [float(weight) for weight in weights]
    return fuse_runs([Path(run) for run in runs], Path(output), by, numbers)


def report(*runs: Path | str, output: Path | str = "report.html") -> Path:
    """One self-contained HTML page about runs, as ``asd report`` writes it; returns its path.

    Args:
        runs: runs, results of tests, or folders with runs below them.
        output: file to write.

    Raises:
        UserError: no run, ``output`` is a file that is no page of this package, or cannot be written.
    """
    from asd_lightning.pages.page import write_report

    return write_report([Path(run) for run in runs], Path(output))


def reproduce(
    name: str,
    *changes: str,
    data: Path | str | None = None,
    output: Path | str | None = None,
    seeds: Sequence[int] | None = None,
    plan: bool = False,
    rehearse: bool = False,
    yes: bool = False,
) -> Reproduction:
    """Repeat a published result, as ``asd reproduce`` does: plan, downloads, every run, and one table at the end.

    Args:
        name: ``xju2025``, ``rdp2603``, ``beam_2026``, ``beam_w1_2026``, ``lora_2026`` or ``lora_w1_2026``.
        changes: ``KEY=VALUE``, settings that are not published.
        data: folder of the year's recordings, which are fetched into it; by default ``data/dcase<year>``.
        output: folder for runs and tables; by default ``runs/reproduce_<name>``.
        seeds: of each system.
        plan: print what it will take, and no more.
        rehearse: on synthetic machines with tiny encoders; the numbers mean nothing.
        yes: fetch some GB where there is no terminal, too.

    Returns:
        The plan, and the numbers side by side, as fractions.

    Raises:
        UserError: an unknown name, a setting that is not as published, no network, a folder of another reproduction, or
            what a run raises.

    Example:
        >>> planned = reproduce("rdp2603", output="elsewhere", plan=True)  # doctest: +ELLIPSIS
        rdp2603: arXiv 2603.04605...
        >>> planned.plan.seeds, planned.rows
        ((0,), ())
    """
    from asd_lightning.reproduction.reproduction import Reproduction, carried_out, planned

    made = planned(name, changes, _path(data), _path(output), seeds, rehearse)
    return Reproduction(made) if plan else carried_out(made, rehearse, yes)


def submit(run: Path | str, label: str, output: Path | str | None = None, info: Path | str | None = None) -> Written:
    """A challenge submission of a run or of one of its tests, as ``asd submit`` writes it.

    Args:
        run: a finished run, or ``RUN/results_2``.
        label: as in ``Huang_XJU_task2_1``.
        output: folder to write; by default ``task2/LABEL``.
        info: YAML with authors and description.

    Raises:
        UserError: a malformed label, no results, or a folder that holds something else.
    """
    from asd_lightning.submission.writer import write_submission

    # The folder of the organisers' package.
    return write_submission(Path(run), label, _path(output) or Path("task2") / label, _path(info))


def explain(
    detector: Path | str, recording: Path | str, output: Path | str | None = "why.html", machine: str | None = None
) -> Explanation:
    """Why a recording is judged as it is, as ``asd explain`` tells it.

    Args:
        detector: its file.
        recording: one recording.
        output: page to write; ``None`` writes none.
        machine: whose; by default the only one, or the one whose name is that of a folder above the recording.

    Raises:
        UserError: not a detector, no single recording, an unknown machine, or ``output`` is there and no page.

    Example:
        >>> import tempfile
        >>> import numpy as np, soundfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "normal").mkdir()
        >>> draw = np.random.default_rng(0)
        >>> for number in range(10):
        ...     soundfile.write(folder / f"normal/{number}.wav", draw.normal(scale=0.1, size=16_000), 16_000)
        >>> _ = enrol(folder / "normal", folder / "fan.asd", clip_seconds=1.0)
        >>> whine = np.sin(2 * np.pi * 3000 * np.arange(16_000) / 16_000)
        >>> soundfile.write(folder / "today.wav", draw.normal(scale=0.1, size=16_000) + 0.1 * whine, 16_000)
        >>> why = explain(folder / "fan.asd", folder / "today.wav", folder / "why.html")
        >>> band = why.marked_bands()[0]
        >>> why.judgment.decision, band.low < 3000 < band.high
        ('alarm', True)
    """
    from asd_lightning.data.folders import refuse_missing
    from asd_lightning.detector.detector import Detector
    from asd_lightning.explanation.explanation import explained
    from asd_lightning.explanation.page import write_explanation
    from asd_lightning.pages.template import refuse_other_file

    if not isinstance(recording, Path | str):
        raise UserError("explain: takes the path of a recording; write the waveform into a file first")
    refuse_missing([Path(recording)])
    if output is not None:
        refuse_other_file(Path(output))
        refuse_unwritable(Path(output))
    loaded = Detector.load(detector)
    found = explained(loaded, Path(recording), machine)
    if output is not None:
        write_explanation(found, loaded.machines_[found.judgment.machine], str(detector), Path(output))
    return found


def serve(  # noqa: PLR0913 - the options of the command
    detector: Path | str,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    token: str = "",
    journal: Path | str | None = None,
    max_megabytes: float = 100.0,
    max_seconds: float = 600.0,
    requests_a_minute: float = 300.0,
    read_only: bool = False,
    allow_host: Sequence[str] = (),
) -> None:
    """Judge recordings over HTTP, with a page for the browser, as ``asd serve`` does; returns when the process ends.

    Args:
        detector: its file; when it is written anew, the new one judges.
        host: address to listen at; one beyond this computer needs a token.
        port: 0 for any that is free.
        token: that requests must bear; "" asks for none.
        journal: of a running ``asd watch``; by default ``DETECTOR.journal``.
        max_megabytes: of one request, in 10^6 bytes.
        max_seconds: of sound in one request.
        requests_a_minute: of one client; 0 for any number.
        read_only: nothing is accepted into the detector.
        allow_host: names besides addresses and ``localhost`` that the server is called by.

    Raises:
        UserError: not a detector, an address that is not to be had or needs a token, a limit that is none, or FastAPI
            is not installed.

    Example:
        >>> serve("pump.asd", "0.0.0.0")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        asd_lightning.errors.UserError: --host 0.0.0.0: others could reach the detector; give a token too...
    """
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(f"asd serve needs {error.name}: pip install 'asd_lightning[serve]'") from error
    from asd_lightning.serving.server import run_server
    from asd_lightning.serving.settings import Settings

    run_server(
        Settings(
            Path(detector),
            host,
            port,
            token,
            _path(journal),
            max_megabytes,
            max_seconds,
            requests_a_minute,
            read_only,
            tuple(allow_host),
        )
    )


def export(
    detector: Path | str, output: Path | str, machine: str | None = None, window_seconds: float | None = None
) -> Export:
    """Write a detector as one ONNX file, as ``asd export`` does: windows of sound in, anomaly scores out.

    Args:
        detector: its file.
        output: file to write; an earlier export is replaced, nothing else.
        machine: whose; by default the only one.
        window_seconds: length of the windows; by default the detector's. For another there are no thresholds.

    Returns:
        Where it is, and how near its scores are to the detector's.

    Raises:
        UserError: packages of the extra ``export`` are missing, not a detector, an unknown machine, a precision or
            another part that cannot be exported, or scores that are not the detector's: nothing is written then.
    """
    from asd_lightning.exporting.export import export_detector

    return export_detector(Path(detector), file_path(output), machine, window_seconds)


def _path(place: Path | str | None) -> Path | None:
    return None if place is None else Path(place)
