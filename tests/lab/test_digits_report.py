"""What the digits study says of its results: chosen by numbers, and said with their n."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from barograph_lab.digits import report


def result(name, seed, val_loss, accuracy=0.9, status="finished"):
    """One run's result, as ``train`` returns it."""
    return {
        "name": name,
        "seed": seed,
        "run_dir": Path("runs", f"{name}-{seed}"),
        "status": status,
        "reason": None if status == "finished" else "loss is nan at step 7",
        "best_val_loss": val_loss,
        "test_loss": math.nan,
        "test_accuracy": accuracy,
    }


RESULTS = [
    result("a", 0, 0.3, 0.91),
    result("b", 0, 0.1, 0.92),
    result("a", 1, 0.1, 0.93),
    result("b", 1, 0.2, 0.96),
    result("c", 0, 0.01, math.nan, status="failed"),
]


def test_runs_are_gathered_by_configuration():
    """In the order in which they came; figures of runs that failed are left out, their number is not."""
    a, b, c = report.summarise(RESULTS)
    assert (a.name, a.num_runs, a.num_failed, a.val_losses, a.test_accuracies) == ("a", 2, 0, (0.3, 0.1), (0.91, 0.93))
    assert (b.name, b.val_losses) == ("b", (0.1, 0.2))
    assert (c.name, c.num_runs, c.num_failed, c.val_losses) == ("c", 1, 1, ())


def test_the_best_has_the_lowest_mean():
    """Not the lowest single run (a has 0.1 too), and never a configuration of which a run failed."""
    assert report.best(report.summarise(RESULTS)).name == "b"
    assert report.best(report.summarise(RESULTS[4:])) is None


def test_the_table_says_how_many_and_how_far_apart():
    """Mean, least, most and n stand together; a configuration without a finished run has no figure."""
    lines = report.table(report.summarise(RESULTS)).splitlines()
    assert "0.2000 (0.1000 to 0.3000, n=2)" in lines[1]
    assert lines[1].endswith("0.9200")
    assert lines[3].endswith("no run finished")


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (RESULTS, "Best by mean val_loss: b, 0.1500 over n=2 (2 seeds).\nIts seeds overlap"),
        (
            [result("a", 0, 0.3), result("b", 0, 0.1)],
            "Best by mean val_loss: b, 0.1000 over n=1 (1 seed).\nIts worst seed is below",
        ),
        ([result("a", 0, 0.3)], "Best by mean val_loss: a, 0.3000 over n=1 (1 seed)."),
        (RESULTS[4:], "No configuration finished all of its runs."),
    ],
)
def test_the_verdict_says_n_and_whether_others_come_near(results, expected):
    """Overlapping seeds are called overlapping; without a whole configuration nothing is best."""
    assert report.verdict(report.summarise(results)).startswith(expected)


def test_one_run_in_one_line():
    """A finished run has its figures, a failed one its reason."""
    assert "best val_loss 0.3000   test accuracy 0.9100   1.2 s" in report.result_line(RESULTS[0], duration_s=1.24)
    assert report.result_line(RESULTS[4], duration_s=1.0).endswith("failed: loss is nan at step 7")


def test_damage_and_unmet_criteria_are_named():
    """A run that is not whole, or not found, is named with what is wrong; warnings are no damage."""
    error = {"severity": "error", "file": "facts/events.jsonl", "message": "2 is missing"}
    warning = {"severity": "warning", "file": "facts/x", "message": "torn"}
    reports = {
        Path("runs/a"): {"findings": [warning], "success": [{"passed": True}]},
        Path("runs/b"): {"findings": [error], "success": [{"passed": None}]},
        Path("runs/c"): None,
    }
    assert report.verified(reports).splitlines() == [
        "Facts verified: 1 of 3 runs are whole.",
        "  b: facts/events.jsonl: 2 is missing",
        "  c: not found",
        "Success criteria: met by 1 runs, not met by 2.",
    ]


def test_paths_are_as_a_person_would_type_them(tmp_path, monkeypatch):
    """Relative where the working directory holds them, quoted where a shell needs it."""
    monkeypatch.chdir(tmp_path)
    assert report.short(tmp_path / "runs" / "a b") == "'runs/a b'"
    assert report.short(Path("runs/a")) == "runs/a"
    assert report.short(Path("/elsewhere/a")) == "/elsewhere/a"
