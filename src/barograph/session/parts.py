"""What accompanies a run: terminal, text log, console capture, host sampler, mirrors, the judge of its criteria."""

from __future__ import annotations

import shutil
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import msgspec

from barograph.errors import BarographWarning, MisuseError, RunBusyError
from barograph.facts.rundir import RunDir, check_name
from barograph.mirror.scalars_csv import ScalarsCsv
from barograph.mirror.train_log import MetricLines
from barograph.plugins import explain_missing
from barograph.read.follow import Consumer, Follower
from barograph.record.attempt import Attempt
from barograph.record.cadence import Cadence
from barograph.record.criteria import CriteriaJudge
from barograph.record.run import Run
from barograph.session.companion import Companion, Sampler
from barograph.session.watching import Show, Watching

if TYPE_CHECKING:
    from barograph.record.text_log import TextLog
    from barograph.view.terminal.view import Mode
    from barograph.watch.incident import Told

TERMINALS = ("auto", "rich", "plain", "log", "off")
MIN_HOST_S = 0.1
CONSOLE_LOG = RunDir(Path()).console_log.name
JUDGE = "success criteria"
_LEVELS = {"info": "INFO", "warning": "WARNING", "critical": "ERROR", "fatal": "CRITICAL"}
VERDICT_S = 2.0
"""How long the end of a run may take to judge it from its files, when its companion did not get to their end."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Which parts a run is to have; see ``init``."""

    terminal: str
    text_log: str | None
    console: bool
    host_s: float | None
    mirrors: list[Any]
    figures: bool | Mapping[str, Any]
    seal: bool
    watch: Any

    def __post_init__(self) -> None:
        if self.terminal not in TERMINALS:
            raise MisuseError(f"terminal={self.terminal!r} is none of {', '.join(TERMINALS)}; choose one")
        if self.text_log is not None:
            name = check_name(self.text_log, what="text log")
            if not name.endswith(".log") or name == CONSOLE_LOG:
                raise MisuseError(f"text_log={name!r} must end in '.log' and not be {CONSOLE_LOG!r}, e.g. 'train.log'")
        host_s: object = self.host_s
        if host_s is not None and not (isinstance(host_s, (int, float)) and host_s >= MIN_HOST_S):
            raise MisuseError(f"host_s={self.host_s!r} must be at least {MIN_HOST_S} seconds, or None for no samples")
        figures: object = self.figures
        if not isinstance(figures, (bool, Mapping)):
            raise MisuseError(
                f"figures={self.figures!r} is neither True, False nor a mapping; pass {{'families': [...]}}"
            )
        if self.watch is not True:
            from barograph.watch.settings import read_settings as read_watch  # noqa: PLC0415 - for runs that say how

            msgspec.structs.force_setattr(self, "watch", read_watch(self.watch))
        if isinstance(self.figures, Mapping):
            from barograph.plot.settings import read_settings  # noqa: PLC0415 - for runs that draw

            read_settings(self.figures)


def replay(attempt: Attempt, judge: CriteriaJudge) -> tuple[Follower, bool]:
    """A follower that goes on where older attempts ended, and whether the judge was told of all of their facts."""
    follower = Follower(attempt.directory, rank=attempt.rank)
    table = ScalarsCsv(attempt.directory)
    with attempt.guard.boundary(JUDGE, misuse=True):
        while attempt.number and (facts := follower.poll()):
            judge.feed(facts)
            if attempt.rank == 0:
                with attempt.guard.boundary("scalars.csv", misuse=True):
                    table.catch_up(facts)
        return follower, True
    with attempt.guard.boundary("companion", misuse=True):
        while follower.poll():
            pass
    return follower, False


def attach(run: Run, attempt: Attempt, parts: Parts, judge: CriteriaJudge, replayed: tuple[Follower, bool]) -> None:
    """Give the run its companion and everything that reads its facts; one part's failure costs that part alone."""
    follower, is_judged = replayed
    consumers: dict[str, Consumer] = {}
    sampler: Sampler | None = None
    with attempt.guard.boundary("host sampler", misuse=True):
        sampler = _attach_host(run, attempt, parts.host_s)
    shows: list[Show] = []
    with attempt.guard.boundary("text log", misuse=True):
        _attach_text_log(run, attempt, parts, consumers, shows)
    if attempt.rank == 0:
        if is_judged:
            consumers[JUDGE] = judge
        consumers["scalars.csv"] = ScalarsCsv(attempt.directory)
        run.after_end.append(lambda: link_model(attempt.directory))
    with attempt.guard.boundary("terminal", misuse=True):
        _attach_terminal(run, attempt, parts, consumers, shows)
    if attempt.rank == 0 and (parts.watch is True or parts.watch.is_on):
        consumers["watch"] = watching = Watching(attempt, parts.watch, config=run.config, shows=shows)
        run.stop_asked = watching.should_stop
    if parts.figures:
        with attempt.guard.boundary("figures", misuse=True):
            _attach_figures(run, parts.figures, consumers)
    if parts.seal:
        run.after_close.append(lambda: None if run.is_fork else seal_run(attempt.directory))
    for mirror in parts.mirrors:
        with attempt.guard.boundary(f"mirror {mirror}", misuse=True):
            consumers[f"mirror {mirror}"] = mirror(run.dir, run.config)
    companion = Companion(attempt, consumers, follower=follower, sampler=sampler)
    if attempt.rank == 0:
        run.verdicts = lambda: _verdicts(companion, judge, attempt, is_judged=is_judged)
    run.before_end.insert(0, companion.drain)
    run.after_end.insert(0, companion.close)
    with attempt.guard.boundary("companion", misuse=True):
        companion.start()  # without a thread everything is fed at the end


def _verdicts(companion: Companion, judge: CriteriaJudge, attempt: Attempt, *, is_judged: bool) -> list[dict[str, Any]]:
    """Verdicts from every fact: from the files, when the companion did not get to the end of them."""
    if not is_judged or JUDGE in companion.detached:
        failure = attempt.guard.failures.get(JUDGE, "")
        return _unjudged(judge, f"the facts could not be judged: {failure}")
    if not companion.is_behind:
        return judge.verdicts()
    deadline_s = time.monotonic() + VERDICT_S
    judge, follower = CriteriaJudge(judge.criteria), Follower(attempt.directory, rank=attempt.rank)
    while facts := follower.poll():
        judge.feed(facts)
        if time.monotonic() >= deadline_s:
            return _unjudged(judge, "the run ended before all of its facts were read")
    return judge.verdicts()


def _unjudged(judge: CriteriaJudge, reason: str) -> list[dict[str, Any]]:
    return [
        {"text": criterion.text, "passed": None, "reason": reason, "evidence": {"value": None, "n": 0}}
        for criterion in judge.criteria
    ]


def _attach_host(run: Run, attempt: Attempt, interval_s: float | None) -> Sampler | None:
    if interval_s is None:
        return None
    from barograph.record.host import HostSampler  # noqa: PLC0415 - psutil; loaded with the first run

    sampler = HostSampler(interval_s=interval_s, run_dir=attempt.directory.path)
    run.resources = sampler.summary
    run.before_end.append(lambda: _tell_gaps(run, sampler.notes))
    run.after_end.append(sampler.close)
    return sampler


def _tell_gaps(run: Run, notes: list[str]) -> None:
    """What could not be sampled, and why, in the run's journal."""
    for note in notes:
        run.note(f"host sampler: {note}")


def _attach_text_log(
    run: Run, attempt: Attempt, parts: Parts, consumers: dict[str, Consumer], shows: list[Show]
) -> None:
    if parts.text_log is None:
        return
    from barograph.record.text_log import TextLog  # noqa: PLC0415 - loguru; loaded with the first run

    shown = parts.terminal == "log"
    log = TextLog(
        attempt.directory.path / parts.text_log,
        run_id=run.id,
        console=parts.terminal != "off",
        on_error=lambda error: attempt.guard.failed("text log", error),
    )
    run.after_end.append(log.close)
    cadence: Cadence = run.cadence
    consumers["text log"] = MetricLines(
        lambda message, t: log.emit(message, t, shown=shown),
        due=lambda step: cadence.kind(step) is not None,
        run_id=run.id,
    )
    shows.append(lambda told: _log_alerts(log, told, shown=shown))


def _log_alerts(log: TextLog, told: Sequence[Told], *, shown: bool) -> None:
    """What a watcher found, as lines of the text log."""
    from barograph.view.terminal.alerts import told_lines  # noqa: PLC0415 - loaded with the terminal
    from barograph.view.terminal.blocks import ASCII  # noqa: PLC0415 - the same

    for each in told:
        level = "INFO" if each.stage == "ended" else _LEVELS[each.alert.severity]
        for line in told_lines(each, ASCII):
            log.emit(line.strip(), each.t, shown=shown, level=level)


def _attach_terminal(
    run: Run, attempt: Attempt, parts: Parts, consumers: dict[str, Consumer], shows: list[Show]
) -> None:
    from barograph.record.console import ConsoleCapture  # noqa: PLC0415 - loaded with the first run
    from barograph.view.terminal.view import TerminalView  # noqa: PLC0415 - the same; rich only on a terminal

    mode = cast("Mode", "off" if parts.terminal == "log" else parts.terminal)
    view = TerminalView(cast("TextIO | None", sys.stdout), mode=mode)
    if view.mode != "off":
        consumers["terminal"] = view
        shows.append(view.tell)
    if not parts.console:
        return
    capture = ConsoleCapture(
        attempt.directory.console_log, on_error=lambda error: attempt.guard.failed("console", error)
    )
    capture.start()
    for tee in capture.tees:
        if view.mode != "off" and tee.isatty():
            tee.route = cast("TextIO", view.above)
    run.after_end.append(capture.stop)


def _attach_figures(run: Run, figures: bool | Mapping[str, Any], consumers: dict[str, Consumer]) -> None:
    from barograph.plot.live import live_figures  # noqa: PLC0415 - for runs that draw

    drawing = live_figures(run.dir, figures)
    if drawing is not None:
        consumers["figures"] = drawing


def seal_run(directory: RunDir) -> None:
    """Turn the rows of a run that has ended into Parquet; where other ranks go on, say so and leave them.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    try:
        from barograph.read.archive.seal import seal  # noqa: PLC0415 - numpy and pyarrow, for runs that are sealed
        from barograph.read.run import RunReader  # noqa: PLC0415 - the same

        seal(RunReader(directory.path))
    except ModuleNotFoundError as error:
        raise explain_missing(error) or error from error
    except RunBusyError as error:
        warnings.warn(f"not sealed: {error}, then `barograph seal {directory.path}`", BarographWarning, stacklevel=2)


def link_model(directory: RunDir) -> None:
    """Make ``model.pt`` a link to ``best_val.pt`` (a copy where links are not to be had), unless it is there."""
    if not directory.best.is_file() or directory.model.exists() or directory.model.is_symlink():
        return
    try:
        directory.model.symlink_to(directory.best.name)
    except OSError:
        shutil.copyfile(directory.best, directory.model)
