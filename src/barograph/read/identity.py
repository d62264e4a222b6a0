"""Who a run is, as a reader sees it: ``run.json``, or what there is without it.

Helpers for metadata: identity, provenance, configuration. Runs of other layouts (a loop that writes events only,
under Hydra) have an identity too, of their directory's name and their first event. Nothing here raises for what a
file holds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.codec import decode
from barograph.facts.events import to_event
from barograph.facts.kinds import Event
from barograph.facts.log import Damage
from barograph.facts.rundir import RUN_NAME, RunDir
from barograph.read.columns import iterate_records, unreadable
from barograph.read.nesting import is_too_deep

SHALLOW_BYTES: Final = 4096
"""A text of so many bytes cannot be nested so deep that libyaml, which recurses in C, ends the process."""
HYDRA_CONFIG: Final = Path(".hydra", "config.yaml")


class RunIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Who a run is.

    Attributes:
        run_id: unique for all time; "" when nobody gave it one.
        name: what people call it; the directory's name when nobody said.
        project: what it belongs to.
        group: runs that belong together.
        tags: words to find it by.
        notes: free text.
        seed: the seed that the caller named.
        tier: ``quick`` or ``full``.
        hypothesis: what the run is to show.
        success: the criteria that were stated when it started.
        created_t: unix seconds at which it began; None when nothing tells.
    """

    run_id: str = ""
    name: str = ""
    project: str | None = None
    group: str | None = None
    tags: list[str] = []
    notes: str | None = None
    seed: int | None = None
    tier: str | None = None
    hypothesis: str | None = None
    success: list[str] = []
    created_t: float | None = None


def read_run_json(directory: RunDir, damage: list[Damage]) -> dict[str, Any]:
    """What ``run.json`` holds; empty when there is none."""
    try:
        return decode(directory.identity.read_bytes())
    except FileNotFoundError:
        return {}
    except (FormatError, OSError) as error:
        damage.append(unreadable(directory.identity, error))
        return {}


def identify(directory: RunDir, record: Mapping[str, Any], damage: list[Damage]) -> RunIdentity:
    """The identity of a run.

    Args:
        directory: the run.
        record: what ``run.json`` holds.
        damage: where to note what does not fit.
    """
    fields = {name: record[name] for name in RunIdentity.__struct_fields__ if record.get(name) is not None}
    identity = RunIdentity()
    try:
        identity = msgspec.convert(fields, RunIdentity, strict=False)
    except msgspec.ValidationError as error:
        damage.append(unreadable(directory.identity, error))
    if identity.name and identity.created_t is not None:
        return identity
    told = _told_by_events(directory)
    missing = {field: value for field, value in told.items() if not getattr(identity, field)}
    return msgspec.structs.replace(identity, **missing)


def _told_by_events(directory: RunDir) -> dict[str, Any]:
    """What the directory's name and the first event say."""
    first = first_event(directory)
    payload = {} if first is None else first.payload
    named = {field: payload[field] for field in ("run_id", "name", "project") if isinstance(payload.get(field), str)}
    t = first.t if first is not None and first.t else directory_time(directory.path)
    return {"name": directory_name(directory.path), "created_t": t, **named}


def first_event(directory: RunDir) -> Event | None:
    """The first event of rank 0."""
    record = next(iterate_records(directory.events(), []), None)
    return None if record is None else to_event(record)


def directory_name(path: Path) -> str:
    """The name that a run's directory carries: ``NAME`` of ``run_YYYYMMDD-HHMMSS_NAME_jobN``."""
    found = RUN_NAME.match(path.name)
    return found["name"] if found else path.absolute().name


def directory_time(path: Path) -> float | None:
    """Unix seconds that a run's directory carries in its name (UTC), to the second; None when it carries none."""
    found = RUN_NAME.match(path.name)
    if found is None:
        return None
    try:
        return dt.datetime.fromisoformat(found["time"].replace("-", "T") + "+00:00").timestamp()
    except ValueError:
        return None


def read_config(directory: RunDir, damage: list[Damage]) -> dict[str, Any]:
    """The configuration: ``config.yaml``, else Hydra's; empty when there is none."""
    import yaml  # noqa: PLC0415 - 15 ms that a list of runs need not pay

    for path in (directory.config, directory.path / HYDRA_CONFIG):
        try:
            config = _parse_yaml(path.read_bytes())
        except FileNotFoundError:
            continue
        except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
            damage.append(unreadable(path, error))
            continue
        if isinstance(config, dict):
            return {str(key): value for key, value in config.items()}
        if config is not None:
            damage.append(unreadable(path, ValueError(f"it holds a {type(config).__name__}, not a mapping")))
    return {}


def _parse_yaml(text: bytes) -> Any:
    """Parse YAML, by libyaml where it is there and the text is not deep: it is ten times as fast, and stricter."""
    import yaml  # noqa: PLC0415 - the same

    if hasattr(yaml, "CSafeLoader"):
        try:
            if len(text) <= SHALLOW_BYTES or not is_too_deep(text):
                return yaml.load(text, Loader=yaml.CSafeLoader)
        except yaml.YAMLError:
            pass  # half of a surrogate pair, for one, is nothing to the other parser
    return yaml.safe_load(text)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration by dotted names; lists stay whole.

    >>> flatten({"optim": {"lr": 0.1, "betas": [0.9, 0.99]}, "seed": 1})
    {'optim.lr': 0.1, 'optim.betas': [0.9, 0.99], 'seed': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat
