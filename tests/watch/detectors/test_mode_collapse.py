"""Samples of a generator that become alike, and those that only vary in how much they vary."""

from __future__ import annotations

import math

import pytest
from tests.watch.shown import alerts, at, noisy, then

from barograph.watch.alert import Remedy
from barograph.watch.detectors.mode_collapse import ModeCollapse

HEALTHY = noisy(lambda step: 0.8 - 0.3 * math.exp(-step / 50))


def test_a_fall_of_diversity_is_told_within_25_records():
    """Samples that lose nine tenths of their diversity at step 200 are told once, dated and with the numbers."""
    (alert,) = alerts(
        ModeCollapse(), {"sample_diversity": then(HEALTHY, 200, noisy(at(0.08)))}, 400, checkpoint_step=150
    )
    assert alert.severity == "critical"
    assert 200 <= alert.since_step <= alert.step <= 225
    assert alert.evidence[0].value < alert.evidence[0].threshold
    assert alert.remedies[0] == Remedy(
        text="go on from last.pt (step 150), when samples still varied", change={"resume_step": 150.0}
    )
    assert "samples are becoming alike: sample_diversity fell from 0.7" in alert.text


def test_a_slow_fall_is_told():
    """So is one that takes three hundred records, when less than half is left."""
    (alert,) = alerts(
        ModeCollapse(), {"sample_diversity": then(HEALTHY, 200, noisy(lambda n: 0.8 * math.exp(-n / 150)))}, 600
    )
    assert 300 < alert.step < 400


def test_no_diversity_at_all_is_told():
    """A deviation of exactly zero, which has no logarithm, is the plainest collapse of all."""
    (alert,) = alerts(ModeCollapse(), {"sample_diversity": then(HEALTHY, 200, at(0.0))}, 300)
    assert 200 < alert.step <= 225


def test_a_discriminator_that_wins_is_the_first_cause():
    """Where the discriminator's loss is near zero, that is the likeliest reason."""
    curves = {"sample_diversity": then(HEALTHY, 200, at(0.05)), "d_loss": at(0.1)}
    (alert,) = alerts(ModeCollapse(), curves, 300)
    assert alert.causes[0] == "the discriminator wins (d_loss is 0.1): its gradient says little"


def test_diversity_that_swings_is_left_alone():
    """A third up and down, with noise, is how such training goes; so is a first stretch without meaning."""
    swings = noisy(lambda step: 0.8 * (1 + 0.3 * math.sin(step / 40)), sigma=0.2)
    assert alerts(ModeCollapse(), {"sample_diversity": then(at(5.0), 20, swings)}, 5000) == []


def test_a_short_dip_is_left_alone():
    """Four poor batches are no collapse."""
    dip = then(HEALTHY, 200, then(at(0.05), 4, HEALTHY))
    assert alerts(ModeCollapse(), {"sample_diversity": dip}, 400) == []


def test_half_of_the_diversity_is_enough_when_it_goes_at_once():
    """A fall to 0.47 of it is told when it takes ten records, and is a swing when it takes two hundred."""
    at_once, slowly = (
        {"sample_diversity": then(HEALTHY, 200, noisy(lambda n, s=span: 0.8 * (1 - 0.54 * min(n / s, 1))))}
        for span in (10, 200)
    )
    assert [len(alerts(ModeCollapse(), it, 400)) for it in (at_once, slowly)] == [1, 0]


@pytest.mark.parametrize(("share", "num_told"), [(0.42, 1), (0.55, 0)])
def test_a_fall_from_one_record_to_the_next_is_told_after_six(share, num_told):
    """Below half and never above six tenths since, although it comes back soon: training does not swing so."""
    curve = then(at(0.25), 200, lambda num: 0.25 * (share if num < 8 else 1.0))
    found = alerts(ModeCollapse(), {"sample_diversity": noisy(curve, sigma=0.04)}, 400)
    assert [it.step for it in found] == [205] * num_told
    assert all(it.evidence[0].value < it.evidence[0].threshold for it in found)


def test_a_fall_over_some_records_has_to_last():
    """The same depth, reached in ten records and left again, is a swing."""
    curve = then(at(0.25), 200, lambda num: 0.25 * (1 - 0.55 * math.sin(math.pi * min(num, 20) / 20)))
    assert alerts(ModeCollapse(), {"sample_diversity": noisy(curve, sigma=0.04)}, 400) == []
