"""Judges success criteria from recorded facts, while they come in or afterwards: the same facts, the same verdicts.

A criterion is stated as text when a run starts (``record.criterion`` has the grammar). Facts are recognised by their
attributes, so that no reader is imported. Memory does not grow with the run, and no verdict depends on the order in
which streams are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeGuard

from barograph.facts.rows import HOST_SPLIT
from barograph.record.criterion import Criterion, parse_criterion
from barograph.record.criterion_values import Point, Values

__all__ = ["CriteriaJudge", "Criterion", "parse_criterion"]

MAX_NAMES: Final = 64
SOURCES: Final = ("metrics", "step events", "epoch events")
_EXAMPLE_METRICS: Final = ("example_loss", "train_loss_window_mean", "val_loss", "gap")
_EPOCH_METRICS: Final = ("train_loss", "val_loss")
_DEFAULT_SPLITS: Final = {"on_example": "train", "on_epoch_end": "train", "on_validation_end": "val"}

Verdict = dict[str, Any]


class CriteriaJudge:
    """A consumer of facts that judges criteria.

    Where a metric is recorded more than once, one source counts: logged metrics, else events with a step
    (examples, validations), else events with an epoch, else the summary of the run. A metric that is recorded on
    several splits is judged only if the criterion names one. ``final`` is the value at the highest step, as the
    latest attempt recorded it; all other words look at every recorded value, also of older attempts. A check has
    passed when it passed every time it ran in the latest attempt that ran it.

    Args:
        criteria: texts, or criteria that were read already.

    Raises:
        InvalidCriterionError: a text cannot be read.
    """

    def __init__(self, criteria: Iterable[str | Criterion]) -> None:
        self.criteria = tuple(item if isinstance(item, Criterion) else parse_criterion(item) for item in criteria)
        self._cases = [_CheckCase(item) if item.kind == "check" else _MetricCase(item) for item in self.criteria]
        self._metrics = [case for case in self._cases if isinstance(case, _MetricCase)]
        self._checks = [case for case in self._cases if isinstance(case, _CheckCase)]
        self._names: set[str] = set()

    def feed(self, facts: Sequence[Any]) -> None:
        """Take in facts: events, rows and records, in any order."""
        for fact in facts:
            if hasattr(fact, "moment"):
                self._feed_event(fact)
            elif hasattr(fact, "header"):
                self._feed_rows(fact)
            else:
                self._feed_record(fact)

    def close(self) -> None:
        """Nothing is held open; the verdicts stay readable."""

    def verdicts(self) -> list[Verdict]:
        """Judge what was fed so far, as if the run ended there.

        Returns:
            One dict per criterion, in the order they were given: ``text``; ``passed`` (None when it could not be
            judged); ``reason`` (None when the evidence says it all); ``evidence``: the deciding ``value`` with its
            ``step``, ``epoch``, ``split``, ``attempt`` and ``source`` where there are any, and how many values were
            looked at, ``n``, of which ``num_nan`` were NaN.
        """
        return [case.verdict(self._names) for case in self._cases]

    def _note_names(self, names: Iterable[str]) -> None:
        if not self._names.issuperset(names):
            self._names = set(sorted(self._names.union(names))[:MAX_NAMES])  # the same ones in any order of arrival

    def _feed_rows(self, fact: Any) -> None:
        header = fact.header
        columns: list[str] = header.columns
        if header.split != HOST_SPLIT:  # judged when named, but no suggestion for a misspelt loss
            self._note_names(columns[1:-1])
        epoch_at = columns.index("epoch") if "epoch" in columns else None
        for case in self._metrics:
            if case.criterion.name not in columns:
                continue
            at = columns.index(case.criterion.name)
            values = case.values("metrics", header.split)
            for row in fact.rows:
                epoch = None if epoch_at is None else row[epoch_at]
                values.add(Point(row[at], row[0], epoch, header.attempt, header.rank, row[-1]))

    def _feed_record(self, fact: Any) -> None:
        self._note_names(fact.metrics)
        for case in self._metrics:
            value = fact.metrics.get(case.criterion.name)
            if _is_number(value):
                point = Point(value, fact.step, _place(fact.metrics.get("epoch")), fact.attempt, fact.rank, fact.t)
                case.values("metrics", fact.split).add(point)

    def _feed_event(self, event: Any) -> None:
        payload: Mapping[str, Any] = event.payload
        attempt, rank = _whole(payload.get("attempt")), _whole(payload.get("rank"))
        if event.moment == "on_check":
            for check in self._checks:
                check.add(payload, attempt=attempt, key=(rank, event.t, event.seq))
            return
        for case in self._metrics:
            case.note_summary(_event_summary(event.moment, payload), key=(-rank, attempt, event.t, event.seq))
        metrics = _event_metrics(event.moment, payload)
        if not metrics:
            return
        self._note_names(metrics)
        step, epoch = _place(payload.get("step")), _place(payload.get("epoch"))
        source = "epoch events" if step is None else "step events"
        split = str(payload.get("split") or "") or _DEFAULT_SPLITS[event.moment]
        for case in self._metrics:
            value = metrics.get(case.criterion.name)
            if _is_number(value):
                case.values(source, split).add(Point(value, step, epoch, attempt, rank, event.t))


class _MetricCase:
    """One criterion about a metric, and the values that were found for it."""

    def __init__(self, criterion: Criterion) -> None:
        self.criterion = criterion
        self._values: dict[tuple[str, str], Values] = {}
        self._summary: Any = None
        self._summary_key: tuple[Any, ...] = ()

    def values(self, source: str, split: str) -> Values:
        key = (source, split)
        if key not in self._values:
            self._values[key] = Values(self.criterion)
        return self._values[key]

    def note_summary(self, summary: Mapping[str, Any], *, key: tuple[Any, ...]) -> None:
        if self.criterion.name in summary and key >= self._summary_key:
            self._summary, self._summary_key = summary[self.criterion.name], key

    def verdict(self, names: Iterable[str]) -> Verdict:
        found = self._best_source() or self._in_summary()
        if not found:
            return self._unrecorded(names)
        verdicts = [self._judge(source, split, found[source, split]) for source, split in sorted(found)]
        if len(found) > 1 and not self._combines_splits():
            splits = sorted(split for _, split in found)
            return self._unjudged(f"recorded on the splits {', '.join(splits)}; end it with 'on {splits[0]}'")
        return next((verdict for verdict in verdicts if not verdict["passed"]), verdicts[0])

    def _combines_splits(self) -> bool:
        """Whether the question has one answer over several splits; a comparison would have one for each."""
        asked = (self.criterion.kind, self.criterion.aggregate)
        return asked in (("exists", None), ("finite", "all"))

    def _judge(self, source: str, split: str, values: Values) -> Verdict:
        if values.n == 0:
            return self._out_of_reach(values)
        evidence = {"n": values.n, "num_nan": values.num_nan, "source": source, "split": split or None}
        if values.witness is None:
            mean = values.mean()
            return self._judged(self.criterion.holds(mean), {"value": mean} | evidence)
        point = values.witness
        evidence |= {"step": point.step, "epoch": point.epoch, "attempt": point.attempt}
        passed = self.criterion.kind == "exists" or self.criterion.holds(point.value)
        shown = {name: item for name, item in evidence.items() if item is not None}
        return self._judged(passed, {"value": point.value} | shown)

    def _best_source(self) -> dict[tuple[str, str], Values]:
        """The values by split of the first source that has any that count, else of the first that has any."""
        asked = {key: values for key, values in self._values.items() if self.criterion.split in (None, key[1])}
        for needed in (True, False):
            for source in SOURCES:
                found = {key: v for key, v in asked.items() if key[0] == source and (v.n or not needed)}
                if found:
                    return found
        return {}

    def _in_summary(self) -> dict[tuple[str, str], Values]:
        """The metric's value in the summary of the run, which has no step, no split and no attempt."""
        if not _is_number(self._summary) or self.criterion.split is not None:
            return {}
        values = Values(self.criterion)
        values.add(Point(self._summary, None, None, None, 0, 0.0))
        return {("summary", ""): values}

    def _unrecorded(self, names: Iterable[str]) -> Verdict:
        criterion = self.criterion
        if criterion.kind == "exists":
            return self._judged(False, {"value": None, "n": 0})
        splits = sorted({split for _, split in self._values})
        if splits:
            return self._unjudged(f"never recorded on split {criterion.split!r}; it was on {', '.join(splits)}")
        known = ", ".join(sorted(names)) or "nothing"
        return self._unjudged(f"{criterion.name!r} was never recorded; recorded were {known}")

    def _out_of_reach(self, values: Values) -> Verdict:
        criterion = self.criterion
        if values.num_late and (criterion.kind == "exists" or criterion.aggregate == "any"):
            reason = f"first recorded after {criterion.by_unit} {criterion.by}"
            return self._judged(False, {"value": None, "n": 0}, reason)
        if values.num_late:
            return self._unjudged(f"no value up to {criterion.by_unit} {criterion.by}")
        return self._unjudged(f"recorded without {criterion.by_unit}, so 'by {criterion.by_unit}' cannot be judged")

    def _judged(self, passed: bool, evidence: dict[str, Any], reason: str | None = None) -> Verdict:
        return {"text": self.criterion.text, "passed": passed, "reason": reason, "evidence": evidence}

    def _unjudged(self, reason: str) -> Verdict:
        evidence = {"value": None, "n": 0}
        return {"text": self.criterion.text, "passed": None, "reason": reason, "evidence": evidence}


class _CheckCase:
    """One criterion about a check: how often it ran in the latest attempt that ran it, and its first failure."""

    def __init__(self, criterion: Criterion) -> None:
        self.criterion = criterion
        self._attempt = -1
        self._n = self._num_failed = 0
        self._key: tuple[Any, ...] = ()
        self._payload: Mapping[str, Any] = {}

    def add(self, payload: Mapping[str, Any], *, attempt: int, key: tuple[Any, ...]) -> None:
        if payload.get("name") != self.criterion.name or attempt < self._attempt:
            return
        if attempt > self._attempt:
            self._attempt, self._n, self._num_failed, self._key = attempt, 0, 0, ()
        passed = payload.get("passed") is True
        self._n += 1
        self._num_failed += not passed
        if not self._key or (passed, *key) < self._key:
            self._key, self._payload = (passed, *key), payload

    def verdict(self, _names: Iterable[str]) -> Verdict:
        text = self.criterion.text
        if not self._n:
            reason = f"the check {self.criterion.name!r} never ran"
            return {"text": text, "passed": None, "reason": reason, "evidence": {"value": None, "n": 0}}
        evidence = {
            "value": self._payload.get("got"),
            "expected": self._payload.get("expected"),
            "n": self._n,
            "num_failed": self._num_failed,
            "attempt": self._attempt,
        }
        return {"text": text, "passed": self._num_failed == 0, "reason": None, "evidence": evidence}


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float))


def _whole(value: Any) -> int:
    """An integer of an event; 0 where the script wrote something else."""
    return value if isinstance(value, int) else 0


def _place(value: Any) -> float | None:
    return value if _is_number(value) else None


def _event_summary(moment: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entries of the run's summary that an event sets; a removed entry becomes None."""
    if moment == "custom" and payload.get("kind") == "summary":
        return {str(payload.get("key")): payload.get("value")}
    whole = payload.get("summary") if moment == "on_train_end" else None
    return whole if isinstance(whole, Mapping) else {}


def _event_metrics(moment: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metrics of an event: those it names itself, and its ``metrics``."""
    if moment not in _DEFAULT_SPLITS:
        return {}
    own = {"on_example": _EXAMPLE_METRICS, "on_epoch_end": _EPOCH_METRICS}.get(moment, ())
    found = {name: payload[name] for name in own if name in payload}
    others = payload.get("metrics")
    return found | dict(others) if isinstance(others, Mapping) else found
