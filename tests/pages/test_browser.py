"""The page in a real browser: silent, without errors, asking nobody for anything; its tables sort."""

import pytest

from asd_lightning.pages.page import write_report
from tests.pages.browser import CHROMIUM, Browser
from tests.scoring.runs import make_run

MACHINES = ("fan", "valve", "<i>x", "a_machine_name_without_any_place_to_break_it_" * 2)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "a", folder / "data", machines=MACHINES, name="a_run_with_quite_a_long_name" * 2)
    make_run(folder / "b", folder / "data", machines=MACHINES, name="second", seed=1)
    return write_report([folder / "a", folder / "b"], folder / "report.html", resamples=20)


@pytest.fixture(scope="module")
def browser(report, tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    browser.open(report)
    yield browser
    browser.close()


def column(browser, table, index):
    rows = f"[...document.querySelectorAll('#{table} tbody tr')]"
    return browser.evaluate(f"{rows}.map(r => r.cells[{index}].dataset.sort ?? r.cells[{index}].textContent.trim())")


def click(browser, table, index):
    browser.evaluate(f"document.querySelectorAll('#{table} thead button')[{index}].click()")
    return browser.evaluate(f"document.querySelectorAll('#{table} thead th')[{index}].getAttribute('aria-sort')")


def test_the_console_stays_empty_and_nothing_is_asked_of_the_network(browser, report):
    assert browser.reported("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded") == []
    requests = [request["request"]["url"] for request in browser.reported("Network.requestWillBeSent")]
    assert report.resolve().as_uri() in requests
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def test_errors_would_be_seen(report, tmp_path):
    """The same checks on a page that has everything wrong."""
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('x'); boom()</script><img src='http://127.0.0.1:9/x.png'>")
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(bad)
        assert browser.reported("Runtime.exceptionThrown")
        assert browser.reported("Runtime.consoleAPICalled")
        assert any(one["request"]["url"].startswith("http:") for one in browser.reported("Network.requestWillBeSent"))
    finally:
        browser.close()


def test_nothing_plays_until_asked_and_then_it_can(browser):
    players = "[...document.querySelectorAll('audio')]"
    assert browser.evaluate(f"{players}.length") > 5
    assert browser.evaluate(f"{players}.every(p => p.paused && !p.autoplay && p.currentTime === 0)")
    loaded = f"""new Promise((done, failed) => {{
        const player = {players}[0];
        player.onloadedmetadata = () => done(player.duration);
        player.onerror = () => done(player.error.message);
        player.preload = "metadata"; player.load();
    }})"""
    assert browser.evaluate(loaded) == pytest.approx(0.1, abs=0.01)


def test_tables_sort_by_number_and_by_name(browser):
    first = [float(value) for value in column(browser, "metrics", 2)]
    assert first != sorted(first, reverse=True)
    assert click(browser, "metrics", 2) == "descending"
    assert [float(value) for value in column(browser, "metrics", 2)] == sorted(first, reverse=True)
    assert click(browser, "metrics", 2) == "ascending"
    assert [float(value) for value in column(browser, "metrics", 2)] == sorted(first)
    assert click(browser, "metrics", 0) == "ascending"
    names = [name.lower() for name in column(browser, "metrics", 0)]
    assert names == sorted(names)
    assert browser.evaluate("document.querySelectorAll('#metrics [aria-sort]').length") == 1


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_the_page_is_never_wider_than_the_screen(browser, width):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 700)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_a_phone_shows_where_a_table_goes_on_and_breaks_no_word(browser):
    browser.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    box = "document.querySelector('#metrics').parentElement"
    assert browser.evaluate(f"{box}.scrollWidth > {box}.clientWidth")
    assert browser.evaluate(f"getComputedStyle({box}).backgroundAttachment") == "local, local, scroll, scroll"
    lines = """(() => {
        const range = document.createRange();
        range.selectNodeContents(document.querySelector("#metrics tr.overall th"));
        return new Set([...range.getClientRects()].map(one => one.top)).size;
    })()"""
    assert browser.evaluate(lines) == 2  # "all", "machines"


def test_on_a_phone_a_long_name_breaks_between_its_words(browser, tmp_path):
    name = "an_ablation_without_mixup_and_with_alongwordthatfillsaline"
    make_run(tmp_path / "a", tmp_path / "data", machines=("fan",), name=name)
    make_run(tmp_path / "b", tmp_path / "data", machines=("fan",), name="second", seed=1)
    browser.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    browser.open(write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "names.html", resamples=20))
    # How many lines each word between underscores takes.
    lines = """(() => {
        const heading = document.querySelector(".card h3");
        return [...heading.childNodes].filter(node => node.nodeType === Node.TEXT_NODE).map(node => {
            const range = document.createRange();
            range.selectNodeContents(node);
            return new Set([...range.getClientRects()].map(one => one.top)).size;
        });
    })()"""
    assert browser.evaluate('document.querySelector(".card h3").textContent') == name
    assert browser.evaluate(lines) == [1] * 7
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser, theme):
    """WCAG 2.2, level AA: a ratio of at least 4.5 for text, 3 for the marks of charts."""
    browser.call(
        "Emulation.setEmulatedMedia", media="screen", features=[{"name": "prefers-color-scheme", "value": theme}]
    )
    names = ["paper", "panel", "ink", "muted", "accent", *(f"s{number}" for number in range(8)), "ns", "as"]
    style = "getComputedStyle(document.documentElement).getPropertyValue"
    colors = {name: luminance(browser.evaluate(f"{style}('--{name}')")) for name in names}
    for ground in ("paper", "panel"):
        for name in names[2:]:
            least = 4.5 if name in ("ink", "muted", "accent") else 3.0
            assert contrast(colors[name], colors[ground]) >= least, (theme, name, ground)


def test_paper_gets_no_players_and_all_settings(browser):
    browser.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert browser.evaluate("getComputedStyle(document.querySelector('audio')).display") == "none"
    browser.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert browser.evaluate("[...document.querySelectorAll('details')].every(one => one.open)")
    printed = browser.call("Page.printToPDF", preferCSSPageSize=True)
    assert len(printed["data"]) > 20_000
    browser.call("Emulation.setEmulatedMedia", media="", features=[])


def luminance(color):
    """Relative luminance of #rrggbb."""
    channels = [int(color.strip()[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
