"""What accompanies a run, put together by ``init``: text log, console capture, terminal, CSV, mirrors, links."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
import warnings

import pytest
from loguru import logger

import barograph
from barograph.errors import RecordingWarning
from barograph.record.criteria import CriteriaJudge

LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \| INFO \| metric (\{.*\})$")


def metric_lines(path) -> list[dict]:
    """The metric lines of a text log, found as the logging guide finds them."""
    found = [LINE.match(line) for line in path.read_text().splitlines() if "metric " in line]
    assert all(found)
    return [json.loads(match[2]) for match in found]


@pytest.mark.spec("S0.2", "S0.7", "S0.18", "S0.20", "S0.21", "S0.23", "S0.24")
def test_metric_lines_of_both_tiers(new_run):
    """``train.log`` has one JSON line per record whose step is due, with step, epoch, split and run_id; no other."""
    run = new_run(text_log="train.log", log_steps=10, eval_steps=20)
    for step in range(41):
        run.log({"loss": 1 / (step + 1), "accuracy": step / 40}, step=step, epoch=step // 20)
    run.log({"loss": 0.25, "f1": math.nan}, step=40, split="val")
    run.finish()
    lines = metric_lines(run.dir / "train.log")
    expected = [
        {
            "epoch": step // 20,
            "step": step,
            "loss": 1 / (step + 1),
            "accuracy": step / 40,
            "split": "train",
            "run_id": run.id,
        }
        for step in (10, 20, 30, 40)
    ]
    assert [line for line in lines if line["split"] == "train"] == expected
    (val,) = (line for line in lines if line["split"] == "val")
    assert val == {"step": 40, "loss": 0.25, "f1": None, "split": "val", "run_id": run.id, "nonfinite": {"f1": "nan"}}
    assert all(type(line["step"]) is int for line in lines)


@pytest.mark.spec("S4.2", "S4.3", "S4.4")
def test_text_log_with_a_comprehensive_name(new_run):
    """The text log may have a name of its own, such as one with date and time; it traces the whole execution."""
    name = barograph.record.detail.log_name("entropy_probe", lambda: 1_756_731_600.0)
    run = new_run(text_log=name)
    logger.info("loading the model")
    run.epoch_end(0, train_loss=0.5)
    logger.warning("X accumulation done")
    run.finish()
    lines = (run.dir / "entropy_probe_comprehensive_20250901_130000.log").read_text().splitlines()
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(stamp + r" \| INFO \| loading the model", lines[0])
    assert sorted(line.split(" | ", 1)[1] for line in lines[1:]) == [
        f'INFO | metric {{"epoch": 0, "train_loss": 0.5, "run_id": "{run.id}"}}',
        "WARNING | X accumulation done",
    ]
    assert not (run.dir / "train.log").exists()


def test_without_text_log(new_run):
    """``text_log=None`` writes none, and leaves loguru as it is."""
    before = list(logger._core.handlers)
    run = new_run(text_log=None)
    assert list(logger._core.handlers) == before
    run.finish()
    assert not list(run.dir.glob("*.log"))


@pytest.mark.parametrize("console", [True, False])
def test_console_capture(new_run, capsys, console):
    """What is printed is also kept in ``console.log``, unless that is turned off; the console shows it either way."""
    run = new_run(console=console)
    print("epoch 1", flush=True)
    print("50 %\r100 %", file=sys.stderr)
    run.finish()
    print("afterwards")
    out, err = capsys.readouterr()
    assert (out, err) == ("epoch 1\nafterwards\n", "50 %\r100 %\n")
    assert (run.dir / "console.log").exists() == console
    if console:
        kept = [line.split(" | ", 1)[1] for line in (run.dir / "console.log").read_text().splitlines()]
        assert sorted(kept) == ["stderr | 100 %", "stdout | epoch 1"]


def test_two_runs_at_once_share_the_console(new_run, tmp_path, capsys):
    """Runs that end in the order they began put the streams back; each keeps what was printed while it was open."""
    streams = (sys.stdout, sys.stderr)
    first = new_run(dir=tmp_path / "first", console=True)
    print("one open")
    second = new_run(dir=tmp_path / "second", console=True)
    print("two open")
    first.finish()
    print("one left")
    second.finish()
    print("none left")
    assert capsys.readouterr().out == "one open\ntwo open\none left\nnone left\n"
    assert (sys.stdout, sys.stderr) == streams
    assert "one open" in (first.dir / "console.log").read_text()
    assert "one left" not in (first.dir / "console.log").read_text()
    assert "two open" in (second.dir / "console.log").read_text()
    assert "one left" in (second.dir / "console.log").read_text()
    assert "none left" not in (second.dir / "console.log").read_text()


@pytest.mark.spec("S3.13", "S3.75")
def test_scalars_csv_follows_the_epochs(new_run):
    """``facts/scalars.csv`` has a line per epoch, with the numbers that the events have."""
    run = new_run()
    for epoch in range(3):
        run.epoch_end(epoch, train_loss=1 / (epoch + 3), val_loss=0.5, metrics={"perplex": 2.0 + epoch})
    run.finish()
    with (run.dir / "facts/scalars.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["epoch"]) for line in lines] == [0, 1, 2]
    assert [float(line["train_loss"]) for line in lines] == [1 / 3, 1 / 4, 1 / 5]
    assert [float(line["perplex"]) for line in lines] == [2.0, 3.0, 4.0]


@pytest.mark.spec("S1.2", "S1.7", "S2.21")
def test_plain_terminal_shows_tiers_checks_and_alerts(new_run, capsys):
    """On a pipe the terminal is plain lines: both tiers' blocks, checks, alerts, and how the run ended."""
    run = new_run(terminal="plain", success=["loss < 0.3"])
    run.log({"loss": 0.2}, step=10)
    run.example(step=10, prompt="2 + 2", golden="4", loss=0.3245)
    run.example(step=200, prompt="2 + 2", golden="4", output="4", loss=0.2, val_loss=0.25)
    run.check("LoRA tensors", expected=392, got=391)
    run.alert("loss went up", "twice in a row")
    run.finish()
    out = capsys.readouterr().out
    for text in (
        "FAST LOG - Step 10",
        "FULL EVAL - Step 200",
        "LoRA tensors",
        "loss went up",
        "finished",
        "loss < 0.3",
    ):
        assert text in out


def test_terminal_off_is_silent(new_run, capsys):
    """With ``terminal="off"`` nothing is printed."""
    run = new_run(terminal="off", text_log="train.log", console=True)
    run.log({"loss": 0.2}, step=10)
    run.example(step=10, prompt="2 + 2", golden="4")
    run.finish()
    assert capsys.readouterr() == ("", "")


@pytest.mark.spec("S0.17")
def test_terminal_log_shows_metric_lines(new_run, capsys):
    """With ``terminal="log"`` the metric lines go to stderr too, each with the time of day."""
    run = new_run(terminal="log", text_log="train.log")
    run.log({"loss": 0.2}, step=10)
    run.finish()
    err = capsys.readouterr().err
    assert re.fullmatch(
        rf'\d\d:\d\d:\d\d \| metric {{"step": 10, "loss": 0.2, "split": "train", "run_id": "{run.id}"}}\n', err
    )


@pytest.mark.spec("S3.77", "S3.14")
def test_model_is_a_link_to_the_best_checkpoint(new_run):
    """When the run ends, ``model.pt`` leads to ``best_val.pt``; one that the script made itself stays."""
    run = new_run()
    (run.dir / "best_val.pt").write_bytes(b"best")
    run.checkpoint(run.dir / "best_val.pt", {"val_loss": 0.25}, kind="best", epoch=3)
    run.finish()
    model = run.dir / "model.pt"
    assert (model.is_symlink(), model.readlink().name, model.read_bytes()) == (True, "best_val.pt", b"best")
    again = new_run(resume="must")
    again.finish()
    assert model.readlink().name == "best_val.pt"


def test_model_of_the_script_stays(new_run):
    """A ``model.pt`` that the script wrote is not touched; without a best checkpoint there is none."""
    run = new_run()
    run.finish()
    assert not (run.dir / "model.pt").exists()
    again = new_run(resume="must")
    (run.dir / "best_val.pt").write_bytes(b"best")
    (run.dir / "model.pt").write_bytes(b"mine")
    again.finish()
    assert (run.dir / "model.pt").read_bytes() == b"mine"


@pytest.mark.spec("S3.77")
def test_model_is_a_copy_where_links_are_not_to_be_had(run_dir, monkeypatch):
    """On a file system without links ``model.pt`` is a copy."""
    from barograph.session.parts import link_model

    def no_links(*_args):
        raise PermissionError(1, "Operation not permitted")

    run_dir.best.write_bytes(b"best")
    monkeypatch.setattr("pathlib.Path.symlink_to", no_links)
    link_model(run_dir)
    assert not run_dir.model.is_symlink()
    assert run_dir.model.read_bytes() == b"best"


def test_mirrors_come_by_entry_point(record, tmp_path):
    """A mirror that an installed distribution offers gets the run's directory, its config and every fact."""
    package = tmp_path / "site/mirror_demo-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: mirror-demo\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[barograph.mirrors]\ndemo = mirror_demo:Mirror\n")
    (tmp_path / "site/mirror_demo.py").write_text(
        "class Mirror:\n"
        "    def __init__(self, directory, config):\n"
        "        self.file = open(directory / 'mirrored.txt', 'w')\n"
        "        print(config, file=self.file)\n"
        "    def feed(self, facts):\n"
        "        for fact in facts:\n"
        "            print(getattr(fact, 'moment', None) or fact.rows, file=self.file)\n"
        "    def close(self):\n"
        "        print('closed', file=self.file)\n"
        "        self.file.close()\n"
    )
    script = """
    import barograph
    with barograph.init(dir="run", config={"lr": 0.1}, mirrors=["demo"], terminal="off", host_s=None) as run:
        run.log({"loss": 0.5}, step=3)
    """
    record(script, env={"PYTHONPATH": str(tmp_path / "site")})
    lines = (tmp_path / "run/mirrored.txt").read_text().splitlines()
    assert (lines[0], lines[-1]) == ("{'lr': 0.1}", "closed")
    assert "on_start" in lines
    assert "on_train_end" in lines
    assert any(line.startswith("[(3.0, 0.5, ") for line in lines)


def test_part_that_cannot_begin_costs_that_part(new_run, tmp_path, recorded):
    """A text log that cannot be opened is reported; the run and its facts are there all the same."""
    (tmp_path / "run/train.log").mkdir(parents=True)
    with pytest.warns(RecordingWarning, match="recording of text log failed: IsADirectoryError"):
        run = new_run(text_log="train.log")
    run.log({"loss": 0.5}, step=10)
    run.finish()
    assert recorded(run.dir).column("loss") == [0.5]
    assert list(run.ledger.failures) == ["text log"]


@pytest.mark.spec("S0.6", "S4.13", "S4.18")
def test_success_criteria_are_judged_from_the_facts(new_run, recorded):
    """Criteria stated at the start are judged when the run ends, with their evidence, in the event and on exit."""
    run = new_run(
        success=["val_loss < 0.3 by step 2000", "deltaH1 is finite", "check 'LoRA tensors' passed", "f1 > 0.9"]
    )
    run.log({"val_loss": 0.25}, step=1900, split="val")
    run.log({"deltaH1": 2.659}, step=2000)
    run.check("LoRA tensors", expected=392, got=392)
    run.finish()
    found = recorded(run.dir)
    assert [verdict["passed"] for verdict in found.exit.success] == [True, True, True, None]
    assert found.exit.success == found.only("on_train_end")["success"]
    assert found.exit.success[0]["evidence"]["value"] == 0.25
    assert "'f1' was never recorded" in found.exit.success[3]["reason"]


def test_no_verdict_of_a_judge_that_failed(new_run, recorded, monkeypatch, capsys):
    """A judge that stopped at a fact says nothing about the facts after it; the failure is told, by either thread."""

    def feed(_judge, facts):
        if facts:
            raise TypeError("not a number")

    monkeypatch.setattr(CriteriaJudge, "feed", feed)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run = new_run(success=["loss < 0.3"])
        run.log({"loss": 0.1})
        run.finish()
    said = [str(it.message) for it in warned] + [capsys.readouterr().err]
    assert sum("recording of success criteria failed" in text for text in said) == 1
    (verdict,) = recorded(run.dir).exit.success
    assert (verdict["text"], verdict["passed"]) == ("loss < 0.3", None)
    assert verdict["reason"] == "the facts could not be judged: TypeError: not a number"


def test_replay_that_fails(new_run, recorded, monkeypatch):
    """A resumed run whose older facts cannot be judged begins all the same."""
    new_run(success=["loss < 0.3"]).finish()
    monkeypatch.setattr(CriteriaJudge, "feed", lambda _judge, _facts: 1 / 0)
    with pytest.warns(RecordingWarning, match="recording of success criteria failed: ZeroDivisionError"):
        run = new_run(resume="must")
    run.log({"loss": 0.1})
    run.finish()
    assert [verdict["passed"] for verdict in recorded(run.dir).exit.success] == [None]


def test_mirror_whose_import_fails(new_run, monkeypatch):
    """It costs the mirror."""

    def load(_group, _name):
        raise ImportError("libfoo.so is missing")

    monkeypatch.setattr("barograph.plugins.load", load)
    with pytest.warns(RecordingWarning, match=r"recording of mirror x failed: ImportError: libfoo\.so is missing"):
        run = new_run(mirrors=["x"], watch=False)
    run.finish()
    assert run.ledger.failures == {"mirror x": "ImportError: libfoo.so is missing"}


def test_thread_that_cannot_start(new_run, monkeypatch, recorded):
    """Without the companion's thread everything is fed at the end."""

    def start(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr("threading.Thread.start", start)
        with pytest.warns(RecordingWarning, match="recording of companion failed: RuntimeError"):
            run = new_run(success=["loss < 0.3"])
    run.log({"loss": 0.1})
    run.finish()
    assert [verdict["passed"] for verdict in recorded(run.dir).exit.success] == [True]
