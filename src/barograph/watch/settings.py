"""What a run's watch is to do: ``init(watch=...)`` and the configuration file, checked before anything runs.

Addresses hold secrets: no message repeats one, and ``$NAME`` takes one from the environment.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec

from barograph import plugins
from barograph.errors import MisuseError
from barograph.watch.actions.action import Action
from barograph.watch.alert import SEVERITIES, Severity
from barograph.watch.roles import check_roles

DETECTORS: Final = "barograph.detectors"
OTHER_TYPES: Final = ("rule", "stall")
"""Types of alerts that no detector has and a loop can stop on; ``rule`` is every rule of the user's own."""
MAX_LIMIT_S: Final = 3600.0
FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f]")
VARIABLE: Final = re.compile(r"^\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})$")


class ActionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is done on an alert, besides writing it down.

    Attributes:
        command: a program and its arguments, run without a shell.
        webhook: addresses to which the alert is posted as JSON.
        notify: addresses that apprise knows.
        min_severity: what is less severe is written down only.
        ends: tell of the ends of incidents too.
        limit_s: how long a command or a server may take; each has its own limit when None.
    """

    command: tuple[str, ...] = ()
    webhook: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
    min_severity: Severity = "warning"
    ends: bool = False
    limit_s: float | None = None

    def make(self) -> list[Action]:
        """The actions, each under a name that is the same in every watcher with these settings.

        Raises:
            MissingDependencyError: ``notify`` is asked for, and apprise is not installed.
            MisuseError: apprise cannot read an address.
        """
        limit: dict[str, Any] = {} if self.limit_s is None else {"limit_s": self.limit_s}
        found: list[Action] = []
        if self.command:
            from barograph.watch.actions.command import Command  # noqa: PLC0415 - for runs that have one

            found.append(Command(self.command, **limit))
        if self.webhook:
            from barograph.watch.actions.webhook import Webhook  # noqa: PLC0415 - the same; urllib and ssl

            found += [Webhook(it, name=name, **limit) for name, it in _named("webhook", self.webhook)]
        if self.notify:
            from barograph.watch.actions.notify import Notify, scheme_of  # noqa: PLC0415 - the same; apprise

            taken: dict[str, list[str]] = {}
            for address in self.notify:
                taken.setdefault(scheme_of(address), []).append(address)
            found += [
                Notify(it, name=name)
                for scheme, addresses in taken.items()
                for name, it in _named(f"notify.{scheme}", addresses)
            ]
        return found


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is watched.

    Attributes:
        is_on: whether at all.
        detectors: the names of those that watch; every one that is offered but ``off`` when None.
        off: the names of those that do not.
        roles: of metrics, by name or ``SPLIT/NAME``.
        rules: the user's own, as text.
        actions: what is done on an alert.
        stop_on: types of alerts and severities at which ``run.should_stop()`` is True, besides ``fatal``.
    """

    is_on: bool = True
    detectors: tuple[str, ...] | None = None
    off: tuple[str, ...] = ()
    roles: dict[str, str] = {}
    rules: tuple[str, ...] = ()
    actions: ActionSettings = ActionSettings()
    stop_on: tuple[str, ...] = ()

    def detector_names(self) -> list[str]:
        """The names of the detectors that watch."""
        if not self.is_on:
            return []
        offered = plugins.names(DETECTORS) if self.detectors is None else self.detectors
        return [name for name in offered if name not in self.off]


def read_settings(watch: object, *, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read and check what ``init(watch=...)`` was given.

    Args:
        watch: True, False, None (as False), a mapping, or settings that were read before.
        environ: where ``$NAME`` is looked up.

    Raises:
        MisuseError: something in it cannot be; the message names it and what can.
        MissingDependencyError: ``notify`` is asked for, and apprise is not installed.
    """
    if isinstance(watch, Settings):
        return watch
    if watch is None or isinstance(watch, bool):
        return Settings(is_on=bool(watch))
    if not isinstance(watch, Mapping):
        raise MisuseError(f"watch={watch!r} is neither True, False nor a mapping; pass {{'off': ['plateau']}}, say")
    _check_keys(watch, "watch", [name for name in Settings.__struct_fields__ if name != "is_on"])
    given = {key: value for key, value in watch.items() if value is not None}
    if "detectors" in given and "off" in given:
        raise MisuseError("watch has 'detectors' and 'off'; name those that watch, or those that do not")
    readers: dict[str, Callable[[Any], Any]] = {
        "detectors": lambda it: _names(it, "watch['detectors']", plugins.names(DETECTORS)),
        "off": lambda it: _names(it, "watch['off']", plugins.names(DETECTORS)),
        "roles": _roles,
        "rules": lambda it: _words(it, "watch['rules']", example="loss > 10 for 50 steps"),
        "stop_on": lambda it: _names(it, "watch['stop_on']", _types()),
        "actions": lambda it: _actions(it, environ),
    }
    settings = Settings(**{key: readers[key](value) for key, value in given.items()})
    if settings.rules:
        from barograph.watch.rules import rule_detectors  # noqa: PLC0415 - for runs that have some

        rule_detectors(settings.rules, roles=settings.roles)  # reads each of them, or says what is wrong with it
    return settings


def _types() -> list[str]:
    """What ``stop_on`` may name."""
    return list(dict.fromkeys([*SEVERITIES, *plugins.names(DETECTORS), *OTHER_TYPES]))


def _actions(given: Any, environ: Mapping[str, str]) -> ActionSettings:
    what = "watch['actions']"
    if not isinstance(given, Mapping):
        raise MisuseError(f"{what}={given!r} is no mapping; pass {{'webhook': 'https://...'}}, say")
    _check_keys(given, what, list(ActionSettings.__struct_fields__))
    given = {key: value for key, value in given.items() if value is not None}
    found: dict[str, Any] = {}
    if "command" in given:
        found["command"] = _command(given["command"], f"{what}['command']")
    for key, scheme in (("webhook", "https://example.org/alerts"), ("notify", "slack://...")):
        if key in given:
            words = _words(given[key], f"{what}['{key}']", example=scheme, is_secret=True)
            found[key] = tuple(_address(word, f"{what}['{key}']", environ, key) for word in words)
    if "min_severity" in given:
        found["min_severity"] = _severity(given["min_severity"], f"{what}['min_severity']")
    if "ends" in given:
        if not isinstance(given["ends"], bool):
            raise MisuseError(f"{what}['ends']={given['ends']!r} is neither True nor False; give one of them")
        found["ends"] = given["ends"]
    if "limit_s" in given:
        limit_s = given["limit_s"]
        if isinstance(limit_s, bool) or not isinstance(limit_s, (int, float)) or not 0 < limit_s <= MAX_LIMIT_S:
            raise MisuseError(f"{what}['limit_s']={limit_s!r} is no time; give seconds, at most {MAX_LIMIT_S:g}")
        found["limit_s"] = float(limit_s)
    settings = ActionSettings(**found)
    settings.make()  # so that what is missing or misspelt is said now, not when something has gone wrong
    return settings


def _severity(given: Any, what: str) -> Severity:
    if given not in SEVERITIES:
        raise MisuseError(f"{what}={given!r} is none of {', '.join(SEVERITIES)}; choose one")
    return cast("Severity", given)


def _command(given: Any, what: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(given)) if isinstance(given, str) else _words(given, what, example="notify-send")
    except ValueError as error:
        raise MisuseError(f"{what}={given!r} cannot be taken apart ({error}); pass a list of strings") from None
    if not words or any("\0" in word for word in words):
        raise MisuseError(f"{what}={given!r} is no command; pass a program and its arguments, as a list of strings")
    if shutil.which(words[0]) is None:
        raise MisuseError(
            f"{what}: there is no program {words[0]!r}; give its whole path, and ['sh', '-c', '...'] for what needs a "
            f"shell"
        )
    return words


def _address(word: str, what: str, environ: Mapping[str, str], key: str) -> str:
    """An address, checked without repeating it."""
    named = VARIABLE.match(word)
    if named:
        name = named[1] or named[2]
        if not environ.get(name):
            raise MisuseError(f"{what}: the environment has no {name}; set it, or give the address itself")
        word = environ[name]
    scheme = word.partition("://")[0] if "://" in word else ""
    if FORBIDDEN.search(word) or not re.fullmatch(r"[A-Za-z][\w+.-]*", scheme):
        raise MisuseError(f"{what} holds something ({len(word)} characters) that is no address; give SCHEME://...")
    if key == "webhook":
        _check_webhook(word, what)
    return word


def _check_webhook(address: str, what: str) -> None:
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise MisuseError(f"{what} holds an address that cannot be read ({error}); give https://HOST/PATH") from None
    if parts.scheme.lower() not in ("http", "https") or not host or not address.isascii():
        raise MisuseError(
            f"{what} holds an address that begins with {parts.scheme!r} and has the host {host!r}; give "
            f"https://HOST/PATH in ASCII, and what apprise knows under 'notify'"
        )
    if parts.username is not None or parts.password is not None:
        raise MisuseError(
            f"{what} holds an address with a user for {host!r}, which is not sent; give 'notify': "
            f"['jsons://USER:PASSWORD@HOST/PATH'], or a path that holds a secret"
        )


def _roles(given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping) or not all(isinstance(it, str) for pair in given.items() for it in pair):
        raise MisuseError(f"watch['roles']={given!r} is no mapping of metrics to roles; pass {{'objective': 'loss'}}")
    return check_roles(cast("Mapping[str, str]", given))


def _check_keys(given: Mapping[Any, Any], what: str, known: list[str]) -> None:
    for key in given:
        if key not in known:
            raise MisuseError(f"{what} has no {key!r}{_meant(key, known)}; there are {', '.join(known)}")


def _names(given: Any, what: str, known: list[str]) -> tuple[str, ...]:
    names = _words(given, what, example=known[0] if known else "loss_spike")
    for name in names:
        if name not in known:
            raise MisuseError(f"{what}: there is no {name!r}{_meant(name, known)}; there are {', '.join(known)}")
    return names


def _meant(name: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f" (is {close[0]!r} meant?)" if close else ""


def _words(given: Any, what: str, *, example: str, is_secret: bool = False) -> tuple[str, ...]:
    """A string, or several, or none."""
    is_many = isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping))
    words = tuple(given) if is_many else (given,)
    wrong = [word for word in words if not isinstance(word, str) or not word.strip()]
    if wrong:
        shown = "" if is_secret else f"={given!r}"
        raise MisuseError(f"{what}{shown} is neither a string nor a list of strings; pass [{example!r}]")
    return words


def _named(stem: str, items: Iterable[str]) -> list[tuple[str, str]]:
    """Names for several of a kind: ``webhook``, ``webhook.2``."""
    return [(stem if number == 1 else f"{stem}.{number}", item) for number, item in enumerate(items, start=1)]
