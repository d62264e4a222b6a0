"""``run.example`` and ``run.tier``: which facts each tier has, and which numbers stand on either side of the gap."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from tests.recorded import Recorded

from barograph.errors import InvalidMetricError, MisuseError
from barograph.record.examples import TRAIN_WINDOW

ASKED = {"prompt": "What is the capital of France?", "golden": "The capital of France is Paris"}
ANSWER = "The capital of France is Paris, which is also the largest city"


@pytest.mark.spec("S1.3", "S1.4", "S1.5", "S1.6")
def test_fast_log(new_run):
    """A fast log has the prompt, the golden answer, the loss and the token counts, and nothing that costs more."""
    run = new_run()
    tokens = {"prompt_tokens": 12, "golden_tokens": np.int64(15)}
    run.example(step=10, **ASKED, loss=torch.tensor(0.3245), **tokens, example_id="e7")
    shown = Recorded(run.dir).only("on_example")
    assert shown == {
        "step": 10,
        "tier": "fast",
        **ASKED,
        "example_id": "e7",
        **tokens,
        "example_loss": torch.tensor(0.3245).item(),
    }


@pytest.mark.spec("S1.8", "S1.9", "S1.10", "S1.11", "S1.13")
def test_full_evaluation(new_run):
    """A full evaluation has the output, every notion of match and the one that decided, losses and token counts."""
    run = new_run()
    tokens = {"prompt_tokens": 12, "golden_tokens": 15, "output_tokens": 18}
    run.example(step=200, **ASKED, output=ANSWER, loss=0.2134, val_loss=0.2456, **tokens)
    shown = Recorded(run.dir).only("on_example")
    assert shown == {
        "step": 200,
        "tier": "full",
        **ASKED,
        "output": ANSWER,
        **tokens,
        "example_loss": 0.2134,
        "val_loss": 0.2456,
        "matches": {"exact": False, "normalised": False, "contains": True},
        "match_kind": "contains",
        "matched": True,
    }


@pytest.mark.spec("S1.10")
@pytest.mark.parametrize(("match", "matched"), [("exact", False), ("normalised", False), ("contains", True)])
def test_notion_of_match_is_recorded(new_run, match, matched):
    """The caller chooses which notion decides; all three are there to judge by another one later."""
    run = new_run()
    run.example(step=200, **ASKED, output=ANSWER, match=match)
    shown = Recorded(run.dir).only("on_example")
    assert (shown["match_kind"], shown["matched"]) == (match, matched)
    assert set(shown["matches"]) == {"exact", "normalised", "contains"}


@pytest.mark.spec("S1.12")
def test_gap_is_against_the_windowed_training_loss(new_run):
    """The gap's training side is the mean of the newest training losses, named apart from the loss on the example."""
    run = new_run()
    losses = [1.0 / (step + 1) for step in range(200)]
    for step, loss in enumerate(losses):
        run.log({"loss": loss}, step=step)
    run.log({"loss": 9.0}, step=200, split="val")
    run.example(step=200, **ASKED, output=ANSWER, loss=5.0, val_loss=0.25)
    shown = Recorded(run.dir).only("on_example")
    expected = math.fsum(losses[-TRAIN_WINDOW:]) / TRAIN_WINDOW
    assert shown["example_loss"] == 5.0
    assert shown["train_loss_window_mean"] == expected
    assert shown["train_loss_window_n"] == TRAIN_WINDOW == 50
    assert shown["gap"] == 0.25 - expected


@pytest.mark.spec("S1.12")
def test_gap_over_several_sets_of_keys(new_run):
    """Losses that were logged with changing companions are one sequence: the newest ones count."""
    run = new_run()
    for step in range(6):
        run.log({"loss": float(step), **({"lr": 0.1} if step % 2 else {})}, step=step)
    run.example(step=200, **ASKED, output=ANSWER, val_loss=3.0)
    shown = Recorded(run.dir).only("on_example")
    assert (shown["train_loss_window_mean"], shown["train_loss_window_n"], shown["gap"]) == (2.5, 6, 0.5)


def test_gap_before_the_first_loss(new_run):
    """Without a training loss there is no gap, and none is invented."""
    run = new_run()
    run.example(step=200, **ASKED, output=ANSWER, val_loss=0.25)
    shown = Recorded(run.dir).only("on_example")
    assert shown["val_loss"] == 0.25
    assert {"gap", "train_loss_window_mean", "train_loss_window_n"}.isdisjoint(shown)


def test_losses_that_are_not_finite(new_run):
    """A loss of NaN or infinity is a fact; the gap is what arithmetic makes of it."""
    run = new_run()
    run.log({"loss": math.inf})
    run.example(step=200, **ASKED, output=ANSWER, loss=math.nan, val_loss=0.25)
    shown = Recorded(run.dir).only("on_example")
    assert math.isnan(shown["example_loss"])
    assert (shown["train_loss_window_mean"], shown["gap"]) == (math.inf, -math.inf)


def test_texts_are_whole(new_run):
    """Long texts, line breaks and every script are kept as they are; only the terminal shortens them."""
    run = new_run()
    prompt = "\u640d\u5931 \u0001\u2028 line\nline\r\n" * 2000 + "\ud800"
    run.example(step=10, prompt=prompt, golden="")
    assert Recorded(run.dir).only("on_example")["prompt"] == prompt


@pytest.mark.parametrize(
    ("step", "output", "tier"),
    [(10, None, "fast"), (200, ANSWER, "full"), (200, None, "full"), (7, None, "fast"), (7, ANSWER, "full")],
)
def test_tier_by_step_and_output(new_run, step, output, tier):
    """The cadence names the tier; beside it, an output makes a full evaluation."""
    run = new_run()
    run.example(step=step, **ASKED, output=output)
    assert Recorded(run.dir).only("on_example")["tier"] == tier


NOT_SHOWN = [
    ({"step": 10, "output": "x"}, "step 10 is a fast log, which has no output; give it at full evaluations only"),
    ({"step": 10, "val_loss": 0.5}, "step 10 is a fast log, which has no val_loss"),
    ({"step": 200, "tier": "fast", "output": "x"}, "or pass tier='full'"),
    ({"step": 10, "prompt": [1, 2]}, "prompt must be a string, not list; decode it first"),
    ({"step": 10, "golden": None}, "golden must be a string, not NoneType"),
    ({"step": 200, "output": b"x"}, "output must be a string, not bytes"),
    ({"step": 10, "loss": "0.5"}, "metric 'loss' is a str ('0.5')"),
    ({"step": 10, "loss": torch.zeros(3)}, "metric 'loss' is a torch.Tensor of shape (3,)"),
    ({"step": 200, "val_loss": [0.5, 1]}, "metric 'val_loss' is a list of shape (2,)"),
    ({"step": math.nan}, "step must be an integer, not nan"),
    ({"step": "10"}, "step must be an integer, not '10'"),
    ({"step": None}, "step must be an integer, not None"),
    ({"step": 10, "golden_tokens": "15"}, "golden_tokens must be an integer from 0 on, not '15'"),
    ({"step": 10, "prompt_tokens": -1}, "prompt_tokens must be an integer from 0 on, not -1"),
    ({"step": 200, "output_tokens": 1.5}, "output_tokens must be an integer from 0 on, not 1.5"),
    ({"step": 10, "match": "fuzzy"}, "match='fuzzy' is none of exact, normalised, contains; choose one"),
    ({"step": 10, "tier": "medium"}, "tier='medium' is none of fast, full; choose one"),
]


@pytest.mark.parametrize(("call", "text"), NOT_SHOWN)
def test_refused_examples(new_run, call, text):
    """An example that cannot be recorded says why, with the value; nothing is written, and the next one works."""
    run = new_run()
    with pytest.raises(MisuseError) as caught:
        run.example(**{**ASKED, **call})
    assert text in str(caught.value)
    assert Recorded(run.dir).moments == ["on_start"]
    run.example(step=10, **ASKED)
    assert Recorded(run.dir).moments == ["on_start", "on_example"]


@pytest.mark.spec("S1.2", "S1.7", "S1.12", "S1.16", "S1.34")
def test_tiers_of_a_loop(new_run):
    """In a loop the tiers never meet: a fast log every 10 steps, a full evaluation every 200 in its place."""
    run = new_run()
    for step in range(401):
        with run.tier(step) as tier:
            if tier == "fast":
                run.example(step=step, **ASKED, loss=0.5)
            elif tier == "full":
                run.example(step=step, **ASKED, output=ANSWER, loss=0.5, val_loss=0.6)
    run.finish()
    found = Recorded(run.dir)
    examples = found.of("on_example")
    assert [shown["step"] for shown in examples if shown["tier"] == "full"] == [200, 400]
    assert [shown["step"] for shown in examples if shown["tier"] == "fast"] == [
        step for step in range(10, 400, 10) if step != 200
    ]
    assert all(("val_loss" in shown) == ("output" in shown) == (shown["tier"] == "full") for shown in examples)
    phases = found.of("on_phase_end")
    assert [(phase["name"], phase["step"]) for phase in phases] == [
        ("full_eval" if shown["tier"] == "full" else "fast_log", shown["step"]) for shown in examples
    ]


@pytest.mark.spec("S1.14", "S1.15", "S1.41")
def test_cost_and_saving_are_measured(new_run):
    """The run ends with what each tier really took, and the saving that follows from it; nothing is claimed."""
    run = new_run(log_steps=1, eval_steps=5)
    for step in range(1, 21):
        with run.tier(step) as tier:
            time.sleep(0.004 if tier == "full" else 0.001)
    run.finish()
    found = Recorded(run.dir)
    cost = found.only("on_train_end")["cadence"]
    phases = {
        name: [p["duration_s"] for p in found.of("on_phase_end") if p["name"] == name]
        for name in ("fast_log", "full_eval")
    }
    assert (cost["num_fast"], cost["num_full"]) == (16, 4) == (len(phases["fast_log"]), len(phases["full_eval"]))
    assert cost["fast_total_s"] == pytest.approx(sum(phases["fast_log"]))
    assert cost["full_total_s"] == pytest.approx(sum(phases["full_eval"]))
    fast_s, full_s = np.median(phases["fast_log"]), np.median(phases["full_eval"])
    assert cost["saving_measured"] == pytest.approx(5 * full_s / (full_s + 4 * fast_s))
    assert 1 < cost["saving_measured"] < 5
    wall_s = found.only("on_train_end")["total_time_s"]
    assert cost["share_of_wall"] == pytest.approx((cost["fast_total_s"] + cost["full_total_s"]) / wall_s, rel=0.05)


def test_tier_that_fails_is_not_a_cost(new_run):
    """A tier whose body raises is a failed phase; its time is no measurement of the tier."""
    run = new_run(log_steps=1, eval_steps=5)
    with pytest.raises(ZeroDivisionError), run.tier(1):
        _ = 1 / 0
    run.finish()
    found = Recorded(run.dir)
    assert found.only("on_phase_end")["failed"] is True
    assert found.only("on_train_end")["cadence"]["num_fast"] == 0


@pytest.mark.parametrize("step", [math.nan, "10", None, [1]])
def test_tier_of_what_is_no_step(new_run, step):
    """A step that is no number is refused by name."""
    with pytest.raises(InvalidMetricError, match="step must be a finite number, not "), new_run().tier(step):
        pass
