"""The files of a run, read with grep, sed, jq, cat, zcat and awk: no tool of ours."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess

import pytest

from barograph.facts.rows import as_columns, iterate_rows, read_header
from barograph.facts.rundir import RunDir

LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| INFO \| metric (\{.*\})$")


@pytest.fixture
def shell(recorded):
    """Run a command line in the run's directory; what it printed. Skipped where a program is not installed."""

    def run(command, *, cwd=recorded, needs=("jq",)):
        for program in needs:
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], cwd=cwd, capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        return done.stdout

    return run


def stream(run, split, *names):
    """The columns of the stream that holds these metrics."""
    for path in RunDir(run).rows_files():
        header = read_header(path)
        if header.split == split and set(names) <= set(header.columns):
            return as_columns(header, list(iterate_rows(path)))
    raise AssertionError(f"no stream of {split} has {names}")


class TestTrainLog:
    """``metric {json}`` lines are how people and plotting scripts see metrics."""

    @pytest.mark.spec("S0.18", "S0.20", "S0.21", "S0.22", "S0.24")
    def test_its_metric_lines_are_what_was_recorded(self, recorded):
        """Each line at the fast tier, parsed, is the row of that step: names, values to the bit, epoch, run."""
        text = (recorded / "train.log").read_text(encoding="utf-8")
        records = [json.loads(found[1]) for found in map(LINE.match, text.splitlines()) if found]
        run_id = json.loads((recorded / "run.json").read_text(encoding="utf-8"))["run_id"]
        assert {record["run_id"] for record in records} == {run_id}
        steps = [record for record in records if record.get("split") == "train"]
        assert [record["step"] for record in steps] == [10, 20, 30]
        columns = stream(recorded, "train", "loss", "grad")
        for record in steps:
            row = columns["step"].index(record["step"])
            assert list(record) == ["epoch", "step", "loss", "grad", "split", "run_id"]
            assert (record["loss"], record["grad"]) == (columns["loss"][row], columns["grad"][row])
            assert (type(record["step"]), type(record["epoch"])) == (int, int)
            assert record["epoch"] == columns["epoch"][row]

    @pytest.mark.spec("S0.19", "S0.20")
    def test_the_calls_of_the_logging_guide_parse_back(self, record, tmp_path):
        """``logger.info("metric {}", json.dumps({...}))``, word for word, while a run is recorded."""
        script = """
        import json, sys, barograph
        from loguru import logger
        with barograph.init(dir=sys.argv[1], terminal="off", host_s=None) as run:
            logger.info("metric {}", json.dumps({"epoch": 0, "step": 0, "loss": 0.693, "accuracy": 0.52}))
            logger.info("metric {}", json.dumps({"epoch": 0, "step": 100, "loss": 0.512, "accuracy": 0.71}))
        """
        record(script, tmp_path / "run")
        lines = (tmp_path / "run" / "train.log").read_text(encoding="utf-8").splitlines()
        assert [json.loads(LINE.match(line)[1]) for line in lines] == [
            {"epoch": 0, "step": 0, "loss": 0.693, "accuracy": 0.52},
            {"epoch": 0, "step": 100, "loss": 0.512, "accuracy": 0.71},
        ]

    @pytest.mark.spec("S0.18", "S0.20")
    def test_epochs_are_metric_lines_too(self, recorded):
        """A loss that is not finite is null and named, so that any JSON parser reads the line."""
        text = (recorded / "train.log").read_text(encoding="utf-8")
        records = [json.loads(found[1]) for found in map(LINE.match, text.splitlines()) if found]
        first, second = [record for record in records if "train_loss" in record]
        assert (first["epoch"], first["train_loss"], first["val_loss"], first["accuracy"]) == (0, 0.05, 0.75, 0.5)
        assert (second["val_loss"], second["nonfinite"]) == (None, {"val_loss": "nan"})

    @pytest.mark.spec("S0.23", "S0.25")
    def test_splits_and_runs_have_the_same_short_keys(self, record, tmp_path):
        """Two runs that log on two splits: the same keys in the same order, told apart by split and run."""
        script = """
        import sys, barograph
        with barograph.init(dir=sys.argv[1], terminal="off", host_s=None, log_steps=10, eval_steps=20) as run:
            for step in range(21):
                run.log({"loss": 0.5, "f1": 0.25}, step=step)
                if step % 20 == 0:
                    run.log({"loss": 0.75, "f1": 0.5}, step=step, split="val")
        """
        keys, ids = set(), set()
        for name in ("a", "b"):
            record(script, tmp_path / name)
            lines = (tmp_path / name / "train.log").read_text(encoding="utf-8").splitlines()
            records = [json.loads(LINE.match(line)[1]) for line in lines]
            assert {("train", 10), ("train", 20), ("val", 20)} <= {(it["split"], it["step"]) for it in records}
            keys |= {tuple(it) for it in records}
            ids |= {it["run_id"] for it in records}
        assert keys == {("step", "loss", "f1", "split", "run_id")}
        assert len(ids) == 2

    @pytest.mark.spec("S4.38", "S0.20")
    def test_grep_and_jq_build_the_curve(self, recorded, shell):
        """The pipeline of the logging guide, as a person types it."""
        shown = shell("""grep "metric " train.log | sed 's/.*metric //' | jq -c 'select(.split) | [.step, .loss]'""")
        columns = stream(recorded, "train", "loss")
        expected = [[step, columns["loss"][columns["step"].index(step)]] for step in (10, 20, 30)]
        assert [json.loads(line) for line in shown.splitlines()] == expected


class TestDetails:
    """The three dated files of a detail record."""

    @pytest.mark.spec("S4.38")
    def test_cat_and_jq_show_the_core_results(self, recorded, shell):
        """``cat .../entropy_probe_14-30-25_step_60_summary.json | jq '.core_results'``."""
        (summary,) = recorded.glob("details/*/entropy_probe_*_step_60_summary.json")
        shown = shell(f"cat {summary.relative_to(recorded)} | jq '.core_results'")
        assert json.loads(shown) == {"deltaH1": 2.659, "deltaH_true": None, "bars_dot": 0.25}

    @pytest.mark.spec("S4.38")
    def test_zcat_and_jq_show_sequences(self, record, tmp_path, shell):
        """``zcat .../entropy_probe_14-30-25_step_60.json.gz | jq '.sequences.E_batch[0:3]'``."""
        script = """
        import sys, barograph
        with barograph.init(dir=sys.argv[1], terminal="off", host_s=None, detail="detailed") as run:
            probe = run.details("entropy_probe", checkpoint="step_60")
            probe.minimal(core_results={"deltaH1": 2.659})
            probe.detailed(sequences={"E_batch": [{"text": str(n)} for n in range(5)]})
            probe.write()
        """
        record(script, tmp_path / "run")
        (path,) = (tmp_path / "run").glob("details/*/entropy_probe_*_step_60.json.gz")
        shown = shell(f"zcat {path} | jq -c '.sequences.E_batch[0:3]'", needs=("jq", "zcat"))
        assert json.loads(shown) == [{"text": "0"}, {"text": "1"}, {"text": "2"}]

    @pytest.mark.spec("S4.38")
    def test_a_loop_compares_runs(self, recorded, shell):
        """The shell loop over summaries."""
        shown = shell(
            """for f in details/*/*_summary.json; do echo "=== $f ==="; """
            """jq -c '.core_results | {deltaH1, deltaH_true, bars_dot}' "$f"; done"""
        )
        title, numbers = shown.splitlines()
        assert re.fullmatch(r"=== details/\d{4}-\d\d-\d\d/entropy_probe_\d\d-\d\d-\d\d_step_60_summary.json ===", title)
        assert json.loads(numbers) == {"deltaH1": 2.659, "deltaH_true": None, "bars_dot": 0.25}


class TestFacts:
    """``facts/`` is for debugging, too."""

    @pytest.mark.spec("S3.75", "S3.83", "S4.38")
    def test_jq_reads_the_life_of_a_run(self, shell):
        """``events.jsonl``: one event per line, from the start to the end."""
        moments = shell("jq -r .moment facts/events.jsonl").splitlines()
        assert (moments[0], moments[-1]) == ("on_start", "on_train_end")
        assert {"on_example", "on_epoch_end", "on_check", "on_checkpoint"} <= set(moments)
        failed = shell(
            """jq -c 'select(.moment == "on_check" and .passed == false) | [.name, .expected, .got]' """
            "facts/events.jsonl"
        )
        assert json.loads(failed) == ["LoRA tensors", 392, 391]

    @pytest.mark.spec("S3.75", "S3.83", "S4.38")
    def test_cut_and_csv_read_the_epochs(self, recorded, shell):
        """``scalars.csv``: one line per epoch, names in the first."""
        with (recorded / "facts" / "scalars.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["epoch"], row["train_loss"], row["val_loss"]) for row in rows] == [
            ("0", "0.05", "0.75"),
            ("1", "0.025", "nan"),
        ]
        assert shell("cut -d, -f1,2 facts/scalars.csv", needs=("cut",)) == "epoch,train_loss\n0,0.05\n1,0.025\n"

    @pytest.mark.spec("S3.83", "S4.38")
    def test_the_configuration_is_plain_yaml(self, shell):
        """``grep`` finds a setting."""
        assert shell("grep -A1 optim: config.yaml", needs=("grep",)) == "optim:\n  lr: 0.001\n"

    @pytest.mark.spec("S4.38")
    def test_od_reads_rows(self, recorded, shell):
        """Even the rows are eight bytes a number behind one line of JSON: ``head`` and ``od`` show them."""
        (path,) = [
            path for path in RunDir(recorded).rows_files() if read_header(path).columns[1:-1] == ["loss", "accuracy"]
        ]
        name = path.relative_to(recorded)
        assert json.loads(shell(f"head -n 1 {name} | jq -c .columns")) == ["step", "loss", "accuracy", "t"]
        shown = shell(f"tail -c +4097 {name} | od -A n -t f8 -v -w32", needs=("od", "tail"))
        assert [list(map(float, line.split()))[:3] for line in shown.splitlines()] == [[19, 0.75, 0.5], [39, 0.75, 0.5]]
