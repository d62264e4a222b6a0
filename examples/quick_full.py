# /// script
# requires-python = ">=3.11"
# dependencies = ["barograph", "loguru", "numpy", "scikit-learn"]
# ///
"""A hypothesis with success criteria, tried quickly first, then in full; each run in a directory of its own.

Usage: python quick_full.py for the de-risking run, in ./quick; python quick_full.py full for the real one, in ./full.
"""

import json
import sys
from pathlib import Path

import numpy as np
from loguru import logger
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.model_selection import train_test_split

import barograph

HYPOTHESIS = "a linear model tells malignant from benign tumours by 30 measurements of their cells"
SUCCESS = ["best accuracy >= 0.95 on val", "best auc >= 0.98 on val", "loss is finite on train"]


def main() -> None:
    """Logistic regression by SGD; what loguru is told goes to train.log of the run, beside the recorder's own lines."""
    out_dir = Path(sys.argv[1] if len(sys.argv) > 1 else "quick")
    out_dir.mkdir(parents=True, exist_ok=True)
    config = {"lr": 0.05, "batch_size": 32, "epochs": 40 if out_dir.name == "full" else 4, "seed": 0}
    rng = np.random.default_rng(config["seed"])
    x, y = load_breast_cancer(return_X_y=True)
    x = np.c_[(x - x.mean(0)) / x.std(0), np.ones(len(x))]
    x, x_val, y, y_val = train_test_split(x, y, test_size=0.3, stratify=y, random_state=config["seed"])
    weights, step = np.zeros(x.shape[1]), 0
    with barograph.init(
        "examples", "tumours", config, dir=out_dir, resume="allow", seed=0, hypothesis=HYPOTHESIS, success=SUCCESS
    ) as run:
        for epoch in range(config["epochs"]):
            for batch in np.array_split(rng.permutation(len(x)), len(x) // config["batch_size"]):
                step += 1
                p = 1 / (1 + np.exp(-(x[batch] @ weights)))
                weights -= config["lr"] * x[batch].T @ (p - y[batch]) / len(batch)
                loss = -np.log(np.where(y[batch] == 1, p, 1 - p)).mean()
                run.log({"loss": loss}, step=step, epoch=epoch)
            scores = x_val @ weights
            accuracy, f1 = ((scores > 0) == y_val).mean(), f1_score(y_val, scores > 0)
            run.log(
                {"accuracy": accuracy, "f1": f1, "auc": roc_auc_score(y_val, scores)},
                step=step,
                epoch=epoch,
                split="val",
            )
            seen = {"epoch": epoch, "step": step, "accuracy": ((x @ weights > 0) == y).mean(), "run_id": run.id}
            logger.info("metric {}", json.dumps(seen))


if __name__ == "__main__":
    main()
