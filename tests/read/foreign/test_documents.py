"""YAML of other hands: small files that stand for much, files that call, files that are none."""

from __future__ import annotations

import pytest

from barograph.errors import FormatError
from barograph.read.foreign.documents import MAX_BYTES, load_yaml

NESTED = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{inner}'] * 9)}]\n" for inner, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {x: 1}\n" + "".join(
    f"b{place}: &b{place} {{<<: [*{f'b{place - 1}' if place else 'a'}, *{f'b{place - 1}' if place else 'a'}]}}\n"
    for place in range(40)
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (NESTED, "unfolds to more than 1000000 values"),
        (MERGED, "unfolds to more than 1000000 values"),
        ("a: &a\n  b: *a\n", "holds itself"),
        ("[" * 100_000, "nested deeper than 200 levels"),
        ("a: [", "no YAML"),
        ("a: !!int x", "no YAML"),
        ("a: !!timestamp x", "no YAML"),
        ("? {a: 1}\n: 2", "no YAML"),
        ("a: 1\n---\nb: 2\n", "no YAML"),
        ("#" * (MAX_BYTES + 1), "larger than"),
    ],
    ids=["references", "merges", "itself", "deep", "torn", "no int", "no time", "no key", "two", "large"],
)
def test_what_is_refused(tmp_path, content, reason):
    """At once, without the memory that it asks for."""
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(FormatError, match=reason):
        load_yaml(tmp_path / "x.yaml")


def test_nothing_is_called(tmp_path):
    """Python's tags are read as the data that they stand before."""
    mark = tmp_path / "called"
    (tmp_path / "x.yaml").write_text(
        f"a: !!python/object/apply:os.system ['touch {mark}']\n"
        "b: !!python/tuple [1, 2]\nc: !mine {x: 1}\nd: !mine y\n"
    )
    found = load_yaml(tmp_path / "x.yaml")
    assert {"a": [f"touch {mark}"], "b": [1, 2], "c": {"x": 1}, "d": "y"} == found
    assert not mark.exists()


def test_references_that_do_not_grow(tmp_path):
    """They are what they are for."""
    (tmp_path / "x.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a\n")
    assert load_yaml(tmp_path / "x.yaml") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1}}
    (tmp_path / "empty.yaml").write_text("")
    assert load_yaml(tmp_path / "empty.yaml") is None
