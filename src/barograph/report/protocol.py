"""What a kind of report is: a name, and one method that turns runs into a document.

A kind enters by the entry point group ``barograph.reports``, built-in kinds like any other. It computes no number by
itself: it asks ``facts.number(id, query, runs)``, so that each number has its address from the start.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, runtime_checkable

from barograph import plugins
from barograph.errors import ReportError
from barograph.report.config import ReportConfig
from barograph.report.document import Document
from barograph.report.number import Facts

GROUP: Final = "barograph.reports"


@runtime_checkable
class ReportKind(Protocol):
    """A kind of report.

    Attributes:
        name: by which it is asked for, e.g. ``sweep``.
        allow_unended: whether runs may be reported that recorded no end.
    """

    name: str
    allow_unended: bool

    def build(self, facts: Facts, cfg: ReportConfig) -> Document:
        """Say what the runs came to.

        Args:
            facts: the runs, and where to ask for numbers.
            cfg: what was asked for.
        """
        ...


def load_kind(name: str) -> ReportKind:
    """The kind of that name.

    Raises:
        PluginNotFoundError: no installed distribution offers it; the message lists what there is.
        ReportError: what is offered is no kind of report.
    """
    found: Any = plugins.load(GROUP, name)
    if not isinstance(found, ReportKind):
        raise ReportError(
            f"{name!r} in {GROUP} is a {type(found).__name__} without `name`, `allow_unended` and `build`"
        )
    return found
