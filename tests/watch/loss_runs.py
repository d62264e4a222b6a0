"""Runs for the detectors of the loss: real trainings of a small network, healthy losses of many kinds, and a watcher.

The network is numpy and its data are handwritten digits, so that a training takes a tenth of a second. A fault begins
at a step: until then the run is that of its healthy twin, number for number.
"""

from __future__ import annotations

import functools
import math
import random
from itertools import pairwise

import numpy as np

from barograph.facts.kinds import Event
from barograph.facts.rows import StreamHeader
from barograph.watch.monitor import Monitor

NUM_CLASSES = 10
EVAL_STEPS = 25
T0 = 1_800_000_000.0


def watch(detectors, records, *, total_steps=None, config=None, events=()):
    """What is told about records, as (stage, alert), the ends of incidents left out.

    Args:
        detectors: fresh ones.
        records: as (split, step, metrics), in the order in which they were made.
        total_steps: planned.
        config: of the run.
        events: as (step, moment, payload), each before the first record that is not before its step.
    """
    monitor = Monitor(detectors, config=config)
    if total_steps:
        payload = {"total_steps": total_steps}
        monitor.take(Event(schema_version=1, seq=0, t=T0, moment="on_start", payload=payload))
    headers, told, waiting = {}, [], sorted(events, key=lambda it: it[0])
    for split, step, metrics in records:
        while waiting and waiting[0][0] <= step:
            at, moment, payload = waiting.pop(0)
            told += monitor.take(Event(schema_version=1, seq=1, t=T0 + at, moment=moment, payload=payload))
        attempt = int(metrics.get("attempt", 0))
        values = {name: float(value) for name, value in metrics.items() if name != "attempt"}
        key = (split, attempt, tuple(values))
        if key not in headers:
            columns = ["step", *values, "t"]
            headers[key] = StreamHeader(run_id="run", columns=columns, split=split, attempt=attempt)
        told += monitor.take((headers[key], [(float(step), *values.values(), T0 + step)]))
    return [(it.stage, it.alert) for it in told if it.stage != "ended"]


def types(told):
    """The types that were told, in their order."""
    return [alert.type for _, alert in told]


@functools.cache
def digits():
    """Inputs from 0 to 1 and labels, shuffled the same way each time."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return x[order] / 16.0, y[order]


class Network:
    """Two layers, ReLU, cross-entropy, SGD with momentum."""

    def __init__(self, rng, hidden):
        sizes = (64, hidden, NUM_CLASSES)
        self.weights = [rng.normal(0, math.sqrt(2 / a), (a, b)) for a, b in pairwise(sizes)]
        self.weights += [np.zeros(b) for b in sizes[1:]]
        self.moments = [np.zeros_like(it) for it in self.weights]

    def forward(self, x, y):
        """Loss, share of hits, and what the gradient needs."""
        first, second, bias, out_bias = self.weights
        hidden = np.maximum(x @ first + bias, 0)
        logits = hidden @ second + out_bias
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        loss = -log_p[np.arange(len(y)), y].mean()
        return float(loss), float((logits.argmax(axis=1) == y).mean()), (hidden, np.exp(log_p))

    def gradients(self, x, y, found):
        """Of the loss."""
        hidden, p = found
        delta = p.copy()
        delta[np.arange(len(y)), y] -= 1
        delta /= len(y)
        back = (delta @ self.weights[1].T) * (hidden > 0)
        return [x.T @ back, hidden.T @ delta, back.sum(axis=0), delta.sum(axis=0)]

    def step(self, gradients, lr, momentum):
        """One step of the optimiser."""
        self.moments = [momentum * old + new for old, new in zip(self.moments, gradients, strict=True)]
        self.weights = [weight - lr * moment for weight, moment in zip(self.weights, self.moments, strict=True)]


def train(fault="", *, at=300, num_steps=600, seed=0, lr=0.02, batch=32, hidden=48, num_train=1300, rate=None):
    """A training as records: loss, grad_norm, lr and accuracy at every step, validation every ``EVAL_STEPS``.

    Args:
        fault: ``labels`` shuffled, ``garbage`` in two batches, ``stuck`` loader, ``uphill`` steps, ``few_classes``,
            ``val_is_train``; nothing by default.
        at: the step at which it begins.
        num_steps: how long.
        seed: of weights and batches.
        lr: the learning rate.
        batch: size of a batch.
        hidden: units.
        num_train: how many examples there are to train on.
        rate: the factor of the learning rate at a step.
    """
    rng, other = np.random.default_rng(seed), np.random.default_rng(seed + 1000)
    x, y = digits()
    pool, val_x, val_y = np.arange(num_train), x[1300:], y[1300:]
    network, records, kept = Network(rng, hidden), [], None
    for step in range(num_steps):
        is_on = bool(fault) and step >= at
        picked = pool[rng.integers(len(pool), size=batch)]
        if is_on and fault == "few_classes":
            picked = picked[y[picked] < 4] if (y[picked] < 4).any() else pool[y[pool] < 4][:batch]
        if is_on and fault == "stuck":
            kept = picked = picked if kept is None else kept
        batch_x, batch_y = x[picked], y[picked]
        if is_on and fault == "labels":
            batch_y = other.permutation(batch_y)
        if is_on and fault == "garbage" and step < at + 2:
            batch_x = other.normal(0, 6, batch_x.shape)
        loss, hits, found = network.forward(batch_x, batch_y)
        gradients = network.gradients(batch_x, batch_y, found)
        norm = math.sqrt(sum(float((it * it).sum()) for it in gradients))
        now = lr * (rate(step) if rate else 1.0)
        uphill = -1.0 if is_on and fault == "uphill" else 1.0
        if fault != "no_optimizer":
            network.step(gradients, uphill * now, 0.9)
        records.append(("train", step, {"loss": loss, "grad_norm": norm, "lr": now, "accuracy": hits}))
        if (step + 1) % EVAL_STEPS == 0:
            seen = (x[:497], y[:497]) if is_on and fault == "val_is_train" else (val_x, val_y)
            val_loss, quality, _ = network.forward(*seen)
            records.append(("val", step, {"loss": val_loss, "quality": quality}))
    return records


def losses(values, *, every=1, **others):
    """Records of a loss that is given; ``others`` are metrics that are the same throughout."""
    return [("train", place * every, {"loss": value, **others}) for place, value in enumerate(values)]


def with_evaluations(trains, vals, *, every):
    """Records of two rates: a validation loss after each ``every`` training losses."""
    records = []
    for place, value in enumerate(trains):
        records.append(("train", place, {"loss": value}))
        if (place + 1) % every == 0:
            records.append(("val", place, {"loss": vals[(place + 1) // every - 1]}))
    return records


HEALTHY = (
    *("decay", "small_batch", "heavy_tails", "restarts", "step_decay", "one_cycle", "negative", "fine_tune"),
    *("policy", "game", "constant", "sparse", "resumed"),
)


def healthy(kind, *, seed=0, num_records=1200):
    """Records of a run with nothing wrong; an evaluation every fifty records."""
    rng = random.Random(f"{kind}-{seed}")
    records = []
    for place in range(num_records):
        step = place * 10 if kind == "sparse" else place
        train, val = _healthy(kind, place, num_records, rng)
        if kind == "resumed" and place >= num_records // 2:
            step -= 40
            train = {**train, "attempt": 1}
            val = {**val, "attempt": 1}
        records.append(("train", step, train))
        if (place + 1) % 50 == 0:
            records.append(("val", step, val))
    return records


def _healthy(kind, place, size, rng):  # noqa: C901 - a list of kinds, one after another
    """One record and its evaluation."""
    share = place / size
    level, noise, lr, extra = 2.3 * math.exp(-6 * share) + 0.25, 0.1, 1e-3, {}
    match kind:
        case "small_batch":
            noise = 0.5
        case "restarts":
            within = 4 * share % 1
            lr = 1e-3 * (0.5 + 0.5 * math.cos(math.pi * within)) + 1e-6
            level *= 1 + 0.8 * (lr / 1e-3) * (share > 0.25) * (1 - within) ** 8
        case "step_decay":
            lr = 1e-3 * 0.1 ** int(3 * share)
            level = 2.3 * math.exp(-8 * share) + 0.4 * 0.7 ** int(3 * share)
        case "one_cycle":
            lr = 1e-3 * (0.04 + 0.96 * min(share / 0.3, 1.0)) if share < 0.3 else 1e-3 * (1 - (share - 0.3) / 0.7)
            level = 2.3 * math.exp(-9 * share) + 0.1 + 0.25 * lr / 1e-3
        case "fine_tune":
            level = 1.4 * (1 - 0.02 * share)
        case "constant":
            level, noise = 0.7, 0.0
        case _:
            pass
    value = level * math.exp(rng.gauss(0, noise))
    if kind == "heavy_tails":
        value = level * rng.paretovariate(4.0)
    if kind == "negative":
        value = -3 + 4 * math.exp(-5 * share) + rng.gauss(0, 0.1)
    if kind == "policy":
        value, extra = rng.gauss(0, 0.3), {"reward": 10 * share + rng.gauss(0, 2), "entropy": 1.2 - 0.4 * share}
    if kind == "game":
        value = 1.5 + 0.8 * math.sin(place / 30) + rng.gauss(0, 0.1)
        extra = {"d_loss": 0.6 + rng.gauss(0, 0.1), "g_loss": 0.9 + rng.gauss(0, 0.2)}
    val = level * 1.05 * math.exp(rng.gauss(0, noise / 5)) if kind not in {"negative", "policy"} else value + 0.05
    return {"loss": value, "lr": lr, **extra}, {"loss": val, "quality": 0.9 - 0.5 * math.exp(-6 * share)}
