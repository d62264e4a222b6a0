"""The grammar of success criteria: what it reads, and what its messages say."""

from __future__ import annotations

import math

import pytest

from barograph.errors import InvalidCriterionError
from barograph.record.criterion import parse_criterion


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("val_loss < 0.3", ("compare", "final", "val_loss", "<", 0.3, None, "step", None)),
        ("val_loss < 0.3 by step 2000", ("compare", "any", "val_loss", "<", 0.3, 2000, "step", None)),
        ("final acc>=.9 by epoch 3 on test", ("compare", "final", "acc", ">=", 0.9, 3, "epoch", "test")),
        ("best acc > 1e-1 on val by step 5", ("compare", "max", "acc", ">", 0.1, 5, "step", "val")),
        ("best loss <= -2", ("compare", "min", "loss", "<=", -2, None, "step", None)),
        ("min val/loss-x.y < inf", ("compare", "min", "val/loss-x.y", "<", math.inf, None, "step", None)),
        ("mean 'tokens per second' > 3", ("compare", "mean", "tokens per second", ">", 3, None, "step", None)),
        ('all "best" != 0', ("compare", "all", "best", "!=", 0, None, "step", None)),
        ("best > 1", ("compare", "final", "best", ">", 1, None, "step", None)),
        ("check == 1", ("compare", "final", "check", "==", 1, None, "step", None)),
        ("  deltaH1   is finite ", ("finite", "all", "deltaH1", "", 0, None, "step", None)),
        ("final deltaH1 is finite", ("finite", "final", "deltaH1", "", 0, None, "step", None)),
        ("f1 exists on test", ("exists", None, "f1", "", 0, None, "step", "test")),
        ("check shapes passed", ("check", None, "shapes", "", 0, None, "step", None)),
        ('check "LoRA tensors" passed', ("check", None, "LoRA tensors", "", 0, None, "step", None)),
    ],
)
def test_what_the_grammar_reads(text, expected):
    """Every form of a criterion is read into its parts, and its text is kept."""
    c = parse_criterion(text)
    assert expected == (c.kind, c.aggregate, c.name, c.op, c.bound, c.by, c.by_unit, c.split)
    assert text == c.text


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("", 0, "expected a metric's name"),
        ("   ", 0, "expected a metric's name"),
        ("val_loss", 8, "expected one of < <= > >= == !=, 'is finite' or 'exists'"),
        ("val_loss << 0.3", 10, "expected a number"),
        ("val_loss < low", 11, "expected a number"),
        ("val_loss < nan", 11, "expected a number"),
        ("val_loss = 0.3", 9, "expected a closing quote, or one of"),
        ("val loss < 0.3", 4, "expected one of < <= > >= == !="),
        ("'val loss < 0.3", 0, "expected a closing quote"),
        ("loss < 0.3 by", 13, "expected 'step' or 'epoch'"),
        ("loss < 0.3 by Tuesday", 14, "expected 'step' or 'epoch'"),
        ("loss < 0.3 by step soon", 19, "expected the number of the last step"),
        ("loss < 0.3 on", 13, "expected a split's name"),
        ("loss < 0.3 please", 11, "expected 'by step N', 'by epoch N', 'on SPLIT', or the end"),
        ("loss < 0.3 by step 2 by step 3", 21, "or the end"),
        ("best loss == 1", 10, "which else has no direction"),
        ("mean loss is finite", 0, "expected 'final', 'any' or 'all' before 'is finite', not 'mean'"),
        ("loss is fine", 8, "expected 'finite'"),
        ("best loss exists", 0, "expected no 'best' before 'exists'"),
        ("check shapes", 12, "expected 'passed'"),
        ("check shapes passed by step 3", 20, "expected the end"),
        ("0.3 > loss", 0, "expected a metric's name"),
        ("loss < 30%", 7, "expected a number"),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text, place, expected):
    """The message shows the text with a caret under the place, says what was expected, and gives examples."""
    with pytest.raises(InvalidCriterionError) as caught:
        parse_criterion(text)
    first, shown, caret, last = str(caught.value).split("\n")
    assert expected in first
    assert f"    {text}" == shown
    assert " " * (4 + place) + "^" == caret
    assert last.startswith("write it like one of: val_loss < 0.3 by step 2000; ")


@pytest.mark.parametrize("value", [None, 3, {"val_loss": 0.3}])
def test_a_criterion_is_a_text(value):
    """Another type is refused with an example."""
    with pytest.raises(InvalidCriterionError, match=r"is a text, not .*write one like"):
        parse_criterion(value)


def test_control_characters_do_not_move_the_caret():
    """A tab or newline in the text is shown as one blank, so the caret stays under its place."""
    with pytest.raises(InvalidCriterionError) as caught:
        parse_criterion("loss\t<\nlow")
    assert "    loss < low\n           ^" in str(caught.value)


@pytest.mark.parametrize("text", ["val_loss < 0.3 by step 2000", "best accuracy >= 0.9 on val"])
def test_the_examples_in_the_message_can_be_read(text):
    """What the message recommends is in the message and is right."""
    with pytest.raises(InvalidCriterionError) as caught:
        parse_criterion("?!")
    assert text in str(caught.value)
    assert text == parse_criterion(text).text
