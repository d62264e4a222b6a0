"""Which figures a run wants, and when: S3's ``logging`` group read from whatever holds it.

Standard library and msgspec only, because the training process reads it too. It knows no family by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from barograph.errors import MisuseError

FORMATS: Final = ("png", "webp", "svg")
SELDOM: Final = frozenset(
    {"on_epoch_end", "on_validation_end", "on_checkpoint", "on_resume", "on_exception", "on_signal", "on_train_end"}
)
"""Moments that are rare enough to draw at when nobody says which."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What to draw.

    Attributes:
        make_plots: False draws nothing (``logging.make_plots=false``).
        save_artifacts: False writes no files, so draws nothing either (``logging.save_artifacts=false``).
        families: names of the families that may draw, each with its own moments, None for the common ones; None when
            every family may.
        moments: common moments; each family's own when None.
        format: ``png``, ``webp`` or ``svg``.
    """

    make_plots: bool = True
    save_artifacts: bool = True
    families: dict[str, tuple[str, ...] | None] | None = None
    moments: tuple[str, ...] | None = None
    format: str = "png"

    @property
    def is_enabled(self) -> bool:
        """Whether anything at all is drawn."""
        return self.make_plots and self.save_artifacts and self.families != {} and self.moments != ()

    def moments_of(self, family: str, own: Iterable[str]) -> tuple[str, ...]:
        """The moments at which a family draws; none when it is off.

        Args:
            family: its name.
            own: the moments that it names itself.
        """
        if not self.is_enabled:
            return ()
        common = tuple(own) if self.moments is None else self.moments
        if self.families is None:
            return common
        if family not in self.families:
            return ()
        given = self.families[family]
        return common if given is None else given

    def as_group(self) -> dict[str, Any]:
        """The plain mapping that ``read_settings`` reads as these settings."""
        families = self.families
        return {
            "make_plots": self.make_plots,
            "save_artifacts": self.save_artifacts,
            "families": None
            if families is None
            else {name: True if at is None else at for name, at in families.items()},
            "moments": self.moments,
            "format": self.format,
        }

    def may_draw_at(self, moment: str) -> bool:
        """Whether some family may want a figure at this moment; told without loading any family."""
        if not self.is_enabled:
            return False
        common = SELDOM if self.moments is None else self.moments
        if self.families is None:
            return moment in common
        return any(moment in (common if given is None else given) for given in self.families.values())


def read_settings(cfg_logging: Any) -> Settings:
    """Read S3's ``logging`` group.

    Args:
        cfg_logging: a mapping, an OmegaConf node, or an object with attributes; the keys ``families`` (a list of names;
            or a mapping of names to true, false, a list of moments, or ``{enabled, moments}``), ``moments`` (a list),
            ``make_plots``, ``save_artifacts`` and ``format`` are read, others are left alone. None, and absent keys,
            mean the defaults: every family at its own moments.

    Raises:
        MisuseError: a key holds something else; the message names it.
    """
    values = {field: _value(cfg_logging, field) for field in Settings.__struct_fields__}
    given = {field: value for field, value in values.items() if value is not None}
    for field in ("make_plots", "save_artifacts"):
        if field in given and not isinstance(given[field], bool):
            raise MisuseError(f"logging.{field}={given[field]!r} is neither true nor false; give one of them")
    if given.get("format", "png") not in FORMATS:
        raise MisuseError(f"logging.format={given['format']!r} is none of {', '.join(FORMATS)}; choose one")
    if "moments" in given:
        given["moments"] = _words(given["moments"], "logging.moments")
    if "families" in given:
        given["families"] = _families(given["families"])
    return Settings(**given)


def _value(holder: Any, key: str, default: Any = None) -> Any:
    if isinstance(holder, Mapping):  # OmegaConf's nodes are mappings too
        return holder.get(key, default)
    return getattr(holder, key, default)


def _words(value: Any, what: str) -> tuple[str, ...]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise MisuseError(f"{what}={value!r} is no list of names; give one, e.g. ['on_epoch_end']")
    words = tuple(value)
    wrong = [word for word in words if not isinstance(word, str)]
    if wrong:
        raise MisuseError(f"{what} holds {wrong[0]!r}, which is no name; give strings, e.g. ['on_epoch_end']")
    return words


def _families(value: Any) -> dict[str, tuple[str, ...] | None]:
    if not isinstance(value, Mapping):
        return dict.fromkeys(_words(value, "logging.families"))
    found: dict[str, tuple[str, ...] | None] = {}
    for name, given in value.items():
        wanted, moments = (given, None) if isinstance(given, bool) else (True, given)
        if isinstance(given, Mapping):
            wanted, moments = given.get("enabled", True), given.get("moments")
        if not isinstance(wanted, bool):
            raise MisuseError(f"logging.families.{name}.enabled={wanted!r} is neither true nor false; give one of them")
        if wanted:
            found[str(name)] = None if moments is None else _words(moments, f"logging.families.{name}")
    return found
