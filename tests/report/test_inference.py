from __future__ import annotations

import csv
import hashlib
import json
import random
from pathlib import Path

import pytest
import yaml
from tests.report import line_models

from barograph.errors import ReportError
from barograph.report.inference import find_checkpoint
from barograph.report.verify import verify_report

ENABLED = {"enabled": True, "function": "tests.report.line_models:infer", "options": {"seed": 1}}


@pytest.fixture
def of_seeds(sweep_dir):
    """The inputs of a report of the runs that have a model."""
    return {"sweep_dir": str(sweep_dir), "select": "status = 'finished'"}


@pytest.mark.spec("S3.29", "S3.50", "S3.79")
def test_models_are_run_again_when_that_is_enabled(make, of_seeds):
    """Each run's checkpoint is loaded; errors, AUROC and a figure of all runs are in ``inference/``."""
    path = make(inputs=of_seeds, inference=ENABLED, metrics=["mse"])
    summary = json.loads((path / "inference" / "summary.json").read_bytes())
    manifest = yaml.safe_load((path / "manifest.yaml").read_bytes())
    assert len(manifest["runs"]) == 6
    for place, (key, run) in enumerate(manifest["runs"].items()):
        model = json.loads((path / run["dir"] / "model.pt").read_bytes())
        errors = [abs(model["w"] * x + model["b"] - y) for x, y in line_models.line(random.Random(1))]
        found = summary["numbers"][f"inference.{place}.reconstruction_error"]
        assert found == pytest.approx(sum(errors) / len(errors), rel=1e-12)
        assert 0.5 < summary["numbers"][f"inference.{place}.auroc"] <= 1.0
        assert summary["numbers"][f"inference.{place}.num_data"] == 40
        (number,) = [it for it in manifest["numbers"] if it["id"] == f"inference.{place}.auroc"]
        assert (number["runs"], number["query"]) == ([key], {"of": "inference", "name": "auroc"})
    figure = path / "inference" / "figures" / "figure-reconstruction_error_distributions.png"
    assert figure.read_bytes().startswith(b"\x89PNG")
    with figure.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(line_models.POINTS)
    assert "reconstruction_error" in (path / "report.html").read_text(encoding="utf-8")


@pytest.mark.spec("S3.82")
def test_nothing_is_run_without_it(make, of_seeds):
    """A function that is named is not called, and there is no folder for it."""
    path = make(inputs=of_seeds, inference={**ENABLED, "enabled": False, "function": "nobody:there"}, metrics=["mse"])
    assert not (path / "inference").exists()
    assert '"inference"' not in (path / "training" / "summary.json").read_text(encoding="utf-8")


@pytest.mark.spec("S3.29")
def test_a_model_that_changed_shows(make, of_seeds, sweep_dir):
    """Numbers of inference are not computed again, but the file that was run is known by its hash."""
    path = make(inputs=of_seeds, inference=ENABLED, metrics=["mse"])
    found = verify_report(path)
    assert found.ok
    assert [finding.code for finding in found.findings] == ["not_computed"]
    assert found.num_numbers - found.num_computed == 18
    model = min(sweep_dir.glob("*lr0.2*")) / "model.pt"
    recorded = {
        run["checkpoint_sha256"] for run in yaml.safe_load((path / "manifest.yaml").read_bytes())["runs"].values()
    }
    assert hashlib.sha256(model.read_bytes()).hexdigest() in recorded
    model.write_text('{"w": 1.0, "b": 1.0}', encoding="utf-8")
    changed = [finding.where for finding in verify_report(path).findings if finding.code == "facts"]
    assert [Path(where).name for where in changed] == ["model.pt"]


@pytest.mark.parametrize(
    ("inference", "message"),
    [
        ({**ENABLED, "function": "tests.report.line_models:nobody"}, "cannot be loaded"),
        ({**ENABLED, "function": "no_such_module:infer"}, "cannot be loaded"),
        ({**ENABLED, "function": "tests.report.line_models:nothing"}, "returned a dict; return a"),
        ({**ENABLED, "checkpoint": "best.pt"}, r"has no best.pt, so its model cannot be run; set inference.checkpoint"),
    ],
)
def test_what_cannot_be_run(make, of_seeds, tmp_path, inference, message):
    """The error says what is missing, and no report is begun."""
    with pytest.raises(ReportError, match=message):
        make(inputs=of_seeds, inference=inference, metrics=["mse"])
    assert not (tmp_path / "outputs" / "reports").exists()


def test_the_model_of_a_run(runs):
    """``model.pt`` first, then the best, then the last; or what was named."""
    reader = runs.readers[0]
    layout = reader.directory
    assert find_checkpoint(reader, None) == layout.model
    layout.model.rename(layout.last)
    assert find_checkpoint(reader, None) == layout.last
    layout.best.write_bytes(b"1")
    assert find_checkpoint(reader, None) == layout.best
    assert find_checkpoint(reader, "last.pt") == layout.last
