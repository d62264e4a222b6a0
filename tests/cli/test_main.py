"""The command itself: verbs, help, mistakes, how quickly it is there."""

from __future__ import annotations

import re
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import barograph
from barograph.cli import VERBS, main


def test_help_lists_every_verb(cli):
    """With a line on each; asked for by name or by saying nothing."""
    for args in (["--help"], []):
        shown = cli(*args).stdout
        for verb, text in VERBS.items():
            assert re.search(rf"^  {verb} +{re.escape(text)}$", shown, re.MULTILINE)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "demo"])
def test_every_verb_has_help_and_json(cli, verb):
    """It names its options and what ``--json`` prints."""
    shown = cli(verb, "--help").stdout
    assert shown.startswith(f"usage: barograph {verb} ")
    assert "--json" in shown
    assert "--root DIR" in shown


def test_version(cli):
    """The package's."""
    assert cli("--version").stdout == f"barograph {barograph.__version__}\n"


def test_the_installed_command_is_this_one(root):
    """The script beside the interpreter."""
    command = Path(sys.executable).with_name("barograph")
    done = subprocess.run([command, "list", root], capture_output=True, text=True, check=True)
    assert "diverged" in done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["lsit"], "there is no verb 'lsit'; did you mean 'list'?"),
        (["frobnicate"], "there is no verb 'frobnicate'; `barograph --help` lists them"),
        (["show"], "the following arguments are required: RUN"),
        (["list", "--colour"], "unrecognized arguments: --colour"),
        (["cat", "x", "--format", "xml"], "invalid choice: 'xml'"),
        (["tail", "x", "-n", "-1"], "argument -n: -1 events cannot be shown; give 0 or more"),
        (["list", "nowhere"], "barograph: 'nowhere' is no directory, so it holds no runs"),
        (["--root", "nowhere", "show", "x"], "the root 'nowhere' does not exist"),
        (["check", "nothing"], "there is no run 'nothing'"),
        (["list", "a\0b"], "a\\x00b"),
    ],
)
def test_mistakes_are_named_on_stderr(cli, capsys, args, message):
    """Exit code 2, the offending value, the next step, nothing on stdout, no traceback."""
    if "\0" in "".join(args):  # no shell can pass it; a caller of main() can
        assert main(args) == 2
        stdout, stderr = capsys.readouterr()
    else:
        done = cli(*args, code=2)
        stdout, stderr = done.stdout, done.stderr
    assert message in stderr
    assert stdout == ""


def test_a_file_that_may_not_be_read_is_one_line(cli, tmp_path):
    """The path and what to do, when the root is a file."""
    (tmp_path / "file").write_text("x")
    assert "is no directory" in cli("list", tmp_path / "file", code=2).stderr


def test_the_root_comes_from_option_environment_or_habit(cli, root, tmp_path):
    """``--root`` on either side of the verb, ``BAROGRAPH_ROOT``, else ``./runs``."""
    outputs = [
        cli("--root", root, "list").stdout,
        cli("list", "--root", root).stdout,
        cli("list", root).stdout,
        cli("list", env={"BAROGRAPH_ROOT": str(root)}).stdout,
        cli("list", cwd=tmp_path).stdout,
        cli("--root", "nowhere", "list", "--root", root).stdout,
    ]
    assert len(set(outputs)) == 1
    assert len(outputs[0].splitlines()) == 6


def test_a_closed_pipe_is_no_error(root, ids):
    """``barograph cat RUN | head -1``: quiet, with the exit code of a program that SIGPIPE ended."""
    reader = "head -n 1; exit ${PIPESTATUS[0]}"
    command = f"{sys.executable} -m barograph.cli --root {root} cat {ids['killed']} | {reader}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("step,t,split,attempt,rank,name,value\n", "")
    assert done.returncode in (0, 141)


def test_only_the_verb_that_is_asked_for_is_loaded(root):
    """No rich, no yaml, no psutil and no recorder for a list."""
    script = """if True:
        import sys
        from barograph.cli import main
        assert main(sys.argv[1:]) == 0
        heavy = ("rich", "yaml", "psutil", "loguru", "numpy", "barograph.record", "barograph.session")
        print([name for name in heavy if name in sys.modules], file=sys.stderr)
    """
    done = subprocess.run([sys.executable, "-c", script, "list", root], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_a_list_is_there_at_once(root):
    """Five runs cost a fraction of a second of processor time, the start of Python included; the figure is printed.

    The budget is 150 ms on a machine at rest; what is asserted leaves room for shared ones.
    """
    used_s = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "barograph.cli", "list", root], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print(f"barograph list of 5 runs: median {1000 * statistics.median(used_s):.0f} ms of processor time")
    assert min(used_s) < 0.5
