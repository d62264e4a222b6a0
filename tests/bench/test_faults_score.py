"""The judgement of FaultBench: on runs that were really recorded, and its arithmetic checked with numbers."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.conftest import QUIET
from tests.recorded import Recorded

import barograph
from barograph.watch.detector import Detector
from barograph.watch.incident import QUIET_RECORDS
from barograph.watch.monitor import Monitor

ROOT = Path(__file__).resolve().parents[2]
NUM_STEPS = 260
ONSET = 150
DETECTORS = "loss_spike,non_finite"


@pytest.fixture(scope="module")
def bench():
    """The modules of the judgement, which is run from the repository and never installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from bench.faults import baselines, episodes, figures, labels, score, tables, trial
        from bench.faults.baselines import base

        yield SimpleNamespace(
            base=base,
            baselines=baselines,
            episodes=episodes,
            figures=figures,
            labels=labels,
            score=score,
            tables=tables,
            trial=trial,
        )


def record(path, fault, seed):
    """Record a run of a noisy falling loss; from ``ONSET`` on, it is what the fault makes of it."""
    draws = random.Random(seed)
    with barograph.init(dir=path, config={"lr": 0.1}, total_steps=NUM_STEPS, **QUIET) as run:
        for step in range(NUM_STEPS):
            loss = 2 * math.exp(-step / 80) + 0.1 + 0.02 * draws.random()
            if step >= ONSET and fault == "nan":
                loss = math.nan
            if ONSET <= step < ONSET + 5 and fault == "bad_batches":
                loss *= 10
            run.log({"loss": loss, "grad_norm": 1 + 0.2 * draws.random(), "lr": 0.1}, step=step)
            if step % 50 == 49:
                run.log({"loss": 1.0 + 0.1 * draws.random()}, step=step, split="val")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two healthy runs, two kinds of faults, and one fault that nobody can see, in each split."""
    home = tmp_path_factory.mktemp("faults")
    right = {"nan": ["non_finite"], "bad_batches": ["loss_spike"], "hidden": ["non_finite"], None: []}
    labels = []
    for place, split in enumerate(("tuning", "held_out")):
        for number, fault in enumerate((None, None, "nan", "bad_batches", "hidden")):
            name = f"toy-{fault or 'healthy'}-{number}-{split}"
            record(home / "runs" / name, fault, seed=10 * place + number)
            at = None if fault is None else ONSET
            label = {"name": name, "kind": "fault" if fault else "healthy", "split": split, "steps": NUM_STEPS}
            label |= {"fault": fault, "dose": 2.0 if fault else None, "onset_step": at, "shown_step": at}
            label |= {"family": "toy", "recipe": "toy", "log_every": 1, "sudden": True}
            labels.append({**label, "right": right[fault], "symptoms": [], "twin": None})
    labels.append({**labels[-1], "name": "still-being-recorded"})
    (home / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    return home


def test_real_runs_are_judged_as_they_were_recorded(bench, home, tmp_path, capsys):
    """On the held-out half: three faults, of which the hidden one is missed; nobody is alarmed without one."""
    document = tmp_path / "page.md"
    code = bench.score.main(
        ["--home", str(home), "--split", "held_out", "--document", str(document), "--baselines", "z_score,chance"]
    )
    assert code == 0
    found = json.loads(document.with_suffix(".json").read_text())
    mine = found["subjects"]["barograph"]["published"]
    assert found["split"] == "held_out"
    assert (mine["recall"]["count"], mine["recall"]["of"]) == (2, 3)
    assert (mine["type_accuracy"]["count"], mine["type_accuracy"]["of"]) == (2, 2)
    assert (mine["false_incidents"], mine["healthy_steps"]) == (0, 2 * NUM_STEPS + 3 * ONSET)
    assert mine["healthy_runs_alarmed"]["of"] == 2
    assert set(found["subjects"]) == {"barograph", "z_score", "chance"}
    page = document.read_text()
    assert "| toy-hidden-4-held_out | hidden (2.0), shown at step 150 | non_finite | silence; " in page
    assert "| recall | >= 0.90 | 0.67 [0.21, 0.94] 2/3 | **NO** |" in page
    assert "toy-hidden" not in capsys.readouterr().out


def test_processes_side_by_side_say_the_same_as_one(bench, home):
    """What is told of the runs does not depend on how many processes look at them."""
    episodes = bench.episodes.read_episodes(home)[:4]
    told = [
        bench.score.try_all(episodes, home=home, detectors=DETECTORS.split(","), against=["z_score"], jobs=jobs)
        for jobs in (1, 2)
    ]
    assert [it.ours for it in told[0]] == [it.ours for it in told[1]]
    assert [it.theirs for it in told[0]] == [it.theirs for it in told[1]]
    assert [len(it.ours) for it in told[0]] == [0, 0, 1, 1]


def test_what_is_missed_is_shown_of_the_tuning_half_only(bench, home, capsys):
    """The miss stands there with its directory and what moved; of the other half nothing is shown."""
    arguments = ["--home", str(home), "--detectors", DETECTORS, "--misses", "--jobs", "1"]
    assert bench.score.main([*arguments, "--split", "tuning"]) == 0
    out = capsys.readouterr().out.partition("Split")[0]
    assert out.startswith(f"{home}/runs/toy-hidden-4-tuning: hidden (2.0), shown at step 150, right: non_finite\n")
    assert "    MISSED: " in out
    assert "held_out" not in out
    with pytest.raises(SystemExit):
        bench.score.main([*arguments, "--split", "held_out"])
    assert "use --split tuning" in capsys.readouterr().err


def test_only_faults_that_the_chosen_detectors_should_find_are_asked(bench, home, capsys):
    """With one detector chosen, runs whose fault is of another type are left out; healthy ones are not."""
    bench.score.main(["--home", str(home), "--detectors", "loss_spike", "--jobs", "1"])
    assert capsys.readouterr().out.startswith("Split `tuning`: 1 runs with 1 kinds of faults, 2 healthy runs")


def test_a_label_whose_records_are_not_there_yet_is_left_out(bench, home, tmp_path):
    """While the benchmark is being made, what there is can be judged; where there is nothing, the next step is said."""
    names = [it.name for it in bench.episodes.read_episodes(home)]
    assert "still-being-recorded" not in names
    assert len(names) == 10
    with pytest.raises(FileNotFoundError, match=r"python -m bench\.faults generate"):
        bench.episodes.read_episodes(tmp_path)


def test_baselines_see_what_was_recorded(bench, home):
    """Every training and validation record, in order, by role; what is not finite is NaN."""
    episode = next(it for it in bench.episodes.read_episodes(home) if it.fault == "nan")
    probe = bench.trial.Probe()
    directory = bench.trial.RunDir(home / "runs" / episode.name)
    bench.trial.Watcher(directory, detectors=[probe]).finish()
    recorded = Recorded(home / "runs" / episode.name).records
    for split, role in (("train", "loss"), ("val", "val_loss")):
        seen = [(it.step, repr(it.values[role])) for it in probe.seen if it.split == split]
        assert seen == [(it["step"], repr(it["loss"])) for it in recorded if it["split"] == split]
    assert [it.t for it in probe.seen] == sorted(it.t for it in probe.seen)


def episode(bench, **changes):
    """A label of a fault that shows at step 100."""
    given = {"name": "x", "kind": "fault", "split": "tuning", "steps": 300, "fault": "f", "onset_step": 90}
    given |= {"shown_step": 100, "right": ("divergence",), "symptoms": ("loss_spike",)}
    given |= {"family": "toy", "recipe": "toy", "log_every": 1}
    return bench.labels.Label(**{**given, **changes})


def alarm(bench, step, type_, *, is_new=True):
    """An alarm."""
    return bench.episodes.Alarm(step=step, type=type_, is_new=is_new)


@pytest.mark.parametrize(
    ("alarms", "expected"),
    [
        pytest.param([], (False, None, False, None), id="silence"),
        pytest.param([(110, "divergence")], (True, True, True, 10), id="right"),
        pytest.param([(105, "loss_spike"), (120, "divergence")], (True, False, False, 5), id="symptom first"),
        pytest.param([(105, "plateau"), (120, "divergence")], (True, False, False, 20), id="wrong first"),
        pytest.param([(105, "plateau")], (False, False, False, None), id="wrong only"),
        pytest.param([(50, "divergence")], (False, None, False, None), id="before it only"),
        pytest.param([(89, "plateau"), (100, "divergence")], (True, True, False, 0), id="before it and right"),
        pytest.param([(95, "divergence")], (True, True, True, 0), id="between the onset and what everybody sees"),
    ],
)
def test_what_counts_as_found_and_as_named(bench, alarms, expected):
    """A symptom finds a fault and does not name it; whatever came before it is not clean."""
    verdict = bench.figures.judge(episode(bench), [alarm(bench, *it) for it in alarms])
    assert expected == (verdict.is_found, verdict.is_named, verdict.is_clean, verdict.delay)


def test_whoever_names_no_type_is_right_as_to_what_and_never_as_to_its_name(bench):
    """The generous reading for baselines without types."""
    verdict = bench.figures.judge(episode(bench), [alarm(bench, 130, None)], names_types=False)
    assert (verdict.is_found, verdict.is_clean, verdict.is_named, verdict.delay) == (True, True, False, 30)


def trial(bench, label, *alarms):
    """A trial in which our detectors told this."""
    return bench.trial.Trial(episode=label, ours=list(alarms), theirs={}, num_steps=300, num_before=90, moved={})


def test_false_alarms_are_incidents_opened_while_nothing_is_wrong(bench):
    """In a healthy run all that are opened, in a faulty one those before the onset; what joins one is not counted."""
    healthy = episode(bench, kind="healthy", onset_step=None, shown_step=None, right=(), symptoms=())
    trials = [
        trial(bench, healthy, alarm(bench, 10, "plateau"), alarm(bench, 20, "frozen", is_new=False)),
        trial(bench, healthy),
        trial(bench, episode(bench), alarm(bench, 89, "plateau"), alarm(bench, 95, "plateau")),
    ]
    rate = bench.figures.false_rate(trials, bench.tables.ours)
    assert (rate.count, rate.steps) == (2, 300 + 300 + 90)
    assert rate.value == pytest.approx(2 / 690 * 10_000)
    copied = bench.figures.without_copies
    twin = trial(bench, episode(bench, name="twin", kind="healthy"), alarm(bench, 89, "plateau"))
    assert copied([twin, trial(bench, episode(bench, twin="twin"))]) == [twin]
    assert len(copied(trials)) == 3
    found = bench.figures.figures(trials, bench.tables.ours)
    assert (found.alarmed.count, found.alarmed.of) == (1, 2)


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0.0, 3.6889), (2, 0.2422, 7.2247), (10, 4.7954, 18.3904)])
def test_intervals_of_rates_are_the_exact_ones(bench, count, low, high):
    """The published 95 % limits of a Poisson count (Garwood 1936)."""
    rate = bench.figures.Rate(count=count, steps=10_000)
    assert rate.interval == pytest.approx((low, high), abs=1e-3)


def test_types_have_their_own_figures(bench):
    """Recall by the type that a fault counts for; precision by the type that was told, wherever that was."""
    trials = [
        trial(bench, episode(bench), alarm(bench, 110, "divergence")),
        trial(bench, episode(bench), alarm(bench, 140, "loss_spike"), alarm(bench, 145, "frozen")),
        trial(bench, episode(bench, right=("frozen",), symptoms=()), alarm(bench, 50, "divergence")),
    ]
    found = bench.figures.by_type(trials, bench.tables.ours)
    assert (found["divergence"].figures.recall.count, found["divergence"].figures.recall.of) == (2, 2)
    assert (found["frozen"].figures.recall.count, found["frozen"].figures.recall.of) == (0, 1)
    assert found["divergence"].delays == [10, 40]
    assert (found["divergence"].precision.count, found["divergence"].precision.of) == (1, 2)
    assert (found["divergence"].num_false, found["frozen"].num_false) == (1, 0)


def seen(bench, losses, *, norms=None, role="loss"):
    """Samples of one training metric, and of the gradient norm."""
    found = []
    for step, loss in enumerate(losses):
        values = {role: loss} | ({} if norms is None else {"grad_norm": norms[step]})
        found.append(bench.base.Seen(float(step), 1e9 + step, "train", 0, step + 1, values))
    return found


def noisy(count, *, seed=0, level=1.0):
    """Values with a little noise."""
    draws = random.Random(seed)
    return [level * (1 + 0.05 * draws.gauss(0, 1)) for _ in range(count)]


JUMP = 250
SUBJECTS = ("z_score", "olmo_skip_step", "kill_loss_spike", "page_hinkley", "half_space_trees", "zclip", "adwin")


@pytest.mark.parametrize("name", SUBJECTS)
def test_each_baseline_sees_what_it_is_made_for(bench, name):
    """After 250 quiet records everything is eight times as large: each has a level that is right about both."""
    baseline = bench.baselines.load(name)
    values = [it * (8 if step >= JUMP else 1) for step, it in enumerate(noisy(JUMP + 80))]
    found = baseline.alarms(seen(bench, values, norms=values), baseline.levels, "x")
    first = [raw[0][0] for raw in found if raw]
    assert JUMP <= max(first) <= JUMP + 60


@pytest.mark.parametrize("name", [*SUBJECTS, "twelve_rules", "sagemaker", "fixed_thresholds"])
def test_stricter_levels_alarm_less(bench, name):
    """From the laxest level to the strictest, alarms become fewer: that is what a threshold is swept for."""
    baseline = bench.baselines.load(name)
    values = [it * (6 if 200 <= step < 210 else 1) for step, it in enumerate(noisy(400, seed=1))]
    counts = [len(it) for it in baseline.alarms(seen(bench, values, norms=values), baseline.levels, "x")]
    assert counts[0] > counts[-1]
    assert baseline.published in baseline.levels
    ends = max(counts[: len(counts) // 2]), max(counts[len(counts) // 2 :])
    assert ends[0] >= ends[1]


def test_four_high_losses_in_a_row_kill_nothing_and_five_do(bench):
    """KillLossSpike's patience."""
    baseline = bench.baselines.load("kill_loss_spike")
    for length, expected in ((4, []), (5, [154]), (6, [154, 155])):
        values = [3.0 if 150 <= step < 150 + length else 1.0 for step in range(200)]
        (raw,) = baseline.alarms(seen(bench, values), [2.0], "x")
        assert [place for place, _ in raw] == expected


def test_zclip_keeps_what_it_clipped_out_of_its_statistics(bench):
    """A hundred times the norm, again and again, is a spike each time: clipped values hardly move the mean."""
    baseline = bench.baselines.load("zclip")
    norms = [100.0 if step in (60, 65, 70) else it for step, it in enumerate(noisy(80, seed=3))]
    (raw,) = baseline.alarms(seen(bench, norms, role="grad_norm"), [10.0], "x")
    assert [place for place, _ in raw] == [60, 65, 70]


def test_the_twelve_rules_call_a_noisy_loss_an_oscillation(bench):
    """The published rule fires on white noise, which changes direction two times out of three."""
    baseline = bench.baselines.load("twelve_rules")
    (raw,) = baseline.alarms(seen(bench, noisy(100, seed=4)), [baseline.published], "x")
    assert "oscillation" in {name for _, name in raw}


def test_sagemakers_rules_call_noise_a_loss_that_does_not_fall(bench):
    """Ten records and no tolerance: any noisy loss."""
    baseline = bench.baselines.load("sagemaker")
    falling = [2.0 - step / 100 for step in range(60)]
    (quiet,) = baseline.alarms(seen(bench, falling), [baseline.published], "x")
    (raw,) = baseline.alarms(seen(bench, noisy(60, seed=5)), [baseline.published], "x")
    assert quiet == []
    assert {name for _, name in raw} == {"underfitting"}


def test_chance_alarms_as_often_as_it_is_told_to(bench):
    """At 200 of 10 000, the same for the same run, and another for another."""
    baseline = bench.baselines.load("chance")
    samples = seen(bench, [1.0] * 20_000)
    (raw,), (again,), (other,) = (baseline.alarms(samples, [200.0], name) for name in ("x", "x", "y"))
    assert abs(len(raw) - 400) < 5 * math.sqrt(400)
    assert raw == again
    assert raw != other


def test_log_losses_are_standardised_by_those_before(bench):
    """Each is measured against mean and deviation of the earlier ones, computed here the dull way."""
    losses = noisy(40, seed=6)
    found = dict(bench.base.log_losses(seen(bench, losses)))
    before = [math.log(it) for it in losses[:30]]
    assert found[30] == pytest.approx((math.log(losses[30]) - statistics.fmean(before)) / statistics.pstdev(before))


def test_z_scores_are_those_of_the_values_before(bench):
    """Against mean and deviation of the window before each value, computed here the dull way."""
    values = [*noisy(30, seed=8), 5.0, *noisy(30, seed=9)]
    found = bench.base.z_scores(values, window=20, fewest=5)
    assert found[:5] == [0.0] * 5
    for place in range(5, len(values)):
        before = values[max(0, place - 20) : place]
        expected = (values[place] - statistics.fmean(before)) / statistics.stdev(before)
        assert found[place] == pytest.approx(expected)
    assert bench.base.z_scores([1.0] * 10 + [2.0, 1.0], window=5, fewest=2)[9:11] == [0.0, math.inf]


class Planned(Detector):
    """Alarms at planned records, under the cool-down that detectors have."""

    name = "loss_spike"
    reads = ("loss",)
    plan: list[int] = []  # noqa: RUF012 - a field of the detector's state, which msgspec copies

    def update(self, sample):
        """See ``Detector``."""
        self.is_active = sample.context.num_records in self.plan
        if not self.is_active or self.is_quiet(sample):
            return None
        return self.alert(sample, "planned", severity="warning")


@pytest.mark.parametrize(
    "plan",
    [[30], [30, 31, 32], [30, 85], list(range(30, 200)), [30, 140, 300], [30, 30 + QUIET_RECORDS + 20, 290]],
    ids=str,
)
def test_alarms_of_baselines_are_told_as_those_of_detectors_are(bench, plan):
    """The same alarms, once raised by a detector before the monitor and once by a baseline, make the same incidents."""
    samples = seen(bench, noisy(400, seed=7))
    header = barograph.facts.rows.StreamHeader(run_id="x", columns=["step", "loss", "t"])
    monitor = Monitor([Planned(plan=plan)])
    told = monitor.take((header, [(it.step, it.values["loss"], it.t) for it in samples]))
    mine = [(it.step, it.stage == "opened") for it in told if it.stage != "ended"]
    theirs = bench.base.told(samples, [(record - 1, "loss_spike") for record in plan])
    assert [(it.step, it.is_new) for it in theirs] == mine


def test_baselines_are_held_to_our_false_alarms(bench):
    """The laxest level that cries wolf no more often than we do, on the same steps; the strictest when none is."""
    healthy = episode(bench, kind="healthy", onset_step=None, shown_step=None, right=(), symptoms=())
    theirs = [[alarm(bench, step, None) for step in range(count)] for count in (9, 4, 2, 1, 0)]
    one = bench.trial.Trial(episode=healthy, ours=[], theirs={"b": theirs}, num_steps=1000, num_before=1000, moved={})
    for count, place in ((9, 0), (3, 2), (2, 2), (0, 4)):
        rate = bench.figures.Rate(count=count, steps=1000)
        assert bench.figures.equal_level([one], "b", [1.0] * 5, rate) == place
    one.theirs["b"] = theirs[:3]
    assert bench.figures.equal_level([one], "b", [1.0] * 3, bench.figures.Rate(count=0, steps=1000)) == 2


def test_what_was_to_be_seen_is_said_of_a_miss(bench):
    """The metrics that moved most, with their medians before, just after and at the end; not those that did not."""
    moved = {"loss": (0.5, 4.0, 2.0), "lr": (0.1, 0.1, 0.1), "entropy": (math.nan, 1.0, 0.5), "kl": (1.0, 1.05, 1.0)}
    one = bench.trial.Trial(episode=episode(bench), ours=[], theirs={}, num_steps=9, num_before=3, moved=moved)
    expected = "silence; before, just after and at the end: loss 0.5 -> 4 -> 2, entropy 1 -> 0.5"
    assert bench.tables.seen_words(one) == expected
    one.moved = {"lr": (0.1, 0.1, 0.1)}
    assert bench.tables.seen_words(one) == "silence; no metric differs by a tenth"
    one.ours = [alarm(bench, 120, "plateau")]
    assert bench.tables.seen_words(one) == "plateau at 120"
