"""A study that several tests look at: it is recorded once."""

from __future__ import annotations

import numpy as np
import pytest
from tests.compare.studies import job, record_study

EPOCHS = 60


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """Learning rates 0.005, 0.1 and 0.11 with eight seeds each, 1e9 with two, which diverge; one more run crashed."""
    common = {"noise": 0.5, "epochs": EPOCHS}
    jobs = [job(lr=lr, seed=seed, name=f"lr-{lr}", **common) for lr in (0.005, 0.1, 0.11) for seed in range(8)]
    jobs += [job(lr=1e9, seed=seed, name="too-fast", **common) for seed in range(2)]
    jobs.append(job(lr=0.1, seed=8, name="crashed", crash_at=3, **common))
    return record_study(tmp_path_factory.mktemp("study"), jobs)


@pytest.fixture(scope="session")
def search(tmp_path_factory):
    """A random search of 16 runs over the learning rate, which matters, and two keys that do not."""
    random = np.random.default_rng(5)
    jobs = [
        job(
            lr=float(10 ** random.uniform(-3, -1)),
            width=int(random.integers(4, 99)),
            dropout=float(random.random()),
            seed=7,
            epochs=25,
        )
        for _ in range(16)
    ]
    return record_study(tmp_path_factory.mktemp("search"), jobs)
