"""The directory of one report: every path of it, named once, and its making.

report_YYYYMMDD-HHMMSS_NAME/
manifest.yaml   report.html   report.md
training/    summary.csv  summary.json  runs.csv  figures/figure-NAME.png (.csv)
inference/   summary.json  figures/                       only when models were run again
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from pathlib import Path
from typing import Final

from barograph.facts.rundir import check_name, make_dir, report_dir_name

REPORT_NAME: Final = re.compile(r"^report_\d{8}-\d{6}_.+$")
_NOT_IN_NAMES: Final = re.compile(r"[^\w.=+-]+")


class ReportDir:
    """The layout of one report's directory.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = path / "manifest.yaml"
        self.page = path / "report.html"
        self.markdown = path / "report.md"
        self.training = path / "training"
        self.inference = path / "inference"

    def summary_json(self, part: str = "training") -> Path:
        """``summary.json`` of ``training`` or ``inference``."""
        return self.path / part / "summary.json"

    def table(self, name: str) -> Path:
        """``training/NAME.csv``."""
        return self.training / f"{name}.csv"

    def figure(self, name: str, *, part: str = "training", extension: str = "png") -> Path:
        """``training/figures/figure-NAME.png``; what cannot stand in a file's name becomes an underscore."""
        return self.path / part / "figures" / f"figure-{file_name(name)}.{extension}"

    def is_report(self) -> bool:
        """Whether a whole report is here: its manifest is written last."""
        return self.manifest.is_file()


def file_name(name: str) -> str:
    """A name that may stand in a file's name.

    >>> file_name("val/loss vs time")
    'val_loss_vs_time'
    """
    return check_name(_NOT_IN_NAMES.sub("_", name), what="figure name")


def create_report_dir(parent: Path, name: str, *, when: dt.datetime) -> ReportDir:
    """Make a report's directory; two reports of one name in one second get two.

    Args:
        parent: the directory of reports; made when absent.
        name: of the report; spaces become underscores.
        when: UTC.

    Raises:
        InvalidNameError: the name cannot stand in a directory's name.
        MisuseError: ``parent`` is a file.
        OSError: the directory cannot be made.
    """
    make_dir(parent)
    slug = "_".join(name.split())
    for number in itertools.count(1):
        path = parent / report_dir_name(slug if number == 1 else f"{slug}-{number}", when)
        try:
            path.mkdir()
        except FileExistsError:
            continue
        (path / "training" / "figures").mkdir(parents=True)
        return ReportDir(path)
    raise AssertionError  # pragma: no cover - counting does not end


def find_reports(parent: Path) -> list[Path]:
    """The whole reports at or below a directory, oldest first."""
    if ReportDir(parent).is_report():
        return [parent]
    found = [path.parent for path in parent.rglob("manifest.yaml") if REPORT_NAME.match(path.parent.name)]
    return sorted(found, key=lambda path: (path.name, str(path)))
