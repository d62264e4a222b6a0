"""A run that records nothing, and a reader that knows the format from its description alone."""

from __future__ import annotations

import json
from contextlib import contextmanager

import numpy as np
import pytest


class NullRun:
    """Takes the calls of the digits loop and records none of them; what is logged is kept in memory."""

    def __init__(self, directory):
        directory.mkdir()
        self.dir = directory
        self.summary = {}
        self.losses = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def log(self, metrics, *, step, epoch=None, split="train"):
        """Keep a training loss."""
        if split == "train":
            self.losses.append(metrics["loss"])

    @contextmanager
    def tier(self, step):
        """Nothing is ever due."""
        yield None

    @contextmanager
    def phase(self, name):
        """Nothing is timed."""
        yield

    def _nothing(self, *args, **kwargs):
        pass

    check = checkpoint = epoch_end = example = finish = _nothing


@pytest.fixture
def null_run(tmp_path):
    """A run that records nothing."""
    return NullRun(tmp_path / "null")


@pytest.fixture
def read_rows():
    """Reads every stream of a split: step -> {name: value}, by numpy and json, without the package."""

    def read(run_dir, split="train"):
        found = {}
        for path in sorted((run_dir / "facts").glob("metrics.*.rows")):
            with path.open("rb") as file:
                header = json.loads(file.readline())
            if header["split"] != split:
                continue
            columns = header["columns"]
            table = np.fromfile(path, "<f8", offset=header["header_bytes"]).reshape(-1, len(columns))
            for row in table:
                found.setdefault(int(row[0]), {}).update(zip(columns, map(float, row), strict=True))
        return found

    return read


@pytest.fixture
def read_events():
    """Reads the events of a run by ``json`` alone; null stands where a number is not finite."""

    def read(run_dir, moment=None):
        lines = (run_dir / "facts" / "events.jsonl").read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines]
        return [event for event in events if moment in (None, event["moment"])]

    return read
