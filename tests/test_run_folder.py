"""Which results a place stands for."""

import threading

import pytest

from asd_lightning.errors import UserError
from asd_lightning.run_folder import claim_results, find_results, is_result_set, is_run, result_sets, results_of


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    for name in ("results", "results_2", "results_10", "results_of_may"):
        (folder / name).mkdir(parents=True)
        (folder / name / "summary.json").write_text("{}")
        (folder / name / "config.yaml").write_text("a: 1")
    (folder / "config.yaml").write_text("a: 0")
    return folder


def test_a_run_stands_for_its_first_test_and_each_test_for_itself(run):
    assert find_results(run) == results_of(run)
    assert find_results(run / "results_2").folder == run / "results_2"
    assert [results.folder.name for results in result_sets(run)] == ["results", "results_2", "results_10"]
    assert (is_run(run), is_result_set(run)) == (True, False)
    assert (is_run(run / "results_2"), is_result_set(run / "results_2")) == (False, True)


def test_a_folder_of_its_own_lies_in_no_run(run, tmp_path):
    own = (run / "results").rename(tmp_path / "today")
    assert find_results(own).run is None
    assert find_results(run / "results_2").run == run
    assert find_results(own).config_of_run == own / "config.yaml"


def test_what_is_neither_is_named(tmp_path):
    with pytest.raises(UserError, match="absent: no such folder; give the folder of a run"):
        find_results(tmp_path / "absent")
    with pytest.raises(UserError, match="neither a run nor the results of a test"):
        find_results(tmp_path)


def test_tests_at_once_have_a_folder_each(tmp_path):
    claimed = []
    start = threading.Barrier(8)

    def claim():
        start.wait()
        claimed.append(claim_results(tmp_path).folder.name)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(["results", *(f"results_{number}" for number in range(2, 9))])
