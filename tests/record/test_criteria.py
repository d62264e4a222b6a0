"""Success criteria: how they are read, and how recorded facts decide them."""

from __future__ import annotations

import math
import random
import statistics
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.facts.codec import decode, encode
from barograph.facts.events import EventLog
from barograph.facts.kinds import Event
from barograph.facts.metrics import MetricsLog
from barograph.facts.rows import StreamHeader
from barograph.facts.rundir import RunDir
from barograph.read.follow import Follower, Record, Rows
from barograph.record.criteria import CriteriaJudge


def _rows(metric, values, *, split="train", attempt=0, rank=0, first=1, epoch=None):
    """Rows of one metric at steps ``first``, ``first + 1``, ..., a second apart."""
    columns = ["step", metric, *(["epoch"] if epoch else []), "t"]
    header = StreamHeader(run_id="r", columns=columns, split=split, attempt=attempt, rank=rank)
    return Rows(
        header=header,
        rows=[
            (float(first + at), value, *([epoch(first + at)] if epoch else []), 1e9 + 1e6 * attempt + at)
            for at, value in enumerate(values)
        ],
    )


def _event(moment, seq=0, t=1.0, **payload):
    return Event(moment=moment, seq=seq, t=t, payload=payload)


def _judge(text, *facts):
    judge = CriteriaJudge([text])
    judge.feed(facts)
    judge.close()
    (verdict,) = judge.verdicts()
    assert text == verdict["text"]
    return verdict


def _passed(text, *facts):
    return _judge(text, *facts)["passed"]


LOSSES = [3.0, 1.0, 0.2, math.nan, 0.6]


@pytest.mark.spec("S0.5", "S0.6")
@pytest.mark.parametrize(
    ("text", "passed", "value", "step"),
    [
        ("loss < 0.7", True, 0.6, 5),
        ("loss < 0.5", False, 0.6, 5),
        ("final loss < 0.5 by step 3", True, 0.2, 3),
        ("loss < 0.5 by step 3", True, 0.2, 3),
        ("loss < 0.5 by step 2", False, 1.0, 2),
        ("loss < 2 by step 5", True, 1.0, 2),
        ("best loss <= 0.2", True, 0.2, 3),
        ("min loss > 0.2", False, 0.2, 3),
        ("max loss == 3", True, 3.0, 1),
        ("any loss > 2.5", True, 3.0, 1),
        ("any loss > 9", False, 3.0, 1),
        ("all loss < 9", False, math.nan, 4),
        ("all loss < 9 by step 3", True, 3.0, 1),
        ("all loss < 2", False, 3.0, 1),
        ("final loss < 9 by step 4", False, math.nan, 4),
        ("final loss != 9 by step 4", False, math.nan, 4),
        ("loss is finite", False, math.nan, 4),
        ("loss is finite by step 3", True, 3.0, 1),
        ("final loss is finite", True, 0.6, 5),
        ("loss exists", True, 3.0, 1),
    ],
)
def test_verdicts_on_one_curve(text, passed, value, step):
    """Each form picks the value that its words say, NaN passes nothing, and the evidence is value and step."""
    verdict = _judge(text, _rows("loss", LOSSES))
    evidence = verdict["evidence"]
    assert (passed, None, step) == (verdict["passed"], verdict["reason"], evidence["step"])
    assert pytest.approx(value, nan_ok=True) == evidence["value"]
    assert evidence["num_nan"] == (1 if evidence["n"] > 3 else 0)


@pytest.mark.spec("S0.5", "S0.6")
def test_metrics_that_determine_success():
    """Loss, accuracy, F1 and AUC on their splits decide the criteria that a run states at its start."""
    judge = CriteriaJudge(
        ["val_loss < 0.3 by step 2000", "accuracy > 0.9 on test", "f1 >= 0.8 on test", "auc > 0.99 on test"]
    )
    judge.feed(
        [
            _rows("val_loss", [0.5, 0.29], split="val", first=1000),
            *(_rows(name, [value], split="test") for name, value in (("accuracy", 0.95), ("f1", 0.8), ("auc", 0.9))),
        ]
    )
    verdicts = judge.verdicts()
    assert [verdict["passed"] for verdict in verdicts] == [True, True, True, False]
    assert verdicts[0]["evidence"] == {
        "value": 0.29,
        "n": 2,
        "num_nan": 0,
        "source": "metrics",
        "split": "val",
        "step": 1001.0,
        "attempt": 0,
    }
    assert verdicts == [decode(encode(verdict)) for verdict in verdicts]


@pytest.mark.spec("S4.7", "S4.13", "S4.14", "S4.15", "S4.16", "S4.17", "S4.18")
def test_the_success_criteria_of_the_entropy_probe():
    """The six criteria that the probe documents are stated as text and judged from checks and results."""
    stated = [
        'check "LoRA parameter count" passed',
        "check rb_requires_grad passed",
        "check 'Phase 0 batch shapes' passed",
        'check "X/Y accumulation" passed',
        "final deltaH1 is finite",
        'check "Stage 1 Mixed probe analysis completed" passed',
    ]
    checks = [
        _event("on_check", 0, name="LoRA parameter count", expected=392, got=392, passed=True),
        _event("on_check", 1, name="rb_requires_grad", expected=True, got=True, passed=True, note="mode rb_residual"),
        _event("on_check", 2, name="Phase 0 batch shapes", expected=[128, 16], got=[128, 16], passed=True),
        _event("on_check", 3, name="X/Y accumulation", passed=True),
        _event("custom", 4, kind="summary", key="deltaH1", value=2.659),
        _event("on_check", 5, name="Stage 1 Mixed probe analysis completed", passed=True),
    ]
    judge = CriteriaJudge(stated)
    judge.feed(checks)
    assert [verdict["passed"] for verdict in judge.verdicts()] == [True] * 6
    broken = CriteriaJudge(stated)
    broken.feed(
        [
            _event("on_check", 0, name="LoRA parameter count", expected=392, got=384, passed=False),
            _event("on_check", 1, name="rb_requires_grad", expected=True, got=False, passed=False),
            _event("custom", 4, kind="summary", key="deltaH1", value=math.nan),
        ]
    )
    verdicts = broken.verdicts()
    assert [verdict["passed"] for verdict in verdicts] == [False, False, None, None, False, None]
    assert (verdicts[0]["evidence"]["expected"], verdicts[0]["evidence"]["value"]) == (392, 384)
    assert verdicts[2]["reason"] == "the check 'Phase 0 batch shapes' never ran"


def test_a_check_must_pass_every_time():
    """One failure among several is enough, and it is the evidence."""
    checks = [_event("on_check", seq, float(seq), name="a", got=seq, passed=seq != 1) for seq in range(3)]
    verdict = _judge("check a passed", *checks)
    assert verdict["passed"] is False
    assert verdict["evidence"] == {"value": 1, "expected": None, "n": 3, "num_failed": 1, "attempt": 0}


def test_a_later_attempt_that_runs_the_check_again_counts():
    """A check that failed, and passed in the next attempt, has passed, in whatever order the facts come."""
    facts = [
        _event("on_check", 0, name="a", passed=False),
        _event("on_check", 1, name="a", passed=True, attempt=1),
        _event("on_check", 2, name="b", passed=False, attempt=2),
    ]
    assert _passed("check a passed", *facts) is True
    assert _passed("check a passed", *reversed(facts)) is True


def test_the_latest_attempt_wins_at_each_step():
    """The final value is the one at the highest step; where two attempts recorded it, the later one's."""
    first = _rows("loss", [5.0, 4.0, 3.0])
    again = _rows("loss", [1.0, 2.0], attempt=1, first=2)
    shorter = _rows("loss", [9.0], attempt=2, first=2)
    assert _judge("loss < 2.5", first, again)["evidence"]["value"] == 2.0
    assert _judge("loss < 2.5", again, first)["evidence"]["value"] == 2.0
    assert _judge("loss < 2.5", first, again, shorter)["evidence"]["value"] == 2.0
    assert _judge("final loss < 2.5 by step 2", first, again, shorter)["evidence"]["value"] == 9.0


def test_steps_that_repeat_or_go_back():
    """Within one attempt the newest record at the highest step is the final one."""
    assert _judge("loss < 9", _rows("loss", [1.0], first=7), _rows("loss", [2.0], first=3))["evidence"]["value"] == 1.0
    header = StreamHeader(run_id="r", columns=["step", "loss", "t"])
    rows = Rows(header=header, rows=[(5.0, 1.0, 10.0), (5.0, 2.0, 11.0)])
    assert _judge("loss < 9", rows)["evidence"]["value"] == 2.0


def test_rank_zero_is_final_where_ranks_agree_on_the_step():
    """Of several ranks at one step the lowest one's value is the final one."""
    facts = [_rows("loss", [float(rank)], rank=rank) for rank in (2, 0, 1)]
    assert _judge("loss < 9", *facts)["evidence"]["value"] == 0.0


def test_several_splits_need_a_name():
    """A comparison on a metric of two splits is not judged until it says which; existing and finite are."""
    facts = [_rows("loss", [1.0], split="train"), _rows("loss", [2.0], split="val")]
    verdict = _judge("loss < 1.5", *facts)
    assert verdict["passed"] is None
    assert verdict["reason"] == "recorded on the splits train, val; end it with 'on train'"
    assert [_passed(f"loss < 1.5 on {split}", *facts) for split in ("train", "val")] == [True, False]
    assert _passed("loss exists", *facts) is True
    assert _passed("loss is finite", *facts) is True
    assert _passed("loss is finite", *facts, _rows("loss", [math.inf], split="val")) is False


@pytest.mark.parametrize(
    ("text", "passed", "reason"),
    [
        ("val_los < 1", None, "'val_los' was never recorded; recorded were loss"),
        ("loss < 1 on test", None, "never recorded on split 'test'; it was on train"),
        ("val_los exists", False, None),
        ("loss < 9 by step 10", False, "first recorded after step 10"),
        ("loss exists by step 10", False, "first recorded after step 10"),
        ("mean loss < 9 by step 10", None, "no value up to step 10"),
        ("loss < 9 by epoch 3", None, "recorded without epoch, so 'by epoch' cannot be judged"),
        ("check shapes passed", None, "the check 'shapes' never ran"),
    ],
)
def test_what_cannot_be_judged_says_why(text, passed, reason):
    """A criterion without its facts is neither passed nor failed, unless their absence is the answer."""
    verdict = _judge(text, _rows("loss", [1.0, 2.0], first=20))
    assert (passed, reason, 0) == (verdict["passed"], verdict["reason"], verdict["evidence"]["n"])


def test_by_epoch_reads_the_epoch_of_each_row():
    """With an epoch in the rows the bound is applied to it, inclusively."""
    facts = _rows("loss", [4.0, 3.0, 2.0, 1.0], epoch=lambda step: (step - 1) // 2)
    evidence = _judge("loss < 3.5 by epoch 0", facts)["evidence"]
    assert (evidence["value"], evidence["step"], evidence["epoch"], evidence["n"]) == (3.0, 2.0, 0, 2)
    assert _passed("loss < 1.5 by epoch 0", facts) is False
    assert _passed("loss < 1.5 by epoch 1", facts) is True


def test_records_and_events_count_like_rows():
    """Irregular records, examples, validations, epoch ends and the summary are facts too."""
    record = Record(step=3, t=1.0, metrics={"big": 2**60 + 1, "epoch": 2, "note": "text"})
    assert _passed(f"big == {2**60 + 1} by epoch 2", record) is True
    assert _passed("note exists", record) is False
    example = _event("on_example", step=200, tier="full", val_loss=0.25, gap=0.03)
    assert _passed("val_loss < 0.3 by step 200", example) is True
    assert _passed("gap < 0.01", example) is False
    epochs = [_event("on_epoch_end", n, epoch=n, val_loss=1.0 / (n + 1), metrics={"f1": 0.5}) for n in range(4)]
    assert _judge("val_loss < 0.3 by epoch 3", *epochs)["evidence"]["epoch"] == 3
    assert _passed("val_loss < 0.3 by epoch 3", _rows("val_loss", [9.0]), *epochs) is True  # the rows have no epoch
    assert _passed("f1 == 0.5", *epochs) is True
    validation = _event("on_validation_end", step=10, metrics={"auc": 0.9})
    assert _passed("auc > 0.8 on val", validation) is True
    end = _event("on_train_end", status="finished", summary={"score": 7})
    assert _judge("score > 5", end)["evidence"] == {"value": 7, "n": 1, "num_nan": 0, "source": "summary"}
    assert _passed("score exists by step 3", end) is None


def test_logged_metrics_come_before_events():
    """The same metric in rows, events and summary is judged from the rows alone: nothing counts twice."""
    facts = [
        _event("on_epoch_end", epoch=1, val_loss=9.0),
        _event("custom", 1, kind="summary", key="val_loss", value=8.0),
        _rows("val_loss", [1.0, 3.0]),
    ]
    assert _judge("mean val_loss < 5", *facts)["evidence"] == {
        "value": 2.0,
        "n": 2,
        "num_nan": 0,
        "source": "metrics",
        "split": "train",
    }


def test_the_newest_summary_entry_counts():
    """A summary entry that is set again, or removed, counts as it stands at the end."""
    entries = [
        _event("custom", 0, 1.0, kind="summary", key="score", value=1),
        _event("custom", 1, 2.0, kind="summary", key="score", value=2),
    ]
    assert _passed("score == 2", *entries) is True
    assert _passed("score == 2", *reversed(entries)) is True
    removed = _event("custom", 2, 3.0, kind="summary", key="score", removed=True)
    assert _passed("score == 2", *entries, removed) is None


def test_events_of_unknown_shape_are_passed_over():
    """Metrics that are no mapping, values that are no numbers, and unknown moments judge nothing."""
    odd = [_event("on_epoch_end", epoch=1, metrics=[1]), _event("on_teleport", loss=1), _event("on_example", gap="x")]
    assert _passed("loss exists", *odd) is False
    assert _passed("gap exists", *odd) is False


finite = st.floats(-1e6, 1e6, width=32)
points = st.lists(st.one_of(finite, st.just(math.nan), st.just(math.inf)), min_size=1, max_size=30)


@given(values=points, bound=finite, op=st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), by=st.integers(1, 30))
def test_verdicts_equal_a_dull_computation(values, bound, op, by):
    """Every aggregate agrees with a list comprehension over the same values."""

    def holds(value):
        return not math.isnan(value) and eval(f"a {op} b", {"a": value, "b": bound})

    seen = values[:by]
    known = [value for value in seen if not math.isnan(value)]
    expected = {
        "final": holds(seen[-1]),
        "any": any(map(holds, seen)),
        "all": all(map(holds, seen)),
        "min": bool(known) and holds(min(known)),
        "max": bool(known) and holds(max(known)),
        "mean": holds(math.nan if len(known) < len(seen) else statistics.fmean(seen)),
    }
    facts = _rows("x", values)
    assert expected == {word: _passed(f"{word} x {op} {bound!r} by step {by}", facts) for word in expected}


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20), st.randoms())
def test_a_mean_is_exact_in_any_order(values, rng):
    """The mean is the correctly rounded one, whatever the order, the signs and the magnitudes."""
    shuffled = list(values)
    rng.shuffle(shuffled)
    for order in (values, shuffled):
        assert float(statistics.mean(values)) == _judge("mean x < 0", _rows("x", order))["evidence"]["value"]


def _write_run(path, rng):
    """A real run of two attempts, with streams, overflow, events and a summary."""
    directory = RunDir(path)
    directory.ensure_facts()
    events = EventLog(directory.events())
    for attempt in range(2):
        metrics = MetricsLog(directory, run_id="r", attempt=attempt, max_streams=2)
        for step in range(attempt * 40, 40 * attempt + 60):
            t = 1e9 + attempt * 1e6 + step
            metrics.append({"loss": rng.random(), "epoch": step // 10}, step=step, split="train", t=t)
            yield
            if step % 10 == 0:
                metrics.append({"loss": math.nan if step == 50 else rng.random()}, step=step, split="val", t=t)
                metrics.append({"acc": rng.random(), "big": 2**60}, step=step, split="val", t=t)
                events.append("on_check", {"name": "shapes", "passed": attempt == 1, "attempt": attempt}, t=t)
                events.append("on_epoch_end", {"epoch": step // 10, "val_loss": rng.random(), "attempt": attempt}, t=t)
        metrics.close()
    events.append("custom", {"kind": "summary", "key": "score", "value": 3})
    events.append("on_train_end", {"status": "finished", "total_time_s": 1.0, "summary": {"score": 3}})
    events.close()


CRITERIA = [
    "loss < 0.2 by step 30 on train",
    "final loss < 0.5 on val",
    "mean loss < 0.5 on train",
    "loss is finite on val",
    "all acc >= 0.05",
    "best acc > 0.9 by step 80",
    "val_loss < 0.1 by epoch 5",
    "big == 1152921504606846976",
    "score >= 3",
    "check shapes passed",
    "missing < 1",
]


@pytest.mark.parametrize("seed", range(5))
def test_live_replay_and_any_order_give_the_same_verdicts(tmp_path, seed):
    """Following a run while it is written, replaying it, and feeding its facts shuffled are one judgement."""
    rng = random.Random(seed)
    live, follower = CriteriaJudge(CRITERIA), Follower(RunDir(tmp_path))
    for _ in _write_run(tmp_path, rng):
        if rng.random() < 0.3:
            live.feed(follower.poll())
    live.feed(follower.drain())
    facts = Follower(RunDir(tmp_path)).drain()
    replay, shuffled = CriteriaJudge(CRITERIA), CriteriaJudge(CRITERIA)
    replay.feed(facts)
    rng.shuffle(facts)
    shuffled.feed(facts)
    expected = [encode(verdict) for verdict in replay.verdicts()]
    assert expected == [encode(verdict) for verdict in live.verdicts()]
    assert expected == [encode(verdict) for verdict in shuffled.verdicts()]
    passed = {verdict["text"]: verdict["passed"] for verdict in replay.verdicts()}
    assert passed["loss is finite on val"] is False
    assert passed["check shapes passed"] is True
    assert passed["score >= 3"] is True
    assert passed["missing < 1"] is None


def test_memory_does_not_grow_with_the_run():
    """Ten thousand further values need no memory."""
    judge = CriteriaJudge([f"{word} x < 0.5" for word in ("final", "min", "max", "mean", "any", "all")])
    judge.feed([_rows("x", [random.Random(0).random() for _ in range(1000)])])
    batch = [_rows("x", [0.25, 0.75] * 500)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10):
            judge.feed(batch)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 5_000


@pytest.mark.parametrize("odd", ["2", None, [1], {"a": 1}])
def test_odd_values_in_events_are_judged_as_if_left_out(odd):
    """A script writes what it likes into its events; the verdict is the one without it."""
    place = {"attempt": odd, "rank": odd, "split": None}
    facts = [_event("on_epoch_end", epoch=3, val_loss=0.5, **place), _event("on_check", name="c", passed=True, **place)]
    plain = [_event("on_epoch_end", epoch=3, val_loss=0.5), _event("on_check", name="c", passed=True)]
    for text in ("final val_loss < 0.3", "check c passed", "val_loss < 0.6 by epoch 3"):
        assert _judge(text, *facts) == _judge(text, *plain)
    assert _passed("val_loss < 0.6 by epoch 3", _event("on_epoch_end", epoch=odd, val_loss=0.5, split=odd)) is None
