"""Distributed launches: which rank this process is, and how the ranks of one launch find rank 0's directory.

Rank 0 owns the run: it makes the directory and writes the identity. The others wait for it, by a file in the root
that names the launch; no network is used.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from barograph.errors import MisuseError, RunNotFoundError
from barograph.facts.codec import decode, encode
from barograph.facts.descriptor import replace_file
from barograph.facts.rundir import RunDir, make_dir
from barograph.facts.state import ProcessRecord, is_alive, is_here, read_process, start_ticks

RANK_VARIABLES: Final = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
WORLD_VARIABLES: Final = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
LAUNCH_VARIABLES: Final = (
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "SLURM_RESTART_COUNT",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "MASTER_ADDR",
    "MASTER_PORT",
)
WAIT_S: Final = 60.0
_POLL_S: Final = 0.02


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


def launch_key(environ: Mapping[str, str], *, world: int) -> str:
    """What the processes of one launch have in common; "" for a single process.

    Launchers on one machine are told apart by their process; Slurm's steps by their number.
    """
    if world == 1:
        return ""
    parts = [f"{name}={environ.get(name, '')}" for name in LAUNCH_VARIABLES]
    if "SLURM_JOB_ID" not in environ:
        parent = os.getppid()
        parts.append(f"parent={parent}:{start_ticks(parent)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def pointer(root: Path, key: str) -> Path:
    """The file by which rank 0 tells where the run is."""
    return root / f".launch-{key}.json"


def publish(root: Path, key: str, directory: Path) -> None:
    """Tell the other ranks where the run is."""
    make_dir(root)
    replace_file(pointer(root, key), encode({"dir": str(directory.resolve())}) + b"\n")


def wait_for_directory(root: Path, key: str, *, rank: int, timeout_s: float = WAIT_S) -> Path:
    """The directory that rank 0 of this launch made.

    Raises:
        RunNotFoundError: rank 0 did not make one in time.
    """
    path = pointer(root, key)
    if not _wait(path.exists, timeout_s):
        raise RunNotFoundError(
            f"rank {rank} waited {timeout_s:.0f} s for rank 0 to make a run in {str(root)!r}; call barograph.init in "
            f"every rank, with the same root, or pass the same dir= in all of them"
        )
    return Path(decode(path.read_bytes())["dir"])


def wait_for_owner(directory: RunDir, key: str, *, rank: int, timeout_s: float = WAIT_S) -> ProcessRecord:
    """Rank 0's process record of this launch.

    Raises:
        RunNotFoundError: rank 0 did not begin the run in time.
    """
    found: list[ProcessRecord] = []

    def has_begun() -> bool:
        record = read_process(directory.process())
        if record is not None and record.launch == key and (not is_here(record) or is_alive(record)):
            found.append(record)
        return bool(found)

    if not _wait(has_begun, timeout_s):
        raise RunNotFoundError(
            f"rank {rank} waited {timeout_s:.0f} s for rank 0 to begin the run in {str(directory.path)!r}; "
            f"call barograph.init in every rank"
        )
    return found[-1]


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
