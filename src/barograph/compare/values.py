"""One number, or one curve, per run: what comparisons are made of. Nothing is interpolated, nothing silently left out.

A run that lacks the metric is listed with the reason; a run whose value is NaN or infinite stays, is named, and counts
as the worst.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np

from barograph.compare.groups import Group, Seed, seeds_of
from barograph.compare.resample import Floats
from barograph.errors import MetricNotFoundError, MisuseError
from barograph.read.arrays import Series
from barograph.read.frames import Runs, Skipped
from barograph.read.overview import VAL_SPLITS
from barograph.read.run import RunReader
from barograph.read.tables import load_tables

Mode = Literal["min", "max"]
Reduce = Literal["final", "best", "curve"]

LOWER_IS_BETTER: Final = frozenset(
    {"loss", "losses", "error", "err", "perplexity", "ppl", "mse", "rmse", "mae", "mape", "nll", "bce", "kl"}
    | {"wer", "cer", "fid", "regret", "latency", "misses", "bpc", "bpb"}
)
HIGHER_IS_BETTER: Final = frozenset(
    {"acc", "accuracy", "auc", "auroc", "auprc", "f1", "reward", "return", "score", "precision", "recall", "bleu"}
    | {"rouge", "iou", "miou", "dice", "psnr", "ssim", "r2", "map", "ndcg", "mrr", "likelihood", "elbo", "success"}
    | {"throughput", "correct", "exact", "hits", "top1", "top5"}
)
TURNS_ROUND: Final = frozenset({"neg", "negative", "minus", "inverse", "drop", "gap", "diff", "delta", "change"})
"""Words with which the others no longer tell: sklearn's ``neg_mean_squared_error`` is better when high."""
NEGATIVE_LIKELIHOOD: Final = (frozenset({"neg", "likelihood"}), frozenset({"negative", "likelihood"}))
EPOCH_SPLIT: Final = "epoch"
SUMMARY_SPLIT: Final = "summary"
_SUMMARY_PREFIX: Final = "summary."
_WORDS: Final = re.compile(r"[a-z]+[0-9]*|[0-9]+")


class NonFinite(msgspec.Struct, frozen=True, kw_only=True):
    """A run whose value is not a finite number.

    Attributes:
        run_dir: which run.
        kind: ``nan``, ``inf`` or ``-inf``; the first of a curve.
        step: where it stands, None when it stands at no step.
    """

    run_dir: str
    kind: str
    step: float | None = None


class Sample(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One metric over the runs of a group.

    Attributes:
        values: shape (runs,), or (runs, steps) for curves; NaN and infinities are kept.
        seeds: each run's seed, None where it has none.
        run_dirs: each run's directory.
        nonfinite: runs whose value, or a point of whose curve, is not finite.
        skipped: runs that are not among the values, and why.
        metric: its name.
        split: where it was logged; ``epoch`` or ``summary`` for values of events.
        reduce: what each run was reduced to.
        mode: whether low or high is better.
        label: what the group is called.
        steps: of curves, the steps that all runs recorded.
        num_steps_recorded: of curves, how many different steps there are over all runs.
    """

    values: Floats
    seeds: Sequence[Seed] = ()
    run_dirs: Sequence[str] = ()
    nonfinite: Sequence[NonFinite] = ()
    skipped: Sequence[Skipped] = ()
    metric: str = "value"
    split: str = ""
    reduce: Reduce = "final"
    mode: Mode = "min"
    label: str = ""
    steps: Floats = msgspec.field(default_factory=lambda: np.empty(0))
    num_steps_recorded: int = 0

    def __post_init__(self) -> None:
        """Make an array of the values, and names for runs that have none."""
        values = np.array(self.values, dtype=np.float64)
        msgspec.structs.force_setattr(self, "values", values)
        if not self.run_dirs:
            msgspec.structs.force_setattr(self, "run_dirs", tuple(f"run {place}" for place in range(len(values))))
        if not self.seeds:
            msgspec.structs.force_setattr(self, "seeds", (None,) * len(values))
        if not len(values) == len(self.seeds) == len(self.run_dirs):
            raise MisuseError(
                f"{len(values)} values, {len(self.seeds)} seeds and {len(self.run_dirs)} runs; give one of each per run"
            )
        if not self.nonfinite:
            msgspec.structs.force_setattr(self, "nonfinite", _find_nonfinite(values, self.run_dirs, self.steps))

    def __len__(self) -> int:
        return len(self.values)

    def taken(self, places: Sequence[int]) -> Sample:
        """The same over some of the runs, in this order."""
        chosen = {self.run_dirs[place] for place in places}
        return msgspec.structs.replace(
            self,
            values=self.values[list(places)],
            seeds=[self.seeds[place] for place in places],
            run_dirs=[self.run_dirs[place] for place in places],
            nonfinite=[found for found in self.nonfinite if found.run_dir in chosen],
        )


def match_seeds(a: Sample, b: Sample) -> Sample | None:
    """The second sample in the order of the first one's seeds, when their seeds match; else None.

    They match when every run of both has a seed, no seed is twice on one side, and both sides have the same ones.
    Otherwise a pairing would have to leave runs out.
    """
    if None in a.seeds or None in b.seeds or len(set(a.seeds)) < len(a) or len(a) != len(b):
        return None
    places = {seed: place for place, seed in enumerate(b.seeds)}
    return b.taken([places[seed] for seed in a.seeds]) if set(places) == set(a.seeds) else None


def infer_mode(metric: str) -> Mode:
    """Whether low or high values of a metric are better, told by the words of its name.

    A name with a word of ``LOWER_IS_BETTER`` is to be minimised, one with a word of ``HIGHER_IS_BETTER`` maximised, and
    a negative likelihood minimised. A word of ``TURNS_ROUND`` beside them leaves it open.

    Raises:
        MisuseError: no word tells, or words of both kinds do, or one may turn them round.

    >>> infer_mode("val/loss"), infer_mode("episode_reward"), infer_mode("macro-F1"), infer_mode("neg_log_likelihood")
    ('min', 'max', 'max', 'min')
    """
    words = set(_WORDS.findall(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", metric).lower()))
    lower, higher = sorted(words & LOWER_IS_BETTER), sorted(words & HIGHER_IS_BETTER)
    turned = sorted(words & TURNS_ROUND)
    if turned and not lower and any(it <= words for it in NEGATIVE_LIKELIHOOD):
        return "min"
    if turned and (lower or higher):
        raise MisuseError(
            f"whether low or high {metric!r} is better is not clear: {', '.join(turned)} may turn "
            f"{', '.join(lower + higher)} round; say which with mode= (--mode): 'min' or 'max'"
        )
    if lower and not higher:
        return "min"
    if higher and not lower:
        return "max"
    told = f"it has {', '.join(lower)} and {', '.join(higher)}" if lower else "no word of it tells"
    raise MisuseError(
        f"whether low or high {metric!r} is better is not clear: {told}; say which with mode= (--mode): 'min' or 'max'"
    )


def worst_as_infinite(values: Floats, *, mode: str) -> Floats:
    """The values with those that are not finite replaced by an infinity on the worse side."""
    return np.where(np.isfinite(values), values, math.inf if mode == "min" else -math.inf)


def collect(
    runs: Runs | Group | Iterable[RunReader],
    metric: str,
    *,
    split: str | None = None,
    reduce: Reduce = "final",
    mode: Mode | None = None,
    rank: int = 0,
) -> Sample:
    """The value of a metric for each run.

    Args:
        runs: loaded runs, a group of them, or readers.
        metric: its name; a name that no run logged is looked for among the values of epochs (``val_loss``) and of
            ``run.summary`` (``summary.NAME`` looks there only).
        split: where it was logged. When not given: on the one split on which these runs logged it; else on the first of
            ``val``, ``valid``, ``validation``, ``eval``, ``dev``, then ``test``, then ``train``.
        reduce: ``final`` is the value at the last step, ``best`` the lowest or highest finite one, ``curve`` all
            values at the steps that every run recorded (the last one recorded where a step repeats). Always of the
            effective curve: the latest attempt at each step.
        mode: whether low or high is better; told by ``infer_mode`` when not given.
        rank: which process of a distributed run.

    Raises:
        MetricNotFoundError: no run has the metric; the message lists what there is.
        MisuseError: the mode cannot be told, or the split cannot.
    """
    if reduce not in ("final", "best", "curve"):
        raise MisuseError(f"reduce is {reduce!r}; give 'final', 'best' or 'curve'")
    if mode not in (None, "min", "max"):
        raise MisuseError(f"mode is {mode!r}; give 'min' or 'max'")
    readers = runs.readers if isinstance(runs, Runs) else runs.runs if isinstance(runs, Group) else list(runs)
    chosen, curves = _find_curves(readers, metric, split=split, rank=rank)
    mode = mode or infer_mode(metric)
    seeds = runs.seeds if isinstance(runs, Group) else seeds_of(readers)
    kept = [
        (reader, curve, seed)
        for reader, curve, seed in zip(readers, curves, seeds, strict=True)
        if curve is not None and len(curve)
    ]
    place = f"on {chosen!r}" if chosen not in (EPOCH_SPLIT, SUMMARY_SPLIT) else f"in its {chosen}"
    skipped = [
        Skipped(path=str(reader.path), reason=f"it has no {metric!r} {place}")
        for reader, curve in zip(readers, curves, strict=True)
        if curve is None or not len(curve)
    ]
    run_dirs = [str(reader.path) for reader, _, _ in kept]
    values, steps, num_recorded, nonfinite = _reduce([curve for _, curve, _ in kept], reduce, mode, run_dirs)
    return Sample(
        values=values,
        seeds=[seed for _, _, seed in kept],
        run_dirs=run_dirs,
        nonfinite=nonfinite,
        skipped=skipped,
        metric=metric,
        split=chosen,
        reduce=reduce,
        mode=mode,
        label=runs.label if isinstance(runs, Group) else "",
        steps=steps,
        num_steps_recorded=num_recorded,
    )


class _Curve(msgspec.Struct, frozen=True):
    """Steps in ascending order, and what was recorded there."""

    steps: Floats
    values: Floats

    def __len__(self) -> int:
        return len(self.values)


def _find_curves(
    readers: Sequence[RunReader], metric: str, *, split: str | None, rank: int
) -> tuple[str, list[_Curve | None]]:
    """The split, and each run's curve on it."""
    if not metric.startswith(_SUMMARY_PREFIX) and split not in (EPOCH_SPLIT, SUMMARY_SPLIT):
        splits = None if split is None else [split]
        logged = [{it.split: it for it in r.all_series(names=[metric], splits=splits, rank=rank)} for r in readers]
        present = {name for found in logged for name in found}
        if present:
            chosen = split or _choose_split(metric, present)
            return chosen, [_curve_of(found.get(chosen)) for found in logged]
    for name, look in ((EPOCH_SPLIT, _epoch_curve), (SUMMARY_SPLIT, _summary_curve)):
        if split in (None, name):
            curves = [look(reader, metric) for reader in readers]
            if any(curve is not None for curve in curves):
                return name, curves
    raise MetricNotFoundError(_not_found(readers, metric, split))


def _choose_split(metric: str, present: set[str]) -> str:
    if len(present) == 1:
        return next(iter(present))
    for name in (*VAL_SPLITS, "test", "train"):
        if name in present:
            return name
    raise MisuseError(f"{metric!r} was logged on {', '.join(sorted(present))}; say which with split=")


def _curve_of(series: Series | None) -> _Curve | None:
    if series is None:
        return None
    effective = series.effective()
    return _Curve(effective.steps, effective.values)


def _epoch_curve(reader: RunReader, metric: str) -> _Curve | None:
    table = load_tables([reader]).per_epoch[str(reader.path)]
    attempts = table.get("attempt", [])
    newest: dict[float, tuple[int, float]] = {}
    for epoch, attempt, value in zip(table.get("epoch", []), attempts, table.get(metric, []), strict=False):
        if value is not None and epoch is not None and (attempt or 0) >= newest.get(epoch, (0, 0.0))[0]:
            newest[epoch] = (attempt or 0, float(value))
    if not newest:
        return None
    steps = sorted(newest)
    return _Curve(np.array(steps, dtype=np.float64), np.array([newest[step][1] for step in steps]))


def _summary_curve(reader: RunReader, metric: str) -> _Curve | None:
    value: Any = reader.digest().summary.get(metric.removeprefix(_SUMMARY_PREFIX))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return _Curve(np.zeros(1), np.array([float(value)]))


def _not_found(readers: Sequence[RunReader], metric: str, split: str | None) -> str:
    if not readers:
        return f"there are no runs, so none has {metric!r}; name a directory that holds runs"
    keys = {f"{key.name} ({key.split})" for reader in readers for key in reader.metric_keys() if key.split != "host"}
    keys |= {f"summary.{name}" for reader in readers for name in reader.digest().summary}
    where = "" if split is None else f" on {split!r}"
    there = ", ".join(sorted(keys)) or "nothing"
    close = difflib.get_close_matches(metric, {key.partition(" (")[0] for key in keys})
    meant = f"is {' or '.join(close)} meant? " if close else ""
    return f"none of the {len(readers)} runs has {metric!r}{where}; {meant}what they have: {there}"


def _reduce(
    curves: Sequence[_Curve], reduce: Reduce, mode: Mode, run_dirs: Sequence[str]
) -> tuple[Floats, Floats, int, list[NonFinite]]:
    """Values, common steps, how many steps there are over all, and the values that are not finite."""
    if reduce == "curve":
        last = [_last_at_each_step(curve) for curve in curves]
        common = last[0].steps
        for curve in last[1:]:
            common = np.intersect1d(common, curve.steps, assume_unique=True)
        values = np.stack([curve.values[np.isin(curve.steps, common)] for curve in last])
        recorded = np.unique(np.concatenate([curve.steps for curve in last]))
        return values, common, len(recorded), _find_nonfinite(values, run_dirs, common)
    places = [_place(curve.values, reduce, mode) for curve in curves]
    values = np.array([curve.values[place] for curve, place in zip(curves, places, strict=True)])
    nonfinite = [
        NonFinite(run_dir=run_dir, kind=_kind(value), step=float(curve.steps[place]))
        for run_dir, value, curve, place in zip(run_dirs, values, curves, places, strict=True)
        if not math.isfinite(value)
    ]
    return values, np.empty(0), 0, nonfinite


def _place(values: Floats, reduce: Reduce, mode: Mode) -> int:
    finite = np.flatnonzero(np.isfinite(values))
    if reduce == "final" or not len(finite):
        return len(values) - 1
    return int(finite[np.argmin(values[finite]) if mode == "min" else np.argmax(values[finite])])


def _last_at_each_step(curve: _Curve) -> _Curve:
    is_last = np.append(curve.steps[1:] != curve.steps[:-1], [True])
    return _Curve(curve.steps[is_last], curve.values[is_last])


def _find_nonfinite(values: Floats, run_dirs: Sequence[str], steps: Floats) -> list[NonFinite]:
    found = []
    for run_dir, row in zip(run_dirs, values.reshape(len(values), -1 if len(values) else 1), strict=True):
        places = np.flatnonzero(~np.isfinite(row))
        if len(places):
            step = float(steps[places[0]]) if len(steps) else None
            found.append(NonFinite(run_dir=run_dir, kind=_kind(row[places[0]]), step=step))
    return found


def _kind(value: float) -> str:
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
