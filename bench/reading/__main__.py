"""``python -m bench.reading``: how fast recorded numbers are read; writes the tables of docs/benchmarks-reading.md."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import envs
from bench.reading import driver, tables
from bench.reading.subjects import ORDER
from bench.reading.work import Amount

if TYPE_CHECKING:
    from collections.abc import Sequence

HOME = envs.ROOT / ".bench"
DOCUMENT = envs.ROOT / "docs" / "benchmarks-reading.md"
OFFICIAL = (Amount(1, 20_000), Amount(200, 1_000), Amount(1_000, 20_000))
QUICK = (Amount(2, 50),)
INDEX_RUNS = 10_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 when a floor or barograph itself could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.reading", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few numbers, for a test; no figure of weight")
    parser.add_argument("--subjects", default=",".join(ORDER), help=f"comma-separated, of: {', '.join(ORDER)}")
    parser.add_argument("--document", type=Path, help="markdown file for the tables")
    parser.add_argument("--work", type=Path, default=HOME / "reading", help="directory for the subjects' files")
    given = parser.parse_args(arguments)
    names = given.subjects.split(",")
    if unknown := sorted(set(names) - set(ORDER)):
        parser.error(f"no subject is called {unknown[0]!r}; choose from {', '.join(ORDER)}")
    specs = {name: importlib.import_module(f"bench.reading.subjects.{name}").SPEC for name in names}
    is_partial = given.quick or len(names) < len(ORDER)
    document = given.document or (HOME / "partial-reading.md" if is_partial else DOCUMENT)
    outcome = driver.run(
        specs,
        QUICK if given.quick else OFFICIAL,
        work=given.work.resolve(),
        num_index_runs=20 if given.quick else INDEX_RUNS,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    tables.write(outcome, document=document)
    raw = document.with_suffix(".json") if is_partial else HOME / "results" / "reading.json"
    raw.parent.mkdir(parents=True, exist_ok=True)
    figures = {f"{name} {amount}": found for (name, amount), found in outcome.figures.items()}
    raw.write_text(json.dumps({"figures": figures, "extras": outcome.extras}, indent=1) + "\n", encoding="utf-8")
    print(f"tables: {document}\nresults: {raw}")
    return int(any(specs[name].kind != "peer" for name, _ in outcome.failures))


if __name__ == "__main__":
    raise SystemExit(main())
