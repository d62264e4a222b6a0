"""S3's ``logging`` group, whatever holds it."""

from __future__ import annotations

import types

import pytest
from omegaconf import OmegaConf

from barograph.errors import MisuseError
from barograph.plot.orchestrator import get_enabled_families
from barograph.plot.settings import Settings, read_settings

GROUP = {"families": {"losses": True, "recon": ["on_train_end"], "codebook": False}, "moments": ["on_epoch_end"]}


def family(*moments):
    """A family with its own moments."""
    return types.SimpleNamespace(moments=moments)


FAMILIES = {"losses": family("on_epoch_end"), "recon": family("on_epoch_end"), "codebook": family("on_epoch_end")}


@pytest.mark.spec("S3.47", "S3.48", "S3.60")
@pytest.mark.parametrize("kind", ["mapping", "omegaconf", "attributes"])
def test_families_and_moments_are_respected(kind):
    """A family draws at the common moments, at its own where it is given some, and never when it is off."""
    holders = {
        "mapping": dict,
        "omegaconf": OmegaConf.create,
        "attributes": lambda group: types.SimpleNamespace(**group),
    }
    group = holders[kind](GROUP)
    assert list(get_enabled_families(group, FAMILIES, "on_epoch_end")) == ["losses"]
    assert list(get_enabled_families(group, FAMILIES, "on_train_end")) == ["recon"]


@pytest.mark.parametrize(
    ("group", "enabled"),
    [
        (None, ["losses", "recon", "codebook"]),
        ({}, ["losses", "recon", "codebook"]),
        ({"families": ["recon", "losses"]}, ["losses", "recon"]),
        ({"families": []}, []),
        ({"moments": []}, []),
        ({"moments": ["on_train_end"]}, []),
        ({"families": {"losses": {"enabled": False}, "recon": {"moments": ["on_epoch_end"]}}}, ["recon"]),
        ({"families": {"losses": None}}, ["losses"]),
        ({"families": {"losses": []}}, []),
    ],
)
def test_lists_and_mappings_say_which(group, enabled):
    """Nothing said is every family at its own moments; a list or a mapping says which ones."""
    assert enabled == list(get_enabled_families(group, FAMILIES, "on_epoch_end"))


@pytest.mark.spec("S3.60", "S3.81")
@pytest.mark.parametrize("key", ["make_plots", "save_artifacts"])
def test_one_switch_turns_all_figures_off(key):
    """``logging.make_plots=false`` or ``logging.save_artifacts=false`` leaves no family, as on a cluster."""
    assert get_enabled_families(OmegaConf.create({key: False, **GROUP}), FAMILIES, "on_epoch_end") == {}
    assert not read_settings({key: False}).may_draw_at("on_epoch_end")
    assert read_settings({key: True}).may_draw_at("on_epoch_end")


def test_moments_that_come_often_are_not_drawn_unless_asked():
    """An example every ten steps starts no process; it does when it is named."""
    assert not Settings().may_draw_at("on_example")
    assert read_settings({"moments": ["on_example"]}).may_draw_at("on_example")
    assert read_settings({"families": {"examples": ["on_example"]}}).may_draw_at("on_example")


@pytest.mark.parametrize("group", [GROUP, {}, {"families": {"losses": []}, "make_plots": False, "format": "svg"}])
def test_settings_travel_as_a_plain_mapping(group):
    """What the process that draws is told means what was configured."""
    settings = read_settings(group)
    assert settings == read_settings(settings.as_group())


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ({"make_plots": "no"}, "logging.make_plots='no'"),
        ({"format": "jpeg"}, "logging.format='jpeg' is none of png, webp, svg"),
        ({"moments": "on_epoch_end"}, "logging.moments='on_epoch_end' is no list"),
        ({"moments": [3]}, "logging.moments holds 3"),
        ({"families": 7}, "logging.families=7"),
        ({"families": {"losses": {"enabled": "yes"}}}, "logging.families.losses.enabled='yes'"),
        ({"families": {"losses": 3}}, "logging.families.losses=3"),
    ],
)
def test_what_cannot_be_read_is_named(group, words):
    """The message holds the key and the value."""
    with pytest.raises(MisuseError, match=words):
        read_settings(group)
