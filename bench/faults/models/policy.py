"""A policy gradient in a small grid world: walk to the goal and stay there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.faults.models.task import Batch, Task
from bench.faults.recipe import Recipe

if TYPE_CHECKING:
    from bench.faults.training import Trainer

NUM_ACTIONS = 4
MOVES = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])


class Policy(Task):
    """REINFORCE with a baseline; shape: ``side``, ``horizon``, ``width``, ``bonus``, ``loss_name``, ``reward_noise``.

    Attributes:
        bonus: weight of the policy's entropy.
        advantage_scale: by which advantages are multiplied.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        super().__init__()
        del seed
        shape = recipe.shape
        self.side, self.horizon = int(shape.get("side", 4)), int(shape.get("horizon", 8))
        cells, width = self.side**2, int(shape.get("width", 32))
        self.model = nn.Sequential(nn.Linear(2 * cells, width), nn.Tanh(), nn.Linear(width, NUM_ACTIONS))
        self.bonus, self.advantage_scale = float(shape.get("bonus", 0.03)), 1.0
        self.loss_name = str(shape.get("loss_name", "policy_loss"))
        self.reward_noise = float(shape.get("reward_noise", 0.0))

    def batch(self, trainer: Trainer) -> Batch:
        """Places to start from and goals."""
        draw = (2, trainer.batch_size, 2)
        start, goal = torch.randint(0, self.side, draw, generator=trainer.generator)
        noise = torch.randn((self.horizon, trainer.batch_size), generator=trainer.generator)
        return start, goal, noise

    def _seen(self, place: Tensor, goal: Tensor) -> Tensor:
        cells = self.side**2
        places = nn.functional.one_hot(place[:, 0] * self.side + place[:, 1], cells)
        goals = nn.functional.one_hot(goal[:, 0] * self.side + goal[:, 1], cells)
        return torch.cat([places, goals], dim=1).float()

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The surrogate of the policy's gradient over one episode each, reward per step and entropy."""
        place, goal, noise = batch
        log_chosen, entropies, rewards = [], [], []
        for turn in range(self.horizon):
            log_p = self.model(self._seen(place, goal)).log_softmax(1)
            p = log_p.detach().exp()
            action = torch.multinomial(p.nan_to_num(0.25), 1)
            place = (place + MOVES[action[:, 0]]).clamp(0, self.side - 1)
            distance = (place - goal).abs().sum(1)
            rewards.append((distance == 0).float() - 0.1 * distance + self.reward_noise * noise[turn])
            log_chosen.append(log_p.gather(1, action)[:, 0])
            entropies.append(-(log_p.exp() * log_p).sum(1))
        to_go = torch.stack(rewards).flip(0).cumsum(0).flip(0)
        advantage = to_go - to_go.mean(1, keepdim=True)
        advantage = self.advantage_scale * advantage / (advantage.std() + 1e-6)
        entropy = torch.stack(entropies).mean()
        loss = -(torch.stack(log_chosen) * advantage).mean() - self.bonus * entropy
        return loss, {"reward": float(torch.stack(rewards).mean()), "entropy": float(entropy.detach())}

    def step(self, trainer: Trainer, batch: Batch) -> dict[str, float]:
        """One step; the surrogate has the name that the recipe gives it."""
        values = super().step(trainer, batch)
        values[self.loss_name] = values.pop("loss")
        return values

    def evaluate(self) -> dict[str, float]:
        """Nothing is evaluated apart from training."""
        return {}
