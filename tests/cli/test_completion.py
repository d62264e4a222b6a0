"""What the shell completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import barograph
from barograph.cli import VERBS, main


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A directory of runs."""
    monkeypatch.chdir(tmp_path)
    for name in ("mlp", "cnn"):
        barograph.init(name=name, root=tmp_path / "runs", terminal="off", host_s=None).finish()
    return tmp_path / "runs"


def complete(root: Path, *line: str) -> list[str]:
    """What real bash offers for a command line whose last word is unfinished."""
    script = (
        'eval "$(barograph completion bash)"\n'
        'COMP_WORDS=(barograph "$@"); COMP_CWORD=$#; _barograph; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environ = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "-c", script, "bash", *line]
    done = subprocess.run(command, cwd=root.parent, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_bash_completes_verbs_options_runs_and_paths(root):
    """By asking the program itself, so that runs recorded a moment ago are there."""
    assert complete(root, "sho") == ["show"]
    assert set(VERBS) <= set(complete(root, ""))
    assert "--json" in complete(root, "show", "--j")
    (directory,) = complete(root, "show", next(p.name for p in root.iterdir() if "cnn" in p.name)[:-6])
    assert "cnn" in directory
    assert complete(root, "show", "cn") == ["cnn"]
    assert [word for word in complete(root, "list", "ru") if word == "runs"] == ["runs"]
    assert len(complete(root, "--root", str(root), "show", "run_")) == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(shell, capsys):
    """The same text with and without ``--json``."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "barograph completion --words --" in script
    assert main(["completion", shell, "--json"]) == 0
    assert f'"shell":"{shell}"' in capsys.readouterr().out


def test_another_shell_is_named_with_those_there_are(capsys):
    """The usual error of a command line."""
    assert main(["completion", "tcsh"]) == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
