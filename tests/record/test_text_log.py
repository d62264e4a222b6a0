"""``train.log`` and the console through loguru: the documented formats, rotation, and other people's sinks."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import os
import re
import sys
import warnings

import pytest
from loguru import logger

from barograph.errors import MisuseError
from barograph.record.text_log import TextLog

FILE_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| (\w+) \| (.*)")
CONSOLE_LINE = re.compile(r"\d\d:\d\d:\d\d \| (.*)")


@pytest.fixture
def new_log(tmp_path):
    """Open text logs; those that a test leaves open are closed."""
    logs = []

    def new_log(name="train.log", *, run_id="r1", **options):
        logs.append(TextLog(tmp_path / name, run_id=run_id, **options))
        return logs[-1]

    yield new_log
    for log in logs:
        log.close()


OPEN = """
import contextlib, io, sys
from pathlib import Path
from loguru import logger
from barograph.record.text_log import TextLog
"""


def messages(text, pattern=FILE_LINE):
    """The messages of lines that all have the documented format."""
    found = [pattern.fullmatch(line) for line in text.splitlines()]
    assert all(found)
    return [match.groups()[-1] for match in found]


@pytest.mark.spec("S0.1", "S0.16", "S0.17")
def test_formats(new_log, capsys, tmp_path):
    """The file's lines have date, time, level and message; the console's have the time of day and the message."""
    new_log()
    logger.info("epoch {} done", 3)
    logger.warning("learning rate is 0")
    text = (tmp_path / "train.log").read_text(encoding="utf-8")
    assert [FILE_LINE.fullmatch(line).groups() for line in text.splitlines()] == [
        ("INFO", "epoch 3 done"),
        ("WARNING", "learning rate is 0"),
    ]
    captured = capsys.readouterr()
    assert messages(captured.err, CONSOLE_LINE) == ["epoch 3 done", "learning rate is 0"]
    assert captured.out == ""


@pytest.mark.spec("S0.19", "S0.20")
def test_documented_call(new_log, tmp_path):
    """The guide's own call lands in the file as the guide prints it."""
    import json

    new_log(console=False)
    logger.info("metric {}", json.dumps({"epoch": 0, "step": 0, "loss": 0.693, "accuracy": 0.52}))
    line = (tmp_path / "train.log").read_text().strip()
    assert line.endswith(' | INFO | metric {"epoch": 0, "step": 0, "loss": 0.693, "accuracy": 0.52}')
    assert FILE_LINE.fullmatch(line)


def test_emitted_lines_have_the_time_of_the_fact(new_log, tmp_path):
    """A line that is written later carries the time of its record; braces in it are text."""
    log = new_log(console=False)
    t = dt.datetime(2025, 9, 1, 13, 0, 5).astimezone().timestamp()
    log.emit('metric {"loss": 0.5, "{time}": "<red>"}', t)
    assert (
        tmp_path / "train.log"
    ).read_text() == '2025-09-01 13:00:05 | INFO | metric {"loss": 0.5, "{time}": "<red>"}\n'


def test_quiet_lines_stay_off_the_console(new_log, capsys, tmp_path):
    """A line may go to the file alone."""
    log = new_log()
    log.emit("to both", 1.0)
    log.emit("to the file", 2.0, shown=False)
    assert messages((tmp_path / "train.log").read_text()) == ["to both", "to the file"]
    assert messages(capsys.readouterr().err, CONSOLE_LINE) == ["to both"]


@pytest.mark.spec("S2.18", "S2.48")
def test_rotation_and_compression(new_log, tmp_path):
    """At its size limit the file is compressed beside itself and begun anew; no line is lost or torn."""
    log = new_log(console=False, rotation_bytes=2000)
    for number in range(200):
        log.emit(f"line {number}", 1.0)
    log.close()
    packed = sorted(tmp_path.glob("train.*.log.gz"))
    assert len(packed) >= 3
    texts = [gzip.decompress(path.read_bytes()).decode() for path in packed]
    assert all(len(text) <= 2000 for text in texts)
    found = [message for text in [*texts, (tmp_path / "train.log").read_text()] for message in messages(text)]
    assert found == [f"line {number}" for number in range(200)]


def test_a_log_goes_on(new_log, tmp_path):
    """A file that exists is continued."""
    for number in range(2):
        log = new_log(console=False)
        log.emit(f"attempt {number}", 1.0)
        log.close()
    assert messages((tmp_path / "train.log").read_text()) == ["attempt 0", "attempt 1"]


def test_default_sink_comes_back(record):
    """Loguru's own sink would show every line twice; it is out while a log is open and back afterwards."""
    script = """
for number in range(2):
    log = TextLog(Path("train.log"), run_id="r1")
    logger.info("within")
    log.close()
    logger.info("without")
"""
    _, stderr = record(OPEN + script)
    kinds = [bool(CONSOLE_LINE.fullmatch(line)) for line in stderr.splitlines()]
    assert kinds == [True, False, True, False]
    assert [line.rpartition(" ")[2] for line in stderr.splitlines()] == ["within", "without"] * 2


def test_sinks_of_the_script_are_left_alone(new_log, tmp_path):
    """A sink that the script added sees every line, before, while and after a log is open."""
    own = io.StringIO()
    sink = logger.add(own, format="{message}")
    try:
        logger.info("before")
        log = new_log(console=False)
        logger.info("within")
        log.close()
        logger.info("after")
    finally:
        logger.remove(sink)
    assert own.getvalue() == "before\nwithin\nafter\n"
    assert messages((tmp_path / "train.log").read_text()) == ["within"]


@pytest.mark.spec("S0.15")
def test_script_that_removed_the_default_sink(record):
    """A script that begins with ``logger.remove()``, as the guide asks, gets no sink that it did not want."""
    script = """
logger.remove()
log = TextLog(Path("train.log"), run_id="r1", console=False)
logger.info("within")
log.close()
logger.info("nobody listens")
"""
    assert record(OPEN + script) == ("", "")


def test_script_that_removes_every_sink_meanwhile(record):
    """``logger.remove()`` while a log is open takes its sinks too; closing it is no error."""
    script = """
log = TextLog(Path("train.log"), run_id="r1")
logger.remove()
logger.info("nobody listens")
log.close()
log.close()
"""
    _, stderr = record(OPEN + script)
    assert "nobody listens" not in stderr
    assert "Error" not in stderr


def test_two_logs_at_once(new_log, capsys, tmp_path):
    """Lines of a run go to its own file; lines of the script go to both files and once to the console."""
    first, second = new_log("first.log", run_id="r1"), new_log("second.log", run_id="r2")
    first.emit("of the first", 1.0)
    second.emit("of the second", 1.0)
    logger.info("of the script")
    assert messages(capsys.readouterr().err, CONSOLE_LINE) == ["of the first", "of the second", "of the script"]
    first.close()
    logger.info("later")
    assert messages(capsys.readouterr().err, CONSOLE_LINE) == ["later"]
    assert messages((tmp_path / "first.log").read_text()) == ["of the first", "of the script"]
    assert messages((tmp_path / "second.log").read_text()) == ["of the second", "of the script", "later"]


def test_quiet_log_beside_a_loud_one(new_log, capsys):
    """A log without a console does not take the script's lines off the console of another."""
    new_log("quiet.log", run_id="r1", console=False)
    new_log("loud.log", run_id="r2")
    logger.info("of the script")
    assert messages(capsys.readouterr().err, CONSOLE_LINE) == ["of the script"]


@pytest.mark.parametrize("name", ["{time}", "lr={0.1}", "a{b}c", "{"])
def test_braces_in_the_path(new_log, tmp_path, name):
    """Loguru fills in what stands in braces in a path; a directory that is called so is meant literally."""
    (tmp_path / name).mkdir()
    log = new_log(f"{name}/train.log", console=False)
    log.emit("here", 1.0)
    assert messages((tmp_path / name / "train.log").read_text()) == ["here"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_log_that_cannot_be_opened(record, tmp_path):
    """A log that cannot be opened raises, and loguru is as it was: the script's lines are still shown."""
    (tmp_path / "train.log").mkdir()
    script = """
try:
    TextLog(Path("train.log"), run_id="r1")
except IsADirectoryError:
    logger.info("still shown")
"""
    _, stderr = record(OPEN + script)
    assert stderr.count("still shown") == 1


def test_levels(new_log, tmp_path):
    """Lines below the level are left out; an unknown level is named with the known ones."""
    new_log(console=False, level="WARNING")
    logger.info("chatter")
    logger.error("broken")
    assert messages((tmp_path / "train.log").read_text()) == ["broken"]
    with pytest.raises(MisuseError, match="log level 'LOUD' is unknown to loguru; use DEBUG, INFO, WARNING or ERROR"):
        new_log("other.log", level="LOUD")
    assert not (tmp_path / "other.log").exists()


def test_no_variables_of_the_script_in_the_file(new_log, tmp_path):
    """A logged exception has its stack trace, without the values of variables, which may be secret."""

    def train(password):
        raise ValueError("no batch")

    new_log(console=False)
    secret = os.urandom(8).hex()
    with logger.catch(message="training broke"):
        train(secret)
    text = (tmp_path / "train.log").read_text()
    assert "ValueError: no batch" in text
    assert "in train" in text
    assert secret not in text


def test_console_follows_stderr(new_log, monkeypatch):
    """Lines go to what ``sys.stderr`` is when they are written, and nowhere when there is none."""
    new_log()
    replaced = io.StringIO()
    monkeypatch.setattr(sys, "stderr", replaced)
    logger.info("to the new one")
    monkeypatch.setattr(sys, "stderr", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger.info("to nobody")
    assert messages(replaced.getvalue(), CONSOLE_LINE) == ["to the new one"]
