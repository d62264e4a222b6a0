"""Which runs are meant: a mapping of column values, or an expression such as ``lr < 1e-3 and val_loss < 0.5``.

Columns of the run table may be named in short: ``lr`` is ``config.lr`` when there is no column ``lr``, and
``final_loss`` is ``summary.final_loss``. What no column is named is an error that lists the columns. NaN is larger
than every number and equal to itself, as in SQL engines; what is missing fulfils no condition but ``is null``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import polars as pl

from barograph.errors import QueryError

PREFIXES: Final = ("", "config.", "summary.")
_TOKEN: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?!\w)|[^\W\d][\w./]*|.""", re.DOTALL
)
_WORDS: Final = frozenset(
    {"and", "or", "not", "in", "is", "null", "like", "ilike", "between", "true", "false"}
    | {"case", "when", "then", "else", "end", "cast", "as", "int", "float", "double", "text", "varchar", "bigint"}
)


def select_runs(table: pl.DataFrame, wanted: str | Mapping[str, Any]) -> pl.Series:
    """Which rows of a run table are wanted, as a mask.

    Args:
        table: one row per run.
        wanted: column -> value, or list of values (all must hold); or an SQL condition over the columns.

    Raises:
        QueryError: a column does not exist, or the condition cannot be read.
    """
    if isinstance(wanted, Mapping):
        mask = pl.Series([True] * table.height)
        for name, value in wanted.items():
            column = table[resolve(name, table.columns)]
            values = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
            mask &= pl.Series([any(_is_same(found, it) for it in values) for found in column.to_list()])
        return mask
    condition = _quoted(wanted, table.columns)
    try:
        found = table.select(pl.sql_expr(condition).fill_null(value=False).alias("chosen"))["chosen"]
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise QueryError(
            f"cannot read the condition {wanted!r}: {_first_line(error)}; write e.g. \"lr < 1e-3 and name = 'mlp'\""
        ) from None
    if found.dtype != pl.Boolean:
        raise QueryError(f'{wanted!r} is of type {found.dtype}, not a condition; write e.g. "lr < 1e-3"')
    return found if len(found) == table.height else pl.Series([bool(found[0])] * table.height)


def resolve(name: str, columns: Iterable[str]) -> str:
    """The column that a name means.

    Raises:
        QueryError: there is none.
    """
    there = list(columns)
    for prefix in PREFIXES:
        if prefix + name in there:
            return prefix + name
    raise QueryError(f"there is no column {name!r}; there are {', '.join(there)}")


def _is_same(found: Any, wanted: Any) -> bool:
    """Whether a cell holds a value; 1 is 1.0 is "1" is "1e0" is not True; NaN is NaN."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return str(found).lower() == str(wanted).lower()
    if found == wanted or found is None:
        return bool(found == wanted)
    return str(found) == str(wanted) or (isinstance(found, (int, float)) and _as_number(wanted) == found)


def _as_number(text: Any) -> float | None:
    try:
        return float(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _quoted(condition: str, columns: list[str]) -> str:
    """The condition with its column names in quotes, so that dots and slashes belong to the name."""
    pieces = []
    tokens = _TOKEN.findall(condition)
    for place, token in enumerate(tokens):
        name = _name(token, "".join(tokens[place + 1 :]).lstrip())
        pieces.append(token if name is None else _as_identifier(resolve(name, columns)))
    return "".join(pieces)


def _name(token: str, rest: str) -> str | None:
    """The column that a token names; None when it is something else."""
    if len(token) > 1 and token[0] == '"':
        return token[1:-1].replace('""', '"')
    is_name = re.match(r"[^\W\d]", token) and token.lower() not in _WORDS and not rest.startswith("(")
    return token if is_name else None


def _as_identifier(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
