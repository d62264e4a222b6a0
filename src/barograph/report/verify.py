"""Verifies a report: computes every number again from the facts as they are, and looks for edits of any file.

Nothing is changed. What is found says which number, what it was and is, which facts of which run are others, and
which file was edited.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from barograph.errors import BarographError, FormatError, ReportError
from barograph.facts.codec import decode
from barograph.read.frames import Runs
from barograph.read.run import RunReader
from barograph.report.content import hash_edits, hash_file, hash_lines
from barograph.report.directory import ReportDir
from barograph.report.files import data_text, hash_files, read_csv
from barograph.report.locate import Locator
from barograph.report.manifest import Manifest, RunEntry, read_manifest
from barograph.report.marks import mark_page, without_marks
from barograph.report.number import Facts, Number
from barograph.report.render import anchors
from barograph.report.values import Value

Code = Literal[
    "manifest", "file", "extra_file", "cell", "run", "moved", "facts", "sealed", "edited", "number", "not_computed"
]
HARMLESS: Final = frozenset({"extra_file", "moved", "sealed", "edited", "not_computed"})
TOLERANCE: Final = 1e-9
"""Relative; another release of a library may add in another order. Edits of any size are found by the hashes."""
# Facts that somebody edited may be anything, and make any arithmetic fail.
UNCOMPUTABLE: Final = (BarographError, ArithmeticError, LookupError, TypeError, ValueError)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that verification found.

    Attributes:
        code: what sort of thing. ``manifest``, ``file``: edited or gone; ``cell``: a number in a file is not that of
            the manifest; ``run``: a run is gone; ``facts``: facts of a run are others; ``number``: a number is
            another when it is computed now. Harmless are ``moved``, ``sealed``, ``edited`` (names, tags, keys that were
            filled in), ``extra_file`` and ``not_computed``.
        where: the file, run or number.
        message: in words.
        was: the value that the report has.
        now: the value that the facts or the file have.
    """

    code: Code
    where: str
    message: str
    was: Value = None
    now: Value = None

    @property
    def is_harmless(self) -> bool:
        """Whether the report still holds."""
        return self.code in HARMLESS


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What came of verifying a report.

    Attributes:
        ok: whether everything holds.
        report: its directory.
        name: its name; "" when the manifest cannot be read.
        findings: what was found, harmless things too.
        num_numbers: how many numbers it has.
        num_computed: how many of them were computed again.
        num_stale: how many of those are others now.
        num_runs: how many runs it is about.
        num_files: how many files it has.
    """

    ok: bool
    report: str
    name: str
    findings: list[Finding]
    num_numbers: int
    num_computed: int
    num_stale: int
    num_runs: int
    num_files: int


def verify_report(path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None) -> Verification:
    """Verify a report.

    Args:
        path: its directory.
        root: where runs that are not where they were are looked for, by their id.

    Raises:
        ReportError: no report is there.
    """
    directory = ReportDir(Path(path))
    try:
        manifest, is_whole = read_manifest(directory.manifest)
    except FileNotFoundError:
        where = os.fspath(path)
        raise ReportError(f"{where!r} is no report, since it has no manifest.yaml; name a report's directory") from None
    except FormatError as error:
        return _result(directory, None, [Finding(code="manifest", where="manifest.yaml", message=str(error))], 0)
    findings = [] if is_whole else [_edited_manifest()]
    findings += _files(directory, manifest)
    findings += _cells(directory, manifest)
    readers, located = _locate(directory, manifest, root)
    findings += located
    facts = Facts(Runs(list(readers.values())), keys=list(readers))
    findings += _contents(manifest, facts)
    numbers, num_computed = _numbers(manifest, facts)
    return _result(directory, manifest, findings + numbers, num_computed)


def _result(
    directory: ReportDir, manifest: Manifest | None, findings: list[Finding], num_computed: int
) -> Verification:
    return Verification(
        ok=all(finding.is_harmless for finding in findings),
        report=str(directory.path),
        name="" if manifest is None else manifest.name,
        findings=findings,
        num_numbers=0 if manifest is None else len(manifest.numbers),
        num_computed=num_computed,
        num_stale=sum(finding.code == "number" for finding in findings),
        num_runs=0 if manifest is None else len(manifest.runs),
        num_files=0 if manifest is None else len(manifest.files),
    )


def _edited_manifest() -> Finding:
    message = "its last line is not the hash of what stands before it: it was edited or cut after it was written"
    return Finding(code="manifest", where="manifest.yaml", message=message)


def _files(directory: ReportDir, manifest: Manifest) -> Iterator[Finding]:
    there = hash_files(directory)
    page = directory.page.relative_to(directory.path).as_posix()
    if page in there:
        there[page] = hashlib.sha256(without_marks(directory.page.read_bytes())).hexdigest()
    for name, sha256 in manifest.files.items():
        if name not in there:
            yield Finding(code="file", where=name, message="it is gone; restore it, or make the report again")
        elif there[name] != sha256:
            yield Finding(code="file", where=name, message="its bytes are not those that the report was made with")
    for name in there.keys() - manifest.files.keys():
        yield Finding(code="extra_file", where=name, message="it is no part of the report")


def _cells(directory: ReportDir, manifest: Manifest) -> Iterator[Finding]:
    """Which numbers of edited files are not those of the manifest."""
    numbers = {number.id: number for number in manifest.numbers}
    for name in manifest.files:
        path = directory.path / name
        if not path.is_file():
            continue
        if path == directory.summary_json() or path == directory.summary_json("inference"):
            yield from _json_cells(path, name, numbers)
        elif path.suffix == ".csv" and path.parent == directory.training:
            yield from _csv_cells(path, name, numbers)


def _csv_cells(path: Path, name: str, numbers: dict[str, Number]) -> Iterator[Finding]:
    try:
        rows = read_csv(path)
    except (OSError, ValueError) as error:
        yield Finding(code="file", where=name, message=f"it cannot be read as CSV: {error}")
        return
    for place, row in enumerate(rows):
        for column, text in row.items():
            number = numbers.get(f"{path.stem}.{place}.{column}")
            if number is not None and text != data_text(number.value):
                yield _cell(f"{name}, row {place + 1}, column {column}", number, text)


def _json_cells(path: Path, name: str, numbers: dict[str, Number]) -> Iterator[Finding]:
    try:
        found = decode(path.read_bytes()).get("numbers")
    except (OSError, FormatError) as error:
        yield Finding(code="file", where=name, message=f"it cannot be read as JSON: {error}")
        return
    for number_id, value in found.items() if isinstance(found, dict) else ():
        number = numbers.get(number_id)
        if number is None or not _is_same(number.value, value, tolerance=0.0):
            yield _cell(f"{name}, numbers.{number_id}", number, value)


def _cell(where: str, number: Number | None, now: Any) -> Finding:
    was = None if number is None else number.value
    message = f"it says {now!r}, the manifest says {was!r}"
    return Finding(code="cell", where=where, message=message, was=was, now=now if _is_plain(now) else str(now))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _locate(
    directory: ReportDir, manifest: Manifest, root: str | os.PathLike[str] | None
) -> tuple[dict[str, RunReader], list[Finding]]:
    """The runs, where they are now."""
    locator = Locator(directory, manifest, root)
    readers: dict[str, RunReader] = {}
    findings = []
    for key, entry in manifest.runs.items():
        path = locator.find(entry)
        if path is None:
            message = f"the run {entry.run_id or entry.name!r} is not there any more; name where it is with --root"
            findings.append(Finding(code="run", where=entry.dir, message=message))
            continue
        if path != locator.usual(entry):
            findings.append(Finding(code="moved", where=entry.dir, message=f"the run was found in {path}"))
        readers[key] = RunReader(path)
    return readers, findings


def _contents(manifest: Manifest, facts: Facts) -> Iterator[Finding]:
    """Which facts of which run are others than those that the report was made of."""
    for key, content in facts.contents.items():
        entry = manifest.runs[key]
        for name in sorted(entry.parts.keys() | content.parts.keys()):
            was, now = entry.parts.get(name), content.parts.get(name)
            if was != now:
                what = "is gone" if now is None else "is new" if was is None else "is not what it was"
                message = f"{name} {what}: facts of the run {entry.name!r} changed after the report was made"
                yield Finding(code="facts", where=f"{entry.dir}/{name}", message=message)
        sealed = [name for name in sorted(content.sealed) if entry.parts.get(name) == content.parts.get(name)]
        if sealed:
            message = f"sealed as Parquet, the facts are the same: {', '.join(sealed)}"
            yield Finding(code="sealed", where=entry.dir, message=message)
        if hash_edits(facts.readers[key].directory) != entry.edits_sha256:
            message = f"name, group, tags, notes or configuration of the run {entry.name!r} were edited since"
            yield Finding(code="edited", where=f"{entry.dir}/edits.jsonl", message=message)
        if entry.checkpoint is not None:
            yield from _checkpoint(entry, facts.readers[key].path / entry.checkpoint)


def _checkpoint(entry: RunEntry, path: Path) -> Iterator[Finding]:
    if not path.is_file():
        message = "the model that was run for the report is gone"
    elif hash_file(path) != entry.checkpoint_sha256:
        message = "it is not the model that was run for the report"
    else:
        return
    yield Finding(code="facts", where=f"{entry.dir}/{entry.checkpoint}", message=message)


def _numbers(manifest: Manifest, facts: Facts) -> tuple[list[Finding], int]:
    """Which numbers are others when they are computed now, and how many could be computed."""
    findings: list[Finding] = []
    num_inferred = num_missing = 0
    for number in manifest.numbers:
        if number.query.of == "inference":
            num_inferred += 1
        elif any(key not in facts.readers for key in number.runs):
            num_missing += 1
        else:
            findings += _number(number, manifest, facts)
    if num_inferred:
        message = f"{num_inferred} numbers are of models that were run; they are not computed again"
        findings.append(Finding(code="not_computed", where="inference/summary.json", message=message))
    return findings, len(manifest.numbers) - num_inferred - num_missing


def _number(number: Number, manifest: Manifest, facts: Facts) -> Iterator[Finding]:
    try:
        now, n = facts.evaluate(number.query, number.runs)
    except UNCOMPUTABLE as error:
        message = f"{number.query.words()} cannot be computed any more: {error}"
        yield Finding(code="number", where=number.id, message=message, was=number.value)
        return
    if not _is_same(number.value, now) or number.n != n:
        message = f"{number.query.words()}: was {number.value!r} (n={number.n}), is {now!r} (n={n})"
        yield Finding(code="number", where=number.id, message=message, was=number.value, now=now)
    recorded = hash_lines(manifest.runs[key].content_sha256 for key in number.runs)
    if recorded != number.content_sha256:
        message = "the hash in its address is not that of its runs in the manifest"
        yield Finding(code="manifest", where=number.id, message=message)


def _is_same(was: Value, now: Any, *, tolerance: float = TOLERANCE) -> bool:
    if isinstance(was, (int, float)) and isinstance(now, (int, float)) and not isinstance(was, bool):
        both_nan = was != was and now != now  # noqa: PLR0124 - NaN
        return both_nan or was == now or math.isclose(was, now, rel_tol=tolerance, abs_tol=0.0)
    return bool(was == now) and type(was) is type(now)


def summary_line(found: Verification) -> str:
    """What a verification came to, in one line."""
    harmful: Sequence[Finding] = [finding for finding in found.findings if not finding.is_harmless]
    if found.ok:
        computed = f"{found.num_computed} of {found.num_numbers} computed again"
        return f"every number holds: {computed}, {found.num_files} files whole"
    counts = [
        f"{found.num_stale} of {found.num_computed} numbers are others now" if found.num_stale else "",
        _count(harmful, ("facts", "run"), "place in the facts changed", "places in the facts changed"),
        _count(harmful, ("file", "manifest"), "file was edited", "files were edited"),
    ]
    return "; ".join(count for count in counts if count) or f"{len(harmful)} things do not hold"


def _count(findings: Sequence[Finding], codes: Sequence[str], one: str, many: str) -> str:
    number = sum(finding.code in codes for finding in findings)
    return "" if not number else f"1 {one}" if number == 1 else f"{number} {many}"


def mark_report(path: str | os.PathLike[str], found: Verification) -> None:
    """Write into the page of a report what its verification found; numbers that do not hold are struck through.

    Raises:
        ReportError: the manifest cannot be read, so that nobody knows which number stands where.
        OSError: the page cannot be written.
    """
    directory = ReportDir(Path(path))
    try:
        manifest, _ = read_manifest(directory.manifest)
    except FormatError as error:
        raise ReportError(f"{error}; nothing was marked") from error
    changed = {finding.where for finding in found.findings if finding.code == "number"}
    places = anchors(manifest)
    mark_page(
        directory.page,
        title=f"{'Verified' if found.ok else 'Stale'}: {summary_line(found)}",
        lines=[f"{finding.where}: {finding.message}" for finding in found.findings if not finding.is_harmless],
        anchors=[places[number.id] for number in manifest.numbers if number.id in changed],
    )
