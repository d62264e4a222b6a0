"""The budgets that barograph has set itself, and whether a run of the benchmark kept them.

A user's default is judged where a budget is about the call; what reads the facts for people (terminal, text log)
is not part of the budgets of bytes and of the companion, and is shown beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bench.imports import FORBIDDEN
from bench.results import fastest_lossless_peer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.results import Figures

FLOOR = "os_write"
SAFE_FLOOR = "pydll_write"
OURS = "barograph"
BARE = "barograph_facts"
WATCHED = "barograph_watch"
NOTHING: dict[str, Any] = {}


class Judgement(NamedTuple):
    """One row of the table of budgets.

    Attributes:
        what: what the budget is about.
        budget: the limit, with its unit.
        measured: the figure, or that there is none.
        met: `yes`, `NO`, or `-` when there is no figure.
    """

    what: str
    budget: str
    measured: str
    met: str


def judge(summaries: Mapping[str, Figures], *, imports: Figures, soaks: Mapping[str, Figures]) -> list[Judgement]:
    """Return one judgement per budget, measured or not.

    Args:
        summaries: the joined figures of each subject.
        imports: what `import barograph` costs.
        soaks: memory and companion over very many steps, by subject.
    """
    return [*_of_the_call(summaries), *_of_imports(imports), *_of_the_process(summaries, soaks)]


def _of_the_call(summaries: Mapping[str, Figures]) -> Iterator[Judgement]:
    ours, bare = summaries.get(OURS, NOTHING), summaries.get(BARE, NOTHING)
    p50 = ours.get("latency_p50_us")
    yield _at_most("`run.log` of 5 scalars, p50", 2, "us", p50)
    yield _at_most("`run.log` of 5 scalars, p99", 6, "us", ours.get("latency_p99_us"))
    for what, name in (("the write call it makes", SAFE_FLOOR), ("os.write, which stalls beside a thread", FLOOR)):
        floor = summaries.get(name, NOTHING).get("latency_p50_us")
        yield _at_most(f"p50, times pack + {what}", 2, "x", p50 / floor if p50 and floor else None)
    best = fastest_lossless_peer(summaries)
    ratio = summaries[best]["latency_p50_us"] / p50 if best and p50 else None
    what = "p50, times below the fastest peer that loses nothing"
    yield _judged(what, "at least 20 x", ratio, unit="x", met=ratio is not None and ratio >= 20)
    yield _at_most("beside a computing thread, p99", 100, "us", ours.get("beside_p99_us"))
    yield _at_most("acknowledged facts lost at `kill -9`", 0, "facts", ours.get("lost"))
    written = _beside(ours.get("bytes_per_step"))
    yield _at_most("bytes of facts per step of 5 scalars", 60, "bytes", bare.get("bytes_per_step"), note=written)


def _of_imports(imports: Figures) -> Iterator[Judgement]:
    yield _at_most("`import barograph`, median", 40, "ms", imports.get("median_ms"))
    loaded = imports.get("forbidden_loaded")
    what, limit = "heavy modules that it loads", f"none of {', '.join(FORBIDDEN)}"
    if loaded is None:
        yield _judged(what, limit, None, unit="", met=False)
    else:
        yield Judgement(what, limit, ", ".join(loaded) or "none", "NO" if loaded else "yes")


def _of_the_process(summaries: Mapping[str, Figures], soaks: Mapping[str, Figures]) -> Iterator[Judgement]:
    ours = soaks.get(OURS, NOTHING)
    growth = ours.get("growth_bytes_per_step")
    note = f"second half of {ours['steps']:,}; {ours['warm_up_bytes'] / 1e6:.1f} MB before" if ours else ""
    met = growth is not None and round(growth) <= 0
    yield _judged("memory growth per step", "0 bytes", growth, unit="bytes", met=met, note=note)
    for pace, found in (("back to back", soaks), ("1 per ms", summaries)):
        default, facts_only = (found.get(name, NOTHING).get("background_us_per_call") for name in (OURS, BARE))
        yield _at_most(f"companion per call, {pace}", 10, "us CPU", facts_only, note=_beside(default))
    # over very many calls alone: in few ones the loading of the detectors, once in a run, is most of it
    watched = soaks.get(WATCHED, NOTHING).get("background_us_per_call")
    yield _at_most("companion with the watch per call, back to back", 10, "us CPU", watched)


def _beside(default: float | None) -> str:
    return "" if default is None else f"{default:,.2f} with terminal, text log and watch"


def _at_most(what: str, limit: float, unit: str, measured: float | None, *, note: str = "") -> Judgement:
    met = measured is not None and measured <= limit
    return _judged(what, f"{limit} {unit}", measured, unit=unit, met=met, note=note)


def _judged(what: str, budget: str, measured: float | None, *, unit: str, met: bool, note: str = "") -> Judgement:
    if measured is None:
        return Judgement(what, budget, "not measured", "-")
    figure = f"{measured:,}" if isinstance(measured, int) else f"{measured:,.2f}"
    text = f"{figure} {unit}" + (f" ({note})" if note else "")
    return Judgement(what, budget, text, "yes" if met else "NO")
