"""The page: in words, in one file, by the command and by the function; nothing is written over."""

import re
import shutil

import numpy as np
import pytest

import asd_lightning
import tests.pages.test_policy as policy
from asd_lightning.cli import main
from asd_lightning.errors import UserError
from tests.detector.sounds import RATE, hum, whine, write, write_normal
from tests.pages.browser import CHROMIUM, Browser


@pytest.fixture(scope="module")
def page(pump, tmp_path_factory):
    """Of three seconds, the last one with a tone."""
    folder = tmp_path_factory.mktemp("why")
    write(folder / "today <b>.wav", np.concatenate([hum(60, 2.0), whine(61)]))
    assert main(["explain", str(pump / "pump.asd"), str(folder / "today <b>.wav"), "-o", str(folder / "why.html")]) == 1
    return folder / "why.html"


def words_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.read_text().split("<main>")[1].split("</main>")[0]))


def test_it_says_what_is_decided_and_why(page, pump, capsys):
    told = words_of(page)
    judgment = asd_lightning.score(pump / "pump.asd", page.with_name("today <b>.wav"))[0]
    assert f"{judgment.score:.4g}" in told
    assert f"{judgment.threshold:.4g}" in told
    assert "heard in 3 windows" in told
    assert "from 2 to 3 s" in told
    assert "Exact: the bars add up to the score." in told
    low, high = re.search(r"Most unlike normal sound: ([\d.]+) kHz to ([\d.]+) kHz", told).groups()
    assert float(low) < 3 < float(high)
    assert f"this is most like {judgment.nearest.recording} at 0 s" in told
    assert "The detector keeps no sound of that; shown is the most alike of what it keeps" in told


def test_it_carries_everything_and_asks_nobody(page):
    text = page.read_text()
    assert len(re.findall(r'<audio controls preload="none" src="data:audio/flac;base64,', text)) == 2
    assert len(re.findall(r'<image [^>]*href="data:image/png;base64,', text)) == 2
    assert not re.search(r"https?:|(src|href)=.//", text)
    assert "default-src 'none'" in policy.policy_of(text)
    policy.test_the_policy_allows_the_pages_own_script_and_style_alone([page])
    assert "<b>.wav" not in text


def test_only_a_page_is_replaced(page, pump, tmp_path, capsys):
    detector, clip = str(pump / "pump.asd"), str(pump / "pump/test/normal/clip_100.wav")
    mine = write(tmp_path / "mine.wav", hum(1))
    before = mine.read_bytes()
    assert main(["explain", detector, clip, "-o", str(mine)]) == 2
    assert "is there already, and no page" in capsys.readouterr().err
    assert mine.read_bytes() == before
    out = shutil.copy(page, tmp_path / "why.html")
    assert main(["explain", detector, clip, "-o", str(out)]) == 0
    told = words_of(out)
    assert "no sign of a fault" in told
    assert "clip_100.wav: normal" in capsys.readouterr().out


def test_what_cannot_be_judged_says_so(pump, tmp_path, capsys):
    detector = str(pump / "pump.asd")
    dead = write(tmp_path / "dead.wav", np.zeros(RATE, np.float32))
    (tmp_path / "text.wav").write_text("no sound")
    for clip, reason in ((dead, "silent: all samples are the same"), (tmp_path / "text.wav", "not readable as audio")):
        assert main(["explain", detector, str(clip), "-o", str(tmp_path / "why.html")]) == 3
        told = words_of(tmp_path / "why.html")
        assert reason in told
        assert "See to the recording or the microphone first." in told
        assert "Which frequencies" not in told
        assert "cannot judge" in capsys.readouterr().out


def test_of_several_machines_one_is_named(pump, tmp_path):
    own = shutil.copy(pump / "pump.asd", tmp_path / "both.asd")
    write_normal(tmp_path / "fan/train", 12)
    asd_lightning.enrol(tmp_path / "fan/train", own, clip_seconds=1.0, sounds=0)
    clip = write(tmp_path / "clip.wav", whine(5))
    with pytest.raises(UserError, match="of which machine"):
        asd_lightning.explain(own, clip, tmp_path / "why.html")
    assert not (tmp_path / "why.html").exists()
    found = asd_lightning.explain(own, clip, tmp_path / "why.html", machine="fan")
    assert found.judgment.machine == "fan"
    told = words_of(tmp_path / "why.html")
    assert "The detector keeps no sound of its normal recordings" in told
    assert "the most ordinary stretch of the same recording" in told
    assert asd_lightning.explain(own, clip, None, machine="pump").counterpart is not None


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
def test_a_browser_has_nothing_to_complain_of(page, tmp_path):
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(page)
        assert browser.reported("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded") == []
        for width in (320, 390, 1280):
            browser.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 700
            )
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        browser.close()
