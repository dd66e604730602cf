"""Events and states on an MQTT broker, found by Home Assistant by itself.

Topics, below ``asd/NODE``: ``status`` (online or offline, retained; the broker itself says offline where this program
ends without a word), and for each input ``INPUT/state`` (JSON, retained), ``INPUT/event`` (a line of JSON each) and
``INPUT/set``, which takes ``ACKNOWLEDGE`` and ``SHELVE SECONDS``.  What Home Assistant needs to show them is published
below ``homeassistant/`` (https://www.home-assistant.io/integrations/mqtt, "MQTT discovery").
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from asd_lightning import __version__
from asd_lightning.errors import UserError
from asd_lightning.live.journal import Journal
from asd_lightning.plain_text import has_control, printable, without_credentials

log = logging.getLogger(__name__)

_PORT, _SECURE_PORT = 1883, 8883
# In s: two years.
_LONGEST_SHELVING = 6e7
# In s: a broker that is there answers far sooner.
_FIRST_ANSWER = 5.0
_LEVELS = ("normal", "warning", "alarm")
# Event -> what of the state it changes.
_CHANGES: dict[str, dict[str, Any]] = {
    **{level: {"level": level, "acknowledged": False} for level in _LEVELS},
    "cannot judge": {"judging": False},
    "judging": {"judging": True},
    "not running": {"running": False, "level": "normal", "acknowledged": False},
    "running": {"running": True},
    "acknowledged": {"acknowledged": True},
    "shelved": {"shelved": True},
    "unshelved": {"shelved": False},
    "input lost": {"judging": False},
    "input back": {"judging": True},
    "drift": {"drift": True},
}
_FRESH: dict[str, Any] = {
    "level": "normal",
    "judging": True,
    "running": True,
    "acknowledged": False,
    "shelved": False,
    "drift": False,
}


class Mqtt:
    """A broker that events go to.

    Args:
        url: ``mqtt://USER:PASSWORD@HOST:PORT/NODE``, or ``mqtts://`` for TLS; NODE names this computer, by default
            ``asd``.
        journal: where requests from the broker are left.
        seconds: that the broker's receipt is waited for.

    Raises:
        UserError: another kind of address, or paho-mqtt is missing.
    """

    def __init__(self, url: str, journal: Path, seconds: float = 10.0) -> None:
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("mqtt", "mqtts") and parts.hostname and parts.port != 0
        except ValueError:
            known = False
        if not known or parts.hostname is None:
            raise UserError(f"{without_credentials(url)}: an address like mqtt://HOST:1883/NODE is needed")
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise UserError("MQTT needs paho-mqtt: pip install 'asd_lightning[live]'") from error
        self.node = parts.path.strip("/") or "asd"
        if any(sign in self.node for sign in "/+#") or has_control(self.node):
            raise UserError(f"{printable(self.node)}: the node's name must be without / + # and control characters")
        self.name = f"mqtt:{parts.hostname}:{parts.port or ''}/{self.node}"
        self._journal, self._seconds = journal, seconds
        self._states: dict[str, dict[str, Any]] = {}
        self._machines: dict[str, str] = {}
        self._introduced: set[str] = set()
        self._sent: tuple[str, Any] | None = None
        self._lock, self._answered = threading.Lock(), threading.Event()
        client = Client(CallbackAPIVersion.VERSION2, client_id=f"asd-{self.node}")
        if parts.username:
            client.username_pw_set(unquote(parts.username), unquote(parts.password or "") or None)
        if parts.scheme == "mqtts":
            client.tls_set()
        client.will_set(f"asd/{self.node}/status", "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, 30)
        client.on_connect, client.on_message = self._connected, self._asked
        client.on_connect_fail = lambda *_: self._answered.set()
        client.connect_async(parts.hostname, parts.port or (_SECURE_PORT if parts.scheme == "mqtts" else _PORT), 30)
        self._client = client

    def recover(self, journal: Journal) -> None:
        """Find the states again that the events up to the last delivered one have led to, and connect."""
        last, row = journal.delivered(self.name), 0
        while rows := [one for one in journal.events(row) if one[0] <= last]:
            for row, line in rows:  # noqa: B007 - the last row is where the next page begins
                self._follow(json.loads(line))
        self._client.loop_start()
        # Until then nobody knows whether the broker is there.
        self._answered.wait(_FIRST_ANSWER)

    def deliver(self, line: str) -> None:
        """Publish one event and the state it leads to.

        Raises:
            OSError: the broker is not there, or has not sent its receipt in time; then the event stays on its way, and
                the next call waits for the same receipt.
        """
        event = json.loads(line)
        if self._sent is None or self._sent[0] != event["id"]:
            if not self._client.is_connected():
                raise OSError("the broker is not reached")
            self._follow(event)
            self._introduce(event["source"])
            self._sent = event["id"], self._client.publish(f"{self._base(event['source'])}/event", line, qos=1)
        receipt = self._sent[1]
        receipt.wait_for_publish(self._seconds)
        if not receipt.is_published():
            raise OSError("the broker has not sent its receipt")

    def close(self) -> None:
        """Say offline and leave."""
        if self._client.is_connected():
            self._client.publish(f"asd/{self.node}/status", "offline", qos=1, retain=True).wait_for_publish(2.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _base(self, source: str) -> str:
        return f"asd/{self.node}/{source}"

    def _follow(self, event: Mapping[str, Any]) -> None:
        with self._lock:
            state = self._states.setdefault(event["source"], dict(_FRESH))
            state.update(_CHANGES.get(event["kind"], {}))
            self._machines[event["source"]] = event["machine"]

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        """Also after the broker was started anew, when it may have forgotten everything."""
        if reason.is_failure:
            log.warning("%s: the broker refuses (%s)", self.name, reason)
            self._answered.set()
            return
        client.publish(f"asd/{self.node}/status", "online", qos=1, retain=True)
        client.subscribe(f"asd/{self.node}/+/set", qos=1)
        with self._lock:
            self._introduced = set()
            known = list(self._states)
        for source in known:
            self._introduce(source)
        self._answered.set()

    def _introduce(self, source: str) -> None:
        """Say the state of an input, after what it is.

        Both threads do: the lock keeps the older of two states from being sent last.
        """
        with self._lock:
            if source not in self._introduced:
                for topic, content in discovery(self.node, source, self._machines[source]).items():
                    self._client.publish(topic, json.dumps(content), qos=1, retain=True)
                self._introduced.add(source)
            text = json.dumps(self._states[source])
            self._client.publish(f"{self._base(source)}/state", text, qos=1, retain=True)

    def _asked(self, client: Any, userdata: Any, message: Any) -> None:
        source = str(message.topic).split("/")[-2]
        word, _, seconds = message.payload.decode("utf-8", "replace").strip().partition(" ")
        try:
            journal = Journal(self._journal)
            if word == "ACKNOWLEDGE":
                journal.ask(source, "acknowledge")
            elif word == "SHELVE":
                journal.ask(source, "shelve", _seconds(seconds))
            journal.close()
        except (UserError, ValueError, sqlite3.Error) as error:
            log.warning("%s: a request that cannot be followed (%s)", self.name, error)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < _LONGEST_SHELVING:
        raise ValueError(f"SHELVE {text:.20}: a number of seconds is needed, 0 or more")
    return seconds


def _identity(name: str) -> str:
    """A name that Home Assistant finds: of a-z, A-Z, 0-9, _ and -; others are replaced, and a digest tells them apart.

    >>> _identity("asd_plant_pump-1"), _identity("asd_plant_pump.1")
    ('asd_plant_pump-1', 'asd_plant_pump_1-1dcc4cac')
    """
    known = re.sub("[^a-zA-Z0-9_-]", "_", name)
    return known if known == name else f"{known}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def discovery(node: str, source: str, machine: str) -> dict[str, dict[str, Any]]:
    """Topic -> what Home Assistant is told of one input: an alarm, whether it is heard well, and its level."""
    base, identity = f"asd/{node}/{source}", _identity(f"asd_{node}_{source}")
    common = {
        "state_topic": f"{base}/state",
        "json_attributes_topic": f"{base}/state",
        "availability_topic": f"asd/{node}/status",
        "device": {"identifiers": [identity], "name": f"{machine} ({source})", "manufacturer": "asd_lightning"},
        "origin": {"name": "asd_lightning", "sw_version": __version__},
    }
    entities = {
        ("binary_sensor", "alarm"): {
            "name": "Alarm",
            "device_class": "problem",
            "value_template": "{{ 'ON' if value_json.level == 'alarm' else 'OFF' }}",
        },
        ("binary_sensor", "listening"): {
            "name": "Heard well",
            "entity_category": "diagnostic",
            "value_template": "{{ 'ON' if value_json.judging else 'OFF' }}",
        },
        ("sensor", "level"): {"name": "Level", "value_template": "{{ value_json.level }}"},
    }
    return {
        f"homeassistant/{kind}/{identity}/{name}/config": {**common, **content, "unique_id": f"{identity}_{name}"}
        for (kind, name), content in entities.items()
    }
