"""New keys for old runs."""

from __future__ import annotations

import pytest

from barograph.errors import MisuseError
from barograph.facts.codec import encode
from barograph.read import edits
from barograph.read.backfill import carry_out, plan_backfill
from barograph.read.run import RunReader


@pytest.fixture
def root(tmp_path):
    """Two runs: one that recorded the key, one of an earlier day."""
    for number, config in enumerate(["lr: 0.1\n", "lr: 0.1\noptim:\n  beta: 0.5\n"]):
        path = tmp_path / f"run{number}"
        path.mkdir()
        (path / "run.json").write_bytes(
            encode({"run_id": f"r{number}", "name": f"n{number}", "created_t": 1e9 + number})
        )
        (path / "config.yaml").write_text(config, encoding="utf-8")
    return tmp_path


def test_a_plan_changes_nothing(root):
    """It says which run lacks which key."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    first, second = plan_backfill(root, {"optim.beta": 0.9, "lr": 1})
    assert (first.name, first.missing, first.present) == ("n0", {"optim.beta": 0.9}, ["lr"])
    assert (second.name, second.missing, second.present) == ("n1", {}, ["optim.beta", "lr"])
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.spec("S3.72")
def test_runs_that_lack_a_key_get_the_default_and_no_other(root):
    """Told apart from what was recorded; a second time there is nothing to do."""
    for stamping in plan_backfill(root, {"optim.beta": 0.9}):
        carry_out(stamping)
    old, new = RunReader(root / "run0"), RunReader(root / "run1")
    assert (old.config, old.backfilled) == ({"lr": 0.1, "optim": {"beta": 0.9}}, {"optim.beta": 0.9})
    assert (new.config, new.backfilled) == ({"lr": 0.1, "optim": {"beta": 0.5}}, {})
    assert old.recorded_config == {"lr": 0.1}
    assert not (root / "run1" / "edits.jsonl").exists()
    assert [it.missing for it in plan_backfill(root, {"optim.beta": 0.1})] == [{}, {}]
    edits.undo(root / "run0")
    assert [it.missing for it in plan_backfill(root, {"optim.beta": 0.1})] == [{"optim.beta": 0.1}, {}]


@pytest.mark.parametrize("value", [None, True, 3, 0.5, "text", [1, 2], {"a": 1}, float("nan")])
def test_a_default_may_be_any_json(root, value):
    """And comes back as it was, NaN too."""
    (stamping, _) = plan_backfill(root, {"optim.beta": value})
    carry_out(stamping)
    assert repr(RunReader(root / "run0").backfilled["optim.beta"]) == repr(value)


@pytest.mark.parametrize("defaults", [{}, {"": 1}, {"a..b": 1}, {".a": 1}])
def test_a_key_that_is_none_is_refused(root, defaults):
    """The message names it."""
    with pytest.raises(MisuseError, match=r"names no key, or an empty one; give e\.g\. optim\.beta=0\.9"):
        list(plan_backfill(root, defaults))


def test_a_default_without_a_json_form_is_refused(root):
    """It could not be read back."""
    with pytest.raises(MisuseError, match=r"defaults\.a is a builtins\.object"):
        list(plan_backfill(root, {"a": object()}))
