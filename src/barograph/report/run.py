"""Makes a report: finds the runs, asks the facts, writes the directory, and leaves a line in each run.

    run_report({"kind": "sweep", "inputs": {"sweep_dir": "outputs/multiruns/exp_1"}})

Of the runs nothing is changed but ``reports.jsonl``. The manifest is written last: a directory without one is no
report.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import uuid
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.errors import BarographWarning, ReportError
from barograph.facts.descriptor import replace_file
from barograph.read.status import LIVING
from barograph.report.backlinks import add_backlink
from barograph.report.config import ReportConfig, read_report_config
from barograph.report.content import hash_edits, read_content
from barograph.report.directory import ReportDir, create_report_dir
from barograph.report.document import Document
from barograph.report.files import hash_files, save_picture, write_json, write_summary, write_table
from barograph.report.inference import Inferred, infer
from barograph.report.inputs import gather, listed
from barograph.report.manifest import Manifest, RunEntry, SkippedEntry, write_manifest
from barograph.report.markdown import to_markdown
from barograph.report.number import Facts
from barograph.report.protocol import ReportKind, load_kind
from barograph.report.render import Page
from barograph.version import VERSION

LIBRARIES: Final = ("numpy", "polars", "scipy", "matplotlib", "jinja2", "msgspec")


def utc_now() -> dt.datetime:
    """The time, UTC."""
    return dt.datetime.now(tz=dt.UTC)


def run_report(
    cfg: Any,
    *,
    kind: str | ReportKind | None = None,
    root: str | os.PathLike[str] | None = None,
    now: Callable[[], dt.datetime] = utc_now,
) -> Path:
    """Make a report.

    Args:
        cfg: a mapping, an OmegaConf ``DictConfig`` or an object with attributes; see ``ReportConfig``. It needs
            ``inputs.sweep_dir`` or ``inputs.runs``.
        kind: what sort of report, where ``cfg`` does not say; a name, or a kind of one's own.
        root: where ids and names of runs are looked up; ``BAROGRAPH_ROOT``, else ``./runs``, when not given.
        now: the time, UTC.

    Returns:
        The report's directory.

    Raises:
        ReportError: the configuration cannot be used, or no run is left to report.
        RunNotFoundError: a directory or a run does not exist.
        MetricNotFoundError: no run recorded a metric that was asked for.

    Warns:
        BarographWarning: runs were left out (the report lists each with its reason), or could not be noted in a run.
    """
    name = kind if isinstance(kind, str) else None
    config = read_report_config(cfg, kind=name)
    made_by = _kind(kind, config)
    runs = gather(config.inputs, allow_unended=made_by.allow_unended, root=root)
    if runs.skipped:
        total = len(runs) + len(runs.skipped)
        warnings.warn(
            f"{len(runs.skipped)} of {total} runs are not in the report; it lists them:\n{listed(runs.skipped)}",
            BarographWarning,
            stacklevel=2,
        )
    facts = Facts(runs)
    document = made_by.build(facts, config)
    inferred = infer(facts, config.inference)
    if inferred is not None:
        document = msgspec.structs.replace(document, sections=[*document.sections, inferred.section])
    when = now()
    directory = create_report_dir(Path(config.outputs.dir), config.name or made_by.name, when=when)
    checkpoints = {} if inferred is None else inferred.checkpoints
    entries = {key: _entry(directory, facts, key, checkpoints.get(key)) for key in facts.keys}
    manifest = Manifest(
        report_id=uuid.uuid4().hex,
        name=config.name or made_by.name,
        kind=made_by.name,
        title=document.title,
        created_t=when.timestamp(),
        created=f"{when:%Y-%m-%d %H:%M:%S} UTC",
        versions=_versions(),
        cfg=msgspec.to_builtins(config),
        runs=entries,
        skipped=[SkippedEntry(dir=_relative(Path(it.path), directory), reason=it.reason) for it in runs.skipped],
        numbers=list(facts.numbers.values()),
        files={},
    )
    _write(directory, manifest, document, inferred)
    _link(directory, manifest, facts)
    _warn_of_growing(facts)
    return directory.path


def _warn_of_growing(facts: Facts) -> None:
    """A run that was written to meanwhile is not what the report says, and verification will say so."""
    for key, reader in facts.readers.items():
        if facts.states[key].state in LIVING and read_content(reader.directory) != facts.contents[key]:
            warnings.warn(
                f"{reader.path} was written to while the report was made, so its numbers are of different moments; "
                f"make the report again when the run has ended",
                BarographWarning,
                stacklevel=3,
            )


def _kind(kind: str | ReportKind | None, config: ReportConfig) -> ReportKind:
    if kind is not None and not isinstance(kind, str):
        return kind
    if config.kind is None:
        raise ReportError("the report's kind is not said; set kind, e.g. kind=sweep, single_run or comparison")
    return load_kind(config.kind)


def _entry(directory: ReportDir, facts: Facts, key: str, checkpoint: tuple[str, str] | None) -> RunEntry:
    reader, content = facts.readers[key], facts.contents[key]
    return RunEntry(
        dir=_relative(reader.path, directory),
        path=str(reader.path.absolute()),
        run_id=reader.identity.run_id,
        name=reader.identity.name,
        status=facts.states[key].state,
        content_sha256=content.sha256,
        size_bytes=content.size_bytes,
        parts=content.parts,
        edits_sha256=hash_edits(reader.directory),
        checkpoint=None if checkpoint is None else checkpoint[0],
        checkpoint_sha256=None if checkpoint is None else checkpoint[1],
    )


def _relative(path: Path, directory: ReportDir) -> str:
    return os.path.relpath(path.absolute(), directory.path.absolute())


def _versions() -> dict[str, str]:
    versions = {"barograph": VERSION, "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue  # a library that this report did not need
    return versions


def _write(directory: ReportDir, manifest: Manifest, document: Document, inferred: Inferred | None) -> None:
    for table in document.tables():
        if table.is_file:
            write_table(directory.table(table.name), table)
    figures = {
        picture.name: save_picture(directory, picture, part=section.part) for section, picture in document.pictures()
    }
    write_summary(directory, manifest, document)
    if inferred is not None:
        numbers = {number.id: number.value for number in manifest.numbers if number.query.of == "inference"}
        directory.inference.mkdir(exist_ok=True)
        inference = {"report_id": manifest.report_id, "checkpoints": inferred.checkpoints, "numbers": numbers}
        write_json(directory.summary_json("inference"), inference)
    names = {name: file for name, (file, _) in figures.items()}
    replace_file(directory.markdown, to_markdown(document, manifest, names).encode("utf-8", "backslashreplace"))
    page = Page(manifest, figures, directory.path.name).html(document)
    replace_file(directory.page, page.encode("utf-8", "backslashreplace"))
    write_manifest(directory.manifest, msgspec.structs.replace(manifest, files=hash_files(directory)))


def _link(directory: ReportDir, manifest: Manifest, facts: Facts) -> None:
    for reader in facts.readers.values():
        try:
            add_backlink(
                reader.path,
                report_dir=directory.path,
                report_id=manifest.report_id,
                name=manifest.name,
                kind=manifest.kind,
                t=manifest.created_t,
            )
        except OSError as error:
            reason = f"{reader.path} cannot be written to ({error.strerror}), so no line in it leads to the report"
            warnings.warn(f"{reason}; the report itself is whole", BarographWarning, stacklevel=3)
