from __future__ import annotations

import csv
import math
import random
import signal
import threading
import time

import numpy as np
import pytest

import barograph.facts
from barograph.errors import InvalidMetricError, MisuseError
from barograph.facts import append_jsonl_event, append_scalars_csv, build_event_payload, ensure_facts_dir
from barograph.facts.builders import describe_config
from barograph.facts.events import EventLog, to_event
from barograph.facts.log import iterate
from barograph.facts.rundir import RunDir


def table(path):
    """A CSV file as dicts."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


CFG = {"phase1": {"trainer": {"seed": 7, "epochs": 20, "lr": 1e-3}}, "data": {"batch_size": 32}, "note": "x"}


@pytest.mark.spec("S3.11", "S3.13", "S3.16", "S3.18", "S3.19", "S3.20", "S3.39", "S3.40", "S3.42", "S3.75")
def test_a_loop_that_emits_facts_by_itself(tmp_path):
    """The documented calls, with the documented arguments, leave the documented lines and table."""
    outdir = tmp_path / "run_20251103-140953_experiment_job0"
    append_jsonl_event(outdir, build_event_payload(moment="on_start", run_dir=outdir, cfg=CFG))
    histories = {"train_loss": [], "val_loss": [], "perplex": []}
    for ep in range(2):
        tr, va, perplexity = {"loss": 0.5 - ep / 10}, {"loss": 0.6 - ep / 10}, 100.0 + ep
        for name, value in (("train_loss", tr["loss"]), ("val_loss", va["loss"]), ("perplex", perplexity)):
            histories[name].append(value)
        payload = build_event_payload(
            moment="on_epoch_end",
            run_dir=outdir,
            epoch=ep,
            train_loss=tr["loss"],
            val_loss=va["loss"],
            metrics={"perplex": perplexity},
            histories=histories,
            cfg=CFG,
        )
        append_jsonl_event(outdir, payload)
        append_scalars_csv(
            outdir, epoch=ep, train_loss=tr["loss"], val_loss=va["loss"], metrics={"perplex": perplexity}
        )
    append_jsonl_event(outdir, build_event_payload(moment="on_train_end", run_dir=outdir, total_time_s=12.5))

    lines = list(iterate(outdir / "facts" / "events.jsonl"))
    assert [line["moment"] for line in lines] == ["on_start", "on_epoch_end", "on_epoch_end", "on_train_end"]
    assert [line["seq"] for line in lines] == [0, 1, 2, 3]
    assert {1} == {line["schema_version"] for line in lines}
    assert {str(outdir)} == {line["run_dir"] for line in lines}
    epoch = to_event(dict(lines[2])).payload
    assert tuple(epoch[k] for k in ("epoch", "train_loss", "val_loss", "metrics")) == (1, 0.4, 0.5, {"perplex": 101.0})
    assert epoch["metadata"] == lines[0]["metadata"]
    assert lines[3]["total_time_s"] == 12.5
    assert table(outdir / "facts" / "scalars.csv") == [
        {"epoch": "0", "train_loss": "0.5", "val_loss": "0.6", "perplex": "100.0"},
        {"epoch": "1", "train_loss": "0.4", "val_loss": "0.5", "perplex": "101.0"},
    ]


@pytest.mark.spec("S3.18")
def test_of_histories_only_the_new_point_is_stored():
    """However long the lists are, the line holds one number per quantity; a number that is given by name wins."""
    histories = {"train_loss": [3.0, 2.0, 1.0], "val_loss": (9.0, 8.0), "perplex": np.array([5.0, 4.0]), "empty": []}
    payload = build_event_payload("on_epoch_end", "r", epoch=2, val_loss=0.5, histories=histories)
    assert "histories" not in payload
    assert (payload["train_loss"], payload["val_loss"], payload["metrics"]) == (1.0, 0.5, {"perplex": 4.0})


@pytest.mark.spec("S3.19", "S3.42")
def test_metadata_comes_from_any_kind_of_config():
    """Well-known keys by their dotted path, and a digest that changes with any value; OmegaConf's like a dict's."""
    omegaconf = pytest.importorskip("omegaconf")
    found = describe_config(CFG)
    expected = {
        "phase1.trainer.seed": 7,
        "phase1.trainer.epochs": 20,
        "phase1.trainer.lr": 1e-3,
        "data.batch_size": 32,
    }
    assert expected == {key: value for key, value in found.items() if key != "config_sha256"}
    assert found == describe_config(omegaconf.OmegaConf.create(CFG))
    assert found["config_sha256"] != describe_config({**CFG, "note": "y"})["config_sha256"]


@pytest.mark.spec("S3.40")
def test_the_facts_directory_is_made_once(tmp_path):
    """Asking again is harmless."""
    assert tmp_path / "a" / "b" / "facts" == ensure_facts_dir(tmp_path / "a" / "b")
    assert ensure_facts_dir(str(tmp_path / "a" / "b")).is_dir()


def test_an_event_goes_through_the_log_that_is_open(run_dir):
    """One writer per file: with the run open in this process, numbers go on without a gap or a repeat."""
    log = EventLog(run_dir.events())
    log.append("on_start", {})
    assert append_jsonl_event(run_dir.path, build_event_payload("custom", run_dir.path, x=1)).seq == 1
    assert log.append("on_train_end", {}).seq == 2
    log.close()
    assert append_jsonl_event(run_dir.path, {"moment": "custom"}).seq == 3
    assert [line["seq"] for line in iterate(run_dir.events())] == [0, 1, 2, 3]


def test_an_event_of_a_loop_goes_through_the_open_run(record, run_dir):
    """The same inside ``barograph.init``: the loop's own events stand among the run's."""
    record(
        """
        import sys
        import barograph
        from barograph.facts import append_jsonl_event, build_event_payload
        with barograph.init(dir=sys.argv[1], terminal="off", host_s=None) as run:
            for epoch in range(3):
                run.event("custom", n=epoch)
                append_jsonl_event(run.dir, build_event_payload("on_epoch_end", run.dir, epoch=epoch, val_loss=0.5))
        """,
        run_dir.path.parent / "other",
    )
    run = RunDir(run_dir.path.parent / "other")
    moments = ["on_start", *["custom", "on_epoch_end"] * 3, "on_train_end"]
    lines = list(iterate(run.events()))
    assert moments == [line["moment"] for line in lines]
    assert list(range(8)) == [line["seq"] for line in lines]
    assert [row["epoch"] for row in table(run.scalars_csv)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("payload", "error"),
    [({"moment": "on_start", "x": object()}, TypeError), ({"moment": "a b"}, MisuseError), ({"x": 1}, KeyError)],
    ids=["no JSON", "no name", "no moment"],
)
def test_an_event_that_cannot_be_written_leaves_nothing(tmp_path, payload, error):
    """Misuse raises, and the log holds no half line."""
    with pytest.raises(error):
        append_jsonl_event(tmp_path, payload)
    assert RunDir(tmp_path).events().read_bytes() == b""
    assert append_jsonl_event(tmp_path, {"moment": "custom"}).seq == 0


@pytest.mark.spec("S3.13", "S3.20")
def test_a_new_name_becomes_a_last_column_and_no_row_is_lost(tmp_path):
    """Columns grow to the right; older rows have an empty field, rows without an old name too."""
    append_scalars_csv(tmp_path, epoch=0, train_loss=0.5)
    append_scalars_csv(tmp_path, epoch=1, train_loss=0.4, lr=0.1)
    append_scalars_csv(tmp_path, epoch=2, metrics={"a,b": 1, 'say "x"': True})
    path = append_scalars_csv(tmp_path, epoch=3, val_loss=0.3)
    assert path.read_text(encoding="utf-8") == (
        'epoch,train_loss,lr,"a,b","say ""x""",val_loss\n0,0.5,,,,\n1,0.4,0.1,,,\n2,,,1,1,\n3,,,,,0.3\n'
    )


@pytest.mark.spec("S3.20")
def test_an_epoch_is_completed_and_never_overwritten(tmp_path):
    """The same numbers add nothing, further names fill the row, another number is another row."""
    append_scalars_csv(tmp_path, epoch=0, train_loss=0.5)
    append_scalars_csv(tmp_path, epoch=1, train_loss=0.4)
    append_scalars_csv(tmp_path, epoch=0, train_loss=0.5, val_loss=math.nan)
    append_scalars_csv(tmp_path, epoch=0, train_loss=0.5)
    append_scalars_csv(tmp_path, epoch=1, val_loss=0.7)
    path = append_scalars_csv(tmp_path, epoch=1, train_loss=0.3)
    assert path.read_text(encoding="utf-8") == "epoch,train_loss,val_loss\n0,0.5,nan\n1,0.4,0.7\n1,0.3,\n"


@pytest.mark.spec("S3.13", "S3.20")
def test_a_loop_that_writes_the_table_itself_inside_a_run_has_each_epoch_once(record, tmp_path):
    """The run keeps the table of its events, the loop calls ``append_scalars_csv`` too: one row per epoch."""
    record(
        """
        import time
        import barograph
        from barograph.facts import append_jsonl_event, append_scalars_csv, build_event_payload
        with barograph.init(dir="run", terminal="off", host_s=None) as run:
            for epoch in range(60):
                numbers = {"train_loss": 1 / (epoch + 1), "metrics": {"perplex": epoch / 7}}
                append_jsonl_event(run.dir, build_event_payload("on_epoch_end", run.dir, epoch=epoch, **numbers))
                append_scalars_csv(run.dir, epoch=epoch, **numbers)
                time.sleep(0.005)
        """
    )
    rows = table(RunDir(tmp_path / "run").scalars_csv)
    expected = [(str(epoch), repr(1 / (epoch + 1)), repr(epoch / 7)) for epoch in range(60)]
    assert [(row["epoch"], row["train_loss"], row["perplex"]) for row in rows] == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1e-300, "1e-300"),
        (-0.0, "-0.0"),
        (5e-324, "5e-324"),
        (2**64, "18446744073709551616"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (True, "1"),
        (np.float32(0.1), "0.10000000149011612"),
        (np.int64(3), "3"),
        (np.float64("nan"), "nan"),
    ],
    ids=repr,
)
def test_a_cell_reads_back_to_the_same_number(tmp_path, value, text):
    """The shortest text that is exact; non-finite numbers by the names that CSV readers know."""
    (row,) = table(append_scalars_csv(tmp_path, epoch=0, x=value))
    assert text == row["x"]


@pytest.mark.parametrize("value", ["0.5", [1.0], object(), b"1"], ids=["text", "list", "object", "bytes"])
def test_a_scalar_that_is_no_number_is_refused(tmp_path, value):
    """The message names it; the table is as it was."""
    path = append_scalars_csv(tmp_path, epoch=0, x=1.0)
    before = path.read_bytes()
    with pytest.raises(InvalidMetricError, match=r"scalar 'y' is a .*, not a number; convert it"):
        append_scalars_csv(tmp_path, epoch=1, x=1.0, y=value)
    assert before == path.read_bytes()


def test_a_torn_last_row_is_cut_before_the_next(tmp_path):
    """A row that a killed process left half written does not swallow the next one; its bytes are kept."""
    path = append_scalars_csv(tmp_path, epoch=0, x=1.0, y=2.0)
    with path.open("ab") as file:
        file.write(b"1,1.")
    append_scalars_csv(tmp_path, epoch=2, x=5.0, y=6.0)
    assert [row["epoch"] for row in table(path)] == ["0", "2"]
    assert [cut.read_bytes() for cut in path.parent.glob("scalars.csv.cut-*")] == [b"1,1."]


def test_threads_append_each_epoch_once(tmp_path):
    """Columns grow from four threads at once, and every row is there."""

    def work(thread):
        for epoch in range(25):
            append_scalars_csv(tmp_path, epoch=thread * 100 + epoch, metrics={f"m{thread}_{epoch % 5}": epoch})

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = table(RunDir(tmp_path).scalars_csv)
    expected = sorted(thread * 100 + epoch for thread in range(4) for epoch in range(25))
    assert expected == sorted(int(row["epoch"]) for row in rows)
    assert all(
        row[f"m{int(row['epoch']) // 100}_{int(row['epoch']) % 5}"] == str(int(row["epoch"]) % 100) for row in rows
    )


GROWER = """
import sys
from barograph.facts import append_scalars_csv
start = int(sys.argv[2])
for epoch in range(start, start + 100_000):
    append_scalars_csv(sys.argv[1], epoch=epoch, metrics={f"m{epoch % 400}": epoch, "x": 0.5})
    print(epoch, flush=True)
"""


@pytest.mark.spec("S3.13")
def test_killed_while_it_grows_the_table_is_old_or_new(tmp_path, start):
    """Processes that add columns are killed at random moments: no acknowledged row is lost, torn or doubled."""
    generator, acknowledged = random.Random(5), -1
    path = RunDir(tmp_path).scalars_csv
    for _ in range(8):
        child = start(GROWER, tmp_path, acknowledged + 1)
        first = child.stdout.readline()
        time.sleep(generator.uniform(0, 0.1))
        child.send_signal(signal.SIGKILL)
        numbers = (first + child.communicate()[0]).splitlines()
        acknowledged = int(numbers[-1])
        rows = table(path)
        if int(rows[-1]["epoch"]) == acknowledged + 1:  # on disk, and killed before it could say so
            acknowledged += 1
        assert list(range(acknowledged + 1)) == [int(row["epoch"]) for row in rows]
        for row in rows:
            assert row["epoch"] == row[f"m{int(row['epoch']) % 400}"]
            assert None not in row
            assert None not in row.values()
    assert acknowledged > 50


def test_the_four_functions_are_public():
    """They are imported from ``barograph.facts`` by the documented names."""
    names = ["append_jsonl_event", "append_scalars_csv", "build_event_payload", "ensure_facts_dir"]
    assert names == barograph.facts.__all__
