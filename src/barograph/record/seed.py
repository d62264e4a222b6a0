"""Seeds every random generator that a training script has loaded, in one call.

It is called by the script, never by the recorder: observing a run leaves random state alone.
"""

from __future__ import annotations

import operator
import os
import random
import sys
from collections.abc import Mapping, MutableMapping
from types import ModuleType
from typing import Final, SupportsIndex

from barograph.errors import MisuseError

MAX_SEED: Final = 2**32 - 1


def set_all_seeds(
    seed: SupportsIndex,
    *,
    environ: MutableMapping[str, str] = os.environ,
    modules: Mapping[str, ModuleType] = sys.modules,
) -> dict[str, bool]:
    """Seed ``random``, numpy's global generator and torch (all devices), and the hashing of child processes.

    Only what is imported already is seeded, so call it after the imports; nothing is imported here. Generators
    that a script has made itself (``numpy.random.default_rng``, ``torch.Generator``) keep their own state, and
    this process's own string hashing was fixed when the interpreter started.

    Args:
        seed: 0 to ``MAX_SEED``, the range that numpy takes.
        environ: gets ``PYTHONHASHSEED``, for processes started from here on.
        modules: where loaded modules are looked up.

    Returns:
        What was seeded: ``random``, ``child_hash``, ``numpy``, ``torch``, ``torch_cuda``.

    Raises:
        MisuseError: the seed is not an integer of that range; nothing was seeded.

    >>> set_all_seeds(7, environ={}, modules={})["random"]
    True
    """
    number = _check(seed)
    random.seed(number)
    environ["PYTHONHASHSEED"] = str(number)
    numpy, torch = modules.get("numpy"), modules.get("torch")
    if numpy is not None:
        numpy.random.seed(number)
    if torch is not None:
        torch.manual_seed(number)  # every device's generator; a GPU that is not in use yet is seeded when it is
    has_cuda = torch is not None and bool(torch.version.cuda or getattr(torch.version, "hip", None))
    return {
        "random": True,
        "child_hash": True,
        "numpy": numpy is not None,
        "torch": torch is not None,
        "torch_cuda": has_cuda,
    }


def _check(seed: SupportsIndex) -> int:
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if isinstance(seed, bool) or not 0 <= number <= MAX_SEED:
        raise MisuseError(f"the seed is {seed!r}; give an integer from 0 to {MAX_SEED}")
    return number
