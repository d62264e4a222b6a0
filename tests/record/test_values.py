"""What may be logged, what becomes of it, and what is said about everything else."""

from __future__ import annotations

import decimal
import fractions
import math
from enum import IntEnum

import numpy as np
import pytest
import torch

from barograph.errors import InvalidMetricError, InvalidNameError, MisuseError
from barograph.record.values import (
    MAX_KEY_CHARACTERS,
    check_metric_name,
    check_metrics,
    check_split,
    check_step,
    is_on_device,
    plain_number,
)


class Level(IntEnum):
    """An integer with a name."""

    HIGH = 3


class Exact(float):
    """A float of another class."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1, 0.1),
        (-0.0, -0.0),
        (5e-324, 5e-324),
        (7, 7),
        (2**80, 2**80),
        (True, 1),
        (Level.HIGH, 3),
        (Exact(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float16(0.1), float(np.float16(0.1))),
        (np.int64(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), 1),
        (np.array(0.25), 0.25),
        (np.array([[0.25]]), 0.25),
        (torch.tensor(0.25), 0.25),
        (torch.tensor([[0.25]]), 0.25),
        (torch.tensor(0.1, dtype=torch.bfloat16), torch.tensor(0.1, dtype=torch.bfloat16).item()),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        (torch.tensor(2**40), 2**40),
        (torch.tensor(True), 1),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (torch.tensor(math.inf), math.inf),
    ],
)
def test_numbers(value, expected):
    """Anything that is one number becomes an int or a float of exactly that value; booleans become 0 and 1."""
    found = plain_number("loss", value)
    assert type(found) in (int, float)
    assert (found, math.copysign(1, found)) == (expected, math.copysign(1, expected))


@pytest.mark.parametrize("value", [math.nan, np.float32("nan"), torch.tensor(math.nan)])
def test_nan_is_a_number(value):
    """NaN is a fact too."""
    assert math.isnan(plain_number("loss", value))


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("0.5", ["is a str ('0.5')", "float('0.5')", "run.text()"]),
        (None, ["is a NoneType (None)", "leave the metric out", "float('nan')"]),
        ([0.5, 0.6], ["is a list of shape (2,)", "a reduction", "run.histogram('loss', ...)"]),
        ((), ["is a tuple of shape (0,)"]),
        ([0.5], ["is a list ([0.5])", "float()"]),
        ({"a": 1}, ["is a dict ({'a': 1})", "flat names", '"val/loss"']),
        (np.zeros((2, 3)), ["is a numpy.ndarray of shape (2, 3)", "a reduction"]),
        (np.zeros(0), ["is a numpy.ndarray of shape (0,)"]),
        (torch.zeros(4), ["is a torch.Tensor of shape (4,)", "a reduction"]),
        (1 + 2j, ["is a complex ((1+2j))", "float()"]),
        (np.complex128(1 + 2j), ["is a numpy.complex128", "cannot hold exactly", "float()"]),
        (np.str_("0.5"), ["is a numpy.str"]),
        (np.datetime64("2026-01-01"), ["is a numpy.datetime64"]),
        (decimal.Decimal("0.1"), ["is a decimal.Decimal (Decimal('0.1'))", "float()"]),
        (fractions.Fraction(1, 3), ["is a fractions.Fraction (Fraction(1, 3))", "float()"]),
        (b"1", ["is a bytes (b'1')"]),
        (object, ["is a type"]),
        ("x" * 500, ["x" * 70]),
    ],
)
def test_what_is_no_number(value, parts):
    """What is no single real number is refused with its name, type, value and the next step, in a short message."""
    with pytest.raises(InvalidMetricError) as caught:
        plain_number("loss", value)
    message = str(caught.value)
    assert message.startswith("metric 'loss' is a ")
    assert [part for part in parts if part not in message] == []
    assert len(message) < 400
    assert isinstance(caught.value, (TypeError, MisuseError))


@pytest.mark.parametrize("name", ["step", "t", "split", "rank", "attempt", "run_id", "nonfinite"])
def test_reserved_names(name):
    """A name that the recorder writes itself is refused, with where it belongs."""
    with pytest.raises(InvalidMetricError, match=f"metric name '{name}' is reserved") as caught:
        check_metric_name(name)
    hint = f"pass it as run.log(..., {name}=...)" if name in {"step", "split"} else "rename the metric"
    assert str(caught.value).endswith(hint)


@pytest.mark.parametrize(
    "name", ["loss", "val/loss", "layer.0.weight grad", "Verlust_\u00fc", "\u640d\u5931", "a" * 500, "epoch"]
)
def test_names_that_may_be_used(name):
    """Names may hold slashes, dots, spaces and letters of any script."""
    check_metric_name(name)


@pytest.mark.parametrize(
    "name", ["", 7, None, ("a",), "a\nb", "a\x00", "\x1b[31m", "a" * (MAX_KEY_CHARACTERS + 1), "\udc80"]
)
def test_names_that_cannot_be_used(name):
    """A name that is no text, is empty, too long or has control characters is refused with its value."""
    with pytest.raises(InvalidMetricError) as caught:
        check_metric_name(name)
    assert repr(name)[:40] in str(caught.value)
    assert str(caught.value).endswith("rename it")


@pytest.mark.parametrize("metrics", [None, 0.5, [("loss", 0.5)], "loss", torch.tensor(0.5)])
def test_metrics_that_are_no_mapping(metrics):
    """``run.log(0.5)`` is told how to write it."""
    with pytest.raises(InvalidMetricError, match=r"takes a mapping of names to numbers, not a .* write run\.log\("):
        check_metrics(metrics)


def test_no_metrics_at_all():
    """An empty call is refused: it would be a step without a fact."""
    with pytest.raises(InvalidMetricError, match="the mapping is empty; leave the call out or name a metric"):
        check_metrics({})


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0), (-5, -5), (0.5, 0.5), (np.int64(7), 7), (torch.tensor(7), 7), (2**60, 2**60)]
)
def test_steps(step, expected):
    """Steps may be negative, fractional, large, and come from numpy or torch."""
    assert check_step(step) == expected


@pytest.mark.parametrize("step", [math.nan, math.inf, -math.inf, "7", None, True, [1], torch.tensor(math.nan)])
def test_steps_that_are_none(step):
    """A step that is no finite number is refused with its value."""
    with pytest.raises(InvalidMetricError) as caught:
        check_step(step)
    assert str(caught.value) == f"step must be a finite number, not {step!r:.80}; pass the loop's counter"


@pytest.mark.parametrize("split", ["", "a/b", "a\nb", None, 3, "host"])
def test_splits_that_cannot_be_used(split):
    """A split becomes part of a file's header; control characters, separators and the host's own name are refused."""
    with pytest.raises(InvalidNameError) as caught:
        check_split(split)
    assert repr(split) in str(caught.value)


def test_values_on_a_device():
    """Whether a value lies on a GPU is known without importing a framework."""
    assert not is_on_device(0.5)
    assert not is_on_device(torch.zeros(()))
