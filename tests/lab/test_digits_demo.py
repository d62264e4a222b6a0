"""The main job, started as a person starts it: from an empty directory, and killed in the middle."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest

ENVIRON = {name: value for name, value in os.environ.items() if name != "BAROGRAPH_ROOT"} | {"PYTHONUTF8": "1"}


def demo(directory, *args, code=0):
    """Run the demo in a directory and return what it printed; warnings are errors."""
    command = [sys.executable, "-W", "error", "-m", "barograph_lab.digits", *args]
    done = subprocess.run(command, cwd=directory, env=ENVIRON, capture_output=True, text=True, timeout=120, check=False)
    assert code == done.returncode, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The directory and the output of one whole demo."""
    directory = tmp_path_factory.mktemp("demo")
    return directory, demo(directory)


def count_facts(run_dir):
    """How many rows and lines of text the facts of a run are, counted by their size on disk."""
    count = 0
    for path in (run_dir / "facts").iterdir():
        if path.suffix == ".rows":
            with path.open("rb") as file:
                header = json.loads(file.readline())
            size = path.stat().st_size - header["header_bytes"]
            assert size % (8 * len(header["columns"])) == 0
            count += size // (8 * len(header["columns"]))
        elif path.suffix == ".jsonl" and path.name != "alerts.jsonl":  # a watcher's, not the recorder's
            count += path.read_bytes().count(b"\n")
    return count


def shown_of_the_first(output):
    """What is printed before the last run, which diverges and is shown too."""
    return output[: output.index("run mlp-too-fast-seed0 started")]


def runs_of(directory):
    """Run directories by name of the run."""
    return {path.name.split("_")[2]: path for path in sorted((directory / "runs").glob("run_*"))}


def test_thirteen_runs_and_a_report(whole):
    """Two configurations times six seeds and one that diverges, below ./runs, and one report of them; nothing else."""
    directory, _ = whole
    expected = {f"{name}-seed{seed}" for name in ("mlp", "linear") for seed in range(6)} | {"mlp-too-fast-seed0"}
    assert expected == set(runs_of(directory))
    assert sorted(path.name for path in directory.iterdir()) == ["reports", "runs"]
    assert len(list((directory / "reports").glob("report_*_comparison/report.html"))) == 1


@pytest.mark.spec("S3.43", "S3.57")
def test_every_acknowledged_number_is_on_disk(whole, read_rows):
    """What the recorder says it wrote is what the files hold; no step is missing and nothing was lost."""
    directory, _ = whole
    for name, run_dir in runs_of(directory).items():
        ledger = json.loads((run_dir / "facts" / "exit.json").read_text(encoding="utf-8"))["ledger"]
        assert (ledger["lost"], ledger["pending"], ledger["failures"]) == (0, 0, {})
        assert ledger["accepted"] == ledger["written"] == count_facts(run_dir)
        steps = sorted(read_rows(run_dir))
        assert list(range(1, len(steps) + 1)) == steps
        assert (len(steps) == 600) == (name != "mlp-too-fast-seed0")


@pytest.mark.spec("S2.24", "S2.42")
def test_the_run_that_diverges_is_caught_and_the_healthy_ones_are_silent(whole):
    """Named, dated and advised on the terminal within 25 steps; the twelve others have not one alert."""
    directory, output = whole
    told = re.search(r"ALERT \[critical\] (\w+) at step (\d+), since step (\d+)\n(?: +.+\n)* +do: +\S.+\(", output)
    assert told
    assert told[1] in ("exploding_gradient", "divergence")
    assert int(told[3]) <= int(told[2]) <= 25
    alarmed = {name for name, run_dir in runs_of(directory).items() if (run_dir / "facts" / "alerts.jsonl").exists()}
    assert alarmed == {"mlp-too-fast-seed0"}


def test_the_run_that_diverges_is_flagged(whole, read_rows):
    """It ends in a number that is not finite, as failed, and the listing and the check say so."""
    directory, output = whole
    rows = read_rows(runs_of(directory)["mlp-too-fast-seed0"])
    assert not np.isfinite(rows[max(rows)]["loss"])
    assert re.search(r"^failed .*mlp-too-fast-seed0", output, re.MULTILINE)
    assert re.search(r"(❌|\[X\]) loss is finite on train: (inf|nan) at step \d+", output)
    assert "Facts verified: 13 of 13 runs are whole." in output
    assert "Success criteria: met by 12 runs, not met by 1." in output


def test_the_best_is_the_lowest_mean_of_recorded_numbers(whole, read_rows):
    """The configuration and the figure that are printed follow from the files, computed here once more."""
    directory, output = whole
    lowest = {}
    for name, run_dir in runs_of(directory).items():
        losses = [row["val_loss"] for row in read_rows(run_dir, "val").values()]
        if losses:
            lowest.setdefault(name.rpartition("-")[0], []).append(min(losses))
    means = {name: statistics.fmean(losses) for name, losses in lowest.items()}
    best = min(means, key=means.get)
    assert f"Best by mean val_loss: {best}, {means[best]:.4f} over n=6 (6 seeds)." in output


@pytest.mark.spec("S2.36", "S3.57")
def test_it_ends_with_a_comparison_and_a_report(whole):
    """Six seeds that match tell the two configurations apart; every number of the report can be computed again."""
    directory, output = whole
    compared = output.split("compare runs\n")[1].split("\n$ ")[0]
    assert "told apart by hidden" in compared
    assert re.search(r"^hidden=0.* worse$", compared.replace("\n  ", "\n"), re.MULTILINE)
    assert "n = 6 pairs, p = 0.031" in compared
    assert "1 of 13 runs did not finish" in compared
    (page,) = re.findall(r"open (reports/\S+)/report.html", output)
    command = [sys.executable, "-m", "barograph.cli", "report", "verify", page]
    done = subprocess.run(command, cwd=directory, env=ENVIRON, capture_output=True, text=True, check=False)
    assert (done.returncode, "every number holds" in done.stdout) == (0, True)


@pytest.mark.spec("S1.33", "S1.34", "S1.35", "S1.42")
def test_the_output_shows_two_tiers(whole):
    """The first run is shown: a FAST LOG every 50 steps without an answer, a FULL EVAL every 200 with one."""
    output = shown_of_the_first(whole[1])
    assert [f"{step}" for step in range(50, 600, 50) if step % 200] == re.findall(r"FAST LOG - Step (\d+)", output)
    assert re.findall(r"FULL EVAL - Step (\d+)", output) == ["200", "400", "600"]
    assert output.count("MODEL: [Skipped - fast log only]") == 9
    assert output.count("MODEL (1 tokens):") == 3
    assert len(re.findall(r"Loss Comparison: Train=\d\.\d{4} \| Val=\d\.\d{4} \| Gap=[+-]\d\.\d{4} ", output)) == 3


@pytest.mark.spec("S3.14")
def test_the_output_in_a_pipe_is_plain_and_not_long(whole):
    """No escape codes, no carriage returns, fewer than 400 lines, and a progress line that ends at 100 %."""
    _, output = whole
    assert not set(output) & {"\x1b", "\r"}
    assert len(output.splitlines()) < 400
    assert "100% step 600/600" in output


def test_what_to_type_next_works(whole):
    """Every command that is printed at the end exits as it should, in the directory where the demo ran."""
    directory, output = whole
    block = output.split("What to type next:")[1].split("What a kill leaves")[0]
    commands = [line.partition("  # ")[0].strip() for line in block.strip().splitlines()]
    assert [command.split()[1] for command in commands[:7]] == [
        *("list", "compare", "report", "show", "tail", "cat", "check")
    ]
    codes = [
        subprocess.run(["bash", "-c", line], cwd=directory, env=ENVIRON, capture_output=True, check=False).returncode
        for line in commands
    ]
    assert codes == [0, 0, 0, 0, 0, 0, 1, 0]  # the check of the run that diverged finds its criteria unmet


def test_the_kill_to_try_works(whole, tmp_path):
    """The printed lines kill a demo, and the check finds what was recorded whole, the run as killed."""
    directory, output = whole
    lines = output.split("What a kill leaves")[1].strip().splitlines()[2:]
    assert len(lines) == 3
    begun = f"until ls {tmp_path}/killed/*/facts/metrics.*.rows > /dev/null 2>&1; do sleep 0.1; done; sleep 1"
    script = "\n".join(lines).replace("/tmp/killed", str(tmp_path / "killed")).replace("sleep 5", begun)
    done = subprocess.run(
        ["bash", "-c", script], cwd=directory, env=ENVIRON, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ok .* killed$", done.stdout, re.MULTILINE)
    assert "SIGKILL" in done.stdout
    assert "1 run, 0 errors" in done.stdout


@pytest.mark.spec("S1.31")
def test_options_set_the_two_tiers(tmp_path):
    """``--log-steps`` and ``--eval-steps`` decide where the blocks fall."""
    whole = demo(tmp_path, "--epochs", "2", "--seeds", "1", "--log-steps", "20", "--eval-steps", "40")
    output = shown_of_the_first(whole)
    assert re.findall(r"FAST LOG - Step (\d+)", output) == ["20", "60"]
    assert re.findall(r"FULL EVAL - Step (\d+)", output) == ["40", "80"]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The directory and the output of a quick demo of one seed, in JSON, its runs elsewhere than usual."""
    directory = tmp_path_factory.mktemp("quick")
    return directory, demo(directory, "--json", "--quick", "--seeds", "1", "--root", "there")


@pytest.mark.spec("S0.4")
def test_quick_is_recorded_as_quick(quick, read_rows):
    """``--quick`` takes a third of the steps, and each run says that it was the quick tier."""
    directory, _ = quick
    runs = {path.name.split("_")[2]: path for path in (directory / "there").glob("run_*")}
    assert set(runs) == {"mlp-seed0", "linear-seed0", "mlp-too-fast-seed0"}
    tiers = {json.loads((path / "run.json").read_text(encoding="utf-8"))["tier"] for path in runs.values()}
    assert tiers == {"quick"}
    assert [len(read_rows(runs[name])) for name in ("mlp-seed0", "linear-seed0")] == [200, 200]


def test_json_is_one_strict_line(quick):
    """``--json`` prints nothing else; a number that is not finite is null and named, never a bare NaN."""
    directory, output = quick

    def refuse(word):
        raise AssertionError(word)

    assert len(output.splitlines()) == 1
    study = json.loads(output, parse_constant=refuse)
    runs = {run["name"]: run for run in study["runs"]}
    assert {name: run["status"] for name, run in runs.items()} == {
        "mlp": "finished",
        "linear": "finished",
        "mlp-too-fast": "failed",
    }
    assert study["best"] == min(("mlp", "linear"), key=lambda name: runs[name]["best_val_loss"])
    diverged = runs["mlp-too-fast"]
    assert (diverged["test_loss"], diverged["nonfinite"]["test_loss"]) == (None, "nan")
    assert diverged["success"][0] == {"text": "loss is finite on train", "passed": False}
    assert all(run["errors"] == [] and (directory / run["run_dir"]).is_dir() for run in runs.values())


KILLED = """
import os
import barograph
from barograph_lab.digits.__main__ import main

acknowledged = os.open("acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
begin = barograph.init

def observed(*args, **kwargs):
    run = begin(*args, **kwargs)
    log = run.log
    def log_and_tell(metrics, *, step, epoch=None, split="train"):
        log(metrics, step=step, epoch=epoch, split=split)
        for name, value in metrics.items():
            line = f"{run.dir}\\t{split}\\t{step}\\t{name}\\t{float(value).hex()}\\n"
            os.write(acknowledged, line.encode())
    run.log = log_and_tell
    return run

barograph.init = observed
main(["--epochs", "15"])
"""


@pytest.mark.parametrize("num_lines", [200, 3100])
def test_kill_9_in_the_middle_loses_nothing(tmp_path, read_rows, num_lines):
    """Every number whose ``run.log`` had returned is on disk after SIGKILL, and every run can be read."""
    (tmp_path / "killed.py").write_text(KILLED, encoding="utf-8")
    acknowledged = tmp_path / "acknowledged"
    with subprocess.Popen([sys.executable, "killed.py"], cwd=tmp_path, env=ENVIRON, stdout=subprocess.DEVNULL) as child:
        deadline_s = time.monotonic() + 60
        while not acknowledged.exists() or acknowledged.read_bytes().count(b"\n") < num_lines:
            assert time.monotonic() < deadline_s
            assert child.poll() is None
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
    lines = acknowledged.read_bytes().rpartition(b"\n")[0].decode().splitlines()
    assert num_lines <= len(lines) < 7 * 600 * 3
    read = {}
    for line in lines:
        run_dir, split, step, name, value = line.split("\t")
        if (run_dir, split) not in read:
            read[run_dir, split] = read_rows(tmp_path / run_dir, split)
        assert value == read[run_dir, split][int(step)][name].hex()
    checked = subprocess.run(
        [sys.executable, "-m", "barograph.cli", "check", "runs", "--no-criteria"],
        cwd=tmp_path,
        env=ENVIRON,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    assert "killed" in checked.stdout


def test_without_scikit_learn_the_demo_says_what_to_install(tmp_path):
    """No traceback: one line that names the extra, and exit code 2."""
    script = (
        "import sys; sys.modules['sklearn'] = None; from barograph_lab.digits.__main__ import main; sys.exit(main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=ENVIRON, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'barograph[demo]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--epochs", "--seeds", "--log-steps", "--eval-steps"])
def test_options_below_one_are_refused(tmp_path, option):
    """The message names option and value; nothing is written."""
    assert f"argument {option}: '0' is not at least 1" in demo(tmp_path, option, "0", code=2)
    assert list(tmp_path.iterdir()) == []
