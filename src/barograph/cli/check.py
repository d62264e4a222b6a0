"""``barograph check RUN|ROOT``: verify files, judge success criteria again from the facts. The exit code tells."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import GAP, Style, plural, print_json
from barograph.errors import InvalidCriterionError
from barograph.facts.kinds import OnTrainEnd
from barograph.facts.rundir import RunDir
from barograph.read.catalog import discover_runs, find_run
from barograph.read.run import RunReader
from barograph.read.status import ENDED, Status
from barograph.read.verify import Finding, verify
from barograph.record.criteria import CriteriaJudge
from barograph.view.terminal.summary import end_lines
from barograph.view.terminal.wording import one_line

DESCRIPTION: Final = """\
Verifies every file of a run, or of each run below a directory: format, torn and damaged places, gaps in seq,
contents of blobs, facts that the ledger counts and the files lack. Then judges the success criteria again, from
the facts alone. Nothing is changed.

  ok     nothing is wrong; warnings (a run that was killed, a write that was cut short) do not count
  error  facts are lost, damaged, or contradict each other
  unmet  a criterion of a run that has ended does not hold, or could not be judged

exit code: 0 when every run is ok, 1 when not, 2 when there is no such run.
"""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one run.

    Attributes:
        path: the run's directory.
        run_id: unique for all time; "" when it has none.
        name: what people call it.
        status: what it is doing.
        findings: of its files.
        success: verdicts on its criteria, judged now.
        ok: whether the exit code may be 0.
    """

    path: str
    run_id: str
    name: str
    status: Status
    findings: list[Finding]
    success: list[dict[str, Any]]
    ok: bool


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Print what was found."""
    parser = verb_parser(
        "check", DESCRIPTION, json_help='one line of JSON: {"ok": ..., "runs": [{"path", "findings", "success", ...}]}'
    )
    parser.add_argument("run", nargs="?", metavar="RUN|ROOT", help="a run, or a directory of runs; the root by default")
    parser.add_argument("--no-criteria", action="store_true", help="verify the files only")
    args = parser.parse_args(argv)
    reports = [_report(path, judged=not args.no_criteria) for path in _targets(args.run, root_of(args, root))]
    ok = all(report.ok for report in reports)
    if args.json:
        print_json({"ok": ok, "runs": reports})
    else:
        style = Style(sys.stdout)
        for report in reports:
            print("\n".join(_lines(report, style)))
        print(_total(reports))
    return 0 if ok else 1


def _targets(name: str | None, root: Path) -> list[Path]:
    if name is None:
        return discover_runs(root)
    path = Path(name)
    return discover_runs(path) if path.is_dir() and not RunDir(path).is_run() else [find_run(name, root)]


def _report(path: Path, *, judged: bool) -> Report:
    reader = RunReader(path)
    findings, status = verify(path), reader.status()
    success: list[dict[str, Any]] = []
    if judged:
        try:
            success = _judge(reader)
        except InvalidCriterionError as error:
            message = f"a success criterion cannot be read: {error}"
            findings.insert(0, Finding(severity="error", code="criterion", file="run.json", message=message))
        findings += _contradictions(reader, success)
    is_met = status.state not in ENDED or all(verdict["passed"] for verdict in success)
    return Report(
        path=str(path),
        run_id=reader.identity.run_id,
        name=reader.identity.name,
        status=status,
        findings=findings,
        success=success,
        ok=is_met and not any(finding.severity == "error" for finding in findings),
    )


def _judge(reader: RunReader) -> list[dict[str, Any]]:
    judge = CriteriaJudge(reader.identity.success)
    if judge.criteria:
        for facts in reader.facts(rank=0):
            judge.feed(facts)
    return judge.verdicts()


def _contradictions(reader: RunReader, success: list[dict[str, Any]]) -> list[Finding]:
    recorded = {str(verdict.get("text")): verdict.get("passed") for verdict in reader.success()}
    return [
        Finding(
            severity="warning",
            code="verdict",
            file="facts/exit.json",
            message=f"{verdict['text']!r} was judged {_verdict_word(recorded[verdict['text']])} at the end of the run "
            f"and is {_verdict_word(verdict['passed'])} by the facts that are here",
        )
        for verdict in success
        if verdict["text"] in recorded and recorded[verdict["text"]] is not verdict["passed"]
    ]


def _verdict_word(passed: bool | None) -> str:
    return "open" if passed is None else "met" if passed else "not met"


def _lines(report: Report, style: Style) -> list[str]:
    has_errors = any(finding.severity == "error" for finding in report.findings)
    word = "ok" if report.ok else "error" if has_errors else "unmet"
    blank = " " * (len("error") - len(word))
    name = one_line(report.name)
    lines = [GAP.join((style.word(word) + blank, report.run_id or "-", name, style.word(report.status.state)))]
    for finding in report.findings:
        where = f"{finding.file}: " if finding.file else ""
        lines.append(f"{GAP}{style.word(finding.severity)}{GAP}{where}{one_line(finding.message)}")
    if report.success:
        ended = OnTrainEnd(status="", total_time_s=0.0, success=report.success)
        prefix = "" if report.status.state in ENDED else "so far: "
        lines += [f"{GAP}{prefix}{line}" for line in end_lines(ended, style.symbols)[1:]]
    return lines


def _total(reports: Sequence[Report]) -> str:
    findings = [finding for report in reports for finding in report.findings]
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = sum(finding.severity == "warning" for finding in findings)
    criteria = [v for report in reports if report.status.state in ENDED for v in report.success]
    parts = [plural(len(reports), "run"), plural(errors, "error"), plural(warnings, "warning")]
    if criteria:
        parts.append(f"{sum(v['passed'] is True for v in criteria)} of {len(criteria)} success criteria hold")
    return ", ".join(parts)
