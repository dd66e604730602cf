"""The page of ``asd serve`` in a real browser, against the real server."""

from __future__ import annotations

import dataclasses
import json
import shutil
from itertools import groupby, pairwise

import numpy as np
import pytest
from matplotlib import colormaps

from asd_lightning.cli import main
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.judging import JUDGED
from asd_lightning.live.events import KINDS
from tests.detector.sounds import RATE, hum, whine, write
from tests.pages.browser import CHROMIUM, Browser
from tests.pages.test_browser import contrast, luminance
from tests.serving.paged import Page, serving, tell

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
TRAP = "<img src=x onerror=alert(1)>.wav"
WHINE_HZ = 3000
TOKEN = "let-me-in"


@pytest.fixture(scope="module")
def place(pump, tmp_path_factory):
    """A folder with the detector, recordings and a journal, all of them free to change."""
    root = tmp_path_factory.mktemp("served")
    shutil.copy(pump / "pump.asd", root / "pump.asd")
    write(root / "normal.wav", hum(500))
    write(root / "alarm.wav", whine(501))
    write(root / "silent.wav", np.zeros(RATE, np.float32))
    parts = [hum(502, 2), whine(503, 1), np.zeros(2 * RATE, np.float32), hum(504, 3)]
    write(root / "long.wav", np.concatenate(parts))
    (root / "broken.wav").write_bytes(b"no sound")
    tell(root, "started")
    return root


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def address(place):
    with serving(place / "pump.asd") as url:
        yield url


@pytest.fixture
def page(address, browser):
    """Open, as it was left by the test before."""
    page = Page(browser, address)
    if browser.evaluate("location.href") != address:
        page.open()
    return page


@pytest.fixture(scope="module")
def plant(place, browser):
    """Two machines, a token, nothing accepted and no journal."""
    detector = Detector.load(place / "pump.asd")
    detector.with_machine(dataclasses.replace(detector.machines_["pump"], name="fan"), detector.sounds_of("pump"))
    detector.save(place / "plant.asd")
    with serving(place / "plant.asd", token=TOKEN, read_only=True) as url:
        yield Page(browser, url)


def by_command(path, capsys, *options):
    main(["score", str(path.parent / "pump.asd"), str(path), "--json", *options])
    return json.loads(capsys.readouterr().out)[0]


@pytest.mark.parametrize("name", ["normal", "alarm", "silent"])
def test_the_verdict_is_that_of_the_command(page, place, capsys, name):
    expected = by_command(place / f"{name}.wav", capsys)
    page.judged(place / f"{name}.wav")
    assert page.text("decision").lower() == expected["decision"]
    told = page.text("sentence")
    assert expected["score"] is None or f"score is {expected['score']:.4g}" in told
    assert all(reason in told for reason in expected["health"])
    assert page.of("by('accepting').hidden") == (expected["score"] is None)
    assert page.of("by('over').hidden")


def test_a_name_is_text_and_never_markup(page, place):
    page.judged(place / "alarm.wav", name=TRAP)
    assert TRAP in page.text("judged")
    assert page.of("document.images.length") == 0
    page.drop(place / "broken.wav", name=TRAP)
    page.wait("!by('error').hidden")
    assert f"{TRAP}: not readable as audio" in page.text("error")
    assert page.of("by('card').hidden && by('result').hidden && document.images.length === 0")
    tell(place, "warning", state=TRAP, note=TRAP, file=TRAP)
    page.wait("by('events').firstElementChild.textContent.includes('Warning')")
    assert page.of("by('events').firstElementChild.textContent").count(TRAP) == 3
    assert page.of("document.images.length") == 0


@pytest.mark.parametrize(("name", "called"), [("fault_2.wav", True), ("0412.wav", False)])
def test_it_is_told_before_it_asks_that_a_name_calls_an_anomaly(page, place, name, called):
    page.judged(place / "alarm.wav", name=name)
    page.of("by('accept').click()")
    page.wait("by('confirm').open")
    assert page.text("confirm-text").startswith(
        "Its name calls it an anomaly. " * called + f"{name} becomes normal sound"
    )
    page.press("Escape")
    page.wait("!by('confirm').open")


def test_a_long_recording_is_shown_window_by_window(page, place, capsys):
    windows = by_command(place / "long.wav", capsys)["windows"]
    page.judged(place / "long.wav")
    assert page.of("document.querySelectorAll('#windows .chart > rect').length") == len(windows)
    heights = page.of("[...document.querySelectorAll('#windows .chart > .bar')].map((one) => one.height.baseVal.value)")
    scores = [one["score"] for one in windows if one["decision"] in JUDGED]
    assert np.argsort(heights).tolist() == np.argsort(scores).tolist()
    label = page.of("document.querySelector('#windows svg').getAttribute('aria-label')")
    for decision in {one["decision"] for one in windows}:
        assert f"{sum(one['decision'] == decision for one in windows)} {decision}" in label
    stretches = [
        (decision, [one["start"] for one in own])
        for decision, own in groupby(windows, key=lambda one: one["decision"])
        if decision != "normal"
    ]
    # The gravest first.
    stretches.sort(key=lambda one: ["alarm", "warning", "cannot judge"].index(one[0]))
    items = page.of("[...by('unlike').querySelectorAll('li')].map((one) => one.textContent)")
    assert len(items) == len(stretches) > 1
    for item, (decision, starts) in zip(items, stretches, strict=True):
        assert f"Hear from {starts[0]:g} sto {starts[-1] + 1:g} s: {decision.capitalize()}" in item


def test_the_recording_and_normal_sound_are_to_be_heard(page, place):
    page.judged(place / "long.wav")
    page.wait("by('own').duration > 0 && by('normal').duration > 0")
    assert page.of("by('own').duration") == pytest.approx(8.0, abs=0.01)
    assert page.of("by('normal').duration") == pytest.approx(1.0, abs=0.01)
    assert page.of("by('own').paused && by('normal').paused")
    page.of("by('unlike').querySelector('button').click()")
    assert page.of("by('own').currentTime") == pytest.approx(2.0, abs=0.2)
    assert page.text("nearest").startswith("clip_")


def test_the_picture_is_bright_where_the_sound_is(page, place):
    page.judged(place / "alarm.wav")
    pixels = page.of(
        """const canvas = document.querySelector("canvas"), {width, height} = canvas;
        const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
        const sumOf = (row) => data.slice(4 * row * width, 4 * (row + 1) * width).reduce((a, b) => a + b);
        [...Array(height).keys()].map(sumOf)"""
    )
    # From the top down, on the mel scale; the hum lies below.
    rows = len(pixels)
    mel = np.log1p(np.array([WHINE_HZ, RATE / 2]) / 700)
    brightest = rows - 1 - int(np.argmax(pixels[: rows // 2]))
    assert brightest / rows == pytest.approx(mel[0] / mel[1], abs=0.05)
    assert "2.9" in page.text("seen") or "3.0" in page.text("seen")


def test_events_come_while_the_page_is_open(page, place):
    before = page.of("by('events').childElementCount")
    tell(place, "alarm", score=12.5, threshold=8.0, state="fast", file="0412.wav")
    page.wait(f"by('events').childElementCount > {before}")
    newest = page.of("by('events').firstElementChild.textContent")
    for words in ("Alarm", "pump", "state fast", "input left", "score 12.5", "0412.wav"):
        assert words in newest
    assert page.of("by('events').querySelector('time').dateTime") == "2026-01-01T00:00:12.000Z"
    assert page.text("newest").startswith("Alarm: pump")
    page.open()
    page.wait(f"by('events').childElementCount === {before + 1}")
    assert page.of("by('events').firstElementChild.textContent") == newest
    assert page.text("newest") == ""


def test_everything_is_done_by_keyboard(page, place, capsys):
    """A file is chosen, its verdict read, the question asked, refused by Escape, and answered."""
    page.open()
    page.browser.call("Page.setInterceptFileChooserDialog", enabled=True)
    assert page.tab_to("file") == ["", "", ""]
    assert page.of("getComputedStyle(by('drop')).outlineStyle") == "solid"
    page.press("Enter")
    page.browser.until("Page.fileChooserOpened")
    chosen = page.browser.reported("Page.fileChooserOpened")[0]["backendNodeId"]
    page.browser.call("DOM.setFileInputFiles", files=[str(place / "alarm.wav")], backendNodeId=chosen)
    page.browser.call("Page.setInterceptFileChooserDialog", enabled=False)
    page.wait("!by('card').hidden")
    assert page.tab_to("accept")[:2] == ["file", "own"]
    page.press("Enter")
    assert page.of("by('confirm').open && document.activeElement.value") == "no"
    assert "asd undo pump.asd takes it back" in page.text("confirm")
    page.press("Escape")
    page.wait("!by('confirm').open && document.activeElement.id === 'accept'")
    page.press("Enter")
    page.press("Tab", shift=True)
    assert page.of("document.activeElement.value") == "yes"
    page.press("Enter")
    page.wait("!by('accepted').hidden")
    assert "asd undo pump.asd takes it back" in page.text("accepted")
    asked = [one["request"]["url"] for one in page.browser.reported("Network.requestWillBeSent")]
    assert sum("/api/v1/accept" in url for url in asked) == 1
    changes = Detector.load(place / "pump.asd").machines_["pump"].changes
    assert [one.recordings for one in changes[1:]] == [1]
    assert page.text("decision").lower() == by_command(place / "alarm.wav", capsys)["decision"]
    assert main(["undo", str(place / "pump.asd")]) == 0
    assert len(Detector.load(place / "pump.asd").machines_["pump"].changes) == 1


def test_what_is_no_single_recording_is_told(page, place):
    hidden = page.of("by('card').hidden")
    page.drop(place / "alarm.wav", place / "normal.wav")
    assert "One recording at a time" in page.text("error")
    page.drop()
    assert "no file" in page.text("error")
    assert page.of("by('card').hidden") == hidden


def test_a_token_is_asked_for_once_and_a_machine_too(plant, place, capsys):
    plant.browser.visit(plant.url)
    plant.wait("by('entry').open")
    plant.of("by('token').value = 'wrong'; by('entry').querySelector('[value=yes]').click()")
    plant.wait("by('entry-text').textContent.includes('does not take this token') && by('entry').open")
    plant.of(f"by('token').value = '{TOKEN}'; by('entry').querySelector('[value=yes]').click()")
    plant.wait("by('about').textContent.includes('2 machines')")
    plant.wait("by('connection').textContent.includes('no journal')")
    plant.drop(place / "alarm.wav")
    assert "Choose the machine" in plant.text("error")
    assert plant.of("document.activeElement.id") == "machine"
    plant.of("by('machine').value = 'fan'; by('machine').dispatchEvent(new Event('change'))")
    plant.wait("!by('card').hidden")
    assert "machine fan" in plant.text("judged")
    plant.wait("by('normal').duration > 0")
    # The server is read-only.
    assert plant.of("by('accepting').hidden")
    plant.open()
    assert not plant.of("by('entry').open")


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_is_never_wider_than_the_screen(page, place, width):
    page.browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=True)
    page.open()
    page.judged(place / "long.wav", name="a_name_without_any_place_to_break_it_" * 4 + ".wav")
    page.of("by('unlike').open = true")
    assert page.of("document.documentElement.scrollWidth") <= width
    sizes = page.of(
        """const touched = document.querySelectorAll("button, select, .button, audio");
        [...touched].map((one) => one.getBoundingClientRect().height)"""
    )
    # A finger needs 44 pixels.
    assert all(height >= 44 for height in sizes if height)
    page.browser.call("Emulation.clearDeviceMetricsOverride")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, place, theme):
    """WCAG 2.2, level AA, of every text as the browser paints it."""
    features = [{"name": "prefers-color-scheme", "value": theme}]
    page.browser.call("Emulation.setEmulatedMedia", media="screen", features=features)
    page.judged(place / "long.wav")
    page.of(
        "by('unlike').open = true; by('accepted').hidden = false; by('error').hidden = false; by('confirm').showModal()"
    )
    pairs = page.of(
        """const ground = (one) => {
          const color = getComputedStyle(one).backgroundColor;
          const above = one.parentElement;
          return color !== "rgba(0, 0, 0, 0)" ? color : above ? ground(above) : "rgb(255, 255, 255)";
        };
        const hasText = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        const ink = (one) => getComputedStyle(one)[one instanceof SVGElement ? "fill" : "color"];
        [...document.querySelectorAll("body *")]
          .filter((one) => one.checkVisibility() && hasText(one))
          .map((one) => [ink(one), ground(one), one.textContent])"""
    )
    page.of("by('confirm').close()")
    page.browser.call("Emulation.setEmulatedMedia", media="", features=[])
    assert len(pairs) > 30
    low = [
        (text, theme) for ink, paper, text in pairs if contrast(luminance(hexed(ink)), luminance(hexed(paper))) < 4.5
    ]
    assert low == []


def hexed(color):
    return "#" + "".join(f"{int(one):02x}" for one in color[color.index("(") + 1 : -1].split(",")[:3])


def test_whoever_does_not_see_it_hears_what_everything_is(page, place):
    page.judged(place / "long.wav")
    page.browser.call("Accessibility.enable")
    nodes = page.browser.call("Accessibility.getFullAXTree")["nodes"]
    page.browser.call("Accessibility.disable")
    told = {role: [] for role in ("button", "link", "img", "image", "heading", "list", "status", "Audio", "region")}
    for node in nodes:
        role = node.get("role", {}).get("value", "")
        if role in told and not node.get("ignored"):
            told[role].append(node.get("name", {}).get("value", ""))
    named = [name for role in told if role != "status" for name in told[role]]
    assert "" not in named
    assert any(name.startswith("Choose a recording") for name in told["button"])
    assert sum(name.startswith(("Score of each", "Spectrogram.")) for name in named) == 2
    order = page.of(
        """const all = [...document.querySelectorAll("h1, h2, h3, h4")];
        all.filter((one) => one.checkVisibility()).map((one) => one.tagName)"""
    )
    assert order[0] == "H1"
    assert all(int(after[1]) <= int(before[1]) + 1 for before, after in pairwise(order))
    assert page.of("by('verdict').getAttribute('role') === 'status' && by('error').getAttribute('role') === 'alert'")


@pytest.mark.parametrize(("motion", "moving"), [("reduce", 0), ("no-preference", 1)])
def test_nothing_moves_for_whom_it_disturbs(page, place, motion, moving):
    features = [{"name": "prefers-reduced-motion", "value": motion}]
    page.browser.call("Emulation.setEmulatedMedia", media="screen", features=features)
    page.of("const item = document.createElement('li'); item.className = 'new'; by('events').prepend(item)")
    assert page.of("document.getAnimations().length") == moving
    page.of("by('events').firstElementChild.remove()")
    page.browser.call("Emulation.setEmulatedMedia", media="", features=[])


def test_every_decision_and_event_has_words(page):
    words = page.of("import('/static/words.js').then((m) => Object.keys(m.DECISIONS))")
    assert set(words) == {*JUDGED, "cannot judge", "not running"}
    titles = page.of(
        f"import('/static/words.js').then((m) => {json.dumps(KINDS)}.map((kind) => m.eventWords(kind).title))"
    )
    assert all(title[0].isupper() for title in titles)
    assert len({*titles}) == len(KINDS)
    signs = page.of("import('/static/words.js').then((m) => Object.values(m.DECISIONS).map((one) => one.sign))")
    assert len({*signs}) == len(signs)
    times = page.of("import('/static/words.js').then((m) => [0, 7.5, 59.96, 125, 125.5, 3725].map(m.clock))")
    assert times == ["0 s", "7.5 s", "1:00", "2:05", "2:05.5", "1:02:05"]


def test_states_share_a_scale_on_which_warnings_begin_at_one(page):
    windows = [{"score": 6.0, "state": "slow"}, {"score": 6.0, "state": "fast"}, {"score": None, "state": "off"}]
    told = {
        "alarm": 9.0,
        "states": [
            {"state": "slow", "warning": 4.0},
            {"state": "fast", "warning": 12.0},
            {"state": "off", "warning": None},
        ],
    }
    judgment = json.dumps({"windows": windows, "threshold": 4.0})

    def scaled(told):
        return page.of(f"import('/static/windows.js').then((m) => m.onOneScale({judgment}, {json.dumps(told)}))")

    shown, levels = scaled(told)
    assert [one["score"] for one in shown] == [1.5, 0.5, None]
    assert levels == [{"name": "warning", "value": 1}]
    shown, levels = scaled(told | {"states": []})
    assert [one["score"] for one in shown] == [6.0, 6.0, None]
    assert [one["value"] for one in levels] == [4.0, 9.0]


def test_colors_are_those_of_the_other_pages(page):
    shown = page.of("import('/static/charts.js').then((m) => [...Array(256).keys()].map((one) => m.color(one / 255)))")
    assert np.abs(np.array(shown) - 255 * colormaps["magma"](np.arange(256))[:, :3]).max() < 5


def test_the_console_is_silent_and_nobody_else_is_asked(page, plant):
    """Last: over all that was done before."""
    assert (
        page.browser.reported("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Page.javascriptDialogOpening")
        == []
    )
    entries = [one["entry"] for one in page.browser.reported("Log.entryAdded")]
    # The browser itself notes answers such as 400 and 401.
    assert [one for one in entries if not one["text"].startswith("Failed to load resource: the server responded")] == []
    asked = [one["request"]["url"] for one in page.browser.reported("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith((page.url, plant.url, "data:", "blob:"))] == []
