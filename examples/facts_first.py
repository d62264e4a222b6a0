# /// script
# requires-python = ">=3.11"
# dependencies = ["barograph", "hydra-core", "scikit-learn"]
# ///
"""A loop that emits its facts by itself, configured by Hydra: ``python facts_first.py phase1.trainer.epochs=20``."""

import pickle
import time
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

from barograph import set_all_seeds
from barograph.facts import append_jsonl_event, append_scalars_csv, build_event_payload

CONFIG = {"phase1": {"trainer": {"seed": 0, "epochs": 8, "lr": 0.05}}, "logging": {"make_plots": False}}
HYDRA = {"run": {"dir": "outputs/runs/run_${now:%Y%m%d-%H%M%S}_digits_job0"}}
ConfigStore.instance().store("config", {**CONFIG, "hydra": HYDRA})


def train(cfg: Any, run_dir: str | Path, handle_event: Any = lambda *_: None) -> dict[str, float]:
    """Train a linear classifier, also from a test or a notebook; ``handle_event`` draws, when somebody has one."""
    started_s, trainer = time.monotonic(), cfg.phase1.trainer
    set_all_seeds(trainer.seed)
    x, y = load_digits(return_X_y=True)
    x /= x.max()
    train_part, val_part, test_part = slice(0, 1000), slice(1000, 1400), slice(1400, None)
    model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=trainer.lr, random_state=trainer.seed)
    history: dict[str, list[float]] = {"train_loss": [], "val_loss": [], "accuracy": []}

    def emit(moment: str, **facts: Any) -> None:
        payload = build_event_payload(moment=moment, run_dir=run_dir, cfg=cfg, **facts)
        append_jsonl_event(run_dir, payload)
        handle_event(cfg.logging, ["losses"], moment, payload)

    emit("on_start", run_id=Path(run_dir).name)
    for epoch in range(trainer.epochs):
        model.partial_fit(x[train_part], y[train_part], classes=range(10))
        history["train_loss"].append(log_loss(y[train_part], model.predict_proba(x[train_part])))
        history["val_loss"].append(log_loss(y[val_part], model.predict_proba(x[val_part])))
        history["accuracy"].append(model.score(x[val_part], y[val_part]))
        emit("on_epoch_end", epoch=epoch, histories=history)
        append_scalars_csv(run_dir, epoch=epoch, **{name: points[-1] for name, points in history.items()})
        if history["val_loss"][-1] == min(history["val_loss"]):
            Path(run_dir, "best_val.pt").write_bytes(pickle.dumps(model))
    best = pickle.loads(Path(run_dir, "best_val.pt").read_bytes())
    test_loss = log_loss(y[test_part], best.predict_proba(x[test_part]))
    emit("on_train_end", total_time_s=time.monotonic() - started_s, metrics={"test_loss": test_loss})
    return {"best_val_loss": min(history["val_loss"]), "test_loss": test_loss}


if __name__ == "__main__":
    hydra.main(None, "config", "1.3")(lambda cfg: print(train(cfg, HydraConfig.get().runtime.output_dir)))()
