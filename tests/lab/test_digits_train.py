"""One recorded run of the digits study: what is recorded, what is left out, and that nobody's losses change."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from barograph_lab.digits.train import HYPOTHESIS, SUCCESS, Config, begin_run, train

SHORT = Config(name="mlp", epochs=5, log_steps=10, eval_steps=100)
NEVER = 10**9


@pytest.fixture
def recorded(tmp_path):
    """Trains a recorded run, quietly, below ``tmp_path``."""
    return lambda cfg: train(cfg, begin=partial(begin_run, root=tmp_path / "runs", terminal="off"))


def bits(losses):
    """Floats as what they are on disk."""
    return [loss.hex() for loss in losses]


@pytest.mark.spec("S1.34", "S3.59")
def test_losses_are_bit_equal_with_and_without_the_recorder(recorded, read_rows, null_run):
    """The same loop with a run that records nothing computes the same losses, to the bit, and the same weights."""
    with_recorder = recorded(SHORT)
    train(SHORT, begin=lambda _cfg, _total_steps: null_run)
    rows = read_rows(with_recorder["run_dir"])
    assert list(range(1, 201)) == sorted(rows)
    assert bits(null_run.losses) == bits(rows[step]["loss"] for step in sorted(rows))
    kept, reference = (np.load(directory / "last.npz") for directory in (with_recorder["run_dir"], null_run.dir))
    assert all(np.array_equal(reference[name], kept[name]) for name in reference.files)


@pytest.mark.parametrize("hidden", [0, 64])
def test_losses_are_bit_equal_with_evaluation_on_and_off(recorded, read_rows, hidden):
    """Looking at examples and at the validation set leaves training as it is."""
    evaluated = recorded(replace(SHORT, hidden=hidden))
    blind = recorded(replace(SHORT, hidden=hidden, log_steps=NEVER, eval_steps=NEVER))
    seen, unseen = read_rows(evaluated["run_dir"]), read_rows(blind["run_dir"])
    assert sorted(read_rows(evaluated["run_dir"], "val")) == [100, 200]
    assert read_rows(blind["run_dir"], "val") == {}
    assert bits(unseen[step]["loss"] for step in unseen) == bits(seen[step]["loss"] for step in seen)


def test_global_random_state_is_untouched(recorded):
    """Neither the study nor the recorder draws from the generators of ``random`` and numpy."""
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - the legacy generator is the one in question
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002 - the same
    recorded(SHORT)
    assert before == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002 - the same


@pytest.mark.spec("S0.5", "S0.6", "S0.7", "S0.8")
def test_what_is_recorded(recorded, read_rows):
    """What the hypothesis and its criteria need, identified by epoch, step, split, run id and seed; little beside."""
    result = recorded(SHORT)
    run_dir = result["run_dir"]
    assert {"step", "t", "epoch", "loss", "lr", "grad_norm"} == set(read_rows(run_dir)[1])
    assert {"step", "t", "epoch", "val_loss", "accuracy", "f1"} == set(read_rows(run_dir, "val")[100])
    assert {"step", "t", "epoch", "test_loss", "accuracy", "f1"} == set(read_rows(run_dir, "test")[200])
    identity = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    assert (HYPOTHESIS, list(SUCCESS), 0) == (identity["hypothesis"], identity["success"], identity["seed"])
    header = json.loads((run_dir / "facts" / "metrics.000.rows").read_bytes().split(b"\n", 1)[0])
    assert identity["run_id"] == header["run_id"]


@pytest.mark.spec("S0.10", "S0.11", "S0.12")
def test_what_is_left_out(recorded, read_events):
    """No shapes, no weights or gradients as facts, and no checkpoints but the best and the last."""
    run_dir = recorded(SHORT)["run_dir"]
    assert {"best_val.npz", "last.npz"} == {path.name for path in run_dir.rglob("*.npz")}
    assert not any("blob" in event for event in read_events(run_dir))
    assert not (run_dir / "details").exists()
    kinds = {event.get("kind") for event in read_events(run_dir, "custom")}
    assert {"summary"} == kinds
    text = (run_dir / "train.log").read_text(encoding="utf-8")
    assert "DEBUG" not in text
    assert "shape" not in text


@pytest.mark.spec("S1.33", "S1.34")
def test_two_branches_by_step(recorded, read_rows, read_events):
    """A prediction and a validation loss come at full evaluations only, an example's loss at both."""
    run_dir = recorded(SHORT)["run_dir"]
    examples = {event["step"]: event for event in read_events(run_dir, "on_example")}
    assert list(range(10, 201, 10)) == sorted(examples)
    for step, example in examples.items():
        is_full = step in (100, 200)
        assert is_full == (example["tier"] == "full") == ("output" in example) == ("val_loss" in example)
        assert example["example_loss"] >= 0
    assert {100, 200} == set(read_rows(run_dir, "val"))
    phases = {(event["name"], event["step"]) for event in read_events(run_dir, "on_phase_end") if "step" in event}
    assert {("full_eval" if step % 100 == 0 else "fast_log", step) for step in examples} == phases


def test_the_same_images_are_followed(recorded, read_events):
    """The same few ids come again and again, each with the same picture and class."""
    run_dir = recorded(SHORT)["run_dir"]
    seen = {}
    for event in read_events(run_dir, "on_example"):
        seen.setdefault(event["example_id"], []).append((event["prompt"], event["golden"]))
    assert SHORT.num_followed == len(seen)
    assert all(len(shown) > 3 and len(set(shown)) == 1 for shown in seen.values())


def test_an_output_is_the_models_answer(recorded, read_events):
    """The recorded output is the class that the saved model gives, and the mark compares it exactly."""
    run_dir = recorded(SHORT)["run_dir"]
    for event in read_events(run_dir, "on_example"):
        if event["tier"] == "full":
            assert event["matched"] is (event["output"] == event["golden"])
            assert event["match_kind"] == "exact"


@pytest.mark.spec("S3.58")
def test_the_configuration_is_recorded_whole(recorded):
    """``config.yaml`` gives back the very configuration; nothing that the loop uses stands outside it."""
    import yaml

    cfg = replace(SHORT, seed=3, lr=0.02)
    saved = yaml.safe_load((recorded(cfg)["run_dir"] / "config.yaml").read_text(encoding="utf-8"))
    assert cfg == Config(**saved)


@pytest.mark.spec("S3.14", "S3.15", "S3.17")
def test_best_checkpoint_test_evaluation_and_result(recorded, read_rows, read_events):
    """The best checkpoint is of the lowest validation loss, the test set is seen once, and the result says so."""
    result = recorded(SHORT)
    run_dir = result["run_dir"]
    val = {step: row["val_loss"] for step, row in read_rows(run_dir, "val").items()}
    assert min(val.values()) == result["best_val_loss"]
    best = [event for event in read_events(run_dir, "on_checkpoint") if event["kind"] == "best"]
    assert min(val, key=val.get) == best[-1]["step"]
    assert best[-1]["path"] == "best_val.npz"
    (test,) = read_rows(run_dir, "test").values()
    assert (test["test_loss"], test["accuracy"]) == (result["test_loss"], result["test_accuracy"])
    assert result["test_accuracy"] > 0.9


def test_a_run_that_diverges_stops_and_says_so(recorded, read_rows, read_events):
    """The last recorded loss is not finite, no step follows it, and the run is failed with its criterion unmet."""
    result = recorded(replace(SHORT, name="mlp-too-fast", lr=3.0))
    rows = read_rows(result["run_dir"])
    last = max(rows)
    assert not math.isfinite(rows[last]["loss"])
    assert all(math.isfinite(row["loss"]) for step, row in rows.items() if step != last)
    assert last < 200
    (ended,) = read_events(result["run_dir"], "on_train_end")
    assert ("failed", result["reason"]) == (ended["status"], ended["reason"])
    assert f"loss is {rows[last]['loss']} at step {last}" == result["reason"]
    assert {verdict["text"]: verdict["passed"] for verdict in ended["success"] if "finite" in verdict["text"]} == {
        "loss is finite on train": False
    }


@pytest.mark.parametrize(
    ("field", "value"), [("epochs", 0), ("hidden", -1), ("batch_size", 0), ("lr", 0.0), ("lr", math.nan)]
)
def test_a_configuration_out_of_range_is_refused(field, value):
    """The message names the field and its value."""
    with pytest.raises(ValueError, match=f"{field}={value!r}"):
        replace(SHORT, **{field: value})
