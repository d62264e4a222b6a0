"""How the uncommitted changes of two runs differ: a unified diff of two patches, file by file.

Only patches that the runs recorded are looked at; no repository is asked, and nothing is applied.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.blobs import BlobRef, get_bytes
from barograph.read.run import RunReader

MAX_LINES: Final = 4000
_FILE: Final = re.compile(r"^diff --git ", re.MULTILINE)


def patch_of(reader: RunReader, notes: list[str]) -> str:
    """The uncommitted changes that a run recorded; "" when there were none or they cannot be read.

    Args:
        reader: the run.
        notes: where to say why they cannot be read.
    """
    git = reader.provenance.get("git")
    recorded = git.get("diff") if isinstance(git, Mapping) else None
    if not isinstance(recorded, Mapping):
        return ""
    try:
        ref = msgspec.convert({key: recorded.get(key) for key in BlobRef.__struct_fields__}, BlobRef)
        data = get_bytes(reader.directory.blobs, ref)
    except (FormatError, OSError, msgspec.ValidationError) as error:
        notes.append(f"its uncommitted changes cannot be read: {error}")
        return ""
    return data.decode("utf-8", "replace")


def compare_patches(a: str, b: str) -> list[str]:
    """The lines of a unified diff from one patch to the other; files whose changes are equal are left out.

    A file with more than ``MAX_LINES`` changed and context lines on one side is named and not compared line by line:
    the time that takes grows with the square of its length.

    Args:
        a: what ``git diff`` printed in one run.
        b: the same in the other.
    """
    ours, theirs = _by_file(a), _by_file(b)
    lines: list[str] = []
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        before, after = ours.get(name, []), theirs.get(name, [])
        if before == after:
            continue
        if max(len(before), len(after)) > MAX_LINES:
            lines.append(f"{name}: {len(before)} lines of changes in A, {len(after)} in B; too long to compare")
            continue
        lines += difflib.unified_diff(before, after, f"A, uncommitted: {name}", f"B, uncommitted: {name}", lineterm="")
    return lines


def _by_file(patch: str) -> dict[str, list[str]]:
    """The lines of a patch by the file they change, without the hashes of that file."""
    starts = [found.start() for found in _FILE.finditer(patch)]
    found: dict[str, list[str]] = {}
    for start, end in itertools.pairwise([*starts, len(patch)]):
        head, *rest = patch[start:end].split("\n")
        lines = rest[:-1] if rest and not rest[-1] else rest
        found[head.rpartition(" b/")[2]] = [line for line in lines if not line.startswith("index ")]
    return found
