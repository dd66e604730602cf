"""Against a real broker, where mosquitto is installed."""

import json
import re
import signal
import subprocess
import sys
import textwrap
import threading
import types

import pytest

from asd_lightning.errors import UserError
from asd_lightning.live.journal import Journal, Place
from asd_lightning.live.mqtt import Mqtt, discovery
from asd_lightning.live.sinks import feed
from tests.live.broker import BROKER, PATIENCE, Broker, until
from tests.live.test_journal import event
from tests.ports import closed_port, own_port

pytest.importorskip("paho.mqtt")
real = pytest.mark.skipif(BROKER is None, reason="mosquitto is not installed")


class Ear:
    """Hears everything below some topics, across restarts of the broker."""

    def __init__(self, port, *topics):
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard, self.subscribed = [], threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id="ear", clean_session=False)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in topics])
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = lambda _, __, message: self.heard.append((message.topic, message.payload.decode()))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self.subscribed.wait(PATIENCE)

    def of(self, topic):
        return [text for where, text in self.heard if where == topic]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path):
    with own_port() as port:
        running = Broker(tmp_path, port)
        yield running
        running.stop()


def add(path, numbers, kind="alarm"):
    journal = Journal(path)
    numbers = list(numbers)
    journal.keep("pump1", Place("pump", events=numbers[-1]), [event(number, kind=kind) for number in numbers])
    journal.close()


@real
def test_events_states_discovery_and_requests(tmp_path, broker):
    path, stop = tmp_path / "journal", threading.Event()
    add(path, [1], "warning")
    add(path, [2, 3])
    ear = Ear(broker.port, "asd/#", "homeassistant/#")
    sink = Mqtt(broker.url, path)
    feeding = threading.Thread(target=feed, args=(sink, path, stop), daemon=True)
    feeding.start()
    until(lambda: len(ear.of("asd/plant/pump1/event")) == 3)
    assert [json.loads(text)["id"] for text in ear.of("asd/plant/pump1/event")] == [f"pump1-0000000{n}" for n in "123"]
    assert ear.of("asd/plant/status") == ["online"]
    states = [json.loads(text)["level"] for text in ear.of("asd/plant/pump1/state")]
    assert states[0] == "warning"
    assert states[-1] == "alarm"
    for topic, content in discovery("plant", "pump1", "pump").items():
        until(lambda topic=topic: ear.of(topic))
        assert [json.loads(text) for text in ear.of(topic)] == [content]
    for request in ("ACKNOWLEDGE", "SHELVE 60", "SHELVE soon", "SHELVE nan", "SHELVE inf", "DANCE"):
        ear.client.publish("asd/plant/pump1/set", request, qos=1)
    until(lambda: len(Journal(path).requests("pump1")) == 2)
    assert [(one.kind, one.seconds) for one in Journal(path).requests("pump1")] == [
        ("acknowledge", 0.0),
        ("shelve", 60.0),
    ]
    stop.set()
    feeding.join()
    sink.close()
    until(lambda: ear.of("asd/plant/status") == ["online", "offline"])
    ear.close()


@real
def test_a_broker_that_is_there_is_reached_by_the_first_event(tmp_path, broker, monkeypatch):
    monkeypatch.setattr("asd_lightning.live.mqtt._FIRST_ANSWER", PATIENCE)
    path = tmp_path / "journal"
    add(path, [1])
    sink, journal = Mqtt(broker.url, path, seconds=PATIENCE), Journal(path)
    sink.recover(journal)
    # Raises where the connection is not there yet.
    sink.deliver(journal.events(0)[0][1])
    sink.close()
    journal.close()


@real
def test_nothing_is_lost_or_doubled_while_the_broker_is_started_anew(tmp_path, broker):
    path, stop = tmp_path / "journal", threading.Event()
    ear = Ear(broker.port, "asd/#")
    add(path, range(1, 4))
    sink = Mqtt(broker.url, path)
    feeding = threading.Thread(target=feed, args=(sink, path, stop), daemon=True)
    feeding.start()
    until(lambda: len(ear.of("asd/plant/pump1/event")) == 3)
    ear.subscribed.clear()
    broker.stop()
    until(lambda: not sink._client.is_connected())
    add(path, range(4, 7))
    # It has forgotten everything: a listener that comes back must have subscribed before the events are sent again.
    sink._client.reconnect_delay_set(5, 5)
    broker.start()
    assert ear.subscribed.wait(PATIENCE)
    until(lambda: len(ear.of("asd/plant/pump1/event")) == 6)
    ids = [json.loads(text)["number"] for text in ear.of("asd/plant/pump1/event")]
    assert ids == [1, 2, 3, 4, 5, 6]
    late = Ear(broker.port, "asd/plant/status", "asd/plant/pump1/state")
    until(lambda: late.of("asd/plant/status") == ["online"] and late.of("asd/plant/pump1/state"))
    late.close()
    stop.set()
    feeding.join()
    sink.close()
    ear.close()


@real
def test_the_broker_says_offline_for_a_process_that_was_killed(tmp_path, broker):
    path = tmp_path / "journal"
    add(path, [1])
    ear = Ear(broker.port, "asd/#")
    program = """
    import sys, threading
    from pathlib import Path
    from asd_lightning.live.mqtt import Mqtt
    from asd_lightning.live.sinks import feed
    feed(Mqtt(sys.argv[1], Path(sys.argv[2])), Path(sys.argv[2]), threading.Event())
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), broker.url, str(path)])
    until(lambda: len(ear.of("asd/plant/pump1/event")) == 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: ear.of("asd/plant/status") == ["online", "offline"])
    ear.close()


def test_a_broker_that_is_not_there_keeps_events_in_the_journal(tmp_path):
    path, stop = tmp_path / "journal", threading.Event()
    add(path, [1, 2])
    stop.set()
    with closed_port() as port:
        sink = Mqtt(f"mqtt://127.0.0.1:{port}/plant", path)
        feed(sink, path, stop)
        sink.close()
    assert Journal(path).delivered(sink.name) == 0


def test_the_state_that_is_kept_is_the_last_one_where_a_broker_comes_back_amid_an_event(tmp_path):
    """The connection's own thread says the states then, and is held up just before the broker has what it says."""
    sink = Mqtt("mqtt://127.0.0.1/plant", tmp_path / "journal")
    sent, others = [], []

    def deliver():
        sink._follow({"source": "pump1", "machine": "pump", "kind": "alarm"})
        sink._introduce("pump1")

    class Client:
        def publish(self, topic, text, **_):
            if topic.endswith("/state") and not others:
                others.append(threading.Thread(target=deliver))
                others[0].start()
                others[0].join(0.3)
            sent.append((topic, text))

        def subscribe(self, *_, **__):
            pass

    sink._client = Client()
    sink._follow({"source": "pump1", "machine": "pump", "kind": "warning"})
    sink._connected(sink._client, None, None, types.SimpleNamespace(is_failure=False), None)
    others[0].join()
    states = [json.loads(text)["level"] for topic, text in sent if topic.endswith("/state")]
    assert states[-1] == "alarm"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://host", "mqtt://HOST"),
        ("mqtt://", "mqtt://HOST"),
        ("mqtt://host/a/b", "without / \\+ #"),
        ("mqtt://host/a+", "without / \\+ #"),
        ("mqtt://host/a\x00", "control characters"),
        ("mqtt://host:port/a", "mqtt://HOST"),
    ],
)
def test_addresses_that_are_none(tmp_path, url, words):
    with pytest.raises(UserError, match=words):
        Mqtt(url, tmp_path / "journal")


def test_home_assistant_finds_inputs_of_any_name():
    names = ["pump-1", "pump.1", "pump_1", "Pümpe", "a" * 100]
    topics = [topic for name in names for topic in discovery("plant", name, 'pump "A"\n')]
    assert len(set(topics)) == 3 * len(names)
    # As its MQTT integration reads them.
    topic = re.compile(
        r"homeassistant/(?P<component>\w+)/(?:(?P<node>[a-zA-Z0-9_-]+)/)?(?P<object>[a-zA-Z0-9_-]+)/config"
    )
    assert all(topic.fullmatch(one) for one in topics)


def test_a_password_is_not_in_what_is_said(tmp_path):
    assert "secret" not in Mqtt("mqtt://me:secret@127.0.0.1/plant", tmp_path / "journal").name
    with pytest.raises(UserError) as caught:
        Mqtt("http://me:secret@host", tmp_path / "journal")
    assert "secret" not in str(caught.value)
