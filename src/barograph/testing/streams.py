"""Records of trainings that never were, for the suites: healthy ones of many kinds, broken ones and wild ones.

They are made of a seed and nothing else. A healthy one moves as a sound training does, with noise of several kinds and
the schedules people use; what looks like trouble in it is noise.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from barograph.errors import MisuseError
from barograph.facts.rows import Row, StreamHeader
from barograph.watch.roles import ROLES

KINDS: Final = (
    *("constant", "white_noise", "trended"),
    *("warm_up", "cosine_restarts", "step_decay", "one_cycle", "two_rate"),
)
NOISES: Final = ("normal", "lognormal", "heavy_tailed")
VAL_ROLES: Final = ("val_loss", "val_accuracy", "quality")
VAL_EVERY: Final = 20
SLOW_EVERY: Final = 5
BASIC: Final = ("loss", "lr", "grad_norm", "val_loss")
"""What every stream has, besides what the detector reads."""
START_T: Final = 1_700_000_000.0
STEP_S: Final = 0.1
CONFIG: Final[dict[str, Any]] = {
    "latent_dim": 8,
    "codebook_size": 64,
    "num_actions": 8,
    "optimizer": {"name": "adam", "lr": 1e-3},
}
MAX_TAIL: Final = 5.0
"""Of heavy-tailed noise, in its units: a value that is farther out and came once in a run would be a spike indeed."""
PEAK_LR: Final = 1e-3
BUMP: Final = 0.2
"""How much higher, as a logarithm, a loss is right after a restart of the learning rate; gone after 40 records."""
WILD_STEPS: Final = (*[1.0] * 36, 0.0, -1.0, -30.0, 250.0)
WILD_SHARE: Final = 0.01
WILD: Final = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-300, 1e300, -1e300)


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """How a metric of some role moves.

    Attributes:
        start: its first level in a sound training.
        end: its last one.
        bad: what it becomes in a broken one.
        noise: standard deviation around the level: a share of it for roles on a scale of logarithms, else in its unit.
        top: the largest value that there is.
    """

    start: float
    end: float
    bad: float
    noise: float = 0.1
    top: float = math.inf


COURSES: Final[dict[str, Course]] = {
    "loss": Course(start=2.3, end=0.3, bad=9.0),
    "val_loss": Course(start=2.35, end=0.5, bad=9.0, noise=0.02),
    "accuracy": Course(start=0.1, end=0.9, bad=0.05, noise=0.03, top=1.0),
    "val_accuracy": Course(start=0.1, end=0.85, bad=0.05, noise=0.01, top=1.0),
    "grad_norm": Course(start=2.0, end=0.7, bad=80.0, noise=0.15),
    "grad_norm_first": Course(start=0.5, end=0.2, bad=1e-7, noise=0.15),
    "grad_norm_last": Course(start=1.0, end=0.4, bad=1.0, noise=0.15),
    "update_ratio": Course(start=3e-3, end=1e-3, bad=1e-12),
    "lr": Course(start=PEAK_LR, end=PEAK_LR, bad=0.1, noise=0.0),
    "loss_scale": Course(start=65536.0, end=65536.0, bad=1.0, noise=0.0),
    "throughput": Course(start=1000.0, end=1000.0, bad=100.0, noise=0.05),
    "step_time": Course(start=0.1, end=0.1, bad=1.0, noise=0.05),
    "data_time": Course(start=0.01, end=0.01, bad=0.9, noise=0.05),
    "memory": Course(start=2.0, end=2.0, bad=60.0, noise=0.002),
    "kl": Course(start=3.0, end=8.0, bad=0.003),
    "active_units": Course(start=6.0, end=7.0, bad=0.0, noise=0.2, top=8.0),
    "codebook_perplexity": Course(start=25.0, end=40.0, bad=1.3, top=64.0),
    "codebook_usage": Course(start=0.5, end=0.8, bad=0.02, noise=0.02, top=1.0),
    "d_loss": Course(start=1.2, end=1.0, bad=0.01),
    "g_loss": Course(start=0.8, end=1.2, bad=8.0),
    "d_real": Course(start=0.6, end=0.7, bad=0.99, noise=0.03, top=1.0),
    "d_fake": Course(start=0.4, end=0.3, bad=0.01, noise=0.03, top=1.0),
    "sample_diversity": Course(start=0.6, end=0.9, bad=0.05),
    "dead_fraction": Course(start=0.05, end=0.15, bad=0.95, noise=0.01, top=1.0),
    "entropy": Course(start=2.0, end=1.2, bad=0.01, noise=0.03),
    "reward": Course(start=1.0, end=50.0, bad=1.0, noise=1.0),
    "gen_repetition": Course(start=0.2, end=0.05, bad=0.8, noise=0.02, top=1.0),
    "gen_entropy": Course(start=3.0, end=4.0, bad=0.5, noise=0.1),
    "diffusion_loss": Course(start=1.0, end=0.15, bad=3.0),
    "quality": Course(start=0.2, end=0.7, bad=0.05, noise=0.01, top=1.0),
}


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """The records of one training, in the order in which they were made.

    Attributes:
        name: what kind, noise and seed.
        records: each with the header of its stream of rows.
    """

    name: str
    records: list[tuple[StreamHeader, Row]]

    def pieces(self, size: int) -> Iterator[tuple[StreamHeader, list[Row]]]:
        """The records as a reader hands them on: at most ``size`` consecutive ones of one stream together."""
        rows: list[Row] = []
        before: StreamHeader | None = None
        for header, row in self.records:
            if before is not None and (header is not before or len(rows) >= size):
                yield before, rows
                rows = []
            before = header
            rows.append(row)
        if before is not None:
            yield before, rows


def healthy(
    kind: str, *, noise: str = "normal", seed: int = 0, roles: Sequence[str] = BASIC, num_records: int = 1000
) -> Stream:
    """A sound training.

    Args:
        kind: one of ``KINDS``: nothing moves at all; noise around a level; a trend; four schedules of the learning
            rate; some metrics five times rarer than others.
        noise: one of ``NOISES``.
        seed: another one, another noise.
        roles: of the metrics that it logs; a metric is named after its role.
        num_records: how many training records.

    Raises:
        MisuseError: there is no such kind or noise; the message lists what there is.
    """
    if kind not in KINDS or noise not in NOISES:
        raise MisuseError(f"{kind!r} with {noise!r} is none of {', '.join(KINDS)} with {', '.join(NOISES)}; choose one")
    draw = _drawer(noise, random.Random(f"{kind}-{noise}-{seed}"))  # noqa: S311 - noise, no secret

    def value(role: str, place: int) -> float:
        if kind == "constant":
            return _level(role, 0.7)
        if role == "lr":
            return _rate(kind, place / num_records)
        progress = 0.7 if kind == "white_noise" else place / num_records
        level = _level(role, progress) * _response(kind, role, place / num_records, num_records)
        return _noisy(role, level, draw(), is_linear=noise == "normal")

    slow = [role for role in roles if role not in BASIC] if kind == "two_rate" else []
    return Stream(name=f"{kind}, {noise} noise, seed {seed}", records=_records(roles, slow, num_records, value))


def broken(*, seed: int = 0, roles: Sequence[str] = BASIC, num_records: int = 600) -> Stream:
    """A training that is sound for half of its records; then each metric becomes what it is in trouble, and stays."""
    rng = random.Random(f"broken-{seed}")  # noqa: S311 - noise, no secret
    draw = _drawer("normal", rng)
    onset = num_records // 2 + rng.randrange(num_records // 10)

    def value(role: str, place: int) -> float:
        if place < onset:
            return _noisy(role, _level(role, place / num_records), draw())
        return _noisy(role, COURSES[role].bad, draw())

    return Stream(name=f"broken, seed {seed}", records=_records(roles, [], num_records, value))


def wild(*, seed: int = 0, roles: Sequence[str] = BASIC, num_records: int = 1500) -> Stream:
    """Records as no training makes them.

    Values that are not finite, zero, negative, repeated, tiny and huge; steps that repeat, go back or leave gaps; three
    attempts; now and then a stretch of what is usual.
    """
    rng = random.Random(f"wild-{seed}")  # noqa: S311 - noise, no secret
    headers = [_header(roles, attempt=attempt) for attempt in range(3)]
    records: list[tuple[StreamHeader, Row]] = []
    makers: list[Callable[[], float]] = []
    step = 0.0
    for place in range(num_records):
        if place % 50 == 0:
            makers = [_wild_maker(role, rng) for role in roles]
        step += rng.choice(WILD_STEPS)
        values = [rng.choice(WILD) if rng.random() < WILD_SHARE else make() for make in makers]
        header = headers[place * len(headers) // num_records]
        records.append((header, (step, *values, START_T + STEP_S * place)))
    return Stream(name=f"wild, seed {seed}", records=records)


def _wild_maker(role: str, rng: random.Random) -> Callable[[], float]:
    course = COURSES[role]
    factor = 10.0 ** rng.uniform(-4.0, 4.0)
    fixed = rng.choice((course.start, course.bad, *WILD))
    return rng.choice(
        (
            lambda: _noisy(role, course.start, rng.gauss(0.0, 1.0)),
            lambda: _noisy(role, course.bad, rng.gauss(0.0, 1.0)),
            lambda: course.start * factor * math.exp(rng.gauss(0.0, 1.0)),
            lambda: rng.uniform(-1.0, 1.0) * factor,
            lambda: 10.0 ** rng.uniform(-300.0, 300.0),
            lambda: fixed,
        )
    )


def _records(
    roles: Sequence[str], slow: Sequence[str], num_records: int, value: Callable[[str, int], float]
) -> list[tuple[StreamHeader, Row]]:
    """Rows of up to three streams: of every step, of every fifth, and of evaluations."""
    fast = [role for role in roles if role not in VAL_ROLES and role not in slow]
    slow = [role for role in slow if role not in VAL_ROLES]
    val = [role for role in roles if role in VAL_ROLES]
    streams = [
        (fast, _header(fast), 1),
        (slow, _header(slow), SLOW_EVERY),
        (val, _header(val, split="val"), VAL_EVERY),
    ]
    records = []
    for place in range(num_records):
        for names, header, every in streams:
            if names and (place + 1) % every == 0:
                values = [value(role, place) for role in names]
                records.append((header, (float(place), *values, START_T + STEP_S * place)))
    return records


def _header(names: Sequence[str], *, split: str = "train", attempt: int = 0) -> StreamHeader:
    return StreamHeader(run_id="stream", columns=["step", *names, "t"], split=split, attempt=attempt)


def _drawer(noise: str, rng: random.Random) -> Callable[[], float]:
    """Draws in units of the course's noise; those of lognormal noise are larger, as it is that of small batches."""
    if noise == "normal":
        return lambda: rng.gauss(0.0, 1.0)
    if noise == "lognormal":
        return lambda: 2.0 * rng.gauss(0.0, 1.0)
    return lambda: max(min(_student(rng), MAX_TAIL), -MAX_TAIL)


def _student(rng: random.Random) -> float:
    """Student's t with five degrees of freedom, scaled to unit variance."""
    return rng.gauss(0.0, 1.0) / math.sqrt(rng.gammavariate(2.5, 2.0) / 5.0) * math.sqrt(0.6)


def _level(role: str, progress: float) -> float:
    """The level of a sound training: fast at first, and never quite still."""
    course = COURSES[role]
    least = math.pow(21.0, -0.5)
    share = 1.0 - (math.pow(1.0 + 20.0 * progress, -0.5) - least) / (1.0 - least)
    if ROLES[role].scale == "log":
        return course.start * math.pow(course.end / course.start, share)
    return course.start + (course.end - course.start) * share


def _noisy(role: str, level: float, draw: float, *, is_linear: bool = False) -> float:
    course = COURSES[role]
    if is_linear and ROLES[role].scale == "log":
        return min(level * max(1.0 + course.noise * draw, 0.05), course.top)
    if ROLES[role].scale == "log":
        return min(level * math.exp(course.noise * draw), course.top)
    value = level + course.noise * draw
    return value if course.top == math.inf else min(max(value, 0.0), course.top)


def _rate(kind: str, progress: float) -> float:
    match kind:
        case "warm_up":
            return PEAK_LR * min((progress + 1e-3) / 0.1, 1.0)
        case "cosine_restarts":
            return PEAK_LR * (0.01 + 0.99 * (1.0 + math.cos(math.pi * (4.0 * progress % 1.0))) / 2.0)
        case "step_decay":
            return PEAK_LR * 0.1 ** int(3.0 * progress)
        case "one_cycle":
            up = progress / 0.3
            return PEAK_LR * (0.04 + 0.96 * up) if up < 1.0 else PEAK_LR * max((1.0 - progress) / 0.7, 1e-4)
        case _:
            return PEAK_LR


def _response(kind: str, role: str, progress: float, num_records: int) -> float:
    """What the schedule does to losses and gradients, as a factor."""
    if role not in ("loss", "val_loss", "grad_norm"):
        return 1.0
    if kind == "cosine_restarts" and progress >= 0.25:  # noqa: PLR2004 - there are four cycles
        since = (progress % 0.25) * num_records
        return math.exp(BUMP * max(1.0 - since / 40.0, 0.0))
    if kind == "step_decay" and role != "grad_norm":
        return 0.85 ** int(3.0 * progress)
    return 1.0
