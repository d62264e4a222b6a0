"""At a moment, the figures that are wanted are drawn and saved, one family after the other; S3's entry point.

What fails costs its own figure, is told as a ``PlotWarning``, and never reaches the caller: training goes on.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, NoReturn, SupportsIndex

import msgspec

from barograph import plugins
from barograph.errors import MisuseError
from barograph.facts.kinds import Event
from barograph.plot.family import GROUP, draw_new, run_of, scope_of
from barograph.plot.files import build_filename, ensure_figures_dir, save_figure
from barograph.plot.notice import warn
from barograph.plot.settings import Settings, read_settings
from barograph.read.metrics import MetricKey
from barograph.read.run import RunReader

Supported = Mapping[str, Any] | Iterable[Any]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one family at one moment.

    Attributes:
        family: its name.
        paths: the figures that were written; none when the run logged nothing for it.
        failure: why there is no figure, None when nothing failed.
    """

    family: str
    paths: list[Path] = []
    failure: str | None = None


class Snapshot(RunReader):
    """A run as several families read it at one moment: its events and the names of its metrics are read once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._events: list[Event] | None = None
        self._keys: list[MetricKey] | None = None

    def events(self, moment: str | None = None) -> Iterator[Event]:
        """The events, as they were when they were first asked for."""
        if self._events is None:
            self._events = list(super().events())
        return (event for event in self._events if moment in (None, event.moment))

    def metric_keys(self) -> list[MetricKey]:
        """The metrics, as they were when they were first asked for."""
        if self._keys is None:
            self._keys = super().metric_keys()
        return self._keys


def find_families() -> tuple[dict[str, Any], list[Outcome]]:
    """Every family that installed distributions offer, by name; and those that cannot be loaded, with the reason.

    Raises:
        ModuleNotFoundError: a library that figures need is not installed.
    """
    families, failures = {}, []
    for name in plugins.names(GROUP):
        try:
            families[name] = plugins.load(GROUP, name)
        except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything; the others are loaded
            failures.append(Outcome(family=name, failure=_in_words(error)))
    return families, failures


def by_name(supported_families: Supported) -> dict[str, Any]:
    """Families by name, however a loop says which ones it supports.

    Args:
        supported_families: a mapping of names to families; or names of families that installed distributions offer,
            families that have a ``name``, and modules, in any order.

    Returns:
        The families; in place of one that cannot be loaded, one that tells why when it is to draw.

    Raises:
        MisuseError: one of them is no family.
    """
    if isinstance(supported_families, Mapping):
        return dict(supported_families)
    given = [supported_families] if isinstance(supported_families, str) else supported_families
    return dict(_named(family) for family in (sorted(given, key=str) if isinstance(given, AbstractSet) else given))


class _Absent:
    """Stands for a family that cannot be loaded."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def handle(self, _moment: str, _payload: Mapping[str, Any], _cfg: Any = None) -> NoReturn:
        raise self._error


def _named(family: Any) -> tuple[str, Any]:
    if isinstance(family, str):
        try:
            return family, plugins.load(GROUP, family)
        except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything; it costs its own figure
            return family, _Absent(error)
    name = getattr(family, "name", None) or getattr(family, "__name__", "").rpartition(".")[2]
    if not isinstance(name, str) or not name:
        raise MisuseError(f"{family!r} is no family of figures: it has no name; give a mapping of names to families")
    return name, family


def get_enabled_families(cfg_logging: Any, supported_families: Supported, moment: str) -> dict[str, Any]:
    """The families that draw at a moment, by name.

    Args:
        cfg_logging: S3's ``logging`` group; see ``plot.settings.read_settings``.
        supported_families: anything with ``handle``, or with ``select`` and ``draw``; by name, or as ``by_name`` takes
            them.
        moment: what happened.

    Raises:
        MisuseError: the group, or what is supported, holds something that cannot be read.
    """
    settings = read_settings(cfg_logging)
    return {
        name: family
        for name, family in by_name(supported_families).items()
        if moment in settings.moments_of(name, getattr(family, "moments", (moment,)))
    }


def handle_event(
    cfg_logging: Any, supported_families: Supported, moment: str, payload: Mapping[str, Any]
) -> list[Path]:
    """Draw and save the figures that are wanted at a moment.

    Args:
        cfg_logging: S3's ``logging`` group; see ``plot.settings.read_settings``.
        supported_families: by name, see ``find_families``; or their names, see ``by_name``.
        moment: what happened, e.g. ``on_epoch_end``.
        payload: ``run_dir``; and ``epoch`` and ``t``, when there are.

    Returns:
        The files of the figures. Nothing is ever raised: what fails is a ``PlotWarning``, and the other figures are
        drawn.
    """
    try:
        settings = read_settings(cfg_logging)
        supported = by_name(supported_families) if settings.is_enabled else {}
        wanted = get_enabled_families(cfg_logging, supported, moment)
        payload = {**payload, "run": payload.get("run") or Snapshot(Path(payload["run_dir"]))} if wanted else payload
    except Exception as error:  # noqa: BLE001 - whatever the configuration and the payload are, training goes on
        warn(f"barograph: no figures at {moment}: {_in_words(error)}; correct the logging group or the payload")
        return []
    unknown = unknown_words(settings, supported) if settings.is_enabled else None
    if unknown is not None:
        warn(unknown)
    outcomes = [draw_family(name, family, moment, payload, cfg_logging) for name, family in wanted.items()]
    for outcome in outcomes:
        if outcome.failure is not None:
            warn(failure_words(outcome, moment))
    return [path for outcome in outcomes for path in outcome.paths]


def draw_family(name: str, family: Any, moment: str, payload: Mapping[str, Any], cfg_logging: Any) -> Outcome:
    """Draw and save one family's figures; what fails is in the outcome."""
    try:
        return Outcome(family=name, paths=_draw(name, family, moment, payload, cfg_logging))
    except Exception as error:  # noqa: BLE001 - a family that fails costs its own figure, and it is told
        return Outcome(family=name, failure=_in_words(error))


def unknown_words(settings: Settings, supported_families: Mapping[str, Any]) -> str | None:
    """What to tell of configured families that do not exist; None when all do."""
    unknown = sorted(set(settings.families or ()).difference(supported_families))
    if not unknown:
        return None
    offered = ", ".join(supported_families) or "none"
    return f"barograph: there is no figure {', '.join(unknown)}; correct logging.families, which may name {offered}"


def failure_words(outcome: Outcome, moment: str) -> str:
    """A failure as a person reads it."""
    return (
        f"barograph: the figure {outcome.family!r} at {moment} was not drawn: {outcome.failure}. Training goes on, and "
        f"the other figures are drawn. Next: `barograph plot RUN --family {outcome.family}` tries it again; "
        f"logging.families switches it off"
    )


def _draw(name: str, family: Any, moment: str, payload: Mapping[str, Any], cfg_logging: Any) -> list[Path]:
    run = run_of(payload)
    if hasattr(family, "select"):
        data = family.select(run, scope=scope_of(payload))
        found = [] if data is None else [(draw_new(family, data), data.table() if hasattr(data, "table") else None)]
    else:  # S3's form: a module or an object with `handle` alone
        found = [(figure, None) for figure in family.handle(moment, payload, cfg_logging)]
    if not found:
        return []
    settings = read_settings(cfg_logging)
    filename = Path(build_filename(name, moment, _epoch(run, payload), settings.format))
    folder = ensure_figures_dir(run.path)
    names = [filename.name, *(f"{filename.stem}-{number}{filename.suffix}" for number in range(2, len(found) + 1))]
    return [
        save_figure(figure, folder, place, table=table) for place, (figure, table) in zip(names, found, strict=True)
    ]


def _epoch(run: RunReader, payload: Mapping[str, Any]) -> int:
    """The moment's epoch; else the newest that ended before it; 0 when none did."""
    given = payload.get("epoch")
    if isinstance(given, SupportsIndex):  # an integer, of numpy too
        return operator.index(given)
    until_t = scope_of(payload).until_t
    ended = [event.payload.get("epoch") for event in run.events("on_epoch_end") if event.t <= until_t]
    return max((epoch for epoch in ended if isinstance(epoch, int)), default=0)


def _in_words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
