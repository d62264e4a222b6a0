from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.facts.strategies import json_values, records

from barograph.facts.events import to_event
from barograph.facts.kinds import OnEpochEnd, parse


def read(line):
    """Moment, number, time, payload and version of a line as a reader sees it."""
    event = to_event(dict(line))
    return event.moment, event.seq, event.t, event.payload, event.schema_version


@pytest.mark.spec("S3.42")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            {"schema_version": 1, "seq": 3, "t": 5.0, "moment": "on_start", "a": 1},
            ("on_start", 3, 5.0, {"a": 1}, 1),
        ),
        ({"event": "on_epoch_end", "timestamp": 5, "epoch": 2}, ("on_epoch_end", -1, 5.0, {"epoch": 2}, 1)),
        ({"moment": "on_start", "timestamp": 5.5}, ("on_start", -1, 5.5, {}, 1)),
        ({"schema_version": 1, "moment": "on_start"}, ("on_start", -1, 0.0, {}, 1)),
        ({"moment": "on_start", "timestamp": "2025-11-03T14:09:53"}, ("on_start", -1, 0.0, {}, 1)),
        ({"a": 1}, ("custom", -1, 0.0, {"a": 1}, 1)),
        (
            {"schema_version": 9, "seq": 0, "t": 1.0, "moment": "on_dream", "new": {"x": [1]}},
            ("on_dream", 0, 1.0, {"new": {"x": [1]}}, 9),
        ),
        ({"schema_version": -1, "seq": 0, "t": 1.0, "moment": "a"}, ("a", 0, 1.0, {}, 1)),
        ({"schema_version": "two", "seq": "x", "t": 1.0, "moment": "a"}, ("a", -1, 1.0, {}, 1)),
        ({"schema_version": 1, "seq": 0, "t": [], "moment": None}, ("None", 0, 0.0, {}, 1)),
    ],
    ids=["own", "event", "timestamp", "untimed", "text time", "nothing", "newer", "negative", "texts", "wrong types"],
)
def test_lines_of_other_schemas_are_lifted_when_they_are_read(line, expected):
    """Unversioned, foreign, newer and malformed lines become events; nothing that they say is lost."""
    assert expected == read(line)


def test_unknown_keys_of_a_known_moment_are_left_to_the_payload():
    """A newer writer's key does not stop the struct from being read."""
    event = to_event({"schema_version": 2, "seq": 0, "t": 1.0, "moment": "on_epoch_end", "epoch": 1, "mood": "good"})
    assert parse(event, OnEpochEnd).epoch == 1
    assert event.payload["mood"] == "good"


@given(records, st.dictionaries(st.sampled_from(["schema_version", "seq", "t", "moment", "event"]), json_values))
def test_any_object_becomes_an_event(record, head):
    """No line stops a reader, whatever stands under the keys of the line itself."""
    event = to_event({**record, **head})
    assert isinstance(event.moment, str)
    assert isinstance(event.seq, int)
    assert isinstance(event.t, (int, float))
