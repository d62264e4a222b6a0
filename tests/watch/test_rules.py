"""Rules of the user's own: read, evaluated, resumed, and the same live and over a finished run."""

from __future__ import annotations

import math
import re
import tracemalloc

import pytest

from barograph.errors import MisuseError
from barograph.facts.rows import StreamHeader
from barograph.facts.rundir import RunDir
from barograph.watch.detectors.non_finite import NonFinite
from barograph.watch.monitor import Monitor
from barograph.watch.rule_syntax import EXAMPLES, Bound, Rule, parse_rule, parse_rules
from barograph.watch.rules import rule_detectors, silences
from barograph.watch.watcher import Watcher


class Stream:
    """Records of one split, made one by one."""

    def __init__(self, monitor, *names, split="train"):
        self.monitor = monitor
        self.header = StreamHeader(run_id="r", columns=["step", *names, "t"], split=split)

    def log(self, step, *values, t=None):
        """One record; what is told about it."""
        row = (float(step), *map(float, values), 1e9 + step if t is None else t)
        return self.monitor.take((self.header, [row]))


def monitor(*rules, roles=None):
    """A monitor with nothing but rules."""
    return Monitor(rule_detectors(rules, roles=roles), roles=roles)


def alerts_of(rule, values, *, name="loss", split="train", spacing=1):
    """The alerts of one rule over values of one metric, one per step."""
    stream = Stream(monitor(rule), name, split=split)
    found = []
    for place, value in enumerate(values):
        found += [told.alert for told in stream.log(place * spacing, value) if told.stage != "ended"]
    return found


@pytest.mark.parametrize(
    ("text", "kind", "metric", "given"),
    [
        ("loss > 10 for 50 steps", "compare", "loss", {"op": ">", "bound": 10.0, "lasts": 50, "unit": "steps"}),
        ("lr==0", "compare", "lr", {"op": "==", "bound": 0.0}),
        ("acc > -1e-3", "compare", "acc", {"op": ">", "bound": -0.001}),
        ("loss < 0.7 * median", "compare", "loss", {"op": "<", "bound": Bound(factor=0.7, reference="median")}),
        (
            "val_loss > 1.5*loss + 0.1 on val",
            "compare",
            "val_loss",
            {"op": ">", "bound": Bound(factor=1.5, metric="loss", offset=0.1), "split": "val"},
        ),
        (
            "fatal: loss >= best - 2 for 3 records",
            "compare",
            "loss",
            {"severity": "fatal", "op": ">=", "bound": Bound(reference="best", offset=-2.0), "lasts": 3},
        ),
        ("t_c > 85 for 10 min", "compare", "t_c", {"op": ">", "bound": 85.0, "lasts": 600, "unit": "seconds"}),
        ("val_loss not improved for 5 evaluations", "not improved", "val_loss", {"lasts": 5}),
        (
            "highest bleu4 not improved by 1.5% for 2h",
            "not improved",
            "bleu4",
            {"better": "high", "by": 0.015, "is_share": True, "lasts": 7200, "unit": "seconds"},
        ),
        ("val_loss not changed for 3 evals", "not changed", "val_loss", {"lasts": 3}),
        ("train/loss is not finite", "not finite", "train/loss", {}),
        ("no val_loss for 500 steps", "missing", "val_loss", {"lasts": 500, "unit": "steps"}),
        ("no facts for 10min", "silence", "", {"lasts": 600, "unit": "seconds"}),
        ("'my loss' > 3", "compare", "my loss", {"op": ">", "bound": 3.0}),
        ("best > 3", "compare", "best", {"op": ">", "bound": 3.0}),
        ("no < 3", "compare", "no", {"op": "<", "bound": 3.0}),
        ("'median' not changed for 2 s", "not changed", "median", {"lasts": 2, "unit": "seconds"}),
    ],
)
def test_what_a_rule_says_is_what_is_read(text, kind, metric, given):
    """Every form of the grammar, with its numbers, units and quotes; what is not said has its default."""
    bound = given.get("bound", Bound())
    given = {**given, "bound": Bound(factor=bound) if isinstance(bound, float) else bound}
    assert parse_rule(text) == Rule(text=text, kind=kind, metric=metric, **given)


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_of_the_messages_can_be_read(text):
    """What an error proposes is itself a rule."""
    assert parse_rule(text).text == text


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("loss", 4, "one of < <= > >= == !="),
        ("loss > ", 6, "a number, a metric, or one of median"),
        ("loss > 3x", 7, "a number, a metric"),
        ("loss > 10 for 5", 15, "steps, records, evaluations, s, min or h"),
        ("loss > 10 for 5 epochs", 16, "steps, records, evaluations, s, min or h"),
        ("loss > 10 for 0 steps", 14, "above 0"),
        ("loss > 10 for -3 steps", 14, "above 0"),
        ("loss > 3 and x < 4", 9, "'for TIME', 'on SPLIT' or the end"),
        ("urgent: loss > 3", 0, "one of info, warning, critical, fatal"),
        ("no facts for 5 steps", 13, "s, min or h"),
        ("no val_loss for 5 records", 16, "steps, s, min or h"),
        ("val_loss not improved", 21, "'for'"),
        ("val_loss not improved by -1 for 3 s", 25, "not negative"),
        ("lowest loss > 3", 12, "'not improved'"),
        ("loss is finite", 8, "'not'"),
        ("'loss > 3", 0, "a closing quote"),
        ("loss ~ 3", 5, "one of < <= > >= == !="),
        ("", 0, "a metric's name"),
        ("3 > loss", 0, "a metric's name"),
    ],
)
def test_a_rule_that_cannot_be_read_is_shown_with_the_place(text, place, expected):
    """The caret stands under what is wrong, and the message says what could be there."""
    with pytest.raises(MisuseError) as raised:
        parse_rule(text)
    first, shown, caret, examples = str(raised.value).split("\n")
    assert expected in first
    assert shown == f"    {text}"
    assert caret.index("^") - 4 == place
    assert EXAMPLES[0] in examples


def test_rules_are_a_list_of_different_texts():
    """A single string, something else and the same rule twice are each named."""
    with pytest.raises(MisuseError, match=r"rules are a list of texts, not 'loss > 3'"):
        parse_rules("loss > 3")
    with pytest.raises(MisuseError, match=r"a rule is a text, not int 3"):
        parse_rules([3])
    with pytest.raises(MisuseError, match=r"the rule 'loss > 3' is there twice"):
        parse_rules(["loss > 3", "loss  >  3"])


@pytest.mark.spec("S2.24")
def test_a_hold_in_steps_fires_once_with_its_beginning():
    """Above 10 from step 30 on: said at step 80, since step 30, not before, and not again while it lasts."""
    (alert,) = alerts_of("loss > 10 for 50 steps", [1.0] * 30 + [11.0] * 200)
    assert (alert.type, alert.severity, alert.step, alert.since_step) == (
        "rule: loss > 10 for 50 steps",
        "warning",
        80,
        30,
    )
    assert alert.text == "loss is 11 at step 80 (rule: loss > 10 for 50 steps)"
    assert (alert.evidence[0].value, alert.evidence[0].threshold, alert.evidence[0].first_step) == (11.0, 10.0, 30)


def test_a_hold_that_is_interrupted_begins_anew():
    """49 steps, one good value, 49 steps: nothing."""
    assert alerts_of("loss > 10 for 50 steps", [11.0] * 50 + [1.0] + [11.0] * 50) == []


def test_records_are_counted_not_steps():
    """With a record every 10 steps three records are three records."""
    (alert,) = alerts_of("loss > 10 for 3 records", [1.0, 11.0, 11.0, 11.0, 11.0], spacing=10)
    assert (alert.step, alert.since_step) == (30, 10)


def test_time_is_that_of_the_records():
    """Ten minutes of records a minute apart."""
    stream = Stream(monitor("loss > 10 for 10 min"), "loss")
    told = [it for step in range(30) for it in stream.log(step, 11.0, t=1e9 + 60 * step)]
    assert [it.step for it in told] == [10]


@pytest.mark.spec("S1.16")
def test_no_improvement_over_evaluations():
    """The best at the third evaluation, then five that are not better: said at the eighth, with the best."""
    values = [0.9, 0.8, 0.5, 0.6, 0.7, 0.55, 0.5, 0.9, 1.0]
    (alert,) = alerts_of("val_loss not improved for 5 evaluations", values, name="loss", split="val", spacing=200)
    assert (alert.step, alert.since_step) == (1400, 400)
    assert "the best was 0.5 at step 400" in alert.text


def test_the_direction_of_improvement_comes_from_the_role_or_the_rule():
    """Accuracy rises; a metric that nobody knows has to be told about, and can be declared."""
    rising = [0.1 * place for place in range(9)]
    assert alerts_of("accuracy not improved for 3 records", rising, name="accuracy") == []
    assert len(alerts_of("loss not improved for 3 records", rising)) == 1
    assert alerts_of("highest zeta not improved for 3 records", rising, name="zeta") == []
    with pytest.raises(MisuseError, match=r"does not say whether low or high values of 'zeta' are better"):
        rule_detectors(["zeta not improved for 3 records"])
    with pytest.raises(MisuseError, match=r"of 'grad_norm' are better"):
        rule_detectors(["grad_norm > 2 * best"])
    assert rule_detectors(["zeta not improved for 3 records"], roles={"zeta": "quality"})[0].better == "high"


def test_an_improvement_that_is_too_small_is_none():
    """1 % less each time is not 5 % less; the best that counts is the last one that was better by so much."""
    values = [0.99**place for place in range(12)]
    alerts = alerts_of("loss not improved by 5% for 4 records", values)
    assert [(alert.step, alert.since_step) for alert in alerts] == [(4, 0)]
    assert alerts_of("loss not improved by 5% for 6 records", values) == []


def test_what_is_usual_does_not_become_what_has_gone_wrong():
    """A throughput that halves for good stays below 0.7 of what was usual, and is said once; so is its return, not."""
    values = [100.0 + place % 3 for place in range(80)] + [50.0] * 400
    (alert,) = alerts_of("throughput < 0.7 * median for 5 records", values, name="throughput")
    assert (alert.step, alert.since_step) == (84, 80)
    assert "against 70.7" in alert.text


def test_nothing_is_usual_before_there_are_values():
    """Seven values are none to compare with."""
    assert alerts_of("grad_norm > 5 * median", [1.0] * 7 + [100.0], name="grad_norm") == []
    assert len(alerts_of("grad_norm > 5 * median", [1.0] * 8 + [100.0], name="grad_norm")) == 1


@pytest.mark.parametrize(
    ("rule", "fires"),
    [
        ("loss > highest", True),
        ("loss > mean + 3", True),
        ("loss > lowest + 3.5", True),
        ("loss > start + 2", True),
        ("loss > start + 9", False),
        ("loss > best + 3", True),
        ("loss > best + 5", False),
    ],
)
def test_what_a_value_can_be_compared_with(rule, fires):
    """Values 8 to 1, then 1.5 for so long that nothing else is recent, then 5.5 (or 7.5): best 1, start 5."""
    alerts = alerts_of(rule, [8, 7, 6, 5, 4, 3, 2, 1, *([1.5] * 64), 5.5 if "start" not in rule else 7.5])
    assert fires == bool(alerts)


def test_two_metrics_compared_with_each_other():
    """Validation loss above 1.2 of the training loss, each at its own rate."""
    watch = monitor("val_loss > 1.2 * loss")
    train, val = Stream(watch, "loss"), Stream(watch, "loss", split="val")
    told = []
    for step in range(300):
        told += train.log(step, 1.0 / (1 + step / 100))
        if step % 100 == 50:
            told += val.log(step, 0.7)
    assert [(it.step, it.alert.metrics) for it in told] == [(150, ["loss"])]
    assert "against 0.48" in told[0].alert.text


def test_nan_is_no_comparison_and_infinity_is_large():
    """NaN neither exceeds nor differs; an infinity exceeds; ``is not finite`` is about both."""
    assert alerts_of("loss > 10", [1.0, math.nan, 1.0]) == []
    assert alerts_of("loss != 1", [1.0, math.nan, 1.0]) == []
    assert [alert.step for alert in alerts_of("loss > 10", [1.0, math.inf, 1.0])] == [1]
    assert [
        alert.step for alert in alerts_of("loss is not finite for 2 records", [math.nan, 1, math.nan, math.inf])
    ] == [3]


def test_a_metric_that_stays_the_same():
    """The third value that is the same as the one before it; a learning rate of zero."""
    assert [it.since_step for it in alerts_of("loss not changed for 3 records", [3, 2, 1, 1, 1, 1, 1])] == [2]
    assert [it.step for it in alerts_of("lr == 0", [0.1, 0.1, 0.0, 0.0], name="lr")] == [2]


def test_a_metric_that_is_missing():
    """No validation loss for 500 steps: said once, since the last one, and again only after one has come."""
    watch = monitor("no val_loss for 500 steps")
    train, val = Stream(watch, "loss"), Stream(watch, "loss", split="val")
    told = []
    for step in range(0, 2000, 10):
        told += train.log(step, 1.0)
        if step == 300:
            told += val.log(step, 1.0)
    (alert,) = [it.alert for it in told if it.stage == "opened"]
    assert (alert.step, alert.since_step) == (800, 300)
    assert alert.text.startswith("no val_loss at step 800: the last one was at step 300")


@pytest.mark.parametrize(
    ("rule", "name", "split", "found"),
    [
        ("loss > 1", "loss", "train", True),
        ("loss > 1", "loss", "val", False),
        ("val/loss > 1", "loss", "val", True),
        ("loss > 1 on val", "loss", "val", True),
        ("loss > 1 on val", "loss", "test", False),
        ("val_loss > 1", "loss", "val", True),
        ("loss > 1", "train_loss", "train", True),
        ("train/loss > 1", "train/loss", "train", True),
        ("zeta > 1", "zeta", "other", True),
        ("other/zeta > 1", "zeta", "other", True),
        ("'a b' > 1", "a b", "train", True),
    ],
)
def test_how_a_metric_may_be_named(rule, name, split, found):
    """As it was logged, with its split, or by its role; the loss on other data is not the loss."""
    assert found == bool(alerts_of(rule, [2.0], name=name, split=split))


def test_two_rules_are_told_apart():
    """Both are told, also when they hold at once, each under its own text."""
    watch = monitor("loss > 10", "grad_norm > 10")
    told = Stream(watch, "loss", "grad_norm").log(0, 11.0, 11.0)
    assert {it.alert.type for it in told} == {"rule: loss > 10", "rule: grad_norm > 10"}


def test_samples_of_the_machine_can_be_watched():
    """A card that stays hot for ten minutes, by its name or with its split; samples nobody asks for are not kept."""
    for name in ("gpu0_temp_c", "host/gpu0_temp_c"):
        watch = monitor(f"{name} > 85 for 10 min")
        host = Stream(watch, "gpu0_temp_c", "gpu0_power_w", split="host")
        told = [it for minute in range(30) for it in host.log(60 * minute, 90.0, 300.0, t=1e9 + 60 * minute)]
        assert [it.t for it in told] == [1e9 + 600]
        assert list(watch.context.all_signals) == ["host/gpu0_temp_c"]


def test_nothing_hides_a_rule():
    """A rule that holds in the middle of something worse is an incident of its own."""
    watch = Monitor([NonFinite(), *rule_detectors(["grad_norm > 10"])])
    stream = Stream(watch, "loss", "grad_norm")
    told = [it for step in range(5) for it in stream.log(step, math.nan, 20.0 if step == 3 else 1.0)]
    assert [(it.stage, it.alert.type, it.step) for it in told] == [
        ("opened", "non_finite", 0.0),
        ("opened", "rule: grad_norm > 10", 3.0),
    ]


@pytest.mark.parametrize("cut", [0, 1, 45, 61, 62, 119])
def test_rules_go_on_from_a_saved_state(cut):
    """Saved and read back at any record, the alerts are those of a monitor that never stopped."""
    rules = (
        "loss > 10 for 20 steps",
        "loss > 2 * median for 3 records",
        "loss not improved for 30 records",
        "no val_loss for 80 steps",
    )
    values = [1.0 + 0.01 * (place % 7) for place in range(60)] + [12.0] * 60

    def told_of(cut_at):
        watch, found = monitor(*rules), []
        stream = Stream(watch, "loss")
        for place, value in enumerate(values):
            if place == cut_at:
                state = watch.state()
                watch = monitor(*rules)
                watch.restore(state)
                stream = Stream(watch, "loss")
            found += [(it.stage, it.alert) for it in stream.log(place, value)]
        return found

    expected = told_of(None)
    assert len(expected) >= 4
    assert expected == told_of(cut)


def test_memory_of_a_rule_is_bounded():
    """After 20 000 more values a rule holds what it held before."""
    watch = monitor("grad_norm > 5 * median for 3 records")
    stream = Stream(watch, "grad_norm")

    def feed(count):
        for step in range(count):
            stream.log(step, 1.0 + step % 5)

    feed(2_000)
    tracemalloc.start()
    try:
        feed(20_000)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 50_000


RECORDING = """
import sys, barograph

run = barograph.init(name="r", dir=sys.argv[1], terminal="off", text_log=None, console=False, host_s=None)
for step in range(400):
    run.log({"loss": 1.0 if step < 200 else 20.0, "lr": 0.1 if step < 350 else 0.0}, step=step)
    if step % 50 == 0:
        run.log({"loss": 0.5 + step / 1000}, step=step, split="val")
    if step % 40 == 0:
        print(step, flush=True)
        sys.stdin.readline()
run.finish()
"""
RULES = ("loss > 10 for 50 steps", "val_loss not improved for 5 evaluations", "critical: lr == 0")


@pytest.mark.spec("S2.24")
def test_rules_say_the_same_live_and_over_the_finished_run(start, tmp_path):
    """A real run, watched while it records: the alerts are those that a replay finds, word for word."""
    child = start(RECORDING, tmp_path / "run", stdin=-1)
    directory = RunDir(tmp_path / "run")
    live, told = None, []
    while line := child.stdout.readline():
        assert re.fullmatch(r"\d+\n", line)
        live = live or Watcher(directory, detectors=rule_detectors(RULES))
        told += live.poll()
        child.stdin.write("\n")
        child.stdin.flush()
    assert child.wait(timeout=30) == 0
    told += live.finish()
    replayed = Watcher(directory, detectors=rule_detectors(RULES)).finish()
    assert [(it.stage, it.alert.type, it.step) for it in replayed if it.stage != "ended"] == [
        ("opened", "rule: loss > 10 for 50 steps", 250.0),
        ("opened", "rule: val_loss not improved for 5 evaluations", 250.0),
        ("opened", "rule: critical: lr == 0", 350.0),
    ]
    assert told == replayed


def test_rules_about_silence_are_apart():
    """They need a clock, so that they are no detectors."""
    texts = ["loss > 3", "no facts for 10 min"]
    assert [it.name for it in rule_detectors(texts)] == ["rule: loss > 3"]
    assert [it.lasts for it in silences(texts)] == [600.0]
