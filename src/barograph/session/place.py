"""Where a run is written and whether it begins or continues one: made, resumed or refused, never overwritten."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Literal

import msgspec

from barograph.errors import MisuseError, RunBusyError, RunExistsError, RunNotFoundError
from barograph.facts.codec import decode
from barograph.facts.log import repair_text
from barograph.facts.rows import HOST_SPLIT, as_columns, read_header, repair_rows, tail_rows
from barograph.facts.rundir import RunDir, check_name, create_run_dir, make_dir
from barograph.facts.state import ProcessRecord, is_alive, is_here, read_exit, read_process
from barograph.record.identity import Identity

Resume = Literal["never", "allow", "must"]
RESUMES: tuple[Resume, ...] = ("never", "allow", "must")
STALE_HEARTBEATS = 12


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where an attempt is written.

    Attributes:
        directory: the run's directory; it exists.
        attempt: 0 for a new run.
        identity: the recorded identity of a run that is continued, else None.
        previous_status: how the previous attempt ended.
        repaired: files of which a torn tail was cut.
        first_step: one more than the last recorded step.
    """

    directory: RunDir
    attempt: int = 0
    identity: Identity | None = None
    previous_status: str = ""
    repaired: list[str] = []
    first_step: int = 0


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
        MisuseError: it is a file.
    """
    directory = RunDir(path)
    make_dir(path)
    if not directory.is_run():
        if resume == "must":
            raise RunNotFoundError(
                f"{str(path)!r} holds no run to resume; check the path, or use resume='allow' to begin one there"
            )
        return Place(directory=directory)
    if resume == "never":
        raise RunExistsError(
            f"{str(path)!r} already holds a run; use another dir, or resume='allow' to continue it as the next "
            f"attempt (nothing that is recorded there will be changed)"
        )
    return _continued(directory)


def check_resume(resume: str | None, *, has_dir: bool) -> Resume:
    """Read the ``resume`` argument of ``init``.

    Raises:
        MisuseError: it is none of never, allow, must; or there is no directory to resume.
    """
    for known in RESUMES:
        if (resume or "never") == known:
            if known == "must" and not has_dir:
                raise MisuseError("resume='must' needs the run's directory; pass dir=RUN_DIRECTORY")
            return known
    raise MisuseError(f"resume={resume!r} is none of {', '.join(RESUMES)}; choose one")


def _continued(directory: RunDir) -> Place:
    process = read_process(directory.process())
    if process is not None:
        _refuse_if_busy(directory, process)
    return Place(
        directory=directory,
        attempt=1 if process is None else process.attempt + 1,
        identity=read_identity(directory),
        previous_status=_previous_status(directory, process),
        repaired=_repair(directory),
        first_step=_next_step(directory),
    )


def read_identity(directory: RunDir) -> Identity | None:
    """The identity in ``run.json``; None when there is none."""
    try:
        return msgspec.convert(decode(directory.identity.read_bytes()), Identity, strict=False)
    except FileNotFoundError:
        return None


def _refuse_if_busy(directory: RunDir, process: ProcessRecord) -> None:
    ended = read_exit(directory.exit())
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


def _previous_status(directory: RunDir, process: ProcessRecord | None) -> str:
    ended = read_exit(directory.exit())
    if ended is not None and (process is None or ended.attempt >= process.attempt):
        return ended.status
    return "killed"


def _repair(directory: RunDir) -> list[str]:
    cut = [path.name for path in (*directory.events_files(), *directory.overflow_files()) if repair_text(path)]
    return cut + [path.name for path in directory.rows_files() if repair_rows(path)]


def _next_step(directory: RunDir) -> int:
    last = -1.0
    for path in directory.rows_files():
        header = read_header(path)
        if header is not None and header.split != HOST_SPLIT:
            steps = as_columns(header, tail_rows(path, header, 1)).get("step", [])
            last = max([last, *steps])
    return int(last) + 1
