"""``barograph report``: reports made, listed and verified by the real command."""

from __future__ import annotations

import json
import re

import pytest

from barograph.errors import BarographWarning
from barograph.report.run import run_report

SWEEP = ("report", "sweep", "metrics=[train/loss]", "name=lr sweep", "outputs.dir=outputs/reports")


@pytest.fixture
def work(tmp_path):
    """Where the command runs."""
    return tmp_path / "cwd"


@pytest.fixture
def made(root, work):
    """A report of the directory, in ``reports`` below where the command runs."""
    cfg = {"inputs": {"sweep_dir": str(root)}, "outputs": {"dir": str(work / "reports")}, "metrics": ["train/loss"]}
    with pytest.warns(BarographWarning, match="1 of 5 runs"):
        return run_report(cfg, kind="sweep")


@pytest.mark.spec("S3.22", "S3.33", "S3.84")
def test_a_report_of_a_directory(cli, root, work):
    """The directory is printed; runs that are left out are a warning, with the reason."""
    done = cli(*SWEEP, f"inputs.sweep_dir={root}")
    path, words = done.stdout.splitlines()
    assert re.fullmatch(r"outputs/reports/report_\d{8}-\d{6}_lr_sweep", path)
    assert re.fullmatch(rf"  4 runs, 1 left out, \d+ numbers; open {path}/report.html", words)
    first, second = done.stderr.splitlines()
    assert first == "warning: 1 of 5 runs are not in the report; it lists them:"
    assert "killed_job0: no on_train_end: killed" in second
    assert (work / path / "manifest.yaml").is_file()


@pytest.mark.spec("S3.22", "S3.23")
def test_the_form_of_s3(cli, root, work):
    """``--config-name NAME inputs.sweep_dir=...``: settings from ``configs/report/NAME.yaml``, overridden as typed."""
    configs = work / "configs" / "report"
    configs.mkdir(parents=True)
    text = "kind: sweep\nmetrics: [nothing]\noutputs:\n  dir: outputs/reports\n"
    (configs / "compare_tokenizers.yaml").write_text(text, encoding="utf-8")
    given = ("--config-name", "compare_tokenizers", f"inputs.sweep_dir={root}", "metrics=[train/loss]", "--json")
    document = json.loads(cli("report", *given).stdout)
    assert document["path"].endswith("_compare_tokenizers")
    assert (document["kind"], document["num_runs"], len(document["skipped"])) == ("sweep", 4, 1)
    assert document["warnings"][0].startswith("1 of 5 runs are not in the report")


@pytest.mark.spec("S3.64")
def test_a_module_of_ones_own(cli, root, work):
    """``--module FILE`` calls its ``run_report(cfg)``."""
    work.mkdir()
    text = "def run_report(cfg):\n    print(cfg.inputs.sweep_dir)\n"
    (work / "mine.py").write_text(text, encoding="utf-8")
    assert cli("report", "--module", "mine.py", f"inputs.sweep_dir={root}").stdout == f"{root}\ndone\n"


def test_settings_from_a_file(cli, root, ids, work):
    """``--config FILE``; runs by id."""
    work.mkdir()
    (work / "one.yaml").write_text(f"inputs:\n  runs: [{ids['failed']}]\n", encoding="utf-8")
    document = json.loads(cli("--root", root, "report", "single_run", "--config", "one.yaml", "--json").stdout)
    assert document["num_runs"] == 1
    text = (work / document["path"] / "report.md").read_text(encoding="utf-8")
    assert "The run failed (ValueError: no such layer)" in text


def test_reports_are_listed(cli, made, work):
    """One line each, oldest first; a damaged one is a warning."""
    head, line = cli("report", "list", "reports").stdout.splitlines()
    assert head.split() == ["report", "kind", "made", "runs", "skipped", "numbers"]
    assert line.startswith(f"reports/{made.name}  sweep")
    (made / "manifest.yaml").write_text("[", encoding="utf-8")
    done = cli("report", "list", "--json")
    assert json.loads(done.stdout)["reports"] == []
    assert "is no manifest" in json.loads(done.stdout)["damaged"][0]["reason"]


def test_a_report_that_holds(cli, made):
    """Exit code 0, and how much was computed again."""
    done = cli("report", "verify", made)
    words = r"ok  report_\S+: every number holds: (\d+) of \1 computed again, \d+ files whole\n"
    assert re.fullmatch(words, done.stdout)


def test_a_report_that_does_not_hold(cli, made, root):
    """Exit code 1, and every number that is another now, with its run and its file; the page is marked."""
    (run,) = root.glob("*mlp*")
    config = run / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("0.001", "0.002"), encoding="utf-8")
    lines = cli("report", "verify", made, "--mark", code=1).stdout.splitlines()
    assert lines[0].startswith(f"error  {made.name}: 1 of ")
    assert any(line.startswith("  facts ") and f"{run.name}/config.yaml" in line for line in lines)
    assert any(line.startswith("  number ") and "was 0.001 (n=1), is 0.002 (n=1)" in line for line in lines)
    assert "Stale: 1 of " in (made / "report.html").read_text(encoding="utf-8")


def test_a_verification_as_json(cli, made):
    """Every finding with its code, place and values."""
    (made / "report.md").write_text("edited", encoding="utf-8")
    found = json.loads(cli("report", "verify", made, "--json", code=1).stdout)
    assert found["summary"] == "1 file was edited"
    (finding,) = found["verification"]["findings"]
    assert (finding["code"], finding["where"]) == ("file", "report.md")
    assert found["verification"]["ok"] is False


@pytest.mark.spec("S3.33")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("sweep", "inputs.sweepdir=x"), "did you mean inputs.sweep_dir"),
        (("nobody", "inputs.sweep_dir=x"), "there is no kind of report 'nobody'"),
        (("verify", "."), "'.' is no report, since it has no manifest.yaml"),
        (("sweep", "--mark"), "--mark is for `barograph report verify DIR`"),
        (("list", "nowhere"), "'nowhere' is no directory of reports; name one"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(cli, args, message):
    """Exit code 2, no traceback, and the next step."""
    assert message in cli("report", *args, code=2).stderr
