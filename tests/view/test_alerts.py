"""An alert in lines: what, since when, what moved first, why and what to do."""

from __future__ import annotations

import msgspec
import pytest

from barograph.view.terminal.alerts import told_lines
from barograph.view.terminal.blocks import ASCII
from barograph.watch.alert import Alert, Moved, Remedy
from barograph.watch.incident import Incident, Told

ALERT = Alert(
    type="exploding_gradient",
    severity="critical",
    text="the gradient norm rose from 0.8 to 120",
    step=1204.0,
    since_step=1201.0,
    causes=["a step that was too large", "an unusual batch"],
    remedies=[Remedy(text="clip gradients at 0.8, their usual norm", change={"grad_clip": 0.8})],
    moved_first=[Moved(metric="grad_norm", step=1201.0, surprise=31.4)],
)
INCIDENT = Incident(
    id="x",
    family="optimisation",
    severity="critical",
    types=["exploding_gradient", "divergence"],
    first_step=1201.0,
    last_step=1204.0,
    last_record=1204,
)
TOLD = Told(stage="opened", alert=ALERT, incident=INCIDENT, step=1204.0, t=0.0)


@pytest.mark.spec("S2.21", "S2.42")
def test_an_alert_says_what_since_when_why_and_what_to_do():
    """Each on its line, with the numbers of the run and the change of configuration."""
    assert told_lines(TOLD, ASCII) == [
        "[X] ALERT [critical] exploding_gradient at step 1204, since step 1201",
        "   the gradient norm rose from 0.8 to 120",
        "   moved first: grad_norm at step 1201 (31 x its noise)",
        "   why: a step that was too large; or an unusual batch",
        "   do:  clip gradients at 0.8, their usual norm (grad_clip=0.8)",
    ]


def test_what_joins_an_incident_says_so():
    """A person sees that it is not another trouble."""
    joined = msgspec.structs.replace(TOLD, stage="joined")
    assert told_lines(joined, ASCII)[0].endswith("since step 1201, in the same incident")


def test_the_end_of_an_incident_is_one_line():
    """With everything that belonged to it."""
    ended = msgspec.structs.replace(TOLD, stage="ended", step=1300.0)
    assert told_lines(ended, ASCII) == ["[OK] over at step 1300: exploding_gradient, divergence, since step 1201"]


def test_text_of_others_stays_on_its_line():
    """A metric's name is somebody else's text: no newline and no escape of it reaches the terminal."""
    moved = [Moved(metric="a\n\x1b[31mb", step=1.0, surprise=5.0)]
    alert = msgspec.structs.replace(ALERT, moved_first=moved, text="two\nlines", causes=["x\x1b[2J"])
    lines = told_lines(msgspec.structs.replace(TOLD, alert=alert), ASCII)
    assert len(lines) == 5
    assert not any("\n" in line or "\x1b" in line for line in lines)
