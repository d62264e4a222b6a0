"""Probe logs: written by our own recorder in that layout, and by hand in the original's; read with the shell, too."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import math
import shutil
import subprocess

import pytest

from barograph.read.foreign.entropy_probe import importer
from barograph.record.detail import DetailRecord

NAME = "entropy_probe"
NOON = dt.datetime(2025, 1, 15, 12, 0, tzinfo=dt.UTC).timestamp()
needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")


@pytest.fixture
def logs(tmp_path):
    """``logs/2025-01-15`` with three analyses of one day."""
    for place, step in enumerate((20, 60, 100)):
        record = DetailRecord(
            NAME,
            f"step_{step}",
            level="detailed",
            directory=tmp_path / "logs",
            config={"top_p": 0.995, "level": "detailed"},
            clock=lambda place=place: NOON + 60 * place,
        )
        core = {"deltaH1": step * 0.1, "deltaH_true": math.nan if step == 60 else 2.5, "bars_dot": step}
        record.minimal(core_results=core, timings={"sampling_s": 1.5}, batch_sizes={"E": 3})
        record.detailed(sequences={"E_batch": [{"text": text, "logprob": -0.5} for text in "abcd"]})
        record.write()
    return tmp_path / "logs"


def points(run, name):
    """A metric's steps and values."""
    return [
        (step, value)
        for block in run.metrics
        if name in block.columns
        for step, value in zip(block.steps, block.columns[name], strict=True)
    ]


def only(path):
    """The one run of a day."""
    (run,) = importer.read(path)
    return run


def shell(command, cwd):
    """What a command line prints."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=cwd, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


def test_core_results_are_metrics_by_step(logs):
    """Each checkpoint's numbers stand at its step, to the bit, with the analysis's time; NaN is a value."""
    run = only(logs / "2025-01-15")
    assert points(run, "deltaH1") == [(20, 2.0), (60, 60 * 0.1), (100, 10.0)]
    assert points(run, "bars_dot") == [(20, 20), (60, 60), (100, 100)]
    (_, first), (step, missing), (_, last) = points(run, "deltaH_true")
    assert (first, step, math.isnan(missing), last) == (2.5, 60, True, 2.5)
    assert points(run, "timings.sampling_s") == [(20, 1.5), (60, 1.5), (100, 1.5)]
    assert [t for block in run.metrics for t in block.t] == [NOON, NOON + 60, NOON + 120]
    assert run.fidelity.kept["analyses"] == 3
    assert (run.fidelity.lost, run.fidelity.damage) == ([], [])


def test_identity_config_and_detail_files(logs):
    """A run per probe and day, with the exact config; the big files are named where they lie."""
    run = only(logs / "2025-01-15")
    assert (run.name, run.group, run.key) == ("entropy_probe-2025-01-15", NAME, NAME)
    assert run.config == {"top_p": 0.995, "level": "detailed"}
    assert [file.name for file in run.files] == [
        f"entropy_probe_12-0{place}-00_step_{step}.json.gz" for place, step in enumerate((20, 60, 100))
    ]


@needs_jq
@pytest.mark.spec("S4.35")
def test_cat_and_jq_print_the_core_results_that_are_read(logs):
    """The first command of the probe's own page, on these files."""
    printed = shell(f"cat logs/2025-01-15/{NAME}_12-00-00_step_20_summary.json | jq '.core_results'", logs.parent)
    run = only(logs / "2025-01-15")
    assert json.loads(printed) == {name: points(run, name)[0][1] for name in ("deltaH1", "deltaH_true", "bars_dot")}


@needs_jq
@pytest.mark.spec("S4.36")
def test_zcat_and_jq_print_sequences_of_the_file_that_is_named(logs):
    """The second command, on the detail file to which the run refers."""
    named = only(logs / "2025-01-15").files[1].path
    printed = shell(f"zcat {named.relative_to(logs.parent)} | jq '.sequences.E_batch[0:3]'", logs.parent)
    assert json.loads(printed) == [{"text": text, "logprob": -0.5} for text in "abc"]


@needs_jq
@pytest.mark.spec("S4.37")
def test_the_loop_over_a_days_summaries_prints_the_curves_that_are_read(logs):
    """The third command: file by file, what it prints is the run's curve."""
    loop = (
        'for f in logs/2025-01-15/*_summary.json; do echo "=== $f ==="; '
        "jq -c '.core_results | {deltaH1, deltaH_true, bars_dot}' \"$f\"; done"
    )
    lines = shell(loop, logs.parent).splitlines()
    assert [line.split("_step_")[1] for line in lines[::2]] == [f"{step}_summary.json ===" for step in (20, 60, 100)]
    run = only(logs / "2025-01-15")
    assert [json.loads(line)["deltaH1"] for line in lines[1::2]] == [value for _, value in points(run, "deltaH1")]
    assert [json.loads(line)["deltaH_true"] for line in lines[1::2]] == [2.5, None, 2.5]


def test_the_originals_files_are_read_without_our_header(tmp_path):
    """Bare NaN as Python's json writes it; times from the names, in this machine's zone; steps from the names."""
    day = tmp_path / "2025-01-15"
    day.mkdir()
    core = {"bars_dot": 0.5, "deltaH1": float("nan"), "mode": "rb"}
    (day / "entropy_probe_14-30-25_step_60_summary.json").write_text(json.dumps({"core_results": core, "grid": [1]}))
    (day / "entropy_probe_15-00-00_checkpoint-500-2_summary.json").write_text(
        json.dumps({"core_results": {"bars_dot": 1}})
    )
    (day / "entropy_probe_16-00-00_final_summary.json").write_text(json.dumps({"core_results": {"bars_dot": 2}}))
    run = only(day)
    assert points(run, "bars_dot") == [(60, 0.5), (500, 1), (2, 2)]
    assert math.isnan(points(run, "deltaH1")[0][1])
    assert run.created_t == dt.datetime(2025, 1, 15, 14, 30, 25).astimezone().timestamp()
    assert [(text.name, text.text, text.step) for text in run.texts] == [("mode", "rb", 60)]
    assert {change.what: change.count for change in run.fidelity.changed} == {"times": 3, "steps": 1}
    assert {loss.what: loss.count for loss in run.fidelity.lost} == {"lists": 1}


def test_a_missing_summary_is_made_up_for_by_the_detail_file(logs):
    """Its core results are the same numbers; a summary that is torn is damage."""
    day = logs / "2025-01-15"
    (day / f"{NAME}_12-00-00_step_20_summary.json").unlink()
    torn = day / f"{NAME}_12-02-00_step_100_summary.json"
    torn.write_bytes(torn.read_bytes()[:-30])
    run = only(day)
    assert points(run, "deltaH1") == [(20, 2.0), (60, 60 * 0.1)]
    assert [place.path for place in run.fidelity.damage] == [str(torn)]
    assert any("_step_20.json.gz has no summary beside it" in note for note in run.fidelity.notes)


def test_probes_of_one_day_are_runs_of_their_own(logs):
    """Told apart by the name before the time."""
    day = logs / "2025-01-15"
    (day / "other_probe_13-00-00_step_1.json.gz").write_bytes(gzip.compress(b'{"core_results": {"x": 1}}'))
    assert [run.key for run in importer.read(day)] == ["entropy_probe", "other_probe"]


def test_only_a_folder_of_a_day_is_ours(logs, tmp_path):
    """Neither the folder of all days nor a day of other files."""
    assert importer.recognises(logs / "2025-01-15")
    assert not importer.recognises(logs)
    (tmp_path / "2025-01-16").mkdir()
    (tmp_path / "2025-01-16" / "notes.json").write_text("{}")
    assert not importer.recognises(tmp_path / "2025-01-16")


def test_configs_that_differ_are_counted(logs):
    """The first one of the day is kept; a second that says something else is not hidden."""
    path = logs / "2025-01-15" / f"{NAME}_12-01-00_step_60_config.yaml"
    path.write_text("top_p: 1.0\n")
    run = only(logs / "2025-01-15")
    assert run.config["top_p"] == 0.995
    assert [(loss.what, loss.count) for loss in run.fidelity.lost] == [("configurations", 1)]
