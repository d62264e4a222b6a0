"""The documents are true: their code and commands run, their links lead somewhere, and nothing public is missing."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import barograph
from barograph import cli
from barograph.facts.kinds import MOMENTS

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
BLOCK = re.compile(r"^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
ENVIRON = {
    **{name: value for name, value in os.environ.items() if name != "BAROGRAPH_ROOT"},
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONUTF8": "1",
}
A_RUN = """
import barograph
with barograph.init(dir="RUN", terminal="off", host_s=None) as run:
    run.log({"x": 1.5}, step=3)
"""


def read(path):
    """The text of a page."""
    return path.read_text(encoding="utf-8")


def blocks(path):
    """The fenced blocks of a page, in order: (kind, body)."""
    return [(found["kind"], found["body"]) for found in BLOCK.finditer(read(path))]


def run_python(source, directory):
    """Run Python in a process of its own, warnings as errors."""
    script = directory / "page.py"
    script.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=directory,
        env=ENVIRON,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ids(path):
    """The page's name."""
    return path.name


@pytest.mark.parametrize("path", [path for path in PAGES if any(kind == "python" for kind, _ in blocks(path))], ids=ids)
def test_the_python_of_a_page_runs(path, tmp_path):
    """All Python of a page, from top to bottom in one process, raises and warns of nothing."""
    source = "\n".join(body for kind, body in blocks(path) if kind == "python")
    if path.name == "format.md":  # its snippet names a run of the reader's
        source = f"{A_RUN}{source}\nassert table[:, :2].tolist() == [[3.0, 1.5]]\n"
    run_python(source, tmp_path)


def test_the_quickstart_is_ten_lines():
    """The first Python of the README is ten lines, the import among them."""
    first = next(body for kind, body in blocks(ROOT / "README.md") if kind == "python")
    lines = [line for line in first.splitlines() if line.strip()]
    assert len(lines) == 10
    assert lines[0] == "import barograph"


def commands(path):
    """The lines of a page's shell blocks; those with jq are skipped where it is not installed."""
    no_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
    lines = [line for kind, body in blocks(path) if kind == "sh" for line in body.splitlines()]
    return [pytest.param(line, marks=no_jq if "jq " in line else ()) for line in lines]


def test_the_commands_of_the_readme_run(tmp_path):
    """After its Python has run, each line of its shell blocks succeeds in turn and prints something."""
    run_python("\n".join(body for kind, body in blocks(ROOT / "README.md") if kind == "python"), tmp_path)
    lines = [line for kind, body in blocks(ROOT / "README.md") if kind == "sh" for line in body.splitlines()]
    assert len(lines) > 8
    for line in lines:
        if shutil.which("jq") is not None or "jq " not in line:
            assert bash(line, tmp_path).strip(), line


FOUND = {
    "awk": "3,{t},train,0,0,loss,0.5",
    "jq": "[2,1.5]\n[3,0.5]\n[4,1.5]",
}


@pytest.mark.parametrize("line", commands(ROOT / "docs" / "command-line.md"))
def test_a_command_of_the_command_line_page_runs(line, tmp_path):
    """Its pipes find the least loss, and the last three steps, of a recorded run."""
    run_python(
        "import barograph\n"
        "with barograph.init(name='piped', terminal='off') as run:\n"
        "    for step in range(5):\n"
        "        run.log({'loss': abs(step - 3) + 0.5, 'lr': 0.1}, step=step)\n",
        tmp_path,
    )
    output = re.sub(r",\d+\.\d+,train", ",{t},train", bash(line, tmp_path)).strip()
    assert output == next(expected for program, expected in FOUND.items() if f"{program} " in line)


def bash(line, directory):
    """Run one line as a person would, with the command of this environment on the path."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=directory, env=ENVIRON, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_make_targets_of_the_readme_exist(target):
    """``make demo`` and ``make test`` stand in the README as they are typed, and make knows them."""
    console = [body.splitlines() for kind, body in blocks(ROOT / "README.md") if kind == "console"]
    assert f"make {target}" in console[0]
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_links_lead_somewhere(path):
    """Every relative link names a file that is there, and every anchor a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(BLOCK, "", read(path))):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), f"{path.name}: {target}"
        if anchor:
            assert anchor in {slug(line) for line in read(linked).splitlines() if line.startswith("#")}, target


def slug(heading):
    """The anchor that a heading gets."""
    words = re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower())
    return words.replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_paths_that_are_named_exist(path):
    """A page does not describe files that are gone: each path of the repository in code marks is there."""
    named = re.findall(r"`((?:src|tests|docs|examples|bench)/[\w./-]+)`", read(path))
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []


def documented(page):
    """What stands in code marks or code blocks of a page."""
    inline = re.findall(r"`[^`]+`", re.sub(BLOCK, "", read(page)))
    return "\n".join([*inline, *(body for _, body in blocks(page))])


@pytest.mark.parametrize("name", barograph.__all__)
def test_every_public_name_is_documented(name):
    """A name that the package offers stands in the page of what records, reads, compares or reports."""
    pages = ("recorder.md", "reading.md", "compare.md", "reports.md")
    assert any(re.search(rf"\bbarograph\.{name}\b", documented(ROOT / "docs" / page)) for page in pages)


@pytest.mark.parametrize("name", inspect.signature(barograph.init).parameters)
def test_every_argument_of_init_is_documented(name):
    """An argument has a row in the table, with the default that it has."""
    row = re.search(rf"^\| `{name}` \| (?P<default>.*?) \| ", read(ROOT / "docs" / "recorder.md"), re.MULTILINE)
    assert row
    default = inspect.signature(barograph.init).parameters[name].default
    if isinstance(default, (str, bool, float)):
        assert row["default"] == f"`{default}`"
    elif default == ():
        assert row["default"] == "none"


INTERNAL = {
    "after_fork_in_child",
    "is_fork",
    "record_exception",
    "record_signal",
    "when_free",
}


def test_every_call_and_attribute_of_a_run_is_documented():
    """A public call of ``Run`` stands in the recorder's page as ``run.NAME``; what the session calls does not."""
    public = {name for name in dir(barograph.Run) if not name.startswith("_")} - INTERNAL
    public |= {"config", "cadence", "summary", "status"}
    text = documented(ROOT / "docs" / "recorder.md")
    missing = {name for name in public if not re.search(rf"\brun\.{name}\b", text)}
    assert missing == set()


def test_every_call_of_the_training_logger_is_documented():
    """The same for ``TrainingLogger``."""
    text = documented(ROOT / "docs" / "recorder.md")
    public = {name for name in dir(barograph.TrainingLogger) if not name.startswith("_")}
    assert {name for name in public if not re.search(rf"\blogger\.{name}\b", text)} == set()


def test_every_error_is_documented():
    """Each error and warning of the tree stands in the recorder's page or in that of reading."""
    text = documented(ROOT / "docs" / "recorder.md") + documented(ROOT / "docs" / "reading.md")
    names = {name for name, value in vars(barograph.errors).items() if isinstance(value, type)}
    assert {name for name in names if name not in text} == set()


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_and_option_is_documented(verb):
    """A verb has a section, and every option that its help shows stands in the page."""
    page = read(ROOT / "docs" / "command-line.md")
    (section,) = re.findall(rf"^## `barograph {verb}\b.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    common = page.partition("\n## ")[0]
    shown = subprocess.run(
        [sys.executable, "-m", "barograph.cli", verb, "--help"], capture_output=True, text=True, check=True, env=ENVIRON
    ).stdout
    options = set(re.findall(r"^  (?:-\w, )?(--?[a-z][\w-]*)", shown, re.MULTILINE)) - {"-h"}
    assert {"--root", "--json"} <= options | {"--help"}
    assert {option for option in options if option not in section + common} == set()


def test_every_moment_is_in_the_format():
    """Moments and keys of events, as the code has them, all stand in the page of the format."""
    text = documented(ROOT / "docs" / "format.md")
    for moment, kind in MOMENTS.items():
        assert f"`{moment}`" in text
        assert {field for field in kind.__struct_fields__ if f"`{field}`" not in text} == set()
