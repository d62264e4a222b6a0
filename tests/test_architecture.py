"""The shape of the code, held by tests: layers, sizes, and the one place where failures may be caught blindly."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# Where a blind `except Exception` stands, and why. Everywhere else a failure is named or passes through the guard.
BLIND = {
    "barograph/record/guard.py": "the guarded boundary of the recorder, and its own report",
    "barograph/record/console.py": "whoever prints must not be hit by a view or a callback that fails",
    "barograph/record/host.py": "a vendor's library may raise anything; what it says is kept",
    "barograph/record/provenance.py": "the same, and a thread's error that is raised where its result is asked for",
    "barograph/plot/orchestrator.py": "a family that fails costs its own figure, and it is told",
    "barograph/report/families.py": "the same, in a report",
    "barograph/watch/actions/outbox.py": "what an action of other hands raises is told, never raised",
    "barograph/record/config.py": "a stranger's __repr__ in a message about an error",
}


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    """Paths are relative to the repository."""
    monkeypatch.chdir(Path(__file__).parents[1])


def sources() -> list[Path]:
    """Every module of the distribution."""
    found = sorted(Path("src").rglob("*.py"))
    assert len(found) > 50
    return found


def name_of(path: Path) -> str:
    """A module's path below ``src``."""
    return path.relative_to("src").as_posix()


def functions(path: Path):
    """The functions of a module with the number of lines of their bodies, docstrings left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body:
                yield node, body[-1].end_lineno - body[0].lineno + 1


@pytest.mark.spec("S3.43", "S3.56")
def test_every_import_points_one_way(capsys):
    """The import contracts hold: loops emit and readers consume, heavy things have one door, nothing is unplaced."""
    assert lint_imports(is_debug_mode=False, show_timings=False, verbose=False) == 0, capsys.readouterr().out


def test_files_are_short():
    """No module has more than 400 lines."""
    assert {name_of(path): n for path in sources() if (n := len(path.read_text().splitlines())) > MAX_FILE_LINES} == {}


def test_functions_are_short():
    """No function's body has more than 60 lines, and nine of ten have less than half of that."""
    lengths = {f"{name_of(path)}:{node.name}": length for path in sources() for node, length in functions(path)}
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}
    assert sorted(lengths.values())[len(lengths) * 9 // 10] < MAX_FUNCTION_LINES // 2


def test_failures_are_caught_blindly_in_known_places_only():
    """``except Exception`` stands where the table says, with its reason on its line; nowhere is it bare."""
    found = set()
    for path in sources():
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            assert node.type is not None, f"{path}:{node.lineno} catches everything"
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)}
            if "BaseException" in caught:
                last = node.body[-1]
                assert isinstance(last, ast.Raise), f"{path}:{node.lineno} does not hand on what it catches"
            if "Exception" in caught:
                assert "# noqa: BLE001 - " in text.splitlines()[node.lineno - 1], f"{path}:{node.lineno} says no reason"
                found.add(name_of(path))
    assert found == set(BLIND)


def test_modules_say_what_they_are_for():
    """Every module has a docstring, and reads annotations late."""
    for path in sources():
        text = path.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
        has_code = any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in ast.parse(text).body)
        assert "from __future__ import annotations" in text or not has_code, path


def test_no_name_says_nothing():
    """No module is called after nothing in particular."""
    empty_words = {"utils", "util", "helpers", "helper", "misc", "common", "base", "manager"}
    assert [name_of(path) for path in sources() if path.stem in empty_words] == []
