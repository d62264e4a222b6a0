"""What is found is written once and delivered once: real runs, real watchers, a real server, real kills."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest
from tests.watch.actions.receiver import HOST, Receiver, an_alert, opened, wait_until

from barograph.errors import BarographWarning
from barograph.facts.log import scan_text
from barograph.facts.rundir import RunDir
from barograph.read.frames import load_runs
from barograph.read.run import RunReader
from barograph.read.verify import verify
from barograph.report.number import Facts
from barograph.report.tables import alert_table
from barograph.watch.actions.record import as_line
from barograph.watch.actions.webhook import Webhook
from barograph.watch.detectors.non_finite import NonFinite
from barograph.watch.incident import Incidents
from barograph.watch.journal import Journal, open_journal, warn
from barograph.watch.settings import read_settings
from barograph.watch.watcher import Watcher, open_watcher

pytestmark = pytest.mark.allow_hosts([HOST])

WATCH = """
import sys
from pathlib import Path
from barograph.facts.rundir import RunDir
from barograph.watch.detectors.non_finite import NonFinite
from barograph.watch.journal import open_journal
from barograph.watch.settings import read_settings
from barograph.watch.watcher import Watcher

directory = RunDir(Path(sys.argv[1]))
settings = read_settings({"actions": {"webhook": sys.argv[2]}})
journal = open_journal(directory, settings)
print("ready", flush=True)
sys.stdin.readline()
for told in Watcher(directory, detectors=[NonFinite()]).finish():
    journal.take(told)
journal.close(limit_s=30)
"""
TRAIN = """
import math, sys, time
import barograph

run = barograph.init(dir=sys.argv[1], name="digits", terminal="off", text_log=None, console=False, host_s=None,
                     watch={"detectors": ["non_finite"], "actions": {"webhook": sys.argv[2]}})
for step in range(60):
    run.log({"loss": 1.0 if step < 50 else math.nan}, step=step)
print(run.id, flush=True)
time.sleep(60)
"""


@pytest.fixture
def diverged(new_run):
    """A run whose loss was finite for 50 steps, and then was not; nobody watched it."""

    def diverged(**options) -> RunDir:
        run = new_run(name="digits", watch=False, **options)
        for step in range(120):
            run.log({"loss": 1.0 if step < 50 else math.nan}, step=step)
        run.finish()
        return RunDir(run.dir)

    return diverged


def found_in(directory: RunDir) -> list:
    """What a watcher tells of a whole run."""
    return Watcher(directory, detectors=[NonFinite()]).finish()


def lines_of(directory: RunDir) -> list[dict]:
    """What is written down."""
    return scan_text(directory.alerts).records


def outcomes(directory: RunDir) -> list[str]:
    """How far the deliveries are."""
    return [it["outcome"] for it in scan_text(directory.facts / "deliveries.jsonl").records]


@pytest.mark.spec("S2.24", "S2.42")
@pytest.mark.parametrize("way", ["webhook", "notify"])
def test_a_nan_is_found_written_down_and_delivered_with_what_to_do(way, diverged):
    """The alert of a real run stands in its files and reaches a real server, with its step and its remedies."""
    directory = diverged()
    (told,) = found_in(directory)
    with Receiver() as server:
        address = server.url if way == "webhook" else server.url.replace("http://", "json://")
        journal = open_journal(directory, read_settings({"actions": {way: address}}))
        assert journal.take(told)
        journal.close(limit_s=20)
    (line,) = lines_of(directory)
    assert tuple(line[key] for key in ("type", "severity", "step", "stage")) == ("non_finite", "fatal", 50.0, "opened")
    assert line["text"].startswith("loss is nan at step 50; the last finite value was 1 at step 49")
    assert math.isnan(line["evidence"][0]["value"])
    advice = [remedy.text for remedy in told.alert.remedies]
    assert len(advice) > 1
    assert advice == [remedy["text"] for remedy in line["remedies"]]
    (request,) = server.requests
    if way == "webhook":
        assert request["body"]["remedies"] == line["remedies"]
        assert request["body"]["run"]["directory"] == str(directory.path.resolve())
    else:
        assert request["body"]["title"] == "[fatal] non finite in digits"
        assert [f"- {text}" for text in advice] == [
            it for it in request["body"]["message"].splitlines() if it[2:] in advice
        ]


def test_a_watcher_that_begins_anew_neither_writes_nor_sends_again(diverged):
    """It reads the run from its beginning, finds the same, and keeps it to itself."""
    directory = diverged()
    with Receiver() as server:
        for expected in ([True], [False], [False]):
            journal = Journal(directory, actions=[Webhook(server.url)])
            assert expected == [journal.take(told) for told in found_in(directory)]
            journal.close(limit_s=20)
    assert (len(lines_of(directory)), len(server.requests)) == (1, 1)
    assert outcomes(directory) == ["begun", "done"]


def test_a_watcher_that_is_restarted_all_the_time_writes_what_one_writes(new_run):
    """Live, with a new watcher after every few steps, the file is the one of a single replay at the end."""
    run = new_run(watch=False)
    directory = RunDir(run.dir)
    settings = read_settings({"detectors": ["non_finite"], "rules": ["loss > 10"]})
    for step in range(600):
        run.log({"loss": 99.0 if step in (60, 61, 360) else 1.0}, step=step)
        if step % 50 == 49:
            journal = open_journal(directory, settings)
            for told in open_watcher(directory, settings).poll():
                journal.take(told)
            journal.close()
    run.finish()
    told = open_watcher(directory, settings).finish()
    journal = open_journal(directory, settings)
    for each in told:
        journal.take(each)
    journal.close()
    assert [each.stage for each in told] == ["opened", "ended", "opened", "ended"]
    assert [json.loads(json.dumps(as_line(each))) for each in told] == lines_of(directory)


@pytest.mark.parametrize("first", ["a", "b"])
def test_of_two_watchers_one_writes_and_the_other_takes_over(run_dir, first):
    """Whoever comes first; what is found by the second alone, after the first has gone, is written too, each once."""
    a, b = Journal(run_dir), Journal(run_dir)
    assert (a.is_writer, b.is_writer) == (True, False)
    for journal in (a, b) if first == "a" else (b, a):
        assert journal.take(opened(1))
    b.poll()
    assert b.num_waiting == 0
    assert b.take(opened(2))
    assert b.num_waiting == 1
    a.close()
    b.poll()
    assert (b.is_writer, b.num_waiting) == (True, 0)
    b.take(opened(3))
    b.close()
    assert [opened(number).alert.id for number in (1, 2, 3)] == [line["id"] for line in lines_of(run_dir)]


def test_three_watchers_at_once_write_and_send_each_alert_once(diverged, start):
    """Three processes that find the same at the same time."""
    directory = diverged()
    with Receiver() as server:
        watchers = [start(WATCH, directory.path, server.url, stdin=subprocess.PIPE) for _ in range(3)]
        for watcher in watchers:
            assert watcher.stdout.readline() == "ready\n"
        for watcher in watchers:
            watcher.stdin.write("\n")
            watcher.stdin.flush()
        for watcher in watchers:
            assert (*watcher.communicate(timeout=60), watcher.returncode) == ("", "", 0)
    assert (len(lines_of(directory)), len(server.requests)) == (1, 1)


def test_a_watcher_that_is_killed_between_begun_and_done_loses_nothing(diverged, start):
    """After ``kill -9`` the next watcher sends it again with the same key, and the one after that does not."""
    directory = diverged()
    with Receiver(codes=[0]) as server:
        watcher = start(WATCH, directory.path, server.url, stdin=subprocess.PIPE)
        watcher.stdin.write("\n")
        watcher.stdin.flush()
        begun = server.wait()
        watcher.send_signal(signal.SIGKILL)
        assert watcher.wait(timeout=20) == -signal.SIGKILL
        assert outcomes(directory) == ["begun"]
        for _ in range(2):
            journal = Journal(directory, actions=[Webhook(server.url)])
            assert [journal.take(told) for told in found_in(directory)] == [False]
            journal.close(limit_s=20)
    assert outcomes(directory) == ["begun", "begun", "done"]
    assert len(lines_of(directory)) == 1
    assert [begun["headers"]["Idempotency-Key"]] * 2 == [it["headers"]["Idempotency-Key"] for it in server.requests]
    assert begun["body"] == server.requests[1]["body"]


def test_an_alert_is_delivered_when_training_has_died(start, tmp_path):
    """Training is killed while it delivers; a watcher beside it, which did nothing until then, delivers it again."""
    directory = RunDir(tmp_path / "run")
    with Receiver(codes=[0]) as server:
        training = start(TRAIN, directory.path, server.url)
        run_id = training.stdout.readline().strip()
        own = server.wait()
        beside = open_journal(directory, read_settings({"actions": {"webhook": server.url}}))
        assert not beside.is_writer
        assert [beside.take(told) for told in found_in(directory)] == [False]
        assert len(server.requests) == 1
        training.send_signal(signal.SIGKILL)
        training.wait(timeout=20)
        wait_until(lambda: beside.poll() or len(server.requests) == 2)
        beside.close(limit_s=20)
    assert outcomes(directory) == ["begun", "begun", "done"]
    assert [own["headers"]["Idempotency-Key"]] * 2 == [it["headers"]["Idempotency-Key"] for it in server.requests]
    assert own["headers"]["Idempotency-Key"].startswith(f"{run_id}/non_finite-")
    assert len(lines_of(directory)) == 1


def test_servers_that_are_dead_or_silent_harm_no_training(new_run):
    """The run finishes soon and as finished, with every fact; that nobody was told is said once, and is retried."""
    with Receiver() as gone:
        dead = gone.url
    with Receiver(codes=[0] * 9) as silent, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        actions = {"webhook": [dead, silent.url], "notify": dead.replace("http://", "json://")}
        run = new_run(watch={"detectors": ["non_finite"], "actions": actions})
        for step in range(60):
            run.log({"loss": 1.0 if step < 50 else math.nan}, step=step)
        silent.wait()
        began_s = time.monotonic()
        run.finish()
        assert time.monotonic() - began_s < 10
    reader = RunReader(run.dir)
    assert reader.status().state == "finished"
    assert len(reader.series("loss").values) == 60
    assert len(lines_of(RunDir(run.dir))) == 1
    (said,) = [str(it.message) for it in caught if issubclass(it.category, BarographWarning)]
    assert "deliveries of alerts not made yet: 3 (notify.json, webhook, webhook.2)" in said
    with Receiver() as server:
        next_one = Journal(reader.directory, actions=[Webhook(server.url), Webhook(server.url, name="webhook.2")])
        wait_until(lambda: next_one.poll() or len(server.requests) == 2)
        next_one.close(limit_s=20)


def test_below_the_least_severity_nothing_is_sent(run_dir):
    """It is written down only; ends are sent where that is asked for, as severe as the incident was."""
    incidents = Incidents()
    told = [incidents.take(an_alert(1, severity="info"), 1)]
    told += incidents.settle(set(), 100, step=220.0, t=1100.0)
    assert incidents.settle(set(), 250, step=370.0, t=1250.0) == []  # so long after the end it is another incident
    told.append(incidents.take(an_alert(300, severity="critical"), 300))
    told += incidents.settle(set(), 400, step=520.0, t=1400.0)
    for has_ends, expected in ((False, ["opened"]), (True, ["opened", "ended"])):
        directory = RunDir(run_dir.path / str(has_ends))
        directory.ensure_facts()
        with Receiver() as server:
            journal = Journal(directory, actions=[Webhook(server.url)], min_severity="warning", has_ends=has_ends)
            for each in told:
                journal.take(each)
            journal.close(limit_s=20)
        assert expected == [it["body"]["stage"] for it in server.requests]
        assert [line["stage"] for line in lines_of(directory)] == ["opened", "ended", "opened", "ended"]


def test_on_a_full_disk_alerts_are_delivered_and_written_later(run_dir):
    """The alert reaches the server at once; the line is written when there is space; it is said once."""
    told = []
    with Receiver() as server:
        journal = Journal(run_dir, actions=[Webhook(server.url)], report=told.append)
        journal.take(opened(3))
        log_fd = journal._alerts._log.file.fd
        kept, full = os.dup(log_fd), os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, log_fd)
        assert journal.take(opened(1))
        assert journal.take(opened(2))
        wait_until(lambda: len(server.requests) == 3)
        assert (journal.num_waiting, len(lines_of(run_dir))) == (2, 1)
        os.dup2(kept, log_fd)
        journal.poll()
        journal.close(limit_s=20)
    os.close(kept)
    os.close(full)
    assert [opened(number).alert.id for number in (3, 1, 2)] == [line["id"] for line in lines_of(run_dir)]
    (said,) = told
    assert "No space left on device" in said
    assert said.endswith("free the cause")


def test_lines_of_other_programs_are_left_alone(run_dir):
    """A line without an id is neither sent nor an obstacle."""
    run_dir.alerts.write_bytes(b'{"level":"warning","title":"disk","text":"nearly full","t":5.0}\n{"id":7}\nno json\n')
    with Receiver() as server:
        journal = Journal(run_dir, actions=[Webhook(server.url)])
        assert journal.take(opened(1))
        journal.close(limit_s=20)
    assert len(server.requests) == 1
    assert len(lines_of(run_dir)) == 3


def test_in_a_forked_child_a_journal_does_nothing(run_dir):
    """Neither does it write, nor does closing it take anything from its parent."""
    journal = Journal(run_dir)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            journal.take(opened(1))
            journal.poll()
            journal.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (lines_of(run_dir), journal.is_writer) == ([], True)
    assert not Journal(run_dir).is_writer
    journal.take(opened(2))
    journal.close()
    assert len(lines_of(run_dir)) == 1


def test_every_reader_understands_the_lines(diverged, cli_in):
    """``show``, ``list``, ``sql``, frames, reports and ``check`` have the alert with its severity, title and text."""
    directory = diverged()
    journal = Journal(directory)
    (told,) = found_in(directory)
    journal.take(told)
    journal.close()
    text, root = told.alert.text, str(directory.path.parent)
    assert f"  [fatal] non finite: {text}" in cli_in("show", str(directory.path))
    assert "1 alert" in cli_in("list", "--root", root)
    rows = json.loads(cli_in("sql", "select level, title, text from alerts", "--root", root, "--json"))["rows"]
    assert [{"level": "fatal", "title": "non finite", "text": text}] == rows
    runs = load_runs(directory.path)
    assert [("fatal", "non finite", text)] == runs.alerts().select("level", "title", "text").rows()
    (row,) = alert_table(Facts(runs)).rows
    assert ["digits", "fatal", "non finite", text] == [getattr(cell, "text", cell) for cell in row]
    assert math.isnan(RunReader(directory.path).alerts()[0]["evidence"][0]["value"])
    assert [finding for finding in verify(directory.path) if finding.severity != "info"] == []


def test_a_warning_that_would_be_an_error_is_written_on_stderr(capsys):
    """In a thread there is nobody to catch it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn("nobody was told; free the cause")
    assert capsys.readouterr().err == "barograph: nobody was told; free the cause\n"
    with pytest.warns(BarographWarning, match="barograph: nobody was told"):
        warn("nobody was told; free the cause")


@pytest.fixture
def cli_in(tmp_path):
    """Run ``barograph`` and return what it prints."""

    def cli_in(*arguments: str) -> str:
        command = [sys.executable, "-m", "barograph.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path).stdout

    return cli_in
