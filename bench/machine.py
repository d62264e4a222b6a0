"""What the figures were measured on, read before the first of them."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

GIB = 1024**3


def describe(*, folder: Path, now: datetime | None = None) -> dict[str, str]:
    """Return the facts of this machine, each ready to print.

    Args:
        folder: a directory on the disk that is written to.
        now: the time to state; the present by default.
    """
    moment = now or datetime.now(UTC)
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return {
        "date": f"{moment:%Y-%m-%d %H:%M:%S} UTC",
        "processor": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{memory_gib:.0f} GiB",
        "file system": _file_system(folder),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load average before": f"{os.getloadavg()[0]:.2f}",
    }


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    """Return the type of the file system that holds `folder`: the mount with the longest matching path."""
    best, kind = -1, "unknown"
    for line in _lines("/proc/self/mounts"):
        _device, point, found, *_rest = line.split()
        if folder.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), found
    return kind


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
