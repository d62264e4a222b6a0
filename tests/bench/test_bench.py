"""The benchmark: its quick form runs for real, and what is computed from rounds is checked with numbers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = ("noop", "os_write", "pydll_write", "barograph", "barograph_facts", "barograph_watch")


@pytest.fixture
def bench(monkeypatch):
    """The modules of the benchmark, which is run from the repository and never installed."""
    monkeypatch.syspath_prepend(str(ROOT))
    from bench import budgets, envs, measure, procs, results, subjects, tables, work

    return SimpleNamespace(
        budgets=budgets,
        envs=envs,
        measure=measure,
        procs=procs,
        results=results,
        subjects=subjects,
        tables=tables,
        work=work,
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """One quick run of two floors and ourselves: its process, its document and its raw results."""
    folder = tmp_path_factory.mktemp("bench")
    document = folder / "benchmarks.md"
    document.write_text((ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8"), encoding="utf-8")
    command = [
        *(sys.executable, "-m", "bench", "--quick", "--subjects", ",".join(SUBJECTS)),
        *("--document", str(document), "--results", str(folder / "results"), "--work", str(folder / "work")),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, "" if done.returncode == 0 else done.stderr) == (0, "")
    (raw,) = (folder / "results").glob("*.json")
    return SimpleNamespace(
        document=document.read_text(encoding="utf-8"), raw=json.loads(raw.read_text(encoding="utf-8"))
    )


def table_under(document, heading):
    """The rows of the first table below a heading, each a list of cells."""
    _, _, below = document.partition(f"{heading}\n")
    lines = [line for line in below.split("\n###", maxsplit=1)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def figures(p50, *, lost=None, beside_p99=50.0):
    """The figures of one round with a given median call."""
    latency = {"calls": 1000, "p50_us": p50, "p99_us": 2 * p50, "max_us": 3 * p50}
    found = {
        "latency": latency,
        "alone": latency,
        "beside": latency | {"p99_us": beside_p99},
        **dict.fromkeys(("cpu_us_per_step", "bytes_per_step", "opened_bytes", "peak_rss_bytes"), 56.0),
        **dict.fromkeys(("helper_rss_bytes", "open_s", "close_s", "background_us_per_call"), 0.5),
        "steps": 1000,
        "version": "1.0",
    }
    return found if lost is None else found | {"lost": lost, "returned": 1800}


def test_quick_run_keeps_the_hand_written_page_and_fills_the_marked_part(quick):
    """The prose around the marks is untouched, and the machine and the amount of work are stated."""
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page.partition("## Figures")[0] == quick.document.partition("## Figures")[0]
    assert "No official run has been made yet" not in quick.document
    for fact in ("- date: ", "- processor: ", "- file system: ", "- python: CPython 3.", "- work: 1,000 steps"):
        assert fact in quick.document


def test_quick_run_judges_every_budget_of_the_recorder(quick):
    """Each budget has its limit, a measured figure and a verdict; only what needs a peer is left open."""
    head, _, *rows = table_under(quick.document, "### Budgets")
    assert head == ["what", "budget", "measured", "met"]
    assert [row[:2] for row in rows] == [
        ["`run.log` of 5 scalars, p50", "2 us"],
        ["`run.log` of 5 scalars, p99", "6 us"],
        ["p50, times pack + the write call it makes", "2 x"],
        ["p50, times pack + os.write, which stalls beside a thread", "2 x"],
        ["p50, times below the fastest peer that loses nothing", "at least 20 x"],
        ["beside a computing thread, p99", "100 us"],
        ["acknowledged facts lost at `kill -9`", "0 facts"],
        ["bytes of facts per step of 5 scalars", "60 bytes"],
        ["`import barograph`, median", "40 ms"],
        ["heavy modules that it loads", "none of numpy, polars, rich, loguru, matplotlib, torch"],
        ["memory growth per step", "0 bytes"],
        ["companion per call, back to back", "10 us CPU"],
        ["companion per call, 1 per ms", "10 us CPU"],
        ["companion with the watch per call, back to back", "10 us CPU"],
    ]
    assert [row[0] for row in rows if row[3] == "-"] == ["p50, times below the fastest peer that loses nothing"]
    assert {"yes", "NO", "-"} >= {row[3] for row in rows}


def test_quick_run_has_one_row_of_figures_per_subject_in_both_tables(quick):
    """Every subject has a full row of numbers; a subject that keeps nothing has nothing to lose."""
    for heading in ("### One call, in us", "### What it costs and what it keeps"):
        head, _, *rows = table_under(quick.document, heading)
        assert [row[0] for row in rows] == [
            "noop (the measuring loop)",
            "pack + os.write",
            "pack + PyDLL write",
            "**barograph**",
            "**barograph, facts only**",
            "**barograph, facts and watch**",
        ]
        assert {len(head)} == {len(row) for row in rows}
    cost = table_under(quick.document, "### What it costs and what it keeps")[2:]
    assert [row[-1] for row in cost] == ["-", "0", "0", "0", "0", "0"]
    assert [row[1] for row in cost] == ["1,000"] * 6
    assert all(re.fullmatch(r"[\d,.]+", cell) for row in cost[1:] for cell in row[1:])


def test_quick_run_keeps_every_round_as_json(quick):
    """The raw results hold one round per subject, with calls returned and none of the floor's or ours lost."""
    assert dict.fromkeys(SUBJECTS, 1) == {name: len(rounds) for name, rounds in quick.raw["rounds"].items()}
    assert quick.raw["failures"] == {}
    assert [quick.raw["rounds"][name][0]["lost"] for name in SUBJECTS[1:]] == [0, 0, 0, 0, 0]
    assert all(quick.raw["rounds"][name][0]["returned"] > 0 for name in SUBJECTS[1:])
    assert quick.raw["imports"]["forbidden_loaded"] == []
    assert [len(soak["rss_bytes"]) for soak in quick.raw["soaks"].values()] == [10, 10, 10]


def test_rounds_become_medians_but_the_worst_of_longest_call_and_loss(bench):
    """Medians of p50 and p99; the maximum of maxima; the largest loss; all returned calls."""
    found = bench.results.summarize([figures(1.0, lost=0), figures(9.0, lost=7), figures(2.0, lost=1)])
    assert tuple(found[f"latency_{name}_us"] for name in ("p50", "p99", "max")) == (2.0, 4.0, 27.0)
    assert (found["lost"], found["returned"]) == (7, 5400)


def test_the_peer_to_beat_is_the_fastest_that_lost_nothing(bench):
    """A faster peer that lost a fact, and a floor that lost none, are no peers to beat."""
    summaries = {
        name: bench.results.summarize([found])
        for name, found in {
            "os_write": figures(1.0, lost=0),
            "barograph": figures(2.0, lost=0),
            "trackio": figures(10.0, lost=300),
            "aim": figures(250.0, lost=0),
            "mlflow": figures(9000.0, lost=0),
        }.items()
    }
    assert bench.results.fastest_lossless_peer(summaries) == "aim"
    budget = {row[0]: row[1:] for row in bench.budgets.judge(summaries, imports={}, soaks={})}
    assert budget["p50, times below the fastest peer that loses nothing"] == ("at least 20 x", "125.00 x", "yes")
    assert budget["p50, times pack + os.write, which stalls beside a thread"] == ("2 x", "2.00 x", "yes")
    assert budget["`run.log` of 5 scalars, p50"] == ("2 us", "2.00 us", "yes")


def test_a_budget_that_is_missed_says_no(bench):
    """One lost fact, a stall beside a thread and a heavy module are each a plain NO."""
    summaries = {"barograph": bench.results.summarize([figures(1.0, lost=1, beside_p99=9800.0)])}
    imports = {"median_ms": 41.0, "forbidden_loaded": ["numpy"]}
    soaks = {"barograph": {"steps": 1000, "growth_bytes_per_step": 0.6, "warm_up_bytes": 4.2e6}}
    missed = [row[0] for row in bench.budgets.judge(summaries, imports=imports, soaks=soaks) if row[3] == "NO"]
    assert missed == [
        "beside a computing thread, p99",
        "acknowledged facts lost at `kill -9`",
        "`import barograph`, median",
        "heavy modules that it loads",
        "memory growth per step",
    ]


def test_a_subject_without_figures_keeps_its_row_and_the_reason(bench):
    """What could not be installed stands in both tables with the reason, pipes and line ends made harmless."""
    outcome = bench.results.Outcome(
        names=("os_write", "aim"),
        plan=bench.work.QUICK,
        machine={"date": "2026-11-20 09:00 UTC"},
        rounds={"os_write": [figures(1.0, lost=0)]},
        failures={"aim": "no wheel for\nthis | that"},
    )
    text = bench.tables.render(outcome)
    for heading in ("### One call, in us", "### What it costs and what it keeps"):
        head, _, _, row = table_under(text, heading)
        assert ["aim", "not measured: no wheel for this / that", *["-"] * (len(head) - 2)] == row


def test_tables_refuse_a_document_without_marks(bench, tmp_path):
    """A page whose marks were deleted is left as it is, and the message says what to put back."""
    page = tmp_path / "page.md"
    page.write_text("# Mine\n", encoding="utf-8")
    outcome = bench.results.Outcome(names=(), plan=bench.work.QUICK, machine={})
    with pytest.raises(ValueError, match="put both where the tables belong"):
        bench.tables.write(outcome, document=page)
    assert page.read_text(encoding="utf-8") == "# Mine\n"


def test_an_environment_is_reused_only_for_the_same_requirement(bench, tmp_path):
    """No stamp, or a stamp of something else, is not an environment; the right stamp is."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.touch()
    assert bench.envs.existing(("aim",), home=tmp_path).reason == "not installed"
    (tmp_path / bench.envs.STAMP).write_text("aim==1\n", encoding="utf-8")
    assert bench.envs.existing(("aim",), home=tmp_path).reason == "installed from other requirements"
    (tmp_path / bench.envs.STAMP).write_text("aim\n", encoding="utf-8")
    assert python == bench.envs.existing(("aim",), home=tmp_path).python


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("  OSError: no README.md\n  [end of output]\nerror: metadata\nhint: above", "OSError: no README.md"),
        ("ERROR: Could not find a version\nERROR: No matching distribution\nhint", "ERROR: No matching distribution"),
        ("something else\nhappened\n", "happened"),
        ("", ""),
    ],
)
def test_a_failed_installation_is_told_by_the_line_that_says_why(bench, output, line):
    """The advice at the end of pip's output is not the reason."""
    assert bench.envs.telling_line(output) == line


def test_our_own_environment_is_stale_after_any_change_of_the_sources(bench, tmp_path):
    """The stamp of `pip install .` changes with a byte of the package."""
    (tmp_path / "src").mkdir()
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    before = bench.envs.stamp_line((".",), root=tmp_path)
    (tmp_path / "src" / "new.py").write_text("x = 1\n", encoding="utf-8")
    assert before != bench.envs.stamp_line((".",), root=tmp_path)


def test_rows_that_are_cut_wrong_or_incomplete_do_not_count(bench):
    """Only a step with its five own values is a fact."""
    right = (3, bench.work.values_of(3))
    assert [bench.work.is_right(row) for row in (right, (4, right[1]), (3, right[1][:4]))] == [True, False, False]
    points = [(3, name, value) for name, value in zip(bench.work.METRICS, right[1], strict=True)]
    assert [right] == list(bench.work.rows_from_points([*points, (4, "loss", 1.0)]))


def test_processor_time_of_a_helper_that_outlives_its_parent_is_counted(tmp_path):
    """A grandchild that burns 0.3 s after its parent has gone is waited for and paid for by the driver."""
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}])"
    driver = (
        "import sys; from pathlib import Path; from bench import procs\n"
        "procs.become_subreaper()\n"
        f"worker = procs.start([sys.executable, '-c', {parent!r}], cwd=Path('.'), environment={{}}, "
        f"log=Path({str(tmp_path / 'log')!r}))\n"
        "print(procs.finish(worker, timeout_s=30).cpu_s)"
    )
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", driver], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True
    )
    assert float(done.stdout) >= 0.3
    assert time.monotonic() - began_s >= 0.3


def test_every_subject_has_a_file_and_every_file_is_a_subject(bench):
    """A subject that is not in the order of the tables would never be measured."""
    files = {path.stem for path in (ROOT / "bench" / "subjects").glob("*.py")} - {"__init__"}
    assert files == set(bench.subjects.ORDER)
    assert {"aim", "dvclive", "lightning", "mlflow", "tensorboardx", "trackio", "wandb"} == {
        name for name in bench.subjects.ORDER if bench.subjects.spec_of(name).kind == "peer"
    }
