"""``run.log``: the short way and the long way record the same, and a refused call leaves no trace."""

from __future__ import annotations

import math
import struct
from collections import Counter, OrderedDict, defaultdict
from types import MappingProxyType

import numpy as np
import pytest
import torch
from tests.recorded import Recorded

from barograph.errors import InvalidMetricError, InvalidNameError, MisuseError, RunClosedError


def bits(number) -> bytes:
    """A float's bits, so that NaN equals NaN and -0.0 differs from 0.0."""
    return struct.pack("<d", number)


VALUES = [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan, 7, -7, 0, 2**53, True]


def test_every_value_comes_back_with_its_bits(new_run):
    """Values, first by the long way and then by the short one, come back bit for bit, in the order of the calls."""
    run = new_run()
    for step, value in enumerate(VALUES * 2):
        run.log({"loss": value, "lr": 0.5}, step=step)
    run.finish()
    assert list(map(bits, Recorded(run.dir).column("loss"))) == [bits(float(value)) for value in VALUES * 2]


def test_a_returned_call_is_on_disk(new_run):
    """When ``log`` has returned, a reader of the file has the record, while the run is open."""
    run = new_run()
    for step in range(5):
        run.log({"loss": step / 7}, step=step)
        assert Recorded(run.dir).column("loss") == [number / 7 for number in range(step + 1)]


def test_order_of_keys_does_not_matter(new_run):
    """Records with the same keys in another order lie in one stream, each value under its name."""
    run = new_run()
    for step in range(4):
        run.log({"a": 1.0, "b": 2.0} if step % 2 else {"b": 2.0, "a": 1.0}, step=step)
    run.finish()
    found = Recorded(run.dir)
    assert (found.column("a"), found.column("b")) == ([1.0] * 4, [2.0] * 4)
    assert len(found.layout.rows_files()) == 1


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType, lambda d: defaultdict(float, d), Counter])
def test_any_mapping(new_run, kind):
    """Any mapping may be logged; one that invents values for missing keys adds none of them."""
    run = new_run()
    run.log({"loss": 0.5, "lr": 0.25}, step=0)
    run.log(kind({"loss": 1.5, "other": 2.5}), step=1)
    run.log(kind({"loss": 3.5, "lr": 4.5}), step=2)
    run.finish()
    found = Recorded(run.dir)
    assert found.column("loss") == [0.5, 1.5, 3.5]
    assert found.column("lr") == [0.25, 4.5]
    assert found.column("other") == [2.5]


def test_steps_go_on_by_themselves(new_run):
    """A call without a step has the one after the last, whatever that was; the first has 0."""
    run = new_run()
    for step in (None, None, 10, None, 3, None, 2.5, None):
        run.log({"loss": 0.5}, **({} if step is None else {"step": step}))
    run.finish()
    assert [record["step"] for record in Recorded(run.dir).records] == [0, 1, 10, 11, 3, 4, 2.5, 3]


def test_steps_may_repeat_and_go_back(new_run):
    """Monotonicity is no law: every record is kept."""
    run = new_run()
    for step in (5, 5, 1, -3):
        run.log({"loss": float(step)}, step=step)
    assert [record["step"] for record in Recorded(run.dir).records] == [5, 5, 1, -3]


@pytest.mark.spec("S0.7", "S0.23")
def test_epoch_and_split(new_run):
    """Epoch is a metric, split names the stream; both ways of giving the epoch are one."""
    run = new_run()
    for step in range(3):
        run.log({"loss": 0.5}, step=step, epoch=step)
        run.log({"epoch": step, "loss": 0.5}, step=step)
        run.log({"loss": 0.25}, step=step, epoch=0.5, split="val")
    run.finish()
    found = Recorded(run.dir)
    assert found.column("epoch") == [0, 0, 1, 1, 2, 2]
    assert found.column("epoch", split="val") == [0.5] * 3
    assert len(found.layout.rows_files()) == 2


def test_numbers_that_no_float_holds(new_run):
    """An integer beyond 2^53 is kept exactly, as text; so is such a step; the streams go on."""
    run = new_run()
    big = [2**53 + 1, -(2**53) - 1, 2**63, 2**200]
    for step, value in enumerate(big):
        run.log({"tokens": value}, step=step)
    run.log({"tokens": 1}, step=2**60 + 1)
    run.log({"tokens": 5}, step=7)
    run.finish()
    found = Recorded(run.dir)
    assert sorted(found.column("tokens")) == sorted([*big, 1, 5])
    assert 2**60 + 1 in [record["step"] for record in found.records]
    assert (found.layout.facts / "metrics.jsonl").read_text().count("\n") == 5


def test_more_sets_of_keys_than_streams(new_run):
    """Past 64 sets of keys further ones go to ``metrics.jsonl``; none is lost."""
    run = new_run()
    for number in range(100):
        for step in range(2):
            run.log({f"metric{number}": float(number)}, step=step)
    run.finish()
    found = Recorded(run.dir)
    assert all(found.column(f"metric{number}") == [float(number)] * 2 for number in range(100))
    assert len(found.layout.rows_files()) == 64


def test_values_of_frameworks(new_run):
    """Numpy and torch values, mixed with Python's, are recorded as the numbers that they are."""
    run = new_run()
    for step in range(3):
        run.log({"np": np.float32(0.1), "torch": torch.tensor(0.25), "py": 0.5, "flag": np.bool_(step)}, step=step)
    run.finish()
    found = Recorded(run.dir)
    assert found.column("np") == [float(np.float32(0.1))] * 3
    assert found.column("torch") == [0.25] * 3
    assert found.column("flag") == [0, 1, 1]


NOT_LOGGED = [
    ({"metrics": {"loss": "0.5"}}, InvalidMetricError, "metric 'loss' is a str ('0.5'), not a number"),
    ({"metrics": {"loss": None}}, InvalidMetricError, "leave the metric out of this call"),
    ({"metrics": {"loss": np.zeros(3)}}, InvalidMetricError, "numpy.ndarray of shape (3,)"),
    ({"metrics": {"loss": torch.zeros(2, 2)}}, InvalidMetricError, "torch.Tensor of shape (2, 2)"),
    ({"metrics": {"loss": 0.5, "bad": [1, 2]}}, InvalidMetricError, "metric 'bad' is a list of shape (2,)"),
    ({"metrics": {"loss": 0.5, "a\nb": 1.0}}, InvalidMetricError, "metric name 'a\\nb'"),
    ({"metrics": {"loss": 0.5, "": 1.0}}, InvalidMetricError, "must be a string with a character"),
    ({"metrics": {"loss": 0.5, 7: 1.0}}, InvalidMetricError, "not 7; rename it"),
    ({"metrics": {"loss": 0.5, "step": 1}}, InvalidMetricError, "pass it as run.log(..., step=...)"),
    ({"metrics": {"loss": 0.5, "t": 1.0}}, InvalidMetricError, "metric name 't' is reserved"),
    ({"metrics": {"loss": 0.5, "run_id": 1.0}}, InvalidMetricError, "metric name 'run_id' is reserved"),
    ({"metrics": {}}, InvalidMetricError, "the mapping is empty"),
    ({"metrics": 0.5}, InvalidMetricError, "takes a mapping of names to numbers, not a float (0.5)"),
    ({"metrics": {"loss": 0.5}, "step": math.nan}, InvalidMetricError, "step must be a finite number, not nan"),
    ({"metrics": {"loss": 0.5}, "step": math.inf}, InvalidMetricError, "step must be a finite number, not inf"),
    ({"metrics": {"loss": 0.5}, "step": "3"}, InvalidMetricError, "step must be a finite number, not '3'"),
    ({"metrics": {"loss": 0.5}, "step": True}, InvalidMetricError, "step must be a finite number, not True"),
    ({"metrics": {"loss": 0.5}, "epoch": "first"}, InvalidMetricError, "metric 'epoch' is a str ('first')"),
    ({"metrics": {"loss": 0.5, "epoch": 1}, "epoch": 2}, InvalidMetricError, "epoch is given twice"),
    ({"metrics": {"loss": 0.5}, "split": "a/b"}, InvalidNameError, "split 'a/b' has '/'"),
    ({"metrics": {"loss": 0.5}, "split": 3}, InvalidNameError, "split must be a string"),
    ({"metrics": {"loss": 0.5}, "split": "host"}, InvalidNameError, "split 'host' is reserved"),
]


@pytest.mark.parametrize("is_warm", [False, True], ids=["first", "later"])
@pytest.mark.parametrize(("call", "error", "text"), NOT_LOGGED)
def test_refused_calls(new_run, is_warm, call, error, text):
    """A call that cannot be recorded says why; nothing of it is on disk or counted; the next good one works."""
    run = new_run()
    if is_warm:
        for _ in range(3):
            run.log({"loss": 0.5})
    before = {path.name: path.read_bytes() for path in (run.dir / "facts").iterdir()}
    ledger = run.ledger
    with pytest.raises(error) as caught:
        run.log(call["metrics"], **{name: value for name, value in call.items() if name != "metrics"})
    assert text in str(caught.value)
    assert isinstance(caught.value, MisuseError)
    assert {path.name: path.read_bytes() for path in (run.dir / "facts").iterdir()} == before
    assert (run.ledger.accepted, run.ledger.lost, run.ledger.failures) == (ledger.accepted, 0, {})
    run.log({"loss": 0.25})
    last = Recorded(run.dir).records[-1]
    assert (last["loss"], last["step"]) == (0.25, 3 if is_warm else 0)


def test_after_the_end(new_run):
    """Recording after ``finish`` is refused with what to do, also through a reference to ``log`` that was kept."""
    run = new_run()
    log = run.log
    log({"loss": 0.5})
    run.finish()
    before = {path.name: path.read_bytes() for path in (run.dir / "facts").iterdir()}
    for call in (log, run.log):
        with pytest.raises(RunClosedError) as caught:
            call({"loss": 0.5})
        assert f"run 'run' ({run.id}) is finished; nothing more can be recorded in it. Record before" in str(
            caught.value
        )
        assert f"barograph.init(dir={str(run.dir)!r}, resume='allow')" in str(caught.value)
    assert {path.name: path.read_bytes() for path in (run.dir / "facts").iterdir()} == before


def test_handler_that_logs_while_logging(new_run, monkeypatch):
    """A log call from inside another one, as from a signal handler, records both."""
    run = new_run()
    inner = iter([True])

    class Interrupted(dict):
        def items(self):
            if next(inner, False):
                run.log({"inner": 1.0}, step=50)
            return super().items()

    run.log(Interrupted(loss=0.5), step=1)
    found = Recorded(run.dir)
    assert (found.column("loss"), found.column("inner")) == ([0.5], [1.0])
