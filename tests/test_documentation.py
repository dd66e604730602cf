"""Every command that the documentation shows is one the package understands."""

import argparse
import ast
import itertools
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from asd_lightning import cli
from asd_lightning.commands.test import places
from asd_lightning.configuration import CONF_DIR
from tests.detector.sounds import hum, whine, write, write_normal
from tests.forked import run_forked
from tests.walk import blocks

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_OVERRIDES = re.compile(r"^(run=|out=|-m$|--multirun$|--cfg$|job$|--help$|hydra$|--package$|hydra\.launcher$)")
# Made-up names that stand for the reader's own.
PLACEHOLDER = re.compile(r"^\[?[^=]*\]$|^\[[^=]*$|^\.\.\.$")


def commands(text):
    """(command, arguments) of each ``asd ...`` in code blocks and code spans."""
    fenced = [found[2] for found in re.finditer(r"^( *)```\w*\n(.*?)^\1```", text, re.M | re.S)]
    lines = "\n".join(fenced).replace("\\\n", " ").splitlines() + re.findall(r"`(asd [^`]+)`", text)
    for line in lines:
        for found in re.findall(r"(?:\basd|\$\(which asd\)) +([a-z].*?)(?=&&|&$|$|  +#)", line.split("  #")[0].strip()):
            command, *arguments = shlex.split(found, comments=True)
            yield command, [argument for argument in arguments if not PLACEHOLDER.search(argument)]


def documented():
    # Those with parts of one's own need these parts: they are run as they stand, in tests/test_tutorials.py.
    pages = [page for page in PAGES if not page.name.startswith("own-")] + [ROOT / "docs/own-machine.md"]
    found = {
        f"{page.name}: asd {shlex.join([command, *arguments])}": (command, arguments)
        for page in pages
        for command, arguments in commands(page.read_text(encoding="utf-8"))
        if "--config-dir" not in arguments
    }
    return [pytest.param(*each, id=name) for name, each in found.items()]


def one_value_each(overrides):
    """Each choice of a sweep as overrides of a single run."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    choices = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [one.input_line]
        for one in parsed
    ]
    return itertools.product(*choices)


def composes(overrides):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("train", overrides=list(overrides), return_hydra_config=True)


@pytest.mark.parametrize(("command", "arguments"), documented())
def test_commands(command, arguments, monkeypatch):
    assert command in cli.COMMANDS
    monkeypatch.setenv("ASD_TRUST", "")
    arguments = cli.take_what_is_vouched_for(arguments)
    if command not in cli.HYDRA_COMMANDS:
        # Without arguments it is a mention, not a call.
        assert not arguments or isinstance(
            cli.build_parser(command).parse_args([command, *arguments]), argparse.Namespace
        )
        return
    if command == "test" and arguments:
        _, _, arguments = places(arguments)
    overrides = [argument for argument in arguments if not NOT_OVERRIDES.match(argument)]
    for run in one_value_each(overrides):
        composes(run)


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_the_lines_of_several_processes_are_among_them(launcher):
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    line = next(line for line in text.splitlines() if line.startswith(f"{launcher} "))
    ((command, arguments),) = commands(f"```bash\n{line}\n```")
    # As the package understands them: every process of every computer, each with one device.
    configuration = composes([argument for argument in arguments if not NOT_OVERRIDES.match(argument)])
    processes = int(re.search(r"--(?:nproc-per-node|ntasks-per-node)=(\d+)", line)[1])
    computers = int(re.search(r"--(?:nnodes|nodes)=(\d+)", line)[1])
    assert command == "train"
    assert (configuration.trainer.devices, configuration.trainer.num_nodes) == (processes, computers)


def switches():
    """The overrides in the last column of the tables of docs/paper.md, each of their values."""
    rows = [line for line in (ROOT / "docs/paper.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    for cell in (re.split(r"(?<!\\)\|", row)[-2] for row in rows):
        for span in re.findall(r"`([^`]+=[^`]*|~[^`]+)`", cell):
            key, equals, values = span.partition("=")
            for value in values.split("\\|"):
                yield f"{key}{equals}{value.strip()}"


@pytest.mark.parametrize("switch", sorted(set(switches())))
def test_switches(switch):
    # No value: the documentation says only that there is such a key.  A group needs some choice.
    if "/" in switch.partition("=")[0] and switch.endswith("="):
        assert (CONF_DIR / switch.removesuffix("=")).is_dir()
    else:
        composes([switch])


def options_of(parser, called=()):
    """(words of the command, spellings) of every option that --help shows."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from options_of(below, (*called, word))
        elif action.option_strings and action.dest != "help" and action.help != argparse.SUPPRESS:
            yield " ".join(called), tuple(action.option_strings)


def all_options():
    for command in cli.COMMANDS:
        # Those of Hydra are settings, which docs/paper.md and the presets have.
        if command not in cli.HYDRA_COMMANDS:
            yield from (one for one in options_of(cli.build_parser(command)) if one[0].startswith(command))


def says(text, option):
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text)


def test_every_option_is_told_on_a_page_that_shows_its_command():
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    shown = {called: [text for text in texts if says(text, f"asd {called}")] for called, _ in all_options()}
    assert len(shown) > 20
    missing = [
        f"asd {called}: {spellings[-1]}"
        for called, spellings in all_options()
        if not any(says(text, option) for text in shown[called] for option in spellings)
    ]
    assert missing == []


def test_options_that_pages_name_alone_exist():
    """Those in commands are parsed above; other programs' are named on two pages."""
    known = {"--trust", "--config-dir", *(option for _, spellings in all_options() for option in spellings)}
    named = {
        f"{page.name}: {option}"
        for page in PAGES
        if page.name not in ("peers.md", "slurm.md")
        for option in re.findall(r"(?<!`)`(--[a-z][\w-]*)[^`]*`", page.read_text(encoding="utf-8"))
        if option not in known
    }
    assert named == set()


def test_a_command_that_does_not_exist_would_be_found():
    text = "```bash\nasd trian data.root=x   # a comment\n```\nand `asd train data.rot=x`"
    assert list(commands(text)) == [("trian", ["data.root=x"]), ("train", ["data.rot=x"])]


def test_the_readmes_way_to_an_alarm_is_walked_as_it_stands(tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## From a folder of normal sound to an alarm")[1].split("\n## ")[0]
    lines = [shlex.split(line, comments=True)[1:] for line in section.splitlines() if line.startswith("asd ")]
    monkeypatch.chdir(tmp_path)
    write_normal(Path("pump/normal"), 10)
    write(Path("today.wav"), whine(50))
    write_normal(Path("today"), 1, first=412)
    Path("today/clip_412.wav").rename("today/0412.wav")
    statuses = {}
    for line in lines:
        # Neither a microphone nor a broker is here: the same over the folder, as fast as it goes.
        place = line.index("--input") if "--input" in line else None
        arguments = line if place is None else [*line[: place + 1], "today/", "--once"]
        statuses[line[0]] = cli.main(arguments)
    assert list(statuses) == ["enrol", "score", "explain", "accept", "watch", "info"]
    told = capsys.readouterr()
    assert "alarm" in told.out
    assert (statuses["enrol"], statuses["explain"], statuses["accept"], statuses["info"]) == (0, 1, 0, 0)
    assert Path("why.html").read_text().startswith("<!doctype html>")
    assert len(Path("log.csv").read_text().splitlines()) == 2


def test_the_readmes_picture_is_drawn_by_its_script(tmp_path):
    """With the same words in it; curves may differ in the last digits from one computer to the next."""
    # As Python starts a script: what lies beside it can be imported.
    folder = str(ROOT / "benchmarks")
    start = (
        f"import runpy, sys; sys.path.insert(0, {folder!r}); runpy.run_path('{folder}/timeline.py', None, '__main__')"
    )
    done = run_forked(["--output", tmp_path / "timeline.svg"], tmp_path, code=start)
    assert done.returncode == 0, done.stderr
    kept, made = (path.read_text() for path in (ROOT / "docs/timeline.svg", tmp_path / "timeline.svg"))
    assert "(docs/timeline.svg)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(kept) < 60_000
    words = [set(re.findall(r"<!-- (.*?) -->", picture)) for picture in (kept, made)]
    assert words[0] == words[1]
    assert {"today.wav (pump): alarm", "warning", "alarm above"} <= words[0]


def walked(page):
    """The commands of a page but those that it says are not run, in the current folder: (command, exit status)."""
    followed = [one.text for one in blocks(f"docs/{page}") if one.language == "bash" and one.said is None]
    text = "".join(followed).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True)[1:] for line in text.splitlines() if line.startswith("asd ")]
    return [(line[0], cli.main(line)) for line in lines]


def test_the_tutorial_of_a_first_run_is_walked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    told = walked("first-run.md")
    # Tiny clips are fewer than a year's, and `data check` says so.
    assert [command for command, status in told if status] == []
    assert [command for command, _ in told] == [
        "synth",
        "data",
        "train",
        "test",
        "compare",
        "train",
        "compare",
        "report",
    ]
    assert "margin=0.2" in capsys.readouterr().out
    assert Path("first.html").read_text().startswith("<!doctype html>")
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/first-run.md").read_text(encoding="utf-8"), re.M | re.S
    )
    names = {}
    exec(block, names)
    assert len(names["scores"]) == 1


def test_the_tutorial_of_ones_own_machine_is_walked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_normal(Path("pump/normal"), 10)
    write_normal(Path("today"), 1, first=411)
    write(Path("today/0412.wav"), whine(50))
    for number in range(15):
        write(Path(f"fan/normal/2024-05-{13 + number // 3}_{number % 3 + 1:02}.wav"), hum(600 + number))
    (line,) = re.findall(r"^\(echo .*$", (ROOT / "docs/own-machine.md").read_text(encoding="utf-8"), re.M)
    subprocess.run(["bash", "-c", line], check=True)
    assert Path("fan/recordings.csv").read_text().splitlines()[:3] == [
        "file,recording", "2024-05-13_01.wav,2024-05-13", "2024-05-13_02.wav,2024-05-13"
    ]  # fmt: skip
    told = walked("own-machine.md")
    assert "fan: 15 clips of 5 independent recordings" in capsys.readouterr().out
    assert told == [
        ("enrol", 0),
        ("enrol", 0), ("score", 1), ("score", 1), ("explain", 1), ("accept", 0), ("undo", 0), ("watch", 0)
    ]  # fmt: skip
    assert Path("today.svg").exists()
    assert '"started"' in Path("events.jsonl").read_text()


def messages():
    """Every text of the package, with ``...`` where a value stands."""
    for path in (ROOT / "asd_lightning").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_messages_that_are_explained_are_given():
    text = (ROOT / "docs/faq.md").read_text(encoding="utf-8")
    spans = [span for line in re.findall(r"^### (`.*)$", text, re.M) for span in re.findall(r"`([^`]+)`", line)]
    spans = [span for span in spans if not span.startswith("CUDA")]
    given = list(messages())
    patterns = [".*".join(re.escape(part.strip()) for part in span.split("...")) for span in spans]
    assert len(patterns) >= 10
    assert [pattern for pattern in patterns if not any(re.search(pattern, message, re.S) for message in given)] == []


def test_every_experiment_has_a_row_that_says_what_is_published_for_it():
    text = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    section = text.split("## All experiments")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert sorted(row[0].strip("`") for row in rows) == sorted(path.stem for path in CONF_DIR.glob("experiment/*.yaml"))
    assert all(len(row) == 4 and all(row) for row in rows)
