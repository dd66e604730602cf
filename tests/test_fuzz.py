"""The first inputs of each target of ``make fuzz``, and that the harness finds what it is made for."""

import os

import pytest

from fuzz import recordings, run


@pytest.mark.parametrize("begin", range(0, 400, 100))
def test_mutated_recordings_are_read_or_refused(begin):
    for seed in range(begin, begin + 100):
        recordings.check(recordings.make(seed))


@pytest.mark.parametrize("name", [name for name in run.TARGETS if name != "recordings"])
def test_mutated_files_of_others_are_read_or_refused(name, unchecked):
    target = run.load(run.TARGETS[name])
    for number in range(
        20 if name in ("weights", "pickles", "safetensors", "run", "submission", "checkpoints", "detectors") else 200
    ):
        data = target.make(number)
        assert target.make(number) == data
        target.check(data)


def test_an_input_follows_from_its_number():
    assert all(recordings.make(seed) == recordings.make(seed) for seed in range(20))


def make(seed):
    return seed.to_bytes(2, "little")


def check(data):
    number = int.from_bytes(data, "little")
    if number == 2:
        raise ValueError("not a refusal")
    if number == 5:
        os.abort()
    if number == 7:
        bytearray(3 << 30)
    if number == 9:
        while True:
            pass


@pytest.mark.skipif(os.name != "posix", reason="limits of a process are POSIX")
def test_the_harness_finds_exceptions_crashes_hangs_and_lack_of_memory(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr("sys.argv", ["run", "itself", "--count", "12", "--seconds", "1"])
    monkeypatch.setattr(run, "FINDINGS", tmp_path)
    monkeypatch.setitem(run.TARGETS, "itself", __name__)
    assert run.main() == 1
    told = capfd.readouterr().out
    for number, what in ((2, "no refusal"), (5, "SIGABRT"), (7, "no refusal"), (9, "more than 1 s")):
        assert f"itself {number}: " in told
        assert what in told.split(f"itself {number}: ")[1].splitlines()[0]
        assert (tmp_path / f"itself-{number}").read_bytes() == make(number)
    assert "12 inputs, 4 findings" in told
