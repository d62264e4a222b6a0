"""Other processes that hold the run: forked and spawned children write files of their own and end nothing."""

from __future__ import annotations

import copy
import pickle
import signal

import pytest
from tests.recorded import Recorded

OPEN = """
import multiprocessing, os, signal, sys, time
import barograph

def begin(**options):
    return barograph.init(dir="run", terminal="off", console=False, text_log=None, host_s=None, **options)

"""


def by_writer(run: Recorded, name: str = "loss") -> dict[int, list[float]]:
    """The values of one metric, by the process that wrote them."""
    found: dict[int, list[float]] = {}
    for record in run.records:
        found.setdefault(record["pid"], []).append(record[name])
    return found


@pytest.mark.parametrize("leave", ["os._exit(0)", "sys.exit(0)", "sys.exit(5)", "raise ValueError('child')"])
def test_forked_child(record, tmp_path, leave):
    """However a forked child ends, its facts are in files of its own, and the parent's run goes on."""
    script = (
        OPEN
        + f"""
run = begin()
run.log({{"loss": 1.0}}, step=0)
child = os.fork()
if child == 0:
    sys.stderr = open(os.devnull, "w")
    run.log({{"loss": 2.0}}, step=1)
    run.event("custom", kind="child")
    {leave}
os.waitpid(child, 0)
print(child)
run.log({{"loss": 3.0}}, step=2)
run.finish()
"""
    )
    stdout, _ = record(script)
    child = int(stdout)
    run = Recorded(tmp_path / "run")
    assert sorted(by_writer(run).values()) == [[1.0, 3.0], [2.0]]
    assert by_writer(run)[child] == [2.0]
    own = Recorded(tmp_path / "run").layout.events(pid=child).read_text()
    assert '"kind":"child"' in own
    assert ('"on_exception"' in own) == leave.startswith("raise")
    assert "on_train_end" not in own
    assert run.exit.status == "finished"
    assert [event.seq for event in run.events if event.payload.get("kind") != "child"][:2] == [0, 1]
    assert len(run.of("on_train_end")) == 1


def test_forked_child_that_is_signalled(record, tmp_path):
    """SIGTERM kills a forked child without ending the run."""
    script = (
        OPEN
        + """
run = begin()
child = os.fork()
if child == 0:
    run.log({"loss": 2.0}, step=1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
run.finish()
"""
    )
    stdout, _ = record(script)
    run = Recorded(tmp_path / "run")
    assert int(stdout) == -signal.SIGTERM
    assert (run.exit.status, run.column("loss")) == ("finished", [2.0])
    assert run.moments == ["on_start", "on_train_end"]


def test_leaving_the_block_in_a_forked_child(record, tmp_path):
    """A child that leaves the run's ``with`` block, or calls ``finish``, ends its own part alone."""
    script = (
        OPEN
        + """
with begin() as run:
    if os.fork() == 0:
        run.log({"loss": 2.0}, step=1)
    else:
        os.wait()
        run.log({"loss": 1.0}, step=0)
"""
    )
    record(script)
    run = Recorded(tmp_path / "run")
    assert run.column("loss") == [1.0, 2.0]
    assert run.moments == ["on_start", "on_train_end"]
    assert run.exit.ledger["written"] == 3  # of the parent: one record, two events


def test_fork_in_the_middle_of_a_thread_s_log(record, tmp_path):
    """A fork while other threads log leaves no lock held: the child records at once."""
    script = (
        OPEN
        + """
import threading
run = begin()
stop = threading.Event()

def work(number):
    step = 0
    while not stop.is_set():
        run.log({f"loss{number}": float(step), "extra": 1}, step=step)
        run.event("custom", kind="beat")
        step += 1

threads = [threading.Thread(target=work, args=[number]) for number in range(3)]
for thread in threads:
    thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        run.log({"loss": 7.0}, step=1)
        run.event("custom", kind="child")
        os._exit(0)
    os.waitpid(child, 0)
stop.set()
for thread in threads:
    thread.join()
run.finish()
"""
    )
    record(script, timeout_s=60)
    run = Recorded(tmp_path / "run")
    assert run.column("loss") == [7.0] * 20
    assert len(run.custom("child")) == 20
    for path in run.layout.events_files():
        assert path.read_bytes().endswith(b"\n")
    assert run.damage == []


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(record, tmp_path, method):
    """A run that is handed to a process of ``multiprocessing`` records there, however the process is started."""
    script = (
        OPEN
        + f"""
def work(run, number):
    run.log({{"loss": float(number)}}, step=number)
    run.event("custom", kind="child", number=number)

if __name__ == "__main__":
    with begin(config={{"lr": 0.1}}) as run:
        run.log({{"loss": -1.0}}, step=0)
        context = multiprocessing.get_context({method!r})
        children = [context.Process(target=work, args=(run, number)) for number in (1, 2)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
"""
    )
    record(script)
    run = Recorded(tmp_path / "run")
    assert run.column("loss") == [-1.0, 1.0, 2.0]
    assert len(by_writer(run)) == 3
    assert sorted(payload["number"] for payload in run.custom("child")) == [1, 2]
    assert len(run.layout.events_files()) == 3
    assert (run.exit.status, run.exit.ledger["written"]) == ("finished", 3)


def test_process_pool(record, tmp_path):
    """A pool that gets the run with every task writes each worker's facts to that worker's files, once each."""
    script = (
        OPEN
        + """
from concurrent.futures import ProcessPoolExecutor

def work(run, number):
    run.log({"loss": float(number)}, step=number)
    run.log({"val_loss": float(number)}, step=number, split="val")
    return os.getpid()

if __name__ == "__main__":
    with begin() as run:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            pids = set(pool.map(work, [run] * 12, range(12)))
    print(len(pids))
"""
    )
    stdout, _ = record(script)
    run = Recorded(tmp_path / "run")
    assert run.column("loss") == [float(number) for number in range(12)]
    assert run.column("val_loss", split="val") == [float(number) for number in range(12)]
    assert len(run.layout.rows_files()) == 2 * int(stdout)  # a stream per worker and set of keys, not per task
    assert run.moments == ["on_start", "on_train_end"]


def test_a_copy_is_the_run_itself(new_run):
    """Within one process, a copied or pickled run is that run: a trainer that is deep-copied goes on recording."""
    run = new_run()
    assert copy.deepcopy({"run": run})["run"] is run
    assert pickle.loads(pickle.dumps(run)) is run


def test_spawned_run_knows_what_it_was(record, tmp_path):
    """The spawned child's run has the same identity, config, cadence and next step, and is closed where it was."""
    script = (
        OPEN
        + """
import pickle, subprocess, warnings
if len(sys.argv) > 1:
    run = pickle.loads(open(sys.argv[1], "rb").read())
    print(run.id, run.name, run.dir, run.config, run.cadence.log_steps, run.cadence.eval_steps, run.is_fork, run.status)
    if run.status == "running":
        run.log({"loss": 2.0})
        if os.fork() == 0:
            run.log({"loss": 3.0})
            os._exit(0)
        os.wait()
    else:
        try:
            run.log({"loss": 2.0})
        except barograph.errors.RunClosedError as error:
            print(type(error).__name__)
    sys.exit()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    run = begin(name="digits", config={"lr": 0.1}, log_steps=3, eval_steps=7)
run.log({"loss": 1.0}, step=41)
for status in ("running", "finished"):
    with open(status, "wb") as file:
        pickle.dump(run, file)
    subprocess.run([sys.executable, "-W", "error", __file__, status], check=True)
    run.finish()
print(run.id)
"""
    )
    stdout, _ = record(script)
    first, second, refused, run_id = stdout.splitlines()
    run = Recorded(tmp_path / "run")
    shared = f"{run_id} digits run {{'lr': 0.1}} 3 7 True"
    assert (first, second, refused) == (f"{shared} running", f"{shared} finished", "RunClosedError")
    assert run.column("loss") == [1.0, 2.0, 3.0]
    assert [record["step"] for record in run.records if record["loss"] > 1] == [42, 43]
    assert len(by_writer(run)) == 3


def test_forked_child_s_irregular_records(record, tmp_path):
    """Records that are no rows go to a ``metrics.jsonl`` of the child's own."""
    script = (
        OPEN
        + """
run = begin()
run.log({"big": 2**60}, step=0)
child = os.fork()
if child == 0:
    run.log({"big": 2**60 + 1}, step=1)
    os._exit(0)
os.wait()
print(child)
"""
    )
    stdout, _ = record(script)
    run = Recorded(tmp_path / "run")
    assert run.column("big") == [2**60, 2**60 + 1]
    assert [path.name for path in run.layout.overflow_files()] == ["metrics.jsonl", f"metrics.pid{int(stdout)}.jsonl"]
