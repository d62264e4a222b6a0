"""Which runs are meant: a mapping of column values, or an expression such as ``lr < 1e-3 and val_loss < 0.5``.

Columns of the run table may be named in short: ``lr`` is ``config.lr`` when there is no column ``lr``, and
``final_loss`` is ``summary.final_loss``. What no column is named is an error that lists the columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import polars as pl

from barograph.errors import QueryError

PREFIXES: Final = ("", "config.", "summary.")
_TOKEN: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[A-Za-z_][\w./]*|.""", re.DOTALL)
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
    """Whether a cell holds a value; 1 is 1.0 is "1" is not True."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return str(found).lower() == str(wanted).lower()
    return bool(found == wanted) or (found is not None and str(found) == str(wanted))


def _quoted(condition: str, columns: list[str]) -> str:
    """The condition with its column names in quotes, so that dots and slashes belong to the name."""
    pieces = []
    tokens = _TOKEN.findall(condition)
    for place, token in enumerate(tokens):
        rest = "".join(tokens[place + 1 :]).lstrip()
        is_name = re.match(r"[A-Za-z_]", token) and token.lower() not in _WORDS and not rest.startswith("(")
        pieces.append(f'"{resolve(token, columns)}"' if is_name else token)
    return "".join(pieces).replace("==", "=")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
