"""Notions of match between a model's output and the expected text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.errors import MisuseError
from barograph.record.match import MATCH_KINDS, compare_texts, decide

S1_GOLDEN = "The capital of France is Paris"
S1_OUTPUT = "The capital of France is Paris, which is also the largest city"


def test_the_documented_example_matches_only_by_containing():
    """S1 prints MATCH for an output that goes on after the golden text: one of the three notions says so."""
    matches = compare_texts(S1_OUTPUT, S1_GOLDEN)
    assert matches == {"exact": False, "normalised": False, "contains": True}
    assert [decide(matches, kind) for kind in MATCH_KINDS] == [False, False, True]


@pytest.mark.parametrize(
    ("output", "golden"),
    [
        ("Paris.", "paris"),
        ("  the capital\nof\tFRANCE is Paris!", S1_GOLDEN),
        ("\uff30aris", "Paris"),  # full-width P
        ("STRASSE", "stra\u00dfe"),
        ("caf\u00e9", "cafe\u0301"),  # one character, or two
        ("Tokyo\u3002", "tokyo"),
        ("Yes...", "yes"),
    ],
)
def test_normalised_spellings_are_equal(output, golden):
    """Case, white space, Unicode form and closing sentence marks make no difference, except to ``exact``."""
    assert compare_texts(output, golden) == {"exact": False, "normalised": True, "contains": True}


@pytest.mark.parametrize(("output", "golden"), [("C++", "C"), ("50%", "50"), ("!", "?"), ("a b", "ab"), ("", "a")])
def test_what_normalising_keeps_apart(output, golden):
    """Marks that carry meaning, and the words themselves, stay."""
    assert not compare_texts(output, golden)["normalised"]


@pytest.mark.parametrize(
    ("output", "golden", "expected"),
    [
        ("a parisian caf\u00e9", "Paris", False),
        ("in comparison", "paris", False),
        ("paris_1", "paris", False),
        ("(Paris)", "paris", True),
        ("it's paris-based", "paris", True),
        ("parisian, no: paris", "paris", True),  # the first place is no word, the second is
        ("the answer is 3.5", "3", False),
        ("the answer is 13", "3", False),
        ("the answer is -3", "3", False),
        ("the answer is \u22123", "3", False),
        ("the answer is 1,300", "300", False),
        ("the answer is 1,300", "1", False),
        ("the answer is 3.", "3", True),
        ("of 2-3 items", "3", True),
        ("3, 4 and 5", "3", True),
        ("10-5", "-5", False),
        ("x = -5", "-5", True),
        ("\u9996\u90fd\u306f\u30d1\u30ea\u3067\u3059", "\u30d1\u30ea", True),  # Japanese has no spaces
        ("\u5171 13 \u4e2a", "3", False),
        ("\u0915\u0940", "\u0915", False),  # a Hindi vowel sign belongs to its letter
        ("\u0e01\u0e35", "\u0e01", False),  # nor is a Thai one a word of its own
        ("anything", "", False),
        ("", "", True),
        ("   ", "", True),
    ],
)
def test_contains_needs_whole_words_and_numbers(output, golden, expected):
    """The golden text counts only where it is not a piece of a longer word or number."""
    assert expected == compare_texts(output, golden)["contains"]


@given(st.text(), st.text())
def test_each_notion_includes_the_one_before(output, golden):
    """Exact implies normalised, and normalised implies contains."""
    matches = compare_texts(output, golden)
    assert matches["exact"] <= matches["normalised"] <= matches["contains"]
    assert (output == golden) == matches["exact"]


@given(st.text())
def test_a_text_matches_itself(text):
    """Every notion holds between equal texts, whatever is in them."""
    assert compare_texts(text, text) == {"exact": True, "normalised": True, "contains": True}


@given(st.text(alphabet="ab 3.,-", max_size=12), st.text(alphabet="ab3.-", min_size=1, max_size=4))
def test_spaces_around_the_golden_text_make_it_contained(around, golden):
    """Between spaces any text stands as a whole, so it is found."""
    assert compare_texts(f"{around} {golden} {around}", golden)["contains"]


@pytest.mark.parametrize(("output", "golden"), [(None, "a"), ("a", 3), (b"a", "a")])
def test_only_texts_are_compared(output, golden):
    """The fast tier's missing output, or tokens, are refused with what to do."""
    with pytest.raises(MisuseError, match=r"must be a string, not .*; decode the tokens first"):
        compare_texts(output, golden)


def test_an_unknown_notion_is_refused():
    """The message lists the notions."""
    with pytest.raises(MisuseError, match="'fuzzy' is no notion of match; use one of exact, normalised, contains"):
        decide(compare_texts("a", "a"), "fuzzy")
