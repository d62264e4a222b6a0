"""Numbers and times as a person reads them; what they are exactly stands in the manifest and in the files of data."""

from __future__ import annotations

import datetime as dt
import math
from typing import Final

from barograph.report.document import Badge, Cell, Prose, Shown, Style
from barograph.report.values import Value

NOTHING: Final = "-"
_THOUSAND: Final = 1000
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_WHOLE_BELOW: Final = 1e6


def cell_text(cell: Cell) -> str:
    """A cell as text."""
    if isinstance(cell, Shown):
        return value_text(cell.number.value, cell.style)
    return cell.text if isinstance(cell, Badge) else cell


def prose_text(prose: Prose) -> str:
    """A paragraph as text."""
    return "".join(map(cell_text, prose.parts))


def value_text(value: Value, style: Style = "number") -> str:
    """A value for a person.

    >>> value_text(0.123456), value_text(12345, "integer"), value_text(None), value_text(float("-inf"))
    ('0.1235', '12,345', '-', '-inf')
    >>> value_text(75.2, "seconds"), value_text(0.0321, "percent"), value_text(2_500_000, "bytes")
    ('1 min 15 s', '3.2 %', '2.5 MB')
    """
    if value is None:
        return NOTHING
    if isinstance(value, (bool, str)):
        return str(value).lower() if isinstance(value, bool) else value
    if not math.isfinite(value):
        return str(value)
    return _number_text(value, style)


def _number_text(value: float, style: Style) -> str:
    match style:
        case "integer":
            return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
        case "seconds":
            return _duration(value)
        case "time":
            return time_text(value)
        case "bytes":
            return _size(value)
        case "percent":
            return f"{100 * value:.2g} %" if abs(value) < 0.99 else f"{100 * value:.3g} %"  # noqa: PLR2004 - 99.9, not 1e+02
        case "number" | "text":
            is_whole = float(value).is_integer() and abs(value) < _WHOLE_BELOW
            return str(int(value)) if is_whole else f"{value:.4g}"


def time_text(t: float) -> str:
    """Unix seconds as a date and time, UTC."""
    try:
        return f"{dt.datetime.fromtimestamp(t, tz=dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{t:.4g}"


def _duration(seconds: float) -> str:
    if seconds < 0.9995:  # noqa: PLR2004 - what would be shown as 1000 ms is a second
        return f"{_THOUSAND * seconds:.3g} ms" if seconds else "0 s"
    if seconds < _MINUTE_S:
        return f"{seconds:.3g} s"
    minutes, rest_s = divmod(int(seconds), _MINUTE_S)
    if seconds < _HOUR_S:
        return f"{minutes} min {rest_s} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if abs(num_bytes) < _THOUSAND:
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= _THOUSAND
    return f"{num_bytes:.1f} TB"
