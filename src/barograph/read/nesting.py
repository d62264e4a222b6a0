"""How deep a YAML text is nested, found out before anything is built of it.

libyaml composes by calling itself in C: a text nested some ten thousand levels deep ends the process. Its parser, which
gives one event after the other, does not.
"""

from __future__ import annotations

from typing import Final

MAX_DEPTH: Final = 200


def is_too_deep(text: bytes) -> bool:
    """Whether a YAML text is nested deeper than ``MAX_DEPTH`` levels, which no configuration is.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    import yaml  # noqa: PLC0415 - 15 ms that whoever reads no YAML need not pay

    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return False
