"""Digits read row by row by a recurrent network."""

from __future__ import annotations

from torch import Tensor, nn

from bench.faults import data
from bench.faults.models.classifiers import Classifier
from bench.faults.recipe import Recipe


class Recurrent(Classifier):
    """A recurrent classifier; shape: ``cell`` (``lstm``, ``gru``, ``rnn``), ``width``."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        del seed
        super().__init__(recipe)
        shape = recipe.shape
        width = int(shape.get("width", 24))
        cell = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[shape.get("cell", "lstm")]
        self.body = cell(8, width, batch_first=True)
        self.head = nn.Linear(width, data.NUM_CLASSES)
        if isinstance(self.body, nn.RNN):
            self.body = nn.RNN(8, width, nonlinearity="relu", batch_first=True)
            nn.init.eye_(self.body.weight_hh_l0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits after the last row."""
        return self.head(self.body(x.view(-1, 8, 8))[0][:, -1])
