"""Every example is a short script with its dependencies declared, and does what it says."""

from __future__ import annotations

import ast
import json
import math
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from tests.examples.conftest import contents

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")  # as PEP 723 gives it
DISTRIBUTIONS = {"sklearn": "scikit-learn", "hydra": "hydra-core"}


def declared(path):
    """The script block of a file, read as PEP 723 says."""
    (match,) = [found for found in BLOCK.finditer(path.read_text(encoding="utf-8")) if found["type"] == "script"]
    lines = match["content"].splitlines(keepends=True)
    return tomllib.loads("".join(line[2:] if line.startswith("# ") else line[1:] for line in lines))


def imported(path):
    """The distributions that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.partition(".")[0])
    return {DISTRIBUTIONS.get(name, name) for name in found - sys.stdlib_module_names}


def test_there_are_examples_to_test():
    """The documented examples are there, so that the tests below are about something."""
    names = {"plain_loop", "torch_loop", "resume", "quick_full", "facts_first", "loss_curve"}
    assert names == {path.stem for path in EXAMPLES}


@pytest.mark.spec("S0.13")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_script_block_declares_what_is_imported(path):
    """A PEP 723 block names the Python version and exactly the distributions that the script imports."""
    block = declared(path)
    assert block["requires-python"] == ">=3.11"
    assert imported(path) == set(block["dependencies"])


@pytest.mark.spec("S0.1", "S0.13")
def test_the_loguru_example_declares_loguru():
    """The example that logs with loguru has it, beside numpy, in its block."""
    (path,) = [path for path in EXAMPLES if path.stem == "quick_full"]
    assert {"loguru", "numpy"} <= set(declared(path)["dependencies"])
    assert path.read_text(encoding="utf-8").startswith('# /// script\n# requires-python = ">=3.11"\n# dependencies = [')


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_fits_on_a_screen(path):
    """At most 60 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


def test_plain_loop(run_script, read_streams, read_events, tmp_path):
    """Every step is on disk, validation falls on full evaluations only, and learning has happened."""
    run_script("plain_loop.py", "here")
    (run_dir,) = (tmp_path / "here").iterdir()
    ((header, table),) = read_streams(run_dir)
    assert header["columns"] == ["step", "loss", "t"]
    assert np.array_equal(np.arange(1, len(table) + 1), table[:, 0])
    ((_, val),) = read_streams(run_dir, "val")
    assert list(range(200, len(table) + 1, 200)) == val[:, 0].tolist()
    assert table[-500:, 1].mean() < table[:500, 1].mean() < math.log(2)
    assert read_events(run_dir, "on_train_end")[0]["status"] == "finished"


@pytest.mark.spec("S3.9")
def test_torch_loop(run_script, read_streams, read_events, tmp_path):
    """Adam learns, tensors arrive as numbers, both criteria hold, and ``model.pt`` is the best checkpoint."""
    run_script("torch_loop.py", "here")
    (run_dir,) = (tmp_path / "here").iterdir()
    ((header, table),) = read_streams(run_dir)
    assert header["columns"] == ["step", "loss", "grad_norm", "t"]
    assert len(table) == 400
    assert np.isfinite(table).all()
    (ended,) = read_events(run_dir, "on_train_end")
    assert [verdict["passed"] for verdict in ended["success"]] == [True, True]
    assert (run_dir / "best_val.pt").read_bytes() == (run_dir / "model.pt").read_bytes()


def test_kill_and_resume(run_script, read_streams, read_events, tmp_path):
    """After SIGKILL at step 230 all 230 steps are there; the next attempt goes on from 200 and drops nothing."""
    run_script("resume.py", "fit", 230, code=-9)
    run_dir = tmp_path / "fit"
    ((header, first),) = read_streams(run_dir)
    assert header["attempt"] == 0
    assert np.array_equal(np.arange(1, 231), first[:, 0])

    run_script("resume.py", "fit")
    streams = read_streams(run_dir)
    assert [header["attempt"] for header, _ in streams] == [0, 1]
    assert first.tobytes() == streams[0][1].tobytes()
    second = streams[1][1]
    assert np.array_equal(np.arange(201, 401), second[:, 0])
    both = np.intersect1d(first[:, 0], second[:, 0])
    assert np.array_equal(first[np.isin(first[:, 0], both), 1], second[np.isin(second[:, 0], both), 1])
    (resumed,) = read_events(run_dir, "on_resume")
    assert (resumed["previous_status"], resumed["attempt"]) == ("killed", 1)


OUT_DIR = """
    out_dir = Path(sys.argv[1] if len(sys.argv) > 1 else "quick")
    out_dir.mkdir(parents=True, exist_ok=True)
"""


@pytest.mark.spec("S0.14")
def test_the_documented_lines_choose_the_directory():
    """The example takes its directory by the guide's two lines, word for word."""
    (path,) = [path for path in EXAMPLES if path.stem == "quick_full"]
    assert OUT_DIR in path.read_text(encoding="utf-8")


@pytest.mark.spec("S0.2", "S0.3", "S0.4", "S0.14")
def test_quick_and_full_are_kept_apart(both_tiers):
    """Without an argument the run is in ``quick``, with one in ``full``; each has its own log, facts and tier."""
    directory, quick = both_tiers
    assert quick == contents(directory / "quick")
    for tier, epochs in (("quick", 4), ("full", 40)):
        identity = json.loads((directory / tier / "run.json").read_text(encoding="utf-8"))
        assert tier == identity["tier"]
        lines = (directory / tier / "train.log").read_text(encoding="utf-8").splitlines()
        assert epochs == sum('"accuracy"' in line and '"split"' not in line for line in lines)


@pytest.mark.spec("S0.5", "S0.6", "S0.7")
def test_a_hypothesis_with_its_criteria(both_tiers, read_events):
    """The statement and the criteria stand at the start, their verdicts from recorded metrics at the end."""
    directory, _ = both_tiers
    (start,) = read_events(directory / "full", "on_start")
    assert start["hypothesis"].startswith("a linear model tells malignant")
    (ended,) = read_events(directory / "full", "on_train_end")
    assert start["success"] == [verdict["text"] for verdict in ended["success"]]
    assert [verdict["passed"] for verdict in ended["success"]] == [True, True, True]
    assert all("value" in verdict["evidence"] for verdict in ended["success"])


S0_SCRIPT = """
import json
import sys
from pathlib import Path

from loguru import logger

import barograph

out_dir = Path(sys.argv[1] if len(sys.argv) > 1 else "quick")
out_dir.mkdir(parents=True, exist_ok=True)
with barograph.init(dir=out_dir):
    logger.info("metric {}", json.dumps({"epoch": 0, "step": 0, "loss": 0.693, "accuracy": 0.52}))
    logger.info("metric {}", json.dumps({"epoch": 0, "step": 100, "loss": 0.512, "accuracy": 0.71}))
"""


@pytest.mark.spec("S0.19", "S0.20", "S0.21")
def test_the_documented_loguru_calls(run_script, tmp_path):
    """The two calls, as printed in the guide, become two lines of train.log that ``grep "metric "`` finds."""
    script = tmp_path / "guide.py"
    script.write_text(S0_SCRIPT, encoding="utf-8")
    run_script(script)
    log = tmp_path / "quick" / "train.log"
    found = subprocess.run(["grep", "metric ", log], capture_output=True, text=True, check=True).stdout.splitlines()
    pattern = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| INFO \| metric (\{.*\})$")
    records = [json.loads(pattern.match(line)[1]) for line in found]
    assert records == [
        {"epoch": 0, "step": 0, "loss": 0.693, "accuracy": 0.52},
        {"epoch": 0, "step": 100, "loss": 0.512, "accuracy": 0.71},
    ]
    assert all(type(record[key]) is int for record in records for key in ("epoch", "step"))
