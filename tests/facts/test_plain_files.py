"""What people read without any tool of ours: the text log in its documented form, and every file by plain commands."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess

import pytest

from barograph.facts.rundir import RunDir
from barograph.record.text_log import TextLog

LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| INFO \| (.*)$")

GUIDE = """
import json
import sys
from pathlib import Path

from loguru import logger

import barograph

out_dir = Path(sys.argv[1] if len(sys.argv) > 1 else "quick")
out_dir.mkdir(parents=True, exist_ok=True)

logger.remove()
{sinks}
with barograph.init(dir=out_dir, terminal={terminal!r}, text_log={text_log!r}, host_s=None):
    logger.info("metric {{}}", json.dumps({{"epoch": 0, "step": 0, "loss": 0.693, "accuracy": 0.52}}))
    logger.info("metric {{}}", json.dumps({{"epoch": 0, "step": 100, "loss": 0.512, "accuracy": 0.71}}))
"""
SINKS = """
logger.add(out_dir / "train.log", format="{time:YYYY-MM-DD HH:mm:ss} | {level} | {message}")
logger.add(sys.stderr, format="{time:HH:mm:ss} | {message}")
"""
METRICS = [
    {"epoch": 0, "step": 0, "loss": 0.693, "accuracy": 0.52},
    {"epoch": 0, "step": 100, "loss": 0.512, "accuracy": 0.71},
]


def shell(command: str, cwd) -> str:
    """What a command line prints; every command of it must exist."""
    for word in re.findall(r"\b(jq|zcat|grep|od|sed)\b", command):
        if shutil.which(word) is None:
            pytest.skip(f"{word} is not installed")
    return subprocess.run(
        ["/bin/bash", "-c", f"set -euo pipefail; {command}"], cwd=cwd, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.spec("S0.2", "S0.15", "S0.16", "S0.17", "S0.18", "S0.19", "S0.20")
@pytest.mark.parametrize(
    ("sinks", "text_log", "terminal"),
    [(SINKS, None, "off"), ("", "train.log", "log")],
    ids=["the guide's own sinks", "the run's sinks"],
)
def test_the_guides_calls_give_the_guides_lines(record, tmp_path, sinks, text_log, terminal):
    """The exact calls of the guide, with its own sinks or with the run's, give its exact lines in file and console."""
    _, stderr = record(GUIDE.format(sinks=sinks, text_log=text_log, terminal=terminal))
    lines = (tmp_path / "quick" / "train.log").read_text(encoding="utf-8").splitlines()
    messages = [LINE.match(line).group(1) for line in lines]
    assert [f"metric {json.dumps(metric)}" for metric in METRICS] == messages
    console = [re.match(r"^\d\d:\d\d:\d\d \| (.*)$", line).group(1) for line in stderr.splitlines()]
    assert messages == console
    found = shell("grep 'metric ' train.log | sed 's/.*| metric //' | jq -c .", tmp_path / "quick")
    assert [json.loads(line) for line in found.splitlines()] == METRICS


@pytest.mark.spec("S2.18", "S2.48")
def test_the_text_log_is_rotated_and_compressed(tmp_path):
    """At its size the log is compressed beside itself and begun anew; all parts together hold every line once."""
    log = TextLog(tmp_path / "train.log", run_id="r1", console=False, rotation_bytes=4_000)
    for number in range(400):
        log.emit(f"metric {json.dumps({'step': number})}", 1_800_000_000.0 + number)
    log.close()
    parts = sorted(tmp_path.glob("train.*.log.gz"))
    assert len(parts) >= 4
    assert (tmp_path / "train.log").stat().st_size < 5_000
    assert all(part.read_bytes()[:2] == b"\x1f\x8b" for part in parts)
    command = "(zcat train.*.log.gz; cat train.log) | grep 'metric ' | sed 's/.*| metric //' | jq .step"
    assert list(range(400)) == sorted(map(int, shell(command, tmp_path).split()))


RUN = """
import barograph, math
with barograph.init(dir="run", config={"lr": 0.5}, terminal="off", host_s=None, log_steps=10, eval_steps=100) as run:
    for step in range(1, 31):
        run.log({"loss": 1 / step, "lr": math.nan if step == 7 else 0.1}, step=step)
    run.epoch_end(0, train_loss=0.25, val_loss=math.inf)
    run.check("answer", expected=42, got=42)
    run.log({"tokens": 2**60}, step=31)
"""


@pytest.mark.spec("S4.38", "S0.20", "S3.75")
def test_every_file_of_a_run_is_read_by_plain_commands(record, tmp_path):
    """Cat, grep, jq and od read what was recorded, to the last bit."""
    record(RUN)
    run = RunDir(tmp_path / "run")
    moments = shell("jq -r .moment facts/events.jsonl", run.path).split()
    assert moments == ["on_start", "on_epoch_end", "on_check", "on_train_end"]
    assert (
        shell("jq -r 'select(.moment == \"on_epoch_end\") | .nonfinite.val_loss' facts/events.jsonl", run.path)
        == "inf\n"
    )
    assert json.loads(shell("grep on_check facts/events.jsonl | jq -c .expected", run.path)) == 42
    assert float(shell("jq .tokens facts/metrics.jsonl", run.path)) == 2.0**60  # numbers of jq are float64
    assert f'"tokens":{2**60},' in shell("cat facts/metrics.jsonl", run.path)
    assert shell("head -1 facts/metrics.000.rows | jq -c .columns", run.path) == '["step","loss","lr","t"]\n'
    rows = shell("tail -c +4097 facts/metrics.000.rows | od -An -v -w32 -t f8", run.path).splitlines()
    numbers = [[float(word) for word in row.split()] for row in rows]
    assert [(step, 1 / step) for step in range(1, 31)] == [(row[0], row[1]) for row in numbers]
    assert [row[0] for row in numbers if math.isnan(row[2])] == [7]
    assert shell("cat facts/scalars.csv", run.path) == "epoch,train_loss,val_loss\n0,0.25,inf\n"
    steps = shell("grep 'metric ' train.log | sed 's/.*| metric //' | jq 'select(.step != null) | .step'", run.path)
    assert list(map(int, steps.split())) == [10, 20, 30]
    assert json.loads(shell("jq -c '[.name, .config_redacted]' run.json", run.path)) == ["run", []]
    assert "lr: 0.5" in shell("cat config.yaml", run.path)
    assert shell("jq -r .status facts/exit.json", run.path) == "finished\n"
