"""Values that are not finite are told when they matter; searches for a scale and undefined scores are not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from barograph.facts.kinds import Event
from barograph.facts.rows import StreamHeader
from barograph.watch.detectors.non_finite import NonFinite
from barograph.watch.monitor import Monitor

NAN, INF = math.nan, math.inf


def watched(*, split="train", num_records=300, checkpoint_step=None, **columns):
    """What is told of columns, each a function of the step, ends left out."""
    monitor = Monitor([NonFinite()])
    if checkpoint_step is not None:
        monitor.take(Event(moment="on_checkpoint", seq=0, t=0.0, payload={"path": "last.pt", "step": checkpoint_step}))
    header = StreamHeader(run_id="a", columns=["step", *columns, "t"], split=split)
    rows = [(float(step), *(make(step) for make in columns.values()), 1000.0 + step) for step in range(num_records)]
    return [told for told in monitor.take((header, rows)) if told.stage != "ended"]


def steady(step):
    """A finite value that varies."""
    return 1.0 + 0.1 * math.sin(step)


@pytest.mark.spec("S2.41")
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_loss_that_is_not_finite_is_fatal_at_once(value):
    """Told in its record, once, with the last finite value and the checkpoint before it."""
    (told,) = watched(loss=lambda step: value if step >= 200 else steady(step), lr=lambda _: 1e-3, checkpoint_step=180)
    alert = told.alert
    assert (alert.type, alert.severity, alert.step, alert.since_step) == ("non_finite", "fatal", 200.0, 200.0)
    assert f"the last finite value was {steady(199):.4g} at step 199" in alert.text
    assert alert.remedies[0].text.startswith("go on from last.pt (step 180), the newest from before it")
    assert {"lr": 5e-4} in [remedy.change for remedy in alert.remedies]


def test_a_loss_that_is_nan_from_the_first_record_is_fatal():
    """There is no last finite value to name."""
    (told,) = watched(loss=lambda _: NAN)
    assert (told.alert.severity, told.alert.step) == ("fatal", 0.0)
    assert "last finite" not in told.alert.text


def test_a_validation_loss_is_critical():
    """The weights may be sound: it does not ask for a stop."""
    (told,) = watched(split="val", loss=lambda step: NAN if step == 50 else steady(step))
    assert told.alert.severity == "critical"
    assert not any("stop" in remedy.text for remedy in told.alert.remedies)


@pytest.mark.parametrize("with_scale", [True, False])
def test_infinite_norms_of_a_search_for_a_loss_scale_are_silent(with_scale):
    """A dozen in the first records, single and double ones later on, logged with the scale or without."""
    extra = {"loss_scale": lambda step: 2.0 ** max(16 - step, 4)} if with_scale else {}
    norm = lambda step: INF if step < 12 or step % 60 in (0, 1) else steady(step)  # noqa: E731 - a column
    assert watched(loss=steady, grad_norm=norm, **extra) == []


@pytest.mark.parametrize(("with_scale", "step"), [(True, 204.0), (False, 202.0)])
def test_norms_that_stay_infinite_are_critical(with_scale, step):
    """Five in a row with a live scale, three without; since the first of them."""
    extra = {"loss_scale": lambda step: 2.0 ** max(16 - step, 4)} if with_scale else {}
    (told,) = watched(loss=steady, grad_norm=lambda at: INF if at >= 200 else steady(at), **extra)
    assert ("critical", 200.0, step) == (told.alert.severity, told.alert.since_step, told.alert.step)


def test_a_reward_before_the_first_episode_ends_is_silent():
    """NaN until there is something to say, and a score that is undefined now and then."""
    columns = {
        "reward": lambda step: NAN if step < 100 else steady(step),
        "auc": lambda step: NAN if step % 7 == 0 else steady(step),
        "perplexity_of_the_start": lambda step: INF if step < 3 else steady(step),
    }
    assert watched(loss=steady, **columns) == []


def test_a_metric_that_was_always_finite_is_a_warning_after_three_records():
    """Of a metric whose role nobody knows."""
    (told,) = watched(loss=steady, zeta=lambda step: NAN if step >= 200 else steady(step))
    assert (told.alert.severity, told.alert.since_step, told.alert.step) == ("warning", 200.0, 202.0)
    assert told.alert.metrics == ["zeta"]


def test_a_gradient_that_grew_before_is_the_first_cause():
    """And to clip it at its usual norm is offered."""
    (told,) = watched(
        loss=lambda step: NAN if step >= 200 else steady(step),
        grad_norm=lambda step: NAN if step >= 200 else steady(step) * (50.0 if step > 195 else 1.0),
    )
    assert "the gradient had grown before" in told.alert.causes[0]
    assert any(0.8 < remedy.change.get("grad_clip", 0.0) < 1.2 for remedy in told.alert.remedies)


def log_likelihood(*, eps, num_steps=300):
    """Rows of a real fit of a probability by gradient descent, whose log has an eps or none."""
    rows, share = [], 0.5
    for step in range(num_steps):
        with np.errstate(divide="ignore", invalid="ignore"):
            loss = float(-np.log(np.float64(max(1.0 - share, 0.0)) + eps))
        share = min(share - 0.05 / -(1.0 - share + eps), 1.0) if share < 1.0 else share
        rows.append((float(step), loss, 1000.0 + step))
    return rows


@pytest.mark.spec("S2.24")
def test_a_real_log_of_zero_is_told_and_its_twin_with_an_eps_is_not():
    """A probability that reaches zero has an infinite loss, unless the log is kept away from it."""
    header = StreamHeader(run_id="a", columns=["step", "loss", "t"])
    (told,) = [it for it in Monitor([NonFinite()]).take((header, log_likelihood(eps=0.0))) if it.stage != "ended"]
    assert "loss is inf" in told.alert.text
    assert "put an eps into each log, sqrt and division" in [remedy.text for remedy in told.alert.remedies]
    assert Monitor([NonFinite()]).take((header, log_likelihood(eps=1e-6))) == []
