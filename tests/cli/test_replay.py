"""``barograph replay``: over runs that were really recorded, what a watch would have told, and how often."""

from __future__ import annotations

import json
import math
import random
from types import SimpleNamespace

import pytest
from tests.conftest import QUIET

import barograph
from barograph.cli import replay
from barograph.facts.rundir import RunDir
from barograph.watch.actions.record import as_line
from barograph.watch.settings import read_settings
from barograph.watch.watcher import open_watcher

NUM_STEPS = 120
NAN_STEP = 100
SETTINGS = {"detectors": ["non_finite", "loss_spike"]}


def record(root, name, loss_of, **options):
    """Record a run whose losses come from a function of the step; returns its directory."""
    with barograph.init(name=name, root=root, config={"lr": 0.1}, **QUIET, **options) as run:
        for step in range(NUM_STEPS):
            run.log({"loss": loss_of(step), "score": 1.0}, step=step)
    return run.dir


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three runs below one root: one goes well, one becomes NaN, one has a metric of its own that runs away."""
    root = tmp_path_factory.mktemp("runs")
    draws = random.Random(0)
    noise = [0.02 * draws.random() for _ in range(NUM_STEPS)]
    return SimpleNamespace(
        root=root,
        well=record(root, "well", lambda step: 1.0 + noise[step]),
        broken=record(root, "broken", lambda step: math.nan if step >= NAN_STEP else 1.0 + noise[step]),
        high=record(root, "high", lambda step: 1.0 + noise[step] + (step >= 60)),
    )


@pytest.fixture
def command(capsys):
    """Run the verb in this process; returns what it printed."""

    def run(*arguments, root=None):
        assert replay.main([str(it) for it in arguments], root=root) == 0
        return capsys.readouterr().out

    return run


@pytest.mark.spec("S2.24")
def test_what_would_have_been_told_and_how_often(command, runs):
    """The alert with its step and its numbers; then runs, incidents, steps, and incidents per 10 000 steps."""
    lines = command(runs.broken, runs.well, "--detectors", "non_finite,loss_spike").splitlines()
    assert lines[0].endswith("broken  1 incident in 120 steps")
    assert lines[1].startswith(
        "  step 100  fatal     non_finite: loss is nan at step 100; the last finite value was 1.0"
    )
    assert lines[2:] == [
        "2 runs, 1 of them silent; 1 incident in 240 steps: 41.67 per 10 000",
        "  type        incidents opened  per 10 000 steps  runs",
        "  non_finite                 1             41.67     1",
    ]


def test_silent_runs_are_shown_when_asked_for(command, runs):
    """A line for each run, also where nothing is told."""
    assert "well" not in command(runs.root, "--detectors", "non_finite")
    assert "well  0 incidents in 120 steps" in command(runs.root, "--detectors", "non_finite", "--silent")


def test_every_run_below_the_root_is_replayed_once(command, runs):
    """With no name, with the root's name, and with a run that is below it as well."""
    expected = [runs.well, runs.broken, runs.high]
    for arguments, root in (((), str(runs.root)), ((runs.root,), None), ((runs.root, runs.well), None)):
        found = json.loads(command(*arguments, "--json", "--detectors", "non_finite", root=root))
        assert [it["path"] for it in found["runs"]] == [str(path) for path in expected]
    by_name = json.loads(command("broken", "--json", "--detectors", "non_finite", root=str(runs.root)))
    assert [it["name"] for it in by_name["runs"]] == ["broken"]


def test_json_holds_the_alerts_as_they_would_stand_in_the_run(command, runs):
    """Each alert is the line that a watcher writes into alerts.jsonl; the sums are those of the runs."""
    found = json.loads(command(runs.root, "--json", "--detectors", "non_finite,loss_spike"))
    broken = next(it for it in found["runs"] if it["name"] == "broken")
    watcher = open_watcher(RunDir(runs.broken), read_settings(SETTINGS), config={"lr": 0.1})
    expected = [json.loads(json.dumps(as_line(it))) for it in watcher.finish()]
    assert [it["id"] for it in broken["alerts"]] == [it["id"] for it in expected]
    assert broken["alerts"][0]["text"] == expected[0]["text"]
    assert (broken["steps"], broken["incidents"]) == (NUM_STEPS, 1)
    assert found["steps"] == 3 * NUM_STEPS
    assert found["incidents"] == sum(it["incidents"] for it in found["runs"])
    assert found["per_10000_steps"] == pytest.approx(found["incidents"] * 10_000 / (3 * NUM_STEPS))
    assert found["types"]["non_finite"] == 1


def test_a_rule_of_ones_own_is_replayed(command, runs):
    """A rule over recorded runs: which of them would have broken it, and since when."""
    found = json.loads(command(runs.root, "--json", "--detectors", "non_finite", "--rule", "loss > 1.5 for 20 records"))
    opened = {it["name"]: [each for each in it["alerts"] if each["stage"] == "opened"] for it in found["runs"]}
    since = {name: [each["since_step"] for each in alerts] for name, alerts in opened.items()}
    assert since == {"well": [], "broken": [NAN_STEP], "high": [60]}


def test_a_role_that_is_declared_counts(command, tmp_path):
    """A metric of a name that says nothing is a loss when it is declared to be one."""
    draws = random.Random(1)
    with barograph.init(name="odd", root=tmp_path, **QUIET) as run:
        for step in range(NUM_STEPS):
            run.log({"zeta": (1 + 0.02 * draws.random()) * (50 if 90 <= step < 95 else 1)}, step=step)
    arguments = (run.dir, "--json", "--detectors", "loss_spike")
    assert json.loads(command(*arguments))["incidents"] == 0
    assert json.loads(command(*arguments, "--role", "zeta=loss"))["types"] == {"loss_spike": 1}


def test_off_leaves_detectors_out(command, runs):
    """All but these: the NaN is nobody's any more."""
    found = json.loads(command(runs.broken, "--json", "--off", "non_finite"))
    assert "non_finite" not in found["types"]


@pytest.mark.spec("S2.42")
def test_full_says_what_to_do(command, runs):
    """Causes and remedies of each alert, as a watch shows them."""
    text = command(runs.broken, "--detectors", "non_finite", "--full")
    assert "ALERT [fatal] non_finite at step 100" in text
    assert "   why: " in text
    assert "do:  stop" in text


def test_nothing_is_written_into_the_runs(command, runs):
    """Every file of the runs is afterwards what it was before."""

    def files():
        return {it: (it.stat().st_mtime_ns, it.stat().st_size) for it in runs.root.rglob("*")}

    before = files()
    command(runs.root, "--detectors", "non_finite,loss_spike")
    assert files() == before


def test_repeated_steps_of_a_resume_count_again(tmp_path, command):
    """Steps are those that were logged: what an attempt repeats was watched twice."""
    for attempt in range(2):
        with barograph.init(name="twice", dir=tmp_path / "run", resume="allow", **QUIET) as run:
            for step in range(attempt * 20, 40 + attempt * 20):
                run.log({"loss": 1.0, "lr": 0.1}, step=step)
                if not step % 10:
                    run.log({"loss": 1.0}, step=step, split="val")
    found = json.loads(command(tmp_path / "run", "--json", "--detectors", "non_finite"))
    assert found["steps"] == 80


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--detectors", "lossspike"), "lossspike"),
        (("--role", "zeta"), "--role 'zeta' is not METRIC=ROLE"),
        (("--role", "zeta=nothing"), "nothing"),
        (("--rule", "loss ?? 3"), "loss ?? 3"),
        (("--detectors", "non_finite", "--off", "non_finite"), "name those that watch, or those that do not"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(runs, arguments, words):
    """The offending value is named, before any run is read."""
    with pytest.raises(barograph.errors.MisuseError) as caught:
        replay.main([str(runs.root), *arguments], root=None)
    assert words in str(caught.value)
