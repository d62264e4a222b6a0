"""Runs that are the same except for chance: equal configurations, different seeds. Found without being told.

What only names a run (its seed, its name, its directories) does not set it apart; everything else does, so that no two
different experiments are averaged by mistake. The rules stand in ``is_ignored``.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.compare.factors import level, plain
from barograph.errors import MisuseError
from barograph.facts.codec import encode
from barograph.read.frames import Runs
from barograph.read.identity import flatten
from barograph.read.run import RunReader

Seed = int | str | None

SEED_KEYS: Final = ("seed", "*_seed", "random_state", "rng")
NAME_KEYS: Final = ("run_name", "run_id", "exp_name", "experiment_name", "wandb_name", "wandb_id", "job_id", "job_name")
PLACE_KEYS: Final = (
    *("run_dir", "out_dir", "output_dir", "save_dir", "log_dir", "logdir", "logging_dir", "work_dir", "workdir"),
    *("ckpt_dir", "checkpoint_dir", "results_dir", "default_root_dir"),
    *("output_path", "save_path", "log_path", "checkpoint_path", "log_file"),
)
TOP_LEVEL_KEYS: Final = ("name", "notes", "tags", "description", "date", "time", "timestamp", "hostname")
WHOLE_SECTIONS: Final = ("hydra",)
IDENTITY_KEYS: Final = ("project", "group", "tier")
ALL_RUNS: Final = "all runs"
_NEEDS_QUOTES: Final = re.compile(r"^$|[\s=]|^[\[{'\"]|^(none|true|false)$")


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that differ in nothing but chance.

    Attributes:
        label: the keys in which this group differs from the others, with its values; no two groups share one. The
            run's own ``project``, ``group`` and ``tier`` stand in it only where the configuration does not tell enough.
        config: every key that counts, by dotted name, as all these runs have it.
        runs: the runs, in the order in which they were given.
        seeds: each run's seed, None where it has none.
        differing: the keys of the label.
    """

    label: str
    config: dict[str, Any]
    runs: list[RunReader]
    seeds: list[Seed]
    differing: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.runs)


def is_seed(key: str) -> bool:
    """Whether a dotted configuration key holds a seed.

    >>> is_seed("phase1.trainer.seed"), is_seed("data.shuffle_seed"), is_seed("seedling")
    (True, True, False)
    """
    last = key.rpartition(".")[2].lower()
    return any(fnmatchcase(last, pattern) for pattern in SEED_KEYS)


def is_ignored(key: str) -> bool:
    """Whether a dotted configuration key only names a run and says nothing about how it computes.

    That is so for seeds (the last word is one of ``SEED_KEYS``), names (``NAME_KEYS``), places where output goes
    (``PLACE_KEYS``), everything below ``WHOLE_SECTIONS``, and ``TOP_LEVEL_KEYS`` at the top level only: ``name`` names
    the run, ``model.name`` chooses the model.

    >>> is_ignored("seed"), is_ignored("name"), is_ignored("model.name"), is_ignored("data_dir")
    (True, True, False, False)
    """
    first, _, _ = key.partition(".")
    last = key.rpartition(".")[2].lower()
    return (
        is_seed(key)
        or last in NAME_KEYS
        or last in PLACE_KEYS
        or first.lower() in WHOLE_SECTIONS
        or key.lower() in TOP_LEVEL_KEYS
    )


def seed_of(reader: RunReader) -> Seed:
    """The seed of one run by itself; of runs that are compared with each other see ``seeds_of``."""
    return seeds_of([reader])[0]


def seeds_of(readers: Sequence[RunReader]) -> list[Seed]:
    """The seed of each run: from its configuration, else the one that ``init(seed=)`` was given.

    Where a run has several seed keys that disagree, those that are the same in all these runs (the seed of a split
    that all share) say nothing; when more than one is left, the seed is a text that names them.

    Args:
        readers: all the runs that are compared.
    """
    found = [_seed_values(reader) for reader in readers]
    keys = dict.fromkeys(key for values in found for key in values)
    fixed = {key for key in keys if len({level(values.get(key)) for values in found}) == 1}
    return [
        _seed_among({key: value for key, value in values.items() if key not in fixed} or values, reader.identity.seed)
        for values, reader in zip(found, readers, strict=True)
    ]


def _seed_values(reader: RunReader) -> dict[str, Any]:
    return {key: value for key, value in flatten(reader.config).items() if is_seed(key) and value is not None}


def _seed_among(values: Mapping[str, Any], given: Seed) -> Seed:
    told = {level(value): value for value in values.values()}
    if len(told) == 1:
        (value,) = told.values()
        is_whole = isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()
        return int(value) if is_whole else str(value)
    if told:
        return " ".join(f"{key}={value}" for key, value in sorted(values.items()))
    return given


def find_groups(
    runs: Runs | Iterable[RunReader], *, by: Sequence[str] | None = None, ignore: Sequence[str] = ()
) -> list[Group]:
    """Group runs by "same configuration except for the seed".

    The configuration is the run's own, edits and keys that were filled in later among them; ``project``, ``group`` and
    ``tier`` of the run count too. A text that names a place inside the run's own directory is ignored. Runs without any
    configuration can only be told apart by their names. Numbers are equal by value (1 is 1.0), everything else by type.

    Args:
        runs: loaded runs, or readers.
        by: group by these keys only: dotted names, patterns (``optim.*``), or last words that are unique (``lr``).
        ignore: further keys that do not count, in the same forms.

    Returns:
        The groups, in the order of their first runs. Labels show only keys in which groups differ, shortened to their
        last words where that stays clear.

    Raises:
        MisuseError: ``by`` or ``ignore`` names a key that no run has.
    """
    readers = list(runs.readers if isinstance(runs, Runs) else runs)
    configs = [_counting(reader) for reader in readers]
    known = sorted({key for config in configs for key in config})
    if by is not None:
        wanted = _resolve(by, known, readers=readers)
        configs = [_picked(reader, config, wanted) for reader, config in zip(readers, configs, strict=True)]
    elif ignore:
        left_out = set(_resolve(ignore, known, readers=readers))
        configs = [{key: value for key, value in config.items() if key not in left_out} for config in configs]
    found: dict[Hashable, list[int]] = {}
    for place, config in enumerate(configs):
        found.setdefault(_identity(config), []).append(place)
    firsts = [configs[places[0]] for places in found.values()]
    differing = _telling(firsts, _differing(firsts))
    labels = _labels(firsts, differing)
    seeds = seeds_of(readers)
    return [
        Group(
            label=label,
            config=configs[places[0]],
            runs=[readers[place] for place in places],
            seeds=[seeds[place] for place in places],
            differing=tuple(differing),
        )
        for label, places in zip(labels, found.values(), strict=True)
    ]


def new_in_every_run(groups: Sequence[Group]) -> list[str]:
    """Keys that have a new value in every run, and so leave every run alone in its group; a hint, not a rule.

    Such a key may be what was searched over, or a name that ``ignore=`` should hold.
    """
    runs = [group for group in groups for _ in group.runs]
    if len(runs) < 3:  # noqa: PLR2004 - two runs differ in any key that differs at all
        return []
    keys = sorted({key for group in groups for key in group.config})
    return [key for key in keys if len({level(group.config.get(key)) for group in runs}) == len(runs)]


def _counting(reader: RunReader) -> dict[str, Any]:
    """The keys of a run that count, by dotted name."""
    config = flatten(reader.config)
    own = {key: value for key, value in config.items() if not is_ignored(key) and not _is_own_place(value, reader.path)}
    identity = reader.identity
    told = {key: getattr(identity, key) for key in IDENTITY_KEYS if key not in own}
    named = {} if config else {"name": identity.name}
    return {**own, **{key: value for key, value in told.items() if value is not None}, **named}


def _is_own_place(value: Any, run: Path) -> bool:
    """Whether a value is a path of, or inside, the run's directory."""
    if not isinstance(value, str) or not value:
        return False
    home = os.path.abspath(run)  # noqa: PTH100 - links are not resolved, as in what the script wrote
    place = os.path.normpath(value)
    return place == home or place.startswith(home + os.sep) or run.name in Path(place).parts


def _picked(reader: RunReader, config: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    everything = {**flatten(reader.config), **config, "name": reader.identity.name}
    return {key: everything[key] for key in wanted if key in everything}


def _resolve(given: Sequence[str], known: Sequence[str], *, readers: Sequence[RunReader]) -> list[str]:
    """The dotted names that keys, patterns and last words mean."""
    every = sorted({*known, "name", *(key for reader in readers for key in flatten(reader.config))})
    found: list[str] = []
    for name in given:
        exact = [key for key in every if key == name]
        matches = exact or [key for key in every if fnmatchcase(key, name)]
        ends = matches or [key for key in every if key.rpartition(".")[2] == name]
        if not matches and len(ends) != 1:
            there = f"it may be {', '.join(ends)}" if ends else f"there are {', '.join(every)}"
            raise MisuseError(f"no one configuration key is {name!r}: {there}; give a dotted name or a pattern")
        found += [key for key in ends if key not in found]
    return found


def _identity(config: Mapping[str, Any]) -> Hashable:
    return frozenset((key, level(value)) for key, value in config.items() if value is not None)


def _differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if len({level(config.get(key)) for config in configs}) > 1]


def _telling(configs: Sequence[Mapping[str, Any]], differing: Sequence[str]) -> list[str]:
    """The keys that a label needs: without what only repeats what the configuration tells."""
    own = [key for key in differing if key not in IDENTITY_KEYS]
    told = {_identity({key: config.get(key) for key in own}) for config in configs}
    return own if len(told) == len(configs) else list(differing)


def _labels(configs: Sequence[Mapping[str, Any]], differing: Sequence[str]) -> list[str]:
    if not differing:
        return [ALL_RUNS] * len(configs)
    lasts = Counter(key.rpartition(".")[2] for key in differing)
    names = {key: key.rpartition(".")[2] if lasts[key.rpartition(".")[2]] == 1 else key for key in differing}
    return [" ".join(f"{names[key]}={_shown(config.get(key))}" for key in differing) for config in configs]


def _shown(value: Any) -> str:
    """A value in a label; a text that would read as another value, or run into the next key, stands in quotes."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return (
            value if value.isprintable() and not _NEEDS_QUOTES.search(value) and not _is_number(value) else repr(value)
        )
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else f"{value:g}"
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return encode({"": plain(value)}).decode()[4:-1]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
