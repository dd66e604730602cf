"""What decides which runs the study has, that none is lost or done twice, and what its page says."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def many_jobs(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import many_jobs

    return many_jobs


@pytest.fixture
def recipes(many_jobs):
    import recipes

    return recipes


def test_jobs_are_done_once_so_many_at_a_time_and_a_failure_stops_no_other(many_jobs):
    lock, now, most, done = threading.Lock(), [], [], []
    together = threading.Barrier(3)

    def work(job):
        with lock:
            now.append(job)
            most.append(len(now))
        if job < 3:
            together.wait(60)
        with lock:
            now.remove(job)
            done.append(job)
        if job == 4:
            raise ValueError("that one")
        return 10 * job

    with ThreadPoolExecutor(8) as executor:
        ended = dict(many_jobs.as_they_end(executor, 3, work, range(9)))
    assert sorted(done) == sorted(ended) == list(range(9))
    assert max(most) == 3
    assert str(ended.pop(4).exception()) == "that one"
    assert {job: future.result() for job, future in ended.items()} == {job: 10 * job for job in ended}


def test_after_the_time_none_is_begun_and_what_runs_is_waited_for(many_jobs, monkeypatch):
    clock = iter([0.0, 0.0, 59.0, 60.0, 61.0])
    monkeypatch.setattr(many_jobs.time, "monotonic", lambda: next(clock))
    with ThreadPoolExecutor(1) as executor:
        ended = [job for job, _ in many_jobs.as_they_end(executor, 1, str, "abcdef", minutes=1.0)]
    assert ended == ["a", "b"]


def test_a_process_has_its_share_of_the_processors_and_says_it_to_the_log(many_jobs, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(many_jobs.os, "cpu_count", lambda: 16)
    with many_jobs.processes(5, tmp_path / "new" / "log") as executor:
        assert executor.submit(many_jobs.os.getenv, "OMP_NUM_THREADS").result() == "3"
        executor.submit(print, "said", flush=True).result()
    assert (tmp_path / "new" / "log").read_text() == "said\n"


def test_every_system_on_both_data_sets_a_seed_after_the_other(recipes):
    order = recipes.jobs([recipes.PRESET, recipes.REAL], range(3))
    assert len(order) == len(set(order)) == 54
    assert {(job.data, job.system) for job in order[:18]} == {
        (data, system) for data in ("sessions_far", "machines") for system in recipes.SYSTEMS
    }
    assert all(one.seed <= other.seed for one, other in pairwise(order))
    assert order[0].system == "system 4" or order[0].system not in recipes.NOT_TRAINED
    assert {job.system for job in order[14:18]} == set(recipes.NOT_TRAINED), "the quick ones fill the gaps at the end"


def row(recipes, system, seed, back_end="knn", hmean=0.7, updates=9):
    return recipes.Result("machines", system, seed, updates, "CPU", back_end, "all", hmean, hmean - 0.1, hmean + 0.1)


def test_rows_are_kept_in_the_order_of_jobs_and_read_as_they_were(recipes, monkeypatch, tmp_path):
    monkeypatch.setattr(recipes, "CSV", tmp_path / "recipes.csv")
    order = recipes.jobs([recipes.REAL], range(2))
    rows = [row(recipes, job.system, job.seed, back_end) for job in order for back_end in ("knn", "residual")]
    not_asked_for = row(recipes, "mn04", 7)
    assert recipes.keep([*reversed(rows[::2]), not_asked_for, *rows[1::2]], order)[0] == not_asked_for
    assert [each[:3] for each in recipes.read_results()[1:]] == [each[:3] for each in rows]
    assert sorted(recipes.read_results()) == sorted([*rows, not_asked_for])


def test_the_page_has_the_answer_and_the_tables_and_keeps_what_is_written_by_hand(recipes):
    results = [row(recipes, "mn04", 0, "knn", 0.9, 0), row(recipes, "mn04", 0, "residual", 0.8, 0)]
    results += [row(recipes, "featex_fft", 0, "knn", 0.95), row(recipes, "system 1", 0, "knn", 0.6)]
    nan = float("nan")
    rows = [
        recipes.PairedDifference(*names, "all", "hmean", 1, difference, nan, nan, difference - 0.02, difference + 0.02)
        for *names, difference in (
            ("featex_fft, knn", "mn04, residual", 0.15),
            ("system 1, knn", "mn04, residual", -0.2),
            ("featex_fft, knn", "mn04, knn", 0.01),
            ("system 1, knn", "mn04, knn", -0.3),
        )
    ]
    text = f"# By hand\n\n{recipes.ANSWER}\nold\n{recipes.HOW}\n\nas ever\n\n{recipes.MEASURED}\nold tables\n"
    page = recipes.page(text, results, {"machines": rows})
    assert "old" not in page
    before, answer = page.split(recipes.ANSWER)
    answer, tables = answer.split(recipes.MEASURED)
    assert (before, answer.split(recipes.HOW)[1]) == ("# By hand\n\n", "\n\nas ever\n\n")
    assert answer.split(recipes.HOW)[0].splitlines()[2:4] == [
        "- On the real machines, against mn04, residual, of 2 ways to train and to score: clearly better 1 "
        "(featex_fft, knn); within noise 0; clearly worse 1.",
        "- On the real machines, against mn04, knn, of 2 ways to train and to score: clearly better 0; within noise 1 "
        "(featex_fft, knn); clearly worse 1.",
    ]
    (told,) = (line for line in tables.splitlines() if line.startswith("| featex_fft"))
    assert [cell.strip() for cell in told.strip("|").split("|")] == [
        *("featex_fft", "knn", "9", "1", "95.0", "85.0 to 105.0"),
        *("+15.0 (+13.0 to +17.0), better", "+1.0 (-1.0 to +3.0)"),
    ]
    assert "Trained and embedded on: CPU (3 runs)." in tables
    assert recipes.page(page, results, {"machines": rows}) == page
