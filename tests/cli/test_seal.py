"""``barograph seal`` over runs that were really recorded: sealed, looked at, given back, packed."""

from __future__ import annotations

import hashlib
import json
import time

import polars as pl
import pytest

from barograph.read.run import RunReader


def rows_files(root):
    """Every rows file below a directory, and what it holds."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(root.rglob("metrics.*.rows"))}


def test_a_root_is_sealed_and_given_back(cli, root):
    """Every verb says the same before and meanwhile; the rows files are the same bytes."""
    verbs = [("cat", root / "resumed"), ("check", root), ("list", root)]

    def said():
        return [cli(*verb, code=1 if verb[0] == "check" else 0).stdout for verb in verbs]

    before, words = rows_files(root), said()
    assert len(before) == 7
    last = cli("seal", root).stdout.splitlines()[-1]
    assert last.startswith("7 streams of 5 runs sealed: ")
    assert rows_files(root) == {}
    assert words == said()
    assert cli("seal", root).stdout == "nothing to do: 5 runs, no rows file to seal\n"
    assert cli("seal", root, "--undo").stdout.splitlines()[-1].startswith("7 streams of 5 runs unsealed: ")
    assert before == rows_files(root)


def test_the_table_has_sizes_and_reasons(cli, root, ids):
    """One line per run; a torn row and a file without a header are named, the exit code is 0."""
    (killed,) = root.glob("*killed*")
    with (killed / "facts" / "metrics.000.rows").open("ab") as file:
        file.write(b"torn")
    (killed / "facts" / "metrics.001.rows").write_bytes(b'{"form')
    head, line, total = cli("--root", root, "seal", ids["killed"]).stdout.splitlines()
    assert head.split("  ")[0] == "id"
    assert line.split()[:4] == [ids["killed"], "killed", "2", "100"]
    assert line.endswith(
        "facts/metrics.001.rows: its header is not whole; it holds no rows; 4 bytes of a torn row kept beside it"
    )
    assert total.startswith("1 stream of 1 run sealed: ")


def test_json_is_one_strict_document(cli, root, ids):
    """With every stream, true sizes, and what was left."""
    (failed,) = root.glob("*failed*")
    (failed / "facts" / "metrics.000.rows").write_bytes(b"XXXX\n")
    text = cli("seal", root, "--json", code=1).stdout
    document = json.loads(text, parse_constant=lambda name: 1 / 0)
    assert (document["ok"], len(document["runs"])) == (False, 5)
    runs = {run["run_id"]: run for run in document["runs"]}
    (damaged,) = runs[ids["failed"]]["streams"]
    assert "header of the rows file is damaged" in damaged["left"]
    (stream,) = runs[ids["killed"]]["streams"]
    (killed,) = root.glob("*killed*")
    assert stream["bytes_after"] == (killed / "facts" / "metrics.000.parquet").stat().st_size
    assert (stream["num_rows"], stream["num_metrics"], stream["bytes_before"]) == (100, 1, 4096 + 100 * 24)


def test_a_dry_run_changes_nothing(cli, root):
    """And says what sealing then says."""
    before = rows_files(root)
    planned = cli("seal", root, "--dry-run").stdout
    assert before == rows_files(root)
    assert planned.replace("would be sealed", "sealed") == cli("seal", root).stdout


def test_only_old_runs(cli, root):
    """Those that ended so many days ago, by the record of their end."""
    (mlp,) = root.glob("*mlp*")
    exit_json = mlp / "facts" / "exit.json"
    record = json.loads(exit_json.read_text())
    exit_json.write_text(json.dumps({**record, "t": time.time() - 10 * 86_400}))
    lines = cli("seal", root, "--older-than", "9").stdout.splitlines()
    assert lines[-1].startswith("2 streams of 1 run sealed: ")
    assert sum("it ended later" in line for line in lines) == 4
    assert "older-than: '-1' is no number of days" in cli("seal", root, "--older-than=-1", code=2).stderr


def test_a_living_run_is_refused_by_name_and_passed_over_in_a_root(cli, start, root):
    """Whoever writes it is named, and its files stay rows; what it logs later is there."""
    script = """
    import barograph, sys
    run = barograph.init(dir=sys.argv[1], terminal="off", host_s=None)
    run.log({"loss": 0.5}, step=0)
    print("ready", flush=True)
    sys.stdin.readline()
    run.log({"loss": 0.25}, step=1)
    run.finish()
    """
    child = start(script, root / "living", stdin=-1)
    assert child.stdout.readline() == "ready\n"
    error = cli("seal", root, root / "living", code=2).stderr
    assert error == (
        f"barograph: {root / 'living'} is running (process {child.pid}); "
        "only a run that has ended is archived: wait for it\n"
    )
    assert len(rows_files(root)) == 8
    assert f"running: process {child.pid}" in cli("seal", root).stdout
    assert [path.parts[-3] for path in rows_files(root)] == ["living"]
    packed = cli("seal", root, "--pack", root.parent / "parts").stdout.splitlines()
    assert packed[0] == f"left out: {root / 'living'}: it is running: process {child.pid}"
    assert packed[1].startswith("5 runs (5 new, 0 changed, 0 gone) in 1 part of ")
    child.communicate("go on\n")
    assert [point.value for point in RunReader(root / "living").curve("loss")] == [0.5, 0.25]


def test_packing_leaves_the_runs_and_follows_them(cli, root, tmp_path):
    """New, changed and vanished runs are noticed; the parts hold what the runs hold."""
    out, before = tmp_path / "parts", rows_files(root)
    assert cli("seal", root, "--pack", out, "--dry-run").stdout == (
        f"5 runs would be packed in {out}: 5 new, 0 changed, 0 gone\n"
    )
    assert not out.exists()
    assert cli("seal", root, "--pack", out).stdout.startswith(
        f"5 runs (5 new, 0 changed, 0 gone) in 1 part of {out}, 1 of them written: "
    )
    assert before == rows_files(root)
    frame = pl.read_parquet(out / "part-*.parquet")
    rows = [line for line in cli("cat", root / "resumed", "--json").stdout.splitlines() if line]
    assert frame.filter(pl.col("run") == str(root / "resumed")).height == len(rows) == 20
    packing = json.loads(cli("seal", root, "--pack", out, "--json").stdout)["packing"]
    assert [packing[name] for name in ("num_runs", "num_new", "num_changed", "num_gone", "num_written")] == [
        5,
        0,
        0,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "the following arguments are required: RUN|ROOT"),
        (["nowhere"], "there is no run 'nowhere'"),
        ([".", "--pack", "out", "--undo"], "nothing to --undo"),
    ],
)
def test_what_cannot_be_done_is_said(cli, args, message):
    """In one line, with exit code 2."""
    assert message in cli("seal", *args, code=2).stderr


def test_a_directory_of_other_things_is_no_place_for_parts(cli, root, tmp_path):
    """Nothing there is touched."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "part-1.parquet").write_text("precious")
    assert "holds files and no parts.json" in cli("seal", root, "--pack", tmp_path / "mine", code=2).stderr
    assert (tmp_path / "mine" / "part-1.parquet").read_text() == "precious"
