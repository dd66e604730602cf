"""What Prometheus reads."""

import re
import urllib.error
import urllib.request

import pytest

from asd_lightning.errors import UserError
from asd_lightning.live.journal import Place
from asd_lightning.live.listener import Status
from asd_lightning.live.logic import State
from asd_lightning.live.metrics import as_text, serve

INPUTS = {
    "left": Status(Place("pump", State(told="alarm"), position=120.5, events=7), 3.25, 1.5, 12),
    "right": Status(Place("fan", State(judging=False))),
}


def parsed(text):
    """The format's own grammar, plainly: a type for each family, then name{labels} value."""
    values, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            types[name] = kind
        elif not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            assert series.split("{")[0] in types
            values[series] = float(value)
    return values, types


def test_each_input_is_a_series_of_each_family():
    values, types = parsed(as_text(INPUTS))
    assert values['asd_level{input="left",machine="pump"}'] == 2
    assert values['asd_score{input="left",machine="pump"}'] == 3.25
    assert values['asd_score{input="right",machine="fan"}'] != values['asd_score{input="right",machine="fan"}']
    assert values['asd_judging{input="right",machine="fan"}'] == 0
    assert values['asd_heard_seconds_total{input="left",machine="pump"}'] == 120.5
    assert len(values) == 2 * len(types)
    assert all((kind == "counter") == name.endswith("_total") for name, kind in types.items())


def test_names_of_machines_with_odd_characters_are_escaped():
    odd = 'pump "A"\\B\nC'
    text = as_text({"left": Status(Place(odd))})
    values, types = parsed(text)
    assert len(values) == len(types)
    for series in values:
        label = re.fullmatch(r'\w+\{input="left",machine="((?:[^"\\\n]|\\[\\"n])*)"\}', series).group(1)
        assert re.sub(r"\\(.)", lambda sign: "\n" if sign[1] == "n" else sign[1], label) == odd


def test_it_is_served_on_this_computer():
    server = serve(0, lambda: INPUTS)
    address = f"http://127.0.0.1:{server.server_port}"
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        assert answer.read().decode() == as_text(INPUTS)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/secrets")
    with pytest.raises(UserError, match="port is not to be had"):
        serve(server.server_port, lambda: INPUTS)
    server.shutdown()
    server.server_close()
