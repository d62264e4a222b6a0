"""The command ``barograph``: finds the verb, loads it alone, and says in one line what went wrong.

What a person got wrong is one line on stderr that names it and the next step, and exit code 2; there is no traceback
for it. (This is not the package itself: there, the verb ``list`` would hide the built-in of that name.)
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import barograph
from barograph.errors import BarographError
from barograph.plugins import explain_missing

VERBS: Final = {
    "demo": "train real classifiers on handwritten digits, recorded, and look at the runs",
    "list": "the runs in a directory, one line each",
    "show": "one run: who, how, metrics, checks, success criteria",
    "tail": "the latest blocks and events of a run, live with --follow",
    "cat": "every metric of a run as CSV or JSON lines",
    "check": "verify a run's files and judge its success criteria",
    "follow": "what is recorded, live; with --watch also what is wrong, told and delivered from beside the run",
    "replay": "what a watch would have told of recorded runs, and how often for nothing",
    "plot": "figures of what a run logged",
    "compare": "groups of runs, statistics and verdicts",
    "diff": "what differs between two runs: configuration, code, packages, data, machine",
    "changed": "which of those differences explain the gap between two runs",
    "report": "a report whose every number has an address; verify one",
    "sql": "one SELECT over runs, metrics, events and alerts",
    "import": "make native runs of what other tools wrote, with a fidelity report",
    "rename": "give a run another name",
    "tag": "add and take away tags",
    "note": "write a note about a run",
    "delete": "hide runs; nothing is removed",
    "restore": "take back the latest edit, or a deletion",
    "backfill": "stamp old runs with a default for a new key",
    "retain": "thin and compress old runs, after showing what would be done",
    "seal": "turn the rows of ended runs into Parquet, and back",
    "index": "the cache that makes long lists quick",
    "completion": "make the shell complete verbs, options and runs",
}
USAGE: Final = 2
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``barograph``.

    Args:
        argv: the arguments; those of this process when not given.

    Returns:
        The exit code: 0, 1 when ``check`` found something wrong, 2 when the arguments cannot be used or a file cannot
        be read or written, 130 after ^C, 141 when whoever reads the output has gone; of ``demo``, the demo's own.
    """
    _prepare_streams()
    try:
        code = _dispatch(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as ended:  # how argparse ends: --help, --version, usage
        return ended.code if isinstance(ended.code, int) else USAGE
    except ModuleNotFoundError as error:
        missing = explain_missing(error)
        if missing is None:
            raise
        print(f"barograph: {missing}", file=sys.stderr)
        return USAGE
    except (BarographError, OSError) as error:
        print(f"barograph: {_in_words(error)}", file=sys.stderr)
        _discard_output()
        return USAGE
    return code


def _prepare_streams() -> None:
    """Make output that cannot fail for its characters: a name may hold bytes that are no text in any encoding."""
    if sys.stdout is None:  # closed by whoever started us, for the exit code alone
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - it is the process's output
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Give what is buffered nowhere to fail: Python flushes it once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _in_words(error: BarographError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename!s}: {error.strerror}; check the path and its permissions"
    return str(error)


def _dispatch(argv: list[str]) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.verb is None:
        parser.print_help()
        return 0
    if args.verb not in VERBS:
        parser.error(_unknown(args.verb))
    run = import_module(f"barograph.cli.{module_of(args.verb)}").main
    code: int = run(args.arguments, root=args.root)
    return code


def module_of(verb: str) -> str:
    """The module of a verb; ``import`` is a word of Python's own."""
    return "import_" if verb == "import" else verb


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, VERBS))
    parser = argparse.ArgumentParser(
        prog="barograph",
        usage="barograph [--root DIR] [--version] VERB ...",
        description="Looks at recorded training runs; it never changes what they recorded.",
        epilog="verbs:\n"
        + "\n".join(f"  {verb:<{width}}  {text}" for verb, text in VERBS.items())
        + "\n\n`barograph VERB --help` says more about each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", metavar="DIR", help="directory of runs; BAROGRAPH_ROOT, else ./runs, when not given")
    parser.add_argument("--version", action="version", version=f"barograph {barograph.__version__}")
    parser.add_argument("verb", nargs="?", metavar="VERB", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _unknown(verb: str) -> str:
    import difflib  # noqa: PLC0415 - a verb that is known does not need it

    near = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`barograph --help` lists them"
    return f"there is no verb {verb!r}; {hint}"
