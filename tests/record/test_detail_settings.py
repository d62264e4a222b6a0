"""Settings of detail records: the documented block, what is refused, and what switching off means."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from barograph.errors import InvalidConfigError, MisuseError
from barograph.record.detail import DetailConfig, DetailRecord


@pytest.mark.spec("S4.20", "S4.21", "S4.22", "S4.23", "S4.24")
def test_the_documented_yaml_block(tmp_path):
    """The block as it is printed in the documentation configures a record, output directory included."""
    block = """
detailed_logging:
  enabled: true
  level: "standard"              # minimal, standard, detailed, debug
  log_sequences: true            # Include sequence text and individual scores
  output_directory: "entropy_experiments/logs"
  compress: true                 # Gzip large files
"""
    config = DetailConfig.from_mapping(yaml.safe_load(block)["detailed_logging"])
    assert (
        DetailConfig(
            enabled=True,
            level="standard",
            log_sequences=True,
            output_directory="entropy_experiments/logs",
            compress=True,
        )
        == config
    )
    record = config.new_record("entropy_probe", checkpoint="step_60", directory=tmp_path)
    assert (Path("entropy_experiments/logs"), "standard") == (record.directory, record.level)
    assert tmp_path == DetailConfig().new_record("a", checkpoint="b", directory=tmp_path).directory


@pytest.mark.spec("S4.20")
def test_not_enabled_writes_nothing(tmp_path):
    """With ``enabled: false`` the same calls work, keep nothing, and make no file."""
    record = DetailConfig(enabled=False).new_record("probe", checkpoint="last", directory=tmp_path)
    record.minimal(core_results={"deltaH1": 1.0})
    record.debug(tensors=[1.0])
    assert record.wants("minimal") is False
    assert record.write() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.spec("S4.21")
@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"level": "verbose"}, "'verbose' is no level of detail; use minimal, standard, detailed, debug"),
        ({"levle": "debug"}, "no setting 'levle'; use enabled, level, log_sequences, output_directory, compress"),
        ({"compress": "yes"}, r"Expected `bool`, got `str` - at `\$.compress`; correct that setting"),
        ({"output_directory": 3}, "Expected `str"),
        (["debug"], "must be a mapping, not list"),
        (None, "must be a mapping, not NoneType"),
    ],
)
def test_wrong_settings_are_named(mapping, message):
    """An unknown key, level or type is refused with what there is."""
    with pytest.raises(InvalidConfigError, match=message):
        DetailConfig.from_mapping(mapping)


def test_wrong_arguments_are_named(tmp_path):
    """An unknown level or choice is refused when the record is made."""
    with pytest.raises(InvalidConfigError, match="'all' is no level of detail"):
        DetailRecord("probe", "last", level="all", directory=tmp_path)
    with pytest.raises(MisuseError, match="over_budget='drop' is unknown; use 'write' or 'lower'"):
        DetailRecord("probe", "last", over_budget="drop", directory=tmp_path)
