"""Records FaultBench: trains every run of the plan in a process of its own, holds the rules, writes the labels.

What has been recorded is kept, so that it may be stopped and go on; a run whose description has changed is recorded
again. The labels are replaced every few runs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final

import msgspec

from bench.faults.curves import Curves, read_curves
from bench.faults.healthy import slowed_down, what_ails
from bench.faults.injected.catalogue import FAULTS
from bench.faults.labels import Dropped, Label, read_dropped, read_labels, write
from bench.faults.plan import Job, plan
from bench.faults.shown import check_twins, shown_step

HOME: Final = Path(".bench") / "faults"
WRITE_EVERY: Final = 10
NUM_TRIES: Final = 2
MADE_FROM: Final = "made_from.json"
VERSION: Final = 1
"""Raised when trainings change in a way that descriptions do not tell."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Record what is asked for; return 1 when a training failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults generate", description=__doc__)
    parser.add_argument("--home", type=Path, default=HOME, help="directory of records and labels")
    parser.add_argument("--seed", type=int, default=0, help="of the whole benchmark")
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side")
    parser.add_argument("--only", default="", help="runs whose names begin so, by comma, and their twins")
    parser.add_argument("--limit", type=int, default=0, help="the first so many runs of the plan")
    options = parser.parse_args(arguments)
    whole = plan(options.seed)
    jobs = chosen(whole, only=[it for it in options.only.split(",") if it], limit=options.limit)
    has_labels = (options.home / "labels.json").exists()
    book = Book(options.home, known=[it.name for it in whole if has_labels and is_recorded(it, options.home)])
    failed = record(jobs, options.home, num_processes=options.jobs, is_done=book.take)
    book.write()
    print(f"{len(book.labels)} runs, {len(book.dropped)} left out, {len(failed)} failed: {options.home}")
    return int(bool(failed))


def chosen(jobs: list[Job], *, only: Sequence[str], limit: int) -> list[Job]:
    """The runs that are asked for, with the twins that they need."""
    wanted = [job for job in jobs if not only or job.name.startswith(tuple(only))]
    wanted = wanted[:limit] if limit else wanted
    names = {job.name for job in wanted} | {job.twin for job in wanted}
    return [job for job in jobs if job.name in names]


class Book:
    """Keeps labels, and what is left out, as runs are done.

    Args:
        home: the benchmark's directory.
        known: runs whose recordings stand: what an earlier call found of them is kept until they are judged again.

    Attributes:
        labels: of the runs that are in.
        dropped: the others, with the rule that each broke.
    """

    def __init__(self, home: Path, *, known: Sequence[str] = ()) -> None:
        self._home = home
        self._twins: dict[str, Curves] = {}
        self._num_taken = 0
        kept = frozenset(known)
        self.labels: dict[str, Label] = {it.name: it for it in read_labels(home) if it.name in kept} if kept else {}
        self.dropped: dict[str, Dropped] = {it.name: it for it in read_dropped(home) if it.name in kept} if kept else {}

    def take(self, job: Job) -> None:
        """Label a run that is done; twins come before their faulty runs."""
        curves = read_curves(self._home / "runs" / job.name)
        why, shown = self._judge(job, curves)
        self.labels.pop(job.name, None)
        self.dropped.pop(job.name, None)
        if why is None:
            self.labels[job.name] = label(job, shown)
        else:
            self.dropped[job.name] = Dropped(name=job.name, why=why)
        self._num_taken += 1
        if self._num_taken % WRITE_EVERY == 0:
            self.write()

    def write(self) -> None:
        """Write both files."""
        write(self._home, "labels.json", list(self.labels.values()))
        write(self._home, "dropped.json", list(self.dropped.values()))

    def _judge(self, job: Job, curves: Curves) -> tuple[str | None, float | None]:
        """Why a run is left out, or None and the step from which it shows its fault."""
        if job.fault is None:
            why = what_ails(job.recipe, curves)
            if why is None and job.name.startswith("twin-"):
                self._twins[job.name] = curves  # also one that the machine slowed down: its numbers are the same
            return why or _slowed_down(job, curves), None
        twin = self._twins.get(job.twin or "")
        if twin is None:
            return f"its twin {job.twin} is not healthy", None
        check_twins(curves, twin, job.onset)
        shown = shown_step(FAULTS[job.fault], curves, twin, job.onset)
        return (None, shown) if shown is not None else ("the logged numbers never show it", None)


def label(job: Job, shown: float | None) -> Label:
    """What is known of a run."""
    known = Label(
        name=job.name,
        kind="healthy" if job.fault is None else "fault",
        family=job.recipe.family,
        recipe=job.recipe.name,
        split=job.split,
        steps=job.recipe.steps,
        log_every=job.recipe.log_every,
    )
    if job.fault is None:
        return known
    kind = FAULTS[job.fault]
    return msgspec.structs.replace(
        known,
        fault=job.fault,
        dose=job.dose,
        onset_step=job.onset,
        shown_step=shown,
        sudden=kind.sudden,
        right=kind.right,
        symptoms=kind.symptoms,
        twin=job.twin,
    )


def record(jobs: list[Job], home: Path, *, num_processes: int, is_done: Callable[[Job], None]) -> list[str]:
    """Record runs side by side; hand on each that is done, in the order of the plan; return the names of failures."""
    from bench.faults.training import warm_up

    warm_up()
    (home / "runs").mkdir(parents=True, exist_ok=True)
    started_s = time.monotonic()
    context = multiprocessing.get_context("fork")
    waiting = [job for job in jobs if not is_recorded(job, home)]
    missing, failed, running = {job.name for job in waiting}, [], {}
    place, num_waiting = 0, len(waiting)
    while True:
        while waiting and len(running) < num_processes:
            job = waiting.pop(0)
            process = context.Process(target=train, args=(job, home), name=job.name)
            process.start()
            running[process.sentinel] = process
        while place < len(jobs) and jobs[place].name not in missing:
            if jobs[place].name not in failed:
                is_done(jobs[place])
            place += 1
        if not running:
            return failed
        for sentinel in wait(list(running)):
            process = running.pop(sentinel)
            process.join()
            missing.discard(process.name)
            if process.exitcode != 0:
                failed.append(process.name)
            done = num_waiting - len(missing)
            spent_s = time.monotonic() - started_s
            print(f"{done}/{num_waiting} {spent_s:.0f} s {process.name}", file=sys.stderr, flush=True)


def train(job: Job, home: Path) -> None:
    """Record one run, in this process; it is there as a whole or not at all."""
    from bench.faults.training import NOTHING, Trainer

    kind = FAULTS[job.fault] if job.fault else None
    partial, final = home / "partial" / job.name, home / "runs" / job.name
    for _ in range(NUM_TRIES):
        shutil.rmtree(partial, ignore_errors=True)
        fault = kind.make(job.dose) if kind else NOTHING
        trainer = Trainer(job.recipe, job.seed, fault=fault, onset=job.onset, unlogged=kind.unlogged if kind else ())
        trainer.train(partial)
        if _slowed_down(job, read_curves(partial)) is None:
            break
    (partial / MADE_FROM).write_bytes(made_from(job))
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def _slowed_down(job: Job, curves: Curves) -> str | None:
    """Whether the machine slowed a run down that was not to slow down, nor speed up, by itself."""
    is_meant = job.recipe.ramp_steps > 0 or (job.fault is not None and FAULTS[job.fault].shows == "slow")
    return None if is_meant else slowed_down(curves)


def made_from(job: Job) -> bytes:
    """What a run was made from: when it changes, the run is recorded anew."""
    return msgspec.json.encode({"version": VERSION, "job": job})


def is_recorded(job: Job, home: Path) -> bool:
    """Whether the run is there, made from the same description."""
    path = home / "runs" / job.name / MADE_FROM
    return path.exists() and path.read_bytes() == made_from(job)
