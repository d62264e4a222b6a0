"""A line of ``alerts.jsonl`` in words, for messages to people. It knows no medium: plain text, one fact per line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

MAX_SHOWN: Final = 4
"""Of causes, remedies and metrics that moved; the rest is in the run's files."""


def title_of(line: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """One line: how bad, what, in which run.

    >>> title_of({"severity": "critical", "title": "divergence"}, {"name": "digits"})
    '[critical] divergence in digits'
    """
    name = run.get("name") or run.get("id")
    return f"[{line.get('severity', 'warning')}] {line.get('title') or line.get('type') or 'alert'}" + (
        f" in {name}" if name else ""
    )


def body_of(line: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """All that a person should know: what, since when, what moved first, why, what to do, where."""
    parts = [str(line.get("text", "")), *_when(line), *_listed(line), *_where(run)]
    return "\n".join(part for part in parts if part)


def _when(line: Mapping[str, Any]) -> Iterator[str]:
    since, step = line.get("since_step"), line.get("step")
    if isinstance(since, (int, float)) and isinstance(step, (int, float)):
        yield f"since step {since:.12g}" + (f", noticed at step {step:.12g}" if step != since else "")


def _listed(line: Mapping[str, Any]) -> Iterator[str]:
    moved = [
        f"{it['metric']} at step {it['step']:.12g}"
        for it in _items(line.get("moved_first"))
        if isinstance(it.get("step"), (int, float)) and it.get("metric")
    ]
    causes = [str(cause) for cause in line.get("causes") or []]
    remedies = [str(it["text"]) for it in _items(line.get("remedies")) if it.get("text")]
    for title, found in (("moved first", moved), ("likely causes", causes), ("what to do", remedies)):
        if found:
            yield f"{title}:"
            yield from (f"- {item}" for item in found[:MAX_SHOWN])


def _items(found: Any) -> list[Mapping[str, Any]]:
    return [it for it in found if isinstance(it, Mapping)] if isinstance(found, list) else []


def _where(run: Mapping[str, Any]) -> Iterator[str]:
    place = " on ".join(str(run[key]) for key in ("directory", "host") if run.get(key))
    yield f"run: {place}" if place else ""
