"""Command line: environments, rounds through all subjects, results, tables.

``python -m bench`` is the official run; ``--quick`` is a short one that installs nothing and leaves the
documents alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import envs, imports, machine, procs, results, subjects, tables, work
from bench.measure import Bench, WorkerFailedError, make_project

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.work import Plan

HOME = envs.ROOT / ".bench"
DOCUMENT = envs.ROOT / "docs" / "benchmarks.md"
SOAKED = ("barograph", "barograph_facts", "barograph_watch")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line asks for.

    Attributes:
        names: subjects, in the order of the tables.
        plan: how much of everything.
        quick: whether nothing may be installed.
        document: markdown file that the tables go into.
        results: directory of the raw results.
        work: directory that the subjects write into.
    """

    names: tuple[str, ...]
    plan: Plan
    quick: bool
    document: Path
    results: Path
    work: Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 when a floor or barograph itself could not be measured."""
    options = parse(arguments)
    procs.become_subreaper()
    outcome = run(options, say=lambda text: print(text, file=sys.stderr, flush=True))
    raw = results.save(outcome, folder=options.results)
    tables.write(outcome, document=options.document)
    print(f"tables: {options.document}\nresults: {raw}")
    return int(any(subjects.spec_of(name).kind != "peer" for name in outcome.failures))


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few steps, one round, installed peers only")
    parser.add_argument("--subjects", help=f"comma-separated, of: {', '.join(subjects.ORDER)}")
    parser.add_argument("--repetitions", type=int, help="rounds through all subjects")
    parser.add_argument("--document", type=Path, help="markdown file for the tables")
    parser.add_argument("--results", type=Path, default=HOME / "results", help="directory for the raw results")
    parser.add_argument("--work", type=Path, default=HOME / "work", help="directory the subjects write into")
    given = parser.parse_args(arguments)
    chosen = tuple(given.subjects.split(",")) if given.subjects else subjects.ORDER
    if unknown := set(chosen) - set(subjects.ORDER):
        parser.error(f"no subject is called {sorted(unknown)}; choose from {', '.join(subjects.ORDER)}")
    plan = work.QUICK if given.quick else work.OFFICIAL
    partial = given.quick or len(chosen) < len(subjects.ORDER)
    return Options(
        names=tuple(name for name in subjects.ORDER if name in chosen),
        plan=plan._replace(repetitions=given.repetitions or plan.repetitions),
        quick=given.quick,
        document=(given.document or (HOME / "partial.md" if partial else DOCUMENT)).resolve(),
        results=given.results.resolve(),
        work=given.work.resolve(),
    )


def run(options: Options, *, say: Callable[[str], None]) -> results.Outcome:
    """Measure all subjects, round after round."""
    outcome = results.Outcome(names=options.names, plan=options.plan, machine=machine.describe(folder=options.work))
    template = make_project(options.work / "project")
    benches = _benches(options, template=template, outcome=outcome, say=say)
    for repetition in range(options.plan.repetitions):
        for bench in benches:
            if bench.name not in outcome.failures:
                _measure(bench, repetition=repetition, outcome=outcome, say=say)
    for bench in benches:
        if bench.name == "barograph" and bench.name not in outcome.failures:
            say("barograph: import")
            outcome.imports = imports.measure_import(
                bench.environment, runs=options.plan.import_runs, base=os.environ, cwd=template
            )
    return outcome


def _benches(options: Options, *, template: Path, outcome: results.Outcome, say: Callable[[str], None]) -> list[Bench]:
    """Find or make the environments; what has none is a failure with its reason."""
    benches = []
    for name in options.names:
        spec = subjects.spec_of(name)
        environment = _environment(spec, name=name, quick=options.quick, say=say)
        if environment.python is None:
            outcome.failures[name] = environment.reason
            continue
        benches.append(
            Bench(
                name=name,
                spec=spec,
                environment=environment,
                folder=options.work / name,
                template=template,
                plan=options.plan,
            )
        )
    return benches


def _environment(spec: work.Spec, *, name: str, quick: bool, say: Callable[[str], None]) -> envs.Environment:
    if not spec.requirement or (quick and spec.kind == "ours"):
        return envs.working_tree()
    home = HOME / "envs" / ("barograph" if spec.kind == "ours" else name)
    if quick:
        return envs.existing(spec.requirement, home=home)
    say(f"{name}: environment")
    return envs.ensure(spec.requirement, home=home)


def _measure(bench: Bench, *, repetition: int, outcome: results.Outcome, say: Callable[[str], None]) -> None:
    began_s = time.monotonic()
    try:
        figures = bench.round(verify=repetition == 0)
        if repetition == 0 and bench.name in SOAKED:
            outcome.soaks[bench.name] = bench.soak()
    except WorkerFailedError as error:
        outcome.failures[bench.name] = str(error)
        say(f"{bench.name}: {error}")
        return
    outcome.rounds.setdefault(bench.name, []).append(figures)
    say(f"round {repetition + 1} of {outcome.plan.repetitions}: {bench.name}, {time.monotonic() - began_s:.0f} s")


if __name__ == "__main__":
    raise SystemExit(main())
