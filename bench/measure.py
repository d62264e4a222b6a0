"""The driver's side of a measurement: start a worker, wait for its whole tree, put the answers together."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import procs
from bench.envs import ROOT, Environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.work import Plan, Spec

TIMEOUT_S = 120.0
COUNTER = struct.Struct("=Q")
RUN = "run"
KEPT_VARIABLES = frozenset({"PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "USER"})

Figures = dict[str, Any]


class WorkerFailedError(Exception):
    """A worker gave no answer; the message is the last line that it printed."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One subject, ready to be measured.

    Attributes:
        name: the subject's module.
        spec: what is known of it.
        environment: where it runs.
        folder: where its processes keep their files; emptied before each use.
        template: what each of them finds in its working directory, a small git repository like a user's.
        plan: how much of everything.
    """

    name: str
    spec: Spec
    environment: Environment
    folder: Path
    template: Path
    plan: Plan

    def round(self, *, verify: bool) -> Figures:
        """Measure everything once.

        Args:
            verify: read the run back after a clean close as well, and refuse figures of a run that lacks steps.

        Raises:
            WorkerFailedError: a worker failed, or a cleanly closed run lacks steps.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        figures = self._burst(verify=verify) | self._ask("paced", "paced")[0]
        if self.spec.persists:
            figures |= self._killed()
        return figures

    def soak(self) -> Figures:
        """Log very many steps and return the growth of memory."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self._ask("soak", "soak")[0]

    def _burst(self, *, verify: bool) -> Figures:
        answer, cost = self._ask("burst", "burst")
        steps = answer["steps"]
        if verify and self.spec.persists:
            right = len(self._ask("read", "burst")[0]["steps_right"])
            if right != steps:
                raise WorkerFailedError(f"{right} of {steps} steps are there after a clean close")
        return answer | {
            "cpu_us_per_step": (cost.cpu_s - answer["open_cpu_s"]) / steps * 1e6,
            "bytes_per_step": (answer["closed_bytes"] - answer["opened_bytes"]) / steps,
        }

    def _killed(self) -> Figures:
        """Kill the main process in the middle of its calls and count what a fresh process still reads."""
        home = self._home("doomed")
        counter = home.with_suffix(".returned")
        counter.write_bytes(COUNTER.pack(0))
        worker = self._start("doomed", home)
        deadline = time.monotonic() + TIMEOUT_S
        while _count(counter) == 0 and time.monotonic() < deadline and not procs.ended(worker.pid, timeout_s=0.01):
            pass
        if _count(counter) > 0:
            time.sleep(self.plan.kill_after_s)
        os.kill(worker.pid, signal.SIGKILL)  # not waited for yet, so the id is still its own
        cost = procs.finish(worker, timeout_s=TIMEOUT_S)
        returned = _count(counter)
        if cost.status != -signal.SIGKILL or returned == 0:
            raise WorkerFailedError(self._last_line("doomed"))
        right = self._ask("read", "doomed")[0]["steps_right"]
        return {"returned": returned, "lost": returned - sum(step < returned for step in right)}

    def _ask(self, scenario: str, home_name: str) -> tuple[Figures, procs.Cost]:
        """Run one scenario to its end and return its answer and its cost."""
        home = self.folder / home_name / RUN if scenario == "read" else self._home(home_name)
        worker = self._start(scenario, home)
        cost = procs.finish(worker, timeout_s=TIMEOUT_S)
        if cost.timed_out:
            raise WorkerFailedError(f"{scenario} took longer than {TIMEOUT_S:.0f} s")
        if cost.status != 0:
            raise WorkerFailedError(self._last_line(scenario))
        return json.loads(self._answer(scenario).read_text(encoding="utf-8")), cost

    def _start(self, scenario: str, home: Path) -> subprocess.Popen[bytes]:
        command = [
            *(str(self.environment.python), "-m", "bench.worker", self.name, scenario, str(home)),
            *(json.dumps(self.plan._asdict()), str(self._answer(scenario))),
        ]
        return procs.start(
            command,
            cwd=home.parent,
            environment=worker_environment(self.environment, base=os.environ, home=self.folder)
            | dict(self.spec.environment),
            log=self._log(scenario),
        )

    def _home(self, name: str) -> Path:
        """Return a directory for a run inside a project of its own: some subjects commit to it."""
        project = self.folder / name
        shutil.copytree(self.template, project)
        home = project / RUN
        home.mkdir()
        return home

    def _answer(self, scenario: str) -> Path:
        return self.folder / f"{scenario}.json"

    def _log(self, scenario: str) -> Path:
        return self.folder / f"{scenario}.log"

    def _last_line(self, scenario: str) -> str:
        lines = self._log(scenario).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{scenario}: {lines[-1] if lines else 'ended without a word'}"


def worker_environment(environment: Environment, *, base: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the variables of a worker: nothing of the caller's settings, only what processes need to run.

    Args:
        environment: where the worker runs.
        base: the caller's variables.
        home: what `HOME` is; a subject finds no settings there, and what it leaves there does no harm.
    """
    kept = {key: value for key, value in base.items() if key in KEPT_VARIABLES}
    path = [ROOT] if environment.path is None else [ROOT, environment.path]
    return kept | {"HOME": str(home), "PYTHONPATH": os.pathsep.join(map(str, path))}


def make_project(folder: Path) -> Path:
    """Return a directory that looks like a user's project: a git repository with one commit."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "train.py").write_text("print('training')\n", encoding="utf-8")
    settings = (("user.name", "bench"), ("user.email", "bench@localhost"), ("commit.gpgsign", "false"))
    commands = [["init", "-q"], *(["config", *setting] for setting in settings), ["add", "train.py"]]
    for arguments in (*commands, ["commit", "-q", "-m", "train"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
    return folder


def _count(counter: Path) -> int:
    return COUNTER.unpack(counter.read_bytes())[0]
