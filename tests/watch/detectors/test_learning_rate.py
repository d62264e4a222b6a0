"""Learning rates that leave their schedule are told; the shapes that schedules have are not."""

from __future__ import annotations

import math

import pytest

from barograph.facts.kinds import Event
from barograph.facts.rows import StreamHeader
from barograph.watch.detectors.learning_rate import LearningRate
from barograph.watch.monitor import Monitor

NUM_STEPS = 1000
SHAPES = (
    *("constant", "warmup", "warmup_by_epoch", "constant_warmup", "cosine", "cosine_to_zero", "restarts"),
    *("restarts_to_a_tenth", "one_cycle", "step_decay", "exponential", "linear", "on_plateau", "triangular"),
)


def schedule(shape, num_steps=NUM_STEPS):
    """The rates of a real scheduler of torch, one per step."""
    import torch
    from torch.optim import lr_scheduler as made

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    third = num_steps // 3
    warmup = made.LinearLR(optimizer, 1e-3, total_iters=num_steps // 20) if shape.startswith("warmup") else None
    scheduler = {
        "constant": lambda: made.ConstantLR(optimizer, factor=1.0),
        "warmup": lambda: made.SequentialLR(
            optimizer, [warmup, made.CosineAnnealingLR(optimizer, num_steps)], [num_steps // 20]
        ),
        "warmup_by_epoch": lambda: made.LambdaLR(optimizer, lambda step: min(1.0, (1 + step // 40) / 5)),
        "constant_warmup": lambda: made.ConstantLR(optimizer, factor=1 / 3, total_iters=100),
        "cosine": lambda: made.CosineAnnealingLR(optimizer, num_steps, eta_min=1e-4),
        "cosine_to_zero": lambda: made.CosineAnnealingLR(optimizer, num_steps),
        "restarts": lambda: made.CosineAnnealingWarmRestarts(optimizer, T_0=num_steps // 7, T_mult=2),
        "restarts_to_a_tenth": lambda: made.CosineAnnealingWarmRestarts(optimizer, T_0=third, eta_min=0.01),
        "one_cycle": lambda: made.OneCycleLR(optimizer, max_lr=0.1, total_steps=num_steps + 1),
        "step_decay": lambda: made.MultiStepLR(optimizer, [third, 2 * third], gamma=0.1),
        "exponential": lambda: made.ExponentialLR(optimizer, gamma=0.995),
        "linear": lambda: made.LinearLR(optimizer, 1.0, 0.0, total_iters=num_steps),
        "on_plateau": lambda: made.MultiStepLR(optimizer, [400, 600, 800, 900], gamma=0.1),
        "triangular": lambda: made.CyclicLR(optimizer, 1e-3, 0.1, step_size_up=100),
    }[shape]()
    rates = []
    for _ in range(num_steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


def watched(rates, *, config=None, total_steps=None, every=1, loss=None, resumed_step=None, repeated_steps=0):
    """What is told of a learning rate, ends left out."""
    monitor = Monitor([LearningRate()], config=config)
    if total_steps:
        monitor.take(Event(moment="on_start", seq=0, t=0.0, payload={"total_steps": total_steps}))
    loss = loss or (lambda step: 2.0 * math.exp(-step / 300))
    rows = [(float(step), loss(step), rate, 1000.0 + step) for step, rate in enumerate(rates)][::every]
    columns = ["step", "loss", "lr", "t"]
    if resumed_step is None:
        return opened(monitor.take((StreamHeader(run_id="a", columns=columns), rows)))
    told = monitor.take((StreamHeader(run_id="a", columns=columns), rows[:resumed_step]))
    header = StreamHeader(run_id="a", columns=columns, attempt=1)
    return opened(told + monitor.take((header, rows[resumed_step - repeated_steps :])))


def opened(told):
    """Without the ends."""
    return [it for it in told if it.stage != "ended"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("is_planned", [True, False])
def test_the_schedules_of_torch_are_silent(shape, every, is_planned):
    """Each real schedule, logged at every step and at every tenth, with and without a planned length."""
    assert watched(schedule(shape), every=every, total_steps=NUM_STEPS if is_planned else None) == []


@pytest.mark.spec("S2.41")
@pytest.mark.parametrize("shape", ["constant", "cosine", "warmup", "linear", "exponential", "one_cycle"])
@pytest.mark.parametrize("factor", [3.0, 10.0, 100.0])
def test_a_rate_that_jumps_up_is_told_within_eight_records(shape, factor):
    """The alert names both rates, and to go back to the first is the first remedy."""
    rates = schedule(shape)
    faulty = rates[:250] + [rate * factor for rate in rates[250:]]
    told = next(it for it in watched(faulty) if it.alert.since_step == 250.0)
    assert 250 <= told.alert.step <= 258
    assert told.alert.type == "learning_rate"
    assert math.isclose(told.alert.remedies[0].change["lr"], rates[249], rel_tol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 1e-5])
def test_a_rate_that_falls_to_next_to_nothing_at_once_is_told(rate):
    """A decay by ten is a schedule, by ten thousand it is not."""
    (told,) = watched([0.1] * 400 + [rate] * 600)
    assert 400 <= told.alert.since_step <= told.alert.step <= 408
    assert told.alert.remedies[0].change == {"lr": 0.1}


def test_a_rate_that_creeps_above_the_peak_it_had_come_down_from_is_told():
    """A cosine that turns and goes on rising is no restart: those go back to the peak and not beyond."""
    falling = schedule("cosine")[:500]
    rising = [falling[-1] * (1 + 0.05 * place) for place in range(200)]
    (told,) = watched(falling + rising)
    assert "its peak before it came down" in told.alert.text
    assert 500 - 8 <= told.alert.since_step <= 500
    assert told.step < 500 + 2.5 * max(falling) / falling[-1] / 0.05 + 8
    assert watched(falling + [min(rate, 1.2 * max(falling)) for rate in rising]) == []


def test_a_rate_that_creeps_up_from_where_it_had_settled_is_told():
    """A warm-up that never ends: no single record jumps."""
    (told,) = watched([0.01] * 300 + [0.01 * (1 + 0.01 * step) for step in range(700)])
    assert "where it had settled" in told.alert.text
    assert abs(told.alert.since_step - 300) <= 8
    assert told.alert.step < 460


def test_a_schedule_that_is_over_too_early_is_told():
    """Stepped per batch with the settings of epochs, the decay is done in a third of the run."""
    rates = [0.1 * 0.1 ** (step // 40) for step in range(1000)]
    (told,) = watched(rates, total_steps=1000)
    assert "planned run done" in told.alert.text
    assert 120.0 <= told.alert.since_step <= told.alert.step <= 190.0


def test_a_schedule_that_is_over_is_told_without_a_planned_length_when_it_is_low_for_long():
    """A rate of a millionth of its peak for a tenth of the run teaches nothing, however long the run is to be."""
    (told,) = watched([0.1 * 0.1 ** (step // 40) for step in range(1000)])
    assert "nothing more is learned" in told.alert.text


def test_a_schedule_that_begins_anew_at_a_resume_is_told():
    """The twin, whose second attempt goes on with the old rate and repeats twenty steps, is silent."""
    rates = schedule("cosine")
    (told,) = watched(rates[:600] + rates[:400], resumed_step=600)
    assert "as the run was resumed" in told.alert.text
    assert (told.alert.since_step, told.alert.step) == (600.0, 607.0)
    assert watched(rates, resumed_step=600, repeated_steps=20) == []


def test_a_rate_that_goes_to_the_configured_one_is_silent():
    """A head that is trained first, then everything at the configured rate."""
    rates = [1e-4] * 300 + [1e-2] * 700
    assert watched(rates, config={"optimizer": {"lr": 1e-2}}) == []
    assert [told.alert.type for told in watched(rates, config={"optimizer": {"lr": 1e-4}})] == ["learning_rate"]


@pytest.mark.parametrize(
    ("optimizer", "lr", "expected"),
    [("adam", 0.5, 1), ("sgd", 0.5, 0), ("adam", 0.01, 0), ("adamw", 1e-6, 1), ("sgd", 1e-6, 1)],
)
def test_a_rate_that_no_one_uses_with_the_optimizer_is_told_when_the_loss_does_not_fall(optimizer, lr, expected):
    """Half is much for Adam and little for SGD; when the loss falls it is nobody's business."""
    config = {"optimizer": {"name": optimizer, "lr": lr}}
    assert expected == len(watched([lr] * 200, config=config, loss=lambda _: 2.3))
    assert watched([lr] * 200, config=config) == []


def test_the_incident_ends_when_the_rate_is_back():
    """Told once, ended once."""
    rates = [0.1] * 300 + [1.0] * 50 + [0.1] * 300
    monitor = Monitor([LearningRate()])
    rows = [(float(step), 1.0, rate, 1000.0 + step) for step, rate in enumerate(rates)]
    told = monitor.take((StreamHeader(run_id="a", columns=["step", "loss", "lr", "t"]), rows))
    assert [it.stage for it in told] == ["opened", "ended"]
