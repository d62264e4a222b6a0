"""Gradients that vanish are told while nothing has been learned; small gradients of a trained model are not."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from barograph.facts.rows import StreamHeader
from barograph.watch.detectors.vanishing_gradient import VanishingGradient
from barograph.watch.monitor import Monitor

COLUMNS = ("loss", "grad_norm", "grad_norm_first", "grad_norm_last")


def watched(rows, *, columns=COLUMNS):
    """What is told of rows of (step, *columns, t), ends left out."""
    header = StreamHeader(run_id="a", columns=["step", *columns, "t"])
    return [told for told in Monitor([VanishingGradient()]).take((header, rows)) if told.stage != "ended"]


def synthetic(first_ratio=lambda _: 0.5, *, norm=lambda _: 1.0, loss=lambda _: 2.3, num_records=400, seed=0):
    """Rows whose norms are told by functions of the step, with noise."""
    rng = random.Random(seed)
    rows = []
    for step in range(num_records):
        size = norm(step) * math.exp(rng.gauss(0.0, 0.3))
        value = loss(step) * math.exp(rng.gauss(0.0, 0.03))
        rows.append((float(step), value, size, size * first_ratio(step), size, 1000.0 + step))
    return rows


@pytest.mark.spec("S2.41")
def test_a_first_layer_without_a_gradient_is_told_from_the_start():
    """A millionth of the last layer's gradient reaches the first one: told after eight records."""
    (told,) = watched(synthetic(lambda _: 1e-6))
    assert (told.alert.type, told.alert.severity) == ("vanishing_gradient", "critical")
    assert told.alert.step == 7.0
    assert told.alert.metrics == ["grad_norm_first", "grad_norm_last"]


@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-6])
def test_a_norm_that_falls_to_nothing_is_told_when_the_loss_has_not_come_down(size):
    """Exactly zero counts as well."""
    (told,) = watched(synthetic(norm=lambda step: 1.0 if step < 200 else size), columns=COLUMNS)
    assert 199 <= told.alert.since_step <= told.alert.step <= 215


def test_small_gradients_of_a_model_that_has_learned_are_silent():
    """At the end of an easy task loss and gradient are both next to nothing."""
    fall = lambda step: math.exp(-step / 10)  # noqa: E731 - one curve for both
    assert watched(synthetic(norm=fall, loss=lambda step: 2.3 * fall(step))) == []


def test_a_layer_that_is_frozen_on_purpose_is_silent():
    """A norm that is zero from the first record on is meant to be."""
    assert watched(synthetic(lambda _: 0.0)) == []


@pytest.mark.parametrize("seed", range(5))
def test_healthy_norms_are_silent(seed):
    """Norms that shrink with the loss, the first layer's a tenth of the last one's."""
    rows = synthetic(
        lambda _: 0.1, norm=lambda step: math.exp(-step / 500), loss=lambda step: 2.0 / (1 + step / 50), seed=seed
    )
    assert watched(rows) == []


def train_deep(activation, *, num_steps=40, depth=14, width=16, seed=0):
    """Rows of a real deep network by backpropagation: loss, norm, norm of the first and of the last layer."""
    rng = np.random.default_rng(seed)
    inputs, rows = rng.normal(size=(64, width)), []
    targets = np.sign(inputs[:, 0])
    gain = math.sqrt(2.0 / width) if activation == "relu" else math.sqrt(1.0 / width)
    layers = [rng.normal(size=(width, width)) * gain for _ in range(depth)]
    head = rng.normal(size=width) / math.sqrt(width)
    for step in range(num_steps):
        outputs = [inputs]
        for weights in layers:
            before = outputs[-1] @ weights
            outputs.append(np.maximum(before, 0.0) if activation == "relu" else 1.0 / (1.0 + np.exp(-before)))
        errors = outputs[-1] @ head - targets
        grad = errors[:, None] * head[None, :] / len(targets)
        head = head - 0.01 * outputs[-1].T @ errors / len(targets)
        norms = []
        for place in reversed(range(depth)):
            after = outputs[place + 1]
            grad = grad * ((after > 0) if activation == "relu" else after * (1.0 - after))
            weights_grad = outputs[place].T @ grad
            grad = grad @ layers[place].T
            layers[place] = layers[place] - 0.01 * weights_grad
            norms.append(float(np.linalg.norm(weights_grad)))
        total = math.sqrt(sum(norm * norm for norm in norms))
        rows.append((float(step), float(np.mean(errors**2)), total, norms[-1], norms[0], 1000.0 + step))
    return rows


@pytest.mark.spec("S4.8")
def test_a_real_deep_sigmoid_network_is_told_and_its_relu_twin_is_not():
    """Fourteen sigmoid layers let next to nothing through to the first; with ReLU and He's weights it arrives."""
    (told,) = watched(train_deep("sigmoid"))
    assert told.alert.type == "vanishing_gradient"
    assert told.alert.step < 25
    assert {"activation": "gelu"} in [remedy.change for remedy in told.alert.remedies]
    assert watched(train_deep("relu")) == []
