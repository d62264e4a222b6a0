"""The study, and the project's main job: two configurations x six seeds, and a learning rate that is too high.

``make demo``, ``barograph demo`` and ``python -m barograph_lab.digits`` are the same. It trains, compares, verifies
what was recorded and says what to type next.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

MISSING = "the digits study needs scikit-learn, which is not installed; install it with: pip install 'barograph[demo]'"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study.

    Returns:
        0 when every run's facts are whole, 1 when not, 2 when scikit-learn is missing.
    """
    args = _parser().parse_args(argv)
    if importlib.util.find_spec("sklearn") is None:
        print(MISSING, file=sys.stderr)
        return 2
    for variable in THREADS:  # before numpy is loaded: matrices of this size are slower on several threads
        os.environ.setdefault(variable, "1")
    from barograph_lab.digits.study import Plan, run_study, run_study_quietly  # noqa: PLC0415 - numpy must see them

    epochs = args.epochs or (5 if args.quick else 15)
    plan = Plan(
        epochs=epochs,
        seeds=args.seeds,
        log_steps=args.log_steps,
        eval_steps=args.eval_steps or (100 if args.quick else 200),
        tier="quick" if args.quick else "full",
        root=args.root,
    )
    return run_study_quietly(plan) if args.json else run_study(plan)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="barograph demo",
        description="Train real classifiers on handwritten digits, recorded: two configurations x six seeds, and "
        "one with a learning rate that diverges.",
    )
    parser.add_argument("--root", type=Path, help="where the runs go (default: $BAROGRAPH_ROOT, else ./runs)")
    parser.add_argument("--epochs", type=_positive, help="of each run, 40 steps each (default: 15; 5 with --quick)")
    parser.add_argument("--seeds", type=_positive, default=6, help="of each configuration (default: 6)")
    parser.add_argument("--log-steps", type=_positive, default=50, help="a fast log every so many (default: 50)")
    parser.add_argument(
        "--eval-steps", type=_positive, help="a full evaluation every so many (default: 200; 100 with --quick)"
    )
    parser.add_argument(
        "--json", action="store_true", help='one line of JSON instead: {"runs": [{"name", "status", ...}], "best": ...}'
    )
    parser.add_argument("--quick", action="store_true", help="a third of the steps, recorded as tier quick")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
