"""What every test may ask for: a run directory, runs in this process, and child processes that record for real.

Warnings are errors and the network is closed (see ``pyproject.toml``); a child inherits both.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap

import hypothesis
import pytest
from tests.recorded import Recorded

import barograph
from barograph.facts.rundir import RunDir

pytest_plugins = ["tests.spec_plugin"]

# Indexes, and what is adopted of other tools, go to a temporary place, here and in child processes; set before any
# test module copies the environment.
CACHE = tempfile.TemporaryDirectory(prefix="barograph-cache-")
os.environ["BAROGRAPH_CACHE"] = CACHE.name

# Models here are tiny and a processor per test process is all there is: threads of a matrix product would only wait
# for each other, up to ten times as long as the product takes. Before numpy or torch is loaded, and for children.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# Many container images forbid to keep bytecode: each of a thousand child processes would compile all it imports anew,
# and pytest every test module.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

QUIET = {"terminal": "off", "text_log": None, "console": False, "host_s": None}

# Files and shared cores make single examples slow now and then; that is no finding.
hypothesis.settings.register_profile(
    "barograph", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("barograph")


def pytest_collection_finish():
    """Keep six thousand tests and the modules that they import out of each of the collector's later rounds."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def run_dir(tmp_path) -> RunDir:
    """A run's directory with its ``facts``, and nothing in it."""
    directory = RunDir(tmp_path / "run")
    directory.ensure_facts()
    return directory


@pytest.fixture
def start(tmp_path):
    """Start a Python script in a process of its own and return the ``Popen``; it is gone when the test ends.

    Its ``sys.argv[1:]`` are the arguments as strings, its working directory is the test's ``tmp_path``; ``prefix`` is
    a command that runs it.
    """
    children = []

    def start(script: str, *args, env: dict[str, str] | None = None, prefix=(), **options) -> subprocess.Popen:
        path = tmp_path / f"child-{len(children)}.py"
        path.write_text(textwrap.dedent(script), encoding="utf-8")
        command = [*prefix, sys.executable, "-W", "error::ResourceWarning", str(path), *map(str, args)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        child = subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, **(env or {})}, text=True, **{**pipes, **options}
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture
def record(start):
    """Run a script that records to its end: ``record(script, *args, exit_code=0)`` returns stdout and stderr."""

    def record(script: str, *args, exit_code: int = 0, timeout_s: float = 120, **options) -> tuple[str, str]:
        child = start(script, *args, **options)
        stdout, stderr = child.communicate(timeout=timeout_s)
        assert exit_code == child.returncode, f"exit code {child.returncode}\n{stdout}\n{stderr}"
        return stdout, stderr

    return record


@pytest.fixture
def new_run(tmp_path, monkeypatch):
    """Begin a run in ``tmp_path/"run"``, or as the options say; it is finished when the test ends."""
    # As if a script outside this repository ran, or every run would keep the repository's uncommitted changes.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train.py"])
    runs = []

    def new_run(**options) -> barograph.Run:
        place = {} if "root" in options else {"dir": tmp_path / "run"}
        runs.append(barograph.init(**{**QUIET, **place, **options}))
        return runs[-1]

    yield new_run
    for run in runs:
        run.finish()


@pytest.fixture
def recorded():
    """Read a run's files: ``recorded(directory)``."""
    return Recorded


@pytest.fixture
def without_privileges() -> list[str]:
    """A command before which root obeys permissions like anybody else; nothing where the process is not root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root ignores permissions, and setpriv (util-linux) is not there to change that")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--"]
