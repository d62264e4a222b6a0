"""Which logged points a figure is about: metrics of rows, epochs and validations, each as arrays with its own x.

Every point is one that was recorded. Nothing is drawn here, and nothing is left out but what the scope leaves out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from barograph.facts.kinds import Event
from barograph.facts.rows import HOST_SPLIT
from barograph.read.arrays import Bools, Floats, Series, as_float
from barograph.read.run import RunReader

Axis = Literal["step", "epoch", "time"]
TIMED = "time"


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What of a run is to be drawn.

    Attributes:
        x: what the points stand over. Points that were logged without an epoch are not drawn over epochs; those of
            epochs are drawn over epochs when x is the step.
        splits: these only; every one but that of the host's samples when None.
        rank: which process of a distributed run.
        until_t: only what was recorded up to this unix time, in seconds.
    """

    x: Axis = "step"
    splits: tuple[str, ...] | None = None
    rank: int = 0
    until_t: float = math.inf


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Every recorded point of one metric on one split, over one x. Points are ordered by attempt, then by x.

    Attributes:
        name: the metric as it was logged.
        split: e.g. ``train``.
        axis: what ``x`` is: ``step``, ``epoch``, or ``time`` in seconds since the run began.
        x: where the points stand.
        values: what was recorded; NaN and infinities are values.
        attempts: which attempt recorded each point.
        superseded: whether a later attempt recorded the metric again there.
    """

    name: str
    split: str
    axis: Axis
    x: Floats
    values: Floats
    attempts: npt.NDArray[np.int32]
    superseded: Bools

    def __len__(self) -> int:
        return len(self.x)


Rule = Callable[[Collection[str]], Collection[str]]


def find_curves(run: RunReader, rule: Rule, *, scope: Scope) -> list[Curve]:
    """The curves that a rule chooses, those of rows first, then those of epochs and validations.

    Args:
        run: the run.
        rule: chooses names from all that were logged.
        scope: what of them.
    """
    keys = [key for key in run.metric_keys() if key.rank == scope.rank and _is_in(key.split, scope)]
    tables = _event_series(run, scope)
    wanted = set(rule({key.name for key in keys} | {series.name for series, _ in tables}))
    rows = run.all_series(names=wanted | {"epoch"}, splits={key.split for key in keys}, rank=scope.rank)
    start_t = _start_t(run, [*rows, *(series for series, _ in tables)])
    curves = [_of_rows(series, rows, scope, start_t) for series in rows if series.name in wanted]
    curves += [_of_events(series, axis, scope, start_t) for series, axis in tables if series.name in wanted]
    return [curve for curve in curves if len(curve)]


def host_curves(run: RunReader, chooses: Callable[[str], bool], *, scope: Scope) -> list[Curve]:
    """Samples of the machine whose names are chosen, over seconds since the run began."""
    names = {key.name for key in run.metric_keys() if key.split == HOST_SPLIT and chooses(key.name)}
    found = run.all_series(names=names, splits=(HOST_SPLIT,), rank=scope.rank) if names else []
    start_t = _start_t(run, found)
    curves = [_curve(_until(series, scope), _until(series, scope).t - start_t, TIMED) for series in found]
    return [curve for curve in curves if len(curve)]


def logged_names(run: RunReader) -> list[str]:
    """Every metric that may be asked for, as ``split/name``, samples of the machine last; for messages."""
    found = {key[:2] for key in run.metric_keys()}
    found |= {series.key[:2] for series, _ in _event_series(run, Scope())}
    return [f"{split}/{name}" for name, split in sorted(found, key=lambda it: (it[1] == HOST_SPLIT, it[1], it[0]))]


def _is_in(split: str, scope: Scope) -> bool:
    return split != HOST_SPLIT if scope.splits is None else split in scope.splits


def _start_t(run: RunReader, found: Iterable[Series]) -> float:
    created_t = run.identity.created_t
    if created_t is not None:
        return created_t
    return min((float(series.t.min()) for series in found if len(series)), default=0.0)


def _until(series: Series, scope: Scope) -> Series:
    return series if math.isinf(scope.until_t) else series.where(series.t <= scope.until_t)


def _curve(series: Series, x: Floats, axis: Any) -> Curve:
    order = np.lexsort((x, series.attempts))  # stable: points of one x stay in the order of their recording
    order = order[np.isfinite(x[order])]
    return Curve(
        name=series.name,
        split=series.split,
        axis=axis,
        x=x[order],
        values=series.values[order],
        attempts=series.attempts[order],
        superseded=series.superseded[order],
    )


def _of_rows(series: Series, rows: list[Series], scope: Scope, start_t: float) -> Curve:
    series = _until(series, scope)
    if scope.x == "time":
        return _curve(series, series.t - start_t, "time")
    if scope.x == "epoch":
        epochs = [mate for mate in rows if mate.name == "epoch" and mate.split == series.split]
        return _curve(series, _epochs_of(series, epochs), "epoch")
    return _curve(series, series.steps, "step")


def _epochs_of(series: Series, epochs: list[Series]) -> Floats:
    """The epoch that was logged in the record of each point; NaN where there was none."""
    found = np.full(len(series), np.nan)
    if not epochs or not len(epochs[0]):
        return found
    mate = epochs[0].where(np.argsort(epochs[0].t, kind="stable"))
    places = np.minimum(np.searchsorted(mate.t, series.t), len(mate) - 1)
    is_same = (mate.t[places] == series.t) & (mate.steps[places] == series.steps)
    found[is_same] = mate.values[places[is_same]]
    return found


def _of_events(series: Series, axis: Axis, scope: Scope, start_t: float) -> Curve:
    """Epochs stand over epochs also when x is the step, which an epoch has none of."""
    if scope.x == "time":
        return _curve(series, series.t - start_t, "time")
    if scope.x == "epoch" and axis == "step":
        return _curve(series, np.full(len(series), np.nan), "epoch")
    return _curve(series, series.steps, axis)


def _event_series(run: RunReader, scope: Scope) -> list[tuple[Series, Axis]]:
    """The numbers of epochs and validations as series over epochs or steps."""
    points: dict[tuple[str, str, Axis], list[tuple[float, float, float, int]]] = defaultdict(list)
    for moment in ("on_epoch_end", "on_validation_end"):
        for event in run.events(moment):
            payload = event.payload
            if event.t <= scope.until_t and payload.get("rank", 0) == scope.rank:
                axis, place, split = _place(event)
                if place is not None and _is_in(split, scope):
                    for name, value in _numbers(payload):
                        points[name, split, axis].append((place, value, event.t, int(payload.get("attempt", 0))))
    return [(_series(name, split, scope.rank, found), axis) for (name, split, axis), found in sorted(points.items())]


def _place(event: Event) -> tuple[Axis, float | None, str]:
    payload = event.payload
    if event.moment == "on_epoch_end":
        return "epoch", _number(payload.get("epoch")), "epoch"
    split = str(payload.get("split", "val"))
    step = _number(payload.get("step"))
    return ("step", step, split) if step is not None else ("epoch", _number(payload.get("epoch")), split)


def _numbers(payload: dict[str, Any]) -> Iterable[tuple[str, float]]:
    metrics = payload.get("metrics")
    given = {name: payload.get(name) for name in ("train_loss", "val_loss", "epoch_time_s")}
    for name, value in {**given, **(metrics if isinstance(metrics, dict) else {})}.items():
        number = _number(value)
        if number is not None:
            yield str(name), number


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return as_float(value)


def _series(name: str, split: str, rank: int, points: list[tuple[float, float, float, int]]) -> Series:
    points = sorted(points, key=lambda point: point[3])
    steps, values, t, attempts = (np.array(column) for column in zip(*points, strict=True))
    latest: dict[float, int] = {}
    for step, _, _, attempt in points:
        latest[step] = max(attempt, latest.get(step, attempt))
    return Series(
        name=name,
        split=split,
        rank=rank,
        steps=steps.astype(np.float64),
        values=values.astype(np.float64),
        t=t.astype(np.float64),
        attempts=attempts.astype(np.int32),
        superseded=np.array([attempt < latest[step] for step, _, _, attempt in points]),
    )
