"""``barograph import PATH...``: native runs of what other tools recorded, each with an account of what was kept."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph import plugins
from barograph.cli.arguments import verb_parser
from barograph.cli.output import GAP, Style, maybe, plural, print_json
from barograph.errors import FormatError, RunNotFoundError
from barograph.facts.rundir import RunDir, default_root
from barograph.read.foreign.convert import import_run, imported_runs
from barograph.read.foreign.protocol import ForeignMetrics, ForeignRun, find_foreign, importers, read_source
from barograph.view.terminal.wording import one_line

DESCRIPTION: Final = """\
Makes runs of what other tools recorded at or below each PATH. The sources are read where they lie and not changed.
Importing again makes no second run: a run whose source has grown is replaced, any other is left as it is.

  kept, changed, lost, damaged   what became of the source's numbers, texts and files; every number is in one of them
  unknown                        the source does not tell how the run ended

Exit code 0: everything that was recognised was read; 1: a source could not be read; 2: nothing is known there.
"""
WORDS: Final = {"new": "imported", "replaced": "replaced", "unchanged": "unchanged", "older": "left"}
FOUND: Final = "found"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as ``--json`` tells it.

    Attributes:
        outcome: ``imported``, ``replaced``, ``unchanged`` or ``left`` (the source says less than the run that is
            there); ``found`` with ``--dry-run``.
        tool: the importer's name.
        source: the file or directory that was read.
        name: what people call it.
        project: what it belongs to.
        status: how it ended, as far as the source tells.
        num_numbers: how many numbers its metrics have.
        num_metrics: how many metrics, those of each split apart.
        first_step: the least step.
        last_step: the greatest.
        path: the run that was made; None with ``--dry-run``.
        run_id: its identifier here; None with ``--dry-run``.
        fidelity: what was kept and what could not be.
        account: the same in words.
    """

    outcome: str
    tool: str
    source: str
    name: str
    project: str | None
    status: str
    num_numbers: int
    num_metrics: int
    first_step: float | None
    last_step: float | None
    path: str | None
    run_id: str | None
    fidelity: dict[str, Any]
    account: list[str]


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """A source that was recognised and cannot be read."""

    tool: str
    source: str
    reason: str


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Import, and print what became of each run."""
    args = _parser().parse_args(argv)
    given = args.root or root
    directory = Path(given) if given else default_root()  # as it is: other tools' files in it are not looked through
    sources = [source for path in args.paths for source in _sources(path, args.tool)]
    style = Style(sys.stdout)
    rows: list[Row] = []
    unread: list[Unread] = []
    for result in _imported(sources, directory, dry_run=args.dry_run, copy_files=args.copy_files):
        if isinstance(result, Row):
            rows.append(result)
            if not args.json:
                print("\n".join(_lines(result, style)))
        else:
            unread.append(result)
            print(f"barograph: {result.tool}: {result.reason}", file=sys.stderr)
    if args.json:
        print_json({"root": str(directory), "dry_run": args.dry_run, "runs": rows, "unread": unread})
    else:
        print(_total(rows, unread, directory, dry_run=args.dry_run))
    return 1 if unread else 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "import",
        DESCRIPTION,
        json_help='one line of JSON: {"root", "dry_run", "runs": [{"outcome", "tool", ...}], "unread": [...]}',
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file or directory that another tool wrote")
    parser.add_argument(
        "--tool", action="append", metavar="NAME", help="look for this tool's files alone, as often as wanted"
    )
    parser.add_argument("--dry-run", action="store_true", help="read everything, write nothing")
    parser.add_argument("--copy-files", action="store_true", help="copy the runs' files; else their paths are noted")
    return parser


def _sources(path: str, tools: list[str] | None) -> list[tuple[str, Path]]:
    """What is known at or below a path.

    Raises:
        RunNotFoundError: nothing is.
    """
    found = find_foreign(path, tools=tools)
    if found:
        return found
    if RunDir(Path(path)).is_run():
        raise RunNotFoundError(f"{path!r} is a run already; `barograph show {path}` shows it")
    looked_for = "\n".join(f"  {importer.name:<14}{_looks_for(importer)}" for importer in importers(tools))
    raise RunNotFoundError(
        f"{path!r} holds nothing that an importer knows. Looked for, in every directory below it that is not hidden "
        f"and no run of ours:\n{looked_for}\nName the directory that the tool wrote"
    )


def _looks_for(importer: object) -> str:
    """What an importer recognises, as its own documentation says it."""
    text = getattr(importer, "recognises").__doc__ or "what it knows"  # noqa: B009 - of any object that offers it
    first = text.strip().partition("\n")[0]
    return first.removeprefix("Whether ").replace("``", "").rstrip(".")


def _imported(
    sources: Iterable[tuple[str, Path]], root: Path, *, dry_run: bool, copy_files: bool
) -> Iterator[Row | Unread]:
    """Each run as soon as it is done; a source that cannot be read does not keep the others."""
    known = None if dry_run else imported_runs(root)
    for tool, source in sources:
        (importer,) = importers([tool])
        try:
            for run in read_source(importer, source):
                seen = _Seen()
                run.metrics = seen.passing(run.metrics)
                yield _row(run, seen, root, known, copy_files=copy_files)
        except ModuleNotFoundError as error:
            missing = plugins.explain_missing(error)
            if missing is None:
                raise
            yield Unread(tool=tool, source=str(source), reason=f"{source}: {missing}")
        except (FormatError, OSError) as error:
            yield Unread(tool=tool, source=str(source), reason=_in_words(source, error))


def _in_words(source: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or source}: {error.strerror}; check the path and its permissions"
    return str(error)


class _Seen:
    """Counts what passes from an importer to the run that is made of it."""

    def __init__(self) -> None:
        self.num_numbers = 0
        self.names: set[tuple[str, str]] = set()
        self.first, self.last = math.inf, -math.inf

    def passing(self, metrics: Iterable[ForeignMetrics]) -> Iterator[ForeignMetrics]:
        for block in metrics:
            self.num_numbers += block.num_numbers
            self.names |= {(block.split, name) for name in block.columns}
            if block.columns and len(block.steps):
                self.first, self.last = min(self.first, min(block.steps)), max(self.last, max(block.steps))  # noqa: PLW3301 - not as many arguments as steps
            yield block


def _row(run: ForeignRun, seen: _Seen, root: Path, known: dict[str, Path] | None, *, copy_files: bool) -> Row:
    made = None
    if known is None:
        for _ in run.metrics:
            pass  # the account is complete when everything was read
    else:
        made = import_run(run, root, known=known, copy_files=copy_files)
    fidelity = run.fidelity if made is None else made.fidelity
    return Row(
        outcome=FOUND if made is None else WORDS[made.outcome],
        tool=run.tool,
        source=str(run.source),
        name=run.name,
        project=run.project,
        status=run.status,
        num_numbers=seen.num_numbers,
        num_metrics=len(seen.names),
        first_step=seen.first if seen.num_numbers else None,
        last_step=seen.last if seen.num_numbers else None,
        path=None if made is None else str(made.path),
        run_id=None if made is None else made.run_id,
        fidelity=fidelity.as_dict(),
        account=fidelity.lines(),
    )


def _lines(row: Row, style: Style) -> list[str]:
    steps = f"steps {maybe(row.first_step)} to {maybe(row.last_step)}" if row.num_numbers else "no steps"
    numbers = f"{plural(row.num_numbers, 'number')} of {plural(row.num_metrics, 'metric')}"
    head = [row.outcome, row.tool, style.heading(one_line(row.name)), f"{numbers}, {steps}", style.word(row.status)]
    place = row.source if row.path is None else f"{row.source} -> {row.path}"
    return [GAP.join(head), *(f"{GAP}{style.quiet(one_line(line))}" for line in (place, *row.account))]


def _total(rows: list[Row], unread: list[Unread], root: Path, *, dry_run: bool) -> str:
    counts = {word: sum(row.outcome == word for row in rows) for word in (*WORDS.values(), FOUND)}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing"
    where = "nothing was written" if dry_run else f"below {root}"
    failed = f"; {plural(len(unread), 'source')} could not be read" if unread else ""
    return f"{plural(len(rows), 'run')}: {told}; {where}{failed}"
