"""What a worker process does with its subject, and what it measures from inside.

Standard library only: this runs in every peer's environment.
"""

from __future__ import annotations

import itertools
import mmap
import os
import resource
import threading
import time
from array import array
from importlib import metadata
from typing import TYPE_CHECKING, Any

from bench import procs, subjects
from bench.work import is_right, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.work import Plan, Subject

Answer = dict[str, Any]

PACE_NS = 1_000_000
SOAK_SAMPLES = 10


def burst(name: str, plan: Plan, home: Path) -> Answer:
    """Log back to back: latency, memory, processor time, bytes."""
    subject, opened = _opened(name, home)
    latencies = array("q", bytes(8 * plan.steps))
    clock = time.perf_counter_ns
    log = subject.log
    end = clock() + int(plan.steps_limit_s * 1e9)
    done = 0
    for step in range(plan.steps):
        values = values_of(step)
        before = clock()
        log(step, values)
        after = clock()
        latencies[step] = after - before
        done = step + 1
        if after > end:
            break
    helpers = procs.descendants(os.getpid())
    helper_rss_bytes = sum(procs.peak_rss_bytes(pid) for pid in helpers)
    before_s = time.perf_counter()
    subject.close()
    return opened | {
        "steps": done,
        "latency": _latency(latencies[:done]),
        "close_s": time.perf_counter() - before_s,
        "peak_rss_bytes": procs.peak_rss_bytes(),
        "helper_rss_bytes": helper_rss_bytes,
        "closed_bytes": _size_bytes(home),
        "version": _version(name),
    }


def paced(name: str, plan: Plan, home: Path) -> Answer:
    """Log once per millisecond: first alone, then beside a thread that computes without pause."""
    subject, _opened_at = _opened(name, home)
    steps = itertools.count()
    process_s, main_s = time.process_time(), time.thread_time()
    alone = _at_pace(subject.log, steps, calls=plan.paced_calls, limit_s=plan.paced_limit_s)
    background_s = (time.process_time() - process_s) - (time.thread_time() - main_s)
    stop = threading.Event()
    thread = threading.Thread(target=_spin, args=(stop,), daemon=True)
    thread.start()
    beside = _at_pace(subject.log, steps, calls=plan.spin_calls, limit_s=plan.spin_limit_s)
    stop.set()
    thread.join()
    subject.close()
    return {
        "alone": _latency(alone),
        "beside": _latency(beside),
        "background_us_per_call": max(0.0, background_s) / len(alone) * 1e6,  # two clocks: a little below 0 is 0
    }


def doomed(name: str, plan: Plan, home: Path) -> Answer:  # noqa: ARG001 - all scenarios are called alike
    """Log once per millisecond until killed; the count of returned calls lies in a shared mapping."""
    counter = home.with_suffix(".returned")
    with counter.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 8)
    returned = memoryview(mapping).cast("Q")
    subject, _opened_at = _opened(name, home)
    for step in itertools.count():
        subject.log(step, values_of(step))
        returned[0] = step + 1
        time.sleep(PACE_NS / 1e9)
    raise AssertionError("the loop ends by kill -9 only")


def read(name: str, plan: Plan, home: Path) -> Answer:  # noqa: ARG001 - all scenarios are called alike
    """Read the run back in this fresh process; only steps with the five right values count."""
    before_s = time.perf_counter()
    rows = list(subjects.make(name).read_back(home))
    took_s = time.perf_counter() - before_s
    return {"steps_right": sorted({row[0] for row in rows if is_right(row)}), "read_s": took_s}


def soak(name: str, plan: Plan, home: Path) -> Answer:
    """Log very many steps: growth of resident memory, and what works behind the calling thread."""
    subject, _opened_at = _opened(name, home)
    log = subject.log
    sizes_bytes: list[int] = []
    chunk = plan.soak_steps // SOAK_SAMPLES
    loop_s = 0.0
    process_s = time.process_time()
    for sample in range(SOAK_SAMPLES):
        main_s = time.thread_time()
        for step in range(sample * chunk, (sample + 1) * chunk):
            log(step, values_of(step))
        loop_s += time.thread_time() - main_s
        sizes_bytes.append(procs.rss_bytes())
    subject.close()
    steps = chunk * SOAK_SAMPLES
    middle = SOAK_SAMPLES // 2 - 1
    return {
        "steps": steps,
        "rss_bytes": sizes_bytes,
        "warm_up_bytes": sizes_bytes[middle] - sizes_bytes[0],
        "growth_bytes_per_step": (sizes_bytes[-1] - sizes_bytes[middle]) / (steps // 2),
        "background_us_per_call": (time.process_time() - process_s - loop_s) / steps * 1e6,
    }


SCENARIOS = {"burst": burst, "paced": paced, "doomed": doomed, "read": read, "soak": soak}


def _opened(name: str, home: Path) -> tuple[Subject, Answer]:
    """Import and open a subject; what it used until then is not part of a step's cost."""
    before_s = time.perf_counter()
    subject = subjects.make(name)
    subject.open(home)
    open_s = time.perf_counter() - before_s
    return subject, {"open_s": open_s, "open_cpu_s": _tree_cpu_s(), "opened_bytes": _size_bytes(home)}


def _at_pace(log: Callable[..., None], steps: Iterator[int], *, calls: int, limit_s: float) -> array[int]:
    """Call `log` at the given pace, late calls followed by a whole pause; return nanoseconds."""
    latencies = array("q")
    clock = time.perf_counter_ns
    end = clock() + int(limit_s * 1e9)
    due = clock() + PACE_NS
    while len(latencies) < calls and clock() < end:
        step = next(steps)
        values = values_of(step)
        time.sleep(max(0, due - clock()) / 1e9)
        before = clock()
        log(step, values)
        after = clock()
        latencies.append(after - before)
        due = max(due, after) + PACE_NS
    return latencies


def _spin(stop: threading.Event) -> None:
    """Want the interpreter lock always, as a data loader written in Python does."""
    number = 1
    while not stop.is_set():
        for _ in range(1_000):
            number = (number * 1_103_515_245 + 12_345) & 0x7FFF_FFFF


def _latency(nanoseconds: array[int]) -> Answer:
    """Return the order statistics that the tables show, in microseconds."""
    ordered = sorted(nanoseconds)
    last = len(ordered) - 1
    return {
        "calls": len(ordered),
        "p50_us": ordered[last // 2] / 1e3,
        "p99_us": ordered[round(last * 0.99)] / 1e3,
        "max_us": ordered[last] / 1e3,
    }


def _tree_cpu_s() -> float:
    """Return the processor seconds of this process, its finished children and its living descendants."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = sum(procs.cpu_so_far_s(pid) for pid in procs.descendants(os.getpid()))
    return time.process_time() + children.ru_utime + children.ru_stime + living


def _size_bytes(home: Path) -> int:
    return sum(path.lstat().st_size for path in home.rglob("*") if not path.is_dir())


def _version(name: str) -> str:
    distribution = subjects.spec_of(name).distribution
    try:
        return metadata.version(distribution) if distribution else ""
    except metadata.PackageNotFoundError:
        return "working tree"
