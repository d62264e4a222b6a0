"""Parts of a run that other folders do: figures beside training, rows sealed at its end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.recorded import Recorded

import barograph
from barograph.errors import BarographWarning, MisuseError, RecordingWarning
from barograph.facts.rundir import RunDir
from barograph.facts.state import this_process, write_process

QUIET = {"terminal": "off", "host_s": None}


def wait_for(path: Path, *, within_s: float = 60.0) -> None:
    """Wait until a file is there."""
    deadline_s = time.monotonic() + within_s
    while not path.exists():
        assert time.monotonic() < deadline_s, f"{path} did not come; {sorted(path.parent.glob('*'))}"
        time.sleep(0.05)


@pytest.mark.spec("S3.47")
def test_figures_are_drawn_while_training_runs(tmp_path):
    """The epoch's figure is there before the run ends; nothing that draws was loaded into this process."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time, pathlib, barograph\n"
        "with barograph.init(dir='run', terminal='off', host_s=None,\n"
        "                    figures={'families': ['losses'], 'moments': ['on_epoch_end'], 'format': 'svg'}) as run:\n"
        "    for step in range(20): run.log({'loss': 1 / (step + 1)}, step=step)\n"
        "    run.epoch_end(0, train_loss=0.05)\n"
        "    figure = pathlib.Path('run/figures/losses-on_epoch_end-e000.svg')\n"
        "    started = time.monotonic()\n"
        "    while not figure.exists() and time.monotonic() - started < 60: time.sleep(0.05)\n"
        "    assert figure.exists()\n"
        "    assert figure.with_suffix('.csv').exists()\n"
        "    assert not {'matplotlib', 'numpy', 'polars'} & set(sys.modules)\n",
        encoding="utf-8",
    )
    subprocess.run([sys.executable, "-W", "error", script], cwd=tmp_path, check=True, timeout=120)


@pytest.mark.spec("S3.81")
def test_figures_can_be_switched_off(tmp_path):
    """``make_plots: false`` draws nothing and starts nothing."""
    with barograph.init(dir=tmp_path / "run", figures={"make_plots": False, "families": ["losses"]}, **QUIET) as run:
        run.log({"loss": 1.0}, step=0)
        run.epoch_end(0, train_loss=1.0)
    assert not (tmp_path / "run" / "figures").exists()


def test_a_group_that_cannot_be_read_is_refused_at_once(tmp_path):
    """Nothing was written."""
    for figures in ({"format": "gif"}, "losses", {"families": 3}):
        with pytest.raises(MisuseError):
            barograph.init(dir=tmp_path / "run", figures=figures, **QUIET)
    assert not (tmp_path / "run").exists()


def test_a_run_is_sealed_when_it_has_finished(tmp_path):
    """Rows become Parquet; every reader gives the same facts; it can be resumed."""
    for attempt in range(2):
        with barograph.init(dir=tmp_path / "run", resume="allow", seal=True, **QUIET) as run:
            for step in range(5):
                run.log({"loss": step + attempt / 2}, step=step)
    directory = RunDir(tmp_path / "run")
    assert (len(directory.rows_files()), len(directory.sealed_files())) == (0, 2)
    assert barograph.open_run(directory.path).series("loss").effective().values.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert len(Recorded(directory.path).records) == 10


def test_a_forked_child_that_ends_seals_nothing(tmp_path):
    """It leaves the ``with`` of its parent's run, which goes on; nothing is said, and the parent seals at its end."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, barograph\n"
        "with barograph.init(dir='run', seal=True, strict=True, terminal='off', host_s=None) as run:\n"
        "    run.log({'loss': 1.0}, step=0)\n"
        "    child = os.fork()\n"
        "    if not child: sys.exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    run.log({'loss': 0.5}, step=1)\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, check=True, timeout=120)
    assert done.stderr == b""
    assert RunDir(tmp_path / "run").rows_files() == []
    assert Recorded(tmp_path / "run").column("loss") == [1.0, 0.5]


def test_a_rank_that_ends_before_others_leaves_the_run_unsealed(tmp_path):
    """With ``strict`` too: nothing was lost, and the warning says what seals it later."""
    run = barograph.init(dir=tmp_path / "run", seal=True, strict=True, **QUIET)
    run.log({"loss": 0.5}, step=0)
    write_process(RunDir(run.dir).process(1), this_process(attempt=0, t=time.time()))
    with pytest.warns(BarographWarning, match=r"not sealed: .*rank 1 is running .*then `barograph seal "):
        run.finish()
    assert (len(RunDir(run.dir).rows_files()), RunDir(run.dir).sealed_files()) == (1, [])
    assert run.ledger.failures == {}


def test_without_pyarrow_a_run_finishes_unsealed(tmp_path, monkeypatch):
    """With a warning that says what to install; the facts are there."""
    for name in ("barograph.read.archive.seal", "barograph.read.archive.parquet", "pyarrow.parquet"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    run = barograph.init(dir=tmp_path / "run", seal=True, **QUIET)
    run.log({"loss": 0.5}, step=0)
    with pytest.warns(RecordingWarning, match=r"barograph\[archive\]"):
        run.finish()
    assert Recorded(tmp_path / "run").column("loss") == [0.5]
