"""The data: 1 797 handwritten digits of 8 x 8 grey levels, from scikit-learn's own files.

Split by class into train, validation and test; standardised with the mean and deviation of the training part alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

NUM_CLASSES = 10
SIDE = 8
NUM_PIXELS = SIDE * SIDE
HELD_OUT_SHARE = 0.4
INK = 7
HALF_BLOCKS = {(False, False): " ", (True, False): "'", (False, True): ".", (True, True): ":"}

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Split:
    """One part of the data.

    Attributes:
        x: standardised pixels, of shape (N, 64).
        y: classes, 0 to 9.
        index: where each image stands in scikit-learn's set.
        pixels: the grey levels as they were scanned, 0 to 16, of shape (N, 64).
    """

    x: Floats
    y: Ints
    index: Ints
    pixels: Floats

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, kw_only=True)
class Digits:
    """The three parts; no image is in two of them."""

    train: Split
    val: Split
    test: Split


def load_splits(*, split_seed: int) -> Digits:
    """Load the digits: 60 % train, 20 % validation, 20 % test, each with the same share of every class.

    Args:
        split_seed: decides which image goes where; 0 to 2**32 - 1.
    """
    source = load_digits()
    pixels_ND = source.data.astype(np.float32)
    y_N = source.target.astype(np.int64)
    everything = np.arange(len(y_N))
    train, held_out = train_test_split(everything, test_size=HELD_OUT_SHARE, stratify=y_N, random_state=split_seed)
    val, test = train_test_split(held_out, test_size=0.5, stratify=y_N[held_out], random_state=split_seed)
    mean_D = pixels_ND[train].mean(axis=0)
    deviation_D = pixels_ND[train].std(axis=0)
    deviation_D[deviation_D == 0] = 1  # pixels in the corners are never inked
    x_ND = (pixels_ND - mean_D) / deviation_D

    def part(index_N: Ints) -> Split:
        return Split(x=x_ND[index_N], y=y_N[index_N], index=index_N, pixels=pixels_ND[index_N])

    return Digits(train=part(train), val=part(val), test=part(test))


def draw(pixels_D: Floats) -> str:
    """An image as four lines of ASCII, two rows of pixels to a line.

    >>> print(draw(np.eye(8, dtype=np.float32).ravel() * 16))
    '.
      '.
        '.
          '.
    """
    inked = pixels_D.reshape(SIDE, SIDE) >= INK
    lines = []
    for upper, lower in zip(inked[::2], inked[1::2], strict=True):
        marks = [HALF_BLOCKS[bool(above), bool(below)] for above, below in zip(upper, lower, strict=True)]
        lines.append("".join(marks).rstrip())
    return "\n".join(lines)
