from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from barograph.errors import MisuseError
from barograph.record.seed import MAX_SEED, set_all_seeds


@pytest.fixture(autouse=True)
def _random_state_is_put_back():
    """Other tests' random numbers do not depend on these."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - the global generator
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])


def _draw() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002 - the global generator


@pytest.mark.spec("S3.55")
def test_one_call_seeds_every_generator_that_is_loaded():
    """The same seed gives the same numbers from random, numpy and torch; another seed gives others."""
    environ: dict[str, str] = {}
    seeded = set_all_seeds(7, environ=environ)
    first = _draw()
    set_all_seeds(8, environ=environ)
    other = _draw()
    set_all_seeds(7, environ=environ)
    assert first == _draw()
    assert not set(first) & set(other)
    assert {name: done for name, done in seeded.items() if name != "torch_cuda"} == {
        "random": True,
        "child_hash": True,
        "numpy": True,
        "torch": True,
    }
    assert bool(torch.version.cuda or torch.version.hip) == seeded["torch_cuda"]
    assert environ == {"PYTHONHASHSEED": "7"}


def test_each_generator_gets_the_seed_itself():
    """The numbers are those of seeding each library by hand, so old results can be repeated without us."""
    set_all_seeds(123, environ={})
    mine = _draw()
    random.seed(123)
    np.random.seed(123)  # noqa: NPY002 - what is compared with
    torch.manual_seed(123)
    assert mine == _draw()


def test_what_is_not_imported_is_neither_imported_nor_claimed():
    """A script without numpy and torch pays nothing for them; child processes hash alike."""
    script = (
        "import json, sys, subprocess\nfrom barograph.record.seed import set_all_seeds\n"
        "seeded = set_all_seeds(5)\n"
        "code = 'print(hash(chr(97)))'\n"
        "hashes = {subprocess.check_output([sys.executable, '-c', code]) for _ in range(3)}\n"
        "print(json.dumps([seeded, sorted({'numpy', 'torch'} & set(sys.modules)), len(hashes)]))"
    )
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environ)
    seeded, imported, num_hashes = json.loads(done.stdout)
    assert seeded == {"random": True, "child_hash": True, "numpy": False, "torch": False, "torch_cuda": False}
    assert (imported, num_hashes) == ([], 1)


@pytest.mark.parametrize("seed", [0, MAX_SEED, np.int64(3), np.uint32(MAX_SEED)], ids=repr)
def test_every_integer_in_range_is_taken(seed):
    """Both ends of the range, and numpy's integers, which sweeps produce."""
    environ: dict[str, str] = {}
    set_all_seeds(seed, environ=environ)
    assert str(int(seed)) == environ["PYTHONHASHSEED"]


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 1.0, "7", None, True, np.float64(2)], ids=repr)
def test_what_is_no_seed_is_refused_before_anything_is_seeded(seed):
    """The message has the value and the range, and random state is untouched."""
    environ: dict[str, str] = {}
    before = random.getstate()
    with pytest.raises(MisuseError, match=r"the seed is .*; give an integer from 0 to 4294967295") as raised:
        set_all_seeds(seed, environ=environ)
    assert repr(seed) in str(raised.value)
    assert (before, {}) == (random.getstate(), environ)


@pytest.mark.gpu
def test_a_gpu_is_seeded_too():
    """With a CUDA device, its generator repeats."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    set_all_seeds(7, environ={})
    first = torch.rand(4, device="cuda").tolist()
    set_all_seeds(7, environ={})
    assert first == torch.rand(4, device="cuda").tolist()
