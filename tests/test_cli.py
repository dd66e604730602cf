"""The command itself: answers fast, knows its subcommands, says what is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from asd_lightning import cli
from asd_lightning.commands.test import places
from asd_lightning.configuration import CONF_DIR
from tests.comparison.runs import finished_run
from tests.forked import run_forked

HEAVY = ("torch", "pytorch_lightning", "sklearn", "matplotlib", "wandb", "hydra", "scipy")


def test_help_names_every_command_and_imports_nothing_heavy():
    script = (
        "import sys; from asd_lightning.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.strip().endswith("[]")
    assert all(command in printed for command in cli.COMMANDS)


@pytest.mark.parametrize("command", sorted(set(cli.COMMANDS) - cli.HYDRA_COMMANDS))
def test_every_command_has_help_without_heavy_imports(command):
    script = (
        "import sys; from asd_lightning.cli import main\n"
        f"try: main([{command!r}, '--help'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize(("command", "rarely"), [("score", True), ("test", False)])
def test_the_collector_of_garbage_rests_but_not_in_training(command, rarely):
    script = (
        "import atexit, gc, sys; usual = gc.get_threshold()\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0, gc.get_threshold() != usual))\n"
        f"from asd_lightning.cli import main; sys.argv = ['asd', {command!r}, '--help']; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.endswith(f"\n{rarely} {rarely}\n"), done.stderr


def test_a_terminal_that_lacks_a_character_shows_a_question_mark(tmp_path):
    run = finished_run(tmp_path / "run", machines=("泵", "fan"))
    command = [sys.executable, "-m", "asd_lightning.cli", "compare", str(run)]
    for encoding in ("latin-1", "ascii"):
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        done = subprocess.run(command, capture_output=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert b"fan" in done.stdout
        assert b"?" in done.stdout


def test_a_name_in_a_message_does_nothing_to_the_terminal(capsys, tmp_path):
    assert cli.main(["compare", str(tmp_path / "a\x1b[31mb")]) == 2
    assert capsys.readouterr().err == f"asd: {tmp_path}/a\\x1b[31mb: no such folder\n"


def test_a_users_error_is_one_line_and_status_2(capsys, tmp_path):
    assert cli.main(["test", f"run={tmp_path / 'nowhere'}"]) == 2
    assert capsys.readouterr().err == (
        f"asd: {tmp_path / 'nowhere'}: not the folder of a run, config.yaml is missing; give one of asd train\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["experiment=statistics", "data.root=my pump = Prüfstand"],
            "data.root=my pump = Prüfstand: no such folder; give the folder that holds the machines' recordings",
        ),
        (["-m", "experiment=statistics,fft", "data.root=nowhere"], "data.root=nowhere: no such folder"),
        (["data.root=DATA", "data.machines=[pmup]"], "no machine named pmup; found: "),
        (["data.root=DATA", "data.machines=fan"], "data.machines=fan: give a list, [fan]"),
        (["data.batchsize=8"], "data.batchsize: no such setting (did you mean data.batch_size?)"),
        (["model/scorr=knn"], "model/scorr: no such setting (did you mean model/scorer?)"),
        (
            ["experiment=sistem1"],
            "experiment=sistem1: no such choice (did you mean system1?); there are beats_frozen, eat_frozen,",
        ),
        (["seed=0,1"], "seed=0,1: several values; for a sweep over them add -m"),
        (["data.root=[a"], "data.root=[a: not readable as KEY=VALUE"),
        (["data.root=${x}"], "Interpolation key 'x' not found"),
        (["trainer.max_steps=1.5"], "trainer.max_steps=1.5: a whole number of at least 0 is needed"),
        (["data.batch_size=1"], "data.batch_size=1: a whole number of at least 2 is needed"),
        (["compile=1"], "compile=1: true or false is needed"),
        (["accumulate=0"], "accumulate=0: a whole number of at least 1 is needed"),
        (["name=../x"], "name=../x: the run's folder is runs/NAME"),
        (["name=/tmp/x"], "name=/tmp/x: the run's folder is runs/NAME"),
        (["name=a/b"], "name=a/b: the run's folder is runs/NAME"),
        (["data.root=DATA", "test=flase"], "test=flase: true or false is needed"),
        (["data.root=DATA", "model.loss.margin=0.4x"], "model.loss.margin=0.4x: a number is needed, as in"),
        (
            ["-m", "data.root=DATA", "experiment=fft,sytem1"],
            "experiment=sytem1: no such choice (did you mean system1?); there are",
        ),
        (
            ["-m", "data.root=DATA", "model/embedder/branches=[fft],[fft,beets]"],
            "model/embedder/branches=beets: no such choice (did you mean beats?)",
        ),
        (["-m", "data.root=DATA", "seed=0,-1"], "seed=-1: a whole number of at least 0 is needed"),
        (["-m", "data.root=DATA", "trainer.precision=32-true,bf17"], "trainer.precision=bf17: choose one of 32-true"),
        (["-m", "data.root=DATA", "model.optimizer.lr=1e-3,1e-3x"], "model.optimizer.lr=1e-3x: a number is needed"),
        (["data.root=DATA", "model.scorer.k=two"], "model.scorer.k=two: a whole number is needed, as in"),
        (["data.root=DATA", "model.score_after_head=maybe"], "model.score_after_head=maybe: true or false is needed"),
        (["data.root=DATA", "~model.scheduler"], "model.scheduler is missing, and a system needs one"),
        (["data.root=DATA", "experiment=fft", "logger=mlflow"], "logger=mlflow: the package mlflow is not installed"),
        (["data.root=DATA", "experiment=[fft]"], "experiment=[fft]: one choice is needed, as in experiment=fft; for a"),
        (["data.root=DATA", "experiment=[]"], "experiment=[]: one choice is needed, as in experiment=NAME"),
        (["data.root="], "data.root=: the folder that holds the machines' recordings is needed"),
        (["data.root=DATA", "data.truth="], "data.truth=: a list or folder, none, or null"),
        (["data.root=DATA", "data.recordings=' '"], "data.recordings= : a table, or null"),
        (["data.root=DATA", "model.decay_all=null"], "model.decay_all=null: true or false is needed"),
        (
            ["data.root=DATA", "trainer.use_distributed_sampler=true"],
            "trainer.use_distributed_sampler: the data module",
        ),
        *(
            (["data.root=DATA", f"trainer.gradient_clip_val={value}"], f"={value}: the largest length of the gradient")
            for value in ("-1", "0", "nan", "inf", "x", "true")
        ),
        *(
            (
                ["data.root=DATA", f"model.embedder.branches.fft={value}"],
                f"model.embedder.branches.fft={value}: a ",
            )
            for value in ("null", "3")
        ),
        *(
            (["data.root=DATA", f"{key}={value}"], f"{key}={value}: a whole number of at least 1 is needed")
            for key, value in [("callbacks.checkpoint.every_n_train_steps", value) for value in ("null", "0", "-5")]
        ),
        (["data.root=DATA", "name=null"], "name=null: the run's folder is runs/NAME"),
        (["data.root=DATA", "system=null"], "system=null: the system's name in comparisons is needed"),
        (["data.root=DATA", "data.cache_dir=null"], "data.cache_dir=null: a folder in which decoded clips are kept"),
        (["data.root=DATA", "data.recordings=[a]"], "data.recordings=['a']: a table, or null"),
        (["data.root=DATA", "data.machines=[]"], "data.machines=[]: give a list of names, or null for all machines"),
        (["~data.root"], "data.root=null: the folder that holds the machines' recordings is needed"),
        *(
            (["data.root=DATA", f"{group}=null"], f"{group}=null: a choice is needed, {group}=")
            for group in ("callbacks", "trainer", "model", "data", "encoders", "scale", "experiment", "model/scorer")
        ),
        (["data.root=DATA", "~callbacks"], "~callbacks: a choice is needed, callbacks=default; ~callbacks.NAME leaves"),
        (["data.root=DATA", "~seed"], "~seed: a run needs one; give seed=VALUE"),
        (["data.root=DATA", "~callbacks.results"], "callbacks.results is missing, and writes what a test finds"),
        *(
            (
                ["data.root=DATA", f"{key}={value}"],
                f"{key}={value}: a choice takes a slash, {key.replace('.', '/')}={value}",
            )
            for key, value in (
                *(("model.scorer", "knn"), ("model.threshold", "gamma"), ("model.loss", "arcface")),
                *(("model.optimizer", "adamw"), ("model.embedder.branches", "[fft]"), ("model.embedder", "default")),
            )
        ),
        (
            ["-m", "data.root=DATA", "model.scorer=knn,gmm"],
            "model.scorer=knn: a choice takes a slash, model/scorer=knn",
        ),
        (
            ["data.root=DATA", "model.embedder.branches.beats.pooling=mean"],
            "model.embedder.branches.beats.pooling=mean: a choice takes its group's name, "
            "model/embedder/pooling@model.embedder.branches.beats.pooling=mean",
        ),
        (["model/embedder/pooling=rdp"], "model/embedder/pooling: a choice of each branch; say which, model/embedder/"),
        (
            ["experiment=mn04", "model/embedder/pooling@model.embedder.branches.beats.pooling=rdp"],
            "model/embedder/pooling@model.embedder.branches.beats.pooling: the system has no such branch;",
        ),
        (
            ["data.root=DATA", "experiment=statistics", "model/embedder/branches=[fft]"],
            "model.embedder.branches.statistics: has settings (an experiment's, perhaps), and the system has no such",
        ),
        (
            ["experiment.x=1"],
            "experiment.x: experiment is a choice, experiment=beats_frozen|eat_frozen|featex_fft|fft|",
        ),
        (
            ["model.recording_score.bar=1"],
            "model.recording_score is a plain value, model.recording_score=max, and nothing is below it",
        ),
        (["data.root=DATA", "data.supplemental_snr_db=3"], "data.supplemental_snr_db=3: a value of another kind is"),
        (["data.root=DATA", "hydra.run.dir=null"], "hydra.run.dir=null: a value of another kind is needed"),
        *(
            (["data.root=DATA", f"trainer.precision={word}"], f"{word}: choose one of 32-true, bf16-mixed, 16-mixed\n")
            for word in ("16-true", "bf16-true", "64-true", "64", "transformer-engine", "abc", "null")
        ),
        (["data.root=DATA", "trainer.deterministic=abc"], "deterministic=abc: choose one of warn, true, false"),
        (
            ["data.root=DATA", "trainer.max_epochs=5"],
            "trainer.max_epochs: a run is one epoch; give its length in updates",
        ),
        (["data.root=DATA", "data.hold_out_seed=-1"], "data.hold_out_seed=-1: a whole number of at least 0"),
        (["data.root=DATA", "+logger.x=1"], "logger.x=1: logger.x._target_ is missing, so there is nothing to build"),
        (["data.root=DATA", "+callbacks.x.y=1"], "callbacks.x._target_ is missing, so there is nothing to build"),
        (["--mutlirun", "data.root=DATA"], "--mutlirun: no such option (did you mean --multirun?)"),
        (["--out=x", "data.root=DATA"], "--out=x: no such option"),
        (["data.root=DATA", "resume=true"], "resume=true: give the name= of the run to go on with"),
        (
            ["data.root=DATA", "hydra.run.dir=occupied/x"],
            "occupied: not a folder, so the run's folder",
        ),
    ],
)
def test_mistakes_are_told_at_once_and_leave_nothing(arguments, message, tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("occupied").touch()
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    monkeypatch.setattr("asd_lightning.experiment.train.main", lambda _: pytest.fail("the run was started"))
    assert cli.main(["train", *(text.replace("DATA", str(tiny_data)) for text in arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("asd: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out
    assert [path.name for path in tmp_path.iterdir()] == ["occupied"]


def test_a_folder_that_may_not_be_written_to(tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    monkeypatch.setattr("asd_lightning.experiment.arguments.os.access", lambda path, _: path != tmp_path)
    assert cli.main(["train", f"data.root={tiny_data}"]) == 2
    assert f"asd: {tmp_path}: not writable, so the run's folder runs/system1" in capsys.readouterr().err


def test_a_run_is_not_touched_by_another_of_its_name(tiny_data, tmp_path, monkeypatch, capsys):
    """Hydra writes the new run's settings over the old one's before the run itself can refuse."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    (tmp_path / "runs/a/checkpoints").mkdir(parents=True)
    (tmp_path / "runs/a/checkpoints/last.ckpt").write_bytes(b"weights of last week")
    assert cli.main(["train", f"data.root={tiny_data}", "name=a"]) == 2
    assert "runs/a: already holds a run; go on with resume=true" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "runs/a").iterdir()] == ["checkpoints"]


def test_a_sweep_is_not_touched_by_another_of_its_name(tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    (tmp_path / "runs/a/0_fft_seed0/checkpoints").mkdir(parents=True)
    (tmp_path / "runs/a/0_fft_seed0/checkpoints/last.ckpt").touch()
    assert cli.main(["train", "-m", f"data.root={tiny_data}", "name=a", "seed=0,1"]) == 2
    assert "runs/a: already holds a sweep; go on with resume=true" in capsys.readouterr().err
    (tmp_path / "runs/b/.hydra").mkdir(parents=True)
    assert cli.main(["train", "-m", f"data.root={tiny_data}", "name=b", "seed=0,1"]) == 2
    assert "runs/b: is the folder of a single run" in capsys.readouterr().err


def test_a_folder_of_other_things_is_not_taken_for_a_run(tiny_data, tmp_path, monkeypatch, capsys):
    """A run writes its config.yaml, and removes it where nothing came of the run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    (tmp_path / "config.yaml").write_text("mine")
    assert cli.main(["train", f"data.root={tiny_data}", "hydra.run.dir=."]) == 2
    assert "holds config.yaml and no run" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_standard_output_is_named(tmp_path):
    finished_run(tmp_path / "run")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "asd_lightning.cli", "compare", "run"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "asd: standard output: cannot be written (No space left on device); send it to a place with free space"
    )


@pytest.mark.parametrize(
    "command",
    [["score-sweep", "runs"], ["select", "runs", "runs/deep"], ["test", "runs"]],
    ids=lambda command: command[0],
)
def test_a_folder_of_runs_names_one_of_them(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/deep/one/.hydra").mkdir(parents=True)
    (tmp_path / "runs/deep/one/config.yaml").touch()
    assert cli.main(command) == 2
    told = "runs: not the folder of a run, config.yaml is missing; runs lie below it: give one, such as runs/deep/one"
    assert capsys.readouterr().err == f"asd: {told}\n"


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_dispatch", interrupted)
    assert cli.main(["train"]) == 130
    assert capsys.readouterr().err == "asd: interrupted\n"


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("train", ["--help"]),
        ("train", ["data.batchsize=8"]),
        ("train", ["data.root=nowhere"]),
        ("test", ["--help"]),
        ("test", ["run=nowhere"]),
    ],
)
def test_mistakes_and_help_wait_for_no_heavy_import(command, arguments, tmp_path):
    script = (
        "import sys; from asd_lightning.cli import main\n"
        f"main({[command, *arguments]})\n"
        f"print([name for name in {HEAVY} if name in sys.modules and name != 'hydra'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip().endswith("[]"), done.stderr
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if command == "train")


def test_help_of_train_names_every_choice(capsys):
    assert cli.main(["train", "--help"]) == 0
    words = capsys.readouterr().out.split()
    assert {path.stem for path in (CONF_DIR / "model/scorer").glob("*.yaml")} <= set(words)
    assert "model/scorer=" in words


def test_a_run_that_fails_at_its_start_leaves_no_folder(tiny_data, tmp_path):
    """Only the objects know that this back-end is impossible, and Hydra has made the folder by then."""
    options = ["experiment=statistics", "scale=demo", f"data.root={tiny_data}", "model/scorer=knn", "model.scorer.k=0"]
    done = run_forked(["train", *options], tmp_path)
    assert done.returncode == 2
    assert "asd: k=0: must be at least 1" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not list((tmp_path / "runs").iterdir())


def test_cfg_job_prints_the_configuration(tmp_path):
    command = [sys.executable, "-m", "asd_lightning.cli", "train", "scale=demo", "--cfg", "job", "experiment=system4"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert "asd_lightning.embedder.Embedder" in printed
    assert printed.index("eat:") < printed.index("fft:")
    assert not list(Path(tmp_path).iterdir())


def test_settings_of_a_sweep_are_not_shown(capsys):
    assert cli.main(["train", "-m", "experiment=fft,system1", "--cfg", "job"]) == 2
    assert "leave -m out" in capsys.readouterr().err


def test_a_reader_that_has_read_enough_is_no_error(tmp_path):
    read, write = os.pipe()
    os.close(read)
    (tmp_path / "notes.txt").touch()
    command = [sys.executable, "-m", "asd_lightning.cli", "submit", "--check", str(tmp_path)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_as_many_files_are_opened_as_the_system_allows(tmp_path):
    resource = pytest.importorskip("resource")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 512:
        pytest.skip("the system allows few")
    script = (
        "import resource, sys; r = resource.RLIMIT_NOFILE; hard = resource.getrlimit(r)[1];"
        "resource.setrlimit(r, (100, hard)); sys.argv = ['asd', 'data', 'check', 'nowhere'];"
        "from asd_lightning.cli import main; main(); print(resource.getrlimit(r)[0])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert int(done.stdout) >= 512, done.stderr


@pytest.mark.parametrize(
    ("arguments", "usage", "message"),
    [
        (["compare", "a", "--outptu", "x"], "asd compare ", "--outptu x (did you mean --output?)"),
        (["report", "--outp", "x", "y"], "asd report ", "--outp"),
        (["submit", "--labl", "x"], "asd submit ", "--labl (did you mean --label?)"),
        (["data", "stats", "x", "--ouptut", "y"], "asd data stats ", "--ouptut y (did you mean --output?)"),
    ],
)
def test_the_usage_is_that_of_the_command(arguments, usage, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    told = capsys.readouterr().err
    assert told.startswith(f"usage: {usage}")
    assert message in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/a", "--oput", "x"], "--oput: no such option (did you mean --output?)"),
        ([], "give the run to test: asd test runs/NAME"),
        (["runs/a", "runs/b"], "give the run to test"),
        (["runs/a", "-o"], "-o: the folder for the results is missing; -o DIR"),
        (["runs/a", "--output="], "--output: the folder for the results is missing; --output DIR"),
        (["runs/a", "-o", "-o", "b"], "-o: the folder for the results is missing"),
        (["runs/a", "-o", "b", "-o", "c"], "-o c: a second folder for the results, after b; give one"),
        (["model/scorer=knn"], "give the run to test"),
    ],
)
def test_mistakes_in_asd_test(arguments, message, capsys):
    assert cli.main(["test", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs/a", "-o", "b", "seed=1"],
        ["seed=1", "runs/a", "--output=b"],
        ["run=runs/a", "seed=1", "out=b"],
        ["--out", "b", "runs/a", "seed=1"],
    ],
)
def test_the_run_and_the_output_in_every_way(arguments):
    assert places(arguments) == (Path("runs/a"), Path("b"), ["seed=1"])


@pytest.mark.parametrize("option", ["-o", "--output", "--out"])
def test_one_word_for_outputs(option):
    for command, words in (
        ("compare", ["a"]),
        ("report", ["a"]),
        ("submit", ["a"]),
        ("synth", []),
        ("score-sweep", ["a"]),
    ):
        parsed = cli.build_parser(command).parse_args([command, *words, option, "x"])
        assert parsed.output == Path("x")
        assert "--out " not in cli.build_parser(command).format_help()


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "RUN"],
        ["report", "RUN", "-o", "page.html"],
        ["submit", "--check", "."],
        ["train", "experiment=fft", "data.root=nowhere", "--cfg", "job"],
        ["train", "--info", "defaults"],
    ],
    ids=lambda words: words[0] + words[-1],
)
def test_what_trains_nothing_imports_neither_torch_nor_lightning(arguments, tmp_path):
    run = finished_run(tmp_path / "run", machines=("fan",))
    script = (
        "import sys; from asd_lightning.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'pytorch_lightning', 'imblearn') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, *(word.replace("RUN", str(run)) for word in arguments)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["enrol", "score-sweep"])
def test_help_of_what_opens_runs_tells_how_parts_of_ones_own_are_allowed(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    told = capsys.readouterr().out
    assert "--trust PACKAGE" in told
    assert "--config-dir DIR" in told
