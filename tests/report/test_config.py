from __future__ import annotations

import argparse
import types

import pytest
from omegaconf import OmegaConf

from barograph.errors import InvalidNameError, ReportError
from barograph.report.config import merged, parse_overrides, read_report_config

GIVEN = {"name": "lr", "inputs": {"sweep_dir": "runs", "select": {"lr": [0.1]}}, "inference": {"enabled": False}}


@pytest.mark.spec("S3.49", "S3.64")
@pytest.mark.parametrize(
    "made",
    [
        GIVEN,
        OmegaConf.create(GIVEN),
        argparse.Namespace(name="lr", inputs=argparse.Namespace(sweep_dir="runs", select={"lr": [0.1]})),
        types.SimpleNamespace(name="lr", inputs=types.SimpleNamespace(sweep_dir="runs", select={"lr": [0.1]})),
    ],
    ids=["dict", "omegaconf", "namespace", "attributes"],
)
def test_a_configuration_may_be_anything_with_those_names(made):
    """A mapping, a ``DictConfig``, an object with attributes: the same report."""
    config = read_report_config(made)
    assert (config.name, config.inputs.sweep_dir, config.inputs.select) == ("lr", "runs", {"lr": [0.1]})
    assert config.inference.enabled is False


def test_hydra_s_own_section_is_left_alone():
    """A config composed by Hydra carries ``hydra``."""
    assert read_report_config({**GIVEN, "hydra": {"run": {"dir": "x"}}}).name == "lr"


@pytest.mark.spec("S3.33")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": {"sweepdir": "runs"}}, "no setting 'inputs.sweepdir'; did you mean inputs.sweep_dir"),
        ({**GIVEN, "metric": ["loss"]}, "no setting 'metric'; did you mean metrics"),
        ({"inputs": {}}, "needs either inputs.sweep_dir=DIRECTORY or inputs.runs"),
        ({"inputs": {"sweep_dir": "a", "runs": ["b"]}}, "both are given: leave one out"),
        ({**GIVEN, "inference": {"enabled": "perhaps"}}, "Expected `bool`"),
        ({**GIVEN, "inference": {"enabled": True}}, "needs inference.function=MODULE:CALLABLE"),
        ({"inputs": 3}, "inputs=3 is no section"),
        (17, "mapping"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(given, message):
    """The message names the key, and what to write instead."""
    with pytest.raises(ReportError, match=message):
        read_report_config(given)


def test_a_name_that_cannot_name_a_directory_is_refused():
    """Before anything is computed."""
    with pytest.raises(InvalidNameError, match="a/b"):
        read_report_config({**GIVEN, "name": "a/b"})


def test_settings_as_they_are_typed():
    """Values are what they look like; places and names stay text."""
    given = [
        "inputs.sweep_dir=2026",
        "inference.enabled=true",
        "options.alpha=0.01",
        "metrics=[val/loss, acc]",
        "name=7",
    ]
    assert parse_overrides(given) == {
        "inputs": {"sweep_dir": "2026"},
        "inference": {"enabled": True},
        "options": {"alpha": 0.01},
        "metrics": ["val/loss", "acc"],
        "name": "7",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["sweep"], "'sweep' is no setting; write KEY=VALUE"),
        (["a=1", "a=2"], "'a' is set twice"),
        (["a=1", "a.b=2"], "below a setting that has a value"),
        (["a=[1"], "cannot be read"),
    ],
)
def test_settings_that_cannot_be_read(given, message):
    """The message has the text that was typed."""
    with pytest.raises(ReportError, match=message):
        parse_overrides(given)


def test_settings_go_over_those_of_a_file():
    """What is not named stays."""
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}, "d": 4}) == {"a": {"b": 1, "c": 3}, "d": 4}
