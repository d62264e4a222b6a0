"""Runs of known rows, made without a training process, and everything that readers say of them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import msgspec

from barograph.facts.events import EventLog
from barograph.facts.log import Damage
from barograph.facts.metrics import MetricsLog
from barograph.facts.rows import RowStream, StreamHeader
from barograph.facts.rundir import RunDir
from barograph.facts.state import ExitRecord, this_process, write_exit, write_process
from barograph.read.flat import csv_lines, json_lines
from barograph.read.follow import Follower, Rows
from barograph.read.overview import overview
from barograph.read.run import RunReader


class Maker:
    """Makes runs that have ended, a stream per call of ``stream``.

    Args:
        path: the run's directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = RunDir(path)
        self.directory.ensure_facts()
        self.directory.identity.write_text('{"schema_version":1,"run_id":"r1","name":"made","created_t":1000.0}\n')
        EventLog(self.directory.events()).close()

    @property
    def reader(self) -> RunReader:
        """A new reader."""
        return RunReader(self.path)

    def stream(self, number: int, rows, *, columns=("step", "a", "b", "t"), rank: int = 0, **where) -> Path:
        """A rows file with exactly these rows."""
        path = self.directory.rows(number, rank)
        stream = RowStream(path, StreamHeader(run_id="r1", columns=list(columns), rank=rank, **where))
        for row in rows:
            stream.append(row)
        stream.close()
        return path

    def log(self, records, *, split: str = "train", **options) -> None:
        """Records as ``run.log`` would write them: (step, metrics)."""
        log = MetricsLog(self.directory, run_id="r1", **options)
        for step, metrics in records:
            log.append(metrics, step=step, split=split, t=1000.0 + step)
        log.close()

    def end(self, status: str = "finished", *, attempt: int = 0) -> None:
        """Say that the run has ended."""
        write_process(self.directory.process(), this_process(attempt=attempt, t=1000.0))
        write_exit(self.directory.exit(), ExitRecord(attempt=attempt, status=status, t=2000.0))


def digests(path: Path) -> dict[str, str]:
    """SHA-256 of each rows file."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in RunDir(path).rows_files()}


def everything(path: Path) -> dict:
    """What each kind of reader says of the metrics of a run, in forms that compare bit for bit."""
    reader, damage = RunReader(path), []
    csv, jsonl = list(csv_lines(reader.directory, damage)), list(json_lines(reader.directory, []))
    follower = Follower(reader.directory)
    rows: dict[str, list[str]] = defaultdict(list)
    for fact in follower.drain():
        if isinstance(fact, Rows):
            rows[repr(fact.header)] += map(repr, fact.rows)
    curves = [repr(reader.curve(key.name, split=key.split, rank=key.rank)) for key in reader.metric_keys()]
    return {
        "csv": "".join(csv),
        "jsonl": "".join(jsonl),
        "followed": dict(rows),
        "summaries": repr(reader.metrics()),
        "curves": curves,
        "overview": repr(msgspec.structs.replace(overview(path, now=lambda: 0.0), path="")),
        "damage": _places(damage),
        "damage followed": _places(follower.damage),
    }


def _places(damage: list[Damage]) -> list[tuple]:
    """Where facts are missing, whichever of its two files the stream is in."""
    return [(Path(it.path).stem, it.offset, it.size_bytes, it.reason) for it in damage]
