"""``barograph report``: make a report of runs, list reports, verify one. A report's numbers can be computed again."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from barograph import plugins
from barograph.cli.arguments import verb_parser
from barograph.cli.output import GAP, Style, plural, print_json, table
from barograph.errors import BarographError, BarographWarning, ReportError
from barograph.facts.rundir import default_root
from barograph.view.terminal.wording import one_line

DESCRIPTION: Final = """\
Makes a report of runs: a directory with one self-contained page, Markdown, tables and figures, and a manifest in
which every number has its address.

  barograph report sweep inputs.sweep_dir=outputs/multiruns/exp_1 name=lr
  barograph report single_run inputs.runs=[RUN]
  barograph report --config-name compare_tokenizers inputs.sweep_dir=DIR
  barograph report list [DIR]
  barograph report verify DIR [--mark]

Settings: inputs.sweep_dir, inputs.runs, inputs.select, inputs.allow_unended, inputs.allow_damaged, name, title,
metrics, figures, outputs.dir, inference.enabled, inference.function, inference.checkpoint, inference.options, options.

verify computes every number again from the facts as they are now, and looks for edits of every file.
exit code: 0 when a report was made, or holds; 1 when a number, a fact or a file is not what it was; 2 when the
arguments cannot be used.
"""
LIST_HEAD: Final = ("report", "kind", "made", "runs", "skipped", "numbers")


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Make, list or verify reports."""
    parser = verb_parser("report", DESCRIPTION, json_help="one line of JSON: what was made, listed or found")
    parser.add_argument("what", nargs="*", metavar="KIND|list|verify [SETTING=VALUE ...]", help=f"kinds: {_kinds()}")
    parser.add_argument("--config", metavar="FILE", help="settings from a YAML file")
    parser.add_argument("--config-name", metavar="NAME", help="settings from configs/report/NAME.yaml")
    parser.add_argument("--config-dir", metavar="DIR", help="where these files are, instead of configs/report")
    parser.add_argument("--module", metavar="FILE", help="a Python file with run_report(cfg), to make the report")
    parser.add_argument("--mark", action="store_true", help="verify: write what was found into report.html")
    args = parser.parse_args(argv)
    root = args.root or root
    words: list[str] = args.what
    verb = words[0] if words and "=" not in words[0] else None
    if args.mark and verb != "verify":
        parser.error("--mark is for `barograph report verify DIR`")
    if verb == "list":
        return _list(words[1:], as_json=args.json)
    if verb == "verify":
        return _verify(words[1:], root=root, mark=args.mark, as_json=args.json)
    return _make(verb, words[1:] if verb else words, args, root=root)


def _kinds() -> str:
    return ", ".join(plugins.names("barograph.reports")) or "none installed"


def _make(kind: str | None, settings: Sequence[str], args: Any, *, root: str | None) -> int:
    from barograph.report.config import merged, parse_overrides, read_config_file  # noqa: PLC0415 - numpy and more
    from barograph.report.strangers import CONFIGS, make_report, read_named_config  # noqa: PLC0415 - the same

    cfg: dict[str, Any] = {}
    if args.config_name:
        cfg = read_named_config(args.config_name, Path(args.config_dir) if args.config_dir else CONFIGS)
    if args.config:
        cfg = merged(cfg, read_config_file(Path(args.config)))
    cfg = merged(cfg, parse_overrides(settings))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BarographWarning)
        module = Path(args.module) if args.module else None
        path = make_report(cfg, name=kind or args.config_name, module=module, root=root)
    words = [str(it.message) for it in caught if issubclass(it.category, BarographWarning)]
    for text in words:
        print(f"warning: {text}", file=sys.stderr)
    if path is None or not (path / "manifest.yaml").is_file():
        print_json({"path": None if path is None else str(path)}) if args.json else print(path or "done")
        return 0
    _tell(path, words, as_json=args.json)
    return 0


def _tell(path: Path, words: list[str], *, as_json: bool) -> None:
    from barograph.report.manifest import read_manifest  # noqa: PLC0415 - numpy and more

    manifest, _ = read_manifest(path / "manifest.yaml")
    if as_json:
        print_json({"path": str(path), **_entry(path, manifest), "warnings": words})
        return
    print(path)
    runs, numbers = plural(len(manifest.runs), "run"), plural(len(manifest.numbers), "number")
    print(f"{GAP}{runs}, {len(manifest.skipped)} left out, {numbers}; open {path / 'report.html'}")


def _entry(path: Path, manifest: Any) -> dict[str, Any]:
    return {
        "report": str(path),
        "report_id": manifest.report_id,
        "name": manifest.name,
        "kind": manifest.kind,
        "created": manifest.created,
        "num_runs": len(manifest.runs),
        "num_numbers": len(manifest.numbers),
        "skipped": manifest.skipped,
    }


def _list(words: Sequence[str], *, as_json: bool) -> int:
    from barograph.report.directory import find_reports  # noqa: PLC0415 - numpy and more
    from barograph.report.manifest import read_manifest  # noqa: PLC0415 - the same

    parent = Path(words[0] if words else "reports")
    if len(words) > 1 or not parent.is_dir():
        raise ReportError(f"{' '.join(words) or 'reports'!r} is no directory of reports; name one")
    entries: list[dict[str, Any]] = []
    damaged: list[dict[str, str]] = []
    for path in find_reports(parent):
        try:
            manifest, _ = read_manifest(path / "manifest.yaml")
        except (BarographError, OSError) as error:
            damaged.append({"report": str(path), "reason": str(error)})
        else:
            entries.append(_entry(path, manifest))
    if as_json:
        print_json({"reports": entries, "damaged": damaged})
        return 0
    for item in damaged:
        print(f"warning: {one_line(item['reason'])}", file=sys.stderr)
    rows = [
        [it["report"], it["kind"], it["created"], str(it["num_runs"]), str(len(it["skipped"])), str(it["num_numbers"])]
        for it in entries
    ]
    style = Style(sys.stdout)
    print("\n".join(table(LIST_HEAD, rows, style, right=LIST_HEAD[3:])) if rows else f"no reports in {parent}")
    return 0


def _verify(words: Sequence[str], *, root: str | None, mark: bool, as_json: bool) -> int:
    from barograph.report.verify import mark_report, summary_line, verify_report  # noqa: PLC0415 - numpy and more

    if len(words) != 1:
        raise ReportError(f"verify takes one report's directory, not {len(words)}; `barograph report list` shows them")
    path = Path(words[0])
    found = verify_report(path, root=default_root() if root is None else root)
    if mark:
        mark_report(path, found)
    if as_json:
        print_json({"summary": summary_line(found), "verification": found})
        return 0 if found.ok else 1
    style = Style(sys.stdout)
    print(f"{style.word('ok' if found.ok else 'error')}{GAP}{path.name}: {summary_line(found)}")
    for finding in found.findings:
        word = "note" if finding.is_harmless else finding.code
        print(f"{GAP}{word:<8}{GAP}{one_line(finding.where)}: {one_line(finding.message)}")
    return 0 if found.ok else 1
