"""Text logs with metric lines: written by loguru in processes of their own, by the logging guide's words."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import math
import os
import subprocess
import sys
import textwrap

import hypothesis
import pytest
from hypothesis import strategies

from barograph.errors import FormatError
from barograph.read.foreign.metric_log import importer, log_files
from barograph.read.foreign.protocol import Importer

GUIDE = """
import json, sys
from pathlib import Path
from loguru import logger

out_dir = Path(sys.argv[1] if len(sys.argv) > 1 else "quick")
out_dir.mkdir(parents=True, exist_ok=True)
logger.remove()
logger.add(out_dir / "train.log", format="{time:YYYY-MM-DD HH:mm:ss} | {level} | {message}")
logger.add(sys.stderr, format="{time:HH:mm:ss} | {message}")
logger.info("starting")
logger.info("metric {}", json.dumps({"epoch": 0, "step": 0, "loss": 0.693, "accuracy": 0.52}))
logger.info("metric {}", json.dumps({"epoch": 0, "step": 100, "loss": 0.512, "accuracy": 0.71}))
logger.info("metric {}", json.dumps({"epoch": 0, "step": 100, "loss": 0.6, "f1": 0.5, "split": "val"}))
logger.info("metric server is {}", "up")
"""

SEEDS = """
import json, sys
from pathlib import Path
from loguru import logger

logger.remove()
logger.add(Path(sys.argv[1]) / "train.log", format="{time:YYYY-MM-DD HH:mm:ss} | {level} | {message}")
for step in range(3):
    for seed in (1, 2):
        logger.info("metric {}", json.dumps({"step": step, "loss": seed / (step + 1), "seed": seed}))
    logger.info("metric {}", json.dumps({"step": step, "loss": float("nan"), "run_id": "r7", "seed": 3}))
"""


@pytest.fixture
def logged(tmp_path):
    """Run a script that logs with loguru into a directory; returns the directory."""

    def run(script, name="quick", env=None):
        directory = tmp_path / "exp" / name
        directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", textwrap.dedent(script), str(directory)]
        subprocess.run(command, check=True, capture_output=True, timeout=60, env={**os.environ, **(env or {})})
        return directory

    return run


def read(path):
    """The runs of a source by key."""
    return {run.key: run for run in importer.read(path)}


def only(path):
    """The one run of a source."""
    (run,) = importer.read(path)
    return run


def points(run, name, split="train"):
    """A metric's steps and values, block after block."""
    found = []
    for block in run.metrics:
        if block.split == split and name in block.columns:
            found += zip(block.steps, block.columns[name], strict=True)
    return found


@pytest.mark.spec("S0.18", "S0.19", "S0.20", "S0.21", "S0.22", "S0.23")
def test_the_guides_own_lines_are_read_to_the_bit(logged):
    """Steps, epochs, names, splits and values are what was logged; other lines are counted, not guessed at."""
    directory = logged(GUIDE)
    run = only(directory)
    assert points(run, "loss") == [(0, 0.693), (100, 0.512)]
    assert points(run, "accuracy") == [(0, 0.52), (100, 0.71)]
    assert points(run, "epoch") == [(0, 0), (100, 0)]
    assert points(run, "loss", "val") == [(100, 0.6)]
    assert points(run, "f1", "val") == [(100, 0.5)]
    assert all(type(step) is int for block in run.metrics for step in block.steps)
    assert run.fidelity.kept == {"numbers": 9}
    assert [(loss.what, loss.count) for loss in run.fidelity.lost] == [("text lines", 2)]
    assert run.fidelity.damage == []


@pytest.mark.spec("S0.20", "S0.25")
def test_what_grep_and_json_find_is_what_is_read(logged):
    """``grep "metric "`` and ``json.loads``, as a plotting script does it, give the same numbers."""
    directory = logged(GUIDE)
    command = ["grep", "-h", "metric {", directory / "train.log"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.splitlines()
    records = [json.loads(line.partition("metric ")[2]) for line in lines]
    curve = [(record["step"], record["loss"]) for record in records if "split" not in record]
    assert curve == points(only(directory), "loss")


@pytest.mark.spec("S0.3", "S0.4")
def test_quick_and_full_are_two_sources_named_by_their_directories(logged):
    """The run is named by its tier, grouped by the experiment, and refers to its log."""
    quick, full = logged(GUIDE, "quick"), logged(GUIDE, "full")
    assert not importer.recognises(quick.parent)
    for directory in (quick, full):
        assert importer.recognises(directory)
        run = only(directory)
        assert (directory.name, "exp", [directory.name]) == (run.name, run.group, run.tags)
        assert [("train.log", directory / "train.log")] == [(file.name, file.path) for file in run.files]


@pytest.mark.spec("S0.24")
def test_runs_in_one_file_are_told_apart_by_seed_and_run_id(logged):
    """Interleaved lines of three runs become three runs, each with its own numbers and identity."""
    runs = read(logged(SEEDS, "sweep"))
    assert list(runs) == ["seed=1", "seed=2", "run_id=r7 seed=3"]
    assert points(runs["seed=1"], "loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert points(runs["seed=2"], "loss") == [(0, 2.0), (1, 1.0), (2, 2 / 3)]
    named = runs["run_id=r7 seed=3"]
    assert (named.seed, named.name) == (3, "sweep-run_idr7-seed3")
    assert named.provenance == {"logged_run_id": "r7"}
    assert [math.isnan(value) for _, value in points(named, "loss")] == [True] * 3
    assert all("seed" not in block.columns for run in runs.values() for block in run.metrics)


def test_times_are_those_of_the_machine_that_logged(logged):
    """A line's time is loguru's clock, to the second; where it was logged in this zone, it is unix time."""
    before = dt.datetime.now(tz=dt.UTC).timestamp()
    run = only(logged(GUIDE))
    after = dt.datetime.now(tz=dt.UTC).timestamp()
    times = [t for block in run.metrics for t in block.t]
    assert all(int(before) <= t <= after for t in times)
    assert run.created_t == min(times)
    assert [change.count for change in run.fidelity.changed if change.what == "times"] == [3, 3]


def test_loggers_own_format_has_milliseconds(logged):
    """Loguru's default format, with its module, function and line, is read too."""
    script = GUIDE.replace(', format="{time:YYYY-MM-DD HH:mm:ss} | {level} | {message}"', "")
    run = only(logged(script))
    assert points(run, "loss") == [(0, 0.693), (100, 0.512)]
    text = (run.source / "train.log").read_text().splitlines()[1]
    assert dt.datetime.fromisoformat(text[:23]).timestamp() == run.created_t


def test_rotated_and_gzipped_parts_come_in_their_order(logged):
    """Loguru's rotation with compression: every number once, oldest first; the log that goes on last."""
    script = """
    import json, sys
    from pathlib import Path
    from loguru import logger
    logger.remove()
    logger.add(Path(sys.argv[1]) / "train.log", format="{time:YYYY-MM-DD HH:mm:ss} | {level} | {message}",
               rotation="2 KB", compression="gz")
    for step in range(100):
        logger.info("metric {}", json.dumps({"step": step, "loss": 1 / (step + 1)}))
    """
    directory = logged(script, "long")
    assert len(list(directory.glob("*.log.gz"))) >= 3
    assert log_files(directory)[-1].name == "train.log"
    assert [(step, 1 / (step + 1)) for step in range(100)] == points(only(directory), "loss")


def test_logrotates_numbers_count_backwards(tmp_path):
    """``train.log.2`` is older than ``train.log.1``."""
    for age, step in (("", 2), (".1", 1), (".2", 0)):
        (tmp_path / f"train.log{age}").write_text(
            f'2026-11-20 12:00:0{step} | INFO | metric {{"step": {step}, "a": 1}}\n'
        )
    assert points(only(tmp_path), "a") == [(0, 1), (1, 1), (2, 1)]


def test_a_torn_last_line_is_damage_not_a_number(logged):
    """A log cut anywhere in its last line gives the lines before it, and says so."""
    directory = logged(GUIDE)
    log = directory / "train.log"
    whole = log.read_bytes()
    start = whole.index(b"2026") if whole.startswith(b"2026") else 0
    lines = whole[start:].splitlines(keepends=True)
    kept = b"".join(lines[:2])
    log.write_bytes(kept + lines[2][:-3])
    run = only(directory)
    assert points(run, "loss") == [(0, 0.693)]
    assert [(len(kept), len(lines[2]) - 3)] == [(place.offset, place.size_bytes) for place in run.fidelity.damage]


def test_a_line_that_is_no_json_is_counted_where_it_stands(logged):
    """The lines after it are read; the damage names its bytes."""
    directory = logged(GUIDE)
    log = directory / "train.log"
    lines = log.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"loss"', b'"loss')
    log.write_bytes(b"".join(lines))
    run = only(directory)
    assert points(run, "loss") == [(100, 0.512)]
    assert [(len(lines[0]), len(lines[1]))] == [(place.offset, place.size_bytes) for place in run.fidelity.damage]


def test_a_cut_gzip_file_gives_what_can_be_unpacked(tmp_path):
    """Never an exception; the rest is damage."""
    lines = [f'2026-11-20 12:00:00 | INFO | metric {{"step": {step}, "a": {step * 0.1!r}}}\n' for step in range(2000)]
    packed = gzip.compress("".join(lines).encode(), mtime=0)
    (tmp_path / "train.log.gz").write_bytes(packed[: len(packed) // 2])
    run = only(tmp_path)
    found = points(run, "a")
    assert 100 < len(found) < 2000
    assert [(step, step * 0.1) for step in range(len(found))] == found
    assert len(run.fidelity.damage) == 1


def test_records_without_a_step_stand_where_they_were_logged(tmp_path):
    """An epoch's record after steps stands at the newest step; where no step is known, at its epoch."""
    lines = ['{"step": 40, "loss": 1.0}', '{"epoch": 3, "val_loss": 0.5}']
    (tmp_path / "train.log").write_text("".join(f"2026-11-20 12:00:00 | INFO | metric {line}\n" for line in lines))
    assert points(only(tmp_path), "val_loss") == [(40, 0.5)]
    (tmp_path / "train.log").write_text(f"2026-11-20 12:00:00 | INFO | metric {lines[1]}\n")
    run = only(tmp_path)
    assert points(run, "val_loss") == [(3, 0.5)]
    assert ("unplaced records", 1) in [(change.what, change.count) for change in run.fidelity.changed]


def test_train_and_eval_logs_are_one_run_and_other_files_their_own(tmp_path):
    """``eval.log`` belongs to ``train.log``, its records to the split of its name; ``lr0.1.log`` is another run."""
    line = '2026-11-20 12:00:00 | INFO | metric {"step": 1, "loss": %s}\n'
    for name, loss in (("train", 1.0), ("eval", 2.0), ("lr0.1", 3.0), ("lr0.2", 4.0)):
        (tmp_path / f"{name}.log").write_text(line % loss)
    runs = read(tmp_path)
    assert {"", "file=lr0.1", "file=lr0.2"} == set(runs)
    assert (points(runs[""], "loss"), points(runs[""], "loss", "eval")) == ([(1, 1.0)], [(1, 2.0)])
    assert points(runs["file=lr0.2"], "loss") == [(1, 4.0)]


def test_values_that_are_no_numbers_are_texts_or_counted(tmp_path):
    """Texts are kept as texts, truth values as 1 and 0, lists are counted; our own non-finite marks are read."""
    line = '{"step": 1, "a": null, "nonfinite": {"a": "-inf"}, "note": "x", "ok": true, "l": [1], "none": null}'
    (tmp_path / "train.log").write_text(f"12:00:00 | metric {line}\n")
    run = only(tmp_path)
    assert [(1, -math.inf)] == points(run, "a")
    assert points(run, "ok") == [(1, 1)]
    assert [(text.name, text.text, text.step) for text in run.texts] == [("note", "x", 1)]
    assert {loss.what: loss.count for loss in run.fidelity.lost} == {"lists": 1, "missing values": 1}
    assert all(math.isnan(t) for block in run.metrics for t in block.t)


def test_a_log_without_metric_lines_is_not_ours(tmp_path):
    """Nor is a directory without logs; asking never raises."""
    (tmp_path / "server.log").write_text("2026-11-20 12:00:00 | INFO | metric server is up\n")
    (tmp_path / "broken.log.gz").write_bytes(b"\x1f\x8b nonsense")
    assert not importer.recognises(tmp_path)
    assert not importer.recognises(tmp_path / "missing")
    assert isinstance(importer, Importer)


TEXT = b"".join(
    b'2026-11-20 12:00:%02d | INFO | metric {"step": %d, "loss": %r, "split": "%s"}\n'
    % (step, step, 1 / (step + 3), b"val" if step % 3 == 0 else b"train")
    for step in range(12)
)


@hypothesis.given(end=strategies.integers(0, len(TEXT)))
@hypothesis.settings(max_examples=60)
def test_a_log_cut_at_any_byte_is_a_prefix_of_its_facts(tmp_path_factory, end):
    """Exactly the records whose lines are whole; what is left of the last one is damage, byte for byte.

    Where no line is whole, the log cannot be read, which is an error.
    """
    directory = tmp_path_factory.mktemp("cut")
    (directory / "train.log").write_bytes(TEXT[:end])
    lines = TEXT[:end].split(b"\n")
    if len(lines) == 1:
        with pytest.raises(FormatError, match=r"no metric line that can be read"):
            list(importer.read(directory))
        return
    runs = list(importer.read(directory))
    found = sorted(
        (*point, split) for run in runs for split in ("train", "val") for point in points(run, "loss", split)
    )
    assert found == [(n, 1 / (n + 3), "val" if n % 3 == 0 else "train") for n in range(len(lines) - 1)]
    torn = [place.size_bytes for run in runs for place in run.fidelity.damage]
    assert torn == ([len(lines[-1])] if lines[-1] and runs else [])
