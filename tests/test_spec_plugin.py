"""The marks that tie tests to lines of ``docs/spec``: checked when collected, counted in the report."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.spec_plugin import DOCUMENTS, count_tests, read_lines, report_lines

REPOSITORY = Path(__file__).parent.parent


def collect(tmp_path, *sources: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit code and output of collecting files of tests with the plug-in."""
    for number, source in enumerate(sources):
        (tmp_path / f"test_{number}.py").write_text(f"import pytest\n{source}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "tests.spec_plugin", "-p", "no:randomly"]
    done = subprocess.run([*command, *options, tmp_path], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_number_that_no_document_has_is_an_error(tmp_path):
    """On a function, a class, a module or a method: the file is not collected, and the message names the number."""
    code, output = collect(
        tmp_path,
        '@pytest.mark.spec("S0.1", "S9.90")\ndef test_a(): pass',
        '@pytest.mark.spec("S9.91")\nclass TestA:\n    def test_a(self): pass',
        'pytestmark = pytest.mark.spec("S9.92")\ndef test_a(): pass',
        'class TestA:\n    @pytest.mark.spec("S9.93")\n    def test_a(self): pass',
    )
    assert code == 2
    for number in ("S9.90", "S9.91", "S9.92", "S9.93"):
        assert f"is marked spec({number!r}), but docs/spec has no such line; correct the number" in output


def test_the_report_counts_functions_and_shows_what_is_missing(tmp_path):
    """Cases of one function count once; lines without a test are shown with their text."""
    source = """
@pytest.mark.parametrize("x", [1, 2, 3])
@pytest.mark.spec("S0.1", "S0.2")
def test_a(x): pass
@pytest.mark.spec("S0.2")
def test_b(): pass
"""
    code, output = collect(tmp_path, source, options=("--spec-report",))
    assert code == 0
    assert re.search(r"\[x\] S0\.1 +1 tests", output)
    assert re.search(r"\[x\] S0\.2 +2 tests", output)
    assert re.search(r"\[ \] S0\.15 +`logger\.remove\(\)` first", output)
    total = sum(map(len, read_lines().values()))
    assert f"2 of {total} lines of docs/spec have a test" in output


def test_without_the_option_there_is_no_report(tmp_path):
    """Ordinary runs say nothing about documents."""
    assert "docs/spec" not in collect(tmp_path, "def test_a(): pass")[1]


def test_every_document_is_numbered_without_a_gap():
    """The five documents are there, and their lines are numbered from 1 on, each once."""
    assert [path.stem for path in sorted(DOCUMENTS.glob("*.md"))] == ["S0", "S1", "S2", "S3", "S4"]
    for lines in read_lines().values():
        document = next(iter(lines)).partition(".")[0]
        assert list(lines) == [f"{document}.{number}" for number in range(1, len(lines) + 1)]
    assert report_lines(count_tests([]))[-1].startswith("0 of 244 lines")
