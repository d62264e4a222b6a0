"""Aim in a local repository. Its reader sees a run only after the index was made, so reading makes it first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.work import METRICS, Row, Spec, rows_from_points

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.work import Values

SPEC = Spec(label="aim", kind="peer", distribution="aim", requirement=("aim",))


class Recorder:
    """A `Run` with its defaults, in a repository of its own."""

    def open(self, home: Path) -> None:
        """Make the repository and begin a run."""
        from aim import Run

        self._run: Any = Run(repo=str(home))

    def log(self, step: int, values: Values) -> None:
        """Track one dictionary."""
        loss, accuracy, lr, grad_norm, throughput = values
        self._run.track(
            {
                "loss": loss,
                "accuracy": accuracy,
                "lr": lr,
                "grad_norm": grad_norm,
                "throughput": throughput,
            },
            step=step,
        )

    def close(self) -> None:
        """Close the run."""
        self._run.close()

    def read_back(self, home: Path) -> Iterator[Row]:
        """Do what `aim storage reindex` does, then read the metrics with Aim's own reader."""
        return rows_from_points(_points(home))


def _points(home: Path) -> Iterator[tuple[int, str, float]]:
    from aim import Run
    from aim.sdk.repo import Repo

    repo = Repo.from_path(str(home))
    repo._recreate_index()  # noqa: SLF001 - the command line does exactly this and nothing public does
    for run_hash in repo.list_all_runs():
        for metric in Run(run_hash, repo=repo, read_only=True).metrics():
            if metric.name in METRICS:
                yield from _joined(metric)


def _joined(metric: Any) -> Iterator[tuple[int, str, float]]:
    """Join steps and values by the index that both are stored under.

    Aim writes them apart, and its bulk reader (`items_list`) pairs them by position: after a kill between the two
    writes it shows hundreds of values at wrong steps. All of them are on disk, so they are not counted as lost.
    """
    values = dict(zip(*metric.values.sparse_list(), strict=True))
    for index, step in zip(*metric.data.steps.sparse_list(), strict=True):
        if index in values:
            yield int(step), metric.name, float(values[index])
