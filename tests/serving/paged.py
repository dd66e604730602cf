"""The page of ``asd serve`` in a browser, and what somebody does with it."""

from __future__ import annotations

import base64
import json
import socket
import threading
from contextlib import contextmanager

import uvicorn

from asd_lightning.live.events import Event
from asd_lightning.live.journal import Journal, Place
from tests.serving.conftest import served

# Looks at the page, 20 ms apart, before something is missing.
PATIENCE = 3000


@contextmanager
def serving(detector, **options):
    """Address of a server of the detector."""
    guard = served(detector, **options)
    server = uvicorn.Server(uvicorn.Config(guard, lifespan="off", log_level="error", timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            guard.app.state.service.stopping.set()
            server.should_exit = True
            thread.join()


class Page:
    """What somebody does with the page, and sees of it."""

    def __init__(self, browser, url):
        self.browser, self.url = browser, url

    def open(self):
        self.browser.visit(self.url)
        self.wait("document.readyState === 'complete' && by('about').textContent.length > 3")

    def of(self, expression):
        return self.browser.evaluate(f"{{ const by = (id) => document.getElementById(id); {expression} }}")

    def wait(self, condition):
        met = self.of(
            f"""let left = {PATIENCE};
            new Promise((done) => {{
              const look = () => ({condition}) ? done(true) : left-- ? setTimeout(look, 20) : done(false);
              look();
            }})"""
        )
        assert met, (condition, self.text("recording"))

    def text(self, element):
        return self.of(f"by('{element}').textContent")

    def drop(self, *paths, name=None):
        files = [[base64.b64encode(path.read_bytes()).decode(), name or path.name] for path in paths]
        self.of(
            f"""const data = new DataTransfer();
            for (const [content, name] of {json.dumps(files)}) {{
              const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
              data.items.add(new File([bytes], name, {{type: "audio/wav"}}));
            }}
            by("drop").dispatchEvent(new DragEvent("drop", {{dataTransfer: data, bubbles: true, cancelable: true}}))"""
        )

    def judged(self, path, name=None):
        self.drop(path, name=name)
        self.wait("!by('card').hidden && !by('result').hidden")

    def press(self, key, shift=False):
        codes = {"Tab": 9, "Enter": 13, "Escape": 27}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key], "modifiers": 8 if shift else 0}
        self.browser.call("Input.dispatchKeyEvent", type="keyDown", text="\r" if key == "Enter" else "", **common)
        self.browser.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def tab_to(self, element):
        """Ids of what has the focus on the way there."""
        passed = []
        while (here := self.of("document.activeElement.id")) != element:
            assert len(passed) < 60, passed
            passed.append(here)
            self.press("Tab")
        return passed


def tell(root, kind, machine="pump", **content):
    """What a running ``asd watch`` does with its journal."""
    journal = Journal(root / "pump.asd.journal")
    try:
        number = journal.left(0) + 1
        event = Event(number, "left", machine, kind, 1.0, "2026-01-01T00:00:12.000Z", journal=journal.mark, **content)
        journal.keep("left", Place(machine, events=number), [event])
    finally:
        journal.close()
