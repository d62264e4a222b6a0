"""Which hyperparameters move a metric, with intervals; or an honest "not enough runs".

Importances are optuna's, with each recorded run as a trial: fANOVA (Hutter, Hoos and Leyton-Brown, ICML 2014) for up
to ``FANOVA_RUNS`` runs, PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023) beyond. Such importances are never zero, so
each parameter competes with a shuffled copy of itself (shadow features: Kursa and Rudnicki, Journal of Statistical
Software 36(11), 2010), and what is reported is its share beyond its shadow's, over bootstrap samples of configurations.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np

from barograph.compare.factors import Factor, Floats, is_logarithmic, level

MIN_RUNS: Final = 10
MIN_CONFIGS: Final = 6
CONFIGS_PER_PARAMETER: Final = 3
FANOVA_RUNS: Final = 200
NUM_DRAWS: Final = 100
NUM_TREES: Final = 8
MAX_CATEGORIES: Final = 12

_WHEN: Final = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - optuna's times have no zone; when a trial ended plays no part

Method = Literal["fanova", "ped-anova"]


class ParameterImpact(msgspec.Struct, frozen=True, kw_only=True):
    """What one parameter does to the metric.

    Attributes:
        keys: the configuration keys; several when they always change together.
        impact: its share of the importance beyond that of its shuffled copy, the median of the samples: 1 when it
            decides everything, about 0 (also below) when it does nothing.
        interval: the middle 95 % of the samples.
        is_shown: whether the interval lies above 0.
        num_values: how many different values it has in the runs.
    """

    keys: list[str]
    impact: float
    interval: tuple[float, float]
    is_shown: bool
    num_values: int


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """Which parameters move a metric.

    Attributes:
        metric: which metric.
        split: on which split.
        method: how importances were computed; None when they were not.
        n: runs with a finite value.
        num_configs: different configurations among them.
        parameters: the greatest impact first.
        reason: why there are none.
        left_out: parameters that were not judged, and why.
    """

    metric: str
    split: str | None = None
    method: Method | None = None
    n: int = 0
    num_configs: int = 0
    parameters: list[ParameterImpact] = []
    reason: str = ""
    left_out: dict[str, str] = {}


def impact_of(
    factors: Sequence[Factor],
    values: Floats,
    *,
    metric: str,
    split: str | None = None,
    mode: Literal["min", "max"] = "min",
    num_draws: int = NUM_DRAWS,
) -> Impact:
    """The impact of each parameter on a metric.

    It refuses when there are fewer than ``MIN_RUNS`` runs with a finite value, or fewer different configurations than
    ``MIN_CONFIGS`` or ``CONFIGS_PER_PARAMETER`` per parameter. Configurations, not runs, are drawn and shuffled: runs
    that differ in the seed alone say nothing new about parameters. The same runs give the same numbers.

    Args:
        factors: the configuration keys that vary over the runs.
        values: the metric of each run, in the order of the factors' values.
        metric: what it is called.
        split: of which split.
        mode: which values are good; PED-ANOVA looks at the best runs.
        num_draws: bootstrap samples.

    Raises:
        ModuleNotFoundError: optuna, or scikit-learn for fANOVA, is not installed.
    """
    finite = [place for place, value in enumerate(values) if math.isfinite(value)]
    outcome = np.asarray([values[place] for place in finite], dtype=np.float64)
    varying = [it for it in (factor.taken(finite) for factor in factors) if it.num_levels > 1]
    parameters = [_Parameter(factor) for factor in varying]
    left_out = {it.factor.label: it.unfit for it in parameters if it.unfit}
    parameters = [it for it in parameters if not it.unfit]
    rows = [tuple(factor.codes[place] for factor in varying) for place in range(len(finite))]
    configs = _places_by(rows)
    found = Impact(metric=metric, split=split, n=len(finite), num_configs=len(configs), left_out=left_out)
    reason = _not_enough(len(finite), len(configs), len(parameters), outcome)
    if reason:
        return msgspec.structs.replace(found, reason=reason)
    method: Method = "fanova" if len(finite) <= FANOVA_RUNS else "ped-anova"
    draws = _draws(parameters, outcome if mode == "min" else -outcome, configs, method=method, num_draws=num_draws)
    judged = [_judged(parameter, draws[:, place]) for place, parameter in enumerate(parameters)]
    judged.sort(key=lambda it: (-it.impact, it.keys))
    return msgspec.structs.replace(found, method=method, parameters=judged)


def _not_enough(n: int, num_configs: int, num_parameters: int, outcome: Floats) -> str:
    if num_parameters == 0:
        return "no parameter varies over the runs"
    if n < MIN_RUNS:
        return f"not enough runs: {n} with a finite value, {MIN_RUNS} are needed"
    wanted = max(MIN_CONFIGS, CONFIGS_PER_PARAMETER * num_parameters)
    if num_configs < wanted:
        return (
            f"not enough runs: {num_configs} different configurations of {num_parameters} "
            f"{'parameter' if num_parameters == 1 else 'parameters'}, {wanted} are needed"
        )
    return "" if np.ptp(outcome) > 0 else "the metric is the same in every run"


class _Parameter:
    """A factor as optuna sees it."""

    def __init__(self, factor: Factor) -> None:
        self.factor = factor
        self.is_scale = {kind for kind, _ in map(level, factor.values)} == {"number"}
        self.values: list[Any] = [float(value) for value in factor.values] if self.is_scale else list(factor.codes)
        self.unfit = ""
        if self.is_scale and not all(map(math.isfinite, self.values)):
            self.unfit = "not all of its values are finite"
        elif not self.is_scale and factor.num_levels > MAX_CATEGORIES:
            self.unfit = f"it has {factor.num_levels} values that are no numbers, more than {MAX_CATEGORIES}"

    def distribution(self) -> Any:
        from optuna.distributions import CategoricalDistribution, FloatDistribution  # noqa: PLC0415 - see impact_of

        if not self.is_scale:
            return CategoricalDistribution(sorted(set(self.values)))
        low, high = min(self.values), max(self.values)
        return FloatDistribution(low, high, log=is_logarithmic(self.values))


def _draws(
    parameters: Sequence[_Parameter], losses: Floats, configs: Sequence[list[int]], *, method: Method, num_draws: int
) -> Floats:
    """Per bootstrap sample, each parameter's share minus that of its shuffled copy."""
    random = np.random.default_rng(_seed(parameters, losses))
    distributions = [parameter.distribution() for parameter in parameters]
    first = [places[0] for places in configs]
    found: list[Floats] = []
    while len(found) < num_draws:
        orders = [random.permutation(len(configs)) for _ in parameters]
        chosen = random.integers(len(configs), size=len(configs))
        rows = [(config, place) for config in chosen for place in configs[config]]
        outcome = losses[[place for _, place in rows]]
        if np.ptp(outcome) == 0:
            continue
        real = [[it.values[first[config]] for config, _ in rows] for it in parameters]
        shadows = [
            [it.values[first[order[config]]] for config, _ in rows]
            for it, order in zip(parameters, orders, strict=True)
        ]
        shares = _shares([*real, *shadows], [*distributions, *distributions], outcome, method, seed=len(found))
        found.append(shares[: len(parameters)] - shares[len(parameters) :])
    return np.asarray(found)


def _shares(columns: list[list[Any]], distributions: list[Any], losses: Floats, method: Method, *, seed: int) -> Floats:
    """Each column's share of the importances."""
    import optuna  # noqa: PLC0415 - a second to import, and an extra
    from optuna.importance import (  # noqa: PLC0415 - the same
        FanovaImportanceEvaluator,
        PedAnovaImportanceEvaluator,
        get_param_importances,
    )

    names = [str(place) for place in range(len(columns))]
    known = dict(zip(names, distributions, strict=True))
    trials = [
        _trial(optuna, number, dict(zip(names, row, strict=True)), known, float(loss))
        for number, (*row, loss) in enumerate(zip(*columns, losses, strict=True))
    ]
    study = _study(optuna, trials)
    if method == "fanova":
        import sklearn  # noqa: F401, PLC0415 - optuna's own message names no extra

        evaluator: Any = FanovaImportanceEvaluator(n_trees=NUM_TREES, seed=seed)
    else:
        evaluator = PedAnovaImportanceEvaluator()
    shares = get_param_importances(study, evaluator=evaluator)
    return np.asarray([float(shares[name]) for name in names])


def _trial(optuna: Any, number: int, params: dict[str, Any], distributions: dict[str, Any], value: float) -> Any:
    """A finished trial, as it is: ``create_trial`` would check anew what is right by construction."""
    return optuna.trial.FrozenTrial(
        number=number,
        trial_id=number,
        state=optuna.trial.TrialState.COMPLETE,
        value=value,
        datetime_start=_WHEN,
        datetime_complete=_WHEN,
        params=params,
        distributions=distributions,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


def _study(optuna: Any, trials: list[Any]) -> Any:
    """A study that has these trials, made without a line on the console.

    Its storage hands them out; adding them one by one takes three times as long as what they are needed for.
    """

    class Trials(optuna.storages.InMemoryStorage):  # type: ignore[misc] # optuna is imported late
        def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[Any]:  # noqa: ARG002 - optuna's signature
            return trials if states is None else [trial for trial in trials if trial.state in states]

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction="minimize", storage=Trials())
    finally:
        optuna.logging.set_verbosity(before)


def _judged(parameter: _Parameter, draws: Floats) -> ParameterImpact:
    low, middle, high = (float(value) for value in np.percentile(draws, [2.5, 50.0, 97.5]))
    return ParameterImpact(
        keys=list(parameter.factor.keys),
        impact=middle,
        interval=(low, high),
        is_shown=low > 0,
        num_values=parameter.factor.num_levels,
    )


def _places_by(rows: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Places of equal rows together."""
    found: dict[tuple[int, ...], list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault(row, []).append(place)
    return list(found.values())


def _seed(parameters: Sequence[_Parameter], losses: Floats) -> int:
    """A number made of the content, so that the same runs give the same answer."""
    content = repr(([it.values for it in parameters], losses.tolist())).encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
