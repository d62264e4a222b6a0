"""A run that is resumed is watched on from where it was, not from its beginning; nothing is told twice, or lost."""

from __future__ import annotations

import json
import time

import pytest

from barograph.facts.rundir import RunDir
from barograph.read.run import RunReader
from barograph.watch.kept import LEAST_RECORDS
from barograph.watch.settings import read_settings
from barograph.watch.watcher import open_watcher

RULES = ["level > 20", "critical: level > 20 for 3 records"]
SCRIPT = f"""
import sys, time, barograph
from barograph.session import watching
from barograph.watch import watcher

watching.KEEP_S = 0.05
plain = watcher.open_kept

def open_kept(*args, **options):
    found = plain(*args, **options)
    print("goes on from", found[0].num_records, flush=True)
    return found

watcher.open_kept = open_kept
start = int(sys.argv[2])
run = barograph.init(
    name="r", dir=sys.argv[1], terminal="off", text_log=None, console=False, host_s=None,
    resume="allow", watch={{"rules": {RULES!r}}},
)
for step in range(start, start + 12_000):
    run.log({{"level": 30.0 if step % 1500 in (700, 701, 702) else 1.0 + step % 3}}, step=step)
    if step % 200 == 0:
        time.sleep(0.02)
    if step == start + 9_000:
        print("far", flush=True)
run.finish()
"""


def alerts_of(path):
    """The ids of the lines of ``alerts.jsonl`` that are no ends."""
    lines = RunDir(path).alerts.read_text(encoding="utf-8").splitlines()
    return [it["id"] for it in map(json.loads, lines) if it["stage"] != "ended"]


def replayed(path):
    """The same ids, by a reading of the whole run."""
    watcher = open_watcher(RunDir(path), read_settings({"rules": RULES}), config=RunReader(path).config)
    return [it.alert.id for it in watcher.finish() if it.stage != "ended"]


@pytest.mark.parametrize("ends", ["kill", "finish"])
def test_what_was_learned_outlives_the_process(start, tmp_path, ends):
    """Killed (SIGKILL) between two times at which it was kept, or finished: the next process goes on from there."""
    path = tmp_path / "run"
    first = start(SCRIPT, path, 0)
    assert first.stdout.readline() == "goes on from 0\n", first.stderr.read()
    assert first.stdout.readline() == "far\n"
    if ends == "kill":
        limit_s = time.monotonic() + 20.0
        while not RunDir(path).watch_state().exists() and time.monotonic() < limit_s:
            time.sleep(0.01)
        first.kill()
    first.wait(timeout=60)
    assert RunDir(path).watch_state().exists()
    second = start(SCRIPT, path, 20_000)
    out, err = second.communicate(timeout=120)
    assert (second.returncode, err) == (0, "")
    known = int(out.removeprefix("goes on from ").split("\n")[0])
    assert known >= LEAST_RECORDS if ends == "kill" else known == 12_000
    told = alerts_of(path)
    assert len(told) == len(set(told)) >= 8
    assert sorted(told) == sorted(replayed(path))


def test_a_short_run_leaves_nothing_behind(new_run):
    """One that is read again in no time has no file for it."""
    run = new_run(watch={"rules": RULES})
    for step in range(200):
        run.log({"level": 30.0 if step == 100 else 1.0}, step=step)
    run.finish()
    assert len(alerts_of(run.dir)) == 1
    assert not RunDir(run.dir).watch_state().exists()


def test_an_alert_that_is_not_written_down_is_not_learned(new_run, tmp_path):
    """While another watcher writes the alerts, or nobody can, what was told is found again by whoever comes next."""
    holder = RunDir(tmp_path / "run")
    run = new_run(watch={"rules": RULES})
    from barograph.watch.journal import Journal

    journal = Journal(holder)
    assert journal.is_writer
    for step in range(LEAST_RECORDS + 1000):
        run.log({"level": 30.0 if step == 100 else 1.0}, step=step)
    run.finish()
    assert not holder.alerts.exists()
    assert not holder.watch_state().exists()
    journal.close()
    again = new_run(watch={"rules": RULES}, resume="must")
    again.log({"level": 1.0}, step=LEAST_RECORDS + 1000)
    again.finish()
    assert alerts_of(run.dir) == ["rule: level > 20-r0-a0-s100-n101"]
    assert holder.watch_state().exists()
