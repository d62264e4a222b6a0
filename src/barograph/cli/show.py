"""``barograph show RUN``: one run on one screen."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from barograph.cli.arguments import add_run, run_of, verb_parser
from barograph.cli.output import (
    GAP,
    Style,
    maybe,
    nonfinite_words,
    pairs,
    plural,
    print_json,
    status_words,
    table,
    when,
)
from barograph.facts.kinds import OnCheck
from barograph.facts.rows import HOST_SPLIT
from barograph.read.digest import Digest
from barograph.read.identity import flatten
from barograph.read.metrics import MetricSummary
from barograph.read.run import RunReader
from barograph.read.status import read_ranks
from barograph.view.terminal.summary import end_lines
from barograph.view.terminal.wording import fields, number, one_line

DESCRIPTION: Final = """\
One run: who it is, how it is, its configuration, each metric with last, minimum and maximum and where they
stand, epochs, checks, success criteria as judged at its end, what recording cost.
Minimum, maximum and last value are of the effective curve: the latest attempt at each step.
"""
HEAD: Final = ("metric", "split", "points", "last", "at step", "min", "at step", "max", "at step", "non-finite")
RIGHT: Final = ("points", "last", "at step", "min", "max")
COMMIT_CHARS: Final = 12
VALUE_CHARS: Final = 60
MAX_CHECKS: Final = 20


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Print the run."""
    parser = verb_parser(
        "show", DESCRIPTION, json_help='one line of JSON: {"path", "identity", "status", "metrics": [...], ...}'
    )
    add_run(parser)
    parser.add_argument("--host", action="store_true", help="also samples of the machine (split host)")
    args = parser.parse_args(argv)
    reader = RunReader(run_of(args, root))
    if args.json:
        print_json(_document(reader))
        return 0
    style = Style(sys.stdout)
    digest, metrics = reader.digest(), reader.metrics()
    shown = [metric for metric in metrics if args.host or metric.split != HOST_SPLIT]
    sections = {
        "": _head(reader, digest, style),
        "configuration": pairs(_configuration(reader)),
        "metrics": _metric_lines(shown, style),
        "epochs": _epochs(digest),
        "checks": _checks(digest.checks, style),
        "end": _end(reader, digest, style),
        "alerts": [f"{GAP}{_alert(alert)}" for alert in digest.alerts + reader.watched_alerts()],
        "failures": [f"{GAP}{one_line(f'{it.source}: {it.type}: {it.message}', limit=200)}" for it in digest.failures],
        "damage": _damage(reader),
    }
    blocks = [[style.heading(title), *lines] if title else lines for title, lines in sections.items() if lines]
    print("\n\n".join("\n".join(block) for block in blocks))
    return 0


def _document(reader: RunReader) -> dict[str, Any]:
    digest = reader.digest()
    ended = reader.exit_record()
    return {
        "path": str(reader.path),
        "identity": reader.identity,
        "status": reader.status(),
        "attempts": reader.attempts(),
        "ranks": {str(rank): status for rank, status in read_ranks(reader.path).items()},
        "config": reader.config,
        "backfilled": reader.backfilled,
        "metrics": reader.metrics(),
        "epochs": {"count": digest.moments["on_epoch_end"], "last": digest.last_epoch, "best": digest.best_epoch},
        "checks": digest.checks,
        "success": reader.success(),
        "summary": digest.summary,
        "alerts": digest.alerts + reader.watched_alerts(),
        "failures": digest.failures,
        "events": dict(digest.moments),
        "ledger": {} if ended is None else ended.ledger,
        "provenance": reader.provenance,
        "damage": reader.damage,
    }


def _head(reader: RunReader, digest: Digest, style: Style) -> list[str]:
    identity, status = reader.identity, reader.status()
    reason = status_words(status)
    title = f"{style.heading(one_line(identity.name))}  {identity.run_id}  {style.word(status.state)}"
    return [
        title + (f": {reason}" if reason else ""),
        *pairs(
            {
                "directory": one_line(str(reader.path)),
                "project": one_line(identity.project or ""),
                "group": one_line(identity.group or ""),
                "tier": identity.tier or "",
                "tags": one_line(", ".join(identity.tags)),
                "seed": "" if identity.seed is None else str(identity.seed),
                "started": when(identity.created_t),
                "attempts": _attempts(reader, digest),
                "ranks": _ranks(reader),
                "code": _code(reader.provenance),
                "command": _command(reader.provenance.get("argv")),
                "hypothesis": one_line(identity.hypothesis or ""),
                "notes": one_line(identity.notes or ""),
                "events": ", ".join(f"{count} {moment}" for moment, count in sorted(digest.moments.items())),
            }
        ),
    ]


def _attempts(reader: RunReader, digest: Digest) -> str:
    """How earlier attempts ended; nothing for a run that was never resumed."""
    if len(digest.attempts) < 2:  # noqa: PLR2004 - one attempt is the run itself
        return ""
    latest = max(digest.attempts)
    return ", ".join(
        f"{number} {reader.status().state if number == latest else attempt.status or 'killed'}"
        for number, attempt in sorted(digest.attempts.items())
    )


def _ranks(reader: RunReader) -> str:
    """How each process of a distributed run is; nothing for a single one."""
    ranks = read_ranks(reader.path)
    return ", ".join(f"{rank} {status.state}" for rank, status in ranks.items()) if len(ranks) > 1 else ""


def _code(provenance: dict[str, Any]) -> str:
    git = provenance.get("git")
    if not isinstance(git, dict) or not git.get("commit"):
        return ""
    branch = f" on {one_line(str(git['branch']))}" if git.get("branch") else ""
    return f"{str(git['commit'])[:COMMIT_CHARS]}{branch}{', with uncommitted changes' if git.get('dirty') else ''}"


def _command(argv: Any) -> str:
    return one_line(" ".join(map(str, argv)) if isinstance(argv, list) else str(argv or ""), limit=200)


def _configuration(reader: RunReader) -> dict[str, str]:
    """Keys that were filled in afterwards are marked."""
    filled = flatten(reader.backfilled)
    shown = {name: _value(value) for name, value in flatten(reader.config).items()}
    return {name: f"{value}  (filled in)" if name in filled else value for name, value in shown.items()}


def _value(value: Any) -> str:
    return one_line(repr(value) if isinstance(value, str) else str(value), limit=VALUE_CHARS)


def _metric_lines(metrics: Iterable[MetricSummary], style: Style) -> list[str]:
    rows = [
        (
            one_line(metric.name) + (f" [rank {metric.rank}]" if metric.rank else ""),
            one_line(metric.split),
            str(metric.count) + (f" ({metric.num_superseded} superseded)" if metric.num_superseded else ""),
            maybe(metric.last),
            maybe(metric.last_step),
            maybe(metric.min),
            maybe(metric.min_step),
            maybe(metric.max),
            maybe(metric.max_step),
            nonfinite_words(metric.nonfinite_counts) or "-",
        )
        for metric in metrics
    ]
    return table(HEAD, rows, style, right=RIGHT, indent=GAP) if rows else []


def _epochs(digest: Digest) -> list[str]:
    last, best = digest.last_epoch, digest.best_epoch
    if last is None:
        return []
    losses = {"train_loss": last.train_loss, "val_loss": last.val_loss, **last.metrics}
    values = fields({name: value for name, value in losses.items() if value is not None})
    lines = {"ended": str(digest.moments["on_epoch_end"]), "last": f"epoch {last.epoch}  {values}"}
    if best is not None and best.val_loss is not None:
        lines["best"] = f"epoch {best.epoch}  val_loss {number(best.val_loss)}"
    return pairs(lines)


def _checks(checks: Sequence[OnCheck], style: Style) -> list[str]:
    failed = [check for check in checks if not check.passed]
    passed = [check for check in checks if check.passed]
    lines = []
    for check in [*failed, *passed][:MAX_CHECKS]:
        mark = style.symbols.good if check.passed else style.symbols.bad
        values = "" if check.expected is None else f": expected {_value(check.expected)}, got {_value(check.got)}"
        lines.append(f"{GAP}{mark} {one_line(check.name)}{values}")
    if len(checks) > MAX_CHECKS:
        lines.append(f"{GAP}and {len(checks) - MAX_CHECKS} more; {plural(len(failed), 'check')} of all failed")
    return lines


def _end(reader: RunReader, digest: Digest, style: Style) -> list[str]:
    """What the terminal said when the latest attempt ended, or the criteria that are still to be judged."""
    if digest.end is not None and reader.success() == digest.end.success:
        return [f"{GAP}{line}" for line in end_lines(digest.end, style.symbols)]
    stated = [f"{GAP}stated: {one_line(text)}" for text in reader.identity.success]
    return stated + ([f"{GAP}summary: {fields(digest.summary)}"] if digest.summary else [])


def _alert(alert: dict[str, Any]) -> str:
    level = alert.get("severity") or alert.get("level") or "warning"
    title = alert.get("title") or alert.get("type") or "alert"
    return one_line(f"[{level}] {title}: {alert.get('text') or alert.get('message') or ''}", limit=200)


def _damage(reader: RunReader) -> list[str]:
    lines = [f"{GAP}{place.path} at byte {place.offset}: {one_line(place.reason)}" for place in reader.damage]
    lines += [f"{GAP}{one_line(misfit)}" for misfit in reader.misfits]
    return [*lines, f"{GAP}`barograph check {reader.path}` says more"] if lines else []
