"""Facts as a reader of a run sees them, made by hand."""

from __future__ import annotations

from itertools import count

import pytest

from barograph.facts.kinds import Event
from barograph.facts.rows import StreamHeader
from barograph.read.follow import Record, Rows

START_T = 1_800_000_000.0


FAST_BLOCK = """\
================================================================================
\N{MEMO} FAST LOG - Step 10
================================================================================
\N{MEMO} PROMPT:
What is the capital of France?...

\N{WHITE HEAVY CHECK MARK} GOLDEN (15 tokens):
The capital of France is Paris...

\N{ROBOT FACE} MODEL: [Skipped - fast log only]
\N{CHART WITH DOWNWARDS TREND} LOSS ON THIS EXAMPLE: 0.3245
================================================================================"""

FULL_BLOCK = """\
================================================================================
\N{LEFT-POINTING MAGNIFYING GLASS} FULL EVAL - Step 200
================================================================================
\N{MEMO} PROMPT:
What is the capital of France?...

\N{WHITE HEAVY CHECK MARK} GOLDEN (15 tokens):
The capital of France is Paris...

\N{ROBOT FACE} MODEL (18 tokens):
The capital of France is Paris, which is also the largest city...

\N{WHITE HEAVY CHECK MARK} MATCH
\N{CHART WITH DOWNWARDS TREND} LOSS ON THIS EXAMPLE: 0.2134
\N{BAR CHART} Loss Comparison: Train=0.2134 | Val=0.2456 | Gap=+0.0322 \N{WHITE HEAVY CHECK MARK}
================================================================================"""


class FactMaker:
    """Makes facts of one run; ``seq`` goes on by itself."""

    def __init__(self):
        self._seq = count()

    def event(self, moment, *, t=START_T, **payload):
        """An event with that payload."""
        return Event(moment=moment, seq=next(self._seq), t=t, payload=payload)

    def start(self, *, t=START_T, **payload):
        """The start of the run."""
        return self.event("on_start", t=t, **{"run_id": "r1", "name": "digits", **payload})

    def rows(self, *rows, columns=("step", "loss", "t"), split="train", attempt=0, rank=0):
        """Rows of one stream."""
        header = StreamHeader(run_id="r1", columns=list(columns), split=split, attempt=attempt, rank=rank)
        return Rows(header=header, rows=[tuple(map(float, row)) for row in rows])

    def record(self, step, *, t=START_T, split="train", attempt=0, rank=0, **metrics):
        """One irregular record."""
        return Record(step=step, t=t, split=split, attempt=attempt, rank=rank, metrics=metrics)

    def full(self, **changes):
        """The documented full evaluation, with some keys changed."""
        return self.event(
            "on_example",
            **{
                "step": 200,
                "tier": "full",
                "prompt": "What is the capital of France?",
                "golden": "The capital of France is Paris",
                "golden_tokens": 15,
                "output": "The capital of France is Paris, which is also the largest city",
                "output_tokens": 18,
                "matched": True,
                "example_loss": 0.2134,
                "train_loss_window_mean": 0.2134,
                "val_loss": 0.2456,
                "gap": 0.0322,
                **changes,
            },
        )

    def fast(self, **changes):
        """The documented fast log, with some keys changed."""
        return self.event(
            "on_example",
            **{
                "step": 10,
                "tier": "fast",
                "prompt": "What is the capital of France?",
                "golden": "The capital of France is Paris",
                "golden_tokens": 15,
                "example_loss": 0.3245,
                **changes,
            },
        )


@pytest.fixture
def make():
    """A maker of facts."""
    return FactMaker()


@pytest.fixture(scope="session")
def documented():
    """The blocks as the two-tier logging document prints them, its lost symbols put back."""
    return {"fast": FAST_BLOCK, "full": FULL_BLOCK}
