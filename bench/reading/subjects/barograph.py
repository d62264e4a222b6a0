"""Barograph as it recorded: rows, asked through the public calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.reading.work import METRICS, NUM_BUCKETS, START_T, STEP_S, Amount, Answer, Spec, table

if TYPE_CHECKING:
    from pathlib import Path

SPEC = Spec(label="barograph, as written", kind="ours", distribution="barograph")


def make() -> Barograph:
    """A fresh subject."""
    return Barograph()


def write_rows(home: Path, amount: Amount) -> None:
    """Make runs with the recorder's own format writers; a hundred million calls of run.log would take minutes."""
    import numpy as np

    from barograph.facts.builders import build_event_payload
    from barograph.facts.rows import StreamHeader, encode_header
    from barograph.facts.rundir import RunDir
    from barograph.facts.state import ExitRecord, write_exit
    from barograph.facts.writers import append_jsonl_event

    steps = np.arange(float(amount.steps))
    for run in range(amount.runs):
        directory = RunDir(home / f"run_20261120-061500_bench_job{run}")
        directory.ensure_facts()
        identity = f'{{"run_id":"{run:06d}","name":"bench","created_t":{START_T + run},"seed":{run}}}\n'
        directory.identity.write_text(identity, encoding="utf-8")
        header = StreamHeader(run_id=f"{run:06d}", columns=["step", *METRICS, "t"])
        numbers = np.column_stack([steps, table(run, amount), START_T + steps * STEP_S])
        directory.rows(0).write_bytes(encode_header(header) + numbers.tobytes())
        append_jsonl_event(directory.path, build_event_payload("on_start", directory.path))
        write_exit(directory.exit(), ExitRecord(status="finished", t=START_T + amount.steps * STEP_S, attempt=0))


class Barograph:
    """A directory of runs."""

    def __init__(self) -> None:
        import barograph
        from barograph.read.archive.pyramid import overview_curves

        self._load: Any = barograph.load_runs
        self._curves: Any = overview_curves
        self._discover: Any = barograph.discover_runs

    def write(self, home: Path, amount: Amount) -> None:
        """Write, and make the pyramids, as the end of a run does."""
        write_rows(home, amount)
        self.reduced(home)

    def load_all(self, home: Path) -> Answer:
        """One frame."""
        frame = self._load(home).metrics()
        numbers = frame.select(METRICS)
        return Answer(numbers.height * len(METRICS), float(numbers.sum().sum_horizontal().item()))

    def one_metric(self, home: Path) -> Answer:
        """One column."""
        loss = self._load(home).metrics("loss")["loss"]
        return Answer(len(loss), loss.sum())

    def last_values(self, home: Path) -> Answer:
        """From the ends of the files."""
        last = self._load(home).last_values("loss")
        return Answer(last.height, last["value"].sum())

    def reduced(self, home: Path) -> Answer:
        """From the pyramids."""
        curves = self._curves(self._discover(home), "loss", split="train", num_buckets=NUM_BUCKETS)
        return Answer(len(curves), float(sum(curve.y.max() for curve in curves)))
