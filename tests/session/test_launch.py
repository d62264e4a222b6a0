"""Distributed launches: real processes with the variables of real launchers, without any network."""

from __future__ import annotations

import itertools
import json
import os
import time

import msgspec
import pytest
from tests.recorded import Recorded

from barograph.errors import MisuseError
from barograph.facts.rundir import RunDir
from barograph.facts.state import ExitRecord, read_process, this_process, write_exit, write_process
from barograph.session.launch import (
    Launch,
    find_launch,
    find_rank,
    launch_key,
    may_recur,
    publish,
    wait_for_owner,
)

WORK = """
import os, sys, time
import barograph

time.sleep(float(os.environ.get("LATE_S", "0")))
options = {"terminal": "off", "host_s": None}
options |= {"dir": sys.argv[1]} if len(sys.argv) > 1 else {"root": "runs"}
with barograph.init(name="digits", config={"lr": 0.1}, **options) as run:
    for step in range(20):
        run.log({"loss": step + run.rank / 10}, step=step)
    run.event("custom", kind="hello", pid=os.getpid())
    print(run.rank, run.id, run.dir.resolve())
"""
PORT = itertools.count(29500)
LATER = Launch(rank=1, world=2, key="key", recurs=True)


def launch(start, world: int, *args, variables=("RANK", "WORLD_SIZE"), **late_s: str) -> list[list[str]]:
    """Start every rank from this process, as a launcher does, and return what each printed."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(next(PORT)), variables[1]: str(world)}
    ranks = range(world)
    children = [
        start(WORK, *args, env={**common, variables[0]: str(rank), "LATE_S": late_s.get(f"rank{rank}", "0")})
        for rank in ranks
    ]
    found = []
    for child in children:
        stdout, stderr = child.communicate(timeout=60)
        assert child.returncode == 0, stderr
        assert "Warning" not in stderr
        found.append(stdout.split())
    return found


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_a_run(start, tmp_path, world):
    """Every rank of a launch records in rank 0's directory, in files of its own; rank 0 alone says who the run is."""
    said = launch(start, world)
    (directory,) = {place for _, _, place in said}
    run = Recorded(directory)
    assert len({run_id for _, run_id, _ in said}) == 1
    assert [path.name for path in (tmp_path / "runs").glob("run_*")] == [run.layout.path.name]
    for rank in range(world):
        mine = [record["loss"] for record in run.records if record["rank"] == rank]
        assert mine == [step + rank / 10 for step in range(20)]
        assert run.layout.events(rank).is_file()
        assert run.layout.exit(rank).is_file()
        assert read_process(run.layout.process(rank)).pid in {hello["pid"] for hello in run.custom("hello")}
    assert sorted(hello.get("rank", 0) for hello in run.custom("hello")) == list(range(world))
    assert json.loads(run.layout.identity.read_text())["run_id"] == said[0][1]
    assert len(list(run.layout.path.glob("*.json"))) == 1
    assert run.layout.train_log.is_file()


def test_late_owner_is_waited_for(start):
    """The other ranks wait for a rank 0 that comes late."""
    said = launch(start, 2, rank0="0.7")
    assert len({run_id for _, run_id, _ in said}) == 1


def test_late_rank_joins(start):
    """A rank that comes after rank 0 has begun joins its run."""
    said = launch(start, 2, rank1="0.3")
    assert len({run_id for _, run_id, _ in said}) == 1


def test_ranks_in_a_named_directory(start, tmp_path):
    """With ``dir=`` all ranks record in exactly that directory."""
    said = launch(start, 2, tmp_path / "quick")
    assert {place for _, _, place in said} == {str(tmp_path / "quick")}
    assert sorted(record["rank"] for record in Recorded(tmp_path / "quick").records) == [0] * 20 + [1] * 20


@pytest.mark.parametrize(
    "variables", [("SLURM_PROCID", "SLURM_NTASKS"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")]
)
def test_other_launchers(start, variables):
    """Ranks are also known by the variables of Slurm and of MPI."""
    said = launch(start, 2, variables=variables)
    assert sorted(rank for rank, _, _ in said) == ["0", "1"]
    assert len({run_id for _, run_id, _ in said}) == 1


def test_two_launches_at_once_stay_apart(start, tmp_path):
    """Two launches into one root, at the same moment, make two runs of two ranks each."""
    children = [
        start(WORK, env={"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_PORT": port, "LATE_S": "0"})
        for port in ("29801", "29802")
        for rank in (0, 1)
    ]
    said = [child.communicate(timeout=60)[0].split() for child in children]
    assert said[0][1:] == said[1][1:]
    assert said[2][1:] == said[3][1:]
    assert said[0][1] != said[2][1]


def test_runs_one_after_the_other(start, tmp_path):
    """Ranks that record several runs in a row meet in the right one, also when rank 0 is the slower one."""
    script = """
    import os, sys, time
    import barograph
    for number in range(3):
        with barograph.init(name=f"run{number}", root="runs", terminal="off", text_log=None, host_s=None) as run:
            run.log({"number": float(number)}, step=0)
            time.sleep(0.3 if run.rank == 0 else 0)
    """
    env = {"WORLD_SIZE": "2", "MASTER_PORT": "29803"}
    children = [start(script, env={**env, "RANK": rank}) for rank in ("0", "1")]
    for child in children:
        _, stderr = child.communicate(timeout=60)
        assert child.returncode == 0, stderr
    found = sorted((tmp_path / "runs").glob("run_*"))
    assert len(found) == 3
    for path in found:
        run = Recorded(path)
        assert sorted(record["rank"] for record in run.records) == [0, 1]
        assert len({record["number"] for record in run.records}) == 1


def test_torchrun(start, tmp_path):
    """Under a real ``torchrun`` the ranks find each other by the variables that it sets."""
    script = tmp_path / "train.py"
    script.write_text(WORK, encoding="utf-8")
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    launcher = start(f"import runpy, sys; sys.argv = {command!r}; runpy.run_module(sys.argv[0], run_name='__main__')")
    stdout, stderr = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, stderr
    said = [line.split() for line in stdout.splitlines()]
    assert sorted(rank for rank, _, _ in said) == ["0", "1"]
    assert len({place for _, _, place in said}) == 1
    assert sorted(record["rank"] for record in Recorded(said[0][2]).records) == [0] * 20 + [1] * 20


def test_missing_owner_costs_facts_not_training(start, tmp_path):
    """A rank without a rank 0 says so within the time limit and trains on, recording where nobody else does."""
    script = """
    import sys, warnings
    import barograph, barograph.session.start as start
    start.wait_for_owner.__kwdefaults__["timeout_s"] = 0.3
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = barograph.init(root="runs", terminal="off", host_s=None)
    run.log({"loss": 0.5}, step=1)
    run.finish()
    print(*(warning.message for warning in caught))
    """
    child = start(script, env={"RANK": "1", "WORLD_SIZE": "2"})
    stdout, stderr = child.communicate(timeout=30)
    assert child.returncode == 0, stderr
    assert "rank 1 waited 0.3 s for rank 0 to begin the run in 'runs'" in stdout
    assert "call barograph.init in every rank" in stdout
    (directory,) = (tmp_path / "runs").iterdir()
    assert [record["loss"] for record in Recorded(directory).records] == [0.5]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "4"}, (3, 4)),
        ({"RANK": "3"}, (3, 4)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, (1, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "RANK": "5", "WORLD_SIZE": "6"}, (5, 6)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, (1, 2)),
    ],
)
def test_find_rank(environ, expected):
    """Torchrun's variables come before Slurm's, which come before MPI's; a single process is rank 0 of 1."""
    assert find_rank(environ) == expected


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE"])
def test_rank_that_is_no_number(name):
    """A variable that is no number is named with its value."""
    with pytest.raises(MisuseError, match=f"environment variable {name}='first' is no rank.*correct or unset it"):
        find_rank({"RANK": "0", "WORLD_SIZE": "2", name: "first"})


def test_find_launch():
    """A single process is no launch and uses up no number; each run of a rank has a key of its own."""
    numbers = itertools.count()
    assert find_launch({"RANK": "0", "WORLD_SIZE": "1"}, numbers=numbers) == Launch()
    environ = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    first, second = (find_launch(environ, numbers=numbers) for _ in range(2))
    assert (first.rank, first.world, first.recurs) == (1, 4, True)
    assert first.key == launch_key(environ, world=4, number=0)
    assert second.key == launch_key(environ, world=4, number=1)


def test_launch_key():
    """One process has no key; launches differ by every variable, by their number, and on one machine by launcher."""
    base = {"MASTER_ADDR": "a", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "x"}
    assert launch_key(base, world=1) == ""
    keys = [launch_key(base, world=2)]
    keys += [launch_key({**base, name: "other"}, world=2) for name in base]
    keys += [launch_key(base, world=2, number=1), launch_key({**base, "SLURM_JOB_ID": "7"}, world=2)]
    assert len(set(keys)) == len(keys)
    assert launch_key({**base, "LOCAL_WORLD_SIZE": "2"}, world=2) == keys[0]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"LOCAL_WORLD_SIZE": "4"}, False),
        ({"LOCAL_WORLD_SIZE": "2"}, True),
        ({"LOCAL_WORLD_SIZE": "2", "SLURM_JOB_ID": "7"}, False),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, True),
    ],
)
def test_launch_key_that_may_recur(environ, expected):
    """Only launches over several machines, without Slurm's job number, may have the key of an older one."""
    assert may_recur(environ, world=4) == expected


def test_launch_over_machines_has_one_key(record):
    """Launchers on several machines are different processes; their ranks still agree on the key."""
    environ = {"MASTER_ADDR": "a", "MASTER_PORT": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4"}
    script = f"from barograph.session.launch import launch_key; print(launch_key({environ!r}, world=4))"
    elsewhere, _ = record(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {script!r}], check=True)")
    assert elsewhere.strip() == launch_key(environ, world=4)


def test_pointer_of_an_older_launch_is_passed_over(tmp_path):
    """A pointer that an older launch left behind does not lead into the older run; the newer one is found."""
    old, new = RunDir(tmp_path / "old"), RunDir(tmp_path / "new")
    for directory in (old, new):
        directory.ensure_facts()
        write_process(directory.process(), this_process(attempt=0, launch="key"))
    write_exit(old.exit(), ExitRecord(attempt=0, status="finished", t=0.0))
    publish(tmp_path, "key", old.path)
    with pytest.raises(TimeoutError, match=r"rank 1 waited 0\.05 s"):
        wait_for_owner(tmp_path, None, LATER, timeout_s=0.05)
    publish(tmp_path, "key", new.path)
    directory, process = wait_for_owner(tmp_path, None, LATER, timeout_s=0.05)
    assert (directory.path, process.pid) == (new.path, os.getpid())


def test_owner_on_another_machine(tmp_path):
    """A rank 0 on another machine counts as long as its heartbeat is fresh."""
    directory = RunDir(tmp_path)
    directory.ensure_facts()
    record = this_process(attempt=0, launch="key")
    write_process(directory.process(), msgspec.structs.replace(record, host="elsewhere"))
    assert wait_for_owner(tmp_path, tmp_path, LATER, timeout_s=0.05)[1].host == "elsewhere"
    long_ago = time.time() - 3600
    os.utime(directory.process(), (long_ago, long_ago))
    with pytest.raises(TimeoutError):
        wait_for_owner(tmp_path, tmp_path, LATER, timeout_s=0.05)
