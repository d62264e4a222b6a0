"""What an action is: it has a name, and one method that brings a message to where it belongs, or says why not.

It runs in a thread of its own (``outbox``), may take its time, and keeps to a time limit of its own.
"""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from barograph.facts.codec import encode
from barograph.watch.actions.words import body_of, title_of


class DeliveryError(Exception):
    """A message did not arrive. It goes from an action to the outbox and no further, so it is in no tree of errors.

    Args:
        reason: why; without credentials, for it is written into the run's files.
        may_retry: whether it may arrive later.
        after_s: how many seconds later at the earliest, where the other side said so.
    """

    def __init__(self, reason: str, *, may_retry: bool = False, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.may_retry = may_retry
        self.after_s = after_s


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What an action delivers.

    Attributes:
        line: the alert, as it stands in ``alerts.jsonl``.
        run: whose it is: ``id``, ``name``, ``project``, ``directory`` and ``host``.
    """

    line: dict[str, Any]
    run: dict[str, Any]

    @property
    def key(self) -> str:
        """The same whenever the same alert of the same run is sent, so that a receiver knows a repetition; ASCII."""
        return quote(f"{self.run.get('id') or self.run.get('directory', '')}/{self.line.get('id', '')}", safe="/-_.~")

    @property
    def document(self) -> bytes:
        """The line and its run as strict JSON."""
        return encode({**self.line, "run": self.run})

    @property
    def title(self) -> str:
        """One line for people."""
        return title_of(self.line, self.run)

    @property
    def text(self) -> str:
        """The whole for people, as plain text."""
        return body_of(self.line, self.run)


class Action(Protocol):
    """Where messages go."""

    @property
    def name(self) -> str:
        """What it is called in ``deliveries.jsonl``: the same in every watcher of the run, and no secret."""

    def deliver(self, message: Message) -> None:
        """Deliver a message, within a time limit of its own.

        Raises:
            DeliveryError: it did not arrive.
        """
