from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import enum
import json
import math
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import msgspec
import numpy as np
import pydantic
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import MISSING, OmegaConf

from barograph.errors import FormatError, InvalidConfigError
from barograph.facts.builders import build_event_payload
from barograph.record.config import (
    MAX_ARRAY_ELEMENTS,
    plain_config,
    read_config_yaml,
    read_json_with_comments,
    write_config_yaml,
)


class Activation(enum.Enum):
    """A value with a name."""

    RELU = "relu"


@dataclasses.dataclass
class Optimizer:
    """Settings as a dataclass."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)


@dataclasses.dataclass
class SlottedOptions:
    """A dataclass whose fields may be unset."""

    __slots__ = ("depth", "never_set")
    depth: int
    never_set: int


class Model(pydantic.BaseModel):
    """Settings as a pydantic model."""

    width: int
    optimizer: Optimizer
    client: object = pydantic.Field(default=None, exclude=True)
    key: pydantic.SecretStr = pydantic.SecretStr("hunter2")


class Attrs:
    """What attrs makes of a class, as far as its documentation promises it."""

    __attrs_attrs__ = (SimpleNamespace(name="width"),)
    width = 8


class Frame:
    """Has a shape and no way to become a list, as a table of pandas."""

    shape = (2, 2)


class Layer(msgspec.Struct):
    """Settings as a msgspec struct."""

    size: int
    name: str | msgspec.UnsetType = msgspec.UNSET


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {}),
        ({"a": {"b": [1, "x", None, True, 0.5]}}, {"a": {"b": [1, "x", None, True, 0.5]}}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Optimizer(lr=0.1), {"lr": 0.1, "betas": [0.9, 0.999]}),
        (argparse.Namespace(lr=0.1, out=Path("runs/a")), {"lr": 0.1, "out": "runs/a"}),
        (Layer(size=3), {"size": 3}),
        (Attrs(), {"width": 8}),
        (
            Model(width=8, optimizer=Optimizer(lr=1.0), client=object()),
            {"width": 8, "optimizer": {"lr": 1.0, "betas": [0.9, 0.999]}, "key": "[redacted]"},
        ),
        ({"layers": [Layer(size=1, name="in"), Layer(size=2)]}, {"layers": [{"size": 1, "name": "in"}, {"size": 2}]}),
    ],
    ids=["none", "dict", "read-only mapping", "dataclass", "namespace", "msgspec", "attrs", "pydantic", "nested"],
)
def test_every_kind_of_configuration_becomes_plain_data(value, expected):
    """Whatever people keep their settings in, the same plain dict comes out."""
    assert expected == plain_config(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Activation.RELU, "relu"),
        ((1, (2, 3)), [1, [2, 3]]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({2, "a", 1}, [1, 2, "a"]),
        (range(3), [0, 1, 2]),
        (namedtuple("Size", "h w")(2, 3), {"h": 2, "w": 3}),  # noqa: PYI024 - an untyped one is what is tested
        (dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC), "2026-01-02T03:04:00+00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (np.float32(0.5), 0.5),
        (np.int64(2**53 + 1), 2**53 + 1),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.longdouble(0.25), 0.25),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (torch.tensor([1.5, 2.5]), [1.5, 2.5]),
        (torch.device("cpu"), "cpu"),
        (torch.float16, "torch.float16"),
        (np.dtype("float32"), "float32"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_value_becomes_plain(value, expected):
    """A value inside a configuration becomes JSON data of the built-in type."""
    plain = plain_config({"value": value})["value"]
    assert expected == plain
    assert type(expected) is type(plain)


def test_subclasses_of_builtin_types_become_the_builtin_type():
    """Enum members that are ints or strings, and float subclasses, are recorded as what they stand for."""

    class Size(enum.IntEnum):
        BIG = 3

    class Shouting(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "not the text"

    plain = plain_config({"size": Size.BIG, "text": Shouting("the text"), Shouting("k"): 1})
    assert plain == {"size": 3, "text": "the text", "k": 1}
    assert [int, str] == [type(plain["size"]), type(plain["text"])]


def test_a_slotted_dataclass_with_an_unset_field_shows_the_fields_that_are_set():
    """A field without a value yet is left out instead of raising AttributeError."""
    options = SlottedOptions(depth=2, never_set=0)
    del options.never_set
    assert plain_config(options) == {"depth": 2}


def test_keys_that_are_not_text_become_what_json_writes_for_them():
    """Numbers, flags and None as keys read as JSON would print them."""
    assert plain_config({1: "a", 0.5: "b", True and "true": "c", None: "d", Activation.RELU: "e"}) == {
        "1": "a",
        "0.5": "b",
        "true": "c",
        "null": "d",
        "relu": "e",
    }


def test_nonfinite_numbers_stay_what_they_are():
    """A NaN or an infinity in a configuration is kept, sign and all."""
    plain = plain_config({"clip": math.inf, "floor": -math.inf, "eps": math.nan})
    assert [math.inf, -math.inf] == [plain["clip"], plain["floor"]]
    assert math.isnan(plain["eps"])


@pytest.mark.spec("S3.19")
def test_an_omegaconf_configuration_is_resolved_and_describes_events():
    """`cfg` may be OmegaConf: interpolations become values, and events get the metadata that stands in it."""
    cfg = OmegaConf.create(
        {"seed": 3, "optim": {"lr": 0.1, "half": "${.lr}"}, "sizes": ["${seed}", 4], "todo": MISSING}
    )
    plain = plain_config(cfg, where="cfg")
    assert plain == {"seed": 3, "optim": {"lr": 0.1, "half": 0.1}, "sizes": [3, 4], "todo": "???"}
    assert plain_config({"inner": cfg.sizes})["inner"] == [3, 4]
    metadata = build_event_payload("on_start", "runs/a", cfg=plain)["metadata"]
    assert {key: metadata[key] for key in ("seed", "optim.lr")} == {"seed": 3, "optim.lr": 0.1}


def test_an_interpolation_without_a_value_is_refused_with_its_place():
    """A reference that cannot be resolved is named before a run starts."""
    with pytest.raises(InvalidConfigError, match=r"cfg\.optim\.lr cannot be resolved: .*nowhere.*; give the key"):
        plain_config(OmegaConf.create({"optim": {"lr": "${nowhere}"}}), where="cfg")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: 1, r"config\.model\.layers\[1\] is a function \(<function .*lambda.*record its name"),
        (sys.stdout, r"config\.model\.layers\[1\] is a .*, which cannot be written down"),
        (torch.nn.Linear(1, 1), r"config\.model\.layers\[1\] is a torch\.nn\.modules\.linear\.Linear \(Linear\(in_fe"),
        (Optimizer, r"config\.model\.layers\[1\] is a type \(<class '.*Optimizer'>\)"),
        (Activation, r"config\.model\.layers\[1\] is a enum\.EnumType"),
        (b"bytes", r"config\.model\.layers\[1\] is a bytes \(b'bytes'\)"),
        (Frame(), r"config\.model\.layers\[1\] is a .*Frame \(<"),
        (1j, r"config\.model\.layers\[1\] is a complex \(1j\)"),
        (threading.Lock(), r"config\.model\.layers\[1\] is a _thread\.lock"),
        (np.zeros(MAX_ARRAY_ELEMENTS + 1), r"config\.model\.layers\[1\] is a numpy\.ndarray of 10001 elements.*path"),
        (range(10**9), r"config\.model\.layers\[1\] is a range of 1000000000 elements"),
        ({(1, 2): 3}, r"config\.model\.layers\[1\] has the key \(1, 2\), a tuple; make it a string"),
        ({1: 3, "1": 4}, r"config\.model\.layers\[1\] has two keys that read '1' as text; rename"),
    ],
    ids=[
        "lambda",
        "file",
        "module",
        "class",
        "enum class",
        "bytes",
        "table",
        "complex",
        "lock",
        "array",
        "range",
        "key",
        "keys",
    ],
)
def test_what_cannot_be_written_down_is_refused_with_its_place(value, message):
    """The error names the dotted path, the type, the value and the next step."""
    with pytest.raises(InvalidConfigError, match=message):
        plain_config({"model": {"layers": [1, value]}})


def test_an_object_whose_repr_raises_is_refused_all_the_same():
    """A broken `__repr__` does not hide the place of the mistake."""

    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(InvalidConfigError, match=r"config\.a is a .*Rude \(its repr raises RuntimeError\)"):
        plain_config({"a": Rude()})


@pytest.mark.parametrize("value", [[1, 2], "lr=0.1", 3, {1, 2}, OmegaConf.create([1])], ids=str)
def test_a_configuration_that_is_no_mapping_is_refused(value):
    """A list or a scalar is not a configuration, and the message says what is."""
    with pytest.raises(InvalidConfigError, match=r"hparams is a .*, not a mapping; pass a dict, dataclass"):
        plain_config(value, where="hparams")


def test_a_cycle_is_refused_and_a_shared_value_is_not():
    """A mapping that contains itself is named; one that merely stands in two places is written twice."""
    shared = {"lr": 0.1}
    assert plain_config({"a": shared, "b": shared}) == {"a": {"lr": 0.1}, "b": {"lr": 0.1}}
    cycle: dict[str, object] = {}
    cycle["inner"] = [cycle]
    with pytest.raises(InvalidConfigError, match=r"config\.inner\[0\] contains itself; remove the cycle"):
        plain_config(cycle)


def test_endless_nesting_is_refused_before_the_stack_ends():
    """Data nested thousands of levels deep gives our error, not RecursionError."""
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InvalidConfigError, match="nested deeper than 64 levels; flatten"):
        plain_config({"deep": deep})


def test_frameworks_are_not_imported_to_recognise_their_objects():
    """Converting a plain configuration loads neither OmegaConf, pydantic, numpy, torch nor yaml."""
    script = (
        "import sys\nfrom barograph.record.config import plain_config\n"
        "plain_config({'a': [1, {'b': 2}], 'c': {1}, 'd': (1,)})\n"
        "print(sorted({'omegaconf', 'pydantic', 'numpy', 'torch', 'yaml', 'argparse'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.spec("S2.27", "S2.40", "S4.39")
def test_the_exact_configuration_is_saved_in_its_named_parts(tmp_path):
    """Model, training and data settings come back from config.yaml as they were, in their order."""
    config = {
        "model": {"d_model": 512, "n_layers": 12},
        "training": {"batch_size": 32, "learning_rate": 1e-4},
        "data": {"dataset_size": 10000},
    }
    path = tmp_path / "config.yaml"
    write_config_yaml(path, config)
    assert config == yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(read_config_yaml(path)) == ["model", "training", "data"]
    assert "learning_rate: 0.0001" in path.read_text(encoding="utf-8")


_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT
_CONFIGS = st.dictionaries(
    _TEXT,
    st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4)),
    max_size=5,
)


@given(config=_CONFIGS)
def test_any_configuration_survives_the_yaml_file(tmp_path_factory, config):
    """Whatever plain data goes in, any text and any number, the same comes out, with keys in the same order."""
    path = tmp_path_factory.mktemp("yaml") / "config.yaml"
    write_config_yaml(path, config)
    back = read_config_yaml(path)
    assert config == back
    assert json.dumps(config) == json.dumps(back)  # -0.0, types and the order of keys too


@pytest.mark.parametrize("text", ["1e-3", "yes", "null", "0x10", "1:30", "2026-01-01", "", "<<", "=", "nan", ".inf"])
def test_text_that_looks_like_another_type_stays_text(tmp_path, text):
    """A string that YAML would read as a number, flag or date is quoted."""
    path = tmp_path / "config.yaml"
    write_config_yaml(path, {"value": text, text: 1})
    assert {"value": text, text: 1} == yaml.safe_load(path.read_bytes())


def test_a_number_as_text_is_quoted_for_readers_of_yaml_1_2(tmp_path):
    """`1e-3` is text to PyYAML and a number to jq-like tools of YAML 1.2, so it is written in quotes."""
    path = tmp_path / "config.yaml"
    write_config_yaml(path, {"lr": "1e-3"})
    assert path.read_text(encoding="utf-8") == "lr: '1e-3'\n"


def test_nonfinite_numbers_survive_the_yaml_file(tmp_path):
    """YAML has words for NaN and the infinities; they come back as they were."""
    path = tmp_path / "config.yaml"
    write_config_yaml(path, {"a": math.nan, "b": math.inf, "c": -math.inf})
    back = read_config_yaml(path)
    assert path.read_text(encoding="utf-8") == "a: .nan\nb: .inf\nc: -.inf\n"
    assert [math.inf, -math.inf] == [back["b"], back["c"]]
    assert math.isnan(back["a"])


def test_the_yaml_file_is_utf8_that_a_person_can_read(tmp_path):
    """Text of any language stands in the file as itself, long lines are not folded, shared values not aliased."""
    path = tmp_path / "config.yaml"
    shared = {"note": "Größe " + "x" * 300}
    write_config_yaml(path, {"a": shared, "b": shared})
    line = "  note: Größe " + "x" * 300
    assert f"a:\n{line}\nb:\n{line}\n" == path.read_text(encoding="utf-8")


def test_a_refused_configuration_leaves_the_old_file(tmp_path):
    """Writing is all or nothing: the file is as it was and no temporary one is left."""
    path = tmp_path / "config.yaml"
    write_config_yaml(path, {"lr": 0.1})
    with pytest.raises(InvalidConfigError, match=r"config\.fn"):
        write_config_yaml(path, {"fn": print})
    assert read_config_yaml(path) == {"lr": 0.1}
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1,\nb: 2\n", r"config\.yaml is not a YAML configuration: .*line 1, column 4"),
        (b"- 1\n- 2\n", r"config\.yaml holds a list \(\[1, 2\]\), not a mapping"),
        (b"a: \xff\xfe\n", r"config\.yaml is not a YAML configuration"),
        (b"!!python/object/apply:os.system ['true']\n", r"could not determine a constructor"),
        (b"[" * 100_000, r"config\.yaml is not a YAML configuration"),
    ],
    ids=["broken", "list", "not UTF-8", "code", "endless"],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, content, message):
    """Reading never executes anything and says which file and line is wrong."""
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        read_config_yaml(path)


def test_an_empty_yaml_file_is_an_empty_configuration(tmp_path):
    """Hydra writes such a file for an empty config."""
    path = tmp_path / "config.yaml"
    path.write_text("# nothing\n", encoding="utf-8")
    assert read_config_yaml(path) == {}


def test_json_with_comments_and_trailing_commas_is_read(tmp_path):
    """Comments and trailing commas go; the same characters inside strings stay."""
    path = tmp_path / "config.json"
    path.write_text(
        '\ufeff{\n  // fast tier\n  "log_steps": 10, // every 10\n  "url": "http://a//b", "text": "a, ] // \\" ,}",\n'
        '  "sizes": [1, 2, // two\n  ],\n}\n// the end',
        encoding="utf-8",
    )
    assert read_json_with_comments(path) == {
        "log_steps": 10,
        "url": "http://a//b",
        "text": 'a, ] // " ,}',
        "sizes": [1, 2],
    }


@given(config=_CONFIGS)
def test_every_json_object_reads_as_json_reads_it(tmp_path_factory, config):
    """A file without comments gives exactly what `json.loads` gives."""
    path = tmp_path_factory.mktemp("json") / "config.json"
    path.write_text(json.dumps(config, indent=1), encoding="utf-8")
    assert json.loads(json.dumps(config)) == read_json_with_comments(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n  // why\n  "a": 1,\n  "b" 2\n}', r"config\.json:4:7: not JSON: Expecting ':' delimiter; correct"),
        ('{"a": [1,,]}', r"config\.json:1:10: not JSON"),
        ("{,}", r"config\.json:1:2: not JSON"),
        ("[,]", r"config\.json:1:2: not JSON"),
        ('{"a":,}', r"config\.json:1:6: not JSON"),
        ('{"a": "x // y\n}', r"config\.json:1:14: not JSON: Invalid control"),
        ("[1]", r"config\.json:1:1: holds a list, not an object; write"),
        ('{"a": 1, "a": 2}', r"config\.json: the key 'a' appears twice in one object; keep one"),
        ("[" * 100_000, r"config\.json: nested too deeply"),
        ("", r"config\.json:1:1: not JSON"),
    ],
    ids=[
        "colon",
        "two commas",
        "lone comma",
        "comma in list",
        "no value",
        "open text",
        "list",
        "twice",
        "deep",
        "empty",
    ],
)
def test_a_broken_json_file_is_named_with_line_and_column(tmp_path, text, message):
    """The place is the one in the file as it stands on disk, comments included."""
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        read_json_with_comments(path)


def test_a_json_file_that_is_not_utf8_is_named(tmp_path):
    """Bytes that are no text give our error with the path."""
    path = tmp_path / "config.json"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(FormatError, match=r"config\.json is not UTF-8 text .*save it as UTF-8"):
        read_json_with_comments(path)
