# /// script
# requires-python = ">=3.11"
# dependencies = ["matplotlib"]
# ///
"""Draws what was logged, from the text log alone, and nothing else: QUICK/train.log becomes QUICK/loss_curve.webp.

Usage: python loss_curve.py [DIRECTORY] [METRIC], by default ./quick and loss.
"""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

NONFINITE = {"nan": float("nan"), "-nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def read_metrics(log: Path) -> list[dict]:
    """Every ``metric {json}`` line, non-finite numbers put back."""
    lines = (
        line.split("metric ", 1)[1] for line in log.read_text(encoding="utf-8").splitlines() if "| metric " in line
    )
    records = [json.loads(line) for line in lines]
    return [{**record, **{k: NONFINITE[v] for k, v in record.get("nonfinite", {}).items()}} for record in records]


def main() -> None:
    """One point per logged number, joined where they follow each other; a non-finite one is a mark, never a value."""
    run_dir = Path(sys.argv[1] if len(sys.argv) > 1 else "quick")
    name = sys.argv[2] if len(sys.argv) > 2 else "loss"
    records = read_metrics(run_dir / "train.log")
    points = [(record.get("step", record.get("epoch")), record[name]) for record in records if name in record]
    if not points:
        logged = sorted({key for record in records for key in record} - {"run_id", "split", "nonfinite"})
        sys.exit(f"{name!r} was not logged in {run_dir / 'train.log'}; logged were {', '.join(logged) or 'no metrics'}")
    finite = [(x, y) for x, y in points if abs(y) < float("inf")]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel=name, title=f"{run_dir.name}: {len(points)} logged points")
    axes.plot(*zip(*[(x, y if abs(y) < float("inf") else float("nan")) for x, y in points], strict=True), marker=".")
    lost = [x for x, y in points if not abs(y) < float("inf")]
    axes.plot(lost, [max((y for _, y in finite), default=0.0)] * len(lost), "rx", label=f"{len(lost)} non-finite")
    if lost:
        axes.legend()
    path = run_dir / f"{name.replace('/', '_')}_curve.webp"
    figure.savefig(path)
    print(f"{path}: {len(points)} points, {len(lost)} of them not finite")


if __name__ == "__main__":
    main()
