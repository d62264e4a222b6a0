"""``python -m bench.faults generate`` records the benchmark, ``python -m bench.faults score`` judges who notices."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Hand the rest of the command line to the command."""
    match list(arguments):
        case ["generate", *rest]:
            from bench.faults import generate

            return generate.main(rest)
        case ["score", *rest]:
            from bench.faults import score

            return score.main(rest)
        case _:
            print("usage: python -m bench.faults generate|score [--home .bench/faults] ...", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
