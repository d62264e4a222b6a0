"""``barograph.init``: puts recorder, companion, terminal and mirrors together. The composition root.

It decides nothing by itself: where the run lies is ``session.place``, how processes end is ``session.endings``.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from barograph import plugins
from barograph.errors import BarographWarning, MisuseError, PluginNotFoundError, RecordingWarning
from barograph.facts.blobs import put_bytes
from barograph.facts.codec import encode
from barograph.facts.descriptor import replace_file
from barograph.facts.kinds import SCHEMA_VERSION, OnResume, OnStart, as_payload
from barograph.facts.rundir import RunDir, check_name, default_root, run_dir_name
from barograph.facts.state import this_process, write_process
from barograph.record.arguments import texts, whole_or_none
from barograph.record.attempt import Attempt, WriteMode
from barograph.record.cadence import Cadence
from barograph.record.criteria import CriteriaJudge
from barograph.record.detail import DetailConfig
from barograph.record.guard import Guard
from barograph.record.identity import Identity, new_run_id
from barograph.record.run import Run
from barograph.session.endings import watch_over
from barograph.session.launch import Launch, find_launch, publish, wait_for_owner
from barograph.session.parts import Parts, attach, replay
from barograph.session.place import Place, Resume, check_resume, joined_place, named_place, new_place

TIERS = ("quick", "full")
_launch_numbers = itertools.count()


def init(
    project: str | None = None,
    name: str | None = None,
    config: Any = None,
    *,
    dir: str | os.PathLike[str] | None = None,  # noqa: A002 - the name that wandb users know
    root: str | os.PathLike[str] | None = None,
    group: str | None = None,
    tags: Iterable[str] = (),
    notes: str | None = None,
    seed: int | None = None,
    tier: str | None = None,
    hypothesis: str | None = None,
    success: Iterable[str] = (),
    resume: str | None = None,
    log_steps: int | None = None,
    eval_steps: int | None = None,
    total_steps: int | None = None,
    total_epochs: int | None = None,
    detail: str | Mapping[str, Any] = "standard",
    mirrors: Iterable[str] = (),
    figures: bool | Mapping[str, Any] = False,
    seal: bool = False,
    watch: bool | Mapping[str, Any] = True,
    terminal: str = "auto",
    text_log: str | None = "train.log",
    console: bool = True,
    host_s: float | None = 10.0,
    write: WriteMode = "direct",
    strict: bool = False,
) -> Run:
    """Begin to record a run.

    Args:
        project: what the run belongs to.
        name: what people call it; the project's name, else ``run``, when not given.
        config: the exact configuration: a mapping, dataclass, argparse namespace, OmegaConf or pydantic model.
            Credentials in it are redacted before anything is written.
        dir: exactly this directory; else ``ROOT/run_YYYYMMDD-HHMMSS_NAME_jobN`` is made.
        root: where runs go; ``BAROGRAPH_ROOT``, else ``./runs``, when not given.
        group: runs that belong together.
        tags: words to find the run by.
        notes: free text.
        seed: recorded; nothing is seeded (``barograph.set_all_seeds`` does that).
        tier: ``quick`` for a de-risking run, ``full`` for the real one; by the directory's name when that is one.
        hypothesis: what the run is to show.
        success: criteria stated now and judged from facts at the end, e.g. ``val_loss < 0.3 by step 2000``.
        resume: ``never`` (default), ``allow`` or ``must`` continue the run in ``dir`` as its next attempt.
        log_steps: a fast log every so many steps; the config's ``log_steps``, else 10, when not given.
        eval_steps: a full evaluation every so many steps; the config's, else 200, when not given.
        total_steps: how many steps are planned, for the ETA.
        total_epochs: how many epochs are planned, for the ETA.
        detail: level of detail records (``minimal``, ``standard``, ``detailed``, ``debug``), or S4's
            ``detailed_logging`` mapping.
        mirrors: names of mirrors; one that no installed distribution offers is warned about and left out.
        figures: draw while training, in a process beside it: True for every family at its own moments, or a mapping
            with ``families``, ``moments``, ``format`` (S3's ``logging`` group).
        seal: turn the rows into Parquet when the run has finished.
        watch: say what is wrong with the run while it goes on: True, False, or a mapping with ``detectors`` or ``off``,
            ``roles``, ``rules``, ``actions`` and ``stop_on``; see docs/alerts.md.
        terminal: ``auto``, ``rich``, ``plain``, ``log`` (metric lines through loguru) or ``off``.
        text_log: name of the text log in the run's directory; None for none.
        console: also keep what is printed on stdout and stderr, in ``console.log``.
        host_s: sample memory, processors and cards every so many seconds; None for not.
        write: ``direct`` (on disk when the call returns) or ``batch`` (for slow file systems; may lose 2 ms).
        strict: raise when the recorder fails, instead of warning, counting and going on.

    Returns:
        The run; use it as a context manager, or call ``finish``.

    Raises:
        MisuseError: an argument cannot be used; nothing was written. Its subclasses say what is wrong.
    """
    totals = (
        whole_or_none(total_steps, what="total_steps", least=1),
        whole_or_none(total_epochs, what="total_epochs", least=1),
    )
    named, base = _read_places(dir, root)
    wanted = Identity(
        run_id=new_run_id(),
        name=check_name(name or project or "run", what="run name"),
        project=project,
        group=group,
        tags=[check_name(tag, what="tag") for tag in texts(tags, what="tags")],
        notes=notes,
        seed=seed,
        tier=_check_tier(tier, named),
        hypothesis=hypothesis,
        success=texts(success, what="success"),
    )
    judge = CriteriaJudge(wanted.success)
    settings, redacted = _read_config(config)
    cadence = _read_cadence(settings, log_steps, eval_steps)
    details = _read_detail(detail)
    if write not in ("direct", "batch"):
        raise MisuseError(f"write={write!r} is neither 'direct' nor 'batch'; choose one")
    checked_resume = check_resume(resume, has_dir=named is not None)
    launch = find_launch(os.environ, numbers=_launch_numbers)
    is_owner = launch.rank == 0
    guard = Guard(strict=strict)
    parts = Parts(
        terminal=terminal if is_owner else "off",
        text_log=text_log if is_owner else None,
        console=console and is_owner,
        host_s=host_s,
        mirrors=_find_mirrors(guard, texts(mirrors, what="mirrors")) if is_owner else [],
        figures=figures if is_owner else False,
        seal=seal and is_owner,
        watch=watch,
    )
    place = _take_place(guard, launch, base, named, name=wanted.name, resume=checked_resume)
    if place.identity is not None:
        judge = CriteriaJudge(place.identity.success)
        _warn_of_changes(wanted, place.identity, has_name=bool(name or project))
    attempt = Attempt(
        place.directory,
        place.identity or wanted,
        number=place.attempt,
        rank=launch.rank,
        guard=guard,
        write=write,
        first_step=place.first_step,
    )
    run = Run(attempt, config=settings, cadence=cadence, detail=details)
    watch_over(run)
    replayed = replay(attempt, judge)
    _begin(run, attempt, place, redacted=redacted, key=launch.key, totals=totals)
    if is_owner and launch.world > 1 and named is None:
        with guard.boundary("launch"):
            publish(base, launch.key, place.directory.path)
    attach(run, attempt, parts, judge, replayed)
    return run


def _read_places(
    directory: str | os.PathLike[str] | None, root: str | os.PathLike[str] | None
) -> tuple[Path | None, Path]:
    """The directory that the caller names, or None, and the root of runs."""
    given: dict[str, Any] = {"dir": directory, "root": root}
    for what, path in given.items():
        if path is not None and not (isinstance(path, (str, os.PathLike)) and os.fspath(path)):
            raise MisuseError(f"{what}={path!r} is no path; pass a text or a Path, or leave it out")
    if directory is not None and root is not None:
        warnings.warn(
            f"root={os.fspath(root)!r} is not used, because dir={os.fspath(directory)!r} names the run's directory; "
            f"leave one of them out",
            BarographWarning,
            stacklevel=3,
        )
    return None if directory is None else Path(directory), default_root() if root is None else Path(root)


def _warn_of_changes(wanted: Identity, recorded: Identity, *, has_name: bool) -> None:
    """A run that goes on stays who it was; say so where the call says otherwise."""
    said = {field: value for field, value in wanted.as_dict().items() if value not in (None, []) and field != "run_id"}
    if not has_name:
        del said["name"]
    changed = [f"{field}={value!r}" for field, value in said.items() if value != getattr(recorded, field)]
    if changed:
        warnings.warn(
            f"the run goes on with what run.json says; not used: {', '.join(changed)}. To say something else, begin "
            f"another run in another dir",
            BarographWarning,
            stacklevel=3,
        )


def _check_tier(tier: str | None, directory: Path | None) -> str | None:
    if tier is None and directory is not None and directory.name in TIERS:
        return directory.name
    if tier is not None and tier not in TIERS:
        raise MisuseError(f"tier={tier!r} is none of {', '.join(TIERS)}; choose one")
    return tier


def _read_config(config: Any) -> tuple[dict[str, Any], list[str]]:
    from barograph.record.config import plain_config  # noqa: PLC0415 - its parsers are loaded with the first run
    from barograph.record.redact import redact  # noqa: PLC0415 - the same

    return redact(plain_config(config))


def _read_cadence(config: Mapping[str, Any], log_steps: int | None, eval_steps: int | None) -> Cadence:
    named = {key: config[key] for key in ("log_steps", "eval_steps") if config.get(key) is not None}
    given = {key: value for key, value in (("log_steps", log_steps), ("eval_steps", eval_steps)) if value is not None}
    return Cadence.from_config({**named, **given})


def _read_detail(detail: str | Mapping[str, Any]) -> DetailConfig:
    return DetailConfig.from_mapping({"level": detail} if isinstance(detail, str) else detail)


def _find_mirrors(guard: Guard, names: list[str]) -> list[Any]:
    found = []
    for name in names:
        with guard.boundary(f"mirror {name}", misuse=True):
            try:
                found.append(plugins.load("barograph.mirrors", name))
            except PluginNotFoundError as error:
                warnings.warn(f"mirror {name!r} is left out: {error}", RecordingWarning, stacklevel=3)
    return found


def _planned_name(name: str) -> str:
    import datetime as dt  # noqa: PLC0415 - loaded already by facts

    return run_dir_name(name, dt.datetime.now(dt.UTC), 0)


def _take_place(guard: Guard, launch: Launch, base: Path, named: Path | None, *, name: str, resume: Resume) -> Place:
    """Make, resume or join a directory; where that fails, one that is tried again when the first fact comes."""
    with guard.boundary("directory"):
        if launch.rank > 0:
            directory, owner = wait_for_owner(base, named, launch)
            return joined_place(directory, owner, rank=launch.rank)
        place = new_place(base, name) if named is None else named_place(named, resume)
        if place.failure is not None:
            guard.failed("directory", place.failure)
        return place
    return Place(directory=RunDir(named or base / _planned_name(name)))


def _begin(
    run: Run,
    attempt: Attempt,
    place: Place,
    *,
    redacted: list[str],
    key: str,
    totals: tuple[int | None, int | None],
) -> None:
    """Write who the run is and that it begins; each file atomically, so that no reader sees a part."""
    directory, identity = attempt.directory, attempt.identity
    with attempt.guard.boundary("identity"):
        directory.ensure_facts()
        if attempt.rank == 0:
            _write_identity(run, attempt, redacted)
        record = this_process(attempt=attempt.number, t=attempt.clock(), launch=key)
        write_process(directory.process(attempt.rank), record)
    if place.attempt:
        resumed = OnResume(
            previous_attempt=place.attempt - 1, previous_status=place.previous_status, repaired=place.repaired
        )
        attempt.record("on_resume", {"previous_attempt": place.attempt - 1, **as_payload(resumed)})
    started = OnStart(
        run_id=identity.run_id,
        name=identity.name,
        run_dir=str(directory.path),
        project=identity.project,
        tier=identity.tier,
        pid=os.getpid(),
        total_steps=totals[0],
        total_epochs=totals[1],
        log_steps=run.cadence.log_steps,
        eval_steps=run.cadence.eval_steps,
        hypothesis=identity.hypothesis,
        success=identity.success,
    )
    attempt.record("on_start", as_payload(started))


def _write_identity(run: Run, attempt: Attempt, redacted: list[str]) -> None:
    from barograph.record.config import read_config_yaml, write_config_yaml  # noqa: PLC0415 - loaded already
    from barograph.record.git import collect_diff  # noqa: PLC0415 - starts subprocesses; loaded with the first run
    from barograph.record.provenance import collect_provenance  # noqa: PLC0415 - the same

    directory = attempt.directory
    provenance = collect_provenance(
        argv=sys.argv,
        environ=os.environ,
        cwd=Path.cwd(),
        seed=attempt.identity.seed,
        run_dir=directory.path,
    )
    git = provenance["git"]
    if git["dirty"]:
        diff = collect_diff(Path(git["root"]), environ=os.environ)
        if diff.patch:
            ref = put_bytes(directory.blobs, diff.patch, media_type="text/x-diff")
            git["diff"] = {
                **msgspec.structs.asdict(ref),
                "truncated": diff.truncated,
                "num_redacted_lines": diff.num_redacted_lines,
            }
        git["diff_note"] = diff.note
    if not directory.identity.exists():
        write_config_yaml(directory.config, run.config)
        record = {
            "schema_version": SCHEMA_VERSION,
            "created_t": time.time(),
            **attempt.identity.as_dict(),
            "config_redacted": redacted,
            "provenance": provenance,
        }
        replace_file(directory.identity, encode(record) + b"\n")
        return
    replace_file(directory.attempt_provenance(attempt.number), encode({"provenance": provenance}) + b"\n")
    if not directory.config.exists() or read_config_yaml(directory.config) != run.config:
        write_config_yaml(directory.attempt_config(attempt.number), run.config)
