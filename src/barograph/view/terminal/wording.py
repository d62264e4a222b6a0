"""Numbers, times and foreign text in words that a terminal can show.

Pure functions from values to strings. Text from outside (prompts, names, messages) goes through ``visible`` or
``one_line``, so that nobody's prompt moves the cursor or changes a colour.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from barograph.watch.eta import EtaRange

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0
DAY_S: Final = 86400.0
KILO: Final = 1000
# Control characters but newline and tab, separators that some terminals take for a newline, marks that reverse
# the direction of text, and surrogates, which no encoding can write.
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Escape what a terminal would obey instead of show; newlines and tabs stay.

    >>> visible("red: \x1b[31m")
    'red: \\x1b[31m'
    """
    return _UNSAFE.sub(lambda match: repr(match[0])[1:-1], text)


def one_line(text: str, *, limit: int | None = None) -> str:
    r"""The text on one line, whitespace collapsed, cut to ``limit`` characters with three dots.

    >>> one_line("a\n  b", limit=20), one_line("abcdefgh", limit=6)
    ('a b', 'abc...')
    """
    line = visible(" ".join(text.split()))
    if limit is not None and len(line) > limit:
        line = line[: limit - 3] + "..."
    return line


def to_ascii(text: str) -> str:
    r"""What is not ASCII as a backslash escape.

    >>> to_ascii("na\u00efve")
    'na\\xefve'
    """
    return text.encode("ascii", "backslashreplace").decode("ascii")


def number(value: Any) -> str:
    """A metric for a person: four significant digits, whole numbers whole, non-finite ones by name.

    >>> number(0.123456), number(1200.0), number(1e-7), number(float("nan"))
    ('0.1235', '1200', '1e-07', 'nan')
    """
    if isinstance(value, float):
        if value.is_integer() and abs(value) < KILO**3:
            return str(int(value))
        return f"{value:.4g}"
    return one_line(str(value), limit=60)


def significant(value: float) -> str:
    """Two significant digits, and no fewer than the whole part has; three near a hundred, which is often all there is.

    >>> significant(2.345), significant(34.5), significant(99.4), significant(234.5)
    ('2.3', '34', '99.4', '234')
    """
    if abs(value) >= KILO:
        return f"{value:.0f}"
    return f"{value:.2g}" if abs(value) < 99 else f"{value:.3g}"  # noqa: PLR2004 - see above


def fields(values: dict[str, Any]) -> str:
    """Names and numbers side by side.

    >>> fields({"loss": 0.25, "lr": 1e-4})
    'loss 0.25  lr 0.0001'
    """
    return "  ".join(f"{one_line(str(name))} {number(value)}" for name, value in values.items())


def duration(seconds: float) -> str:
    """A measured duration.

    >>> duration(0.0123), duration(0.99971), duration(6.21), duration(75), duration(4000), duration(200_000)
    ('12.3 ms', '1 s', '6.2 s', '1 min 15 s', '1 h 6 min', '2 d 7 h')
    """
    if not math.isfinite(seconds):
        return number(seconds)
    if seconds < 0.9995:  # noqa: PLR2004 - what is shown as 1000 ms is a second
        return f"{seconds * KILO:.3g} ms" if seconds else "0 s"
    if seconds < MINUTE_S:
        return f"{seconds:.2g} s"
    if seconds < HOUR_S:
        return _two(seconds, MINUTE_S, "min", 1.0, "s")
    if seconds < DAY_S:
        return _two(seconds, HOUR_S, "h", MINUTE_S, "min")
    return _two(seconds, DAY_S, "d", HOUR_S, "h")


def _two(seconds: float, unit_s: float, unit: str, part_s: float, part: str) -> str:
    whole, rest = divmod(int(seconds // part_s), round(unit_s / part_s))
    return f"{whole} {unit} {rest} {part}" if rest else f"{whole} {unit}"


def time_left(left: EtaRange) -> str:
    """The time left; the range is rounded outwards, so that rounding never makes it narrower.

    >>> from barograph.watch.eta import EtaRange
    >>> time_left(EtaRange(low_s=130, high_s=175, n=9)), time_left(EtaRange(low_s=50, high_s=75, n=9))
    ('2-3 min', '50 s-2 min')
    >>> time_left(EtaRange(low_s=4000, high_s=6000, n=9)), time_left(EtaRange(low_s=50, high_s=float("inf"), n=9))
    ('1.1-1.7 h', 'over 50 s')
    """
    low, low_unit = _rounded(left.low_s, math.floor)
    if math.isinf(left.high_s):
        return f"over {low} {low_unit}"
    high, high_unit = _rounded(left.high_s, math.ceil)
    if low_unit != high_unit:
        return f"{low} {low_unit}-{high} {high_unit}"
    return f"{high} {high_unit}" if low == high else f"{low}-{high} {high_unit}"


def _rounded(seconds: float, towards: Any) -> tuple[str, str]:
    if seconds < MINUTE_S:
        return str(towards(seconds)), "s"
    if seconds < HOUR_S:
        return str(towards(seconds / MINUTE_S)), "min"
    unit_s, unit = (HOUR_S, "h") if seconds < 2 * DAY_S else (DAY_S, "d")
    return f"{towards(10 * seconds / unit_s) / 10:g}", unit


def size(num_bytes: float) -> str:
    """A size in decimal units.

    >>> size(512), size(1_234_567)
    ('512 B', '1.2 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < KILO:
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= KILO
    return f"{num_bytes:.1f} TB"


def percent(share: float) -> str:
    """A share of one, with two significant digits.

    >>> percent(0.0321), percent(0.5), percent(0.000042), percent(0.999)
    ('3.2 %', '50 %', '0.0042 %', '99.9 %')
    """
    return f"{significant(100 * share)} %"


def ascii_bar(fraction: float, *, width: int = 10) -> str:
    """A progress bar of plain characters; full only when everything is done.

    >>> ascii_bar(0.6), ascii_bar(0.999)
    ('[######----]', '[#########-]')
    """
    filled = math.floor(width * min(1.0, max(0.0, fraction)) + 1e-9)
    return f"[{'#' * filled}{'-' * (width - filled)}]"
