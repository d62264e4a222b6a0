"""What a report is about, as configuration: read from a mapping, an OmegaConf or an attribute object, checked, frozen.

{"name": "lr_sweep", "inputs": {"sweep_dir": "outputs/multiruns/exp_1"}, "inference": {"enabled": False}}
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from barograph.errors import FormatError, InvalidConfigError, ReportError
from barograph.facts.rundir import check_name
from barograph.record.config import plain_config

_SECTIONS: Final = ("inputs", "outputs", "inference")
_LIMIT_SUGGESTIONS: Final = 3


class Inputs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which runs.

    Attributes:
        sweep_dir: a directory, at or below which every run counts; ``inputs.sweep_dir=...``.
        runs: or the runs one by one: directories, ids or names.
        select: only those that a condition (``"lr < 1e-2"``) or a mapping of columns (``{"lr": [0.1, 0.2]}``) chooses.
        allow_unended: also runs that recorded no end; None for what the kind of report says.
        allow_damaged: also runs with places in their files that hold no fact.
    """

    sweep_dir: str | None = None
    runs: list[str] = []
    select: str | dict[str, Any] | None = None
    allow_unended: bool | None = None
    allow_damaged: bool = False


class Outputs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the report goes.

    Attributes:
        dir: the directory of reports.
    """

    dir: str = "reports"


class Inference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether models of the runs are run again, and by what.

    Attributes:
        enabled: nothing is run without it.
        function: ``module:callable``, or a name in the entry point group ``barograph.inference``.
        checkpoint: which file of a run holds its model; the first there is of ``model.pt``, ``best_val.pt`` and
            ``last.pt`` when not given.
        options: handed to the callable.
    """

    enabled: bool = False
    function: str | None = None
    checkpoint: str | None = None
    options: dict[str, Any] = {}


class ReportConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One report.

    Attributes:
        inputs: which runs.
        name: of the report's directory; the kind when not given.
        title: heading of the page; made of the kind and the runs when not given.
        kind: what sort of report; a name in the entry point group ``barograph.reports``.
        metrics: what is aggregated and drawn, as ``NAME`` or ``SPLIT/NAME``; the losses when not given.
        figures: whether figures are drawn; without them a report of many runs is made in seconds.
        outputs: where the report goes.
        inference: whether models are run again.
        options: of the kind.
    """

    inputs: Inputs = Inputs()
    name: str | None = None
    title: str | None = None
    kind: str | None = None
    metrics: list[str] = []
    figures: bool = True
    outputs: Outputs = Outputs()
    inference: Inference = Inference()
    options: dict[str, Any] = {}


def read_report_config(given: Any, *, kind: str | None = None) -> ReportConfig:
    """Check a configuration.

    Args:
        given: a mapping, an OmegaConf ``DictConfig``, or an object with attributes; Hydra's own section is left out.
        kind: of the report, where the configuration does not say.

    Raises:
        ReportError: a key is not known, a value is of the wrong type, or it names no runs.
    """
    plain = msgspec.to_builtins(given) if isinstance(given, ReportConfig) else _plain(given)
    plain = {key: value for key, value in plain.items() if key != "hydra" and not (key in _SECTIONS and value is None)}
    _check_keys(plain)
    if isinstance(runs := plain.get("inputs", {}).get("runs"), str):
        plain["inputs"] = {**plain["inputs"], "runs": [runs]}
    try:
        config = msgspec.convert({"kind": kind, **plain}, ReportConfig)
    except msgspec.ValidationError as error:
        raise ReportError(f"the report's configuration cannot be used: {error}; correct that value") from error
    return _checked(config)


def _plain(given: Any) -> dict[str, Any]:
    try:
        return plain_config(given, where="the report's configuration")
    except InvalidConfigError as error:
        opened = _opened(given)
        if opened is given:
            raise ReportError(f"{error}, or an object with the attribute `inputs`") from error
        return plain_config(opened, where="the report's configuration")


def _opened(value: Any) -> Any:
    """Objects that are nothing but their attributes as mappings."""
    if isinstance(value, Mapping):
        return {key: _opened(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_opened(item) for item in value]
    attributes = getattr(value, "__dict__", None)
    if not attributes or isinstance(value, type) or callable(value):
        return value
    return {key: _opened(item) for key, item in attributes.items() if not key.startswith("_")}


def _checked(config: ReportConfig) -> ReportConfig:
    inputs = config.inputs
    if (inputs.sweep_dir is None) == (not inputs.runs):
        raise ReportError(
            "a report needs either inputs.sweep_dir=DIRECTORY or inputs.runs=[RUN,...]; "
            + ("give one of them" if inputs.sweep_dir is None else "both are given: leave one out")
        )
    if config.inference.enabled and not config.inference.function:
        raise ReportError("inference.enabled=true needs inference.function=MODULE:CALLABLE; name what runs the models")
    if config.name is not None:
        check_name(config.name, what="report name")
    return config


def _check_keys(plain: Mapping[str, Any]) -> None:
    known = ReportConfig.__struct_fields__
    for key in plain:
        if key not in known:
            raise ReportError(_unknown(str(key), known))
    for section, kind in zip(_SECTIONS, (Inputs, Outputs, Inference), strict=True):
        part = plain.get(section, {})
        if not isinstance(part, Mapping):
            raise ReportError(f"{section}={part!r} is no section; write {section}.{kind.__struct_fields__[0]}=...")
        for key in part:
            if key not in kind.__struct_fields__:
                raise ReportError(_unknown(f"{section}.{key}", [f"{section}.{it}" for it in kind.__struct_fields__]))


def _unknown(key: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(key, names, n=_LIMIT_SUGGESTIONS)
    return f"a report has no setting {key!r}; {'did you mean ' if near else 'there are '}{', '.join(near or names)}"


def parse_overrides(given: Sequence[str]) -> dict[str, Any]:
    """Settings as they are typed, ``inputs.sweep_dir=DIR inference.enabled=true``, as a nested mapping.

    Values are read as YAML, so that ``[a, b]``, ``true`` and ``0.1`` are what they look like.

    Raises:
        ReportError: one of them has no ``=``, names a key twice, or a part of another setting.

    >>> parse_overrides(["inputs.sweep_dir=runs", "metrics=[val/loss]"])
    {'inputs': {'sweep_dir': 'runs'}, 'metrics': ['val/loss']}
    """
    import yaml  # noqa: PLC0415 - 15 ms that whoever passes a mapping need not pay

    nested: dict[str, Any] = {}
    for item in given:
        key, separator, text = item.partition("=")
        if not separator or not key.strip():
            raise ReportError(f"{item!r} is no setting; write KEY=VALUE, e.g. inputs.sweep_dir=runs")
        *path, last = key.strip().split(".")
        place: Any = nested
        for name in path:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise ReportError(f"{item!r} is below a setting that has a value already; give one of them")
        if last in place:
            raise ReportError(f"{key!r} is set twice; give it once")
        try:
            place[last] = text if last in _TEXTS else yaml.safe_load(text)
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise ReportError(f"the value of {item!r} cannot be read: {reason}; put it in quotes") from error
    return nested


_TEXTS: Final = frozenset({"sweep_dir", "dir", "name", "title", "function", "checkpoint", "kind"})
"""Settings whose value is the text as it stands, also when it looks like a number."""


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A nested mapping with another one's values put over it.

    >>> merged({"inputs": {"sweep_dir": "a", "select": "x"}}, {"inputs": {"sweep_dir": "b"}})
    {'inputs': {'sweep_dir': 'b', 'select': 'x'}}
    """
    both = dict(base)
    for key, value in over.items():
        inner = both.get(key)
        both[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return both


def read_config_file(path: Any) -> dict[str, Any]:
    """A configuration from a YAML file.

    Raises:
        ReportError: it is no YAML mapping.
        OSError: it cannot be read.
    """
    from barograph.record.config import read_config_yaml  # noqa: PLC0415 - beside the import of yaml

    try:
        return read_config_yaml(path)
    except FormatError as error:
        raise ReportError(str(error)) from error
