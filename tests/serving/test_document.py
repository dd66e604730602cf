"""Requests made from the API's own document, by Schemathesis, and answers held to it."""

import io
import logging

import hypothesis
import pytest
import schemathesis
import soundfile
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.python.asgi import HOST
from schemathesis.specs.openapi.checks import positive_data_acceptance

from asd_lightning.detector.detector import Detector
from asd_lightning.live.journal import Journal
from tests.detector.sounds import RATE, hum, whine
from tests.serving.conftest import asking, served
from tests.serving.test_events import told

# A stream of events has no end.
ENDLESS = "/api/v1/events/stream"


@pytest.fixture
def app(own):
    journal = Journal(own.with_name("own.asd.journal"))
    told(journal, 1, 2, 3)
    journal.close()
    return served(own, allow_host=(HOST,))


def operations(app):
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    found = [one.ok() for one in schema.get_all_operations()]
    return [one for one in found if one.path != ENDLESS]


def fallible(app):
    """Those that take something, which can be wrong."""
    return [one for one in operations(app) if one.body or any(one.iter_parameters())]


def hold_to_the_document(operation, mode, examples):
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples < 100,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        # No schema can say which bytes are sound.
        case.call_and_validate(excluded_checks=[positive_data_acceptance] if operation.method == "post" else [])

    check()


def test_every_status_and_schema_is_in_the_document(app):
    document = asking(app)("GET", "/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            statuses = set(one["responses"])
            assert statuses >= {"200", "401", "403", "405", "429"}
            assert statuses >= {"400", "404", "408", "413", "415", "422", "503"} or method == "get"
            for status, answer in one["responses"].items():
                if status != "200":
                    (content,) = answer["content"].values()
                    assert content["schema"] == {"$ref": "#/components/schemas/Error"}, (path, status)
    assert "409" in document["paths"]["/api/v1/accept"]["post"]["responses"]


def test_a_few_requests_of_each_kind_are_answered_as_the_document_says(app):
    for operation in operations(app):
        hold_to_the_document(operation, GenerationMode.POSITIVE, 2)
    for operation in fallible(app):
        hold_to_the_document(operation, GenerationMode.NEGATIVE, 2)


@pytest.mark.parametrize(("route", "field"), [("score", "file"), ("batch", "files"), ("explain", "file")])
def test_the_answers_about_sound_are_as_the_document_says(app, route, field):
    (operation,) = [one for one in operations(app) if one.path == f"/api/v1/{route}"]
    for waveform in (hum(0), whine(1, seconds=2.5), hum(0)[:100], 0 * hum(0)):
        buffer = io.BytesIO()
        soundfile.write(buffer, waveform, RATE, format="WAV")
        answer = asking(app)("POST", operation.path, files={field: ("a.wav", buffer.getvalue())})
        assert answer.status_code == 200
        operation.validate_response(answer)


@pytest.mark.serve
@pytest.mark.parametrize("of", [operations, fallible])
def test_a_campaign_from_the_document_finds_nothing(app, of):
    for operation in of(app):
        mode = GenerationMode.POSITIVE if of is operations else GenerationMode.NEGATIVE
        hold_to_the_document(operation, mode, 150)


def sounds():
    """Recordings, whole and torn, with bytes changed anywhere."""
    flac, wav = io.BytesIO(), io.BytesIO()
    soundfile.write(flac, hum(0), RATE, format="FLAC")
    soundfile.write(wav, whine(1, seconds=0.3), RATE, format="WAV")

    def changed(content, changes, end):
        made = bytearray(content)
        for place, value in changes:
            made[place % len(made)] = value
        return bytes(made[: round(end * len(made))])

    # Headers are where a change matters.
    place = st.integers(0, 100) | st.integers(0, 1 << 20)
    return st.builds(
        changed,
        st.sampled_from([flac.getvalue(), wav.getvalue()]),
        st.lists(st.tuples(place, st.integers(0, 255)), max_size=6),
        st.sampled_from([1.0, 1.0, 0.9, 0.1, 0.001]),
    )


@pytest.mark.serve
@pytest.mark.parametrize("route", ["score", "explain", "accept"])
def test_torn_and_changed_sound_is_judged_or_told(app, own, route, caplog):
    caplog.set_level(logging.ERROR, "asd_lightning")
    (operation,) = [one for one in operations(app) if one.path == f"/api/v1/{route}"]
    examples = 40 if route == "accept" else 300

    @hypothesis.settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(sounds())
    def check(content):
        answer = asking(app)("POST", operation.path, files={"file": ("a.wav", content)})
        assert answer.status_code in ((200, 400, 413, 422) if route == "accept" else (200, 400, 413))
        operation.validate_response(answer)

    check()
    assert Detector.load(own).machines_["pump"].changes
