from __future__ import annotations

import pytest

from barograph.errors import BarographWarning, ReportError
from barograph.report.strangers import Settings, make_report, read_named_config

MODULE = """
from pathlib import Path
import barograph
from barograph.read.frames import load_runs

def run_report(cfg):
    runs_df, per_epoch, order = load_runs(cfg.inputs.sweep_dir)
    directory = Path(cfg["outputs"].dir)
    directory.mkdir()
    (directory / "count.txt").write_text(str(len(order)), encoding="utf-8")
    return directory
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with S3's layout: ``configs/report`` and ``reports/analyses``; it is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "report").mkdir(parents=True)
    (tmp_path / "reports" / "analyses").mkdir(parents=True)
    return tmp_path


@pytest.mark.spec("S3.22", "S3.23", "S3.49", "S3.64")
def test_a_module_of_the_configuration_s_name(project, sweep_dir):
    """``configs/report/my_report.yaml`` is read, ``reports/analyses/my_report.py::run_report(cfg)`` is called."""
    (project / "configs" / "report" / "my_report.yaml").write_text("outputs:\n  dir: made\n", encoding="utf-8")
    (project / "reports" / "analyses" / "my_report.py").write_text(MODULE, encoding="utf-8")
    cfg = {**read_named_config("my_report"), "inputs": {"sweep_dir": str(sweep_dir)}}
    path = make_report(cfg, name="my_report")
    assert (path / "count.txt").read_text(encoding="utf-8") == "8"


@pytest.mark.spec("S3.23")
def test_a_configuration_may_name_its_kind(project, sweep_dir):
    """The name of the configuration is that of the report."""
    text = "kind: sweep\nmetrics: [mse]\noutputs:\n  dir: outputs/reports\n"
    (project / "configs" / "report" / "compare_tokenizers.yaml").write_text(text, encoding="utf-8")
    cfg = {**read_named_config("compare_tokenizers"), "inputs": {"sweep_dir": str(sweep_dir)}}
    with pytest.warns(BarographWarning, match="1 of 8 runs"):
        path = make_report(cfg, name="compare_tokenizers")
    assert path.parent.as_posix() == "outputs/reports"
    assert path.name.endswith("_compare_tokenizers")


def test_a_module_by_its_path(project, sweep_dir):
    """``--module`` goes before everything else."""
    (project / "elsewhere.py").write_text(MODULE, encoding="utf-8")
    cfg = {"kind": "sweep", "inputs": {"sweep_dir": str(sweep_dir)}, "outputs": {"dir": "made"}}
    assert (make_report(cfg, name=None, module=project / "elsewhere.py") / "count.txt").is_file()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "nobody",
            None,
            r"no kind of report 'nobody' \(there: comparison, single_run, sweep.*\),? and no reports/analyses",
        ),
        ("empty", "x = 1\n", r"has no function run_report\(cfg\)"),
        (None, None, "which report"),
    ],
)
def test_a_name_that_means_nothing(project, name, text, message):
    """The error lists the kinds, and says where a module would be looked for."""
    if text:
        (project / "reports" / "analyses" / f"{name}.py").write_text(text, encoding="utf-8")
    with pytest.raises(ReportError, match=message):
        make_report({}, name=name)


def test_a_configuration_that_is_not_there(project):
    """The error lists those that are."""
    (project / "configs" / "report" / "mine.yaml").write_text("a: 1\n", encoding="utf-8")
    with pytest.raises(ReportError, match=r"no configuration 'yours' in configs/report \(there: mine\)"):
        read_named_config("yours")


def test_settings_are_attributes_and_keys():
    """As in OmegaConf; what is not there is named."""
    cfg = Settings.of({"inputs": {"sweep_dir": "runs"}})
    assert cfg.inputs.sweep_dir == cfg["inputs"]["sweep_dir"] == "runs"
    with pytest.raises(AttributeError, match="no 'outputs'; it has inputs"):
        _ = cfg.outputs
