"""Short trainings of FaultBench, and curves made by hand, for the tests of its faults and rules."""

from __future__ import annotations

import math

import msgspec

STEPS = 60
ONSET = 30


def trained(faults, directory, recipe_name, *, kind=None, onset=ONSET, dose=None, **changes):
    """A short training, with or without a fault; its curves and the trainer."""
    recipe = msgspec.structs.replace(
        faults.recipes.RECIPES[recipe_name], **{"steps": STEPS, "eval_every": 10, "resume_step": 0, **changes}
    )
    make = faults.catalogue.FAULTS[kind].make if kind else None
    doses = faults.catalogue.FAULTS[kind].doses if kind else (0.0,)
    fault = make(doses[0] if dose is None else dose) if make else faults.training.NOTHING
    trainer = faults.training.Trainer(recipe, 3, fault=fault, onset=onset)
    trainer.train(directory)
    return faults.curves.read_curves(directory), trainer


def made(faults, **metrics):
    """Curves by hand: one value per step; names that begin with ``val`` are on the split ``val``."""
    values = {
        ("val" if name.startswith("val") else "train", name): list(map(float, it)) for name, it in metrics.items()
    }
    return faults.curves.Curves({key: [float(at) for at in range(len(it))] for key, it in values.items()}, values)


def noisy(level, count, *, size=0.1):
    """Numbers around a level, always the same ones."""
    return [level * math.exp(size * math.sin(12.9898 * at * at + 78.233)) for at in range(count)]
