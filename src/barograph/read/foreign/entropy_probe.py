"""Directories of probe logs: ``logs/YYYY-MM-DD/NAME_HH-MM-SS_CHECKPOINT_summary.json`` and what lies beside it.

One run per probe and day: each summary's numbers stand at the step of its checkpoint. The detail file
``..._CHECKPOINT.json.gz`` is referenced; it is read only where its summary is missing.
"""

from __future__ import annotations

import datetime as dt
import gzip
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.codec import decode
from barograph.read.columns import unreadable
from barograph.read.foreign.documents import load_yaml
from barograph.read.foreign.protocol import ForeignFile, ForeignRun, ForeignText, whereabouts
from barograph.read.foreign.records import Gathered, count_changes, sort_record
from barograph.read.foreign.values import in_seconds

DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
FILE: Final = re.compile(
    r"(?P<name>.+)_(?P<time>\d\d-\d\d-\d\d)_(?P<checkpoint>.+?)(?P<kind>_summary\.json|_config\.yaml|\.json\.gz|\.json)"
)
SUMMARY: Final = "_summary.json"
CONFIG: Final = "_config.yaml"
CORE: Final = "core_results"
HEADER: Final = frozenset({"name", "checkpoint", "run_id", "level", "t", "time", "log_sequences", "sizes", "written_t"})
SMALL: Final = frozenset({CORE, "timings", "phase_timings", "timing", "batch_sizes"})
MAX_BYTES: Final = 256 << 20
"""Of a detail file that stands in for its summary; the largest level of detail is some 10 MB."""
_STEP: Final = (re.compile(r"step[_-]?(\d+)"), re.compile(r"(\d+)"))


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one analysis.

    Attributes:
        name: of the probe.
        time: its time of day, ``HH-MM-SS``.
        checkpoint: what was analysed.
        files: by kind: what stands after the checkpoint in their names.
    """

    name: str
    time: str
    checkpoint: str
    files: dict[str, Path]


class EntropyProbeImporter:
    """Reads the folder of one day."""

    name = "entropy_probe"

    def recognises(self, path: Path) -> bool:
        """Whether a directory is named like a day and has a summary or a detail file of a probe."""
        return DAY.fullmatch(path.name) is not None and any(_document_path(each) for each in analyses(path))

    def read(self, path: Path) -> Iterator[ForeignRun]:
        """A run per probe, by name."""
        found = [each for each in analyses(path) if _document_path(each)]
        for name in sorted({each.name for each in found}):
            yield _run(path, name, [each for each in found if each.name == name])


importer: Final = EntropyProbeImporter()


def analyses(path: Path) -> list[Analysis]:
    """The analyses of one day, in the order of their times."""
    found: dict[tuple[str, str, str], Analysis] = {}
    try:
        entries = sorted(path.iterdir())
    except OSError:
        return []
    for entry in entries:
        parts = FILE.fullmatch(entry.name)
        if parts:
            key = (parts["time"], parts["name"], parts["checkpoint"])
            empty = Analysis(name=key[1], time=key[0], checkpoint=key[2], files={})
            found.setdefault(key, empty).files[parts["kind"]] = entry
    return [found[key] for key in sorted(found)]


def _document_path(analysis: Analysis) -> Path | None:
    kinds = (SUMMARY, ".json.gz", ".json")
    return next((analysis.files[kind] for kind in kinds if kind in analysis.files), None)


def _run(path: Path, name: str, found: list[Analysis]) -> ForeignRun:
    day = whereabouts(path).name
    run = ForeignRun(tool=EntropyProbeImporter.name, source=path, key=name, name=f"{name}-{day}", group=name)
    gathered = Gathered(run.fidelity)
    for place, analysis in enumerate(found):
        _add(run, gathered, analysis, place, day)
    run.metrics = gathered.metrics()
    run.fidelity.keep("texts", len(run.texts))
    run.config = _configs(run, found)
    run.files = [
        ForeignFile(name=file.name, path=file, size_bytes=file.stat().st_size)
        for analysis in found
        for kind, file in analysis.files.items()
        if kind not in (SUMMARY, CONFIG)
    ]
    return run


def _add(run: ForeignRun, gathered: Gathered, analysis: Analysis, place: int, day: str) -> None:
    path = _document_path(analysis)
    assert path is not None
    try:
        document = decode(_bytes(path))
    except (FormatError, OSError, EOFError, zlib.error) as error:
        run.fidelity.damage.append(unreadable(path, error))
        return
    t, step = _time(run, document, analysis, day), _step(run, analysis, place)
    if in_seconds(t) is not None:
        run.created_t = t if run.created_t is None else min(t, run.created_t)
    if path.name.endswith(SUMMARY):
        document = {key: value for key, value in document.items() if key not in HEADER}
    else:
        run.fidelity.note(f"{path.name} has no summary beside it: its core results are read")
        document = {key: value for key, value in document.items() if key in SMALL}
    core = document.pop(CORE, {})
    found = sort_record({**document, **core} if isinstance(core, dict) else {**document, CORE: core})
    gathered.add(found.numbers, step=step, t=t)
    run.texts += [ForeignText(name=name, text=text, step=step, t=t) for name, text in found.texts.items()]
    run.fidelity.keep("analyses")
    count_changes(run.fidelity, found)
    for value in found.others.values():
        what = "missing values" if value is None else "lists"
        run.fidelity.lose(what, "a metric is one number; the file stays where it is")


def _bytes(path: Path) -> bytes:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise FormatError(f"{path} unfolds to more than {MAX_BYTES} bytes; read it with `zcat`")
    return content


def _step(run: ForeignRun, analysis: Analysis, place: int) -> float:
    """The number in the checkpoint's name: 60 of ``step_60``."""
    for pattern in _STEP:
        told = pattern.search(analysis.checkpoint)
        if told:
            return int(told[1])
    run.fidelity.change("steps", "the checkpoint's name has no number: counted in the order of time")
    return place


def _time(run: ForeignRun, document: dict[str, Any], analysis: Analysis, day: str) -> float:
    told = document.get("t")
    if isinstance(told, (int, float)) and not isinstance(told, bool):
        return told
    run.fidelity.change("times", "from the file's name, which names no time zone: taken as this machine's")
    try:
        return dt.datetime.fromisoformat(f"{day}T{analysis.time.replace('-', ':')}").timestamp()
    except ValueError:
        return math.nan  # a name like a time that is none


def _configs(run: ForeignRun, found: list[Analysis]) -> dict[str, Any]:
    """The configuration of the first analysis; others that differ from it are counted."""
    configs: list[dict[str, Any]] = []
    for analysis in found:
        path = analysis.files.get(CONFIG)
        if path is None:
            continue
        try:
            config = load_yaml(path)
        except (FormatError, OSError) as error:
            run.fidelity.damage.append(unreadable(path, error))
            continue
        configs.append(config if isinstance(config, dict) else {})
    if not configs:
        return {}
    differing = sum(config != configs[0] for config in configs)
    run.fidelity.lose("configurations", "they differ from the first one of the day, which is kept", differing)
    run.fidelity.keep("configurations", len(configs) - differing)
    return configs[0]
