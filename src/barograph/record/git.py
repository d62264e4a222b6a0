"""What git knows about the code of a run: its commit, its branch, and what is not committed.

Asks the ``git`` program, read-only: no lock is taken, no hook, pager, prompt or external diff is started, and
every call has a time limit. It never raises: what cannot be told is null, and a note says why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.record.redact import redact_diff

MAX_DIFF_BYTES: Final = 2 * 1024 * 1024
MAX_UNTRACKED: Final = 1000
TIMEOUT_S: Final = 5.0
FIELDS: Final = ("root", "commit", "branch", "dirty", "remote", "untracked", "num_untracked")
# A repository's own configuration may name programs to run; reading it must not run them.
_QUIET: Final = ("--no-pager", "-c", "core.fsmonitor=false")
_PLAIN_DIFF: Final = (
    *("--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short"),
    *("--src-prefix=a/", "--dst-prefix=b/"),
)


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """The changes to tracked files that are not committed.

    Attributes:
        patch: ``git diff HEAD`` as it was printed, except that credentials are taken out.
        truncated: whether it was cut, after a whole line, at the size limit.
        num_redacted_lines: how many of its lines had a credential.
        note: why there is none, when it could not be made.
    """

    patch: bytes = b""
    truncated: bool = False
    num_redacted_lines: int = 0
    note: str | None = None


def read_git(
    directories: Sequence[Path], *, environ: Mapping[str, str], timeout_s: float = TIMEOUT_S
) -> tuple[dict[str, Any], str | None]:
    """The state of the first repository that one of the directories lies in.

    Args:
        directories: where to look, in this order.
        environ: the environment that git gets, and in whose ``PATH`` it is looked for.
        timeout_s: how long all of it may take.

    Returns:
        The values of ``FIELDS``, and a note when some are None for a reason that is worth telling. ``branch`` is
        None on a detached head, ``commit`` before the first one. ``dirty`` speaks of tracked files; the files that
        git does not track are listed, the first ``MAX_UNTRACKED`` of them by name.
    """
    nothing = dict.fromkeys(FIELDS)
    git = _Git(environ, deadline_s=time.monotonic() + timeout_s)
    if git.program is None:
        return nothing, "git is not installed, so the code's version is unknown"
    note = None
    for directory in directories:
        answer = git.ask(directory, "rev-parse", "--show-toplevel")
        if answer.ok:
            return _read_repository(git, Path(os.fsdecode(answer.output.rstrip(b"\n"))))
        note = note or f"{directory}: {answer.problem}"
    return nothing, note


def collect_diff(
    root: Path,
    *,
    environ: Mapping[str, str],
    max_bytes: int = MAX_DIFF_BYTES,
    timeout_s: float = TIMEOUT_S,
) -> Diff:
    """The uncommitted changes to tracked files, staged or not; before the first commit, all of them.

    Args:
        root: the repository's working tree, ``root`` of ``read_git``.
        environ: as for ``read_git``.
        max_bytes: how much is kept, up to a whole line.
        timeout_s: how long it may take.
    """
    git = _Git(environ, deadline_s=time.monotonic() + timeout_s)
    if git.program is None:
        return Diff(note="git is not installed, so uncommitted changes are unknown")
    has_commit = git.ask(root, "rev-parse", "--verify", "--quiet", "HEAD").ok
    base = b"HEAD" if has_commit else git.ask(root, "hash-object", "-t", "tree", os.devnull).output.strip()
    try:
        process = git.start(root, "diff", *_PLAIN_DIFF, os.fsdecode(base), "--")
    except OSError as error:
        return Diff(note=f"git cannot be started ({error}); uncommitted changes are unknown")
    raw, is_late = _read_at_most(process, max_bytes + 1, seconds=git.seconds_left())
    if is_late:
        return Diff(note=f"git diff took longer than {timeout_s:g} s; uncommitted changes are unknown")
    truncated = len(raw) > max_bytes
    if process.returncode != 0 and not truncated:
        return Diff(note=f"git diff ended with {process.returncode}; run `git -C {root} diff HEAD` to see why")
    whole = raw[: raw.rfind(b"\n", 0, max_bytes) + 1] if truncated else raw
    text, num_redacted_lines = redact_diff(whole.decode("utf-8", "surrogateescape"))
    patch = text.encode("utf-8", "surrogateescape")
    return Diff(patch=patch, truncated=truncated, num_redacted_lines=num_redacted_lines)


class _Answer(msgspec.Struct, frozen=True):
    ok: bool
    output: bytes
    problem: str


class _Git:
    """The program, its environment, and the time that is left for it."""

    def __init__(self, environ: Mapping[str, str], *, deadline_s: float) -> None:
        self.program = shutil.which("git", path=environ.get("PATH"))
        self._environ = {**environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        self._deadline_s = deadline_s

    def seconds_left(self) -> float:
        return max(self._deadline_s - time.monotonic(), 0.05)

    def start(self, directory: Path, *arguments: str, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - a fixed program with fixed options, no shell
            [self.program or "git", *_QUIET, "-C", str(directory), *arguments],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )

    def ask(self, directory: Path, *arguments: str) -> _Answer:
        return self.ask_all(directory, [arguments])[0]

    def ask_all(self, directory: Path, questions: Sequence[Sequence[str]]) -> list[_Answer]:
        """Several questions at once; each is a process of its own."""
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for question in questions:
                processes.append(self.start(directory, *question, stderr=subprocess.PIPE))  # noqa: PERF401 - see except
        except OSError as error:
            for process in processes:
                _end(process)
            return [_Answer(ok=False, output=b"", problem=f"git cannot be started ({error})")] * len(questions)
        return [self._wait(process) for process in processes]

    def _wait(self, process: subprocess.Popen[bytes]) -> _Answer:
        try:
            output, errors = process.communicate(timeout=self.seconds_left())
        except subprocess.TimeoutExpired:
            _end(process)
            return _Answer(ok=False, output=b"", problem="git did not answer in time")
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        problem = lines[0] if lines else f"git ended with {process.returncode}"
        return _Answer(ok=process.returncode == 0, output=output, problem=problem)


def _read_repository(git: _Git, root: Path) -> tuple[dict[str, Any], str | None]:
    status, head, urls = git.ask_all(
        root,
        [
            ("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal"),
            ("rev-parse", "--verify", "--quiet", "HEAD"),
            ("config", "--get-regexp", r"^remote\..*\.url$"),
        ],
    )
    state: dict[str, Any] = {**dict.fromkeys(FIELDS), "root": str(root)}
    state["commit"] = head.output.decode("ascii", "replace").strip() or None
    state["remote"] = _choose_remote(os.fsdecode(urls.output))
    if not status.ok:
        return state, f"{root}: git status failed: {status.problem}"
    state.update(_parse_status(os.fsdecode(status.output)))
    return state, None if state["commit"] else f"{root} has no commit yet; commit to make runs reproducible"


def _parse_status(listing: str) -> dict[str, Any]:
    """Branch, dirtiness and untracked names from ``git status --porcelain=v2 --branch -z``."""
    branch: str | None = None
    dirty = False
    untracked: list[str] = []
    entries = iter(listing.split("\0"))
    for entry in entries:
        kind, _, rest = entry.partition(" ")
        if kind == "#" and rest.startswith("branch.head "):
            name = rest.removeprefix("branch.head ")
            branch = None if name == "(detached)" else name
        elif kind == "?":
            untracked.append(rest)
        elif kind in ("1", "2", "u"):
            dirty = True
        if kind == "2":
            next(entries, None)  # a renamed file's old name
    return {
        "branch": branch,
        "dirty": dirty,
        "untracked": untracked[:MAX_UNTRACKED],
        "num_untracked": len(untracked),
    }


def _choose_remote(listing: str) -> str | None:
    """The address of ``origin``, else of the first remote there is."""
    pairs = [line.split(" ", 1) for line in listing.splitlines() if " " in line]
    urls = {name.removeprefix("remote.").removesuffix(".url"): url for name, url in pairs}
    return urls.get("origin", next(iter(urls.values()), None))


def _read_at_most(process: subprocess.Popen[bytes], size_bytes: int, *, seconds: float) -> tuple[bytes, bool]:
    """The beginning of what a process prints, and whether it was stopped for taking too long."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        output = process.stdout.read(size_bytes) if process.stdout else b""
        if len(output) < size_bytes:
            process.wait()  # it has printed everything
    finally:
        timer.cancel()
        _end(process)
    return output, late.is_set()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait()
