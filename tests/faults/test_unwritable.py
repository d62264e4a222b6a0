"""Directories that refuse: no permission, a read-only file system, a file in the way, another process inside."""

from __future__ import annotations

import os
import signal
import stat
import subprocess

import pytest

from barograph.facts.rundir import RunDir
from barograph.read.follow import Follower, Rows

OPTIONS = 'terminal="off", text_log=None, console=False, host_s=None'
TRAIN = f"""
import sys
import barograph
options = {{sys.argv[1]: sys.argv[2]}}
with barograph.init(**options, {OPTIONS}) as run:
    for step in range(50):
        run.log({{"loss": 0.5}}, step=step)
    run.event("custom", n=1)
print("trained", run.ledger.lost, run.ledger.written)
"""


def names(directory):
    """Everything below a directory."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def assert_trained_unrecorded(stdout: str, stderr: str, *reasons: str) -> None:
    """Training ran to its end; every fact is counted as lost; each part is warned of once, with the reason."""
    assert stdout == "trained 53 0\n"  # 50 rows, on_start, custom, on_train_end
    warnings = [line for line in stderr.splitlines() if "RecordingWarning" in line]
    assert "recording of directory failed" in warnings[0]
    assert len(warnings) == len({line.partition("recording of ")[2].partition(" failed")[0] for line in warnings})
    for line in warnings:
        assert any(reason in line for reason in reasons)
        assert "Training goes on" in line
    assert "Traceback" not in stderr


@pytest.mark.parametrize(("option", "place"), [("root", "runs"), ("root", "runs/far/below"), ("dir", "runs/run")])
def test_without_permission_training_goes_on(record, tmp_path, without_privileges, option, place):
    """A root, or the parent of the named directory, that may not be written: warned of, counted, nothing written."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs").chmod(0o555)
    stdout, stderr = record(TRAIN, option, tmp_path / place, prefix=without_privileges)
    assert_trained_unrecorded(stdout, stderr, "Permission denied", "No such file or directory")
    assert names(tmp_path / "runs") == []


@pytest.mark.root
@pytest.mark.parametrize(("option", "place"), [("root", ""), ("dir", "run")])
def test_on_a_read_only_file_system_training_goes_on(record, mount, option, place):
    """The same where nobody may write."""
    disk = mount("tmpfs", size_kib=600)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    stdout, stderr = record(TRAIN, option, disk / place)
    assert_trained_unrecorded(stdout, stderr, "Read-only file system", "No such file or directory")
    assert names(disk) == []


@pytest.mark.root
def test_a_file_system_that_becomes_read_only_keeps_what_was_recorded(record, mount):
    """Descriptors that are open when the device fails: what was acknowledged before stays, the rest is counted."""
    disk = mount("tmpfs", size_kib=600)
    stdout, stderr = record(
        f"""
        import fcntl, os, subprocess, sys
        import barograph
        run = barograph.init(dir=sys.argv[1] + "/run", {OPTIONS})
        for step in range(50):
            run.log({{"loss": 0.5}}, step=step)
        for fd in range(3, 100):  # a mount is not made read-only under open writers
            try:
                flags, path = fcntl.fcntl(fd, fcntl.F_GETFL), os.readlink(f"/proc/self/fd/{{fd}}")
            except OSError:  # not open, or closed meanwhile by the reader beside us
                continue
            if flags & os.O_ACCMODE == os.O_WRONLY and path.startswith(sys.argv[1]):
                os.dup2(os.open(path, os.O_RDONLY), fd)
        subprocess.run(["mount", "-o", "remount,ro", sys.argv[1]], check=True)
        for step in range(50, 60):
            run.log({{"loss": 0.5}}, step=step)
        run.finish()
        print("trained", run.ledger.lost)
        """,
        disk,
    )
    assert stdout == "trained 11\n"  # ten rows and on_train_end
    facts = Follower(RunDir(disk / "run")).drain()
    assert list(range(50)) == [row[0] for fact in facts if isinstance(fact, Rows) for row in fact.rows]
    assert "Traceback" not in stderr


def test_a_directory_that_is_closed_meanwhile_costs_new_files_alone(record, tmp_path, without_privileges):
    """Open streams go on; a new set of keys is lost and counted; when the directory is open again, it is recorded."""
    stdout, stderr = record(
        f"""
        import os
        import barograph
        with barograph.init(dir="run", {OPTIONS}) as run:
            run.log({{"loss": 0.0}}, step=0)
            facts = run.dir / "facts"
            facts.chmod(0o555)
            for step in range(1, 4):
                run.log({{"loss": float(step)}}, step=step)
                run.log({{"other": float(step)}}, step=step)
            facts.chmod(0o755)
            run.log({{"other": 4.0}}, step=4)
        print(run.ledger.lost)
        """,
        prefix=without_privileges,
    )
    facts = Follower(RunDir(tmp_path / "run")).drain()
    found = {fact.header.columns[1]: [row[1] for row in fact.rows] for fact in facts if isinstance(fact, Rows)}
    assert found == {"loss": [0.0, 1.0, 2.0, 3.0], "other": [4.0]}
    assert stdout == "3\n"
    assert stderr.count("RecordingWarning") == 1
    assert "Permission denied" in stderr


@pytest.mark.parametrize(("option", "place"), [("dir", "file"), ("dir", "file/run"), ("root", "file")])
def test_a_file_in_the_way_is_misuse(record, tmp_path, option, place):
    """The mistake is told at once, and the file is as it was."""
    (tmp_path / "file").write_text("precious", encoding="utf-8")
    before = names(tmp_path)
    _, stderr = record(TRAIN, option, tmp_path / place, exit_code=1)
    assert "barograph.errors.MisuseError" in stderr.splitlines()[-1]
    assert "file is a file, so" in stderr
    assert "name another directory" in stderr
    assert (tmp_path / "file").read_text(encoding="utf-8") == "precious"
    assert sorted([*before, "child-0.py"]) == names(tmp_path)


def test_strict_refuses_a_directory_that_cannot_be_written(record, tmp_path, without_privileges):
    """With ``strict`` a run that could not be recorded does not begin."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs").chmod(0o555)
    script = TRAIN.replace("**options,", "**options, strict=True,")
    _, stderr = record(script, "root", tmp_path / "runs", exit_code=1, prefix=without_privileges)
    assert "barograph.errors.RecordingError: barograph could not record (directory)" in stderr
    assert names(tmp_path / "runs") == []


def test_a_run_that_another_process_writes_is_busy(record, start, tmp_path):
    """The second process is refused with the number of the first, writes nothing, and may resume once that is gone."""
    child = start(
        f"""
        import sys
        import barograph
        run = barograph.init(dir="run", {OPTIONS})
        run.log({{"loss": 1.0}}, step=0)
        print("open", flush=True)
        sys.stdin.readline()
        """,
        stdin=subprocess.PIPE,
    )
    assert child.stdout.readline() == "open\n"
    before = {path: path.stat().st_size for path in sorted((tmp_path / "run").rglob("*"))}
    second = f'import barograph\nwith barograph.init(dir="run", resume="allow", {OPTIONS}) as run: print(run.attempt)'
    _, stderr = record(second, exit_code=1)
    assert "barograph.errors.RunBusyError" in stderr
    assert f"is being written by process {child.pid} on " in stderr
    assert "wait for it or stop it, then resume" in stderr
    assert before == {path: path.stat().st_size for path in sorted((tmp_path / "run").rglob("*"))}
    child.send_signal(signal.SIGKILL)
    child.wait()
    stdout, _ = record(second)
    assert stdout == "1\n"


def test_permissions_of_the_files_are_the_usual_ones(record, tmp_path):
    """Everybody may read a run, and only its owner may write it, under the usual umask."""
    record(f'import barograph\nwith barograph.init(dir="run", {OPTIONS}) as run: run.log({{"a": 1.0}})')
    facts = RunDir(tmp_path / "run")
    umask = os.umask(0)
    os.umask(umask)
    for path in (facts.rows(0), facts.events()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644 & ~umask
