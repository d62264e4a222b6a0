"""Turns what people call a configuration into plain data, and writes and reads it as YAML.

Frameworks are recognised among the modules that are loaded already; none is imported. What cannot be written
down raises at once and names its place, so that no run starts with half a configuration.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.errors import FormatError, InvalidConfigError
from barograph.facts.descriptor import replace_file
from barograph.record.redact import REDACTED

MAX_DEPTH: Final = 64
MAX_ARRAY_ELEMENTS: Final = 10_000
_NO_FIELDS: Final = object()
_FOLDED: Final = re.compile("[\x85\u2028\u2029]")  # line ends that PyYAML folds into spaces unless they are escaped
_NAMED_BY_TEXT: Final = (("torch", "device"), ("torch", "dtype"), ("numpy", "dtype"), ("uuid", "UUID"))


def plain_config(value: Any, *, where: str = "config") -> dict[str, Any]:
    """A configuration as plain JSON-able data; non-finite floats stay what they are.

    Accepted are mappings, dataclass instances, ``argparse.Namespace``, OmegaConf (interpolations resolved),
    pydantic models, attrs instances and msgspec structs, nested in any way. Tuples and sets become lists (sets
    sorted), named tuples mappings, paths strings, enums their values, dates ISO strings, numpy scalars numbers,
    numpy or torch arrays of at most ``MAX_ARRAY_ELEMENTS`` elements lists, and torch's devices and dtypes their names.

    Args:
        value: the configuration; None is an empty one.
        where: what to call it in an error.

    Raises:
        InvalidConfigError: it is not a mapping of any kind, or holds what cannot be written down (a function, a
            class, an open file, a module of a network), or contains itself.

    >>> plain_config({"layers": (64, 32), "out": Path("runs"), "betas": {0.9, 0.5}})
    {'layers': [64, 32], 'out': 'runs', 'betas': [0.5, 0.9]}
    """
    if value is None:
        return {}
    plain = _plain(value, where, ())
    if not isinstance(plain, dict):
        raise InvalidConfigError(
            f"{where} is a {_kind(value)} ({_show(value)}), not a mapping; pass a dict, dataclass, Namespace, "
            f"OmegaConf, pydantic or msgspec object"
        )
    return plain


def write_config_yaml(path: Path, config: Mapping[str, Any]) -> None:
    """Write a configuration as YAML: keys in their order, UTF-8, atomically; ``yaml.safe_load`` gives it back.

    Args:
        path: file to write; replaced when it exists.
        config: anything that ``plain_config`` takes. Non-finite numbers become ``.nan``, ``.inf`` and ``-.inf``.

    Raises:
        InvalidConfigError: the configuration cannot be written down; the file is as it was.
        OSError: the file cannot be written; it is as it was.
    """
    import yaml  # noqa: PLC0415 - 15 ms that `import barograph` need not pay

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, _data: Any) -> bool:
            return True

    def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = "'" if _reads_as_number(text) else None
        if _FOLDED.search(text):
            style = '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent_text)
    text = yaml.dump(plain_config(config), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=sys.maxsize)
    replace_file(path, text.encode("utf-8"))


def read_config_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping; an empty file is an empty mapping.

    Raises:
        FormatError: it is not YAML, not UTF-8, or not a mapping; the message names the line where there is one.
        OSError: it cannot be read.
    """
    import yaml  # noqa: PLC0415 - 15 ms that `import barograph` need not pay

    try:
        config = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise FormatError(f"{path} is not a YAML configuration: {reason}; correct it or restore it") from error
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise FormatError(
            f"{path} holds a {_kind(config)} ({_show(config)}), not a mapping; write it as `key: value` lines"
        )
    return config


def _reads_as_number(text: str) -> bool:
    """Whether some YAML reader takes the bare text for a number: 1.1 reads ``1e-3`` as text, 1.2 as 0.001."""
    try:
        float(text)
    except ValueError:
        return False
    return True


_COMMENT: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*')
_TRAILING_COMMA: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|(?<=[^\s,\[{:]),(?=\s*[}\]])|(?<=\s),(?=\s*[}\]])')


def read_json_with_comments(path: Path) -> dict[str, Any]:
    """Read a JSON object in which ``//`` comments and trailing commas are allowed.

    Raises:
        FormatError: it is not such a file; the message names file, line and column.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
    without_comments = _COMMENT.sub(lambda found: _blank(found.group(), found.group().startswith("//")), text)
    strict = _TRAILING_COMMA.sub(lambda found: _blank(found.group(), found.group() == ","), without_comments)
    try:
        config = json.loads(strict, object_pairs_hook=_refuse_duplicates)
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}; correct that place") from error
    except _DuplicateKeyError as error:
        raise FormatError(f"{path}: the key {error} appears twice in one object; keep one of them") from error
    except RecursionError as error:
        raise FormatError(f"{path}: nested too deeply to be a configuration; flatten it") from error
    if not isinstance(config, dict):
        raise FormatError(f"{path}:1:1: holds a {_kind(config)}, not an object; write {{...}} around it")
    return config


class _DuplicateKeyError(Exception):
    """An object of a JSON file names a key twice; JSON readers would keep one of them silently."""


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKeyError(repr(next(key for key in keys if keys.count(key) > 1)))
    return found


def _blank(text: str, erase: bool) -> str:
    """Spaces instead of what JSON does not know, so that lines and columns of errors stay true."""
    return " " * len(text) if erase else text


def _plain(value: Any, path: str, parents: tuple[int, ...]) -> Any:
    if value is None or type(value) in (str, bool, int, float):
        return value
    if id(value) in parents:
        raise InvalidConfigError(f"{path} contains itself; remove the cycle")
    if len(parents) >= MAX_DEPTH:
        raise InvalidConfigError(f"{path} is nested deeper than {MAX_DEPTH} levels; flatten the configuration")
    inner = (*parents, id(value))
    if _is_of(value, "omegaconf.basecontainer", "BaseContainer"):
        value = _resolve_omegaconf(value, path)
    fields = _fields(value)
    if fields is not _NO_FIELDS:
        return _plain_mapping(fields, path, inner)
    if isinstance(value, AbstractSet):
        return sorted((_plain(item, f"{path}{{}}", inner) for item in value), key=_set_order)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview, range)):
        return [_plain(item, f"{path}[{index}]", inner) for index, item in enumerate(value)]
    return _plain_leaf(value, path, inner)


def _plain_mapping(fields: Any, path: str, parents: tuple[int, ...]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, item in fields.items():
        name = _plain_key(key, path)
        if name in plain:
            raise InvalidConfigError(f"{path} has two keys that read {name!r} as text; rename one of them")
        plain[name] = _plain(item, f"{path}.{name}", parents)
    return plain


def _plain_key(key: Any, path: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, (bool, int, float)):
        return json.dumps(key)
    raise InvalidConfigError(f"{path} has the key {_show(key)}, a {_kind(key)}; make it a string")


def _set_order(item: Any) -> tuple[str, Any]:
    """Numbers first and by value, then everything else by type and text: the same order in every process."""
    if isinstance(item, (bool, int, float)) and not math.isnan(item):
        return ("", item)
    return (type(item).__name__, json.dumps(item))


def _plain_leaf(  # noqa: PLR0911 - one answer per kind of value, each a line
    value: Any, path: str, parents: tuple[int, ...]
) -> Any:
    if isinstance(value, enum.Enum):
        return _plain(value.value, path, parents)
    if isinstance(value, type):
        raise _refusal(value, path)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, (dt.date, dt.time)):  # a datetime is a date
        return value.isoformat()
    if _is_of(value, "pydantic.types", "SecretStr", "SecretBytes"):
        return REDACTED
    if any(_is_of(value, module, name) for module, name in _NAMED_BY_TEXT):
        return str(value)
    if isinstance(getattr(value, "shape", None), tuple) or isinstance(value, range):
        return _plain_array(value, path, parents)
    if isinstance(value, (int, float)):  # subclasses, as bool is one of int
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, str):
        return str.__str__(value)
    raise _refusal(value, path)


def _plain_array(value: Any, path: str, parents: tuple[int, ...]) -> Any:
    size = len(value) if isinstance(value, range) else math.prod(value.shape)
    if size > MAX_ARRAY_ELEMENTS:
        raise InvalidConfigError(
            f"{path} is a {_kind(value)} of {size} elements; a configuration takes at most "
            f"{MAX_ARRAY_ELEMENTS}: save it to a file and record the path"
        )
    if isinstance(value, range):
        return list(value)
    convert = getattr(value, "tolist", None)
    converted = value if convert is None else convert()
    if type(converted) is type(value):  # numpy.longdouble gives itself back
        try:
            return float(value)
        except TypeError:
            raise _refusal(value, path) from None
    return _plain(converted, path, parents)


def _refusal(value: Any, path: str) -> InvalidConfigError:
    return InvalidConfigError(
        f"{path} is a {_kind(value)} ({_show(value)}), which cannot be written down; "
        f"record its name or settings instead, or leave the key out"
    )


def _fields(value: Any) -> Any:  # noqa: PLR0911 - one answer per kind of mapping, each a line
    """Names and values of anything that is a mapping by nature, else ``_NO_FIELDS``."""
    if isinstance(value, type):
        return _NO_FIELDS
    if isinstance(value, Mapping):
        return value
    if _is_of(value, "argparse", "Namespace"):
        return vars(value)
    if isinstance(value, msgspec.Struct):
        return _present(value, value.__struct_fields__)
    if _is_of(value, "pydantic.main", "BaseModel"):
        return _pydantic_fields(value)
    if dataclasses.is_dataclass(value):
        return _present(value, [field.name for field in dataclasses.fields(value)])
    if hasattr(value, "__attrs_attrs__"):
        return _present(value, [field.name for field in value.__attrs_attrs__])
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    return _NO_FIELDS


def _present(value: Any, names: Iterable[str]) -> dict[str, Any]:
    """The fields that are set; a field of a slotted class may have no value yet."""
    found = {name: getattr(value, name, msgspec.UNSET) for name in names}
    return {name: item for name, item in found.items() if item is not msgspec.UNSET}


def _is_of(value: Any, module: str, *names: str) -> bool:
    """Whether ``value`` is of one of these classes; a module that is not loaded cannot have made it."""
    loaded = sys.modules.get(module)
    classes = tuple(getattr(loaded, name, None) or () for name in names)
    return any(isinstance(value, kind) for kind in classes)


def _pydantic_fields(model: Any) -> dict[str, Any]:
    fields = getattr(type(model), "model_fields", {})
    return {name: item for name, item in model if not getattr(fields.get(name), "exclude", None)}


def _resolve_omegaconf(config: Any, path: str) -> Any:
    """Interpolations become values, and a ``???`` that nobody filled stays ``???``."""
    omegaconf = sys.modules["omegaconf"]
    to_container: Callable[..., Any] = omegaconf.OmegaConf.to_container
    try:
        return to_container(config, resolve=True, enum_to_str=False)
    except omegaconf.errors.OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        key = getattr(error, "full_key", None)
        place = f"{path}.{key}" if key else path
        raise InvalidConfigError(f"{place} cannot be resolved: {reason}; give the key it refers to a value") from error


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _show(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception as error:  # noqa: BLE001 - a stranger's __repr__ may raise anything, and this is an error path
        return f"its repr raises {type(error).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - one line of a message
