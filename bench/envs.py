"""One virtual environment per subject, made once and reused while what it should hold has not changed.

A subject that cannot be installed keeps the reason in place of an interpreter: the table shows it, nothing is
left out in silence.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The repository."""

STAMP = "bench-requirement.txt"
INSTALL_TIMEOUT_S = 1800
END_OF_BUILD = "[end of output]"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where a subject runs.

    Attributes:
        python: its interpreter, or None when it could not be made.
        reason: why there is no interpreter; empty when there is one.
        path: directory of packages that are not installed there; None when all are.
    """

    python: Path | None
    reason: str = ""
    path: Path | None = None


def working_tree() -> Environment:
    """Return this interpreter with the packages of the repository as they are."""
    return Environment(python=Path(sys.executable), path=ROOT / "src")


def fingerprint(root: Path = ROOT) -> str:
    """Return a hash of everything that `pip install .` would install from `root`."""
    digest = hashlib.sha256()
    sources = sorted(path for path in (root / "src").rglob("*") if path.is_file() and path.suffix != ".pyc")
    for path in [root / "pyproject.toml", *sources]:
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def stamp_line(requirement: tuple[str, ...], *, root: Path = ROOT) -> str:
    """Return the line that tells whether an environment still holds what it should."""
    line = " ".join(requirement)
    return f"{line} # {fingerprint(root)}" if requirement == (".",) else line


def existing(requirement: tuple[str, ...], *, home: Path, root: Path = ROOT) -> Environment:
    """Return the environment in `home` when it is complete, else the reason why it cannot be used."""
    python = home / "bin" / "python"
    stamp = home / STAMP
    if not (python.exists() and stamp.exists()):
        return Environment(python=None, reason="not installed")
    if stamp.read_text(encoding="utf-8").strip() != stamp_line(requirement, root=root):
        return Environment(python=None, reason="installed from other requirements")
    return Environment(python=python)


def ensure(requirement: tuple[str, ...], *, home: Path, root: Path = ROOT) -> Environment:
    """Return the environment in `home`, made anew unless it is complete already.

    Args:
        requirement: what pip installs there; exactly ``(".",)`` is this repository.
        home: directory of the environment.
        root: the repository; its ``constraints.txt`` binds the environments that hold torch or ourselves.
    """
    found = existing(requirement, home=home, root=root)
    if found.python is not None:
        return found
    shutil.rmtree(home, ignore_errors=True)
    python = home / "bin" / "python"
    constraints = root / "constraints.txt"
    bound = requirement == (".",) or any(item.startswith("torch==") for item in requirement)
    extra = ["-c", str(constraints)] if bound and constraints.exists() else []
    commands = (
        [sys.executable, "-m", "venv", str(home)],
        [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-q", *requirement, *extra],
    )
    for command in commands:
        reason = _run(command, cwd=root)
        if reason:
            return Environment(python=None, reason=reason)
    (home / STAMP).write_text(stamp_line(requirement, root=root) + "\n", encoding="utf-8")
    return Environment(python=python)


def _run(command: list[str], *, cwd: Path) -> str:
    """Run one step of an installation; return why it failed, or nothing."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"installation took longer than {INSTALL_TIMEOUT_S} s"
    if done.returncode == 0:
        return ""
    return telling_line(done.stderr or done.stdout) or f"exit status {done.returncode}"


def telling_line(output: str) -> str:
    """Return the line of pip's complaint that says what is wrong; what stands last is advice.

    It is the last line of a failed build's own output, else the last that begins with `error`, else the last.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if END_OF_BUILD in lines[1:]:
        return lines[lines.index(END_OF_BUILD) - 1]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or [""])[-1]
