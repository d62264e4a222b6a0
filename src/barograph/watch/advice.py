"""What detectors advise alike: clip at the usual norm, lower the learning rate, go back to a checkpoint.

Always with this run's numbers and under the names of its configuration; what is not known is not advised. What only
one detector advises stands there. Nothing is judged here.
"""

from __future__ import annotations

from barograph.watch.alert import Remedy
from barograph.watch.context import Context
from barograph.watch.detector import Sample, shown

LR_NAMES = ("lr", "learning_rate")
CLIP_NAMES = ("grad_clip", "max_grad_norm", "clip_grad_norm", "gradient_clip_val")


def setting_name(context: Context, *names: str) -> str:
    """How the run's configuration calls a setting; the first of the names when it has none of them."""
    for name in names:
        for key in context.config:
            if key == name or key.endswith(f".{name}"):
                return key
    return names[0]


def lower_lr(sample: Sample, factor: float) -> list[Remedy]:
    """A learning rate of this factor of what it is; without numbers where none is logged."""
    lr = sample.context.schedule.lr
    if not lr > 0:
        return [Remedy(text=f"lower the learning rate to {factor:g} of what it is")]
    found = float(f"{lr * factor:.3g}")
    name = setting_name(sample.context, *LR_NAMES)
    return [Remedy(text=f"lower the learning rate from {shown(lr)} to {found:g}", change={name: found})]


def halve_lr(sample: Sample, *, more: str = "") -> list[Remedy]:
    """Half of the learning rate, where one is logged.

    Args:
        sample: the record.
        more: the rest of the sentence.
    """
    lr = sample.context.schedule.lr
    if not lr > 0:
        return []
    half = float(f"{lr / 2:.3g}")
    change = {setting_name(sample.context, *LR_NAMES): half}
    return [Remedy(text=f"halve the learning rate to {half:g}{more}", change=change)]


def clip(sample: Sample, *, norm: float | None = None) -> list[Remedy]:
    """Clip gradients at their usual norm, where it is known.

    Args:
        sample: the record.
        norm: the usual one where the caller knows it; else that of the window, or of the start when it has been rising.
    """
    grad = sample.get("grad_norm")
    if norm is None and (grad is None or not grad.is_warm()):
        return []
    if norm is None and grad is not None:
        norm = grad.value_of(grad.start if grad.slope > 0 else grad.median)
    if not norm or not norm > 0.0:
        return []
    limit = float(f"{norm:.2g}")
    change = {setting_name(sample.context, *CLIP_NAMES): limit}
    return [Remedy(text=f"clip gradients at {limit:g}, their usual norm", change=change)]


def go_back(sample: Sample, since: float, *, why: str) -> list[Remedy]:
    """Go on from the newest checkpoint before a step, where there is one.

    Args:
        sample: the record.
        since: the first step that is wrong: what was saved there holds it already.
        why: the rest of the sentence, after a comma.
    """
    found = sample.context.checkpoint_before(since - 1e-9)
    if found is None:
        return []
    at, path = found
    return [Remedy(text=f"go on from {path or 'the checkpoint'} (step {shown(at)}), {why}", change={"resume_step": at})]


def skip_batches(sample: Sample, since: float) -> list[Remedy]:
    """The same, and leave out the batches since then."""
    return go_back(sample, since, why=f"and skip the batches from {shown(since)} to {shown(sample.step)}")
