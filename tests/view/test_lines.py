"""What each moment says on the terminal."""

from __future__ import annotations

import pytest

from barograph.view.terminal.lines import Narrator, read_payload

GOOD, BAD, WARNING = "\N{WHITE HEAVY CHECK MARK}", "\N{CROSS MARK}", "\N{WARNING SIGN}\ufe0f"


@pytest.fixture
def say(make):
    """The lines that one event makes."""
    narrator = Narrator()

    def lines(moment, **payload):
        event = make.event(moment, **payload)
        return narrator.lines(event, read_payload(event))

    return lines


def test_start_says_plan_place_hypothesis_and_criteria(say):
    """What was planned and promised stands at the top."""
    assert say(
        "on_start",
        run_id="r1",
        name="digits",
        run_dir="runs/run_1",
        total_steps=2000,
        total_epochs=20,
        log_steps=10,
        eval_steps=200,
        hypothesis="wider\nlearns faster",
        success=["val_loss < 0.3 by step 2000"],
    ) == [
        "run digits started: 2000 steps, 20 epochs, fast log every 10 steps, full evaluation every 200",
        "facts in runs/run_1",
        "hypothesis: wider learns faster",
        "success when: val_loss < 0.3 by step 2000",
    ]


@pytest.mark.spec("S3.60")
def test_start_without_a_plan_is_one_line(say):
    """What is not known is not said."""
    assert say("on_start", run_id="r1", name="digits", attempt=2) == ["run digits started, attempt 2"]


@pytest.mark.parametrize(
    ("moment", "payload", "line"),
    [
        (
            "on_epoch_end",
            {"epoch": 3, "train_loss": 0.21341, "val_loss": 0.25, "metrics": {"acc": 0.93}, "epoch_time_s": 12.34},
            "epoch 3  train_loss 0.2134  val_loss 0.25  acc 0.93  (12 s)",
        ),
        ("on_epoch_end", {"epoch": 0}, "epoch 0"),
        ("on_validation_end", {"step": 200, "metrics": {"loss": 0.25}}, "val at step 200  loss 0.25"),
        ("on_validation_end", {"epoch": 2, "split": "test"}, "test at epoch 2"),
        ("on_resume", {"previous_attempt": 0, "previous_status": "killed"}, "resumed; attempt 0 had ended as killed"),
        (
            "on_resume",
            {"previous_attempt": 1, "previous_status": "lost", "repaired": ["metrics.000.rows"]},
            "resumed; attempt 1 had ended as lost; repaired metrics.000.rows",
        ),
        ("on_signal", {"signal": 15, "name": "SIGTERM"}, f"{WARNING} signal SIGTERM (15) received"),
        (
            "on_phase_end",
            {"name": "eval", "duration_s": 3.0, "step": 200, "failed": True},
            f"{BAD} phase eval at step 200 failed after 3 s",
        ),
        ("on_custom_thing", {"value": 1, "text": "a\nb"}, "event on_custom_thing value=1 text=a b"),
        ("on_custom_thing", {"attempt": 0, "value": "x" * 500}, "event on_custom_thing value=" + "x" * 89 + "..."),
        (
            "on_exception",
            {"type": "OSError", "message": "disk full", "source": "mirror scalars_csv"},
            f"{WARNING} mirror scalars_csv was detached, training goes on: OSError: disk full",
        ),
        ("on_epoch_end", {"epoch": 1, "rank": 3}, "[rank 3] epoch 1"),
        ("custom", {"kind": "note", "text": "the plateau\nended"}, "note: the plateau ended"),
        ("custom", {"kind": "data_usage", "files": 12}, "event data_usage files=12"),
        ("custom", {"value": 1}, "event custom value=1"),
    ],
)
def test_a_moment_says_one_line(say, moment, payload, line):
    """The line has what the payload has."""
    assert [line] == say(moment, **payload)


@pytest.mark.spec("S2.21")
@pytest.mark.parametrize(
    ("payload", "line"),
    [
        ({"name": "rows", "passed": True}, f"{GOOD} check rows passed"),
        (
            {"name": "rows", "passed": False, "expected": 400, "got": 399, "note": "one is missing"},
            f"{BAD} check rows FAILED: expected 400, got 399, one is missing",
        ),
        (
            {"name": "empty", "passed": False, "expected": [], "got": 0},
            f"{BAD} check empty FAILED: expected [], got 0",
        ),
    ],
)
def test_checks_are_shown(say, payload, line):
    """A check says whether it passed, what was expected and what came."""
    assert [line] == say("on_check", **payload)


@pytest.mark.spec("S2.21")
@pytest.mark.parametrize("moment", ["alert", "on_alert", "custom"])
@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (
            {"title": "loss spike", "text": "4.2 after 0.3", "level": "warning", "step": 320},
            f"{WARNING} ALERT [warning] loss spike at step 320: 4.2 after 0.3",
        ),
        (
            {"type": "non_finite", "severity": "critical", "message": "loss is nan"},
            f"{BAD} ALERT [critical] non_finite: loss is nan",
        ),
        ({}, f"{WARNING} ALERT [warning] alert"),
    ],
)
def test_alerts_are_shown(say, moment, payload, line):
    """An alert says how bad it is, what and where; the script's own are custom events."""
    assert [line] == say(moment, **({"kind": "alert"} if moment == "custom" else {}), **payload)


def test_an_exception_says_where(say):
    """The last place of the traceback, without the rest, which Python prints itself."""
    traceback = 'Traceback:\n  File "train.py", line 9, in <module>\n    main()\n  File "m.py", line 3, in f\n    1/0\n'
    assert [f"{BAD} ZeroDivisionError: division by zero", '  in File "m.py", line 3, in f'] == say(
        "on_exception", type="ZeroDivisionError", message="division by zero", traceback=traceback
    )


def test_checkpoints_are_sparse_and_counted(make):
    """One line in ten seconds of the run's time; the next one says how many were left out."""
    narrator = Narrator()
    said = []
    for index in range(25):
        event = make.event(
            "on_checkpoint", t=1000.0 + index, path="best.pt", kind="best", step=index, size_bytes=2_000_000
        )
        said += narrator.lines(event, read_payload(event))
    assert said == [
        "best best.pt (2.0 MB) at step 0",
        "best best.pt (2.0 MB) at step 10 and 9 more since the last such line",
        "best best.pt (2.0 MB) at step 20 and 9 more since the last such line",
    ]


def test_phases_that_went_well_are_silent(say):
    """Their cost is in the last lines of the run."""
    assert say("on_phase_end", name="fast", duration_s=0.5) == []


@pytest.mark.spec("S3.60")
def test_an_event_that_is_not_as_expected_is_shown_as_it_is(say):
    """A known key of another type, or a missing one, ends nothing."""
    assert say("on_epoch_end", epoch="three") == ["event on_epoch_end epoch=three"]
    assert say("on_example", step=3) == ["event on_example step=3"]
    assert say("on_check") == ["event on_check"]


def test_names_cannot_command_the_terminal(say):
    """Whoever chose the name of a run, a check or a metric moves no cursor."""
    for line in (
        *say("on_start", run_id="r", name="a\x1b[2Jb"),
        *say("on_check", name="a\x1b[2Jb", passed=True, got="\x1b]0;title\x07"),
        *say("on_epoch_end", epoch=1, metrics={"a\x1b[2Jb": 1.0}),
        *say("a\x1b[2Jb"),
    ):
        assert "a\\x1b[2Jb" in line
        assert line.replace(GOOD, "").isprintable()


@pytest.mark.spec("S1.14", "S1.41")
def test_the_end_says_what_the_two_tiers_and_the_recorder_cost(say):
    """Status, summary, verdicts, the measured cost of each tier, and the recorder's own."""
    assert [
        "finished after 1 min 40 s",
        "summary: best_val_loss 0.2456  note good",
        f"{GOOD} val_loss < 0.3 by step 2000: 0.2456 at step 1400",
        f"{BAD} acc > 0.99: 0.93",
        f"{WARNING} f1 exists (could not be judged): f1 was never logged",
        (
            "two tiers: 190 fast logs of 500 ms (median), 10 full evaluations of 6.2 s (median), 8.4 % of the time, "
            "8.1x less than a full evaluation each time (measured)"
        ),
        "advice: full evaluations took 6 % of wall time; eval_steps=400 would make it 3 %",
        (
            "recorder: 20000 facts accepted, 20000 written, none lost, 1.2 MB, 1.3 us per call (p50), 3.2 us (p99), "
            "0.02 % of the time"
        ),
    ] == say(
        "on_train_end",
        status="finished",
        total_time_s=100.0,
        summary={"best_val_loss": 0.2456, "note": "good", "nested": {"a": 1}},
        success=[
            {"text": "val_loss < 0.3 by step 2000", "passed": True, "evidence": {"value": 0.2456, "step": 1400}},
            {"text": "acc > 0.99", "passed": False, "evidence": {"value": 0.93}},
            {"text": "f1 exists", "passed": None, "reason": "f1 was never logged"},
        ],
        cadence={
            "num_fast": 190,
            "num_full": 10,
            "fast_median_s": 0.5,
            "full_median_s": 6.21,
            "share_of_wall": 0.084,
            "saving_measured": 8.123,
            "advice": ["full evaluations took 6 % of wall time; eval_steps=400 would make it 3 %"],
        },
        ledger={
            "accepted": 20000,
            "written": 20000,
            "lost": 0,
            "bytes": 1_234_567,
            "call_p50_us": 1.31,
            "call_p99_us": 3.2,
            "share_of_wall": 0.0002,
        },
    )


@pytest.mark.spec("S3.60")
@pytest.mark.parametrize(
    ("payload", "lines"),
    [
        ({}, ["failed after 5 s"]),
        ({"reason": "SIGTERM"}, ["failed (SIGTERM) after 5 s"]),
        ({"ledger": {"lost": 3}}, ["failed after 5 s", f"recorder: 3 lost {BAD}"]),
        (
            {"cadence": {"num_fast": 4, "num_full": 0, "saving_measured": None, "saving_note": "no evaluation"}},
            ["failed after 5 s", "two tiers: 4 fast logs, saving not measured: no evaluation"],
        ),
        (
            {"cadence": {"num_fast": 0, "num_full": 0, "saving_note": "no evaluation"}},
            ["failed after 5 s"],
        ),
    ],
)
def test_the_end_leaves_out_what_was_not_measured(say, payload, lines):
    """No number stands for a missing one."""
    assert lines == say("on_train_end", status="failed", total_time_s=5.0, **payload)


def test_a_long_summary_is_cut_and_says_so(say):
    """Eight values are shown, the rest counted."""
    lines = say("on_train_end", status="finished", total_time_s=1.0, summary={f"m{i}": i for i in range(20)})
    assert lines[1].endswith("m7 7  and 12 more")


def test_ascii_lines_have_no_symbol(make):
    """Marks become words in brackets, other letters escapes."""
    narrator = Narrator(ascii_only=True)
    event = make.event("on_check", name="gr\u00f6\u00dfe", passed=True)
    assert narrator.lines(event, read_payload(event)) == ["[OK] check gr\\xf6\\xdfe passed"]
