"""The model of the digits study, checked against second computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss

from barograph_lab.digits.data import load_splits
from barograph_lab.digits.model import Classifier, Momentum, global_norm, macro_f1


@pytest.fixture(scope="module")
def batch():
    """A batch of real images in double precision."""
    train = load_splits(split_seed=0).train
    return train.x[:16].astype(np.float64), train.y[:16]


def make(hidden, dtype=np.float64):
    """A model with weights that are not small, so that every part of it takes part."""
    return Classifier(hidden=hidden, generator=np.random.default_rng(1), dtype=dtype)


@pytest.mark.parametrize("hidden", [0, 12])
def test_gradients_agree_with_finite_differences(hidden, batch):
    """Every derivative agrees with a central difference of the loss to six digits."""
    model = make(hidden)
    x, y = batch
    _, gradients = model.loss_and_gradients(x, y)
    assert set(model.params) == set(gradients)
    generator = np.random.default_rng(2)
    for name, param in model.params.items():
        for place in generator.choice(param.size, size=min(param.size, 40), replace=False):
            flat, delta = param.reshape(-1), 1e-6
            kept = flat[place]
            flat[place] = kept + delta
            above = model.loss(x, y)
            flat[place] = kept - delta
            below = model.loss(x, y)
            flat[place] = kept
            difference = (above - below) / (2 * delta)
            assert math.isclose(difference, gradients[name].reshape(-1)[place], rel_tol=1e-5, abs_tol=1e-8)


@pytest.mark.parametrize("hidden", [0, 12])
def test_the_loss_is_the_cross_entropy(hidden, batch):
    """Both ways to the loss give scikit-learn's figure."""
    model = make(hidden)
    x, y = batch
    logits = model.logits(x)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = log_loss(y, probabilities, labels=range(10))
    assert math.isclose(expected, model.loss(x, y), rel_tol=1e-9)
    assert math.isclose(expected, model.loss_and_gradients(x, y)[0], rel_tol=1e-9)


def test_the_loss_survives_logits_that_exp_does_not(batch):
    """Logits in the thousands give a finite loss, as log-softmax should."""
    model = make(0)
    model.params["W_HC"] = model.params["W_HC"] * 1e4
    assert math.isfinite(model.loss(*batch))


@pytest.mark.parametrize(("hidden", "expected"), [(0, 650), (64, 64 * 64 + 64 + 650)])
def test_the_number_of_parameters(hidden, expected):
    """Weights and biases of every layer are counted."""
    assert expected == make(hidden).num_params


def test_momentum_follows_its_recurrence():
    """Three steps give what the recurrence gives when it is written out; biases do not decay."""
    params = {"W_HC": np.array([[2.0]]), "b_C": np.array([2.0])}
    optimiser = Momentum(params, momentum=0.5, weight_decay=0.1)
    weight = bias = 2.0
    weight_velocity = bias_velocity = 0.0
    for gradient in (1.0, -2.0, 0.25):
        optimiser.step({"W_HC": np.array([[gradient]]), "b_C": np.array([gradient])}, lr=0.1)
        weight_velocity = 0.5 * weight_velocity + gradient + 0.1 * weight
        bias_velocity = 0.5 * bias_velocity + gradient
        weight -= 0.1 * weight_velocity
        bias -= 0.1 * bias_velocity
    assert math.isclose(weight, params["W_HC"][0, 0], rel_tol=1e-12)
    assert math.isclose(bias, params["b_C"][0], rel_tol=1e-12)


def test_the_linear_model_learns_what_logistic_regression_learns():
    """Full-batch training of the linear model comes to scikit-learn's regularised optimum."""
    train = load_splits(split_seed=0).train
    x, y = train.x.astype(np.float64), train.y
    model = make(0)
    optimiser = Momentum(model.params, momentum=0.9, weight_decay=0.01)
    for _ in range(3000):
        optimiser.step(model.loss_and_gradients(x, y)[1], lr=0.3)
    peer = LogisticRegression(C=1 / (0.01 * len(y)), tol=1e-8, max_iter=5000).fit(x, y)
    expected = log_loss(y, peer.predict_proba(x))
    assert math.isclose(expected, model.loss(x, y), rel_tol=1e-3)


def test_the_norm_is_over_all_gradients_together():
    """3, 4 and 12 in three arrays have the norm 13, also where single precision would overflow."""
    assert global_norm({"a": np.array([3.0]), "b": np.array([[4.0]]), "c": np.array([12.0])}) == 13.0
    assert math.isclose(5e30, global_norm({"a": np.array([3e30, 4e30], np.float32)}), rel_tol=1e-6)


def test_macro_f1_is_scikit_learns():
    """On random answers, and on answers that miss whole classes, the figure is scikit-learn's."""
    generator = np.random.default_rng(3)
    for classes in (10, 4):
        truth, answers = generator.integers(0, classes, 200), generator.integers(0, classes, 200)
        assert math.isclose(f1_score(truth, answers, average="macro"), macro_f1(truth, answers), rel_tol=1e-12)
