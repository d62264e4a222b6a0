"""What a metric is for, told by its name, by its split, or by whoever logs it."""

from __future__ import annotations

import pytest

from barograph.errors import MisuseError
from barograph.watch.roles import ALIASES, ROLES, check_roles, role_of


@pytest.mark.parametrize(
    ("name", "split", "role"),
    [
        ("loss", "train", "loss"),
        ("loss", "val", "val_loss"),
        ("loss", "Validation", "val_loss"),
        ("train/loss", "train", "loss"),
        ("train_loss", "train", "loss"),
        ("val_loss", "train", "val_loss"),
        ("valLoss", "train", "val_loss"),
        ("eval/loss", "train", "val_loss"),
        ("batch_loss", "train", "loss"),
        ("loss/mean", "train", "loss"),
        ("top1", "train", "accuracy"),
        ("test_acc", "train", "val_accuracy"),
        ("grad_norm", "train", "grad_norm"),
        ("gradNorm", "train", "grad_norm"),
        ("first_layer/grad_norm", "train", "grad_norm_first"),
        ("lr-group_0", "train", "lr"),
        ("learningRate", "train", "lr"),
        ("tokens/s", "train", "throughput"),
        ("KL", "train", "kl"),
        ("vq/perplexity", "train", "codebook_perplexity"),
        ("D_loss", "train", "d_loss"),
        ("loss_G", "train", "g_loss"),
        ("D(G(z))", "train", "d_fake"),
        ("policy/entropy", "train", "entropy"),
        ("ep_rew_mean", "train", "reward"),
        ("f1", "val", "quality"),
        ("rss_gb", "host", "memory"),
    ],
)
def test_names_tell_roles(name, split, role):
    """Case, separators, humps, splits and filler words do not hide what a metric is for."""
    assert role_of(name, split).name == role


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("zeta", "train"),
        ("loss_weight", "train"),
        ("closs", "train"),
        ("number_of_losses", "train"),
        ("loss", "replay"),
        ("cpu_percent", "host"),
        ("loss", "host"),
        ("", "train"),
        ("損失", "train"),
    ],
)
def test_other_names_have_no_role(name, split):
    """A name that only holds a word of an alias, a split of its own, and samples of the machine have none."""
    assert role_of(name, split) is None


def test_a_role_can_be_declared():
    """By name, or by split and name, which comes first; it goes before what the name tells."""
    declared = {"my_objective": "loss", "loss": "g_loss", "val/loss": "quality"}
    assert role_of("my_objective", declared=declared).name == "loss"
    assert role_of("loss", declared=declared).name == "g_loss"
    assert role_of("loss", "val", declared=declared).name == "quality"
    assert role_of("accuracy", declared=declared).name == "accuracy"


def test_a_role_that_does_not_exist_is_refused():
    """The message names it, the metric, and what there is."""
    assert check_roles({"a": "loss"}) == {"a": "loss"}
    with pytest.raises(MisuseError, match=r"role 'los' of 'a' is none of loss, val_loss, .*; choose one"):
        check_roles({"a": "los"})


def test_every_alias_is_of_a_role_and_is_found():
    """No alias points nowhere, and each is found under its own name."""
    assert {role for role in ALIASES.values() if role not in ROLES} == set()
    assert {alias for alias, role in ALIASES.items() if role_of(alias).name != role} == set()


@pytest.mark.parametrize("name", sorted(ROLES))
def test_every_role_is_found_by_its_own_name(name):
    """A metric that is called what the role is called has it."""
    assert role_of(name).name == name
