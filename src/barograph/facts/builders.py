"""Event payloads for loops that emit facts by themselves (the facts-first studies' own calls).

``Run`` builds its events without this module; both write the same lines.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from barograph.facts.codec import plain
from barograph.facts.kinds import SCHEMA_VERSION

DESCRIBED: Final = (
    "run_id",
    "name",
    "experiment_name",
    "project",
    "seed",
    "epochs",
    "batch_size",
    "lr",
    "learning_rate",
)


def build_event_payload(
    moment: str,
    run_dir: str | os.PathLike[str],
    *,
    epoch: int | None = None,
    train_loss: float | None = None,
    val_loss: float | None = None,
    metrics: Mapping[str, Any] | None = None,
    histories: Mapping[str, Sequence[float]] | None = None,
    cfg: object | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """A standardised event: moment, run, progress, metrics and metadata.

    Args:
        moment: e.g. ``on_start``, ``on_epoch_end``, ``on_train_end``.
        run_dir: the run's directory.
        epoch: number of the epoch.
        train_loss: loss on the training set; the newest point of ``histories["train_loss"]`` when not given.
        val_loss: the same on the validation set.
        metrics: further numbers.
        histories: a list per quantity; only the new point of each, the last, is kept, because older points are
            facts already.
        cfg: the run's configuration (a mapping, or OmegaConf's); a digest and well-known keys are kept.
        extra: anything else, e.g. ``total_time_s``.

    Returns:
        The payload for ``append_jsonl_event``.
    """
    newest = {name: points[-1] for name, points in (histories or {}).items() if len(points)}
    losses = {
        "train_loss": newest.pop("train_loss", None) if train_loss is None else train_loss,
        "val_loss": newest.pop("val_loss", None) if val_loss is None else val_loss,
    }
    newest.pop("train_loss", None)
    newest.pop("val_loss", None)
    payload: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "moment": moment,
        "run_dir": os.fspath(run_dir),
        **({} if epoch is None else {"epoch": epoch}),
        **{name: loss for name, loss in losses.items() if loss is not None},
        "metrics": {**newest, **(metrics or {})},
        **({} if cfg is None else {"metadata": describe_config(cfg)}),
        **extra,
    }
    return {key: plain(value, key) for key, value in payload.items()}


def describe_config(cfg: object) -> dict[str, Any]:
    """Metadata of a configuration: its digest, and well-known keys wherever they stand, by dotted path."""
    items = dict(_flatten(cfg))
    digest = hashlib.sha256(msgspec.json.encode({key: repr(value) for key, value in sorted(items.items())}))
    found = {key: value for key, value in items.items() if key.rpartition(".")[2] in DESCRIBED}
    return {"config_sha256": digest.hexdigest(), **found}


def _flatten(node: Any, path: str = "") -> list[tuple[str, Any]]:
    items = getattr(node, "items", None)  # dict and OmegaConf's DictConfig alike
    if items is None:
        return [(path, node)]
    return [leaf for key, value in items() for leaf in _flatten(value, f"{path}.{key}" if path else str(key))]
