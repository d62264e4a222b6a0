"""Aim's arrays of a metric. Its reader sees a run only after the index was made, which writing does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.reading.subjects.trackio import bucketed
from bench.reading.work import METRICS, Amount, Answer, Spec, values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPEC = Spec(label="aim", kind="peer", environment="aim", distribution="aim", most_numbers=100_000)


def make() -> Aim:
    """A fresh subject."""
    return Aim()


class Aim:
    """A local repository."""

    def write(self, home: Path, amount: Amount) -> None:
        """Track one dictionary per step; then make the index, as `aim storage reindex` does."""
        from aim import Run
        from aim.sdk.repo import Repo

        for run in range(amount.runs):
            tracked = Run(repo=str(home), system_tracking_interval=None)
            for step in range(amount.steps):
                tracked.track(dict(zip(METRICS, values(run, step, amount), strict=True)), step=step)
            tracked.close()
        Repo.from_path(str(home))._recreate_index()  # noqa: SLF001 - nothing public does this

    def _metrics(self, home: Path, names: tuple[str, ...]) -> Iterator[Any]:
        from aim import Run
        from aim.sdk.repo import Repo

        repo = Repo.from_path(str(home))
        for run_hash in repo.list_all_runs():
            for metric in Run(run_hash, repo=repo, read_only=True).metrics():
                if metric.name in names:
                    yield metric

    def _arrays(self, home: Path, names: tuple[str, ...]) -> list[Any]:
        # ``metric.values`` has them in the order of a hash, ``metric.data`` by step
        return [metric.data.view("val").numpy()[1][0] for metric in self._metrics(home, names)]

    def load_all(self, home: Path) -> Answer:
        """An array per metric and run."""
        arrays = self._arrays(home, METRICS)
        return Answer(sum(map(len, arrays)), float(sum(array.sum() for array in arrays)))

    def one_metric(self, home: Path) -> Answer:
        """An array per run."""
        arrays = self._arrays(home, ("loss",))
        return Answer(sum(map(len, arrays)), float(sum(array.sum() for array in arrays)))

    def last_values(self, home: Path) -> Answer:
        """The end of each array: what Aim keeps apart as the last value is not always the newest."""
        last = [array[-1] for array in self._arrays(home, ("loss",))]
        return Answer(len(last), float(sum(last)))

    def reduced(self, home: Path) -> Answer:
        """Read whole, then minimum and maximum of 500 buckets."""
        highest = [bucketed(array) for array in self._arrays(home, ("loss",))]
        return Answer(len(highest), sum(highest))
