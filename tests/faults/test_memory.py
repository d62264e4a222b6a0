"""A recorder that runs for weeks: its memory does not grow with the number of steps."""

from __future__ import annotations

import json

import pytest

MEASURE = """
import gc, json, os, sys, time
from pathlib import Path

def measure():
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return sys.getallocatedblocks(), int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def train(log, first, count):
    for step in range(first, first + count):
        log({"loss": step / 7, "accuracy": 0.5, "lr": 0.1, "grad_norm": 1.5, "throughput": 128.0}, step=step)
        if not step % 1000:
            log({"val_loss": step / 5}, step=step, split="val")

num_steps = int(sys.argv[1])
"""
WRITER = """
from barograph.facts.rundir import RunDir
from barograph.record.attempt import Attempt
from barograph.record.identity import Identity
attempt = Attempt(RunDir(Path("run")), Identity(run_id="r1", name="run"))
train(attempt.scalars.log, 0, 10_000)  # files, plans and buckets are made
before = measure()
train(attempt.scalars.log, 10_000, num_steps)
after = measure()
attempt.close("closed")
print(json.dumps([after[0] - before[0], after[1] - before[1], attempt.guard.lost]))
"""
RUN = """
import barograph
run = barograph.init(dir="run", terminal="off", log_steps=1000, eval_steps=10_000)
def train_and_follow(first, count):
    train(run.log, first, count)
    run.event("custom", n=first)
    return settled()

def settled():
    # while the companion reads and watches, many thousands of objects live
    measured = [(0, 0)] * 3
    for _ in range(60):
        time.sleep(1.0)
        measured = [*measured[1:], measure()]
        counts = [count for count, _ in measured]
        if max(counts) - min(counts) < 500:
            break
    return measured[-1]

train_and_follow(0, 50_000)
before = train_and_follow(50_000, 50_000)
after = train_and_follow(100_000, num_steps)
run.finish()
print(json.dumps([after[0] - before[0], after[1] - before[1], run.ledger.lost]))
"""
PAGES = 256 << 10
ARENAS = 4 << 20
"""The companion reads a megabyte of rows at once; where the allocator then keeps free memory varies by this much."""


def check(record, script: str, num_steps: int, *, noise_bytes: int) -> None:
    """Neither objects nor bytes stay, however many steps there are."""
    stdout, _ = record(MEASURE + script, num_steps, timeout_s=300)
    blocks, rss_bytes, lost = json.loads(stdout)
    print(f"{num_steps} steps: {blocks:+} objects, {rss_bytes:+} bytes of resident memory")
    assert lost == 0
    assert blocks < 1_000
    assert rss_bytes < noise_bytes


def test_the_writer_does_not_grow_over_a_million_steps(record):
    """Resident memory and the number of living objects before and after: less than a quarter of a byte per step."""
    check(record, WRITER, 1_000_000, noise_bytes=PAGES)


def test_a_run_does_not_grow_over_a_hundred_thousand_steps(record):
    """The same with all that accompanies a run: companion, text log, console, host sampler."""
    check(record, RUN, 100_000, noise_bytes=ARENAS)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_does_not_grow_over_a_million_steps(record):
    """And for ten times as many steps the bound is the same."""
    check(record, RUN, 1_000_000, noise_bytes=ARENAS)
