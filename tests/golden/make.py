"""Writes a small, whole run directory with fixed clock and ids: ``python tests/golden/make.py DIRECTORY``.

The directory of a release is made until the release is out, and never again: newer releases must read what older
ones wrote. While the format is as it was, the script still writes the same bytes, which a test checks.
"""

from __future__ import annotations

import itertools
import math
import shutil
import sys
from pathlib import Path

from barograph.facts import append_scalars_csv
from barograph.facts.blobs import put_bytes
from barograph.facts.codec import encode
from barograph.facts.descriptor import replace_file
from barograph.facts.events import EventLog
from barograph.facts.kinds import (
    OnCheck,
    OnCheckpoint,
    OnEpochEnd,
    OnExample,
    OnException,
    OnPhaseEnd,
    OnResume,
    OnSignal,
    OnStart,
    OnTrainEnd,
    OnValidationEnd,
    as_payload,
)
from barograph.facts.log import TextLog
from barograph.facts.rows import RowStream, StreamHeader
from barograph.facts.rundir import RunDir
from barograph.facts.state import ExitRecord, ProcessRecord, write_exit, write_process

RUN_ID = "g0ld3ng0ld3n"
NAME = "run_20261120-061500_golden_job0"
T = 1_795_155_300.0
NEGATIVE_NAN = math.copysign(math.nan, -1.0)
HOSTILE = (0.1, -0.0, 5e-324, math.inf, -math.inf, math.nan, NEGATIVE_NAN, 2.0**53)


def make(root: Path) -> RunDir:
    """Write the run below ``root``."""
    run = RunDir(root / NAME)
    run.ensure_facts()
    _write_identity(run)
    _write_attempt(run, 0)
    _write_attempt(run, 1)
    _write_rank(run)
    put_bytes(run.blobs, b"a blob\n", media_type="text/plain")
    return run


def _write_identity(run: RunDir) -> None:
    identity = {
        "schema_version": 1,
        "created_t": T,
        "run_id": RUN_ID,
        "name": "golden",
        "project": "golden",
        "group": None,
        "tags": ["a", "b"],
        "notes": "caf\u00e9 \udc80",
        "seed": 7,
        "tier": "quick",
        "hypothesis": "what is written stays readable",
        "success": ["loss < 1"],
        "config_redacted": [],
        "provenance": {"argv": ["train.py"], "git": None},
    }
    replace_file(run.identity, encode(identity) + b"\n")
    run.config.write_text("lr: 0.001\nseed: 7\n", encoding="utf-8")
    run.train_log.write_text(
        '2026-11-20 06:15:00 | INFO | metric {"step": 10, "loss": 0.1, "split": "train", "run_id": "g0ld3ng0ld3n"}\n',
        encoding="utf-8",
    )


def _write_attempt(run: RunDir, attempt: int) -> None:
    clock = itertools.count(T + 1000 * attempt).__next__
    events = EventLog(run.events(), clock=clock)

    def record(moment, payload):
        events.append(moment, {**({"attempt": attempt} if attempt else {}), **as_payload(payload)})

    if attempt:
        record("on_resume", OnResume(previous_attempt=0, previous_status="killed", repaired=["events.jsonl"]))
    record("on_start", OnStart(run_id=RUN_ID, name="golden", tier="quick", pid=4242 + attempt, log_steps=10))
    _write_rows(run, attempt, split="train", columns=["step", "loss", "a.b/c", "t"], number=2 * attempt)
    _write_rows(run, attempt, split="val", columns=["step", "val_loss", "epoch", "t"], number=2 * attempt + 1)
    _write_overflow(run, attempt)
    record("on_phase_end", OnPhaseEnd(name="fast_log", duration_s=0.25, started_t=T, path="fast_log", step=10))
    record("on_example", _example())
    record("on_validation_end", OnValidationEnd(step=10, metrics={"val_loss": math.nan}))
    record("on_epoch_end", OnEpochEnd(epoch=attempt, train_loss=0.5, val_loss=math.inf, metrics={"perplex": 12.5}))
    append_scalars_csv(run.path, epoch=attempt, train_loss=0.5, val_loss=math.inf, metrics={f"m{attempt}": 12.5})
    record("on_checkpoint", OnCheckpoint(path="best_val.pt", kind="best", step=10, size_bytes=3))
    record("on_check", OnCheck(name="LoRA tensors", passed=True, expected=392, got=392))
    record("on_exception", OnException(type="ValueError", message="x", traceback="Traceback ...\n"))
    record("on_signal", OnSignal(signal=15, name="SIGTERM"))
    events.append("custom", {"kind": "note", "text": "\u2028 \x00 \ud800", "big": 2**64, "nested": [[NEGATIVE_NAN]]})
    record("on_train_end", OnTrainEnd(status="finished", total_time_s=12.5, summary={"best": -math.inf}))
    events.close()
    write_process(run.process(), _process(attempt, 4242 + attempt))
    write_exit(run.exit(), ExitRecord(attempt=attempt, status="finished", t=T + 12.5, summary={"best": -math.inf}))


def _write_rows(run: RunDir, attempt: int, *, split: str, columns: list[str], number: int) -> None:
    header = StreamHeader(run_id=RUN_ID, columns=columns, split=split, attempt=attempt, pid=4242 + attempt)
    stream = RowStream(run.rows(number), header)
    for index, value in enumerate(HOSTILE):
        stream.append((10 * attempt + index - 0.5, value, float(index), T + index))
    stream.close()


def _write_overflow(run: RunDir, attempt: int) -> None:
    log = TextLog(run.overflow())
    origin = {"split": "train", "attempt": attempt, "rank": 0, "run_id": RUN_ID}
    log.append({"step": 2**53 + 1, "tokens": 2**63, "loss": NEGATIVE_NAN, "t": T, **origin})
    log.close()


def _write_rank(run: RunDir) -> None:
    header = StreamHeader(run_id=RUN_ID, columns=["step", "loss", "t"], rank=3, pid=4300)
    stream = RowStream(run.rows(0, rank=3), header)
    stream.append((0.0, 0.5, T))
    stream.close()
    events = EventLog(run.events(3), clock=lambda: T)
    events.append("on_start", {"rank": 3, **as_payload(OnStart(run_id=RUN_ID, name="golden", pid=4300))})
    events.close()
    write_process(run.process(3), _process(0, 4300))


def _process(attempt: int, pid: int) -> ProcessRecord:
    return ProcessRecord(attempt=attempt, pid=pid, host="golden", boot_id="0-0", start_ticks=5, started_t=T)


def _example() -> OnExample:
    return OnExample(
        step=10,
        tier="full",
        prompt="What is the capital of France?",
        golden="Paris",
        output="Paris, of course",
        golden_tokens=1,
        output_tokens=4,
        example_loss=0.2134,
        train_loss_window_mean=0.2134,
        train_loss_window_n=50,
        val_loss=0.2456,
        gap=0.0322,
        matches={"exact": False, "normalised": False, "contains": True},
        match_kind="contains",
        matched=True,
    )


if __name__ == "__main__":
    shutil.rmtree(Path(sys.argv[1]) / NAME, ignore_errors=True)
    print(make(Path(sys.argv[1])).path)
