"""The two blocks, word for word, and what they do with less, more and stranger than they expect."""

from __future__ import annotations

import io
import math

import pytest

from barograph.facts.kinds import OnExample, parse
from barograph.view.terminal.blocks import UNICODE, can_show_symbols, example_block, gap_mark, preview


@pytest.fixture
def fast(make):
    """The payload of a fast log with some keys changed; None takes a key away."""
    return lambda **changes: parse(make.fast(**changes), OnExample)


@pytest.fixture
def full(make):
    """The same of a full evaluation."""
    return lambda **changes: parse(make.full(**changes), OnExample)


@pytest.mark.spec("S1.3", "S1.4", "S1.5", "S1.6", "S1.21", "S1.22", "S1.23", "S1.24", "S1.25", "S1.28")
def test_fast_block_is_the_documented_one(fast, documented):
    """Prompt, golden answer, token count and loss; that generation was skipped is said; no validation loss."""
    assert documented["fast"] == example_block(fast())


@pytest.mark.spec(
    "S1.8", "S1.9", "S1.10", "S1.11", "S1.12", "S1.13", "S1.21", "S1.22", "S1.23", "S1.24", "S1.26", "S1.27",
    "S1.28", "S1.29",
)  # fmt: skip
def test_full_block_is_the_documented_one(full, documented):
    """Prompt, golden answer, output, match, loss, and validation loss with its gap to the train loss."""
    assert documented["full"] == example_block(full())


@pytest.mark.spec("S1.21")
def test_rules_are_80_equals_signs_above_and_below_the_title_and_at_the_end(fast, full):
    """Each block has three of them."""
    for block in (example_block(fast()), example_block(full())):
        lines = block.split("\n")
        assert [0, 2, len(lines) - 1] == [index for index, line in enumerate(lines) if line == "=" * 80]


@pytest.mark.spec("S1.10", "S1.27")
def test_an_output_that_does_not_match_is_marked(full):
    """NO MATCH with a cross."""
    assert "\n\N{CROSS MARK} NO MATCH\n" in example_block(full(matched=False))


def test_blocks_in_ascii_keep_every_word(full, documented):
    """No symbol is left, marks become words in brackets, foreign letters are escaped."""
    block = example_block(full(prompt="Was hei\u00dft das?", matched=False), ascii_only=True)
    expected = documented["full"].replace("What is the capital of France?", "Was hei\\xdft das?")
    expected = expected.replace("\N{WHITE HEAVY CHECK MARK} MATCH", "[X] NO MATCH")
    expected = expected.replace("+0.0322 \N{WHITE HEAVY CHECK MARK}", "+0.0322 [OK]")
    for symbol in (UNICODE.fast, UNICODE.full, UNICODE.golden, UNICODE.model, UNICODE.loss, UNICODE.comparison):
        expected = expected.replace(symbol, "")
    assert expected == block
    assert block.isascii()


@pytest.mark.spec("S3.60")
@pytest.mark.parametrize(
    ("missing", "gone", "stays"),
    [
        ("golden_tokens", " (15 tokens)", "GOLDEN:\nThe capital"),
        ("output_tokens", " (18 tokens)", "MODEL:\nThe capital"),
        ("output", "MODEL", "GOLDEN (15 tokens):\nThe capital of France is Paris...\n\n\u2705 MATCH"),
        ("matched", "MATCH", "largest city...\n\n\N{CHART WITH DOWNWARDS TREND} LOSS"),
        ("example_loss", "LOSS ON THIS EXAMPLE", "\u2705 MATCH\n\N{BAR CHART} Loss"),
        ("val_loss", "Loss Comparison", "EXAMPLE: 0.2134\n="),
        ("train_loss_window_mean", "Train=", "Loss Comparison: Val=0.2456\n="),
    ],
)
def test_a_piece_that_was_not_recorded_is_left_out(full, missing, gone, stays):
    """Only that piece goes; nothing stands in for it."""
    block = example_block(full(**{missing: None}))
    assert gone not in block
    assert stays in block


def test_a_missing_gap_is_the_difference_of_the_two_losses(full):
    """The gap follows from the two numbers beside it."""
    assert "Val=0.2000 | Gap=-0.0134 \N{WHITE HEAVY CHECK MARK}" in example_block(full(gap=None, val_loss=0.2))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"example_loss": math.nan}, "LOSS ON THIS EXAMPLE: nan \N{CROSS MARK}"),
        ({"example_loss": -math.inf}, "LOSS ON THIS EXAMPLE: -inf \N{CROSS MARK}"),
        ({"val_loss": math.nan, "gap": math.nan}, "Train=0.2134 | Val=nan | Gap=nan \N{CROSS MARK}"),
        ({"val_loss": math.inf, "gap": math.inf}, "Train=0.2134 | Val=inf | Gap=+inf \N{CROSS MARK}"),
        (
            {"train_loss_window_mean": math.inf, "gap": -math.inf},
            "Train=inf | Val=0.2456 | Gap=-inf \N{CROSS MARK}",
        ),
        ({"val_loss": math.nan, "train_loss_window_mean": None}, "Comparison: Val=nan \N{CROSS MARK}"),
    ],
)
def test_losses_that_are_not_finite_are_named_and_marked(full, changes, line):
    """A loss that is not a number never looks like a good one."""
    assert line in example_block(full(**changes))


@pytest.mark.spec("S1.12", "S1.16", "S1.29")
@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [
        (0.2134, 0.2456, "good"),
        (0.2, 0.1, "good"),
        (0.4, 0.5, "good"),
        (0.4, 0.51, "warning"),
        (0.4, 0.8, "warning"),
        (0.4, 0.81, "bad"),
        (-1.0, -0.8, "good"),
        (-1.0, -0.7, "warning"),
        (0.0, 0.0, "good"),
        (0.0, 0.1, "bad"),
        (math.nan, 0.1, "bad"),
        (0.1, math.inf, "bad"),
    ],
)
def test_gap_mark_follows_its_rule(train, val, expected):
    """Up to 25 % of the train loss is good, up to 100 % a warning, beyond it bad: overfitting is seen."""
    assert getattr(UNICODE, expected) == gap_mark(train, val)


@pytest.mark.spec("S1.23")
def test_previews_are_cut_at_200_characters():
    """A longer text shows its start, a shorter one all of it; three dots close both."""
    assert preview("x" * 201) == "x" * 200 + "..."
    assert preview("x" * 200) == "x" * 200 + "..."
    assert preview("short") == "short..."


@pytest.mark.spec("S1.23", "S1.24", "S1.26")
def test_all_three_texts_of_a_block_are_cut_the_same_way(full):
    """Prompt, golden answer and output show 200 characters, or as many as were asked for."""
    texts = {"prompt": "p" * 300, "golden": "g" * 300, "output": "o" * 300}
    block = example_block(full(**texts))
    assert [letter * 200 + "..." for letter in "pgo"] == [block.split("\n")[index] for index in (4, 7, 10)]
    shorter = example_block(full(**texts), preview_chars=7)
    assert [shorter.split("\n")[index] for index in (4, 7, 10)] == ["ppppppp...", "ggggggg...", "ooooooo..."]


def test_an_empty_output_is_an_output(full):
    """A model that generated nothing is shown to have done so."""
    assert "MODEL (0 tokens):\n...\n\n" in example_block(full(output="", output_tokens=0))


def test_newlines_and_tabs_of_a_text_stay():
    """A prompt of several lines is shown as such."""
    assert preview("a\n\tb") == "a\n\tb..."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b[31mred", "\\x1b[2J\\x1b[31mred"),
        ("50%\r60%\x08\x07\x00\x7f", "50%\\r60%\\x08\\x07\\x00\\x7f"),
        ("\x9b2J\u2028\u202ereversed", "\\x9b2J\\u2028\\u202ereversed"),
        ("half a character: \ud83d", "half a character: \\ud83d"),
        ("\u65e5\u672c \U0001f600 na\u00efve", "\u65e5\u672c \U0001f600 na\u00efve"),
    ],
)
def test_a_text_cannot_command_the_terminal(text, shown):
    """What a terminal would obey, or no encoding can write, is shown as an escape; other text as it is."""
    assert shown + "..." == preview(text)
    preview(text).encode("utf-8")


def test_a_tier_that_is_not_known_is_named(fast):
    """A newer writer's tier is shown under its own name, and nothing is said to be skipped."""
    block = example_block(fast(tier="deep"))
    assert "\n\N{MEMO} DEEP - Step 10\n" in block
    assert "Skipped" not in block


class FakeTerminal(io.StringIO):
    """A stream that says it is a terminal of some encoding."""

    def __init__(self, encoding, *, tty=True):
        super().__init__()
        self._encoding, self._tty = encoding, tty

    @property
    def encoding(self):
        """The encoding it was made with."""
        return self._encoding

    def isatty(self):
        """What it was made with."""
        return self._tty


@pytest.mark.parametrize(
    ("encoding", "tty", "term", "expected"),
    [
        ("utf-8", True, "xterm-256color", True),
        ("utf-8", True, "linux", False),
        ("utf-8", True, "dumb", False),
        ("utf-8", True, None, False),
        ("utf-8", False, None, True),
        ("ascii", True, "xterm", False),
        ("latin-1", False, None, False),
        ("no-such-codec", False, None, False),
        (None, False, None, True),
    ],
)
def test_symbols_need_an_encoding_and_a_terminal_that_have_them(encoding, tty, term, expected):
    """A pipe needs the encoding only; a terminal must also be one that has such glyphs."""
    environ = {} if term is None else {"TERM": term}
    assert expected is can_show_symbols(FakeTerminal(encoding, tty=tty), environ=environ)
