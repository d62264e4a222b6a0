"""Who a run is, and the checks of what callers say about it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from barograph.errors import MisuseError
from barograph.record.identity import Identity, new_run_id


def test_run_ids():
    """Ids are twelve characters that nobody confuses, and all different."""
    ids = {new_run_id() for _ in range(20_000)}
    assert len(ids) == 20_000
    assert {len(run_id) for run_id in ids} == {12}
    assert set("".join(ids)) == set("0123456789abcdefghjkmnpqrstvwxyz")


def test_round_trip():
    """An identity that is written and read is the same."""
    identity = Identity(
        run_id="r1",
        name="digits",
        project="team/digits",
        tags=["a"],
        seed=7,
        tier="quick",
        hypothesis="h",
        success=["x"],
    )
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(identity.as_dict())), Identity) == identity


def test_unknown_keys_are_passed_over():
    """An identity that a newer release wrote is read."""
    assert msgspec.convert({"run_id": "r1", "name": "n", "colour": "blue"}, Identity) == Identity(run_id="r1", name="n")


@pytest.mark.parametrize("seed", [7, np.int64(7), torch.tensor(7)])
def test_seed_becomes_an_integer(seed):
    """A seed of numpy or torch is the integer that it is."""
    identity = Identity(run_id="r1", name="n", seed=seed)
    assert (type(identity.seed), identity.seed) == (int, 7)


@pytest.mark.parametrize(
    ("field", "value"),
    [("project", 7), ("group", b"x"), ("notes", ["a"]), ("hypothesis", 1.5), ("project", "a\n"), ("seed", "7")],
)
def test_fields_that_cannot_be(field, value):
    """A field of another type is refused by name and value; what was recorded so is damage, not an identity."""
    with pytest.raises(MisuseError, match=f"^{field} ") as caught:
        Identity(run_id="r1", name="n", **{field: value})
    assert repr(value) in str(caught.value)
    if not isinstance(value, bytes):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"run_id": "r1", "name": "n", field: value}, Identity, strict=True)
