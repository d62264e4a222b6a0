import json
import math

import msgspec
import pytest
from tests.watch.actions.receiver import a_message, an_alert, opened

from barograph.facts.codec import decode, encode
from barograph.watch.actions.record import as_line
from barograph.watch.incident import Incidents


def test_a_line_has_everything_that_the_alert_says():
    """Each of the documented keys is there, with the alert's own values and the incident's."""
    line = as_line(opened())
    assert {
        "schema_version": 1,
        "id": "loss_spike-r0-a0-s121-n1",
        "t": 1001.0,
        "type": "loss_spike",
        "severity": "warning",
        "title": "loss spike",
        "text": "loss rose to 9.5 at step 121, 11 times its usual noise above its median of 0.8",
        "stage": "opened",
        "incident": "loss_spike-r0-a0-s121-n1",
        "incident_severity": "warning",
        "incident_types": ["loss_spike"],
        "step": 121.0,
        "since_step": 118.0,
        "attempt": 0,
        "rank": 0,
        "metrics": ["loss"],
        "evidence": [
            {"name": "loss", "value": 9.5, "threshold": 2.5, "first_step": 121.0},
            {"name": "grad_norm", "value": math.inf},
        ],
        "causes": ["a batch unlike the others"],
        "remedies": [{"text": "clip gradients at 0.8, their usual norm", "change": {"grad_clip": 0.8}}],
        "moved_first": [{"metric": "grad_norm", "step": 118.0, "surprise": 7.5}],
        "confidence": 0.8,
    } == line


def test_a_line_is_strict_json_that_loses_no_number():
    """An infinite value is null with its name in ``nonfinite`` for naive readers, and infinite for ours."""
    line = encode(as_line(opened()))
    naive = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (naive["evidence"][1]["value"], naive["nonfinite"]) == (None, {"evidence": {"1": {"value": "inf"}}})
    assert math.inf == decode(line)["evidence"][1]["value"]


def test_the_stages_of_an_incident_have_titles_and_ids_of_their_own():
    """Opened, joined, worse and ended are four lines of one incident; an end is no cause for worry by itself."""
    incidents = Incidents()
    first = incidents.take(an_alert(1), 1)
    joined = incidents.take(an_alert(2, type="data_shift", id="data_shift-2"), 2)
    worse = incidents.take(an_alert(3, severity="critical", id="loss_spike-3"), 3)
    (ended,) = incidents.settle(set(), 100, step=220.0, t=1100.0)
    lines = [as_line(told) for told in (first, joined, worse, ended)]
    assert [line["title"] for line in lines] == [
        "loss spike",
        "data shift, after loss spike",
        "loss spike, now critical",
        "loss spike is over",
    ]
    assert len({line["id"] for line in lines}) == 4
    assert {lines[0]["id"]} == {line["incident"] for line in lines}
    assert tuple(lines[3][key] for key in ("severity", "incident_severity", "step", "since_step")) == (
        "info",
        "critical",
        220.0,
        118.0,
    )
    assert lines[3]["text"] == "nothing of it holds any more at step 220: loss spike, data shift since step 118"


def test_two_ends_of_one_incident_are_two_lines():
    """An incident that ends, goes on and ends again has two ends."""
    incidents = Incidents()
    incidents.take(an_alert(1), 1)
    (first,) = incidents.settle(set(), 80, step=200.0, t=1080.0)
    assert incidents.take(an_alert(90, id="again"), 90).stage == "joined"
    (second,) = incidents.settle(set(), 170, step=290.0, t=1170.0)
    assert as_line(first)["id"] != as_line(second)["id"]


def test_words_for_people_say_what_since_when_why_and_what_to_do():
    """A message holds the numbers of the run, its place and one fact per line."""
    message = a_message()
    assert message.title == "[warning] loss spike in digits"
    assert message.text.splitlines() == [
        "loss rose to 9.5 at step 121, 11 times its usual noise above its median of 0.8",
        "since step 118, noticed at step 121",
        "moved first:",
        "- grad_norm at step 118",
        "likely causes:",
        "- a batch unlike the others",
        "what to do:",
        "- clip gradients at 0.8, their usual norm",
        "run: /runs/digits on node1",
    ]


def test_words_for_a_line_of_other_hands():
    """A line with other keys, or none, makes a message all the same."""
    message = msgspec.structs.replace(
        a_message(), line={"id": "x", "moved_first": 5, "remedies": ["a"], "step": "no number"}, run={}
    )
    assert (message.title, message.text) == ("[warning] alert", "")


def test_the_key_of_a_message_is_ascii_and_tells_runs_apart():
    """It can stand in a header, whatever a detector is called, and differs between runs."""
    message = a_message(id="größer loss\n1")
    assert message.key == "s59c34/gr%C3%B6%C3%9Fer%20loss%0A1"
    other = msgspec.structs.replace(message, run={"id": "other"})
    assert other.key != message.key
