"""MLflow's client on its SQLite store; written through its bulk call, the quickest it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.reading.subjects.trackio import bucketed
from bench.reading.work import METRICS, START_T, STEP_S, Amount, Answer, Spec, values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPEC = Spec(
    label="mlflow (sqlite)",
    kind="peer",
    environment="mlflow",
    distribution="mlflow",
    variables=(("MLFLOW_DISABLE_TELEMETRY", "true"), ("DO_NOT_TRACK", "true")),
    most_numbers=100_000,
)
BATCH = 200


def make() -> MLflow:
    """A fresh subject."""
    return MLflow()


class MLflow:
    """One experiment."""

    def _client(self, home: Path) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")

    def write(self, home: Path, amount: Amount) -> None:
        """Log in batches of a thousand numbers, which is the most that a call takes."""
        from mlflow.entities import Metric

        client = self._client(home)
        experiment = client.create_experiment("bench")
        for run in range(amount.runs):
            run_id = client.create_run(experiment).info.run_id
            for first in range(0, amount.steps, BATCH):
                batch = [
                    Metric(name, value, int(1000 * (START_T + step * STEP_S)), step)
                    for step in range(first, min(first + BATCH, amount.steps))
                    for name, value in zip(METRICS, values(run, step, amount), strict=True)
                ]
                client.log_batch(run_id, metrics=batch)
            client.set_terminated(run_id)

    def _runs(self, home: Path) -> Iterator[tuple[Any, str]]:
        client = self._client(home)
        experiment = client.get_experiment_by_name("bench").experiment_id
        token = None
        while True:
            page = client.search_runs([experiment], max_results=1000, page_token=token)
            yield from ((client, run.info.run_id) for run in page)
            token = page.token
            if not token:
                return

    def load_all(self, home: Path) -> Answer:
        """The history of every metric, as arrays."""
        import numpy as np

        histories = (client.get_metric_history(run, name) for client, run in self._runs(home) for name in METRICS)
        arrays = [np.array([metric.value for metric in history]) for history in histories]
        return Answer(sum(map(len, arrays)), float(sum(array.sum() for array in arrays)))

    def one_metric(self, home: Path) -> Answer:
        """The history of one metric."""
        loss = [m.value for client, run in self._runs(home) for m in client.get_metric_history(run, "loss")]
        return Answer(len(loss), sum(loss))

    def last_values(self, home: Path) -> Answer:
        """The store keeps the latest value of each metric with the run."""
        client = self._client(home)
        experiment = client.get_experiment_by_name("bench").experiment_id
        runs = client.search_runs([experiment], max_results=1000)
        last = [run.data.metrics["loss"] for run in runs]
        return Answer(len(last), sum(last))

    def reduced(self, home: Path) -> Answer:
        """Read whole, then minimum and maximum of 500 buckets."""
        import numpy as np

        highest = [
            bucketed(np.array([m.value for m in client.get_metric_history(run, "loss")]))
            for client, run in self._runs(home)
        ]
        return Answer(len(highest), sum(highest))
