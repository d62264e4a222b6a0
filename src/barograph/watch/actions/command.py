"""Runs a command for an alert: the alert as JSON on its input and in variables, never through a shell."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Final

from barograph.watch.actions.action import DeliveryError, Message

LIMIT_S: Final = 60.0
PREFIX: Final = "BAROGRAPH_ALERT_"
FIELDS: Final = (
    "id",
    "type",
    "severity",
    "title",
    "text",
    "stage",
    "incident",
    "step",
    "since_step",
    "attempt",
    "rank",
)
MAX_CHARACTERS: Final = 8192
"""Of one variable; the system limits them all together. The whole is on the command's input."""
MAX_SHOWN: Final = 300


class Command:
    """Runs a program.

    Args:
        arguments: the program and its arguments, as they are.
        name: what it is called in ``deliveries.jsonl``.
        limit_s: after so many seconds it and what it started are killed.
        environ: its environment, to which the variables of the alert are added; that of this process when not given.

    Attributes:
        name: as given.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        name: str = "command",
        limit_s: float = LIMIT_S,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._arguments = list(arguments)
        self._limit_s = limit_s
        self._environ = os.environ if environ is None else environ

    def deliver(self, message: Message) -> None:
        """Run it to its end.

        Raises:
            DeliveryError: it could not be started, took too long, or ended with another code than 0. It is not run
                again: nobody knows what it has done.
        """
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(message.document + b"\n")
            given.seek(0)
            code = self._run(given, said, {**self._environ, **variables(message)})
            if code:
                said.seek(0, os.SEEK_END)
                said.seek(max(0, said.tell() - MAX_SHOWN))
                words = " ".join(said.read().decode("utf-8", "replace").split())
                raise DeliveryError(f"{self._arguments[0]} ended with code {code}" + (f": {words}" if words else ""))

    def _run(self, given: IO[bytes], said: IO[bytes], environ: dict[str, str]) -> int:
        # Files, not pipes: what the program leaves running may keep a pipe open for ever.
        try:
            child = subprocess.Popen(  # noqa: S603 - the user's own program, and no shell
                self._arguments,
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=environ,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise DeliveryError(f"{self._arguments[0]} could not be started: {error}") from error
        try:
            return child.wait(self._limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise DeliveryError(f"{self._arguments[0]} took longer than {self._limit_s:g} s and was killed") from None


def variables(message: Message) -> dict[str, str]:
    """``BAROGRAPH_ALERT_SEVERITY`` and so on, and whose run it is."""
    found = {f"{PREFIX}{name.upper()}": message.line.get(name, "") for name in FIELDS}
    found |= {
        f"{PREFIX}RUN": message.run.get("directory", ""),
        f"{PREFIX}RUN_ID": message.run.get("id", ""),
        f"{PREFIX}RUN_NAME": message.run.get("name", ""),
        f"{PREFIX}KEY": message.key,
    }
    return {name: _variable(value) for name, value in found.items()}


def _variable(value: object) -> str:
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    return text[:MAX_CHARACTERS].replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
