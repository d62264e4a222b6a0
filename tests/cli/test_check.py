"""``barograph check``: the exit code of a pipeline, and words for a person."""

from __future__ import annotations

import json

import pytest


def test_a_whole_run_whose_criteria_hold(cli, root, ids):
    """Exit code 0; the verdict is judged again and shown with its evidence."""
    done = cli("--root", root, "check", ids["mlp"])
    assert done.stdout.splitlines() == [
        f"ok     {ids['mlp']}  mlp  finished",
        "  \u2705 loss < 0.3 by step 100 on train: 0.25 at step 3",
        "1 run, 0 errors, 0 warnings, 1 of 1 success criteria hold",
    ]


@pytest.mark.spec("S3.57")
def test_criteria_are_judged_from_the_facts_alone(cli, root, ids):
    """No training, no recorded verdict: the same answer without ``exit.json`` and without the last event."""
    (run,) = root.glob("*mlp*")
    (run / "facts" / "exit.json").unlink()
    events = run / "facts" / "events.jsonl"
    kept = [line for line in events.read_bytes().splitlines(keepends=True) if b'"on_train_end"' not in line]
    events.write_bytes(b"".join(kept))
    report = json.loads(cli("check", run, "--json").stdout)["runs"][0]
    assert [verdict["passed"] for verdict in report["success"]] == [True]
    assert report["success"][0]["evidence"]["value"] == 0.25
    assert report["status"]["state"] == "killed"


def test_a_criterion_that_does_not_hold_fails_the_check(cli, root, ids):
    """Exit code 1, though every file is whole; so does one that could not be judged."""
    done = cli("--root", root, "check", ids["diverged"], code=1)
    assert done.stdout.splitlines() == [
        f"unmet  {ids['diverged']}  diverged  finished",
        "  \u274c final loss is finite: -inf at step 4",
        "  \u26a0\ufe0f f1 > 0.9 (could not be judged): 'f1' was never recorded; recorded were loss",
        "1 run, 0 errors, 0 warnings, 0 of 2 success criteria hold",
    ]


def test_files_alone_can_be_verified(cli, root, ids):
    """``--no-criteria``."""
    assert cli("--root", root, "check", ids["diverged"], "--no-criteria").stdout.startswith("ok ")


def test_a_killed_run_is_a_warning(cli, root, ids):
    """Its facts are whole: exit code 0."""
    text = cli("--root", root, "check", ids["killed"]).stdout
    assert "\n  warning  facts/exit.json: attempt 0 left none: killed; the process is gone" in text
    assert text.splitlines()[-1] == "1 run, 0 errors, 1 warning"


def test_damage_fails_the_check(cli, root, ids):
    """The file, the byte, what is there, what to do."""
    (run,) = root.glob("*mlp*")
    events = run / "facts" / "events.jsonl"
    lines = events.read_bytes().splitlines(keepends=True)
    events.write_bytes(b"".join([lines[0], b"broken\n", *lines[1:]]))
    done = cli("check", run, code=1)
    assert done.stdout.startswith("error  ")
    assert (
        f"  error  facts/events.jsonl: 7 bytes at byte {len(lines[0])} hold no fact (not a JSON line (Expecting value: "
        "line 1 column 1 (char 0)): b'broken\\n'); readers skip them: restore the file from a copy if there is one"
    ) in done.stdout.splitlines()


def test_a_verdict_that_the_facts_do_not_bear_out(cli, root):
    """Somebody cut the curve after the run: what was judged then and what is judged now differ."""
    (run,) = root.glob("*mlp*")
    for stream in run.glob("facts/metrics.*.rows"):
        with stream.open("r+b") as file:
            file.truncate(4096 + 32)  # one row is left
    done = cli("check", run, code=1)
    assert (
        "  warning  facts/exit.json: 'loss < 0.3 by step 100 on train' was judged met at the end of the run and is "
        "not met by the facts that are here"
    ) in done.stdout.splitlines()


def test_a_whole_root_is_checked(cli, root, ids):
    """Every run, and a total; one that fails is enough for exit code 1."""
    done = cli("check", root, code=1)
    heads = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert [line.split()[:3] for line in heads[:-1]] == [
        ["ok", ids["mlp"], "mlp"],
        ["unmet", ids["diverged"], "diverged"],
        ["ok", ids["twice"], "twice"],
        ["ok", ids["failed"], "failed"],
        ["ok", ids["killed"], "killed"],
    ]
    assert heads[-1] == "5 runs, 0 errors, 1 warning, 1 of 3 success criteria hold"
    assert done.stdout == cli("check", env={"BAROGRAPH_ROOT": str(root)}, code=1).stdout


def test_json_is_one_strict_document(cli, root, ids):
    """With every finding and verdict."""
    text = cli("--root", root, "check", ids["diverged"], "--json", code=1).stdout
    document = json.loads(text, parse_constant=lambda name: 1 / 0)
    (report,) = document["runs"]
    assert (document["ok"], report["ok"], report["findings"]) == (False, False, [])
    assert [verdict["passed"] for verdict in report["success"]] == [False, None]
    assert report["success"][0]["evidence"]["value"] is None
    assert document["nonfinite"] == {"runs": {"0": {"success": {"0": {"evidence": {"value": "-inf"}}}}}}


def test_a_living_run_is_judged_so_far(cli, start, tmp_path):
    """What does not hold yet is no failure."""
    script = """
    import barograph, sys, time
    run = barograph.init(dir=sys.argv[1], terminal="off", host_s=None, success=["final loss < 0.1"])
    run.log({"loss": 0.5}, step=0)
    print("ready", flush=True)
    time.sleep(600)
    """
    child = start(script, tmp_path / "run")
    assert child.stdout.readline() == "ready\n"
    text = cli("check", tmp_path / "run").stdout
    assert f"  info  running: process {child.pid}\n" in text
    assert "  so far: \u274c final loss < 0.1: 0.5 at step 0\n" in text


def test_a_criterion_that_cannot_be_read_is_an_error_of_the_file(cli, root):
    """Not of whoever runs the check."""
    (run,) = root.glob("*killed*")
    path = run / "run.json"
    path.write_text(path.read_text().replace('"success":[]', '"success":["loss ~ 3"]'))
    done = cli("check", run, code=1)
    assert "  error  run.json: a success criterion cannot be read: " in done.stdout


def test_an_event_of_odd_types_is_a_finding(cli, root):
    """Not a traceback, whatever a script or another program wrote there."""
    (run,) = root.glob("*mlp*")
    events = run / "facts" / "events.jsonl"
    odd = (
        b'{"schema_version":1,"seq":1,"t":1.0,"moment":"on_epoch_end","epoch":0,"loss":0.1,"attempt":"2","split":[]}\n'
    )
    lines = events.read_bytes().splitlines(keepends=True)
    events.write_bytes(b"".join([lines[0], odd, *lines[2:]]))
    done = cli("check", run)
    assert "event 1 (on_epoch_end): attempt is '2', no integer; readers take it for 0" in done.stdout
