"""Pages are followed line by line: their files written, their commands and their Python run; all others say why not."""

import json
import re

import pytest

from tests.detector.sounds import hum, whine, write, write_normal
from tests.experiment.wandb_files import offline_runs
from tests.live.broker import BROKER
from tests.ports import own_port
from tests.reference import REPOSITORY
from tests.submission.described import INFO
from tests.walk import Walk, blocks


@pytest.fixture
def walk(tmp_path, monkeypatch):
    """A reader in an empty folder; what goes on in the background at the end of the page is ended."""
    started = []

    def start(**how):
        started.append(Walk(tmp_path, monkeypatch, **how))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.mark.pages
def test_systems_1_to_4(walk, tmp_path):
    one = walk(more={"train": ["trainer.max_steps=2", "data.batch_size=4"]})
    one.page("docs/systems.md")
    folders = [f"{number}_system{number + 1}_seed0" for number in range(4)]
    assert all((tmp_path / "runs/systems" / name / "results/scores.csv").is_file() for name in folders)
    assert (tmp_path / "runs/systems_fused").is_dir()
    assert "knn_standardized" in one.told


@pytest.mark.pages
@pytest.mark.skipif(BROKER is None, reason="mosquitto is not installed")
def test_an_alarm_on_mqtt(walk, tmp_path):
    pytest.importorskip("paho.mqtt")
    with own_port() as port:
        one = walk(instead={"1883": str(port)}, programs={"mosquitto": BROKER})
        one.page("docs/alarm.md")
    (told,) = [block.text for block in blocks("docs/alarm.md") if block.language == "text"]
    assert [line.strip() for line in one.printed(2)] == ["listening", *told.splitlines()]


@pytest.mark.pages
def test_a_branch_of_ones_own(walk, tmp_path):
    one = walk(more={"train": ["data.num_workers=0"]})
    one.page("docs/own-branch.md")
    levels = json.loads((tmp_path / "runs/levels/results/summary.json").read_text())
    assert levels["name"] == "levels"
    assert (tmp_path / "runs/levels/results_2/scores.csv").is_file()
    assert (tmp_path / "runs/fft_levels/results/scores.csv").is_file()


@pytest.mark.pages
def test_a_back_end_of_ones_own(walk, tmp_path):
    one = walk()
    one.page("docs/own-back-end.md")
    assert (tmp_path / "runs/first/results_2/scores.csv").is_file()
    table = (tmp_path / "runs/first/score_sweep/scorers.csv").read_text()
    assert all(name in table for name in ("knn", "to_the_mean", "five"))


@pytest.mark.pages
def test_wandb_on_this_computer(walk, tmp_path):
    one = walk()
    one.page("docs/wandb.md")
    (shown,) = offline_runs(tmp_path / "runs/shown")
    assert shown.values("train/arcface")
    groups = {run.run.run_group for run in offline_runs(tmp_path / "runs/two_seeds")}
    assert groups == {"two_seeds"}


@pytest.mark.pages
@pytest.mark.slow
def test_slurm_as_far_as_it_goes_without_one(walk, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    one = walk()
    one.page("docs/slurm.md")
    for seed in (0, 1):
        assert (tmp_path / f"runs/rehearsal/{seed}_statistics_seed{seed}/results/scores.csv").is_file()
    assert list((tmp_path / "runs/rehearsal/.submitit").rglob("*_log.out"))
    assert "partition: gpu" in one.told


@pytest.mark.pages
@pytest.mark.slow
def test_entering_the_challenge(walk, tmp_path):
    for number in range(1, 5):
        own = INFO.replace("BEATs and spectrum", f"System {number}").replace("BEATs-FFT", f"System{number}")
        (tmp_path / f"me_{number}.yaml").write_text(own)
    one = walk(more={"train": ["trainer.max_steps=2", "data.batch_size=4", "accumulate=1"]})
    one.page("docs/challenge.md")
    assert "task2/Me_Lab_task2_4: valid" in one.told
    assert "the same as" not in one.told


# Trainings of one update with random weights, and clips as short as the recordings.
SHORT = {"train": ["encoders=tiny", "data.clip_seconds=1.0", "data.num_workers=0"]}
ONE_UPDATE = "trainer.max_steps=1 data.batch_size=4 accumulate=1"
# Those that take commands of the pages before them, or of a tutorial above.
QUICK = ("README.md", "docs/detector.md", "docs/watch.md", "docs/back-ends.md")
LONG = ("docs/encoders.md", "docs/finetuning.md", "docs/fusion.md", "docs/selection.md")
TUTORIALS = (
    *("first-run", "systems", "own-machine", "alarm", "own-branch", "own-back-end", "slurm", "wandb", "challenge"),
)


@pytest.fixture
def plant(tmp_path):
    """What the pages take for granted: a pump and a fan that are well, recordings of today, and a detector."""
    for root in ("", "machines/"):
        write_normal(tmp_path / root / "pump/normal", 20)
        for number in range(20):
            write(tmp_path / root / f"fan/normal/clip_{number:03}.wav", hum(300 + number, pitch=90.0))
    for folder, first in (
        ("today", 400),
        ("yesterday", 410),
        ("later", 420),
        ("archive", 440),
        ("labelled/normal", 450),
    ):
        write_normal(tmp_path / folder, 12, first=first)
    for number in range(3):
        write(tmp_path / f"labelled/anomaly/{number}.wav", whine(460 + number))
    write(tmp_path / "today/0412.wav", whine(470))
    for name in ("today", "night"):
        write(tmp_path / f"{name}.wav", hum(480))
    return tmp_path


@pytest.mark.pages
@pytest.mark.parametrize("page", [*QUICK, *(pytest.param(page, marks=pytest.mark.slow) for page in LONG)])
def test_pages(page, walk, plant):
    instead = {
        "experiment=mn04_fft": f"experiment=mn04_fft {ONE_UPDATE}",
        "experiment=statistics,fft": f"experiment=statistics,fft {ONE_UPDATE}",
    }
    one = walk(more=SHORT, instead=instead)
    if page == "docs/watch.md":
        one.line("asd enrol pump/normal -o pump.asd")
    elif page == "docs/encoders.md":
        one.line("asd train experiment=statistics data.root=pump name=pump")
    one.page(page, statuses={"asd score pump.asd today/": 1, "asd explain": 1})


def test_every_block_of_code_runs_or_says_why_not():
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    names = [page.relative_to(REPOSITORY).as_posix() for page in pages]
    followed = {*QUICK, *LONG, *(f"docs/{name}.md" for name in TUTORIALS)}
    assert followed <= set(names)
    code = [block for name in names for block in blocks(name) if block.language not in ("", "text")]
    silent = [f"{one.page}: {one.text.splitlines()[0]}" for one in code if not one.said and one.page not in followed]
    assert silent == []
    for test in {place for one in code for place in re.findall(r"run by (\S+)", one.said or "")}:
        path, _, function = test.partition("::")
        assert f"def {function}" in (REPOSITORY / path).read_text(encoding="utf-8"), test


def test_code_stands_between_fences():
    """Indented code would be passed over by what runs it."""
    for page in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]:
        text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        assert re.findall(r"\n\n {4,}(?:asd|python|pip|import|from) .*", text) == [], page.name
