"""One subject in a process of its own: writes the work, or is asked the questions and timed.

``python -m bench.reading.worker SUBJECT write|read HOME RUNS STEPS LIMIT_S``; the answer is one line of JSON on stdout.
"""

from __future__ import annotations

import gc
import importlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from bench.reading.work import QUESTIONS, Amount

MOST_TIMES = 7


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    name, mode, home, runs, steps, limit_s = arguments
    module = importlib.import_module(f"bench.reading.subjects.{name}")
    amount = Amount(int(runs), int(steps))
    reader = module.make()
    if mode == "write":
        began_s = time.perf_counter()
        reader.write(Path(home), amount)
        print(json.dumps({"write_s": time.perf_counter() - began_s}))
        return
    print(json.dumps({question: ask(reader, question, Path(home), float(limit_s)) for question in QUESTIONS}))


def ask(reader: Any, question: str, home: Path, limit_s: float) -> dict[str, Any]:
    """Ask one question some times; the first time warms caches and is left out where there is time for others."""
    times: list[float] = []
    began_s = time.perf_counter()
    answer = None
    while len(times) < MOST_TIMES + 1 and (not times or time.perf_counter() - began_s + times[-1] < limit_s):
        gc.collect()
        asked_s = time.perf_counter()
        answer = getattr(reader, question)(home)
        times.append(time.perf_counter() - asked_s)
    counted = times[1:] or times
    return {"s": statistics.median(counted), "times": len(counted), "answer": answer}


if __name__ == "__main__":
    main(sys.argv[1:])
