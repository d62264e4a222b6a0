"""A quality that falls while the loss improves is told; noise of the metric and common declines are not."""

from __future__ import annotations

import math
import random

import pytest
from tests.watch.loss_runs import HEALTHY, healthy, train, types, watch

from barograph.watch.detectors.quality_drop import QualityDrop


def evaluated(qualities, *, improves=True, every=50):
    """Records of a loss and, each so many of them, a quality."""
    rng = random.Random(1)
    records = []
    for place, quality in enumerate(qualities):
        for step in range(every * place, every * (place + 1)):
            share = step / (every * len(qualities))
            level = math.exp(-2 * share) if improves else math.exp(-2 * min(share, 1 - share))
            records.append(("train", step, {"loss": level * math.exp(rng.gauss(0, 0.05))}))
        records.append(("val", every * (place + 1) - 1, {"bleu": quality}))
    return records


def hill(num, *, best, fall, noise=0.003):
    """Qualities that rise to a best evaluation and fall by so much per evaluation from there."""
    rng = random.Random(2)
    return [
        0.8 - 0.5 * math.exp(-4 * min(it, best) / best) - fall * max(it - best, 0) + rng.gauss(0, noise)
        for it in range(num)
    ]


@pytest.mark.spec("S2.43", "S2.42")
def test_a_real_training_that_forgets_six_classes_is_told_by_its_quality():
    """The loss of the four that are left falls, the quality on all ten with it; the best weights are named."""
    records = train("few_classes", at=200, num_steps=500)
    records = [
        (split, step, {"quality": it["quality"]} if split == "val" else {"loss": it["loss"]})
        for split, step, it in records
    ]
    events = [(190, "on_checkpoint", {"step": 190, "path": "best.pt"})]
    told = watch([QualityDrop()], records, events=events)
    assert types(told) == ["quality_drop"]
    alert = told[0][1]
    assert 100 <= alert.since_step <= 224
    assert alert.evidence[0].value < alert.evidence[0].threshold
    assert alert.remedies[1].change == {"monitor": "quality"}


def test_its_healthy_twin_is_silent():
    """With all ten classes nothing is told."""
    assert watch([QualityDrop()], train(num_steps=500)) == []


@pytest.mark.parametrize("kind", HEALTHY)
@pytest.mark.parametrize("seed", [0, 1])
def test_healthy_losses_are_silent(kind, seed):
    """Nothing is told about a healthy run of this kind."""
    assert watch([QualityDrop()], healthy(kind, seed=seed)) == []


@pytest.mark.spec("S2.43")
@pytest.mark.parametrize(("num", "best"), [(10, 4), (40, 20)])
def test_a_fall_over_a_few_evaluations_is_told_early(num, best):
    """Few evaluations and many; the alert is dated to the best."""
    told = watch([QualityDrop()], evaluated(hill(num, best=best, fall=0.03)))
    assert types(told) == ["quality_drop"]
    best_step = 50 * (best + 1) - 1
    assert abs(told[0][1].since_step - best_step) <= 100
    assert told[0][1].step <= best_step + 6 * 50


def test_noise_of_the_metric_is_no_fall():
    """Sixty evaluations that vary by five points: the best of them is luck."""
    rng = random.Random(7)
    assert watch([QualityDrop()], evaluated([0.5 + rng.gauss(0, 0.05) for _ in range(60)])) == []


def test_a_loss_that_gets_worse_too_is_another_matter():
    """Where the loss rises with it, a divergence or overfitting is the word."""
    assert watch([QualityDrop()], evaluated(hill(40, best=20, fall=0.02), improves=False)[:-408]) == []


def test_it_ends_when_the_quality_is_back():
    """``is_active`` follows the metric."""
    qualities = [*hill(16, best=8, fall=0.03), *([0.85] * 4)]
    found = QualityDrop()
    assert types(watch([found], evaluated(qualities))) == ["quality_drop"]
    assert not found.is_active
