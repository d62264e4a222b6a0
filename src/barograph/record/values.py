"""Turns what people log into plain numbers, without importing a framework.

Accepted are int, float, bool, and anything with one element and ``.item()``: numpy and torch scalars, 0-d arrays.
Everything else raises at once, naming the metric and the value. A number is never rounded silently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from barograph.errors import InvalidMetricError, InvalidNameError
from barograph.facts.metrics import METRIC_RESERVED, Number
from barograph.facts.packing import EXACT_TYPES
from barograph.facts.rows import HOST_SPLIT
from barograph.facts.rundir import check_name

MAX_KEY_CHARACTERS: Final = 500


def plain_number(name: str, value: Any) -> Number:
    """One metric's value as an int or a float.

    Raises:
        InvalidMetricError: the value is no single real number.
    """
    kind = type(value)
    if kind is float or kind is int:
        return value  # type: ignore[no-any-return]
    if isinstance(value, (int, float)) and not hasattr(value, "item"):
        return int(value) if isinstance(value, int) else float(value)
    size = _num_elements(value)
    if size is not None and size != 1:
        shape = tuple(getattr(value, "shape", ())) or (size,)
        raise InvalidMetricError(
            f"metric {name!r} is a {_kind(value)} of shape {shape}, not one number; "
            f"log a reduction of it (mean, norm), or the whole with run.histogram({name!r}, ...)"
        )
    if not hasattr(value, "item"):
        raise InvalidMetricError(f"metric {name!r} is a {_kind(value)} ({value!r:.80}), not a number; {_advice(value)}")
    _refuse_masked(name, value)
    number = value.item()
    if type(number) is bool:
        return int(number)
    if type(number) in (int, float) and getattr(getattr(value, "dtype", None), "kind", "") not in ("m", "M"):
        if type(number) is float and _is_numpy_scalar(type(value)):
            EXACT_TYPES.add(type(value))
        return number  # type: ignore[no-any-return]
    raise InvalidMetricError(
        f"metric {name!r} is a {_kind(value)} ({value!r:.80}), which a float64 cannot hold exactly; "
        f"convert it with float()"
    )


def _is_numpy_scalar(kind: type) -> bool:
    """Whether values of the type are numpy's floating scalars, so that every one of them is one float."""
    return any((base.__module__, base.__name__) == ("numpy", "floating") for base in kind.__mro__)


def _refuse_masked(name: str, value: Any) -> None:
    """A masked element of numpy has a number behind its mask, which nobody measured."""
    mask = getattr(value, "mask", False)
    if hasattr(mask, "any") and bool(mask.any()):
        raise InvalidMetricError(
            f"metric {name!r} is masked, so it has no value; leave it out of this call, or log float('nan')"
        )


def check_metrics(metrics: Any) -> Mapping[str, Any]:
    """Check that ``metrics`` is a mapping whose keys may name metrics.

    Raises:
        InvalidMetricError: it is no mapping, is empty, or has a reserved or impossible key.
    """
    if not isinstance(metrics, Mapping):
        raise InvalidMetricError(
            f"run.log takes a mapping of names to numbers, not a {_kind(metrics)} ({metrics!r:.80}); "
            f'write run.log({{"loss": loss}}, step=step)'
        )
    if not metrics:
        raise InvalidMetricError("run.log got no metrics: the mapping is empty; leave the call out or name a metric")
    for key in metrics:
        check_metric_name(key)
    return metrics


def check_metric_name(key: Any) -> None:
    """Raise ``InvalidMetricError`` when ``key`` cannot name a metric."""
    if not isinstance(key, str) or not key:
        raise InvalidMetricError(f"a metric's name must be a string with a character in it, not {key!r}; rename it")
    if key in METRIC_RESERVED:
        hint = f"pass it as run.log(..., {key}=...)" if key in ("step", "split") else "rename the metric"
        raise InvalidMetricError(f"metric name {key!r} is reserved: the recorder writes it itself; {hint}")
    if len(key) > MAX_KEY_CHARACTERS or not key.isprintable():
        raise InvalidMetricError(
            f"metric name {key[:80]!r} ({len(key)} characters) has control characters or more than "
            f"{MAX_KEY_CHARACTERS} characters; rename it"
        )


def check_step(step: Any) -> Number:
    """A step as an int or a finite float.

    Raises:
        InvalidMetricError: it is none.
    """
    try:
        number = plain_number("step", step)
    except InvalidMetricError:
        number = math.nan
    if isinstance(step, bool) or (isinstance(number, float) and not math.isfinite(number)):
        raise InvalidMetricError(f"step must be a finite number, not {step!r:.80}; pass the loop's counter")
    return number


def check_split(split: Any) -> str:
    """A split's name, e.g. ``train``.

    Raises:
        InvalidNameError: it cannot name a split.
    """
    if split == HOST_SPLIT:
        raise InvalidNameError(f"split {split!r} is reserved: the host sampler writes it; name another one")
    return check_name(split, what="split")


def is_on_device(value: Any) -> bool:
    """Whether reading the value would make the caller wait for a GPU."""
    return bool(getattr(value, "is_cuda", False))


def _num_elements(value: Any) -> int | None:
    for name in ("numel", "size"):
        size = getattr(value, name, None)
        if callable(size):
            size = size()
        if isinstance(size, int):
            return size
    try:
        return len(value) if not isinstance(value, (str, bytes, Mapping)) else None
    except TypeError:
        return None


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _advice(value: Any) -> str:
    if isinstance(value, str):
        return f"convert it with float({value!r:.40}), or record words with run.text()"
    if value is None:
        return "leave the metric out of this call, or log float('nan') if it could not be computed"
    if isinstance(value, Mapping):
        return 'log nested numbers under flat names, such as "val/loss"'
    return "convert it with float()"
