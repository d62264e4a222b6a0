"""FaultBench's records: the plan, the faults and the rules, on real trainings and on curves made by hand."""

from __future__ import annotations

import ctypes
import gc
import json
import math
import subprocess
import sys
from itertools import pairwise

import msgspec
import pytest
from tests.bench.conftest import ROOT
from tests.bench.trainings import ONSET, STEPS, made, noisy, trained

from barograph.watch.incident import PRECEDENCE

RUNS = ("half_overflows-s0", "h_scaled-s0")


def command(home, *arguments):
    """The generator in a process of its own, as people start it."""
    return subprocess.run(
        [sys.executable, "-m", "bench.faults", "generate", "--home", str(home), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A faulty run with its twin and a healthy run, recorded by the command."""
    home = tmp_path_factory.mktemp("faults")
    done = command(home, "--only", ",".join(RUNS), "--jobs", "2")
    assert (done.returncode, "" if done.returncode == 0 else done.stderr) == (0, "")
    return home


def test_the_plan_is_wide_enough(faults):
    """There are at least 20 types of faults with 5 runs each, and 150 healthy runs that are no twins."""
    jobs = faults.plan.plan()
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names)
    by_fault = {}
    for job in jobs:
        by_fault.setdefault(job.fault, []).append(job)
    independent = [job for job in by_fault.pop(None) if not job.name.startswith("twin-")]
    assert len(by_fault) >= 20
    assert min(len(runs) for runs in by_fault.values()) >= 5
    assert len(independent) >= 150


def test_the_plan_is_the_same_for_the_same_seed(faults):
    """A seed gives one plan; another seed gives other onsets and other drawn settings."""
    assert faults.plan.plan(0) == faults.plan.plan(0)
    first, other = ({it.name: (it.onset, it.recipe) for it in faults.plan.plan(base)} for base in (0, 1))
    assert first.keys() == other.keys()
    differ = [name for name in first if first[name] != other[name]]
    assert len(differ) > len(first) / 2


def test_a_twin_is_the_same_training_and_comes_first(faults):
    """Before each faulty run stands its twin, with its seed and split; only faults of the setup change a recipe."""
    seen = {}
    for job in faults.plan.plan():
        if job.fault is not None:
            twin = seen[job.twin]
            assert (twin.seed, twin.split, twin.fault) == (job.seed, job.split, None)
            if not faults.catalogue.FAULTS[job.fault].changed:
                assert twin.recipe == job.recipe
        seen[job.name] = job


def test_the_split_is_a_rule_and_balanced(faults):
    """Odd seeds are held out and so is every unseen architecture; each fault has runs and doses on both sides."""
    by_fault = {}
    for job in faults.plan.plan():
        seed = int(job.name.rsplit("-s", 1)[1])
        assert job.split == ("held_out" if seed % 2 or job.recipe.unseen else "tuning")
        if job.fault:
            by_fault.setdefault(job.fault, []).append((job.split, job.dose))
    for name, found in by_fault.items():
        doses = set(faults.catalogue.FAULTS[name].doses)
        assert {split: {dose for at, dose in found if at == split} for split in ("tuning", "held_out")} == {
            "tuning": doses,
            "held_out": doses,
        }, name
        assert sum(split == "tuning" for split, _ in found) == sum(split == "held_out" for split, _ in found)
    unseen = {job.recipe.name for job in faults.plan.plan() if job.fault and job.recipe.unseen}
    assert len(unseen) >= 10


def test_right_types_are_types_that_exist(faults):
    """What counts as recognising a fault is spelled as the detectors are; nothing is both right and a symptom."""
    for kind in faults.catalogue.FAULTS.values():
        assert set(kind.right) | set(kind.symptoms) <= set(PRECEDENCE), kind.name
        assert set(kind.right).isdisjoint(kind.symptoms), kind.name
        assert kind.right, kind.name


def test_every_core_type_has_faults(faults):
    """Every core type but the stall of a dead process is right for some fault."""
    right = {name for kind in faults.catalogue.FAULTS.values() for name in kind.right}
    assert set(PRECEDENCE) - right == {"stall"}


def test_what_the_command_records(generated, faults):
    """The labels tell faulty from healthy, the onset and when it shows; the runs are there and whole."""
    labels = {it.name: it for it in faults.labels.read_labels(generated)}
    assert faults.labels.read_dropped(generated) == []
    assert set(labels) == {"half_overflows-s0", "twin-mlp_scaled-s0", "h_scaled-s0"}
    fault = labels["half_overflows-s0"]
    assert (fault.kind, fault.twin, fault.split) == ("fault", "twin-mlp_scaled-s0", "tuning")
    assert (fault.right, fault.sudden) == (("loss_scale", "non_finite"), True)
    assert fault.onset_step <= fault.shown_step <= fault.onset_step + 2
    assert {labels[name].kind for name in ("twin-mlp_scaled-s0", "h_scaled-s0")} == {"healthy"}
    raw = json.loads((generated / "labels.json").read_text(encoding="utf-8"))
    assert [it["name"] for it in raw] == sorted(labels)
    assert sorted(path.name for path in (generated / "runs").iterdir()) == sorted(labels)


def test_twins_are_the_same_until_the_fault(generated, faults):
    """Every number that is not measured is bit-equal before the onset, and not after it."""
    fault = next(it for it in faults.labels.read_labels(generated) if it.kind == "fault")
    one, other = (faults.curves.read_curves(generated / "runs" / name) for name in (fault.name, fault.twin))
    faults.shown.check_twins(one, other, fault.onset_step)
    with pytest.raises(faults.shown.TwinError, match="the twin has"):
        faults.shown.check_twins(one, other, fault.onset_step + 5)


def test_what_is_recorded_is_kept(generated):
    """A second call records nothing; a run whose description has changed is recorded again."""
    made_from = {it: it.read_bytes() for it in sorted((generated / "runs").glob("*/made_from.json"))}
    times = {it: it.stat().st_mtime_ns for it in made_from}
    changed = generated / "runs" / "h_scaled-s0" / "made_from.json"
    changed.write_bytes(b"{}")
    again = command(generated, "--only", ",".join(RUNS))
    assert again.returncode == 0, again.stderr
    assert again.stderr.splitlines()[-1].endswith("h_scaled-s0")
    assert len(again.stderr.splitlines()) == 1
    assert {it: it.read_bytes() for it in made_from} == made_from
    assert {it for it in times if it.stat().st_mtime_ns != times[it]} == {changed}


def test_an_unknown_command_says_what_there_is(capsys, faults):
    """Without a command the program says how it is used and fails."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.faults"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr.split()[:5]) == (
        2,
        ["usage:", "python", "-m", "bench.faults", "generate|score"],
    )


@pytest.mark.parametrize(
    ("kind", "recipe", "metric"),
    [
        ("sign_flipped", "mlp", "loss"),
        pytest.param("labels_shuffled", "copy", "loss", marks=pytest.mark.slow),
        pytest.param("garbage_batches", "vae", "loss", marks=pytest.mark.slow),
        ("codes_thrown_away", "vqvae", "codebook_perplexity"),
        ("latents_shrink", "gan", "sample_diversity"),
        pytest.param("entropy_punished", "policy", "entropy", marks=pytest.mark.slow),
        pytest.param("wrong_noise", "denoiser", "diffusion_loss", marks=pytest.mark.slow),
        ("biases_sink", "mlp", "dead_fraction"),
        ("gradients_noisy", "regression", "grad_norm"),
    ],
)
def test_a_fault_begins_at_its_onset(tmp_path, faults, kind, recipe, metric):
    """In every family the faulty training is its twin until the onset, and another one from there on."""
    one, _ = trained(faults, tmp_path / "one", recipe, kind=kind, eval_every=0)
    other, _ = trained(faults, tmp_path / "other", recipe, eval_every=0)
    faults.shown.check_twins(one, other, ONSET)
    assert one.train(metric)[:ONSET] == other.train(metric)[:ONSET]
    assert one.train(metric)[-20:] != other.train(metric)[-20:]


def test_a_forgetful_optimiser_changes_nothing(tmp_path, faults):
    """From the onset on the weights stay what they are, although gradients come."""
    curves, _ = trained(faults, tmp_path / "run", "mlp", kind="optimizer_forgets")
    assert min(curves.train("update_ratio")[:ONSET]) > 0
    assert curves.train("update_ratio")[ONSET:] == [0.0] * (STEPS - ONSET)
    assert min(curves.train("grad_norm")[ONSET:]) > 0
    assert len(set(curves.values["val", "val_loss"][-3:])) == 1


def test_a_rate_that_jumps_is_logged_or_not(tmp_path, faults):
    """The learning rate is logged as it is used, so that a jump by a hundred is seen."""
    curves, _ = trained(faults, tmp_path / "run", "mlp", kind="lr_jump", schedule="constant")
    assert curves.train("lr")[ONSET] == pytest.approx(100 * curves.train("lr")[ONSET - 1])


def test_a_leak_is_real(tmp_path, faults):
    """The resident memory of the process grows by what the loop keeps, once what other tests freed is given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    curves, _ = trained(faults, tmp_path / "run", "mlp_memory", kind="loop_leaks", dose=2.0)
    memory = curves.train("memory_mb")
    assert memory[-1] - memory[ONSET] > 0.9 * 2.0 * (STEPS - ONSET - 1)


def test_a_slow_loader_is_real(tmp_path, faults):
    """Steps take longer by what the loader sleeps, and by what a busy machine adds to a sleep."""
    curves, _ = trained(faults, tmp_path / "run", "mlp", kind="loader_slow", dose=30.0)
    times = curves.step_times()
    usual, late = (sorted(it)[len(it) // 2] for it in (times[:ONSET], times[ONSET:]))
    assert late - usual > 28.0


def test_a_stopped_evaluation_is_one(tmp_path, faults):
    """Evaluations end at the onset."""
    curves, _ = trained(faults, tmp_path / "run", "mlp", kind="no_evaluation")
    assert curves.steps["val", "val_loss"] == [9.0, 19.0, 29.0]


def test_a_zero_logarithm_gives_nan(tmp_path, faults):
    """The gradient is NaN at the onset and the loss is at the next step."""
    curves, _ = trained(faults, tmp_path / "run", "mlp", kind="log_of_zero")
    assert [math.isnan(it) for it in curves.train("grad_norm")[ONSET - 1 : ONSET + 1]] == [False, True]
    assert [math.isnan(it) for it in curves.train("loss")[ONSET : ONSET + 2]] == [False, True]


def test_a_resumed_run_repeats_steps_in_a_second_attempt(tmp_path, faults):
    """An interrupted run goes on some steps before, as the next attempt of the same run."""
    from barograph.read.run import open_run

    trained(faults, tmp_path / "run", "mlp", resume_step=40, repeat_steps=10)
    points = open_run(tmp_path / "run").curve("loss")
    assert [(it.attempt, int(it.step)) for it in points] == [
        *((0, step) for step in range(40)),
        *((1, step) for step in range(30, STEPS)),
    ]
    assert sum(not it.is_effective for it in points) == 10


def test_the_loss_scale_has_saw_teeth(tmp_path, faults):
    """With half-precision gradients the scale doubles until a gradient is infinite, and is halved then."""
    curves, _ = trained(faults, tmp_path / "run", "mlp_scaled", growth_steps=4)
    scales, norms = curves.train("loss_scale"), curves.train("grad_norm")
    assert max(scales) > scales[0]
    falls = [at for at, (a, b) in enumerate(pairwise(scales)) if b < a]
    assert falls
    assert [at for at, norm in enumerate(norms) if math.isinf(norm)] == falls


def test_looking_at_the_clock_changes_no_number(tmp_path, faults):
    """The same training twice gives bit-equal numbers, measured ones aside."""
    one, _ = trained(faults, tmp_path / "one", "copy")
    other, _ = trained(faults, tmp_path / "other", "copy")
    for key in one.values.keys() - {("train", name) for name in faults.curves.MEASURED}:
        assert one.values[key] == other.values[key], key


def kind_of(faults, **settings):
    """A fault of a rule."""
    base = faults.catalogue.FAULTS["lr_jump"]
    return msgspec.structs.replace(base, **settings)


def test_a_spike_shows_at_once_and_a_drift_when_it_is_held(faults):
    """One record eight noises away shows it; smaller ones do when three of five are four away; less never does."""
    usual = noisy(1.0, 80)
    rule = kind_of(faults, shows="twin")

    def shown(changed):
        return faults.shown.shown_step(rule, made(faults, loss=changed), made(faults, loss=usual), 40)

    noise = faults.noise.noise_of([math.log(it) for it in usual])
    spike, held, less = (
        [it * math.exp(noise * by if at in steps else 0) for at, it in enumerate(usual)]
        for by, steps in ((12, {50}), (5.5, {52, 54, 55}), (5.5, {52}))
    )
    assert (shown(spike), shown(held), shown(less), shown(usual)) == (50.0, 52.0, None, None)


def test_a_value_that_is_not_finite_shows(faults):
    """NaN where the twin has a number shows the fault."""
    usual = noisy(1.0, 60)
    changed = [*usual[:45], math.nan, *usual[46:]]
    rule = kind_of(faults, shows="twin")
    assert faults.shown.shown_step(rule, made(faults, loss=changed), made(faults, loss=usual), 40) == 45.0


def test_other_rules_of_showing(faults):
    """Memory shows with 8 MB, a stuck value at the third, overfitting at the second evaluation above its best."""
    flat = made(faults, loss=noisy(1.0, 60))
    grown = made(faults, memory_mb=[100.0] * 30 + [100.0 + at for at in range(30)])
    assert faults.shown.shown_step(kind_of(faults, shows="memory"), grown, flat, 30) == 39.0
    stuck = made(faults, loss=noisy(1.0, 40) + [1.0] * 10)
    assert faults.shown.shown_step(kind_of(faults, shows="same", metrics=("loss",)), stuck, flat, 40) == 42.0
    over = made(faults, val_loss=[1.0, 0.8, 0.6, 0.62, 0.66, 0.7])
    assert faults.shown.shown_step(kind_of(faults, shows="overfit"), over, flat, 0) == 5.0
    slow = made(faults, step_time_ms=noisy(2.0, 30) + noisy(5.0, 30))
    assert faults.shown.shown_step(kind_of(faults, shows="slow"), slow, flat, 30) == 30.0
    twin, gone = made(faults, val_loss=[1.0] * 6), made(faults, val_loss=[1.0] * 4)
    assert faults.shown.shown_step(kind_of(faults, shows="missing", metrics=("val_loss",)), gone, twin, 2) == 4.0


def test_twins_that_differ_too_early_are_refused(faults):
    """A number that differs before the onset is named, and so is a record that is missing."""
    usual = noisy(1.0, 50)
    with pytest.raises(faults.shown.TwinError, match=r"\('train', 'loss'\) at step 20: 9.0"):
        faults.shown.check_twins(made(faults, loss=[*usual[:20], 9.0, *usual[21:]]), made(faults, loss=usual), 30)
    with pytest.raises(faults.shown.TwinError, match="29 records before step 30, the twin has 30"):
        faults.shown.check_twins(made(faults, loss=usual[:29]), made(faults, loss=usual), 30)


def test_health_is_a_rule(faults):
    """A run that learns is healthy; one that does not, forgets, is not finite or loses its codes is not."""
    recipe = faults.healthy.HEALTHY["h_vqvae"]
    falling = [2.0 * 0.98**at + 0.1 for at in range(200)]
    codes = [18.0] * 200

    def ails(loss=falling, perplexity=codes, val=(2.0, 1.0, 0.5, 0.5, 0.5)):
        return faults.healthy.what_ails(recipe, made(faults, loss=loss, codebook_perplexity=perplexity, val_loss=val))

    assert ails() is None
    assert ails(loss=[1.0] * 100 + [0.9] * 100) == "the loss went from 1 to 0.9 only"
    assert ails(loss=[*falling[:-1], math.nan]) == "train/loss is not finite somewhere"
    assert ails(perplexity=[18.0] * 100 + [1.5] * 100) == "codebook_perplexity ends at 1.5, outside 4.8 to 1e+09"
    assert ails(val=(2.0, 0.5, 0.5, 0.5, 0.7, 0.7, 0.7)) == "val_loss ends at 0.7, its best was 0.5"


def test_a_machine_that_was_busy_is_told(faults):
    """Two dozen slow steps in a row are the machine's; single ones are not."""
    calm = [2.0] * 200
    calm[50] = calm[90] = 40.0
    busy = [2.0] * 100 + [9.0] * 30 + [2.0] * 70
    assert faults.healthy.slowed_down(made(faults, step_time_ms=calm)) is None
    assert faults.healthy.slowed_down(made(faults, step_time_ms=busy)).startswith("the machine slowed it down")


def test_schedules_are_what_their_names_say(faults):
    """Warm-up rises, cosine falls, restarts rise again twice, step decay falls twice by ten, one-cycle has one peak."""

    def rates(name):
        return [faults.schedules.factor(name, step, 300) for step in range(300)]

    warmup, cosine, restarts, steps, cycle = map(rates, ("warmup", "cosine", "restarts", "step_decay", "one_cycle"))
    assert (warmup[0] < 0.05, warmup[40:] == [1.0] * 260) == (True, True)
    assert cosine == sorted(cosine, reverse=True)
    assert sum(b > 10 * a for a, b in pairwise(restarts)) == 2
    assert sorted({round(it, 6) for it in steps}) == [0.01, 0.1, 1.0]
    assert cycle.index(max(cycle)) == pytest.approx(90, abs=1)
