"""What only barograph is asked: the run table with a warm index, and bytes per number of sealed runs."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.reading.work import Amount

TIMES = 5
SEALED = Amount(20, 20_000)


def measure(work: Path, *, num_runs: int) -> list[tuple[str, float, str, float | None]]:
    """What, limit, unit, measured."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        call_s, command_s = _table(work, num_runs)
        noisy, single = _sealed_bytes(work, is_single=False), _sealed_bytes(work, is_single=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return [
        (f"run table of {num_runs:,} runs, warm index, in a process that runs", 300.0, "ms", 1e3 * call_s),
        ("the same, `barograph list --limit 20` as a whole process", 300.0, "ms", 1e3 * command_s),
        ("sealed: bytes per number, float64 full of noise", 7.0, "bytes", noisy),
        ("sealed: bytes per number, values that were float32", 7.0, "bytes", single),
    ]


def _table(work: Path, num_runs: int) -> tuple[float, float]:
    from barograph.read.index.listing import indexed_overviews
    from bench.reading.subjects.barograph import write_rows

    root, cache = work / "runs", work / "cache"
    write_rows(root, Amount(num_runs, 3))
    assert len(indexed_overviews(root, cache_dir=cache)) == num_runs
    times = []
    for _ in range(TIMES):
        began_s = time.perf_counter()
        assert len(indexed_overviews(root, cache_dir=cache)) == num_runs
        times.append(time.perf_counter() - began_s)
    command = [Path(sys.executable).parent / "barograph", "list", root, "--limit", "20"]
    variables = os.environ | {"BAROGRAPH_CACHE": str(cache)}
    whole = []
    for _ in range(TIMES):
        began_s = time.perf_counter()
        subprocess.run(command, env=variables, check=True, capture_output=True)
        whole.append(time.perf_counter() - began_s)
    return statistics.median(times), statistics.median(whole)


def _sealed_bytes(work: Path, *, is_single: bool) -> float:
    """Bytes of the sealed streams per logged number; headers, events and identities are not numbers."""
    import numpy as np

    from barograph.facts.rundir import RunDir
    from barograph.read.archive.seal import seal
    from barograph.read.catalog import discover_runs
    from barograph.read.run import RunReader
    from bench.reading.subjects.barograph import write_rows

    root = work / f"sealed-{is_single}"
    write_rows(root, SEALED)
    size = 0
    for path in discover_runs(root):
        rows = RunDir(path).rows(0)
        if is_single:
            data = rows.read_bytes()
            numbers = np.frombuffer(data, "<f8", offset=4096).reshape(-1, 7).copy()
            numbers[:, 1:6] = numbers[:, 1:6].astype(np.float32)
            rows.write_bytes(data[:4096] + numbers.tobytes())
        seal(RunReader(path))
        size += sum(file.stat().st_size for file in RunDir(path).sealed_files())
    return size / SEALED.numbers
