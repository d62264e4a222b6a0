"""Which names feed which family."""

from __future__ import annotations

import pytest

from barograph.plot.names import RULES, base_of, chosen


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("loss", {"losses"}),
        ("val/kl_loss", {"losses"}),
        ("nll", {"losses"}),
        ("glossary", set()),
        ("recon_loss", {"losses", "recon"}),
        ("rmse", {"recon"}),
        ("codebook/dead", {"codebook"}),
        ("dead_codes", {"codebook"}),
        ("vq_commit", {"codebook"}),
        ("step_time_ms", {"latency"}),
        ("epoch_time_s", {"latency"}),
        ("samples_per_s", {"throughput"}),
        ("tokens/s", {"throughput"}),
        ("mfu", {"throughput"}),
        ("d_loss", {"losses", "adversarial"}),
        ("D(real)", {"adversarial"}),
        ("disc_acc", {"adversarial", "quality"}),
        ("advantage", set()),
        ("denoising_mse", {"diffusion", "recon"}),
        ("t_bucket_3", {"diffusion"}),
        ("gradient_noise_scale", {"gradients"}),
        ("layer.0.weight_norm", {"gradients"}),
        ("gpu_mem_gb", {"memory"}),
        ("accuracy", {"quality"}),
        ("rougeL", {"quality"}),
        ("lr", set()),
        ("s", set()),
    ],
)
def test_a_name_feeds_its_families(name, families):
    """A name feeds the families that its words mean, and no other; one that feeds none is left to ``metrics``."""
    assert families == {family for family in RULES if chosen(family, [name])}
    assert (set() if families else {name}) == chosen("metrics", [name])


def test_perplexity_is_the_codebooks_where_there_is_one():
    """The same name is a language model's quality, or a codebook's use."""
    assert chosen("quality", ["perplexity"]) == {"perplexity"}
    assert chosen("codebook", ["perplexity"]) == set()
    assert chosen("quality", ["perplexity", "codebook_usage"]) == set()
    assert chosen("codebook", ["perplexity", "codebook_usage"]) == {"perplexity", "codebook_usage"}


def test_the_epoch_is_an_x_and_no_metric():
    """The epoch that is logged with metrics is not drawn as one."""
    assert chosen("metrics", ["epoch", "lr"]) == {"lr"}


@pytest.mark.parametrize(
    ("name", "split", "expected"),
    [
        ("val_loss", "train", ("loss", "val")),
        ("loss/validation", "train", ("loss", "val")),
        ("Train/Loss", "train", ("Loss", "train")),
        ("val_loss", "test", ("loss", "test")),
        ("loss", "val", ("loss", "val")),
        ("evaluator_score", "train", ("evaluator_score", "train")),
        ("val", "train", ("val", "train")),
    ],
)
def test_a_split_in_the_name_is_a_split(name, split, expected):
    """A name that begins or ends with a split shares the axes of the metric without it."""
    assert expected == base_of(name, split)
