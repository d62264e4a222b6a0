"""``barograph sql QUERY``: one SELECT over runs, metrics, events and alerts."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import Style, plural, print_json, table, write_utf8
from barograph.facts.codec import encode
from barograph.view.terminal.wording import number, one_line

if TYPE_CHECKING:
    import polars as pl

DESCRIPTION: Final = """\
Answers one SELECT (or WITH ... SELECT) over the runs at or below a directory. Nothing can be changed by it.

  runs     run, run_id, name, project, group, tags, status, started_t, final_val_loss, ..., summary.NAME, config.KEY
  metrics  run, name, split, attempt, rank, step, t, value, effective, finite        a row per recorded number
  events   run, seq, t, moment, attempt, rank, payload                               payload is JSON
  alerts   run, t, level, title, text, alert                                         alert is JSON

  barograph sql "select config.lr, min(best_val_loss) from runs group by config.lr order by config.lr"
  barograph sql "select r.name, max(m.value) from metrics m join runs r using (run)
                 where m.name = 'accuracy' and m.effective and m.finite group by r.name"

NaN and infinities are values: NaN is greater than everything else, max and min pass over it, sums and means with it are
NaN; `where finite` leaves them out. `effective` leaves out what a later attempt recorded again. Samples of the machine
have the split 'host'. Only the metrics that are asked for (where name = ...) are read. The dialect is polars' SQL.
"""
CELL_CHARS: Final = 60


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Print the answer."""
    parser = verb_parser("sql", DESCRIPTION, json_help='one line of JSON: {"columns": [...], "rows": [{...}, ...]}')
    parser.add_argument("query", metavar="QUERY", help="the SELECT; - reads it from the standard input")
    parser.add_argument("--csv", action="store_true", help="CSV; floats read back to the same bits")
    args = parser.parse_args(argv)
    from barograph.read.frames import load_runs  # noqa: PLC0415 - polars, after the arguments have been found good
    from barograph.read.sql import query  # noqa: PLC0415 - the same

    text = sys.stdin.read() if args.query == "-" else args.query
    answer = query(load_runs(root_of(args, root)), text)
    if args.json:
        print_json({"columns": answer.columns, "rows": answer.to_dicts()})
    elif args.csv:
        _write_csv(answer)
    else:
        _print_table(answer)
    return 0


def _write_csv(answer: pl.DataFrame) -> None:
    """As ``barograph cat``: ``repr`` of floats; nan, inf, -inf; an empty field for NULL; all else as JSON has it."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(answer.columns)
    for row in answer.iter_rows():
        writer.writerow(
            [repr(cell) if isinstance(cell, float) else "" if cell is None else _text(cell) for cell in row]
        )
    write_utf8(lines.getvalue().encode("utf-8"))


def _print_table(answer: pl.DataFrame) -> None:
    style = Style(sys.stdout)
    numeric = [name for name, dtype in answer.schema.items() if dtype.is_numeric()]
    rows = [[_cell(cell) for cell in row] for row in answer.iter_rows()]
    print("\n".join(table([one_line(name) for name in answer.columns], rows, style, right=numeric)))
    if style.is_terminal:
        print(style.quiet(plural(answer.height, "row")))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return number(value)
    return one_line(_text(value), limit=CELL_CHARS)


def _exact(cell: Any) -> str:
    if cell is None:
        return ""
    return repr(cell) if isinstance(cell, float) else _text(cell)


def _text(value: Any) -> str:
    """A cell as ``--json`` writes it, without the quotes of a text."""
    if isinstance(value, str):
        return value
    plain = msgspec.json.decode(encode({"": value}))[""]
    return plain if isinstance(plain, str) else msgspec.json.encode(plain).decode("utf-8")
