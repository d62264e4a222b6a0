"""The data of the digits study: what is in which part, and how an image is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from barograph_lab.digits.data import draw, load_splits


@pytest.fixture(scope="module")
def digits():
    """The splits as the study uses them."""
    return load_splits(split_seed=0)


def test_no_image_is_in_two_parts(digits):
    """The parts are disjoint and together they are the whole set."""
    parts = [set(part.index.tolist()) for part in (digits.train, digits.val, digits.test)]
    assert sum(map(len, parts)) == 1797
    assert set(range(1797)) == set.union(*parts)
    assert [len(part) for part in (digits.train, digits.val, digits.test)] == [1078, 359, 360]


def test_every_part_has_the_same_share_of_each_class(digits):
    """Stratified: in each part every class has its share of the whole, to within one image."""
    share = np.bincount(load_digits().target) / 1797
    for part in (digits.train, digits.val, digits.test):
        assert np.all(np.abs(np.bincount(part.y) - share * len(part)) <= 1)


def test_pixels_are_standardised_by_the_training_part_alone(digits):
    """On the training part each inked pixel has mean 0 and deviation 1; the others follow by its figures."""
    inked = digits.train.pixels.std(axis=0) > 0
    assert np.allclose(digits.train.x.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(digits.train.x[:, inked].std(axis=0), 1, atol=1e-4)
    mean, deviation = digits.train.pixels.mean(axis=0)[inked], digits.train.pixels.std(axis=0)[inked]
    by_hand = (digits.test.pixels[:, inked] - mean) / deviation
    assert np.allclose(digits.test.x[:, inked], by_hand, atol=1e-4)


def test_images_and_classes_belong_together(digits):
    """Image and class of each part are those that scikit-learn has at that index."""
    source = load_digits()
    for part in (digits.train, digits.val, digits.test):
        assert np.array_equal(source.target[part.index], part.y)
        assert np.array_equal(source.data[part.index], part.pixels)


def test_the_split_is_a_function_of_its_seed(digits):
    """The same seed gives the same split, another one another split."""
    assert np.array_equal(digits.train.index, load_splits(split_seed=0).train.index)
    assert not np.array_equal(digits.train.index, load_splits(split_seed=1).train.index)


def test_an_image_is_drawn_two_rows_to_a_line():
    """An upper pixel is ', a lower one ., both are :, and blanks at the end of a line are left out."""
    image = np.zeros((8, 8), np.float32)
    image[0, 1] = image[1, 2] = image[2, 0] = image[3, 0] = image[7, 7] = 16
    assert draw(image.ravel()) == " '.\n:\n\n       ."
