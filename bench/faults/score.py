"""``python -m bench.faults score``: everybody over the recorded runs; tables, and for tuning what went wrong where.

Levels of baselines are always chosen on the tuning split, whichever is reported. What was missed in the held-out split
is written into the document, once there is one; it is not printed to be tuned on.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final
from zlib import crc32

from barograph import plugins
from barograph.watch.watcher import GROUP
from bench.faults import baselines, tables
from bench.faults.episodes import Alarm, read_episodes
from bench.faults.figures import false_alarms, judge
from bench.faults.labels import Label
from bench.faults.trial import Trial, try_run

HOME: Final = Path(__file__).resolve().parents[2] / ".bench" / "faults"
SPLITS: Final = ("tuning", "held_out")
LATE_STEPS: Final = 25
QUICK_EVERY: Final = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge; 2 when the arguments cannot be used."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.misses and args.split != "tuning":
        parser.error("--misses shows what to tune on, which the held-out split is not for; use --split tuning")
    if args.document and (args.detectors or args.quick):
        parser.error("--document is for the whole of the benchmark; leave out --detectors and --quick")
    names = args.detectors.split(",") if args.detectors else plugins.names(GROUP)
    if unknown := sorted(set(names) - set(plugins.names(GROUP))):
        parser.error(f"no detector is called {unknown[0]!r}; choose from {', '.join(plugins.names(GROUP))}")
    against = _against(args, parser)
    try:
        episodes = _wanted(read_episodes(args.home), args, names, has_baselines=bool(against))
    except FileNotFoundError as error:
        parser.error(str(error))
    trials = try_all(episodes, home=args.home, detectors=names, against=against, jobs=args.jobs)
    reported = [it for it in trials if it.episode.split == args.split]
    tuning = [it for it in trials if it.episode.split == "tuning"]
    if not reported:
        parser.error(f"no run of split {args.split} has a label in {args.home}; record more of them first")
    if args.misses:
        print("\n".join(misses(reported, home=args.home)))
    score = tables.Score(reported, tuning=tuning, against=against, split=args.split)
    print(score.render())
    if args.document:
        score.write(args.document)
        print(f"tables: {args.document}\nfigures: {args.document.with_suffix('.json')}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.faults score", description=__doc__)
    parser.add_argument("--home", type=Path, default=HOME, help="directory of labels.json and runs/")
    parser.add_argument("--split", choices=SPLITS, default="tuning", help="which runs are reported")
    parser.add_argument("--detectors", help="only these of ours, with commas; and only faults that they should find")
    parser.add_argument("--baselines", help=f"with commas, of {', '.join(baselines.ORDER)}; none, or all")
    parser.add_argument("--document", type=Path, help="put the tables into this page, and their figures beside it")
    parser.add_argument("--misses", action="store_true", help="say what was missed or falsely told, run by run")
    parser.add_argument("--quick", action="store_true", help=f"one run in {QUICK_EVERY}; no figure of weight")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    return parser


def _against(args: argparse.Namespace, parser: argparse.ArgumentParser) -> list[str]:
    """The baselines that are asked: none where detectors are tuned."""
    given = args.baselines or ("none" if args.detectors or args.misses else "all")
    if given in ("none", "all"):
        return list(baselines.ORDER) if given == "all" else []
    names: list[str] = given.split(",")
    if unknown := sorted(set(names) - set(baselines.ORDER)):
        parser.error(f"no baseline is called {unknown[0]!r}; choose from {', '.join(baselines.ORDER)}")
    return names


def _wanted(
    episodes: Sequence[Label], args: argparse.Namespace, names: Sequence[str], *, has_baselines: bool
) -> list[Label]:
    needed = {args.split, "tuning"} if has_baselines else {args.split}
    found = [it for it in episodes if it.split in needed]
    if args.detectors:
        found = [it for it in found if it.kind == "healthy" or not set(names).isdisjoint(it.right)]
    return [it for it in found if not crc32(it.name.encode()) % QUICK_EVERY] if args.quick else found


def try_all(
    episodes: Sequence[Label], *, home: Path, detectors: Sequence[str], against: Sequence[str], jobs: int
) -> list[Trial]:
    """Show every run to everybody, in processes side by side."""
    one = partial(try_run, home=home, detectors=detectors, against=against)
    if jobs <= 1:
        return [one(episode) for episode in episodes]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return list(pool.map(one, episodes, chunksize=4))


def misses(trials: Sequence[Trial], *, home: Path) -> Iterator[str]:
    """What went wrong in the runs of the tuning split, one paragraph for each."""
    told = {it.episode.name: it.ours for it in trials}
    for trial in trials:
        episode = trial.episode
        assert episode.split == "tuning"
        words = list(_wrong(trial, told.get(episode.twin or "", [])))
        if words:
            shown = "" if episode.shown_step is None else f", shown at step {episode.shown_step:g}"
            what = f"{episode.fault} ({episode.dose}){shown}, right: {', '.join(episode.right)}"
            head = f"{home / 'runs' / episode.name}: {what if episode.kind == 'fault' else 'healthy'}"
            yield "\n".join([head, *(f"    {word}" for word in words)])


def _wrong(trial: Trial, of_twin: Sequence[Alarm]) -> Iterator[str]:
    """What went wrong in a run; what was falsely told of its twin already is not said again."""
    false = [it for it in false_alarms(trial, trial.ours) if it not in of_twin]
    yield from (f"FALSE ALARM at step {it.step:g}: {it.type}: {it.text}" for it in false)
    if trial.episode.kind == "healthy":
        return
    verdict = judge(trial.episode, trial.ours)
    if not verdict.is_found:
        yield f"MISSED: {tables.seen_words(trial)}"
        if trial.ours:
            yield f"    {tables.moved_words(trial)}"
    elif trial.episode.sudden and (verdict.delay or 0) > LATE_STEPS:
        yield f"LATE by {verdict.delay:g} steps"
    if verdict.first is not None and not verdict.is_named:
        yield f"MISNAMED at step {verdict.first.step:g}: {verdict.first.type}: {verdict.first.text}"


if __name__ == "__main__":
    sys.exit(main())
