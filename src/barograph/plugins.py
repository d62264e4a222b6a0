"""Named things that installed distributions offer by entry point: listed without importing, loaded when asked for.

Built-ins come through the same door as strangers. Groups: ``barograph.detectors``, ``.plots``, ``.reports``,
``.mirrors``, ``.importers``, ``.loops``.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from barograph.errors import MissingDependencyError, PluginNotFoundError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

EXTRA_OF: Final = {
    "jinja2": "analysis",
    "matplotlib": "analysis",
    "numpy": "analysis",
    "optuna": "impact",
    "pandas": "pandas",
    "PIL": "analysis",
    "apprise": "notify",
    "polars": "analysis",
    "pyarrow": "archive",
    "scipy": "analysis",
    "sklearn": "impact",
}
"""Which extra brings a library that only a part of Barograph needs."""


@cache
def _points(group: str) -> dict[str, EntryPoint]:
    """What is offered, by name; looked up once in a process, which costs 15 ms."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - a run without plug-ins need not pay for it

    return {point.name: point for point in entry_points(group=group)}


def names(group: str) -> list[str]:
    """The names that a group offers, e.g. ``names("barograph.mirrors")``."""
    return sorted(_points(group))


def load(group: str, name: str) -> Any:
    """Load what is offered under a name.

    Raises:
        PluginNotFoundError: no installed distribution offers it; the message lists what there is.
    """
    if name in _points(group):
        return _points(group)[name].load()
    offered = ", ".join(names(group)) or "none"
    raise PluginNotFoundError(
        f"no installed distribution offers {name!r} in {group} (offered: {offered}); "
        f"install the one that does, or leave the name out"
    )


def explain_missing(error: ModuleNotFoundError) -> MissingDependencyError | None:
    """What to install for a library that is not there; None when it is none of those an extra brings."""
    library = (error.name or "").partition(".")[0]
    if library not in EXTRA_OF:
        return None
    return MissingDependencyError(
        f"this needs {library}, which is not installed; python -m pip install 'barograph[{EXTRA_OF[library]}]'"
    )
