"""The blocks of the two tiers, word for word as they are documented, and their ASCII form.

Pure functions from an ``on_example`` payload to text. A piece that was not recorded is left out, never made up.
The markers ``FAST LOG`` and ``FULL EVAL`` are what people search the terminal's output for; they never change.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from barograph.facts.kinds import OnExample
from barograph.view.terminal.wording import to_ascii, visible

RULE: Final = "=" * 80
PREVIEW_CHARS: Final = 200
SMALL_GAP: Final = 0.25
LARGE_GAP: Final = 1.0
TITLES: Final = {"fast": "FAST LOG", "full": "FULL EVAL"}
PLAIN_TERMINALS: Final = frozenset({"dumb", "linux", "unknown"})


class Symbols(msgspec.Struct, frozen=True, kw_only=True):
    """The symbols of the console. The decorations carry their space; the marks stand alone.

    Attributes:
        fast: before the title of a fast log.
        full: before the title of a full evaluation.
        prompt: before the prompt.
        golden: before the expected text.
        model: before the model's output.
        loss: before the loss on the example.
        comparison: before the comparison of train and validation loss.
        good: mark of what holds.
        warning: mark of what deserves a look.
        bad: mark of what does not hold.
    """

    fast: str = ""
    full: str = ""
    prompt: str = ""
    golden: str = ""
    model: str = ""
    loss: str = ""
    comparison: str = ""
    good: str = "[OK]"
    warning: str = "[!]"
    bad: str = "[X]"


ASCII: Final = Symbols()
UNICODE: Final = Symbols(
    fast="📝 ",
    full="🔍 ",
    prompt="📝 ",
    golden="✅ ",
    model="🤖 ",
    loss="📉 ",
    comparison="📊 ",
    good="✅",
    warning="⚠️",
    bad="❌",
)


def can_show_symbols(stream: Any, *, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the stream can take the symbols of the blocks.

    Its encoding must hold every one of them; a stream without an encoding (``io.StringIO``) holds all text. On a
    terminal, ``TERM`` must not name one without such glyphs (``dumb``, the Linux console).
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        "".join(msgspec.structs.astuple(UNICODE)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return not (stream.isatty() and environ.get("TERM", "dumb") in PLAIN_TERMINALS)


def preview(text: str, *, limit: int = PREVIEW_CHARS) -> str:
    r"""The first ``limit`` characters and three dots.

    The dots close every preview, as they do in the documented blocks, also one that shows the whole text: the
    block is a preview, and the whole text is in the fact. Newlines and tabs stay; other control characters, and
    with them colour codes, are shown as escapes.

    >>> preview("What is the capital of France?")
    'What is the capital of France?...'
    >>> preview("a\x1b[2Jb")
    'a\\x1b[2Jb...'
    """
    return visible(text[:limit]) + "..."


def gap_mark(train_loss: float, val_loss: float, *, symbols: Symbols = UNICODE) -> str:
    """The mark behind the comparison of train and validation loss.

    Good while the validation loss exceeds the train loss by at most 25 % of it, a warning up to 100 %, bad beyond,
    and bad when either is not finite. It is a mark for the eye at one moment, not a detector of overfitting,
    which needs the curve.

    >>> gap_mark(0.2134, 0.2456) == UNICODE.good
    True
    """
    if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
        return symbols.bad
    gap, scale = val_loss - train_loss, abs(train_loss)
    if gap <= SMALL_GAP * scale:
        return symbols.good
    return symbols.warning if gap <= LARGE_GAP * scale else symbols.bad


def example_block(
    example: OnExample,
    *,
    ascii_only: bool = False,
    preview_chars: int = PREVIEW_CHARS,
) -> str:
    """The console block of one example, without a newline at its end.

    Args:
        example: the payload of an ``on_example`` event.
        ascii_only: no symbols; what else is not ASCII is escaped.
        preview_chars: how much of each text is shown.

    The train loss of the comparison is the windowed mean over recent training losses, not the loss on the
    example. The words are the same for one token as for many, so that one search finds every block.
    """
    symbols = ASCII if ascii_only else UNICODE
    lines = [
        RULE,
        _title(example, symbols),
        RULE,
        f"{symbols.prompt}PROMPT:",
        preview(example.prompt, limit=preview_chars),
        "",
        f"{symbols.golden}GOLDEN{_tokens(example.golden_tokens)}:",
        preview(example.golden, limit=preview_chars),
        "",
        *_model(example, symbols, preview_chars),
        *_losses(example, symbols),
        RULE,
    ]
    block = "\n".join(lines)
    return to_ascii(block) if ascii_only else block


def _title(example: OnExample, symbols: Symbols) -> str:
    symbol = symbols.full if example.tier == "full" else symbols.fast
    return f"{symbol}{TITLES.get(example.tier) or visible(example.tier).upper()} - Step {example.step}"


def _tokens(count: int | None) -> str:
    return "" if count is None else f" ({count} tokens)"


def _model(example: OnExample, symbols: Symbols, preview_chars: int) -> list[str]:
    lines = []
    if example.output is not None:
        title = f"{symbols.model}MODEL{_tokens(example.output_tokens)}:"
        lines = [title, preview(example.output, limit=preview_chars), ""]
    elif example.tier == "fast":
        lines = [f"{symbols.model}MODEL: [Skipped - fast log only]"]
    if example.matched is not None:
        lines.append(f"{symbols.good} MATCH" if example.matched else f"{symbols.bad} NO MATCH")
    return lines


def _losses(example: OnExample, symbols: Symbols) -> list[str]:
    lines = []
    loss, train, val = example.example_loss, example.train_loss_window_mean, example.val_loss
    if loss is not None:
        lines.append(_marked(f"{symbols.loss}LOSS ON THIS EXAMPLE: {_decimal(loss)}", symbols, loss))
    if val is not None:
        start = f"{symbols.comparison}Loss Comparison:"
        if train is None:
            lines.append(_marked(f"{start} Val={_decimal(val)}", symbols, val))
        else:
            gap = val - train if example.gap is None else example.gap
            sign = "+" if gap >= 0 else ""
            lines.append(
                f"{start} Train={_decimal(train)} | Val={_decimal(val)} | Gap={sign}{_decimal(gap)} "
                f"{gap_mark(train, val, symbols=symbols)}"
            )
    return lines


def _marked(line: str, symbols: Symbols, value: float) -> str:
    return line if math.isfinite(value) else f"{line} {symbols.bad}"


def _decimal(value: float) -> str:
    return f"{value:.4f}"
