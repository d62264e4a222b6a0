"""Posts an alert as JSON to an address. A repetition carries the same ``Idempotency-Key``.

Redirects are not followed: they would turn the request into one without a body, which then counts as delivered.
"""

from __future__ import annotations

import http.client
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from barograph.version import VERSION
from barograph.watch.actions.action import DeliveryError, Message

LIMIT_S: Final = 10.0
TRY_LATER: Final = frozenset({408, 425, 429})
"""Besides all from 500 on: what a server answers that may take the same request later."""
SERVER_FAULT: Final = 500


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:  # None: it is an answer like any other that is not 2xx
        """Follow none."""


class Webhook:
    """Posts to a server.

    Args:
        address: ``http`` or ``https``.
        name: what it is called in ``deliveries.jsonl``.
        limit_s: how long the server may be silent.

    Attributes:
        name: as given.
    """

    def __init__(self, address: str, *, name: str = "webhook", limit_s: float = LIMIT_S) -> None:
        self.name = name
        self._address = address
        self._limit_s = limit_s
        self._opener = build_opener(_NoRedirect)

    def deliver(self, message: Message) -> None:
        """Post it once.

        Raises:
            DeliveryError: the server could not be reached, was silent for too long, or answered with another code
                than 2xx.
        """
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": message.key,
            "User-Agent": f"barograph/{VERSION}",
        }
        request = Request(self._address, data=message.document, headers=headers, method="POST")  # noqa: S310 - see settings
        try:
            with self._opener.open(request, timeout=self._limit_s):
                pass  # any 2xx; what the server says besides is not looked at
        except HTTPError as error:
            with error:
                is_passing = error.code >= SERVER_FAULT or error.code in TRY_LATER
                after_s = _seconds(error.headers.get("Retry-After"))
                raise DeliveryError(_reason(error), may_retry=is_passing, after_s=after_s) from error
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            raise DeliveryError(_reason(error), may_retry=True) from error


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"the server answered {error.code} {error.reason}".rstrip()
    cause: Any = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "the server did not answer in time"
    return f"the server could not be reached: {cause or type(error).__name__}"


def _seconds(value: str | None) -> float:
    """``Retry-After`` in seconds; 0 for a date, which servers that limit rates rarely send."""
    return float(value) if value is not None and value.isdecimal() else 0.0
