"""Where a run is written and whether it begins or continues one: made, resumed or refused, never overwritten."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from pathlib import Path
from typing import Literal

import msgspec

from barograph.errors import FormatError, MisuseError, RunBusyError, RunExistsError, RunNotFoundError
from barograph.facts.codec import decode
from barograph.facts.log import iterate, repair_text
from barograph.facts.rows import HOST_SPLIT, repair_rows
from barograph.facts.rundir import RunDir, check_name, create_run_dir, make_dir, rank_of
from barograph.facts.state import (
    STALE_HEARTBEATS,
    ExitRecord,
    ProcessRecord,
    is_alive,
    is_here,
    read_exit,
    read_process,
    this_process,
    write_process,
)
from barograph.record.identity import Identity

Resume = Literal["never", "allow", "must"]
RESUMES: tuple[Resume, ...] = ("never", "allow", "must")
CLAIM_S = 2.0
"""How long a process may take from claiming an attempt to saying who it is; after that it is taken for dead."""

_POLL_S = 0.01
_TAIL_BYTES = 1 << 16


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where an attempt is written.

    Attributes:
        directory: the run's directory; it exists.
        attempt: 0 for a new run.
        identity: the recorded identity of a run that is continued, else None.
        previous_status: how the previous attempt ended.
        repaired: files of which a torn tail was cut.
        first_step: one more than the last recorded step.
        failure: why the directory could not be prepared; what can still be recorded there is recorded.
    """

    directory: RunDir
    attempt: int = 0
    identity: Identity | None = None
    previous_status: str = ""
    repaired: list[str] = []
    first_step: int = 0
    failure: OSError | None = None


def new_place(root: Path, name: str, *, when: dt.datetime | None = None) -> Place:
    """Make a directory ``ROOT/run_YYYYMMDD-HHMMSS_NAME_jobN``."""
    path = create_run_dir(root, check_name(name, what="run name"), when=when or dt.datetime.now(dt.UTC))
    return Place(directory=RunDir(path))


def named_place(path: Path, resume: Resume) -> Place:
    """Use exactly the directory that the caller names.

    Raises:
        RunExistsError: it holds a run and resuming was not asked for.
        RunNotFoundError: it holds none and resuming is a must.
        RunBusyError: another living process writes that run.
        MisuseError: it is a file, or the run was deleted.
    """
    directory = RunDir(path)
    make_dir(path)
    if not directory.is_run():
        if resume == "must":
            raise RunNotFoundError(
                f"{str(path)!r} holds no run to resume; check the path, or use resume='allow' to begin one there"
            )
        try:
            if _claim(directory, 0):
                return Place(directory=directory)
        except OSError as error:
            return Place(directory=directory, failure=error)
    if resume == "never":
        raise RunExistsError(
            f"{str(path)!r} already holds a run; use another dir, or resume='allow' to continue it as the next "
            f"attempt (nothing that is recorded there will be changed)"
        )
    if directory.edits.exists() and _is_deleted(path):
        raise MisuseError(
            f"the run in {str(path)!r} was deleted, so that what it goes on to record would stay hidden; "
            f"`barograph restore {path}` brings it back, or begin a run in another dir"
        )
    return _continued(directory)


def _is_deleted(path: Path) -> bool:
    from barograph.read.catalog import is_deleted  # noqa: PLC0415 - for runs that people have edited

    return is_deleted(path)


def joined_place(directory: RunDir, owner: ProcessRecord, *, rank: int) -> Place:
    """Write beside the process that owns the run, in its attempt."""
    first_step = next_step(directory, rank=rank) if owner.attempt else 0
    return Place(directory=directory, attempt=owner.attempt, identity=read_identity(directory), first_step=first_step)


def check_resume(resume: str | None, *, has_dir: bool) -> Resume:
    """Read the ``resume`` argument of ``init``.

    Raises:
        MisuseError: it is none of never, allow, must; or there is no directory to resume.
    """
    for known in RESUMES:
        if (resume or "never") == known:
            if known != "never" and not has_dir:
                raise MisuseError(f"resume={resume!r} needs the run's directory; pass dir=RUN_DIRECTORY")
            return known
    raise MisuseError(f"resume={resume!r} is none of {', '.join(RESUMES)}; choose one")


def _claim(directory: RunDir, attempt: int) -> bool:
    """Take an attempt for this process; of several processes that try at once, exactly one gets it."""
    directory.ensure_facts()
    mark = directory.attempt_provenance(attempt) if attempt else directory.events()
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    write_process(directory.process(), this_process(attempt=attempt))
    return True


def _continued(directory: RunDir) -> Place:
    identity = read_identity(directory)
    process, ended = _read_state(directory)
    if process is None and identity is None:
        process = _await_process(directory, 0)
    if process is not None:
        _refuse_if_busy(directory, process, ended)
    place = Place(
        directory=directory,
        attempt=1 if process is None else process.attempt + 1,
        identity=identity,
        previous_status=_previous_status(process, ended),
    )
    try:
        attempt = _claim_next(directory, place.attempt)
        place = msgspec.structs.replace(place, attempt=attempt, first_step=next_step(directory))
        return msgspec.structs.replace(place, repaired=_repair(directory))
    except OSError as error:
        return msgspec.structs.replace(place, failure=error)


def _claim_next(directory: RunDir, attempt: int) -> int:
    """Claim the first attempt from ``attempt`` on that nobody else has; a living rival is refused to."""
    while not _claim(directory, attempt):
        rival = _await_process(directory, attempt)
        if rival is not None:
            _refuse_if_busy(directory, rival, _read_state(directory)[1])
        attempt += 1
    return attempt


def _await_process(directory: RunDir, attempt: int) -> ProcessRecord | None:
    """Who claimed an attempt; None when nobody says so in time. A loop that writes events alone never does."""
    deadline_s = time.monotonic() + (CLAIM_S if attempt or not directory.events().stat().st_size else 0.0)
    while True:
        process = _read_state(directory)[0]
        if process is not None and process.attempt >= attempt:
            return process
        if time.monotonic() >= deadline_s:
            return None
        time.sleep(_POLL_S)


def _read_state(directory: RunDir) -> tuple[ProcessRecord | None, ExitRecord | None]:
    try:
        return read_process(directory.process()), read_exit(directory.exit())
    except (FormatError, msgspec.ValidationError) as error:
        raise _unreadable(directory, "process.json or exit.json", error) from None


def _unreadable(directory: RunDir, what: str, error: Exception) -> RunNotFoundError:
    return RunNotFoundError(
        f"{str(directory.path)!r} cannot be resumed, because {what} cannot be read ({error}); restore it from a copy, "
        f"or begin another run in another dir"
    )


def read_identity(directory: RunDir) -> Identity | None:
    """The identity in ``run.json``; None when there is none.

    Raises:
        RunNotFoundError: the file is damaged.
    """
    try:
        return msgspec.convert(decode(directory.identity.read_bytes()), Identity, strict=False)
    except FileNotFoundError:
        return None
    except (FormatError, msgspec.ValidationError) as error:
        raise _unreadable(directory, "run.json", error) from None


def _refuse_if_busy(directory: RunDir, process: ProcessRecord, ended: ExitRecord | None) -> None:
    if ended is not None and ended.attempt >= process.attempt:
        return
    if is_here(process):
        busy = is_alive(process)
    else:
        age_s = time.time() - directory.process().stat().st_mtime
        busy = age_s < STALE_HEARTBEATS * process.heartbeat_s
    if busy:
        raise RunBusyError(
            f"run {str(directory.path)!r} is being written by process {process.pid} on {process.host}; "
            f"wait for it or stop it, then resume"
        )


def _previous_status(process: ProcessRecord | None, ended: ExitRecord | None) -> str:
    if ended is not None and (process is None or ended.attempt >= process.attempt):
        return ended.status
    return "killed"


def _repair(directory: RunDir) -> list[str]:
    cut = [path.name for path in (*directory.events_files(), *directory.overflow_files()) if repair_text(path)]
    for path in directory.rows_files():
        with contextlib.suppress(FormatError):  # its header is damaged; nothing is appended to it, `check` names it
            cut += [path.name] if repair_rows(path) else []
    return cut


def next_step(directory: RunDir, *, rank: int = 0) -> int:
    """One more than the last step of any stream of a rank: where a record that names no step goes on."""
    from barograph.read.columns import last_rows, open_stream  # noqa: PLC0415 - a new run has no use for it

    last: list[float] = [-1]
    for path in _of_rank(directory.stream_files(), rank):
        with contextlib.suppress(FormatError):
            stream = open_stream(path)
            if stream is not None and stream.header.split != HOST_SPLIT:
                last += [row[0] for row in last_rows(stream, 1)]
    for path in _of_rank(directory.overflow_files(), rank):
        tail = iterate(path, max(0, path.stat().st_size - _TAIL_BYTES))
        last += [step for record in tail if isinstance(step := record.get("step"), (int, float))][-1:]
    return int(max(last)) + 1


def _of_rank(paths: list[Path], rank: int) -> list[Path]:
    return [path for path in paths if rank_of(path.name) == rank]
