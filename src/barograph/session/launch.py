"""Distributed launches: which rank this process is, and how the ranks of one launch find rank 0's directory.

Rank 0 owns the run: it makes the directory and writes the identity. The others wait for it, by a file in the root
that names the launch; no network is used. A rank that waits in vain trains on: its facts lie in a directory of its own.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from barograph.errors import MisuseError
from barograph.facts.codec import decode, encode
from barograph.facts.descriptor import replace_file
from barograph.facts.rundir import RunDir, make_dir
from barograph.facts.state import (
    STALE_HEARTBEATS,
    ProcessRecord,
    is_alive,
    is_here,
    read_exit,
    read_process,
    start_ticks,
)

RANK_VARIABLES: Final = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
WORLD_VARIABLES: Final = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
LOCAL_WORLD_VARIABLES: Final = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE")
LAUNCH_VARIABLES: Final = (
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "SLURM_RESTART_COUNT",
    "PMIX_NAMESPACE",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "MASTER_ADDR",
    "MASTER_PORT",
)
WAIT_S: Final = 60.0
_POLL_S: Final = 0.02


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """This process's place in a distributed launch.

    Attributes:
        rank: this process's rank; rank 0 owns the run.
        world: how many ranks there are.
        key: what the ranks of this launch, for this run, have in common; "" for a single process.
        recurs: an older launch may have had the same key, so that its run has to be told apart by its owner's life.
    """

    rank: int = 0
    world: int = 1
    key: str = ""
    recurs: bool = False


def find_launch(environ: Mapping[str, str], *, numbers: Iterator[int]) -> Launch:
    """Read the launcher's variables.

    Args:
        environ: where they are.
        numbers: counts the runs of this process, so that ranks that record one after the other meet in the same one.

    Raises:
        MisuseError: a variable is no number.
    """
    rank, world = find_rank(environ)
    if world == 1:
        return Launch()
    key = launch_key(environ, world=world, number=next(numbers))
    return Launch(rank=rank, world=world, key=key, recurs=may_recur(environ, world=world))


def find_rank(environ: Mapping[str, str]) -> tuple[int, int]:
    """This process's rank and the number of ranks; (0, 1) for a single process.

    Raises:
        MisuseError: a variable is no number.
    """
    rank, world = 0, 1
    for names in zip(RANK_VARIABLES, WORLD_VARIABLES, strict=True):
        if names[0] in environ:
            rank, world = (_number(environ, name) for name in names)
            break
    return (rank, max(world, rank + 1)) if world > 1 or rank > 0 else (0, 1)


def _number(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name, "1" if name in WORLD_VARIABLES else "0")
    if not value.isdecimal():
        raise MisuseError(f"environment variable {name}={value!r} is no rank or number of ranks; correct or unset it")
    return int(value)


def launch_key(environ: Mapping[str, str], *, world: int, number: int = 0) -> str:
    """What the processes of one launch have in common, for their ``number``-th run; "" for a single process.

    Launchers on one machine are told apart by their process; Slurm's steps and launches over several machines by
    what their variables say.
    """
    if world == 1:
        return ""
    parts = [f"{name}={environ.get(name, '')}" for name in LAUNCH_VARIABLES]
    if "SLURM_JOB_ID" not in environ and _is_on_one_machine(environ, world):
        parent = os.getppid()
        parts.append(f"parent={parent}:{start_ticks(parent)}")
    return hashlib.sha256("\n".join([*parts, str(number)]).encode()).hexdigest()[:16]


def may_recur(environ: Mapping[str, str], *, world: int) -> bool:
    """Whether a later launch may have the same key: over several machines, with the same port and without Slurm."""
    return "SLURM_JOB_ID" not in environ and not _is_on_one_machine(environ, world)


def _is_on_one_machine(environ: Mapping[str, str], world: int) -> bool:
    local = [_number(environ, name) for name in LOCAL_WORLD_VARIABLES if name in environ]
    return not local or local[0] >= world


def pointer(root: Path, key: str) -> Path:
    """The file by which rank 0 tells where the run is."""
    return root / f".launch-{key}.json"


def publish(root: Path, key: str, directory: Path) -> None:
    """Tell the other ranks where the run is."""
    make_dir(root)
    replace_file(pointer(root, key), encode({"dir": str(directory.resolve())}) + b"\n")


def wait_for_owner(
    root: Path, named: Path | None, launch: Launch, *, timeout_s: float = WAIT_S
) -> tuple[RunDir, ProcessRecord]:
    """Where rank 0 of this launch records, and as which process.

    Args:
        root: where rank 0 tells of its directory.
        named: the directory, when the caller names one.
        launch: who waits.
        timeout_s: for how long.

    Raises:
        TimeoutError: rank 0 did not begin the run in time.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        directory = RunDir(named) if named is not None else _read_pointer(root, launch.key)
        record = None if directory is None else read_process(directory.process())
        is_mine = record is not None and record.launch == launch.key
        if directory and record and is_mine and (not launch.recurs or _is_current(directory, record)):
            return directory, record
        if time.monotonic() > deadline_s:
            raise TimeoutError(
                f"rank {launch.rank} waited {timeout_s:g} s for rank 0 to begin the run in {str(named or root)!r}; "
                f"call barograph.init in every rank, with the same root, or pass the same dir= in all of them"
            )
        time.sleep(_POLL_S)


def _read_pointer(root: Path, key: str) -> RunDir | None:
    """Where rank 0 says it is; read anew each time, because an older launch may have left the file."""
    try:
        return RunDir(Path(decode(pointer(root, key).read_bytes())["dir"]))
    except FileNotFoundError:
        return None


def _is_current(directory: RunDir, record: ProcessRecord) -> bool:
    ended = read_exit(directory.exit())
    if ended is not None and ended.attempt >= record.attempt:
        return False
    if is_here(record):
        return is_alive(record)
    return time.time() - directory.process().stat().st_mtime < STALE_HEARTBEATS * record.heartbeat_s
