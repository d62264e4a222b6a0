"""Runs the models of the sweep again, as somebody's own code would: loads each checkpoint, looks at test data."""

from __future__ import annotations

import json
import random
import statistics

from matplotlib.figure import Figure

from barograph.report.document import Picture
from barograph.report.inference import InferenceResult

POINTS = [x / 10 for x in range(-10, 11)]


def infer(runs, options):
    """Errors of each model on the true line and on one that is not, and how well errors tell the two apart."""
    numbers, normal = {}, {}
    for run in runs:
        model = json.loads(run.checkpoint.read_text(encoding="utf-8"))
        generator = random.Random(options["seed"])
        errors = [
            [abs(model["w"] * x + model["b"] - y) for x, y in data] for data in (line(generator), other(generator))
        ]
        normal[run.key] = errors[0]
        numbers[run.key] = {
            "reconstruction_error": statistics.fmean(errors[0]),
            "auroc": auroc(*errors),
            "num_data": run.data_config["num"],
        }
    figure = Figure()
    figure.add_subplot().boxplot(list(normal.values()))
    name = "reconstruction_error_distributions"
    picture = Picture(name=name, title="Errors on test data", figure=figure, data=normal)
    return InferenceResult(numbers=numbers, pictures=[picture])


def line(generator):
    """Test data."""
    return [(x, 2 * x + 1 + generator.gauss(0, 0.05)) for x in POINTS]


def other(generator):
    """The same, corrupted."""
    return [(x, y + generator.choice([-1.0, 1.0])) for x, y in line(generator)]


def auroc(normal, anomalous):
    """How often an anomalous error is the larger one."""
    pairs = [(a > n) + 0.5 * (a == n) for a in anomalous for n in normal]
    return statistics.fmean(pairs)


def nothing(_runs, _options):
    """Returns what is no result."""
    return {}
