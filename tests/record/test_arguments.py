"""Checks of texts, lists of texts and counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from barograph.errors import MisuseError
from barograph.record.arguments import texts, title, whole, whole_or_none


@pytest.mark.parametrize("values", [[], ["a"], ("a", "b"), iter(["a"]), {"a": 1}])
def test_lists_of_texts(values):
    """Anything that yields texts is a list of texts."""
    assert texts(values, what="tags") in ([], ["a"], ["a", "b"])


@pytest.mark.parametrize("values", ["ab", b"ab", 7, None, [1], ["a", None]])
def test_what_is_no_list_of_texts(values):
    """One text alone would be taken for its characters, so it is refused like the rest, with its value."""
    with pytest.raises(MisuseError) as caught:
        texts(values, what="tags")
    assert str(caught.value) == f"tags must be a list of texts, not {values!r}; write tags=[...]"


@pytest.mark.parametrize("value", [3, np.int32(3), np.uint8(3), torch.tensor(3)])
def test_integers(value):
    """Integers of Python, numpy and torch become Python's."""
    found = whole(value, what="step")
    assert (type(found), found) == (int, 3)


@pytest.mark.parametrize("value", [3.0, "3", None, True, [3], np.array([3, 4]), float("nan")])
def test_what_is_no_integer(value):
    """Floats, texts and booleans are no integers."""
    with pytest.raises(MisuseError, match=r"^step must be an integer, not .*; convert it with int\(\)"):
        whole(value, what="step")


def test_bounds():
    """A bound is part of the message; what may be left out may be None."""
    assert (whole(0, what="n", least=0), whole_or_none(None, what="n", least=1)) == (0, None)
    for check in (whole, whole_or_none):
        with pytest.raises(MisuseError, match="n must be an integer from 1 on, not 0"):
            check(0, what="n", least=1)


@pytest.mark.parametrize("text", ["", " ", None, 7, b"x"])
def test_titles(text):
    """A name must say something."""
    assert title("LoRA tensors", what="name") == "LoRA tensors"
    with pytest.raises(MisuseError, match="the check's name must be a text, not ") as caught:
        title(text, what="check's name")
    assert repr(text) in str(caught.value)
