"""A second floor: one plain Parquet file per run (zstd), read by nothing but polars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.reading.work import METRICS, NUM_BUCKETS, START_T, STEP_S, Amount, Answer, Spec, table

if TYPE_CHECKING:
    from pathlib import Path

SPEC = Spec(label="polars alone, Parquet", kind="floor")


def make() -> Floor:
    """A fresh subject."""
    return Floor()


class Floor:
    """One file per run."""

    def __init__(self) -> None:
        import polars as pl

        self._pl: Any = pl

    def write(self, home: Path, amount: Amount) -> None:
        """Write the files."""
        import numpy as np

        steps = np.arange(float(amount.steps))
        for run in range(amount.runs):
            numbers = table(run, amount)
            columns = {name: numbers[:, place] for place, name in enumerate(METRICS)}
            frame = self._pl.DataFrame({"step": steps, **columns, "t": START_T + steps * STEP_S})
            frame.write_parquet(home / f"{run:06d}.parquet")

    def _read(self, home: Path, columns: list[str] | None = None) -> Any:
        frame = self._pl.scan_parquet(home / "*.parquet", include_file_paths="run")
        return (frame if columns is None else frame.select("run", *columns)).collect()

    def load_all(self, home: Path) -> Answer:
        """One frame."""
        frame = self._read(home)
        total = frame.select(self._pl.sum_horizontal(self._pl.col(METRICS).sum())).item()
        return Answer(frame.height * len(METRICS), total)

    def one_metric(self, home: Path) -> Answer:
        """One column."""
        frame = self._read(home, ["loss"])
        return Answer(frame.height, frame["loss"].sum())

    def last_values(self, home: Path) -> Answer:
        """The last of each file."""
        last = self._read(home, ["loss"]).group_by("run").agg(self._pl.col("loss").last())
        return Answer(last.height, last["loss"].sum())

    def reduced(self, home: Path) -> Answer:
        """Minimum and maximum of 500 buckets, by place."""
        pl = self._pl
        place = (pl.int_range(pl.len()) * NUM_BUCKETS // pl.len()).over("run")
        frame = self._read(home, ["loss"]).with_columns(bucket=place)
        buckets = frame.group_by("run", "bucket").agg(low=pl.col("loss").min(), high=pl.col("loss").max())
        highest = buckets.group_by("run").agg(pl.col("high").max())
        return Answer(highest.height, highest["high"].sum())
