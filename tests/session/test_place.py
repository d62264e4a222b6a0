"""Where a run is written: made, resumed, repaired or refused, with nothing that is recorded ever changed."""

from __future__ import annotations

import datetime as dt
import os
import signal
import time

import msgspec
import pytest
from tests.recorded import Recorded

import barograph
from barograph.errors import (
    BarographWarning,
    InvalidNameError,
    MisuseError,
    RunBusyError,
    RunExistsError,
    RunNotFoundError,
)
from barograph.facts.builders import build_event_payload
from barograph.facts.rundir import RUN_NAME, RunDir
from barograph.facts.state import read_process, this_process, write_process
from barograph.facts.writers import append_jsonl_event
from barograph.read.edits import delete, restore
from barograph.record.attempt import Attempt
from barograph.record.identity import Identity
from barograph.session.place import joined_place, new_place, next_step

OPEN = """
import os, signal, sys, time
import barograph

def begin(dir="run", **options):
    return barograph.init(dir=dir, terminal="off", console=False, text_log=None, host_s=None, **options)

"""


def files_of(directory) -> dict[str, bytes]:
    """Every file below a directory, with its bytes."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.spec("S3.73")
def test_run_directory_name(new_run, tmp_path):
    """Without ``dir`` a run lies in ROOT/run_YYYYMMDD-HHMMSS_NAME_jobN, in UTC."""
    before = dt.datetime.now(dt.UTC)
    run = new_run(root=tmp_path / "runs", name="my first digits")
    found = RUN_NAME.match(run.dir.name)
    begun = dt.datetime.strptime(found["time"] + "+0000", "%Y%m%d-%H%M%S%z")
    assert run.dir.parent == tmp_path / "runs"
    assert (found["name"], found["job"]) == ("my_first_digits", "0")
    assert before - dt.timedelta(seconds=1) < begun <= dt.datetime.now(dt.UTC)


@pytest.mark.spec("S3.73")
def test_names_do_not_collide(tmp_path):
    """Runs of the same name in the same second get the first free job number each."""
    when = dt.datetime(2025, 11, 3, 14, 9, 53, tzinfo=dt.UTC)
    names = [new_place(tmp_path, "experiment", when=when).directory.path.name for _ in range(3)]
    assert names == [f"run_20251103-140953_experiment_job{job}" for job in range(3)]


def test_root_by_environment(record, tmp_path):
    """``BAROGRAPH_ROOT`` says where runs go when the call does not; else it is ./runs."""
    script = "import barograph; print(barograph.init(terminal='off', console=False).dir.parent)"
    assert record(script)[0].strip() == "runs"
    assert record(script, env={"BAROGRAPH_ROOT": str(tmp_path / "elsewhere")})[0].strip() == str(tmp_path / "elsewhere")


@pytest.mark.spec("S0.3", "S0.4")
@pytest.mark.parametrize("tier", ["quick", "full"])
def test_quick_and_full_directories(new_run, tmp_path, tier):
    """A run in ``quick/`` or ``full/`` writes exactly there, its log included, and knows its tier by the name."""
    run = new_run(dir=tmp_path / tier, text_log="train.log", log_steps=1)
    run.log({"loss": 0.5}, step=1)
    run.finish()
    assert "metric {" in (tmp_path / tier / "train.log").read_text()
    assert Recorded(tmp_path / tier).only("on_start")["tier"] == tier
    assert [path.name for path in tmp_path.iterdir()] == [tier]


def test_tier_by_argument(new_run, tmp_path):
    """A tier that is named wins over the directory's name; another word is refused."""
    assert Recorded(new_run(dir=tmp_path / "quick", tier="full").dir).only("on_start")["tier"] == "full"
    with pytest.raises(MisuseError, match=r"tier='medium' is none of quick, full; choose one"):
        new_run(dir=tmp_path / "x", tier="medium")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("resume", [None, "never"])
def test_existing_run_is_not_overwritten(new_run, resume):
    """A directory that holds a run is refused unless resuming was asked for; nothing in it changes."""
    first = new_run()
    first.finish()
    before = files_of(first.dir)
    with pytest.raises(RunExistsError) as caught:
        new_run(resume=resume)
    assert repr(str(first.dir)) in str(caught.value)
    assert "use another dir, or resume='allow'" in str(caught.value)
    assert files_of(first.dir) == before


def test_must_resume_what_is_there(new_run, tmp_path):
    """``resume="must"`` refuses a directory without a run, and a call without a directory."""
    with pytest.raises(RunNotFoundError, match=r"holds no run to resume; check the path, or use resume='allow'"):
        new_run(resume="must")
    assert list((tmp_path / "run").iterdir()) == []
    for resume in ("must", "allow"):
        with pytest.raises(MisuseError, match=f"resume='{resume}' needs the run's directory; pass dir="):
            new_run(root=tmp_path, resume=resume)
    with pytest.raises(MisuseError, match=r"resume='auto' is none of never, allow, must; choose one"):
        new_run(resume="auto")


def test_resume_appends_the_next_attempt(new_run, recorded):
    """A resumed run keeps its identity, goes on with the next step and attempt, and drops nothing."""
    ids = []
    for attempt in range(3):
        run = new_run(name="digits", resume="allow", seed=3)
        ids.append(run.id)
        assert run.attempt == attempt
        for _ in range(5):
            run.log({"loss": float(attempt)})
        run.finish("failed" if attempt == 1 else "finished")
    found = recorded(run.dir)
    assert len(set(ids)) == 1
    assert found.column("loss") == [0.0] * 5 + [1.0] * 5 + [2.0] * 5
    assert [record["step"] for record in found.records] == list(range(15))
    assert [record["attempt"] for record in found.records] == [0] * 5 + [1] * 5 + [2] * 5
    assert [(payload["previous_attempt"], payload["previous_status"]) for payload in found.of("on_resume")] == [
        (0, "finished"),
        (1, "failed"),
    ]
    assert [payload.get("attempt", 0) for payload in found.of("on_train_end")] == [0, 1, 2]
    assert [event.seq for event in found.events] == list(range(8))
    assert found.exit.attempt == 2
    assert len(list(found.layout.facts.glob("provenance.attempt*.json"))) == 2


def test_step_goes_on_after_irregular_records(new_run, recorded):
    """The next step also follows records that lie in ``metrics.jsonl``, and not the host's samples."""
    run = new_run(host_s=0.1)
    run.log({"big": 2**60}, step=70)
    run.finish()
    again = new_run(resume="must")
    again.log({"loss": 0.5})
    assert [record["step"] for record in recorded(run.dir).records if "loss" in record] == [71]


def test_resume_after_kill_repairs_torn_files(start, tmp_path, new_run):
    """After ``kill -9`` and torn tails, resuming cuts the tails, keeps the cut bytes, and says so."""
    child = start(OPEN + "run = begin()\nfor step in range(10**9):\n    run.log({'loss': step / 7}, step=step)\n")
    rows = tmp_path / "run/facts/metrics.000.rows"
    while not rows.exists() or rows.stat().st_size < 20_000:
        assert child.poll() is None
        time.sleep(0.01)
    child.kill()
    child.wait()
    before = Recorded(tmp_path / "run")
    events = before.layout.events()
    for path, tail in ((rows, b"\x01\x02\x03"), (events, b'{"seq":9,"mom')):
        with path.open("ab") as file:
            file.write(tail)
    run = new_run(dir=tmp_path / "run", resume="must")
    run.log({"loss": -1.0})
    run.finish()
    after = Recorded(tmp_path / "run")
    resumed = after.only("on_resume")
    assert resumed["previous_status"] == "killed"
    assert sorted(resumed["repaired"]) == ["events.jsonl", "metrics.000.rows"]
    assert after.column("loss") == [*before.column("loss"), -1.0]
    assert [event.seq for event in after.events] == list(range(4))
    assert sorted(path.read_bytes() for path in after.layout.facts.glob("*.cut-*")) == [
        b"\x01\x02\x03",
        b'{"seq":9,"mom',
    ]
    assert after.damage == []


def test_resume_with_a_damaged_stream(new_run, recorded):
    """A stream whose header is damaged is left as it is; the run goes on beside it."""
    first = new_run()
    first.log({"loss": 1.0}, step=7)
    first.log({"other": 2.0}, step=3)
    first.finish()
    damaged = first.dir / "facts/metrics.000.rows"
    content = damaged.read_bytes()
    damaged.write_bytes(b"?" + content[1:])
    again = new_run(resume="must")
    again.log({"loss": 3.0})
    again.finish()
    found = recorded(first.dir)
    assert again.attempt == 1
    assert damaged.read_bytes() == b"?" + content[1:]
    assert [record["step"] for record in found.records] == [3, 4]
    assert len(found.damage) == 1


@pytest.mark.parametrize("name", ["run.json", "facts/process.json", "facts/exit.json"])
def test_resume_with_unreadable_state(new_run, name):
    """A run whose state cannot be read is refused with the file's name, and left as it is."""
    first = new_run()
    first.finish()
    (first.dir / name).write_bytes(b'{"run_id": ')
    before = files_of(first.dir)
    with pytest.raises(RunNotFoundError, match=r"cannot be resumed, because .*; restore it from a copy, or begin"):
        new_run(resume="allow")
    assert files_of(first.dir) == before


def test_changed_config_is_kept_beside_the_first(new_run):
    """The config of a later attempt stands beside the first one's, when it differs."""
    for attempt, lr in enumerate((0.1, 0.1, 0.5)):
        run = new_run(resume="allow", config={"lr": lr})
        run.finish()
        assert run.attempt == attempt
    assert (run.dir / "config.yaml").read_text() == "lr: 0.1\n"
    assert [path.name for path in run.dir.glob("config.attempt*")] == ["config.attempt002.yaml"]
    assert (run.dir / "config.attempt002.yaml").read_text() == "lr: 0.5\n"


def test_resumed_run_is_judged_by_its_own_criteria(new_run, recorded):
    """Criteria that were stated at the start hold after resuming, over the facts of all attempts."""
    first = new_run(success=["loss < 0.3", "min other < 0"], hypothesis="it learns")
    first.log({"loss": 0.5, "other": -1.0}, step=0)
    first.finish()
    again = new_run(resume="must")
    again.log({"loss": 0.2, "other": 1.0})
    again.finish()
    verdicts = recorded(first.dir).exit.success
    assert [(verdict["text"], verdict["passed"]) for verdict in verdicts] == [
        ("loss < 0.3", True),
        ("min other < 0", True),
    ]
    assert recorded(first.dir).of("on_start")[1]["hypothesis"] == "it learns"


def test_what_a_resumed_run_does_not_use_is_said(new_run):
    """Who a run is was settled when it began; a call that says otherwise is told so."""
    new_run(name="digits", seed=1, tags=["a"]).finish()
    with pytest.warns(
        BarographWarning, match=r"goes on with what run.json says; not used: name='other', seed=2\. To say"
    ):
        run = new_run(resume="must", name="other", seed=2, tags=["a"])
    assert run.name == "digits"


def test_root_beside_dir_is_said_to_be_unused(new_run, tmp_path):
    """``root`` beside ``dir`` decides nothing, and the call is told so."""
    with pytest.warns(BarographWarning, match=r"root='.*' is not used, because dir='.*' names the run's directory"):
        new_run(dir=tmp_path / "run", root=tmp_path)


def test_run_that_is_being_written_is_refused(start, tmp_path, new_run):
    """A living process keeps its run; the message names it; when it is gone, the run can be resumed."""
    child = start(OPEN + "run = begin()\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    pid = int(child.stdout.readline())
    before = files_of(tmp_path / "run")
    with pytest.raises(RunBusyError) as caught:
        new_run(dir=tmp_path / "run", resume="allow")
    assert f"is being written by process {pid} on " in str(caught.value)
    assert str(caught.value).endswith("wait for it or stop it, then resume")
    assert files_of(tmp_path / "run") == before
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert new_run(dir=tmp_path / "run", resume="allow").attempt == 1


def test_own_open_run_is_refused_too(new_run):
    """The same process cannot open its run a second time while it is open."""
    run = new_run()
    with pytest.raises(RunBusyError, match=f"process {os.getpid()} "):
        new_run(resume="allow")
    run.finish()
    assert new_run(resume="allow").attempt == 1


def test_run_of_another_machine(new_run):
    """A run that another machine writes is refused while its heartbeat is fresh, and resumed when it is old."""
    first = new_run()
    first.finish()
    path = first.dir / "facts/process.json"
    (first.dir / "facts/exit.json").unlink()
    write_process(path, msgspec.structs.replace(read_process(path), host="elsewhere"))
    with pytest.raises(RunBusyError, match=r"is being written by process \d+ on elsewhere; wait for it"):
        new_run(resume="allow")
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))
    assert new_run(resume="allow").attempt == 1


@pytest.mark.parametrize("resume", ["never", "allow"])
def test_two_processes_begin_at_once(start, tmp_path, resume):
    """Of processes that open one directory at the same moment, one records and the others are refused."""
    script = (
        OPEN
        + """
import barograph.session, barograph.record.provenance
while time.time() < float(sys.argv[1]):
    pass
try:
    run = begin(resume=sys.argv[2])
except (barograph.errors.RunBusyError, barograph.errors.RunExistsError) as error:
    print("refused")
else:
    run.log({"loss": 1.0}, step=0)
    print("recorded", flush=True)
    time.sleep(0.7)
"""
    )
    at = time.time() + 0.7
    children = [start(script, at, resume) for _ in range(3)]
    said = sorted(child.communicate(timeout=30)[0].strip() for child in children)
    run = Recorded(tmp_path / "run")
    assert said == ["recorded", "refused", "refused"]
    assert run.moments == ["on_start", "on_train_end"]
    assert run.column("loss") == [1.0]


def test_a_claim_that_came_to_nothing(new_run, tmp_path, monkeypatch):
    """A process that died between claiming an attempt and saying so does not lock the run for ever."""
    monkeypatch.setattr("barograph.session.place.CLAIM_S", 0.05)
    first = new_run()
    first.finish()
    first.dir.joinpath("facts/provenance.attempt001.json").touch()
    assert new_run(resume="allow").attempt == 2
    (tmp_path / "empty/facts").mkdir(parents=True)
    (tmp_path / "empty/facts/events.jsonl").touch()
    run = new_run(dir=tmp_path / "empty", resume="allow", config={"lr": 1})
    assert run.attempt == 1
    assert (tmp_path / "empty/run.json").is_file()
    assert (tmp_path / "empty/config.yaml").read_text() == "lr: 1\n"


def test_run_of_a_loop_that_wrote_events_itself(new_run, tmp_path, recorded):
    """A directory in which a loop wrote events by S3's functions can be resumed; its events stay first."""
    append_jsonl_event(tmp_path / "run", build_event_payload("on_start", tmp_path / "run"))
    run = new_run(resume="allow")
    run.finish()
    assert run.attempt == 1
    assert recorded(run.dir).moments == ["on_start", "on_resume", "on_start", "on_train_end"]


def test_directory_that_is_a_file(new_run, tmp_path):
    """A file where a directory should be is named, and stays as it is."""
    (tmp_path / "file").write_text("mine")
    for options in ({"dir": tmp_path / "file"}, {"dir": tmp_path / "file/run"}, {"root": tmp_path / "file"}):
        with pytest.raises(MisuseError) as caught:
            new_run(**options)
        assert f"{tmp_path / 'file'} is a file" in str(caught.value)
        assert str(caught.value).endswith("name another directory")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["a/b", "a\\b", "a\nb", "\x1b[31m", "..", " ", "x" * 121, 7])
def test_names_that_cannot_name_a_directory(new_run, tmp_path, name):
    """A run's name with control characters or path separators is refused with its value; no directory is made."""
    with pytest.raises(InvalidNameError) as caught:
        new_run(root=tmp_path / "runs", name=name)
    assert repr(name)[:30] in str(caught.value)
    assert "use " in str(caught.value) or "must be a string" in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_each_rank_goes_on_after_its_own_steps(new_run):
    """Records without a step go on, in each rank, after the last step of that rank."""
    run = new_run()
    run.log({"loss": 1.0}, step=4)
    directory = RunDir(run.dir)
    other = Attempt(directory, Identity(run_id=run.id, name="other"), rank=1)
    other.scalars.log({"loss": 1.0}, step=9)
    other.close("the test is over")
    run.finish()
    owner = this_process(attempt=1)
    assert [next_step(directory), next_step(directory, rank=1)] == [5, 10]
    assert joined_place(directory, owner, rank=1).first_step == 10
    assert new_run(resume="must")._attempt.scalars.next_step == 5


def test_a_deleted_run_is_not_continued_in_silence(tmp_path):
    """What it goes on to record would stay hidden; restored, it goes on."""
    options = {"dir": tmp_path / "run", "resume": "allow", "terminal": "off", "host_s": None}
    barograph.init(**options).finish()
    delete(tmp_path / "run")
    with pytest.raises(MisuseError, match=r"was deleted.*`barograph restore"):
        barograph.init(**options)
    restore(tmp_path / "run")
    run = barograph.init(**options)
    run.finish()
    assert run.attempt == 1
