"""A full disk: training ends normally, what was acknowledged is there, the ledger says what was not, and it heals."""

from __future__ import annotations

import json

import pytest

from barograph.facts.codec import decode
from barograph.facts.log import iterate
from barograph.facts.rundir import RunDir
from barograph.facts.state import read_exit
from barograph.read.follow import Follower, Rows

TRAIN = """
import json, os, resource, sys
import barograph
from barograph.facts.rundir import RunDir

path, filler, kind, write = sys.argv[1:]
layout = RunDir(__import__("pathlib").Path(path))

def fill(file):
    if kind == "limit":  # a file may grow to the middle of its third next record, and no further
        size = os.stat(file).st_size + (2 * 32 + 13 if file.suffix == ".rows" else 10)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        return
    with open(filler, "wb", buffering=0) as blocks:
        for size in (4096, 512, 1):
            try:
                while blocks.write(bytes(size)) == size:
                    pass
            except OSError:
                pass

def free():
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        os.unlink(filler)

def lost(call):
    before = run.ledger.lost
    call()
    return run.ledger.lost - before

kept = {"metrics": [], "events": []}
refused = {"metrics": 0, "events": 0}
run = barograph.init(dir=path, terminal="off", text_log=None, console=False, host_s=None, write=write)

def log(step):
    missing = lost(lambda: run.log({"loss": step / 7, "lr": 0.1}, step=step))
    refused["metrics"] += missing
    if not missing:
        kept["metrics"].append(step)

def note(number):
    missing = lost(lambda: run.event("custom", n=number, text="x" * 100))
    refused["events"] += missing
    if not missing:
        kept["events"].append(number)

for step in range(100):
    log(step)
    note(step)
fill(layout.rows(0))
step = 100
while refused["metrics"] < 40:
    log(step)
    step += 1
if kind == "limit":
    fill(layout.events())
number = 100
while refused["events"] < 20:
    note(number)
    number += 1
free()
for step in range(step, step + 100):
    log(step)
    note(step)
run.finish()
print(json.dumps([kept, refused]))
"""


@pytest.fixture
def disk(request, tmp_path):
    """Where to record, so that a disk of the kind of the test's parameter becomes full."""
    if request.param == "limit":
        return tmp_path
    return request.getfixturevalue("mount")(request.param, size_kib={"tmpfs": 600, "ext4": 2048}[request.param])


@pytest.mark.parametrize(
    ("disk", "kind"),
    [
        ("limit", "limit"),
        pytest.param("tmpfs", "tmpfs", marks=pytest.mark.root),
        pytest.param("ext4", "ext4", marks=pytest.mark.root),
    ],
    indirect=["disk"],
    ids=["file size limit", "tmpfs", "ext4"],
)
def test_a_disk_that_fills_up_and_is_freed(record, disk, kind):
    """Exactly what the calls said is on disk, before, during and after; one warning a part; a normal end."""
    stdout, stderr = record(TRAIN, disk / "run", disk / "filler", kind, "direct")
    kept, refused = json.loads(stdout)
    run = RunDir(disk / "run")
    follower = Follower(run)
    facts = follower.drain()
    rows = [row for fact in facts if isinstance(fact, Rows) for row in fact.rows]
    assert [(step, step / 7, 0.1) for step in kept["metrics"]] == [row[:3] for row in rows]
    events = [line["n"] for line in iterate(run.events()) if line["moment"] == "custom"]
    assert kept["events"] == events
    assert follower.damage == []
    numbers = [line["seq"] for line in iterate(run.events())]
    assert list(range(len(numbers))) == numbers
    assert (refused["metrics"], refused["events"]) >= (40, 20)
    ended = read_exit(run.exit())
    assert ended.status == "finished"
    assert ended.ledger["lost"] == refused["metrics"] + refused["events"]
    assert ended.ledger["accepted"] == ended.ledger["written"] + ended.ledger["lost"]
    assert [part for part in ended.ledger["failures"] if not part.endswith("(report)")] == ["metrics", "events"]
    warnings = [line for line in stderr.splitlines() if "RecordingWarning" in line]
    assert [" ".join(line.partition("barograph: ")[2].split()[:4]).rstrip(":") for line in warnings] == [
        "recording of metrics failed",
        "recording of events failed",
    ]
    assert all("Training goes on" in line and "free the cause" in line for line in warnings)


@pytest.mark.parametrize("torn_bytes", range(1, 32, 6))
def test_a_row_that_does_not_fit_leaves_no_part_of_itself(record, tmp_path, torn_bytes):
    """However much of a row the disk still takes, the file ends in a whole row, and the next row is aligned."""
    stdout, _ = record(
        """
        import os, resource, sys
        from pathlib import Path
        import barograph
        torn_bytes = int(sys.argv[1])
        with barograph.init(dir="run", terminal="off", text_log=None, console=False, host_s=None) as run:
            run.log({"a": 1.0, "b": 2.0}, step=0)
            rows = Path("run/facts/metrics.000.rows")
            resource.setrlimit(resource.RLIMIT_FSIZE, (rows.stat().st_size + torn_bytes, resource.RLIM_INFINITY))
            run.log({"a": 3.0, "b": 4.0}, step=1)
            print(rows.stat().st_size)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            run.log({"a": 5.0, "b": 6.0}, step=2)
        """,
        torn_bytes,
    )
    assert stdout == "4128\n"
    (rows,) = [fact for fact in Follower(RunDir(tmp_path / "run")).drain() if isinstance(fact, Rows)]
    assert [row[:3] for row in rows.rows] == [(0, 1, 2), (2, 5, 6)]


def test_batch_mode_counts_what_a_batch_lost(record, tmp_path):
    """Rows that were gathered and could not be written are counted one by one; the file stays aligned."""
    stdout, stderr = record(
        """
        import resource
        from pathlib import Path
        import barograph
        options = {"terminal": "off", "text_log": None, "console": False, "host_s": None}
        with barograph.init(dir="run", write="batch", **options) as run:
            run.log({"a": 1.0, "b": 2.0}, step=0)
            run.sync()
            rows = Path("run/facts/metrics.000.rows")
            resource.setrlimit(resource.RLIMIT_FSIZE, (rows.stat().st_size + 500 * 32 + 7, resource.RLIM_INFINITY))
            for step in range(1, 5_001):
                run.log({"a": 1.0, "b": 2.0}, step=step)
            run.sync()
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            for step in range(5_001, 5_101):
                run.log({"a": 1.0, "b": 2.0}, step=step)
        print(run.ledger.lost)
        """
    )
    facts = Follower(RunDir(tmp_path / "run")).drain()
    steps = [row[0] for fact in facts if isinstance(fact, Rows) for row in fact.rows]
    assert [*range(501), *range(5_001, 5_101)] == steps
    assert stdout == "4500\n"
    assert stderr.count("RecordingWarning") == 1


@pytest.mark.root
def test_a_disk_that_is_full_from_the_start(record, mount):
    """Nothing can be written at all: training runs to its end, and the ledger counts every fact as lost."""
    disk = mount("tmpfs", size_kib=64)
    (disk / "filler").write_bytes(bytes(64 * 1024 - 4096))
    stdout, stderr = record(
        """
        import json, sys
        import barograph
        with barograph.init(dir=sys.argv[1]) as run:
            for step in range(50):
                run.log({"loss": 0.5}, step=step)
                run.event("custom", n=step)
            run.epoch_end(0, val_loss=0.5)
        print("trained", run.ledger.lost, run.ledger.written)
        """,
        disk / "run",
    )
    assert stdout.endswith("trained 103 0\n")  # 50 rows, 50 events, on_start, on_epoch_end, on_train_end
    parts = [line for line in stderr.splitlines() if "RecordingWarning" in line]
    assert len(parts) == len({line.partition("recording of ")[2].split()[0] for line in parts})
    assert "Traceback" not in stderr


def test_the_text_log_of_a_full_disk_is_warned_of_once(record, tmp_path):
    """Lines that do not fit are left out without a traceback each; when there is room again, whole lines follow."""
    _, stderr = record(
        """
        import resource, time
        from pathlib import Path
        import barograph
        from loguru import logger
        with barograph.init(dir="run", terminal="off", console=False, host_s=None) as run:
            for number in range(20):
                logger.info("before {}", number)
            size = Path("run/train.log").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 70, resource.RLIM_INFINITY))
            for number in range(50):
                logger.info("lost {}", number)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            for number in range(20):
                logger.info("after {}", number)
        """
    )
    lines = (tmp_path / "run" / "train.log").read_text(encoding="utf-8").splitlines()
    words = [line.split(" | ")[2] for line in lines]
    assert [f"before {n}" for n in range(20)] + ["lost 0", "lost 1"][: len(words) - 40] + [
        f"after {n}" for n in range(20)
    ] == words
    assert stderr.count("RecordingWarning") == 1
    assert "Traceback" not in stderr


@pytest.mark.parametrize("part", ["rows", "events"])
def test_strict_raises_instead(record, tmp_path, part):
    """With ``strict`` the call that could not be recorded raises, says what to do, and the run ends as failed."""
    _, stderr = record(
        """
        import resource, sys
        import barograph
        with barograph.init(dir="run", strict=True, terminal="off", text_log=None, console=False, host_s=None) as run:
            run.log({"loss": 1.0}, step=0)
            size = {"rows": run.dir / "facts/metrics.000.rows", "events": run.dir / "facts/events.jsonl"}[sys.argv[1]]
            limit = size.stat().st_size + 3
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                run.log({"loss": 2.0}, step=1) if sys.argv[1] == "rows" else run.event("custom", n=1)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        """,
        part,
        exit_code=1,
    )
    assert "barograph.errors.RecordingError: barograph could not record" in stderr
    assert "free the cause, or use strict=False" in stderr
    ended = decode((tmp_path / "run" / "facts" / "exit.json").read_bytes())
    assert ended["status"] == "failed"
    assert ended["reason"].startswith("RecordingError: ")
    assert ended["ledger"]["lost"] == 1
