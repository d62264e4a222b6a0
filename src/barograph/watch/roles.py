"""What a metric is for, told by its name: detectors read roles, not names.

A name is taken apart into words (``valLoss``, ``val/loss`` and ``val_loss`` are ``val`` and ``loss``). Words that name
the data (``train``, ``val``, ...) say the split where the record's split does not. The rest is looked up in
``ALIASES``; what is not there has no role and is watched for non-finite and stuck values only. A role can be declared
instead: ``watch={"roles": {"my_objective": "loss"}}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from barograph.errors import MisuseError

TRAIN_WORDS: Final = frozenset({"train", "training"})
VAL_WORDS: Final = frozenset({"val", "valid", "validation", "eval", "evaluation", "dev", "test", "holdout"})
QUIET_WORDS: Final = frozenset({"step", "batch", "total", "mean", "avg", "average", "running", "smooth", "raw"})
"""Words that leave a name what it is: ``batch_loss`` and ``loss_mean`` are the loss."""
HOST_SPLIT: Final = "host"
_WORDS: Final = re.compile(r"[a-z]+|[0-9]+")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of every metric that has a role.

    Attributes:
        name: of the role.
        scale: ``log``: positive, and a factor means the same at every size; ``linear``: a difference does; ``plain``:
            set by the program (a learning rate), so that statistics say nothing.
        better: whether low or high values are better; None where neither is.
        floor: noise below which no change is one: of the logarithm, or in the metric's unit.
    """

    name: str
    scale: Literal["log", "linear", "plain"]
    better: Literal["low", "high"] | None = None
    floor: float = 0.0


ROLES: Final[dict[str, Role]] = {
    role.name: role
    for role in (
        Role(name="loss", scale="log", better="low", floor=0.03),
        Role(name="val_loss", scale="log", better="low", floor=0.01),
        Role(name="accuracy", scale="linear", better="high", floor=0.01),
        Role(name="val_accuracy", scale="linear", better="high", floor=0.005),
        Role(name="grad_norm", scale="log", floor=0.1),
        Role(name="grad_norm_first", scale="log", floor=0.1),
        Role(name="grad_norm_last", scale="log", floor=0.1),
        Role(name="update_ratio", scale="log", floor=0.1),
        Role(name="lr", scale="plain"),
        Role(name="loss_scale", scale="plain"),
        Role(name="throughput", scale="log", better="high", floor=0.05),
        Role(name="step_time", scale="log", better="low", floor=0.05),
        Role(name="data_time", scale="log", better="low", floor=0.05),
        Role(name="memory", scale="linear", better="low"),
        Role(name="kl", scale="log", floor=0.05),
        Role(name="active_units", scale="linear", better="high"),
        Role(name="codebook_perplexity", scale="log", better="high", floor=0.03),
        Role(name="codebook_usage", scale="linear", better="high", floor=0.01),
        Role(name="d_loss", scale="log", floor=0.05),
        Role(name="g_loss", scale="log", floor=0.05),
        Role(name="d_real", scale="linear", floor=0.01),
        Role(name="d_fake", scale="linear", floor=0.01),
        Role(name="sample_diversity", scale="log", better="high", floor=0.03),
        Role(name="dead_fraction", scale="linear", better="low", floor=0.01),
        Role(name="entropy", scale="linear", better="high", floor=0.01),
        Role(name="reward", scale="linear", better="high"),
        Role(name="gen_repetition", scale="linear", better="low", floor=0.01),
        Role(name="gen_entropy", scale="linear", better="high", floor=0.01),
        Role(name="diffusion_loss", scale="log", better="low", floor=0.03),
        Role(name="quality", scale="linear", better="high", floor=0.005),
    )
}

ALIASES: Final[dict[str, str]] = {
    **dict.fromkeys(("loss", "objective", "nll", "ce", "cross entropy", "crossentropy", "mse", "mse loss"), "loss"),
    **dict.fromkeys(("ce loss", "nll loss", "recon loss", "reconstruction loss", "lm loss", "elbo loss"), "loss"),
    **dict.fromkeys(("accuracy", "acc", "top 1", "top 1 accuracy", "top1"), "accuracy"),
    **dict.fromkeys(("grad norm", "gradient norm", "grad norm l 2", "gradnorm", "global grad norm"), "grad_norm"),
    **dict.fromkeys(("grad norm first", "grad norm first layer", "first layer grad norm"), "grad_norm_first"),
    **dict.fromkeys(("grad norm last", "grad norm last layer", "last layer grad norm"), "grad_norm_last"),
    **dict.fromkeys(("update ratio", "update weight ratio", "update to weight", "update norm ratio"), "update_ratio"),
    **dict.fromkeys(("lr", "learning rate", "learningrate", "lr 0", "lr group 0"), "lr"),
    **dict.fromkeys(("loss scale", "grad scale", "amp scale", "scaler scale"), "loss_scale"),
    **dict.fromkeys(
        ("throughput", "samples per second", "samples per s", "samples s", "tokens per second"), "throughput"
    ),
    **dict.fromkeys(("tokens per s", "tokens s", "examples per second", "it s", "its per second"), "throughput"),
    **dict.fromkeys(
        ("step time", "step time s", "step time ms", "step seconds", "time per step", "iter time"), "step_time"
    ),
    **dict.fromkeys(("data time", "data time s", "data wait s", "loader wait s", "dataload time"), "data_time"),
    **dict.fromkeys(("memory", "memory mb", "memory gb", "mem mb", "rss mb", "rss gb", "memory bytes"), "memory"),
    **dict.fromkeys(("gpu memory", "gpu memory gb", "gpu memory mb", "memory allocated", "allocated mb"), "memory"),
    **dict.fromkeys(("kl", "kl loss", "kl divergence", "kld"), "kl"),
    **dict.fromkeys(("active units", "num active units"), "active_units"),
    **dict.fromkeys(
        ("perplexity codebook", "codebook perplexity", "vq perplexity", "code perplexity"), "codebook_perplexity"
    ),
    **dict.fromkeys(("codebook usage", "code usage", "codebook used"), "codebook_usage"),
    **dict.fromkeys(("d loss", "disc loss", "discriminator loss", "loss d"), "d_loss"),
    **dict.fromkeys(("g loss", "gen loss", "generator loss", "loss g"), "g_loss"),
    **dict.fromkeys(("d real", "d x", "real accuracy", "d real acc", "d acc real"), "d_real"),
    **dict.fromkeys(("d fake", "d g z", "fake accuracy", "d fake acc", "d acc fake"), "d_fake"),
    **dict.fromkeys(("sample diversity", "diversity", "sample std", "fake std"), "sample_diversity"),
    **dict.fromkeys(
        ("dead fraction", "dead units", "dead relu", "dead relu fraction", "dead neurons"), "dead_fraction"
    ),
    **dict.fromkeys(("entropy", "policy entropy"), "entropy"),
    **dict.fromkeys(("reward", "return", "episode reward", "episode return", "ep rew"), "reward"),
    **dict.fromkeys(("gen repetition", "repetition", "repetition rate"), "gen_repetition"),
    **dict.fromkeys(("gen entropy", "generation entropy"), "gen_entropy"),
    **dict.fromkeys(("diffusion loss", "eps loss", "denoising loss", "noise mse"), "diffusion_loss"),
    **dict.fromkeys(("quality", "quality score", "bleu", "rouge", "f 1", "f1", "exact match", "match rate"), "quality"),
}
_OF_VAL: Final = {"loss": "val_loss", "accuracy": "val_accuracy"}
_ONLY_TRAIN: Final = frozenset({"loss", "accuracy"})
_HOST_ROLES: Final = {"rss_gb": "memory"}


def role_of(name: str, split: str = "train", *, declared: Mapping[str, str] | None = None) -> Role | None:
    """The role of a metric, or None.

    Args:
        name: as it was logged.
        split: on which it was logged.
        declared: roles by metric name; ``NAME`` or ``SPLIT/NAME``.

    >>> role_of("train/loss").name, role_of("loss", "val").name, role_of("valLoss").name, role_of("zeta")
    ('loss', 'val_loss', 'val_loss', None)
    """
    for key in (f"{split}/{name}", name):
        if declared and key in declared:
            return ROLES[declared[key]]
    if split == HOST_SPLIT:
        return ROLES.get(_HOST_ROLES.get(name, ""))
    words = _WORDS.findall(_HUMP.sub(" ", name).lower())
    is_val = split.lower() in VAL_WORDS or (split == "train" and any(word in VAL_WORDS for word in words))
    kept = [word for word in words if word not in TRAIN_WORDS and word not in VAL_WORDS]
    found = ALIASES.get(" ".join(kept)) or ALIASES.get(" ".join(word for word in kept if word not in QUIET_WORDS))
    if found is None or (found in _ONLY_TRAIN and not is_val and split != "train"):
        return None
    return ROLES[_OF_VAL.get(found, found) if is_val else found]


def check_roles(declared: Mapping[str, str]) -> dict[str, str]:
    """Roles that somebody declared, checked.

    Raises:
        MisuseError: there is no such role; the message lists what there is.
    """
    for name, role in declared.items():
        if role not in ROLES:
            raise MisuseError(f"role {role!r} of {name!r} is none of {', '.join(ROLES)}; choose one")
    return dict(declared)
