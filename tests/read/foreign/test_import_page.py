"""The page about importing is true: its scripts are run with the real tools, its outputs are what is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.read.foreign.conftest import QUIET, ROOT

PAGE = ROOT / "docs" / "import.md"
SECTION = re.compile(
    r"^## (?P<title>.*?)\n.*?^```py\n(?P<script>.*?)^```\n.*?^```console\n(?P<shown>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
OWN_ENVIRONMENT = {"MLflow": "mlflow", "Trackio": "trackio"}
SLOW = ("TensorBoard", "Weights & Biases", "MLflow", "Lightning", "Hugging Face")
SECTIONS = {found["title"]: found for found in SECTION.finditer(PAGE.read_text(encoding="utf-8"))}
CHANGING = (
    (r"run_\d{8}-\d{6}_", "run_TIME_"),
    (r"offline-run-\d{8}_\d{6}-\w{8}", "offline-run-TIME-ID"),
)


def same(text):
    """A text with what differs from day to day replaced."""
    for pattern, name in CHANGING:
        text = re.sub(pattern, name, text)
    return text


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "title", [pytest.param(title, marks=pytest.mark.slow if title in SLOW else ()) for title in SECTIONS]
)
def test_an_example_runs_and_prints_what_the_page_shows(title, tool_python, tmp_path):
    """The tool writes, the commands below are typed, and their output is the page's."""
    found = SECTIONS[title]
    own = OWN_ENVIRONMENT.get(title)
    environ = {**os.environ, **QUIET, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
    environ |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"}
    environ.pop("BAROGRAPH_ROOT", None)
    python = sys.executable if own is None else str(tool_python(own))
    subprocess.run(
        [python, "-c", found["script"]], cwd=tmp_path, env=environ, check=True, capture_output=True, timeout=300
    )
    printed = []
    for line in found["shown"].splitlines():
        if line.startswith("$ "):
            done = subprocess.run(
                ["bash", "-c", line[2:]], cwd=tmp_path, env=environ, check=True, capture_output=True, text=True
            )
            printed.append(f"{line}\n{done.stdout}{done.stderr}")
    assert same(found["shown"]) == same("".join(printed))


def test_the_six_formats_that_are_used_most_are_shown():
    """Each with a script, a command and its output."""
    assert list(SECTIONS) == ["TensorBoard", "Weights & Biases", "MLflow", "Trackio", "Lightning", "Hugging Face"]
