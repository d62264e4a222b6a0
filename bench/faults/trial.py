"""One run before everybody: our detectors through the watcher that users have, baselines on the very same samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar

import msgspec

from barograph import plugins
from barograph.facts.rundir import RunDir
from barograph.read.run import RunReader
from barograph.watch.alert import Alert
from barograph.watch.detector import Detector, Sample
from barograph.watch.watcher import GROUP, Watcher
from bench.faults import baselines
from bench.faults.baselines.base import Seen, told
from bench.faults.episodes import Alarm
from bench.faults.labels import Label


class Probe(Detector):
    """Writes down what detectors are shown; it never says anything."""

    name: ClassVar[str] = "probe"
    reads: ClassVar[tuple[str, ...]] = ("*",)

    seen: list[Seen] = msgspec.field(default_factory=list)

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        values = {role: math.nan if it.nonfinite_run else it.value for role, it in sample.signals.items()}
        context = sample.context
        self.seen.append(Seen(sample.step, sample.t, sample.split, context.attempt, context.num_records, values))
        return None


class Trial(msgspec.Struct, kw_only=True):
    """What everybody said about one run.

    Attributes:
        episode: its label.
        ours: what our detectors told.
        theirs: by baseline, what it told at each of its levels.
        num_steps: how many training steps were logged.
        num_before: how many of them before the onset.
        moved: by role, the median of 24 records before the fault shows, of the first 24 since, and of the last 24.
    """

    episode: Label
    ours: list[Alarm]
    theirs: dict[str, list[list[Alarm]]]
    num_steps: int
    num_before: int
    moved: dict[str, tuple[float, float, float]]


@cache
def _class_of(name: str) -> type[Detector]:
    """Found once: looking for entry points takes longer than watching a run."""
    found: type[Detector] = plugins.load(GROUP, name)
    return found


def try_run(episode: Label, home: Path, detectors: Sequence[str], against: Sequence[str]) -> Trial:
    """Show one run to everybody.

    Args:
        episode: its label.
        home: directory of the benchmark.
        detectors: names of ours.
        against: names of baselines.
    """
    path = home / "runs" / episode.name
    probe = Probe()
    watcher = Watcher(
        RunDir(path), detectors=[*(_class_of(name)() for name in detectors), probe], config=RunReader(path).config
    )
    ours = [
        Alarm(step=it.step, type=it.alert.type, is_new=it.stage == "opened", text=it.alert.text)
        for it in watcher.finish()
        if it.stage != "ended"
    ]
    theirs = {}
    for name in against:
        baseline = baselines.load(name)
        raw = baseline.alarms(probe.seen, baseline.levels, episode.name)
        theirs[name] = [told(probe.seen, each) for each in raw]
    steps = {(it.attempt, it.step) for it in probe.seen if it.split == "train"}
    onset = math.inf if episode.onset_step is None else episode.onset_step
    return Trial(
        episode=episode,
        ours=ours,
        theirs=theirs,
        num_steps=len(steps),
        num_before=sum(step < onset for _, step in steps),
        moved=_moved(probe.seen, episode.shown_step),
    )


def _moved(seen: Sequence[Seen], shown: float | None, *, count: int = 24) -> dict[str, tuple[float, float, float]]:
    if shown is None:
        return {}
    found = {}
    for role in dict.fromkeys(role for it in seen for role in it.values):
        have = [(it.step, it.values[role]) for it in seen if role in it.values]
        before = [value for step, value in have if step < shown][-count:]
        since = [value for step, value in have if step >= shown]
        found[role] = (_median(before), _median(since[:count]), _median(since[-count:]))
    return found


def _median(values: Sequence[float]) -> float:
    finite = sorted(value for value in values if math.isfinite(value))
    return finite[len(finite) // 2] if len(finite) * 2 > len(values) else math.nan
