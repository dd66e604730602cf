"""Pages tell the browser what they may do, and it is only what they do."""

import base64
import hashlib
import html
import re

import pytest

from asd_lightning.pages.gallery import write_gallery
from asd_lightning.pages.page import write_report
from tests.pages.browser import CHROMIUM, Browser
from tests.scoring.runs import make_run


@pytest.fixture(scope="module")
def pages(tmp_path_factory, tiny_data):
    folder = tmp_path_factory.mktemp("pages")
    make_run(folder / "run", folder / "data")
    write_gallery(tiny_data, folder / "gallery.html")
    return [write_report([folder / "run"], folder / "report.html", resamples=10), folder / "gallery.html"]


def policy_of(text):
    return html.unescape(re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)[1])


def test_every_page_has_a_policy_before_anything_that_it_is_about(pages):
    for page in pages:
        text = page.read_text()
        assert "default-src 'none'" in policy_of(text)
        assert text.index("Content-Security-Policy") < min(text.index(tag) for tag in ("<title", "<style", "<body"))
        assert not re.search(r"<[^>]+\son[a-z]+=", text)  # no handler in an attribute, which no hash allows


def test_the_policy_allows_the_pages_own_script_and_style_alone(pages):
    for page in pages:
        text = page.read_text()
        for tag in ("script", "style"):
            (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
            allowed = re.search(rf"{tag}-src ([^;]*);", policy_of(text))[1]
            assert allowed == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
        assert not re.search(r"<[^>]+\sstyle=", text)  # no style in an attribute, which no hash allows


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
def test_a_script_that_has_got_into_a_page_does_not_run(pages, tmp_path):
    evil = tmp_path / "evil.html"
    attack = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'><img src='http://127.0.0.1:9/x.png'>"
    evil.write_text(pages[0].read_text().replace("<main>", f"<main>{attack}", 1))
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(evil)
        assert browser.evaluate("window.ran === undefined")
        # Requests are reported before the policy stops them.
        asked = {one["requestId"] for one in browser.reported("Network.requestWillBeSent") if is_web(one)}
        failed = browser.reported("Network.loadingFailed")
        stopped = {one["requestId"] for one in failed if one.get("blockedReason") == "csp"}
        assert asked <= stopped
    finally:
        browser.close()


def is_web(event):
    return event["request"]["url"].startswith("http")
