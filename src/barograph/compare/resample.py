"""Rearrangements of runs, and draws from them: what exact tests, bootstraps and simulations have in common.

All randomness comes from a generator whose seed is a hash of the numbers themselves, so that the same runs give the
same answer on any machine and on any day. Nothing here reads a clock or a global generator.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from barograph.errors import MisuseError

Floats = npt.NDArray[np.float64]
_SMALL: Final = 1e-100
_LARGE: Final = 1e100
Draw = Callable[[], np.random.Generator]

MAX_EXACT: Final = 20_000
"""Up to this many arrangements all are tried (8 runs against 8, 14 pairs); beyond, a random choice of them."""
NUM_RANDOM: Final = 9_999
"""How many arrangements are drawn when there are too many to try them all."""


def make_generator(*arrays: npt.ArrayLike, purpose: str) -> np.random.Generator:
    """A generator that the same numbers always get.

    Args:
        *arrays: the numbers that are being judged; their order counts.
        purpose: what the draws are for, so that two procedures on the same numbers draw independently.

    >>> make_generator([1.0, 2.0], purpose="doc").integers(1000) == make_generator([1, 2], purpose="doc").integers(1000)
    np.True_
    """
    digest = hashlib.sha256(purpose.encode("utf-8"))
    for array in arrays:
        numbers = np.ascontiguousarray(array, dtype="<f8") + 0.0  # -0.0 is 0.0
        digest.update(f"{numbers.shape}".encode())
        digest.update(np.where(np.isnan(numbers), np.nan, numbers).tobytes())
    return np.random.default_rng(int.from_bytes(digest.digest()[:16], "little"))


def scale_of(*arrays: Floats) -> float:
    """What to divide numbers by so that their squares neither overflow nor vanish; 1 for ordinary ones.

    A power of two, so that dividing loses no digit.

    >>> scale_of(np.array([3.0, -5.0])), scale_of(np.array([1.0])) == scale_of(np.array([2.0e200]))
    (1.0, False)
    """
    largest = max((float(np.abs(array).max()) for array in arrays if array.size), default=0.0)
    if largest == 0.0 or not math.isfinite(largest) or _SMALL < largest < _LARGE:
        return 1.0
    return math.ldexp(1.0, math.frexp(largest)[1] - 1)


def num_splits(n_a: int, n_b: int) -> int:
    """In how many ways ``n_a + n_b`` runs fall into groups of these sizes.

    >>> num_splits(5, 5)
    252
    """
    return math.comb(n_a + n_b, n_a)


def num_signs(n: int) -> int:
    """In how many ways the runs of ``n`` pairs can be exchanged within their pairs.

    >>> num_signs(5)
    32
    """
    return 1 << n


def smallest_p(n_a: int, n_b: int, *, paired: bool, num_random: int = NUM_RANDOM) -> float:
    """The smallest two-sided p that a rearrangement test of so many runs can give, whatever they measured.

    The arrangement that was observed always counts among those that are as extreme; with groups of one size, and with
    pairs, so does its mirror image (Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9:39,
    2010: a p of zero is never right).

    Args:
        n_a: runs of the one group, or pairs.
        n_b: runs of the other; the same as ``n_a`` for pairs.
        paired: whether they are pairs.
        num_random: how many arrangements are drawn where there are more than ``MAX_EXACT``.

    >>> smallest_p(3, 3, paired=False), smallest_p(4, 4, paired=False), smallest_p(5, 5, paired=True)
    (0.1, 0.02857142857142857, 0.0625)
    """
    if min(n_a, n_b) < 1:
        return 1.0
    count = num_signs(n_a) if paired else num_splits(n_a, n_b)
    if count > MAX_EXACT:
        return 1 / (num_random + 1)
    return min(1.0, (2 if paired or n_a == n_b else 1) / count)


def runs_to_reach(alpha: float, *, paired: bool, num_random: int = NUM_RANDOM) -> int | None:
    """The fewest runs per group (or pairs) whose smallest p is at most ``alpha``; None when no number is enough.

    >>> runs_to_reach(0.05, paired=False), runs_to_reach(0.05, paired=True), runs_to_reach(0.05 / 20, paired=False)
    (4, 6, 6)
    """
    for n in range(1, 65):
        if smallest_p(n, n, paired=paired, num_random=num_random) <= alpha:
            return n
    return None


def split_matrix(n_a: int, n_b: int, *, draw: Draw, num_random: int = NUM_RANDOM) -> Floats:
    """Arrangements of ``n_a + n_b`` runs: 1 where a run is in the first group, else 0; the observed one comes first.

    Args:
        n_a: size of the first group.
        n_b: size of the second.
        draw: makes the generator that draws them when there are more than ``MAX_EXACT``.
        num_random: how many it draws.
    """
    if num_splits(n_a, n_b) <= MAX_EXACT:
        return _all_splits(n_a, n_b)
    observed = np.repeat([1.0, 0.0], [n_a, n_b])
    chosen = np.argpartition(draw().random((num_random, n_a + n_b)), n_a - 1, axis=1)[:, :n_a]
    drawn = np.zeros((num_random, n_a + n_b))
    np.put_along_axis(drawn, chosen, 1.0, axis=1)
    return np.vstack([observed, drawn])


def sign_matrix(n: int, *, draw: Draw, num_random: int = NUM_RANDOM) -> Floats:
    """Arrangements of ``n`` pairs: 1 where a pair stays as it is, -1 where its runs are exchanged; observed first.

    Args:
        n: how many pairs.
        draw: makes the generator that draws them when there are more than ``MAX_EXACT``.
        num_random: how many it draws.
    """
    if num_signs(n) <= MAX_EXACT:
        return _all_signs(n)
    drawn = 1.0 - 2.0 * draw().integers(2, size=(num_random, n))
    return np.vstack([np.ones(n), drawn])


@lru_cache(maxsize=64)
def _all_splits(n_a: int, n_b: int) -> Floats:
    chosen = np.array(list(combinations(range(n_a + n_b), n_a)), dtype=np.intp)
    matrix = np.zeros((len(chosen), n_a + n_b))
    np.put_along_axis(matrix, chosen, 1.0, axis=1)
    matrix.flags.writeable = False
    return matrix


@lru_cache(maxsize=64)
def _all_signs(n: int) -> Floats:
    bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    matrix = 1.0 - 2.0 * bits.astype(np.float64)
    matrix.flags.writeable = False
    return matrix


def check_level(value: float, *, name: str) -> float:
    """Return a probability that lies strictly between 0 and 1.

    Raises:
        MisuseError: it does not.
    """
    if not 0 < value < 1:
        raise MisuseError(f"{name} is {value!r}; give a probability between 0 and 1, such as 0.05")
    return value
