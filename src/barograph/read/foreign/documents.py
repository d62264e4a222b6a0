"""YAML documents of other hands: plain data of a size that fits into memory; nothing in them is called.

References let a few lines stand for billions of values, so what a document unfolds to is counted before it is built.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from barograph.errors import FormatError
from barograph.read.nesting import MAX_DEPTH, is_too_deep

if TYPE_CHECKING:
    from yaml.nodes import Node

MAX_BYTES: Final = 32 << 20
MAX_VALUES: Final = 1_000_000
_PYTHON_TAG: Final = "tag:yaml.org,2002:python/"


def load_yaml(path: Path) -> Any:
    """What a YAML file holds; tuples and objects of Python and other tagged values as the plain data they are made of.

    Raises:
        FormatError: it is no YAML, or more than 32 MiB, or nested deeper than 200 levels, or unfolds to more than a
            million values or to itself.
        OSError: it cannot be read.
    """
    import yaml  # noqa: PLC0415 - 15 ms that whoever reads no YAML need not pay

    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise FormatError(f"{path} is larger than {MAX_BYTES} bytes; a configuration is not")
    try:
        kind = _plain_loader()
        if is_too_deep(content):
            raise FormatError(f"{path} is nested deeper than {MAX_DEPTH} levels; a configuration is not")
        loader = kind(content)
        node = loader.get_single_node()
        if node is None:
            return None
        if _num_values(node, {}) > MAX_VALUES:
            raise FormatError(f"{path} unfolds to more than {MAX_VALUES} values; write it without its references")
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # the last four are how PyYAML meets scalars that are not what their tags say
        raise FormatError(f"{path} is no YAML that can be read: {' '.join(str(error).split())}") from error


def _num_values(node: Node, known: dict[int, int]) -> int:
    """How many values a node unfolds to.

    Args:
        node: what was parsed.
        known: by node; -1 while it is being counted.

    Raises:
        ValueError: it holds itself.
    """
    import yaml  # noqa: PLC0415 - see above

    count = known.get(id(node), 0)
    if count < 0:
        raise ValueError("a value holds itself")
    if count:
        return count
    known[id(node)] = -1
    inner: list[Any] = []
    if isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif isinstance(node, yaml.MappingNode):
        inner = [part for pair in node.value for part in pair]
    count = 1 + sum(_num_values(part, known) for part in inner)
    known[id(node)] = count
    return count


def _plain_loader() -> Any:
    """A safe loader that reads tagged values as plain data."""
    import yaml  # noqa: PLC0415 - see above

    class PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # the C one where it was built
        """Makes no objects."""

    def plain(loader: Any, _suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    PlainLoader.add_multi_constructor(_PYTHON_TAG, plain)
    PlainLoader.add_multi_constructor("!", plain)
    return PlainLoader
