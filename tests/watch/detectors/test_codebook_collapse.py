"""A codebook of which few entries are used, and one that is small, young or merely used unevenly."""

from __future__ import annotations

import math

import pytest
from tests.watch.shown import alerts, at, noisy, then

from barograph.watch.alert import Remedy
from barograph.watch.detectors.codebook_collapse import CodebookCollapse

CONFIG = {"codebook_size": 64, "commitment": 1.0}
RISING = noisy(lambda step: 40.0 - 30.0 * math.exp(-step / 30))


def test_a_perplexity_that_falls_is_told_within_25_records():
    """Forty codes that become two at step 200: told once, with the size, the peak and the weight of the run."""
    (alert,) = alerts(
        CodebookCollapse(), {"codebook_perplexity": then(RISING, 200, noisy(at(2.0)))}, 400, config=CONFIG
    )
    assert 199 <= alert.since_step <= alert.step <= 225
    assert alert.evidence[1].value > 40.0
    assert Remedy(text="commit the encoder by 0.25 instead of 1", change={"commitment_weight": 0.25}) in alert.remedies
    assert "few codes of the codebook are used: codebook_perplexity is" in alert.text


def test_one_that_never_rose_is_told():
    """Two codes of 64 from the start are told once there were 96 records."""
    (alert,) = alerts(CodebookCollapse(), {"codebook_perplexity": noisy(at(2.0), sigma=0.05)}, 200, config=CONFIG)
    assert 96 <= alert.step < 120
    assert alert.since_step == 0


@pytest.mark.parametrize("config", [{"codebook_size": 16}, {}])
def test_one_code_alone_is_told_however_small_the_codebook(config: dict[str, int]):
    """A perplexity of 1 is a collapse of 16 codes as of 1000, and where nobody said how many there are."""
    (alert,) = alerts(CodebookCollapse(), {"codebook_perplexity": at(1.0)}, 200, config=config)
    assert 64 <= alert.step < 80
    assert [it.name for it in alert.evidence] == ["level of codebook_perplexity"]


def test_few_codes_of_a_small_codebook_are_told_when_it_is_late():
    """Two of 16, with noise, are a phase at first; after three tenths of the run they are all that was ever used."""
    curves = {"codebook_perplexity": noisy(at(2.1), sigma=0.05)}
    (alert,) = alerts(CodebookCollapse(), curves, 600, total_steps=1000, config={"codebook_size": 16})
    assert 300 <= alert.step < 320
    assert alert.evidence[0].threshold == pytest.approx(2.4)


def test_codes_that_are_lost_at_first_and_come_back_are_left_alone():
    """The encoder leaves a codebook that was drawn from its first outputs: 25 codes, three at step 24, then 16."""

    def dip(step: int) -> float:
        return 3.0 + 22.0 * math.exp(-step / 8) if step < 60 else 16.0 - 13.0 * math.exp(-(step - 60) / 60)

    curves = {"codebook_perplexity": noisy(dip, sigma=0.05)}
    assert alerts(CodebookCollapse(), curves, 600, total_steps=600, config={"codebook_size": 32}) == []


def test_one_that_is_rising_is_left_alone():
    """A codebook that is taken into use slowly is on its way."""
    curves = {"codebook_perplexity": noisy(lambda step: 1.0 + 40.0 * (step / 1000), sigma=0.02)}
    assert alerts(CodebookCollapse(), curves, 1000, config=CONFIG) == []


def test_a_large_share_in_use_is_left_alone():
    """A fall by two thirds that leaves a third of the codebook in use is no collapse."""
    curves = {"codebook_perplexity": then(noisy(at(62.0)), 200, noisy(at(21.0)))}
    assert alerts(CodebookCollapse(), curves, 1000, config=CONFIG) == []


def test_usage_is_read_where_there_is_no_perplexity():
    """The share of codes in use says the same."""
    (alert,) = alerts(CodebookCollapse(), {"codebook_usage": then(noisy(at(0.8)), 200, noisy(at(0.03)))}, 400)
    assert 200 < alert.step <= 230
    assert alert.metrics == ["codebook_usage"]


def test_perplexity_comes_before_usage():
    """With both, a usage that counts every code once hit does not hide a collapse, and does not make one."""
    curves = {"codebook_perplexity": RISING, "codebook_usage": then(at(0.9), 200, at(0.01))}
    assert alerts(CodebookCollapse(), curves, 400, config=CONFIG) == []


def test_without_a_size_few_codes_are_few():
    """Where nobody said how many codes there are, eight is where it begins to look."""
    assert alerts(CodebookCollapse(), {"codebook_perplexity": then(RISING, 200, noisy(at(12.0)))}, 400) == []
    assert len(alerts(CodebookCollapse(), {"codebook_perplexity": then(RISING, 200, noisy(at(2.0)))}, 400)) == 1
