"""Which runs the benchmark is made of: faults by seed, their twins, and healthy runs, in the order of recording.

The order gives a wide slice early: one seed of every fault, then the next.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from bench.faults.healthy import HEALTHY
from bench.faults.injected.catalogue import FAULTS
from bench.faults.injected.fault import FaultKind
from bench.faults.labels import Split, split_of
from bench.faults.recipe import Recipe, varied
from bench.faults.recipes import RECIPES

SEEDS: Final = (0, 2, 7, 9, 4, 11)
"""Even ones are for tuning, odd ones held out, and fresh: the table of their forerunners, 1, 3 and 5, had been seen."""
HEALTHY_SEEDS: Final = (0, 2, 7, 9)
USUAL_ONSET: Final = (0.35, 0.55)
EARLY_ONSET: Final = (0.13, 0.25)
LATE_ONSET: Final = (0.6, 0.8)
SEEDS_PER_BASE: Final = 1000


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A run to record.

    Attributes:
        name: of the run.
        recipe: as it is trained.
        seed: of everything that is drawn.
        fault: its name; None for a healthy run.
        dose: of the fault.
        onset: the first step that is wrong.
        twin: name of the twin of a faulty run.
        split: tuning or held-out.
    """

    name: str
    recipe: Recipe
    seed: int
    fault: str | None = None
    dose: float = 0.0
    onset: int = 0
    twin: str | None = None
    split: Split


def plan(base: int = 0) -> list[Job]:
    """All runs, by the benchmark's seed; a twin stands before its faulty runs and once only."""
    found: dict[str, Job] = {}
    for place, seed in enumerate(SEEDS):
        for kind in FAULTS.values():
            for job in _pair(kind, seed, base):
                found.setdefault(job.name, job)
        if place < len(HEALTHY_SEEDS):
            for job in _healthy(HEALTHY_SEEDS[place], base):
                found.setdefault(job.name, job)
    return list(found.values())


def _healthy(seed: int, base: int) -> Iterator[Job]:
    for recipe in HEALTHY.values():
        yield Job(
            name=f"{recipe.name}-s{seed}",
            recipe=recipe,
            seed=base * SEEDS_PER_BASE + seed,
            split=split_of(seed, unseen=recipe.unseen),
        )


def _pair(kind: FaultKind, seed: int, base: int) -> Iterator[Job]:
    """The twin and the faulty run of one seed."""
    chosen = _recipe_for(kind, seed)
    number = base * SEEDS_PER_BASE + seed
    recipe = varied(chosen, number)
    split = split_of(seed, unseen=chosen.unseen)
    twin = f"twin-{chosen.name}-s{seed}"
    yield Job(name=twin, recipe=recipe, seed=number, split=split)
    place = _rank(seed) % len(kind.doses)
    changes = list(kind.changed.values())[place] if kind.changed else {}
    yield Job(
        name=f"{kind.name}-s{seed}",
        recipe=_changed(recipe, changes),
        seed=number,
        fault=kind.name,
        dose=kind.doses[place],
        onset=_onset(kind, recipe, number),
        twin=twin,
        split=split,
    )


def _recipe_for(kind: FaultKind, seed: int) -> Recipe:
    """Even seeds take the seen architectures in turn; odd ones begin with those that are unseen."""
    seen = [RECIPES[name] for name in kind.recipes if not RECIPES[name].unseen]
    unseen = [RECIPES[name] for name in kind.recipes if RECIPES[name].unseen]
    offered = [*unseen, *seen] if seed % 2 else seen
    return offered[_rank(seed) % len(offered)]


def _rank(seed: int) -> int:
    """The place among the seeds of the same half: recipes and doses are taken by turns in each."""
    return [it for it in SEEDS if it % 2 == seed % 2].index(seed)


def _onset(kind: FaultKind, recipe: Recipe, seed: int) -> int:
    if kind.from_start:
        return 0
    if recipe.resume_step:
        return recipe.resume_step
    between = EARLY_ONSET if kind.early else LATE_ONSET if kind.late else USUAL_ONSET
    return int(random.Random(f"{kind.name}-{seed}").uniform(*between) * recipe.steps)


def _changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    shape = {**recipe.shape, **changes.get("shape", {})}
    return msgspec.structs.replace(recipe, **{**changes, "shape": shape})
