"""``run.summary``: each assignment is a fact at once, and the last values end the run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.recorded import Recorded

from barograph.errors import MisuseError, RunClosedError


@pytest.mark.spec("S3.17", "S4.9")
def test_results_are_facts_at_once(new_run):
    """An assignment is an event when it returns; the run ends with the last values."""
    run = new_run()
    run.summary["deltaH1"] = np.float64(2.659)
    assert Recorded(run.dir).custom("summary") == [{"kind": "summary", "key": "deltaH1", "value": 2.659}]
    run.summary["bars_dot"] = math.inf
    run.summary["deltaH1"] = 2.7
    run.summary.update({"best": {"epoch": 3, "val_loss": 0.25}, "test_loss": 0.3})
    run.finish()
    expected = {"deltaH1": 2.7, "bars_dot": math.inf, "best": {"epoch": 3, "val_loss": 0.25}, "test_loss": 0.3}
    found = Recorded(run.dir)
    assert dict(run.summary) == found.exit.summary == found.only("on_train_end")["summary"] == expected
    assert len(found.custom("summary")) == 5


def test_as_a_mapping(new_run):
    """It is a mapping: values can be read, counted, shown and taken back; what is kept is a copy."""
    run = new_run()
    given = [1, 2]
    run.summary["steps"] = given
    given.append(3)
    assert run.summary["steps"] == [1, 2]
    assert ("steps" in run.summary, len(run.summary), list(run.summary)) == (True, 1, ["steps"])
    assert repr(run.summary) == "Summary({'steps': [1, 2]})"
    del run.summary["steps"]
    assert Recorded(run.dir).custom("summary")[-1] == {"kind": "summary", "key": "steps", "removed": True}
    with pytest.raises(KeyError):
        del run.summary["steps"]
    assert len(Recorded(run.dir).custom("summary")) == 2


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (7, 1, "the result's name must be a text, not 7"),
        ("", 1, "the result's name must be a text, not ''"),
        ("model", object(), "summary['model'] is a builtins.object, which has no JSON form"),
        ("nested", {"a": [abs]}, "summary['nested'].a[0] is a builtins.builtin_function_or_method"),
    ],
)
def test_results_that_cannot_be(new_run, key, value, text):
    """A result that cannot be written is refused with its place; nothing changes."""
    run = new_run()
    with pytest.raises(MisuseError) as caught:
        run.summary[key] = value
    assert text in str(caught.value)
    assert (len(run.summary), Recorded(run.dir).moments) == (0, ["on_start"])


def test_after_the_end(new_run):
    """A result after the end is refused; nothing is written behind the last event."""
    run = new_run()
    run.summary["best"] = 0.5
    run.finish()
    with pytest.raises(RunClosedError, match="is finished; nothing more can be recorded"):
        run.summary["best"] = 0.4
    with pytest.raises(RunClosedError):
        del run.summary["best"]
    assert run.summary["best"] == 0.5
    assert Recorded(run.dir).moments == ["on_start", "custom", "on_train_end"]
