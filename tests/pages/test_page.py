"""The page as text: whole, self-contained, escaped, and true to the runs' own files."""

import errno
import json
import re
import shutil
import statistics
from html.parser import HTMLParser

import pytest
import yaml

from asd_lightning.comparison.over_seeds import paired_differences, resample_runs
from asd_lightning.comparison.systems import compare_runs
from asd_lightning.errors import UserError
from asd_lightning.evaluation.metrics import read_metrics
from asd_lightning.pages import template
from asd_lightning.pages.page import write_report
from tests.comparison.runs import finished_run, shifted
from tests.scoring.runs import make_run

HOSTILE = "<img src=x onerror=boom()>&\"'"
VOID = {"meta", "link", "img", "br", "input", "hr", "wbr"}


class Page(HTMLParser):
    """Tags with their attributes, the visible text, and whether every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self._open, self.unclosed = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.unclosed.append((tag, self.getpos()))

    def handle_data(self, data):
        self.words.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "a", folder / "data", name="first")
    make_run(folder / "b", folder / "data", name="second", seed=1)
    return folder


@pytest.fixture(scope="module")
def page(two_runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "report.html"
    text = write_report([two_runs / "a", two_runs / "b"], out, resamples=50).read_text()
    return Page(text)


def test_the_page_is_well_formed_and_loads_nothing(page):
    assert page.unclosed == []
    names = ("src", "href", "data", "poster")
    addresses = [attributes[name] for _, attributes in page.tags for name in names if name in attributes]
    assert addresses
    assert [address[:40] for address in addresses if not address.startswith(("data:", "#"))] == []
    assert {tag for tag, _ in page.tags} & {"iframe", "object", "embed", "form"} == set()
    styles = "".join(page.words)
    assert "@import" not in styles
    assert "url(" not in styles


def test_links_lead_somewhere(page):
    places = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {attributes["href"][1:] for attributes in page.of("a")} <= places


def test_pictures_charts_and_players_say_what_they_are(page):
    assert all(attributes["alt"] for attributes in page.of("img"))
    assert all(attributes["aria-label"] for attributes in page.of("svg"))
    assert all(attributes["aria-label"] for attributes in page.of("audio"))
    assert all(attributes["scope"] in ("col", "row") for attributes in page.of("th"))
    assert len(page.of("img")) > 4
    assert len(page.of("audio")) > 4


def test_nothing_plays_by_itself(page):
    for attributes in page.of("audio"):
        assert "autoplay" not in attributes
        assert attributes["preload"] == "none"


def test_the_numbers_are_those_of_the_runs(page, two_runs):
    text = "".join(page.words)
    for name in ("a", "b"):
        for row in read_metrics(two_runs / name / "results" / "metrics.csv"):
            assert f"{100 * row.hmean:.1f}" in text


def test_seeds_of_a_system_are_averaged(tmp_path, page):
    runs = [tmp_path / "a", tmp_path / "b"]
    for seed, run in enumerate(runs):
        make_run(run, tmp_path / "data", name="one", seed=seed)
    shown = Page(write_report(runs, tmp_path / "r.html", resamples=10).read_text())
    rows = [read_metrics(run / "results" / "metrics.csv") for run in runs]
    text = " ".join("".join(shown.words).split())
    for first, second in zip(*rows, strict=True):
        mean, deviation = (100 * f([first.hmean, second.hmean]) for f in (statistics.mean, statistics.stdev))
        assert deviation > 0
        assert f"{mean:.1f}± {deviation:.1f}" in text.replace(" ±", "±")
    # Each run is a system of its own: nothing to average.
    assert "Single runs" not in "".join(page.words)


def test_the_page_of_several_seeds_compares_systems(tmp_path):
    for name, shift in (("one", 0), ("two", 10)):
        for seed in (1, 2, 3):
            make_run(tmp_path / "runs" / f"{name}{seed}", tmp_path / "data", name=name, seed=seed + shift * 0)
    text = write_report([tmp_path / "runs"], tmp_path / "r.html", resamples=10).read_text()
    shown = Page(text)
    assert shown.unclosed == []
    assert "<h1>2 systems, 6 runs</h1>" in text
    # Two cards, one for each system, and curves of the first run of each.
    cards = [attributes for attributes in shown.of("article") if attributes["class"].startswith("card")]
    assert [card["class"] for card in cards] == ["card s0", "card s1"]
    assert set(re.findall(r'class="curve (s\d)', text)) == {"s0", "s1"}
    before, _, after = text.partition('<section id="scores">')
    assert "Differences over shared seeds" in before
    assert "Single runs: 6" in before
    assert "runs/one1" in before
    assert after.count("Of the first run of each system") == 2


def test_what_is_within_noise_and_what_a_choice_is_worth_is_told(tmp_path):
    """The words and numbers of ``asd compare``, for several seeds and for one."""
    for name, shift in (("best", 1.0), ("far", 0.0), ("near", 0.99)):
        for seed in (1, 2):
            shifted(tmp_path / "runs" / f"{name}{seed}", name, seed, shift)
    seeds = write_report([tmp_path / "runs"], tmp_path / "r.html", resamples=40).read_text()
    single = write_report([tmp_path / "runs" / f"{name}1" for name in ("best", "near")], tmp_path / "s.html", 40)
    for text in (seeds, single.read_text()):
        told = "".join(Page(text).words)
        assert "near against the highest official score, best: -" in told
        assert "Choosing for each machine by the scores on the others gives " in told
        assert re.search(r'id="choices">.*<th scope="row">all machines</th><td class="t">by machine', text, re.DOTALL)
    table = seeds.partition('aria-label="Differences over shared seeds"')[2].partition("</table>")[0]
    shown = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in table.split("<tr>")[2:]]
    assert [(row[0], row[1], row[6]) for row in shown] == [
        ("far", "best", "yes"),
        ("near", "best", "no"),
        ("near", "far", "yes"),
    ]
    systems = compare_runs([tmp_path / "runs"]).systems
    rows = paired_differences(systems, resample_runs(systems, resamples=40))
    ends = [(row.low, row.high) for row in rows if (row.machine, row.metric) == ("all", "hmean")]
    assert [row[5] for row in shown] == [f"{100 * low:+.1f} to {100 * high:+.1f}" for low, high in ends]


def test_results_by_attribute_are_listed(page, two_runs):
    text = "".join(page.words)
    assert "By attribute" in text


def test_runs_of_a_sweep_are_found_and_failed_ones_named(two_runs, tmp_path):
    failed = two_runs / "c"
    (failed / ".hydra").mkdir(parents=True, exist_ok=True)
    text = write_report([two_runs], tmp_path / "r.html", resamples=10).read_text()
    assert "1 run without results left out" in text
    assert "no results/metrics.csv" in text


def test_without_a_finished_run_there_is_no_report(tmp_path):
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no finished run to report on .*no results/metrics\.csv"):
        write_report([tmp_path / "run"], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        (
            "scores.csv",
            lambda text: re.sub(r",[-0-9.e]+,([-0-9.e]+),([01])$", r",nan,\1,\2", text, flags=re.M),
            "is nan",
        ),
        ("scores.csv", lambda text: text.splitlines()[0] + "\n", "nothing to evaluate"),
        ("scores.csv", lambda text: text[: len(text) // 2], "are expected"),
        ("scores.csv", lambda text: "\ud8ff", "cannot be read as CSV"),
        ("metrics.csv", lambda text: "\ud8ff", "is not UTF-8 text"),
        ("summary.json", lambda text: text[:40], "not JSON"),
    ],
)
def test_a_damaged_run_is_named_and_the_others_are_shown(two_runs, tmp_path, file, content, reason):
    shutil.copytree(two_runs / "a", tmp_path / "damaged")
    path = tmp_path / "damaged" / "results" / file
    path.write_bytes(content(path.read_text()).encode(errors="surrogatepass"))
    text = "".join(
        Page(write_report([two_runs / "b", tmp_path / "damaged"], tmp_path / "r.html", 10).read_text()).words
    )
    assert "1 run without results left out" in text
    assert reason in text
    with pytest.raises(UserError, match=f"no finished run to report on .*{reason}"):
        write_report([tmp_path / "damaged"], tmp_path / "r2.html", 10)


def test_a_summary_of_another_version_is_no_obstacle(two_runs, tmp_path):
    shutil.copytree(two_runs / "a", tmp_path / "run")
    summary = {"name": "older", "updates": "many", "num_parameters": None, "seed": None, "new": {"deep": [1]}}
    (tmp_path / "run" / "results" / "summary.json").write_text(json.dumps(summary))
    page = Page(write_report([tmp_path / "run"], tmp_path / "r.html", resamples=10).read_text())
    assert page.unclosed == []
    assert "new.deep" in "".join(page.words)


def test_a_training_that_was_stopped_is_told(two_runs, tmp_path):
    run = shutil.copytree(two_runs / "a", tmp_path / "run")
    summary = run / "results/summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"updates": 30, "updates_planned": 100}))
    text = "".join(Page(write_report([run], tmp_path / "r.html", resamples=10).read_text()).words)
    assert "training not finished: 30 of 100 updates" in text
    assert "is of a training that was not finished: 30 of 100 updates." in text


def test_the_first_run_named_is_the_one_compared_with(two_runs, tmp_path):
    for runs in (["a", "b"], ["b", "a"]):
        text = write_report([two_runs / name for name in runs], tmp_path / "r.html", resamples=10).read_text()
        assert f"Differences to {'first' if runs[0] == 'a' else 'second'}" in text


def test_runs_on_other_clips_have_no_difference(two_runs, tmp_path):
    run = finished_run(tmp_path / "run")
    text = write_report([two_runs / "a", run], tmp_path / "r.html", resamples=10).read_text()
    assert "none: it was not tested on the same clips" in text
    assert "80 or 106 test clips" in text


def test_the_threshold_says_how_it_was_found(two_runs, tmp_path):
    shutil.copytree(two_runs / "a", tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    rule = {"_target_": "asd_lightning.scoring.thresholds.ConformalThreshold", "false_alarm_rate": 0.05}
    content = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(content | {"model": content["model"] | {"threshold": rule}}))
    text = write_report([tmp_path / "run"], tmp_path / "r.html", resamples=10).read_text()
    assert "Threshold: conformal, false alarm rate 0.05." in text


def test_many_settings_are_folded(two_runs, tmp_path):
    for number, is_open in ((2, True), (20, False)):
        for name in ("a", "b"):
            run = tmp_path / f"{name}{number}"
            shutil.copytree(two_runs / name, run)
            settings = {f"option_{index}": f"{name}{index}" for index in range(number)}
            (run / "config.yaml").write_text(yaml.safe_dump(settings))
        runs = [tmp_path / f"{name}{number}" for name in ("a", "b")]
        text = write_report(runs, tmp_path / "r.html", resamples=10).read_text()
        assert f"<details{' open' if is_open else ''}><summary>Settings that differ: {number}</summary>" in text


def test_names_cannot_speak_html(tmp_path):
    make_run(tmp_path / "run", tmp_path / "data", machines=(f"fan{HOSTILE}",), name=HOSTILE)
    (tmp_path / "run" / "config.yaml").write_text(f"seed: 0\nname: '{HOSTILE[:20]}</pre><script>boom()'\n")
    text = write_report([tmp_path / "run"], tmp_path / "r.html", resamples=10).read_text()
    assert HOSTILE in "".join(Page(text).words)  # shown, as text
    assert "<img src=x" not in text
    assert text.count("<script>") == 1
    assert not any("onerror" in attributes for _, attributes in Page(text).tags)
    assert all(attributes["src"].startswith("data:") for attributes in Page(text).of("img"))


def test_with_the_recordings_gone_the_report_is_made_and_says_so(tmp_path):
    make_run(tmp_path / "run", tmp_path / "data")
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    page = Page(write_report([tmp_path / "run"], tmp_path / "r.html", resamples=10).read_text())
    assert re.search(r"\d+ recordings could not be read", "".join(page.words))
    assert page.of("audio") == page.of("img") == []
    assert len(page.of("svg")) > 6


def test_a_run_without_embeddings_or_labels_is_reported(tmp_path):
    """Evaluation machines have no truth; older runs have no table of clips."""
    run = finished_run(tmp_path / "run", machines=("fan", "valve"))
    page = Page(write_report([run], tmp_path / "r.html", resamples=10).read_text())
    text = "".join(page.words)
    assert "No embedding map and no sound" in text
    assert "AutoTrash: the condition of its 5 clips is unknown" in text
    assert page.unclosed == []


def test_the_published_table_stands_beside_its_machines(tmp_path):
    run = finished_run(tmp_path / "run", machines=("fan", "valve", "ToyCar"))
    text = "".join(Page(write_report([run], tmp_path / "r.html", resamples=10).read_text()).words)
    assert "XJU 4 EAT-BEATs-FFT" in text
    assert "54.9" in text  # system 4, fan
    assert "is printed as 75.58 / 55.52 / 54.21 / 60.37" in text
    assert "synthetic" not in text


def test_synthetic_machines_are_not_compared_in_silence(tmp_path):
    make_run(tmp_path / "run", tmp_path / "data")
    (tmp_path / "data" / "synthetic.json").write_text("{}")
    summary = tmp_path / "run" / "results" / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"data": {"root": str(tmp_path / "data")}}))
    text = write_report([tmp_path / "run"], tmp_path / "r.html", resamples=10).read_text()
    assert "share no more than names" in text
    assert "XJU" not in text


def test_settings_that_differ_are_listed(page):
    assert "Settings that differ" in "".join(page.words)
    rows = [words for words in page.words if words == "seed"]
    assert rows


def test_a_folder_that_cannot_be_written_is_named(two_runs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="name another file with --output"):
        write_report([two_runs / "a"], tmp_path / "file" / "r.html", resamples=10)


def test_a_full_disk_is_told_in_words(tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(template, "render_page", lambda *_: "")
    monkeypatch.setattr(template, "write_atomically", full)
    with pytest.raises(UserError, match=r"x\.html: cannot be written \(No space left on device\); free space"):
        template.write_page(tmp_path / "x.html", "why.html", {})
