"""Sends an alert to people through apprise: e-mail, Slack, Discord, ntfy and a hundred more, by address.

The only module that imports apprise (extra ``notify``).
"""

from __future__ import annotations

import functools
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from barograph.errors import MisuseError
from barograph.plugins import explain_missing
from barograph.watch.actions.action import DeliveryError, Message
from barograph.watch.actions.record import ENDED

if TYPE_CHECKING:
    import apprise

KINDS: Final = {"info": "info", "warning": "warning", "critical": "failure", "fatal": "failure"}
"""What apprise colours messages by."""


class Notify:
    """Sends to one address.

    Args:
        address: as apprise documents them, e.g. ``slack://TOKEN_A/TOKEN_B/TOKEN_C/#channel``.
        name: what it is called in ``deliveries.jsonl``; the address holds secrets.

    Attributes:
        name: as given.

    Raises:
        MissingDependencyError: apprise is not installed.
        MisuseError: apprise cannot read the address.
    """

    def __init__(self, address: str, *, name: str = "notify") -> None:
        self.name = name
        self._sender = _sender(address)

    def deliver(self, message: Message) -> None:
        """Send it once; each service has its own time limits (``?cto=`` and ``?rto=`` in the address, 4 s each).

        Raises:
            DeliveryError: the service did not take it.
        """
        is_end = message.line.get("stage") == ENDED
        kind = "success" if is_end else KINDS.get(str(message.line.get("severity")), "warning")
        result: Any = self._sender.notify(title=message.title, body=message.text, notify_type=kind)
        if not result:
            raise DeliveryError(_reason(result), may_retry=True)


@functools.cache
def _load() -> ModuleType:
    """Import apprise and its services; once, when settings are read, for it changes the filters of all threads."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some of them import modules that Python is about to drop
            import apprise  # noqa: PLC0415 - 0.4 s, for runs that send messages

            apprise.Apprise.instantiate("json://localhost")
    except ModuleNotFoundError as error:
        raise explain_missing(error) or error from error
    return apprise


def _sender(address: str) -> apprise.Apprise:
    library = _load()
    # One service after the other in our own thread: a pool would be waited for when the process ends.
    sender: apprise.Apprise = library.Apprise(asset=library.AppriseAsset(app_id="Barograph", async_mode=False))
    if not sender.add(address):
        raise MisuseError(
            f"apprise cannot read the address that begins with {scheme_of(address)!r}; look its form up in apprise's "
            f"documentation, and try it with `apprise --dry-run ADDRESS`"
        )
    return sender


def scheme_of(address: str) -> str:
    """``slack`` of ``slack://TOKEN...``: the only part of an address that is surely no secret."""
    scheme, mark, _ = address.partition("://")
    return scheme.lower() if mark else ""


def _reason(result: Any) -> str:
    """What apprise's own warnings say, which name a host but no token; older versions say yes or no."""
    logs = result.logs() if hasattr(result, "logs") else ()
    said = [str(entry.message) for entry in logs if getattr(entry, "message", None)]
    return "; ".join(dict.fromkeys(said)) or "the service did not take it"
