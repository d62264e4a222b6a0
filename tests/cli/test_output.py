"""How verbs print, where the verbs' own tests do not show it."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from barograph.cli import main
from barograph.cli.output import Style, pairs, table, when


@pytest.mark.parametrize(("t", "text"), [(None, "-"), (float("nan"), "nan"), (1e300, "1e+300")])
def test_a_time_that_is_none(t, text):
    """A damaged time is shown as the number it is."""
    assert when(t) == text


def test_a_time_is_the_local_clocks(monkeypatch):
    """As in ``train.log``."""
    monkeypatch.setenv("TZ", "UTC")
    assert when(1795166787.5) == "2026-11-20 09:26:27"


def test_tables_align_text_left_and_numbers_right():
    """Without blanks at the ends of lines."""
    lines = table(["name", "step"], [["a", "100"], ["long", "1"]], Style(io.StringIO()), right=["step"])
    assert lines == ["name  step", "a      100", "long     1"]


def test_pairs_leave_out_what_is_empty():
    """And align the rest."""
    assert pairs({"a": "1", "long": "2", "none": ""}) == ["  a     1", "  long  2"]
    assert pairs({}) == []


def test_json_is_utf_8_on_any_terminal(cli, record, tmp_path):
    """A terminal without such letters gets them escaped in text; a program gets JSON and CSV."""
    script = """
    import sys, barograph
    with barograph.init(name="gr\u00f6\u00dfe \U0001f50d", dir=sys.argv[1], terminal="off", host_s=None) as run:
        run.log({"verlust_\u00e4": 1.0}, step=0)
        run.note("\U0001f50d")
    """
    record(script, tmp_path / "run")
    env = {"PYTHONIOENCODING": "ascii"}
    assert "gr\\xf6\\xdfe \\U0001f50d" in cli("list", tmp_path, env=env).stdout
    options = {"env": env, "text": False}
    assert (
        json.loads(cli("list", tmp_path, "--json", **options).stdout)["runs"][0]["name"] == "gr\u00f6\u00dfe \U0001f50d"
    )
    assert "verlust_\u00e4,1.0\n" in cli("cat", tmp_path / "run", **options).stdout.decode("utf-8")
    lines = cli("tail", tmp_path / "run", "--json", **options).stdout.splitlines()
    assert [json.loads(line).get("text") for line in lines] == [None, "\U0001f50d", None]


def test_a_stream_of_text_in_place_of_the_output(root, monkeypatch):
    """``main`` may be called by another program that collects what is printed."""
    collected = io.StringIO()
    monkeypatch.setattr(sys, "stdout", collected)
    for _ in range(2):
        assert main(["list", str(root), "--json"]) == 0
    first, second = collected.getvalue().splitlines()
    assert first == second
    assert len(json.loads(first)["runs"]) == 5


@pytest.mark.parametrize("verb", ["list", "check", "cat"])
def test_a_full_disk_is_one_line(root, ids, verb):
    """``> /dev/full``: said once, exit code 2, nothing more at the end of Python."""
    target = ids["killed"] if verb != "list" else root
    command = f"{sys.executable} -m barograph.cli --root {root} {verb} {target} > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "barograph: [Errno 28] No space left on device\n")


def test_a_closed_output_leaves_the_exit_code(root, ids):
    """``barograph check RUN >&-`` is for scripts."""
    for name, code in (("mlp", 0), ("diverged", 1)):
        command = f"{sys.executable} -m barograph.cli --root {root} check {ids[name]} >&-"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (code, "")
