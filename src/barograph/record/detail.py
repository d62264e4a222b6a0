"""Detail records: what one analysis of a checkpoint saw, at four cumulative levels, in three dated files.

    details/YYYY-MM-DD/NAME_HH-MM-SS_CHECKPOINT.json.gz         every section, one line per item
                       NAME_HH-MM-SS_CHECKPOINT_summary.json    core results, timings, sizes
                       NAME_HH-MM-SS_CHECKPOINT_config.yaml     the exact configuration

The files are plain: ``cat``, ``zcat``, ``jq`` and ``grep`` read them. Detail is not text severity, tier or moment,
and this module decides about none of those. Dates are UTC, as in the names of run directories.
"""

from __future__ import annotations

import datetime as dt
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec

from barograph.errors import DetailBudgetWarning, InvalidConfigError, InvalidNameError, MisuseError
from barograph.facts.codec import NONFINITE, encode
from barograph.facts.descriptor import replace_file
from barograph.facts.rundir import check_name, make_dir
from barograph.record.detail_files import lay_out, publish
from barograph.record.detail_size import estimate_bytes, format_bytes
from barograph.record.snapshot import snapshot

Level = Literal["minimal", "standard", "detailed", "debug"]
OverBudget = Literal["write", "lower"]
OnDropped = Callable[[str, str, Any], object]
Boundary = Callable[[str], AbstractContextManager[None]]

LEVELS: Final[tuple[Level, ...]] = get_args(Level)
BUDGET_BYTES: Final[Mapping[Level, int]] = {
    "minimal": 1_000,
    "standard": 10_000,
    "detailed": 500_000,
    "debug": 10_000_000,
}
MAX_STEM_BYTES: Final = 200
CORE_RESULTS: Final = "core_results"
TIMINGS: Final = "timings"
SEQUENCES: Final = "sequences"
_HEADER_KEYS: Final = frozenset(
    {"name", "checkpoint", "run_id", "level", "requested_level", "lowered", "t", "time", "log_sequences", NONFINITE}
)


class DetailConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The block ``detailed_logging`` of a configuration.

    Attributes:
        enabled: False makes records that keep and write nothing.
        level: the highest level that is written.
        log_sequences: whether the section ``sequences`` (texts and their scores) is written.
        output_directory: where the dated folders go; None leaves it to the caller.
        compress: gzip the main file.
    """

    enabled: bool = True
    level: Level = "standard"
    log_sequences: bool = True
    output_directory: str | None = None
    compress: bool = True

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> DetailConfig:
        """Read the block.

        Raises:
            InvalidConfigError: an unknown key or level, or a value of another type.
        """
        if not isinstance(mapping, Mapping):
            raise InvalidConfigError(
                f"detailed_logging must be a mapping, not {type(mapping).__name__} {mapping!r}; "
                f"give it keys of {', '.join(cls.__struct_fields__)}"
            )
        unknown = sorted(str(key) for key in mapping if key not in cls.__struct_fields__)
        if unknown:
            raise InvalidConfigError(
                f"detailed_logging has no setting {unknown[0]!r}; use {', '.join(cls.__struct_fields__)}"
            )
        check_level(mapping.get("level", "standard"))
        try:
            return msgspec.convert(dict(mapping), cls)
        except msgspec.ValidationError as error:
            raise InvalidConfigError(f"detailed_logging: {error}; correct that setting") from None

    def new_record(
        self,
        name: str,
        *,
        checkpoint: str,
        directory: Path,
        config: Any = None,
        run_id: str | None = None,
        on_dropped: OnDropped | None = None,
        clock: Callable[[], float] = time.time,
        boundary: Boundary | None = None,
    ) -> DetailRecord:
        """Make a record with these settings; ``directory`` is used when ``output_directory`` is not set."""
        return DetailRecord(
            name,
            checkpoint,
            level=self.level if self.enabled else None,
            directory=Path(self.output_directory) if self.output_directory else directory,
            config=config,
            run_id=run_id,
            log_sequences=self.log_sequences,
            compress=self.compress,
            on_dropped=on_dropped,
            clock=clock,
            boundary=boundary,
        )


class DetailFiles(NamedTuple):
    """The three files of one record."""

    detail: Path
    summary: Path
    config: Path


class DetailRecord:
    """Sections of data, each at a level, written together.

    What is added is copied at once, so it may change afterwards. A section that is a mapping and is added again
    is merged key by key; anything else is replaced.

    Args:
        name: names the analysis, e.g. ``entropy_probe``.
        checkpoint: names what was analysed, e.g. ``step_60``.
        level: the highest level that is kept and written; None keeps and writes nothing.
        directory: where the dated folder goes.
        config: the configuration in use, anything that ``init(config=)`` takes; credentials are taken out.
        run_id: identifies the run.
        log_sequences: False leaves the section ``sequences`` out, whatever the level.
        compress: gzip the main file.
        over_budget: what to do with a level that is larger than its budget: ``"write"`` it all the same, or
            ``"lower"`` to the highest level that fits.
        on_dropped: is given (level, section, data) of what its level keeps out of the file.
        clock: unix seconds; read when the record is made and when it is written.
        boundary: what ``write()`` runs in, given the part's name; it may end a failure there.

    Raises:
        InvalidNameError: a name would not survive in a file name.
        MisuseError: ``over_budget`` is unknown.
        InvalidConfigError: ``level`` is unknown, or the configuration cannot be written down.
    """

    def __init__(
        self,
        name: str,
        checkpoint: str,
        *,
        level: Level | None = "standard",
        directory: Path,
        config: Any = None,
        run_id: str | None = None,
        log_sequences: bool = True,
        compress: bool = True,
        over_budget: OverBudget = "write",
        on_dropped: OnDropped | None = None,
        clock: Callable[[], float] = time.time,
        boundary: Boundary | None = None,
    ) -> None:
        from barograph.record.config import plain_config  # noqa: PLC0415 - needs yaml, which start-up does not
        from barograph.record.redact import redact  # noqa: PLC0415 - the same

        if over_budget not in get_args(OverBudget):
            raise MisuseError(f"over_budget={over_budget!r} is unknown; use 'write' or 'lower'")
        self.name = check_name(name, what="detail name")
        self.checkpoint = check_name(checkpoint, what="checkpoint name")
        self.level: Level | None = None if level is None else check_level(level)
        self.directory = Path(directory)
        self.run_id = run_id
        self._config = redact(plain_config(config))[0]
        self._log_sequences = log_sequences
        self._compress = compress
        self._over_budget = over_budget
        self._on_dropped = on_dropped
        self._clock = clock
        self._boundary = boundary
        self._t = clock()
        if len(self._stem().encode()) > MAX_STEM_BYTES:
            raise InvalidNameError(
                f"the file name {self._stem()!r} is longer than {MAX_STEM_BYTES} bytes; shorten the detail name or "
                f"the checkpoint name"
            )
        self._sections: dict[Level, dict[str, Any]] = {each: {} for each in LEVELS}
        self._dropped_bytes: dict[Level, int] = dict.fromkeys(LEVELS, 0)

    def wants(self, level: Level) -> bool:
        """Whether what is added at ``level`` is kept; ask before computing something costly."""
        return check_level(level) in _up_to(self.level)

    def add(self, level: Level, section: str, data: Any) -> None:
        """Add one section, a key of the main file.

        Raises:
            MisuseError: the level or the section's name cannot be, or the data has no JSON form; nothing was added.
        """
        kept = self.wants(level)
        if section in _HEADER_KEYS or not section:
            raise MisuseError(f"{section!r} cannot name a section of a detail record; rename it")
        if section == SEQUENCES and not self._log_sequences:
            return
        try:
            if kept:
                _merge(self._sections[level], section, snapshot(data, section))
            else:
                self._dropped_bytes[level] += _section_bytes(section, data)
        except RecursionError:
            raise MisuseError(f"section {section!r} is nested too deeply or contains itself; flatten it") from None
        if not kept:
            self._drop(level, section, data)

    def minimal(self, **sections: Any) -> None:
        """Add core metrics, phase timings, batch sizes: about 1 kB in all."""
        self._add_all("minimal", sections)

    def standard(self, **sections: Any) -> None:
        """Add statistics of batches and diagnostics: about 10 kB with the level below."""
        self._add_all("standard", sections)

    def detailed(self, **sections: Any) -> None:
        """Add single sequences and intermediate results: about 500 kB with the levels below."""
        self._add_all("detailed", sections)

    def debug(self, **sections: Any) -> None:
        """Add tokens, raw tensors, everything: about 10 MB with the levels below."""
        self._add_all("debug", sections)

    def forecast(self) -> dict[Level, int]:
        """Estimate the size of the main file before compression at each level, in bytes, without encoding it.

        Long lists and arrays are sampled. For levels above the record's own it is what was offered and not kept.
        """
        total, sizes = len(encode(self._header(self.level))), {}
        for level in LEVELS:
            total += sum(_section_bytes(name, data) for name, data in self._sections[level].items())
            total += self._dropped_bytes[level]
            sizes[level] = total
        return sizes

    def write(self) -> DetailFiles | None:
        """Write the three files; each appears whole, and no file is ever overwritten.

        Returns:
            Their paths; None without a level, or when the boundary ended a failure. When the names are taken, all three
            have ``-2`` (``-3``, ...) after the checkpoint.

        Warns:
            DetailBudgetWarning: the forecast of the level is above its budget.

        Raises:
            OSError: they could not be written, and there is no boundary; none of them is there.
        """
        if self.level is None:
            return None
        forecast, level = self.forecast(), self.level
        note, lowered = "", {}
        if forecast[level] > BUDGET_BYTES[level]:
            level = self._level_that_fits(forecast) if self._over_budget == "lower" else level
            note = self._over_budget_note(forecast, self.level, level)
        if level != self.level:
            lowered = {"requested_level": self.level, "lowered": note}
            self._drop_above(level)
        files: DetailFiles | None = None
        with self._boundary("details") if self._boundary else nullcontext():
            files = self._publish(self._header(level) | lowered, self._merged(level), forecast)
        if note and files:  # after writing, so that nothing is lost where warnings are errors
            warnings.warn(note, DetailBudgetWarning, stacklevel=2)
        return files

    def _add_all(self, level: Level, sections: Mapping[str, Any]) -> None:
        for section, data in sections.items():
            self.add(level, section, data)

    def _header(self, level: Level | None) -> dict[str, Any]:
        return {
            "name": self.name,
            "checkpoint": self.checkpoint,
            "run_id": self.run_id,
            "level": level,
            "t": self._t,
            "time": f"{_utc(self._t):%Y-%m-%dT%H:%M:%SZ}",
            "log_sequences": self._log_sequences,
        }

    def _merged(self, level: Level) -> dict[str, Any]:
        """The sections of ``level`` and those below it."""
        merged: dict[str, Any] = {}
        for each in _up_to(level):
            for section, data in self._sections[each].items():
                _merge(merged, section, data)
        return merged

    def _level_that_fits(self, forecast: Mapping[Level, int]) -> Level:
        fitting = [each for each in _up_to(self.level) if forecast[each] <= BUDGET_BYTES[each]]
        return fitting[-1] if fitting else "minimal"

    def _over_budget_note(self, forecast: Mapping[Level, int], asked: Level, written: Level) -> str:
        sections = [item for each in _up_to(asked) for item in self._sections[each].items()]
        sizes = {name: _section_bytes(name, data) for name, data in sections}
        largest = max(sizes, key=sizes.__getitem__)
        note = (
            f"detail record {self.name!r} at level {asked!r} is about {format_bytes(forecast[asked])}, over the "
            f"{format_bytes(BUDGET_BYTES[asked])} of that level; the largest section is {largest!r} with about "
            f"{format_bytes(sizes[largest])}"
        )
        if written != asked:
            return f"{note}; written at level {written!r} instead ({format_bytes(forecast[written])})"
        if self._over_budget == "lower":
            return f"{note}; no lower level fits, so it is written as it is: shorten that section"
        return f"{note}; written all the same: add that section at a higher level, or pass over_budget='lower'"

    def _drop(self, level: str, section: str, data: Any) -> None:
        if self._on_dropped is not None:
            self._on_dropped(level, section, data)

    def _drop_above(self, level: Level) -> None:
        for each in LEVELS[len(_up_to(level)) :]:
            for section, data in self._sections[each].items():
                self._drop(each, section, data)

    def _publish(self, header: dict[str, Any], sections: dict[str, Any], forecast: Mapping[Level, int]) -> DetailFiles:
        import gzip  # noqa: PLC0415 - not needed until a record is written

        from barograph.record.config import write_config_yaml  # noqa: PLC0415 - needs yaml, which start-up does not

        document = lay_out(encode(header | sections)) + b"\n"
        data = gzip.compress(document, mtime=0) if self._compress else document
        sizes = {"forecast_bytes": dict(forecast), "json_bytes": len(document), "file_bytes": len(data)}
        summary = header | {
            CORE_RESULTS: sections.get(CORE_RESULTS, {}),
            TIMINGS: sections.get(TIMINGS, {}),
            "sizes": sizes,
            "written_t": self._clock(),
        }
        folder = self.directory / f"{_utc(self._t):%Y-%m-%d}"
        make_dir(folder)
        main, other = (".json.gz", ".json") if self._compress else (".json", ".json.gz")
        writers: dict[str, Callable[[Path], None]] = {
            main: lambda path: replace_file(path, data),
            "_config.yaml": lambda path: write_config_yaml(path, self._config),
            "_summary.json": lambda path: replace_file(path, lay_out(encode(summary)) + b"\n"),
        }
        stem = publish(folder, self._stem(), writers, taken_too=(other,))
        return DetailFiles(folder / f"{stem}{main}", folder / f"{stem}_summary.json", folder / f"{stem}_config.yaml")

    def _stem(self) -> str:
        return f"{self.name}_{_utc(self._t):%H-%M-%S}_{self.checkpoint}"


def check_level(level: Any) -> Level:
    """Return ``level`` when it is one.

    Raises:
        InvalidConfigError: it is none of the four.
    """
    if level not in LEVELS:
        raise InvalidConfigError(f"{level!r} is no level of detail; use {', '.join(LEVELS)}")
    return level  # type: ignore[no-any-return]


def log_name(name: str, clock: Callable[[], float] = time.time) -> str:
    """Name of the text log of one whole analysis, from beginning to end.

    >>> log_name("entropy_probe", clock=lambda: 1_756_728_000.0)
    'entropy_probe_comprehensive_20250901_120000.log'
    """
    return f"{check_name(name, what='log name')}_comprehensive_{_utc(clock()):%Y%m%d_%H%M%S}.log"


def _utc(t: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(t, tz=dt.UTC)


def _up_to(level: Level | None) -> tuple[Level, ...]:
    return () if level is None else LEVELS[: LEVELS.index(level) + 1]


def _section_bytes(section: str, data: Any) -> int:
    return len(section) + len('"": ,') + estimate_bytes(data)


def _merge(sections: dict[str, Any], section: str, data: Any) -> None:
    """Add a section; a mapping that is there already gets the new keys."""
    known = sections.get(section)
    sections[section] = known | data if isinstance(known, dict) and isinstance(data, dict) else data
