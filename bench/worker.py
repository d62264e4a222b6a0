"""The process that a subject runs in: one scenario, one answer as JSON.

Started by the driver with the interpreter of the subject's environment:
``python -m bench.worker SUBJECT SCENARIO HOME PLAN ANSWER``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.scenarios import SCENARIOS
from bench.work import Plan


def main(arguments: list[str]) -> None:
    """Run one scenario and write its answer."""
    subject, scenario, home, plan, answer = arguments
    found = SCENARIOS[scenario](subject, Plan(**json.loads(plan)), Path(home))
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
