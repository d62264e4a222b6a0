from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

import barograph

SOURCE = Path(barograph.__file__).parent
THIRD_PARTY = {"msgspec"}


def imports(folder: str) -> dict[str, set[str]]:
    """Every module that the modules of a folder import, wherever in them the import stands."""
    found = {}
    for path in (SOURCE / folder).rglob("*.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module)
        found[str(path.relative_to(SOURCE))] = names
    return found


@pytest.mark.spec("S3.56")
def test_facts_know_no_other_part_of_the_package():
    """Modules of the format import the standard library, msgspec, the errors and each other: no domain, no station."""
    for path, names in imports("facts").items():
        for name in names:
            root = name.partition(".")[0]
            known = root in sys.stdlib_module_names or root in THIRD_PARTY
            assert known or name.startswith(("barograph.facts", "barograph.errors")), f"{path} imports {name}"


@pytest.mark.spec("S3.56")
def test_using_facts_loads_nothing_else(record):
    """A process that writes an event and a table has loaded none of the other stations."""
    stdout, _ = record(
        """
        import json, sys
        from barograph.facts import append_jsonl_event, append_scalars_csv, build_event_payload
        append_jsonl_event("run", build_event_payload("on_start", "run"))
        append_scalars_csv("run", epoch=0, train_loss=0.5)
        print(json.dumps(sorted(name for name in sys.modules if name.startswith("barograph."))))
        """
    )
    loaded = json.loads(stdout)
    assert "barograph.facts.writers" in loaded
    near = ("barograph.facts", "barograph.errors", "barograph.version")
    assert [name for name in loaded if not name.startswith(near)] == []


@pytest.mark.spec("S3.43")
@pytest.mark.parametrize(
    ("folder", "others"),
    [
        ("record", ("read", "watch", "mirror", "view", "session", "cli")),
        ("read", ("record", "watch", "mirror", "view", "session", "cli")),
        ("mirror", ("record", "view", "session", "cli")),
        ("watch", ("record", "view", "session", "cli")),
        ("view", ("record", "session", "cli")),
    ],
)
def test_who_emits_and_who_consumes_know_facts_and_not_each_other(folder, others):
    """Training loops emit, readers consume; the only thing between them is the format."""
    for path, names in imports(folder).items():
        coupled = [name for name in names if name.startswith(tuple(f"barograph.{other}" for other in others))]
        assert coupled == [], f"{path} imports {coupled}"
