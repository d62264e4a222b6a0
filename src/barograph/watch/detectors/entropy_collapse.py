"""A policy that has stopped to explore before it has learnt."""

from __future__ import annotations

import math
from typing import ClassVar, Final

from barograph.watch.advice import go_back
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.context import Context
from barograph.watch.detector import Detector, Sample, shown
from barograph.watch.signal import Signal

SHARE: Final = 0.12
"""Of the logarithm of the number of actions, below which a policy is all but settled."""
SPENT: Final = 0.7
"""Of its first entropy; a policy that has spent more than this early or in a hurry, and for nothing, has stopped."""
EARLY: Final = 0.2
"""Of the planned run."""
TENTH: Final = 0.9
"""Of its first entropy; what the way there has brought is what the rest of the way is measured by."""
RETURNS: Final = 1.25
"""Times what the first tenth brought: what the way from there to ``SPENT`` brings at least. It brings 1.4 times
that to a policy of two actions that finds the better one, and more where there are more actions."""
HURRY: Final = 1.5
"""Times the records of the first tenth: where the reward rises no more the gradient that lowers the entropy goes too,
so that the rest of the way takes longer, unless something else than the reward drives it."""
FORGETTING: Final = 0.1
START_RECORDS: Final = 8
HELD: Final = 5
KEPT: Final = 0.8
"""Of the reward's rise; a policy that has become certain and lost more of it has become certain of the wrong thing."""
GAIN_NOISE: Final = 2.0
"""A reward that is so many times its own noise above its start has been learnt for."""


class EntropyCollapse(Detector):
    """The policy's entropy is near zero while its reward has not risen, or is falling; or it was spent for nothing.

    For nothing: seven tenths of the first entropy went in a hurry, and after the first of them they brought hardly more
    reward than that one did. See ``RETURNS`` and ``HURRY``.

    The number of actions is ``num_actions`` of the configuration; where it is not known the first entropy stands for
    the largest. A policy is told by that number, by a reward that is logged or by its name. Left alone: a policy that
    has become certain while its reward rose and stayed high, also one that goes on to do so slowly at its best, and
    entropies of continuous policies, which can be negative, where the number of actions is not known.

    Measured on the tuning half of FaultBench: 6 of 6 such faults noticed, after 21.5 steps in the median; 3 of 3 alerts
    right, no false incident. Not for policies that are meant to end deterministic within the run.
    """

    name: ClassVar[str] = "entropy_collapse"
    reads: ClassVar[tuple[str, ...]] = ("entropy", "reward")

    level: float = math.nan
    first: float = math.nan
    first_step: float = 0.0
    largest: float = 0.0
    highest_limit: float = -math.inf
    since: float = 0.0
    held: int = 0
    reward_seen: int = 0
    reward_first: float = math.nan
    reward_level: float = math.nan
    reward_best: float = -math.inf
    reward_noise: float = math.nan
    tenth_at: int = 0
    tenth_reward: float = math.nan
    spent_at: int = 0

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        self._take_reward(sample.signals.get("reward"))
        entropy = sample.signals.get("entropy")
        if entropy is None or not entropy.count or entropy.split not in ("train", "epoch"):
            return None
        self.level = _mixed(self.level, entropy.value, FORGETTING)
        if entropy.count < START_RECORDS:
            self.first, self.first_step = self.level, sample.step
            self.largest = _largest(sample.context, self.first) if _is_policy(entropy, sample) else 0.0
            is_positive = self.largest > 0.0
            self.highest_limit = max(self.largest * SHARE, (1.0 - SPENT) * self.first) if is_positive else -math.inf
            return None
        if not self.tenth_at and self.level < TENTH * self.first:
            self.tenth_at, self.tenth_reward = entropy.count, self.reward_level
        limit = self._limit(sample, entropy.count) if self.level < self.highest_limit else -math.inf
        if not self.level < limit or (self._is_learnt() and not self._is_wasted()):
            self.held = 0
            self.is_active = False
            return None
        self.held += 1
        if self.held == 1:
            self.since = sample.step
        if self.held < HELD or self.is_active or self.is_quiet(sample):
            return None
        return self._found(sample, entropy, limit)

    def _limit(self, sample: Sample, count: int) -> float:
        """Below which entropy it is too low now."""
        if self.tenth_at and not self.spent_at and self.level < (1.0 - SPENT) * self.first:
            self.spent_at = count
        progress = sample.context.progress(sample.step)
        is_early = progress is not None and progress < EARLY and not math.isnan(self.reward_level)
        return self.highest_limit if is_early or self._is_wasted() else self.largest * SHARE

    def _take_reward(self, reward: Signal | None) -> None:
        if reward is None or reward.count == self.reward_seen:
            return
        self.reward_seen = reward.count
        if math.isnan(self.reward_level):
            self.reward_noise = 0.0
        else:
            self.reward_noise += FORGETTING / 2 * (abs(reward.value - self.reward_level) - self.reward_noise)
        self.reward_level = _mixed(self.reward_level, reward.value, FORGETTING)
        if reward.count <= START_RECORDS:
            self.reward_first = self.reward_level
        self.reward_best = max(self.reward_best, self.reward_level)

    def _is_learnt(self) -> bool:
        """Whether the reward has risen from its start, and is still near the best that it was."""
        if math.isnan(self.reward_level):
            return False
        gain = self.reward_best - self.reward_first
        kept = self.reward_level + self.reward_noise / 2 - self.reward_first
        return gain > GAIN_NOISE * self.reward_noise and kept > KEPT * gain

    def _is_wasted(self) -> bool:
        """Whether what was spent after the first tenth has brought hardly more than that did, and went in a hurry."""
        if not self.spent_at or self.spent_at - self.tenth_at > HURRY * self.tenth_at:
            return False
        first, rest = self.tenth_reward - self.reward_first, self.reward_level - self.tenth_reward
        return first > self.reward_noise and rest < RETURNS * first

    def _found(self, sample: Sample, entropy: Signal, limit: float) -> Alert:
        reward = sample.get("reward")
        evidence = [
            Evidence(
                name=f"level of {entropy.name}",
                value=self.level,
                threshold=limit,
                first_step=self.since,
                last_step=sample.step,
            )
        ]
        without = ""
        if reward is not None and not math.isnan(self.reward_level):
            evidence.append(Evidence(name=f"level of {reward.name}", value=self.reward_level, last_step=reward.step))
            without = f", while {reward.name} went from {shown(self.reward_first)} to {shown(self.reward_level)}"
        return self.alert(
            sample,
            f"the policy has stopped to explore: {entropy.name} fell from {shown(self.first)} (step "
            f"{shown(self.first_step)}) to {shown(self.level)} at step {shown(sample.step)}{without}",
            severity="critical",
            since=self.since,
            metrics=[entropy] if reward is None else [entropy, reward],
            evidence=evidence,
            causes=[
                "steps that are too large for what the reward says about them",
                "nothing that holds the entropy up: no bonus, or one that is too small",
                "a reward whose size dwarfs the entropy bonus",
            ],
            remedies=_remedies(sample, self.since),
            confidence=0.8,
        )


def _mixed(level: float, value: float, share: float) -> float:
    return value if math.isnan(level) else level + share * (value - level)


def _is_policy(entropy: Signal, sample: Sample) -> bool:
    """Whether it is the entropy of a policy; that of a classifier's predictions goes to zero as it learns."""
    has_actions = sample.context.setting("num_actions", "n_actions", "num_arms") is not None
    return has_actions or "policy" in entropy.name.lower() or sample.get("reward") is not None


def _largest(context: Context, first: float) -> float:
    """The entropy of a policy that takes every action equally often, in nats; the first where nobody said how many."""
    num = context.setting("num_actions", "n_actions", "num_arms")
    return math.log(num) if num is not None and num > 1.0 else first


def _remedies(sample: Sample, since: float) -> list[Remedy]:
    context, found = sample.context, go_back(sample, since, why="when it still explored")
    bonus = context.setting("entropy_coef", "ent_coef", "entropy_bonus", "entropy_weight")
    if bonus:
        higher = float(f"{bonus * 10:.3g}")
        found.append(
            Remedy(text=f"raise the entropy bonus from {bonus:g} to {higher:g}", change={"entropy_coef": higher})
        )
    else:
        found.append(Remedy(text="add an entropy bonus of 0.01", change={"entropy_coef": 0.01}))
    lr = context.schedule.lr
    if lr > 0:
        lower = float(f"{0.3 * lr:.2g}")
        found.append(Remedy(text=f"lower the learning rate to {lower:g}", change={"lr": lower}))
    return [
        *found,
        Remedy(text="clip the ratio higher upwards (0.28) than downwards (0.2)", change={"clip_high": 0.28}),
        Remedy(text="scale rewards to a standard deviation of 1", change={"normalize_reward": True}),
    ]
