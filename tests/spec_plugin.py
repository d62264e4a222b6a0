"""Ties tests to the numbered lines of ``docs/spec``: checks the ``spec`` marks, reports which lines have a test.

A mark that names no line of the documents is an error when its file is collected, so that a renamed or mistyped
number cannot pass for a proof.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

DOCUMENTS = Path(__file__).parent.parent / "docs" / "spec"
_LINE = re.compile(r"^- (S\d+\.\d+) (.*)$", re.MULTILINE)
_TITLE = re.compile(r"^# (.*)$", re.MULTILINE)
_WIDTH = 110


@cache
def read_lines() -> dict[str, dict[str, str]]:
    """The lines' texts by number, by document title."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(DOCUMENTS.glob("S*.md"))]
    return {_TITLE.search(text).group(1): dict(_LINE.findall(text)) for text in texts}


def unknown_numbers(marks) -> list[str]:
    """The numbers in some marks that no document has."""
    known = {number for lines in read_lines().values() for number in lines}
    return [str(number) for mark in marks if mark.name == "spec" for number in mark.args if number not in known]


def pytest_addoption(parser):
    """Add ``--spec-report``."""
    parser.addoption("--spec-report", action="store_true", help="show which lines of docs/spec have a test")


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector, name, obj):
    """Refuse marks with unknown numbers, whether they are on a function, a class or the module."""
    has_marks = inspect.isfunction(obj) or inspect.isclass(obj)
    marks = obj if name == "pytestmark" else getattr(obj, "pytestmark", []) if has_marks else []
    unknown = unknown_numbers(marks if isinstance(marks, list) else [marks])
    if unknown:
        numbers = ", ".join(map(repr, unknown))
        raise collector.CollectError(
            f"{name} is marked spec({numbers}), but docs/spec has no such line; correct the number"
        )


def count_tests(items) -> dict[str, int]:
    """How many test functions (not cases of one function) show each line."""
    functions = defaultdict(set)
    for item in items:
        for mark in item.iter_markers("spec"):
            for number in mark.args:
                functions[number].add(item.nodeid.partition("[")[0])
    return {number: len(names) for number, names in functions.items()}


def report_lines(counts: dict[str, int]) -> list[str]:
    """The report: per document how many lines have a test, which, and what the others say."""
    report = []
    for title, lines in read_lines().items():
        covered = [number for number in lines if number in counts]
        report += ["", f"{title}", f"  {len(covered)} of {len(lines)} lines have a test"]
        report += [f"  [x] {number:7} {counts[number]:3} tests" for number in covered]
        report += [f"  [ ] {number:7} {_shorten(text)}" for number, text in lines.items() if number not in counts]
    total = sum(map(len, read_lines().values()))
    return [*report, "", f"{len(counts)} of {total} lines of docs/spec have a test"]


def _shorten(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def pytest_terminal_summary(terminalreporter, config):
    """Print the report when it was asked for."""
    if config.getoption("--spec-report"):
        session = terminalreporter._session
        for line in report_lines(count_tests(session.items)):
            terminalreporter.write_line(line)
