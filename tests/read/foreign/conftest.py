"""Files that the real tools wrote, in processes of their own and without a network; each tool writes once per session.

A tool that is not among the development requirements runs in an environment of its own below ``.bench/envs``, which
is made when it is absent (minutes, once). Processes of xdist wait for each other instead of making it twice.
"""

from __future__ import annotations

import fcntl
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.read.foreign import writers

ROOT = Path(__file__).resolve().parents[3]
QUIET = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "DO_NOT_TRACK": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONWARNINGS": "ignore",
}


@pytest.fixture(scope="session")
def tool_python():
    """The interpreter of a tool's own environment; the test is skipped, with the reason, where it cannot be made."""
    sys.path.insert(0, str(ROOT))
    try:
        from bench import envs
    finally:
        sys.path.remove(str(ROOT))

    @functools.cache  # without a network, half a minute for each attempt
    def made(name: str):
        home = ROOT / ".bench" / "envs" / name
        home.parent.mkdir(parents=True, exist_ok=True)
        with (home.parent / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return envs.ensure((name,), home=home)

    def tool_python(name: str) -> Path:
        found = made(name)
        if found.python is None:
            pytest.skip(f"{name} cannot be installed: {found.reason}")
        return found.python

    return tool_python


@pytest.fixture(scope="session")
def written(tmp_path_factory, worker_id_or_none):
    """Have a tool write, once per session: ``written("tensorboard")`` is the directory that it wrote to."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if worker_id_or_none else base) / "foreign"
    shared.mkdir(exist_ok=True)

    def written(kind: str, *, python: Path | str = sys.executable) -> Path:
        place, done = shared / kind, shared / f"{kind}.done"
        with (shared / f"{kind}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                place.mkdir()
                write(kind, place, python=python)
                done.touch()
        return place

    return written


@pytest.fixture(scope="session")
def worker_id_or_none() -> str | None:
    """The name of this process of xdist, if it is one."""
    return os.environ.get("PYTEST_XDIST_WORKER")


def write(kind: str, place: Path, *args: str, python: Path | str = sys.executable, returncode: int = 0) -> None:
    """Run a writer of ``writers.py``."""
    done = subprocess.run(
        [str(python), writers.__file__, kind, *args],
        cwd=place,
        env={**os.environ, **QUIET, "WANDB_DIR": str(place), "HOME": str(place)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == returncode, done.stdout + done.stderr
