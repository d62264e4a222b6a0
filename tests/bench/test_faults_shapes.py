"""Faults that give the loss a shape, faults that come late, long healthy runs: real trainings, and curves by hand."""

from __future__ import annotations

import math

import pytest
import torch
from tests.bench.trainings import ONSET, STEPS, made, noisy, trained

NUM = 160
AT = 60


def shape(faults, rule, changed, usual):
    """From which step on a curve has a shape, beside its twin."""
    return faults.shapes.SHAPES[rule](made(faults, loss=changed), made(faults, loss=usual), AT)


def raised(usual, heights):
    """A curve whose logarithm is raised by a height at each step from the onset on."""
    return [it * math.exp(heights(at - AT) if at >= AT else 0.0) for at, it in enumerate(usual)]


def test_held_out_seeds_are_fresh_and_take_turns(faults):
    """No seed whose table was seen is left; in each half recipes and doses are taken by turns, unseen ones first."""
    assert {1, 3, 5}.isdisjoint(faults.plan.SEEDS)
    jobs = {job.name: job for job in faults.plan.plan()}
    for kind in faults.catalogue.FAULTS.values():
        by_unseen = {
            is_unseen: [name for name in kind.recipes if faults.recipes.RECIPES[name].unseen is is_unseen]
            for is_unseen in (False, True)
        }
        for seeds, offered in (((0, 2, 4), by_unseen[False]), ((7, 9, 11), [*by_unseen[True], *by_unseen[False]])):
            taken = [jobs[f"{kind.name}-s{seed}"] for seed in seeds]
            assert [job.recipe.name for job in taken] == [offered[place % len(offered)] for place in range(3)]
            assert [job.dose for job in taken] == [kind.doses[place % 2] for place in range(3)]


def test_late_faults_begin_late_in_long_runs(faults):
    """At least eight kinds of fault begin at 60 to 80 per cent of 2400 steps or more, one architecture unseen."""
    kinds = {kind.name for kind in faults.catalogue.FAULTS.values() if kind.late}
    assert len(kinds) >= 8
    jobs = [job for job in faults.plan.plan() if job.fault in kinds]
    assert min(job.recipe.steps for job in jobs) >= 2400
    assert {0.6 <= job.onset / job.recipe.steps <= 0.8 for job in jobs} == {True}
    assert any(job.recipe.unseen for job in jobs)


def test_there_are_long_healthy_runs(faults):
    """Six kinds of healthy run or more have 3000 to 4000 steps, and none of them is varied."""
    recipes = [it for it in faults.healthy.HEALTHY.values() if 3000 <= it.steps <= 4000]
    assert len({(it.family, it.schedule, it.batch_size, it.optimizer, it.resume_step) for it in recipes}) >= 6
    assert not any(it.is_varied for it in recipes)


@pytest.mark.parametrize(
    ("kind", "factors"),
    [
        ("rate_dies_unlogged", [1e-3] * 30),
        ("rate_alternates", [20.0] * 6 + [1.0] * 24),
        ("rate_burst", [40.0] * 3 + [1.0] * 27),
    ],
)
def test_a_rate_is_wrong_for_as_long_as_it_says(tmp_path, faults, kind, factors):
    """The learning rate that is used is the schedule's times what the fault makes of it, step by step."""
    curves, _ = trained(faults, tmp_path / "run", "mlp", kind=kind, eval_every=0)
    rates = curves.train("lr")
    assert rates[:ONSET] == [rates[0]] * ONSET
    assert [it / rates[0] for it in rates[ONSET:]] == pytest.approx(factors)


def test_what_is_clipped_away_is_logged_before(tmp_path, faults):
    """From the onset on weights hardly move, although the gradient norm that is logged is the usual one."""
    curves, _ = trained(faults, tmp_path / "run", "mlp_sgd", kind="clipped_away", eval_every=0)
    updates, norms = curves.train("update_ratio"), curves.train("grad_norm")
    assert max(updates[ONSET:]) < 0.02 * min(updates[5:ONSET])
    assert min(norms[ONSET:]) > 0.1 * max(norms[:ONSET])


def test_a_frozen_trunk_stays_what_it_was(tmp_path, faults):
    """From the onset on only the last layer's weight and bias change."""
    _, before = trained(faults, tmp_path / "before", "vae", steps=ONSET, eval_every=0)
    _, after = trained(faults, tmp_path / "after", "vae", kind="trunk_frozen", eval_every=0)
    is_same = [torch.equal(a, b) for a, b in zip(before.parameters, after.parameters, strict=True)]
    assert is_same == [True] * (len(is_same) - 2) + [False] * 2


def test_classes_come_in_blocks(tmp_path, faults):
    """A share of each batch is of one class, images and labels alike, and every 12 steps of the next."""
    _, trainer = trained(faults, tmp_path / "run", "mlp", steps=1, eval_every=0)
    fault = faults.catalogue.FAULTS["classes_in_blocks"].make(0.75)
    fault.start(trainer)
    images = {tuple(x.tolist()): int(y) for x, y in zip(trainer.task.train_x, trainer.task.train_y, strict=True)}
    for turn, num_steps in ((0, 0), (0, 11), (1, 12), (9, 119), (0, 120)):
        trainer.step = fault.first_step + num_steps
        usual = trainer.task.batch(trainer)
        x, y = fault.batch(usual)
        of_turn = round(0.75 * len(y))
        assert y[:of_turn].tolist() == [turn] * of_turn
        assert torch.equal(y[of_turn:], usual[1][of_turn:])
        assert [images[tuple(it.tolist())] for it in x] == y.tolist()


def test_a_corrupt_shard_ends(tmp_path, faults):
    """The inputs of five batches are too large, and those of the sixth are right again; labels are left alone."""
    _, trainer = trained(faults, tmp_path / "run", "mlp", steps=1, eval_every=0)
    fault = faults.catalogue.FAULTS["corrupt_shard"].make(20.0)
    fault.start(trainer)
    factors = []
    for num_steps in range(7):
        trainer.step = fault.first_step + num_steps
        x, y = trainer.task.batch(trainer)
        changed = fault.batch((x, y))
        factors.append(float(changed[0].norm() / x.norm()))
        assert torch.equal(changed[1], y)
    assert factors == pytest.approx([20.0] * 5 + [1.0] * 2)


def test_a_glitch_is_of_one_step(tmp_path, faults):
    """One gradient is at least as many times too large as the dose says; the loss is hit at the next step."""
    dose = faults.catalogue.FAULTS["reduce_glitch"].doses[0]
    one, _ = trained(faults, tmp_path / "one", "mlp_full_batch", kind="reduce_glitch", eval_every=0)
    other, _ = trained(faults, tmp_path / "other", "mlp_full_batch", eval_every=0)
    norms = [a / b for a, b in zip(one.train("grad_norm"), other.train("grad_norm"), strict=True)]
    assert norms[:ONSET] == [1.0] * ONSET
    assert dose < norms[ONSET] < 2 * dose
    assert one.train("loss")[: ONSET + 1] == other.train("loss")[: ONSET + 1]
    assert one.train("loss")[ONSET + 1] > 1.5 * other.train("loss")[ONSET + 1]
    assert len(one.train("loss")) == STEPS


@pytest.mark.slow
def test_momentum_makes_a_descent_swing(tmp_path, faults):
    """A slow regression that is given far too much momentum falls, climbs back and falls again; its twin does not."""
    name, settings = "regression_ball", {"steps": 200, "eval_every": 0, "onset": AT}
    one, _ = trained(faults, tmp_path / "one", name, kind="momentum_too_high", **settings)
    other, _ = trained(faults, tmp_path / "other", name, **settings)
    assert faults.shapes.swings(one, other, AT) == pytest.approx(130, abs=60)
    assert faults.shapes.swings(other, other, AT) is None


def test_a_loss_is_stuck_that_stands_far_above_its_twin(faults):
    """It must stand, and the twin must end far lower: neither a slow fall, a rise nor a twin that stands is stuck."""
    usual = [it * 0.98**at for at, it in enumerate(noisy(1.0, NUM))]
    stands = [it if at < AT else it * 0.98 ** (AT - at) for at, it in enumerate(usual)]
    slower = [it if at < AT else it * 0.98 ** ((AT - at) / 2) for at, it in enumerate(usual)]
    rises = [it if at < AT else it * 0.98 ** (1.3 * (AT - at)) for at, it in enumerate(usual)]
    assert shape(faults, "stuck", stands, usual) == pytest.approx(AT, abs=10)
    assert [shape(faults, "stuck", it, usual) for it in (slower, rises, usual)] == [None] * 3
    flat = noisy(1.0, NUM)
    assert shape(faults, "stuck", flat, flat) is None


def test_a_loss_swings_that_goes_up_and_down_twice(faults):
    """Waves of a factor of three are swings; a jump that comes back, a climb, and the twin's own noise are none."""
    usual = noisy(1.0, NUM, size=0.03)
    waves = raised(usual, lambda at: 0.6 * math.sin(at / 4))
    jump = raised(usual, lambda at: 2.0 * math.exp(-at / 6))
    climb = raised(usual, lambda at: at / 20)
    small = raised(usual, lambda at: 0.05 * math.sin(at / 4))
    assert AT + 20 < shape(faults, "swings", waves, usual) < AT + 60
    assert [shape(faults, "swings", it, usual) for it in (jump, climb, small, usual)] == [None] * 4
    slow = raised(usual, lambda at: 0.6 * math.sin(at / 30))
    assert shape(faults, "swings", slow, usual) is None


def test_single_records_that_alternate_swing(faults):
    """A loss that is high at every other record swings, although its means of four stand still."""
    usual = noisy(1.0, NUM, size=0.03)
    alternating = raised(usual, lambda at: 1.0 if at % 2 else -1.0)
    assert AT < shape(faults, "swings", alternating, usual) < AT + 8


def test_a_spike_comes_back(faults):
    """A jump that decays is a spike; one that stays, a fall, and a jump that is no larger than noise are none."""
    usual = noisy(1.0, NUM)
    decays = raised(usual, lambda at: 5.0 * math.exp(-at / 8))
    stays = raised(usual, lambda at: min(5.0, 5.0 * (at + 1)))
    falls = raised(usual, lambda at: -5.0 * math.exp(-at / 8))
    small = raised(usual, lambda at: 0.1 * math.exp(-at / 8))
    assert shape(faults, "spike", decays, usual) == AT
    assert [shape(faults, "spike", it, usual) for it in (stays, falls, small)] == [None] * 3
    lost = [*decays[: AT + 5], math.nan, *decays[AT + 6 :]]
    assert shape(faults, "spike", lost, usual) is None


def test_labels_of_an_earlier_call_are_kept(tmp_path, faults):
    """What was found of a run stays until it is judged again, unless its recording no longer stands."""
    jobs = [job for job in faults.plan.plan() if job.fault is None][:3]
    found = [faults.generate.label(job, None) for job in jobs]
    faults.labels.write(tmp_path, "labels.json", found[:2])
    faults.labels.write(tmp_path, "dropped.json", [faults.labels.Dropped(name=jobs[2].name, why="it forgot")])
    book = faults.generate.Book(tmp_path, known=[jobs[0].name, jobs[2].name])
    book.write()
    assert faults.labels.read_labels(tmp_path) == found[:1]
    assert [it.why for it in faults.labels.read_dropped(tmp_path)] == ["it forgot"]
