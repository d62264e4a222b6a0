"""Which metric names feed which family of figures: the one place where a name means something.

Names are looked at word by word (``val/recon_loss`` is ``val``, ``recon``, ``loss``), in lower case. A metric may feed
several families; ``metrics`` draws those that feed no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final

_WORDS: Final = re.compile(r"[^0-9a-z]+")
_PER_SECOND: Final = re.compile(r"(?:per_?s(?:ec(?:ond)?s?)?|/s(?:ec)?|_hz)$")
_SECONDS: Final = re.compile(r"(?:[_/.](?:s|ms|us)|(?:^|[_/.])(?:secs?|seconds?|time|duration|latency))$")
_SPLITS: Final = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "eval": "eval",
    "test": "test",
}
_SCORES: Final = frozenset(
    {"accuracy", "acc", "top1", "top5", "f1", "precision", "recall", "auc", "auroc", "auprc", "map", "ndcg", "mrr"}
    | {"iou", "dice", "r2", "bleu", "meteor", "chrf", "em", "exact", "match", "matched", "wer", "cer", "perplexity"}
    | {"ppl", "bpb", "bpc", "psnr", "ssim", "lpips", "fid", "kid", "reward", "return", "score", "error"}
)


def words_of(name: str) -> list[str]:
    """The words of a name.

    >>> words_of("val/D(real)_loss")
    ['val', 'd', 'real', 'loss']
    """
    return [word for word in _WORDS.split(name.lower()) if word]


def base_of(name: str, split: str) -> tuple[str, str]:
    """A metric's name without the split it may begin or end with, and its split: what shares one pair of axes.

    What an epoch ended with has the split ``epoch`` unless its name tells another: nobody said which data it is of.

    >>> base_of("val_loss", "train"), base_of("loss", "val"), base_of("loss/eval", "train")
    (('loss', 'val'), ('loss', 'val'), ('loss', 'eval'))
    """
    for pattern in (r"^(?P<split>[a-z]+)[/._-](?P<base>.+)$", r"^(?P<base>.+)[/._-](?P<split>[a-z]+)$"):
        found = re.match(pattern, name, re.IGNORECASE)
        said = _SPLITS.get(found["split"].lower()) if found else None
        if found and said:
            return found["base"], said if split in ("train", "epoch") else split
    return name, split


def _begins(words: list[str], *beginnings: str) -> bool:
    return any(word.startswith(beginnings) for word in words)


def is_loss(name: str) -> bool:
    """A word ends in ``loss``, or is ``nll`` or ``elbo``."""
    return any(word.endswith("loss") or word in ("nll", "elbo") for word in words_of(name))


def is_recon(name: str) -> bool:
    """A word begins with ``recon``, or is ``mse``, ``rmse`` or ``mae``."""
    words = words_of(name)
    return _begins(words, "recon") or bool({"mse", "rmse", "mae"}.intersection(words))


def is_codebook(name: str) -> bool:
    """A word begins with ``codebook``, ``vq``, ``quantiz`` or ``commit``; or codes are used, active or dead."""
    words = set(words_of(name))
    about_codes = words & {"code", "codes"} and words & {"usage", "used", "active", "dead", "unused"}
    return _begins(list(words), "codebook", "vq", "quantiz", "commit") or bool(about_codes)


def is_perplexity(name: str) -> bool:
    """A word begins with ``perplex``: the codebook's where codebook metrics were logged, else the model's."""
    return _begins(words_of(name), "perplex")


def is_latency(name: str) -> bool:
    """It ends in a unit of time (``_s``, ``_ms``, ``_us``, ``_sec``...), ``time``, ``duration`` or ``latency``."""
    return bool(_SECONDS.search(name.lower())) and not is_throughput(name)


def is_throughput(name: str) -> bool:
    """It ends in ``per_s``, ``per_sec``, ``per_second``, ``/s`` or ``_hz``; or says ``throughput`` or ``mfu``."""
    return bool(_PER_SECOND.search(name.lower())) or bool({"throughput", "mfu"}.intersection(words_of(name)))


def is_adversarial(name: str) -> bool:
    """``d``, ``g``, ``disc`` or ``gen`` beside ``loss``, ``real``, ``fake`` or ``acc``; or a player's full name.

    Full names are ``discriminator``, ``generator``, ``gan``, ``adv`` and ``adversarial``.
    """
    words = set(words_of(name))
    player = words & {"d", "g", "disc", "gen"} and words & {"loss", "real", "fake", "acc", "accuracy"}
    return bool(player or words & {"discriminator", "generator", "gan", "adv", "adversarial"})


def is_diffusion(name: str) -> bool:
    """A word begins with ``denois``, ``diffus`` or ``timestep``, or is ``snr``; or it says ``t_bucket``.

    So does ``noise_loss``.
    """
    words = words_of(name)
    phrase = "_".join(words)
    return (
        _begins(words, "denois", "diffus", "timestep")
        or "snr" in words
        or "t_bucket" in phrase
        or "noise_loss" in phrase
    )


def is_gradient(name: str) -> bool:
    """A word begins with ``grad``, or is ``gnorm``; or it is the norm of weights or the ratio of an update to them."""
    words = set(words_of(name))
    norm = "norm" in words and words & {"weight", "weights", "param", "params", "update"}
    return _begins(list(words), "grad") or "gnorm" in words or bool(norm or {"update", "ratio"} <= words)


def is_memory(name: str) -> bool:
    """A word is ``memory``, ``mem``, ``rss``, ``vram`` or ``ram``."""
    return bool({"memory", "mem", "rss", "vram", "ram"}.intersection(words_of(name)))


def is_utilisation(name: str) -> bool:
    """A share of a processor: a word is ``util`` or ``utilization``, or ``cpu`` stands beside ``percent``."""
    words = set(words_of(name))
    return bool(words & {"util", "utilization", "utilisation"}) or {"cpu", "percent"} <= words


def is_quality(name: str) -> bool:
    """A word is a known score: accuracy, f1, auc, bleu, rouge..., perplexity, psnr, fid, reward, error, ..."""
    words = words_of(name)
    return bool(_SCORES.intersection(words)) or _begins(words, "rouge")


RULES: Final[dict[str, Callable[[str], bool]]] = {
    "losses": is_loss,
    "recon": is_recon,
    "codebook": is_codebook,
    "latency": is_latency,
    "adversarial": is_adversarial,
    "diffusion": is_diffusion,
    "gradients": is_gradient,
    "throughput": is_throughput,
    "memory": is_memory,
    "quality": is_quality,
}


def chosen(family: str, names: Collection[str]) -> set[str]:
    """The names, of all that a run logged, that feed a family.

    Args:
        family: a key of ``RULES``, or ``metrics`` for names that feed no other family; ``epoch`` is an x.
        names: every name that was logged; which family a perplexity feeds depends on them.

    >>> sorted(chosen("codebook", ["perplexity", "codebook_usage"])), chosen("codebook", ["perplexity"])
    (['codebook_usage', 'perplexity'], set())
    """
    if family == "metrics":
        return set(names).difference({"epoch"}, *(chosen(other, names) for other in RULES))
    found = {name for name in names if RULES[family](name)}
    if family in ("codebook", "quality") and any(map(is_codebook, names)):
        perplexities = set(filter(is_perplexity, names))
        return found | perplexities if family == "codebook" else found - perplexities
    return found
