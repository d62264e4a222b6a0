"""``barograph diff A B``."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

RECORDING = """
import sys
import barograph
for lr, seed in ((0.1, 0), (0.3, 0), (0.3, 0)):
    config = {"optim": {"lr": lr, "name": "sgd"}, "batch": 8}
    if lr > 0.2:
        config["warmup"] = 10 * "a long value "
    with barograph.init(name="r", config=config, seed=seed, root="runs", terminal="off", host_s=None) as run:
        run.log({"loss": lr}, step=0)
"""


@pytest.fixture
def runs(record, tmp_path):
    """Three runs in a repository: the second and the third are the same."""
    (tmp_path / ".gitignore").write_text("*\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.email=a@example.com", "-c", "user.name=a"]
    for command in (["init", "-q"], ["add", "-f", ".gitignore"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    record(RECORDING)
    return sorted((tmp_path / "runs").iterdir())


def test_only_what_differs_is_shown_and_the_exit_code_says_so(cli, runs):
    """Both values beside the key, long ones below it; exit code 1 as ``diff`` has it."""
    text = cli("diff", *runs[:2], code=1).stdout
    head, config = text.rstrip().split("\n\n")
    assert re.fullmatch(r"- A  r  \w+  \S+\n\+ B  r  \w+  \S+", head)
    assert config.splitlines() == [
        "config: 2 differences",
        "  optim",
        "    lr  - 0.1  + 0.3",
        "  warmup",
        f"    + '{(10 * 'a long value ')[:116]}...",
    ]


def test_runs_that_do_not_differ_exit_with_0(cli, runs):
    """The same configuration, code, packages and machine: nothing is listed."""
    assert cli("diff", *runs[1:]).stdout.splitlines()[2:] == ["nothing differs"]
    assert json.loads(cli("diff", *runs[1:], "--json").stdout)["same"] is True


def test_json_holds_every_section(cli, runs):
    """Path, kind and both values of each difference."""
    document = json.loads(cli("diff", *runs[:2], "--json", code=1).stdout)
    assert document["same"] is False
    assert document["sections"]["config"] == [
        {"path": ["optim", "lr"], "kind": "changed", "a": 0.1, "b": 0.3},
        {"path": ["warmup"], "kind": "added", "a": None, "b": 10 * "a long value "},
    ]
    assert (document["sections"]["packages"], document["patch"], document["notes"]) == ([], [], [])
    assert document["a"]["path"] == str(runs[0])


def test_sections_can_be_chosen(cli, runs):
    """The exit code is of the chosen sections alone."""
    assert cli("diff", *runs[:2], "--section", "packages", "--section", "seed").stdout.endswith("nothing differs\n")
    assert "optim" in cli("diff", *runs[:2], "--section", "config", code=1).stdout
    assert "invalid choice: 'nothing'" in cli("diff", *runs[:2], "--section", "nothing", code=2).stderr


def test_a_run_is_found_by_its_id_below_the_root(cli, runs, tmp_path):
    """Exit code 2, as ``diff`` has it, where there is none; one line says what to do."""
    run_id = re.search(r'"run_id":"(\w+)"', (runs[0] / "run.json").read_text())[1]
    assert cli("--root", tmp_path / "runs", "diff", run_id, runs[1], code=1).stdout.startswith(f"- A  r  {run_id}")
    failed = cli("diff", "nothing", runs[0], "--root", tmp_path / "runs", code=2)
    assert failed.stderr.startswith("barograph: there is no run 'nothing' below ")


def test_a_terminal_shows_a_in_red_and_b_in_green(runs):
    """Colour marks the side; on a stream that has none the words are the same."""
    import io

    from barograph.cli.diff import _lines
    from barograph.cli.output import Style
    from barograph.compare.config_diff import diff
    from barograph.read.run import RunReader

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    found = diff(RunReader(runs[0]), RunReader(runs[1]))
    coloured = "\n".join(_lines(found, Style(Terminal(), environ={"TERM": "xterm"})))
    plain = "\n".join(_lines(found, Style(io.StringIO(), environ={})))
    assert "\x1b[31m- 0.1\x1b[0m  \x1b[32m+ 0.3\x1b[0m" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == plain
