"""SQL over runs, to look and never to change: ``runs``, ``metrics``, ``events`` and ``alerts`` as tables.

The engine is polars'. A table is read when a query names it, and of the metrics only the runs, names, splits and
columns that it asks for, a run at a time, so that memory does not grow with the number of runs. Files are out of
reach: a query is one SELECT, and the functions that read files are refused.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from barograph.errors import QueryError
from barograph.facts.log import Damage
from barograph.read.arrays import Series, read_series
from barograph.read.frames import EVENT_SCHEMA, Runs
from barograph.read.metrics import MetricKey
from barograph.read.run import RunReader

METRIC_SCHEMA: Final[dict[str, Any]] = {
    "run": pl.String,
    "name": pl.String,
    "split": pl.String,
    "attempt": pl.Int32,
    "rank": pl.Int32,
    "step": pl.Float64,
    "t": pl.Float64,
    "value": pl.Float64,
    "effective": pl.Boolean,
    "finite": pl.Boolean,
}
TABLES: Final = ("runs", "metrics", "events", "alerts")
KEYS: Final = ("run", "name", "split", "rank")
_TOKEN: Final = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|/\*.*?\*/)|(?P<text>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")*")"""
    r"""|(?P<word>[^\W\d]\w*)|(?P<other>[\d.]+|.)""",
    re.DOTALL,
)
_READS_FILES: Final = re.compile(
    r"(?:read|scan)_(?:avro|clipboard|csv|database|delta|excel|iceberg|ipc|json|lines|ndjson|ods|parquet|pyarrow)",
    re.IGNORECASE,
)
_CHANGES: Final = frozenset(
    {"alter", "analyze", "attach", "call", "copy", "create", "delete", "detach", "drop", "execute", "export", "grant"}
    | {"import", "insert", "install", "into", "load", "merge", "pragma", "prepare", "revoke", "truncate"}
    | {"unload", "update", "vacuum"}
)
_OPENINGS: Final = ("select", "with", "(")
_MISSING_COLUMN: Final = re.compile(r"""column (?:named )?['"]([^'"]+)['"]""")
_NESTED: Final = ("config", "summary")

Token = tuple[str, str]


def query(runs: Runs, text: str) -> pl.DataFrame:
    """Answer a query.

    - ``runs``: a row per run, ``run`` (its directory) and the columns of ``Runs.table``; ``config.lr`` needs no quotes.
    - ``metrics``: a row per recorded number: ``run, name, split, attempt, rank, step, t, value``, ``effective`` (no
      later attempt recorded it again at this step), ``finite``. Samples of the machine have the split ``host``.
    - ``events``: ``run, seq, t, moment, attempt, rank``, ``payload`` as JSON.
    - ``alerts``: ``run, t, level, title, text``, ``alert`` as JSON.

    NaN and infinities are values, and no NULLs. As in polars, NaN is equal to itself and greater than everything
    else: ``value > 2`` holds for it, ``max`` and ``min`` pass over it unless there is nothing else, and sums and means
    with it are NaN. ``where finite`` leaves out all three.

    Args:
        runs: what ``load_runs`` gives.
        text: one SELECT, or WITH ... SELECT.

    Raises:
        QueryError: it is anything else, or cannot be answered; the message says what there is.
    """
    tokens = _checked(text)
    frames = {name: make(runs) for name, make in _TABLES.items() if _names(tokens, name)}
    plain = _with_whole_names(tokens, frames["runs"].collect_schema().names()) if "runs" in frames else text
    try:
        with pl.SQLContext(frames=frames, register_globals=False, eager=False) as context:
            return context.execute(plain.rstrip().rstrip(";")).collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise QueryError(_in_words(error, text, frames)) from None


def _checked(text: str) -> list[Token]:
    """The tokens of a query that is one SELECT and reaches for no file.

    Raises:
        QueryError: it is not.
    """
    found = _READS_FILES.search(text)
    if found:
        raise QueryError(
            f"{found.group()!r} would read a file, which a query may not; ask {', '.join(TABLES[:-1])} or {TABLES[-1]}."
            f" If it is part of a text, write that in two: 'rea' || 'd_...'"
        )
    if not _is_text(text):
        raise QueryError(f"{text!r} holds what is no character; write the query in UTF-8")
    tokens = [(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(text)]
    heard = [token for token in tokens if token[0] != "skip"]
    while heard and heard[-1] == ("other", ";"):
        heard.pop()
    openings = [word.lower() for _, word in heard if word != "("]
    if not heard or heard[0][1].lower() not in _OPENINGS or not openings or openings[0] not in _OPENINGS:
        start = heard[0][1] if heard else ""
        raise QueryError(f"a query is one SELECT, or WITH and a SELECT; this one begins with {start!r}")
    if ("other", ";") in heard:
        raise QueryError("there is a ';' inside, and a query is one statement; ask for one thing at a time")
    before = [("", ""), *heard]
    changes = [
        word
        for (_, previous), (kind, word) in zip(before, heard, strict=False)
        if kind == "word" and word.lower() in _CHANGES and not previous.endswith(".")  # config.load is a column
    ]
    if changes:
        raise QueryError(
            f"{changes[0].upper()} would change something, and a query only looks; "
            f'if a column is called so, write it in quotes: "{changes[0]}"'
        )
    return tokens


def _is_text(text: str) -> bool:
    """Whether it can be handed to the engine; bytes of a command line that are no UTF-8 arrive as surrogates."""
    return not re.search(r"[\ud800-\udfff]", text)


def _names(tokens: Sequence[Token], table: str) -> bool:
    """Whether a query may name a table."""
    return any(word.strip('"').lower() == table for kind, word in tokens if kind in ("word", "quoted"))


def _with_whole_names(tokens: Sequence[Token], columns: Sequence[str]) -> str:
    """The query with quotes around ``config.optim.lr`` and the like, wherever such a column exists."""
    words = [word for _, word in tokens]
    dotted = sorted((name for name in columns if name.startswith(_NESTED)), key=len, reverse=True)
    place, pieces = 0, []
    while place < len(tokens):
        kind, word = tokens[place]
        taken = 1
        if kind == "word" and word.lower() in _NESTED:
            rest = "".join(words[place:])
            name = next((it for it in dotted if rest.startswith(it) and not _goes_on(rest, len(it))), None)
            if name is not None:
                word, taken = '"' + name.replace('"', '""') + '"', _num_tokens(words[place:], len(name))
        pieces.append(word)
        place += taken
    return "".join(pieces)


def _goes_on(text: str, place: int) -> bool:
    """Whether a name that ends at a place is only the beginning of one."""
    return bool(re.match(r"\w|\.\w", text[place:]))


def _num_tokens(words: Sequence[str], num_characters: int) -> int:
    """How many words make up the first characters; a name may end within a token such as ``0.5``."""
    total = 0
    for count, word in enumerate(words, start=1):
        total += len(word)
        if total >= num_characters:
            return count
    return len(words)


def _runs(runs: Runs) -> pl.LazyFrame:
    table = runs.table if runs.readers else pl.DataFrame(schema={"run_dir": pl.String, "name": pl.String})
    return table.select(pl.col("run_dir").alias("run"), pl.all()).lazy()


def _metrics(runs: Runs) -> pl.LazyFrame:
    def read(
        columns: list[str] | None, predicate: pl.Expr | None, num_rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        named = set() if predicate is None else set(predicate.meta.root_names())
        wanted = [name for name in METRIC_SCHEMA if columns is None or name in columns or name in named] or ["rank"]
        frames = (_metrics_of(reader, keys, wanted) for reader, keys in _curves(runs.readers, predicate))
        return _served(frames, columns, predicate, num_rows)

    return register_io_source(read, schema=METRIC_SCHEMA)


def _served(
    frames: Iterable[pl.DataFrame], columns: list[str] | None, predicate: pl.Expr | None, num_rows: int | None
) -> Iterator[pl.DataFrame]:
    """What the engine asked for of the frames: the first rows, of these those that it wants, of these some columns."""
    for frame in frames:
        first = frame if num_rows is None else frame.head(num_rows)
        if num_rows is not None:
            num_rows -= first.height
        chosen = first if predicate is None else first.filter(predicate)
        if columns:
            chosen = chosen.select(columns)
        yield pl.DataFrame(height=chosen.height) if columns == [] else chosen  # a cross join may ask for rows alone
        if num_rows == 0:
            return


def _curves(readers: Sequence[RunReader], predicate: pl.Expr | None) -> Iterator[tuple[RunReader, list[MetricKey]]]:
    """The curves that a condition asks for, by what it says of runs, names, splits and ranks and of nothing else."""
    chosen = _chosen_readers(readers, predicate)
    parts = _parts_about(KEYS, predicate)
    if not parts:
        yield from ((reader, reader.metric_keys()) for reader in chosen)
        return
    found = [(reader, key) for reader in chosen for key in reader.metric_keys()]
    schema = {name: METRIC_SCHEMA[name] for name in KEYS}
    rows = [(str(reader.path), key.name, key.split, key.rank) for reader, key in found]
    kept = pl.DataFrame(rows, schema=schema, orient="row").with_row_index("place").filter(*parts)["place"]
    for reader, group in itertools.groupby((found[place] for place in kept), key=itemgetter(0)):
        yield reader, [key for _, key in group]


def _chosen_readers(readers: Sequence[RunReader], predicate: pl.Expr | None) -> Sequence[RunReader]:
    """The runs that a condition asks for by name."""
    parts = _parts_about(("run",), predicate)
    if not parts:
        return readers
    names = pl.DataFrame({"run": [str(reader.path) for reader in readers]}, schema={"run": pl.String})
    return [readers[place] for place in names.with_row_index("place").filter(*parts)["place"]]


def _parts_about(columns: Sequence[str], predicate: pl.Expr | None) -> list[pl.Expr]:
    """The parts of a condition that must all hold and are about nothing but these columns."""
    parts = [] if predicate is None else _conjuncts(predicate)
    return [part for part in parts if set(part.meta.root_names()) <= set(columns)]


def _conjuncts(condition: pl.Expr) -> list[pl.Expr]:
    """The parts of ``a AND b AND c``."""
    parts = condition.meta.pop()
    if len(parts) == 2:  # noqa: PLR2004 - AND has two sides
        for left, right in (parts, parts[::-1]):
            if (left & right).meta.eq(condition):
                return [*_conjuncts(left), *_conjuncts(right)]
    return [condition]


def _metrics_of(reader: RunReader, keys: list[MetricKey], columns: list[str]) -> pl.DataFrame:
    """The points of some curves of a run."""
    damage: list[Damage] = []
    found = read_series(
        reader.directory,
        damage=damage,
        names={key.name for key in keys},
        splits={key.split for key in keys},
        ranks={key.rank for key in keys},
    )
    reader.note(damage)
    chosen = set(keys)
    frames = [_long(str(reader.path), series, columns) for series in found if series.key in chosen]
    schema = {name: METRIC_SCHEMA[name] for name in columns}
    return pl.concat(frames, rechunk=False) if frames else pl.DataFrame(schema=schema)


def _long(run: str, series: Series, columns: list[str]) -> pl.DataFrame:
    """The points of one curve, a row each."""
    constants: dict[str, Any] = {"run": run, "name": series.name, "split": series.split, "rank": series.rank}
    arrays: dict[str, Callable[[], Any]] = {
        "attempt": lambda: series.attempts,
        "step": lambda: series.steps,
        "t": lambda: series.t,
        "value": lambda: series.values,
        "effective": lambda: ~series.superseded,
        "finite": lambda: np.isfinite(series.values),
    }
    return pl.DataFrame(
        [
            pl.Series(name, [constants[name]], dtype=METRIC_SCHEMA[name]).new_from_index(0, len(series))
            if name in constants
            else pl.Series(name, arrays[name](), dtype=METRIC_SCHEMA[name])
            for name in columns
        ]
    )


def _events(runs: Runs) -> pl.LazyFrame:
    return _by_run(runs, lambda one: one.events(), EVENT_SCHEMA)


def _alerts(runs: Runs) -> pl.LazyFrame:
    return _by_run(runs, lambda one: one.alerts(), Runs([]).alerts().schema)


def _by_run(runs: Runs, read: Callable[[Runs], pl.DataFrame], schema: Any) -> pl.LazyFrame:
    """A table that is read a run at a time, of the runs that a condition asks for."""

    def batches(
        columns: list[str] | None, predicate: pl.Expr | None, num_rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        frames = (read(Runs([reader])) for reader in _chosen_readers(runs.readers, predicate))
        return _served(frames, columns, predicate, num_rows)

    return register_io_source(batches, schema=schema)


_TABLES: Final[dict[str, Callable[[Runs], pl.LazyFrame]]] = {
    "runs": _runs,
    "metrics": _metrics,
    "events": _events,
    "alerts": _alerts,
}


def _in_words(error: Exception, text: str, frames: dict[str, pl.LazyFrame]) -> str:
    """What is wrong with a query, and what there is instead."""
    line = str(error).strip().partition("\n")[0]
    if "relation" in line and "not found" in line:
        return f"{line}; the tables are {', '.join(TABLES)}"
    missing = _MISSING_COLUMN.search(line)
    if missing:
        columns = {name: frame.collect_schema().names() for name, frame in frames.items()}
        there = "; ".join(f"{name} has {', '.join(names)}" for name, names in columns.items())
        return f"{line.partition(';')[0]}; {_meant(missing[1], text, columns)}{there}"
    if "unsupported function" in line:
        return f"{line}; the functions are those of polars' SQL, e.g. max, avg, median, quantile_cont, first, last"
    return f"{line}; the dialect is polars' SQL"


def _meant(missing: str, text: str, columns: dict[str, list[str]]) -> str:
    """The columns that may be meant: of a name without its first words, as ``optim.lr``, or of one nearly right."""
    written = re.search(rf"\b{re.escape(missing)}[\w.]*", text)
    wanted = written.group() if written else missing
    names = sorted({name for found in columns.values() for name in found})
    close = [name for name in names if name.endswith(f".{wanted}")] or difflib.get_close_matches(wanted, names)
    return f"is {' or '.join(close[:3])} meant? " if close else ""
