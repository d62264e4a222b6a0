"""A policy that stops to explore for nothing, and one that has become certain because it has learnt."""

from __future__ import annotations

import math

import pytest
from tests.watch.shown import Curve, alerts, at, noisy, then

from barograph.watch.alert import Remedy
from barograph.watch.detectors.entropy_collapse import RETURNS, SPENT, TENTH, EntropyCollapse

CONFIG = {"num_actions": 8, "entropy_coef": 0.001}
EXPLORING = noisy(at(1.8), sigma=0.05)
FALLING = then(EXPLORING, 200, noisy(lambda n: 0.01 + 1.8 * math.exp(-n / 5)))


def test_entropy_that_is_lost_for_nothing_is_told():
    """Near zero within a few steps while the reward stays where it was: told with the bonus and the rate of the run."""
    curves = {"entropy": FALLING, "reward": noisy(at(3.0)), "lr": at(0.001)}
    (alert,) = alerts(EntropyCollapse(), curves, 400, config=CONFIG)
    assert 200 < alert.since_step < alert.step <= 240
    assert alert.evidence[0].threshold == 0.12 * math.log(8)
    assert alert.remedies[:2] == [
        Remedy(text="raise the entropy bonus from 0.001 to 0.01", change={"entropy_coef": 0.01}),
        Remedy(text="lower the learning rate to 0.0003", change={"lr": 0.0003}),
    ]
    assert "while reward went from 3" in alert.text


def test_a_policy_that_has_learnt_is_left_alone():
    """The reward rose tenfold and stays: certainty is what it was trained for."""
    learnt = noisy(lambda step: 30.0 - 27.0 * math.exp(-step / 100))
    curves = {"entropy": noisy(lambda step: 0.05 + 1.8 * math.exp(-step / 80)), "reward": learnt}
    assert alerts(EntropyCollapse(), curves, 2000, config=CONFIG) == []


def test_a_reward_that_is_lost_again_is_told():
    """A policy that is certain of the wrong thing: the reward had risen and fell back."""
    reward = noisy(then(lambda step: 30.0 - 27.0 * math.exp(-step / 100), 500, at(3.0)))
    (alert,) = alerts(EntropyCollapse(), {"entropy": then(EXPLORING, 500, at(0.01)), "reward": reward}, 700)
    assert 500 < alert.step < 560


def test_entropy_that_is_spent_early_is_told():
    """More than 70 % of it in the first fifth of the planned run, with a reward that did not move."""
    spent = noisy(lambda step: 0.45 + 1.5 * math.exp(-step / 20))
    curves = {"entropy": spent, "reward": noisy(at(3.0))}
    (alert,) = alerts(EntropyCollapse(), curves, 400, total_steps=1000, config=CONFIG)
    assert alert.step < 200
    assert alerts(EntropyCollapse(), curves, 400, config=CONFIG) == []


def test_entropy_that_hovers_is_left_alone():
    """A policy that explores to the end, with rewards that jump."""
    curves = {"entropy": noisy(at(1.0), sigma=0.3), "reward": lambda step: float(step % 37 == 0)}
    assert alerts(EntropyCollapse(), curves, 5000, config=CONFIG) == []


def test_entropy_below_zero_is_left_alone():
    """Continuous policies have no number of actions, and an entropy that means something else."""
    curves = {"entropy": lambda step: -1.0 - 0.01 * step, "reward": noisy(at(3.0))}
    assert alerts(EntropyCollapse(), curves, 500) == []


def test_a_reward_that_falls_as_the_policy_becomes_certain_is_told():
    """The entropy goes to zero while the reward gives back more than a fifth of what it had gained."""
    reward = then(lambda step: 0.3 * min(step / 200, 1.0), 200, lambda n: 0.2 + 0.1 * math.exp(-n / 10))
    curves = {"entropy": FALLING, "reward": lambda step: reward(step) + 0.01 * math.sin(7.0 * step)}
    (alert,) = alerts(EntropyCollapse(), curves, 400, config=CONFIG)
    assert 200 < alert.step < 240


def test_the_entropy_of_predictions_is_left_alone():
    """A classifier that becomes certain learns; the same entropy of a policy has collapsed."""
    falling = noisy(lambda step: 0.02 + 2.2 * math.exp(-step / 50))
    assert alerts(EntropyCollapse(), {"entropy": falling}, 500) == []
    assert len(alerts(EntropyCollapse(), {"policy_entropy": falling}, 500)) == 1


def _policy(num_actions: int, *, tenth: int, rest: int, returns: float) -> dict[str, Curve]:
    """A policy whose entropy falls in straight lines, and its reward as it is told to.

    Args:
        num_actions: whose logarithm the entropy begins with.
        tenth: after how many steps the first tenth of it is spent.
        rest: after how many more steps four fifths are.
        returns: what that brings in reward, where the first tenth has brought 1.
    """

    def spent(step: int) -> float:
        return 0.1 * step / tenth if step < tenth else 0.1 + 0.7 * min((step - tenth) / rest, 1.0)

    def reward(step: int) -> float:
        return step / tenth if step < tenth else 1.0 + returns * min((step - tenth) / rest, 1.0)

    return {"entropy": noisy(lambda step: math.log(num_actions) * (1.0 - spent(step))), "reward": noisy(reward)}


def test_entropy_that_is_spent_in_a_hurry_for_little_is_told():
    """The reward goes on to rise a little, so that it is at its best: seven times the entropy for half the reward."""
    curves = _policy(4, tenth=60, rest=70, returns=0.5)
    (alert,) = alerts(EntropyCollapse(), curves, 400, total_steps=400, config={"num_actions": 4})
    assert 100 < alert.since_step <= alert.step < 140
    assert alert.evidence[0].threshold > 0.25 * math.log(4)


def test_entropy_that_buys_its_price_is_left_alone():
    """A policy that finds the best of four actions as fast: the rest of the way brings twice what its tenth did."""
    curves = _policy(4, tenth=60, rest=70, returns=2.0)
    assert alerts(EntropyCollapse(), curves, 400, total_steps=400, config={"num_actions": 4}) == []


def test_a_policy_at_its_best_that_becomes_certain_slowly_is_left_alone():
    """An easy game: all that can be had came with the first tenth, and what drives the entropy is gone with it."""
    curves = _policy(2, tenth=60, rest=400, returns=0.1)
    assert alerts(EntropyCollapse(), curves, 800, total_steps=800, config={"num_actions": 2}) == []


@pytest.mark.parametrize("num_actions", [2, 3, 4, 10, 100])
def test_the_least_that_the_rest_brings_holds_for_policies_that_find_the_best_action(num_actions: int):
    """With one action more likely than the others: from 90 to 30 per cent of the entropy it gains 1.4 times as much."""

    def entropy(p: float) -> float:
        q = (1.0 - p) / (num_actions - 1)
        return -p * math.log(p) - (1.0 - p) * math.log(q)

    def likely(share: float) -> float:
        low, high = 1.0 / num_actions, 1.0 - 1e-12
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if entropy(middle) > share * math.log(num_actions) else (low, middle)
        return low

    first, rest = likely(TENTH) - 1.0 / num_actions, likely(1.0 - SPENT) - likely(TENTH)
    assert rest / first > 1.4 > RETURNS
