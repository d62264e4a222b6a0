"""What ``run.example`` records: one example as the model saw it, and how its output compares with the golden text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, get_args

from barograph.errors import MisuseError
from barograph.facts.kinds import OnExample
from barograph.record.arguments import whole_or_none
from barograph.record.cadence import Tier
from barograph.record.match import MATCH_KINDS, compare_texts, decide
from barograph.record.values import plain_number

TIERS: Final[tuple[Tier, ...]] = get_args(Tier)
TRAIN_WINDOW: Final = 50
"""How many of the newest recorded training losses the gap's training side is the mean of, at most."""


def build_example(
    *,
    step: int,
    tier: str,
    prompt: str,
    golden: str,
    output: str | None,
    loss: object | None,
    val_loss: object | None,
    recent_losses: Sequence[float],
    tokens: tuple[int | None, int | None, int | None],
    example_id: str | None,
    match: str,
) -> OnExample:
    """Make the payload of an ``on_example`` event.

    Args:
        step: training step.
        tier: ``fast`` or ``full``; the fast tier has neither output nor validation loss.
        prompt: the whole input.
        golden: the whole expected text.
        output: the whole generated text, on the full tier.
        loss: loss on this one example.
        val_loss: loss on the validation set, on the full tier.
        recent_losses: newest recorded training losses; their mean is the training side of the gap.
        tokens: number of tokens of prompt, golden and output, where known.
        example_id: the same id marks the same example through time.
        match: which notion of match decides: ``exact``, ``normalised`` or ``contains``.

    Raises:
        MisuseError: a text is no string, a count is no integer, the tier or the notion of match is unknown, or a
            fast log has what the fast tier skips.
    """
    for name, text in (("prompt", prompt), ("golden", golden), ("output", output)):
        if not isinstance(text, str) and not (name == "output" and text is None):
            raise MisuseError(f"run.example: {name} must be a string, not {type(text).__name__}; decode it first")
    for kind, value, known in (("tier", tier, TIERS), ("match", match, MATCH_KINDS)):
        if value not in known:
            raise MisuseError(f"run.example: {kind}={value!r} is none of {', '.join(known)}; choose one")
    if tier == "fast" and (output is not None or val_loss is not None):
        given = "output" if output is not None else "val_loss"
        raise MisuseError(
            f"run.example: step {step} is a fast log, which has no {given}; give it at full evaluations only "
            f"(run.cadence.full(step)), or pass tier='full'"
        )
    matches = {} if output is None else compare_texts(output, golden)
    held_out = None if val_loss is None else float(plain_number("val_loss", val_loss))
    train = math.fsum(recent_losses) / len(recent_losses) if recent_losses and held_out is not None else None
    return OnExample(
        step=step,
        tier=tier,
        prompt=prompt,
        golden=golden,
        output=output,
        example_id=example_id,
        prompt_tokens=whole_or_none(tokens[0], what="prompt_tokens", least=0),
        golden_tokens=whole_or_none(tokens[1], what="golden_tokens", least=0),
        output_tokens=whole_or_none(tokens[2], what="output_tokens", least=0),
        example_loss=None if loss is None else float(plain_number("loss", loss)),
        val_loss=held_out,
        train_loss_window_mean=train,
        train_loss_window_n=None if train is None else len(recent_losses),
        gap=None if train is None or held_out is None else held_out - train,
        matches=matches,
        match_kind=match if matches else None,
        matched=decide(matches, match) if matches else None,
    )
