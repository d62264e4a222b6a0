"""The model: a softmax classifier with or without one hidden layer, its exact gradients, and SGD with momentum.

Plain numpy, so that the study needs no framework. Whoever makes a model hands in the random generator.
Shape suffixes: B examples, D pixels, H hidden units, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike, NDArray

from barograph_lab.digits.data import NUM_CLASSES, NUM_PIXELS, Floats, Ints

Arrays = dict[str, NDArray[np.floating]]


class Classifier:
    """Logits from pixels: ``x W + b``, or ``relu(x V + a) W + b`` with hidden units.

    Args:
        hidden: number of hidden units; 0 for a linear classifier.
        generator: draws the first weights.
        dtype: of weights and arithmetic.
    """

    def __init__(self, *, hidden: int, generator: np.random.Generator, dtype: DTypeLike = np.float32) -> None:
        width = hidden or NUM_PIXELS
        first = {"V_DH": _normal(generator, NUM_PIXELS, hidden, gain=2.0), "a_H": np.zeros(hidden)} if hidden else {}
        last = {"W_HC": _normal(generator, width, NUM_CLASSES, gain=1.0), "b_C": np.zeros(NUM_CLASSES)}
        self.params: Arrays = {name: value.astype(dtype) for name, value in {**first, **last}.items()}

    @property
    def num_params(self) -> int:
        """How many numbers are learnt."""
        return sum(value.size for value in self.params.values())

    def logits(self, x_BD: Floats) -> NDArray[np.floating]:
        """Unnormalised log-probabilities of the classes."""
        return self._hidden(x_BD) @ self.params["W_HC"] + self.params["b_C"]

    def predict(self, x_BD: Floats) -> Ints:
        """The most probable class of each image."""
        predicted_B: Ints = self.logits(x_BD).argmax(axis=1)
        return predicted_B

    def loss(self, x_BD: Floats, y_B: Ints) -> float:
        """Mean cross-entropy."""
        return float(-_log_softmax(self.logits(x_BD))[np.arange(len(y_B)), y_B].mean())

    def loss_and_gradients(self, x_BD: Floats, y_B: Ints) -> tuple[float, Arrays]:
        """Mean cross-entropy, and its exact derivative by every parameter."""
        params, rows = self.params, np.arange(len(y_B))
        h_BH = self._hidden(x_BD)
        log_p_BC = _log_softmax(h_BH @ params["W_HC"] + params["b_C"])
        delta_BC = np.exp(log_p_BC)
        delta_BC[rows, y_B] -= 1
        delta_BC /= len(y_B)
        gradients = {"W_HC": h_BH.T @ delta_BC, "b_C": delta_BC.sum(axis=0)}
        if "V_DH" in params:
            delta_BH = (delta_BC @ params["W_HC"].T) * (h_BH > 0)
            gradients |= {"V_DH": x_BD.T @ delta_BH, "a_H": delta_BH.sum(axis=0)}
        return float(-log_p_BC[rows, y_B].mean()), gradients

    def _hidden(self, x_BD: Floats) -> NDArray[np.floating]:
        if "V_DH" not in self.params:
            return x_BD
        return np.maximum(x_BD @ self.params["V_DH"] + self.params["a_H"], 0)


class Momentum:
    """SGD with momentum and weight decay (on weights, not on biases).

    Args:
        params: by name; ``step`` puts new values in the place of the old ones.
        momentum: share of the last update that is kept, 0 to 1.
        weight_decay: pulls weights towards 0.
    """

    def __init__(self, params: Arrays, *, momentum: float, weight_decay: float) -> None:
        self._params = params
        self._momentum = momentum
        self._weight_decay = weight_decay
        self._velocity = {name: np.zeros_like(value) for name, value in params.items()}

    def step(self, gradients: Mapping[str, NDArray[np.floating]], *, lr: float) -> None:
        """Update the parameters once."""
        for name, param in self._params.items():
            decay = self._weight_decay * param if param.ndim > 1 else 0
            self._velocity[name] = self._momentum * self._velocity[name] + gradients[name] + decay
            self._params[name] = param - lr * self._velocity[name]


def global_norm(gradients: Mapping[str, NDArray[np.floating]]) -> float:
    """Euclidean norm of all gradients together, in double precision."""
    return float(np.sqrt(sum(np.square(value, dtype=np.float64).sum() for value in gradients.values())))


def macro_f1(y_N: Ints, predicted_N: Ints) -> float:
    """F1 of each class that occurs in either, averaged without weights."""
    table_CC = np.bincount(y_N * NUM_CLASSES + predicted_N, minlength=NUM_CLASSES**2).reshape(NUM_CLASSES, -1)
    seen_C = table_CC.sum(axis=0) + table_CC.sum(axis=1)
    return float((2 * table_CC.diagonal()[seen_C > 0] / seen_C[seen_C > 0]).mean())


def _normal(generator: np.random.Generator, rows: int, columns: int, *, gain: float) -> NDArray[np.floating]:
    return generator.normal(0.0, np.sqrt(gain / rows), (rows, columns))


def _log_softmax(z_BC: NDArray[np.floating]) -> NDArray[np.floating]:
    z_BC = z_BC - z_BC.max(axis=1, keepdims=True)
    log_p_BC: NDArray[np.floating] = z_BC - np.log(np.exp(z_BC).sum(axis=1, keepdims=True))
    return log_p_BC
