"""``barograph list``."""

from __future__ import annotations

import json
import re

import pytest

from barograph.cli.list import main as list_runs
from barograph.facts.codec import decode


def rows(text):
    """The lines of a table as cells by column."""
    head, *lines = text.splitlines()
    starts = [(found.group(), found.start()) for found in re.finditer(r"val loss|\w+", head)]
    return head, lines, starts


def test_each_run_is_a_line_oldest_first(cli, root, ids):
    """Status, id, name, times, step, losses, criteria, and what deserves a look."""
    head, lines, _ = rows(cli("list", root).stdout)
    assert " ".join(head.split()) == "status id name started time step loss val loss criteria notes"
    by_name = {line.split()[2]: line for line in lines}
    assert list(by_name) == ["mlp", "diverged", "twice", "failed", "killed"]
    assert [line.split()[0] for line in lines] == [*["finished"] * 3, "failed", "killed"]
    assert [line.split()[1] for line in lines] == [ids[name] for name in by_name]
    assert re.search(r" 39 +0.025 +0.75 +1/1  -$", by_name["mlp"])
    assert by_name["diverged"].endswith("0/2  2 alerts; 1 of 1 check failed; 1 nan, 1 inf, 1 -inf")
    assert by_name["twice"].endswith("2 attempts")
    assert by_name["failed"].endswith("ValueError: no such layer")
    assert by_name["killed"].endswith("the process is gone without an exit record: SIGKILL, out of memory or power")


def test_columns_are_aligned(cli, root):
    """Every status, id and name begins where its heading does; numbers end where theirs does."""
    head, lines, starts = rows(cli("list", root).stdout)
    for name, start in starts[:4]:
        assert all(line[start] != " " and (start == 0 or line[start - 1] == " ") for line in lines), name
    end = head.index("step") + 4
    assert all(line[end - 1] != " " and line[end] == " " for line in lines)


def test_json_holds_the_same_and_more(cli, root, ids):
    """Strict JSON; what is not finite is null and named."""
    text = cli("list", root, "--json").stdout
    document = json.loads(text, parse_constant=lambda name: 1 / 0)
    assert document["root"] == str(root)
    assert [ids[name] for name in ("mlp", "diverged", "twice", "failed", "killed")] == [
        run["run_id"] for run in document["runs"]
    ]
    mlp, diverged, *_ = document["runs"]
    assert (mlp["status"]["state"], mlp["step"], mlp["num_met"], mlp["num_lost"]) == ("finished", 39, 1, 0)
    assert mlp["val_loss"] == {"name": "loss", "split": "val", "value": 0.75, "step": 39, "epoch": None}
    assert diverged["loss"]["value"] is None
    assert document["nonfinite"] == {"runs": {"1": {"loss": {"value": "-inf"}}}}
    assert decode(text.encode())["runs"][1]["loss"]["value"] == float("-inf")
    assert diverged["nonfinite_counts"] == {"nan": 1, "inf": 1, "-inf": 1}


def test_an_empty_directory_says_what_to_do(cli, tmp_path):
    """No table, no error."""
    (tmp_path / "empty").mkdir()
    assert cli("list", tmp_path / "empty").stdout == (
        f"no runs below {tmp_path}/empty; record one with barograph.init(root='{tmp_path}/empty')\n"
    )
    assert json.loads(cli("list", tmp_path / "empty", "--json").stdout)["runs"] == []


def test_colour_is_for_terminals_that_want_it(cli, terminal, root):
    """Never in a pipe; not with NO_COLOR; not on a dumb terminal; the words are the same."""
    plain = cli("list", root).stdout
    coloured = terminal("list", root)
    assert "\x1b[32mfinished\x1b[0m" in coloured
    assert "\x1b[31mkilled\x1b[0m" in coloured
    assert "\x1b" not in plain
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in terminal("list", root, env=env)
    shown = re.sub(r"\x1b\[\d*m", "", coloured).replace("\r\n", "\n")
    assert shown == plain + f"5 runs below {root}; `barograph show ID` shows one\n"


def test_a_name_cannot_move_the_cursor(cli, tmp_path):
    """Escape codes of a name are shown, not obeyed."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"run_id": "r", "name": "a\x1b[2Jb\nc"}))
    assert "a\\x1b[2Jb c" in cli("list", tmp_path).stdout


class TestWhichRuns:
    """Some of them, in another order."""

    @pytest.fixture(autouse=True)
    def own_cache(self, tmp_path, monkeypatch):
        """An index of the test's own."""
        monkeypatch.setenv("BAROGRAPH_CACHE", str(tmp_path / "cache"))

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--limit", "2"], ["failed", "killed"]),
            (["--limit", "0"], []),
            (["--reverse"], ["killed", "failed", "twice", "diverged", "mlp"]),
            (["--reverse", "--limit", "1"], ["killed"]),
            (["--sort", "name"], ["diverged", "failed", "killed", "mlp", "twice"]),
            (["--sort", "step", "--reverse", "--limit", "2"], ["killed", "mlp"]),
            (["--sort", "loss"], ["diverged", "twice", "mlp", "failed", "killed"]),
            (["--sort", "loss", "--reverse"], ["failed", "killed", "mlp", "twice", "diverged"]),
            (["--sort", "val_loss", "--limit", "1"], ["mlp"]),
            (["--sort", "seed", "--limit", "1"], ["mlp"]),
            (["--filter", "status = 'finished' and seed = 1"], ["mlp"]),
            (["--filter", "lr < 0.01 or name like 'k%'", "--limit", "1"], ["killed"]),
            (["--filter", "name = 'nobody'"], []),
        ],
    )
    def test_by_options(self, root, capsys, options, expected):
        """With a cold index, a warm one and none; what has no value stands last."""
        for index in ((), (), ("--no-index",)):
            assert list_runs([str(root), *options, *index, "--json"], root=None) == 0
            assert expected == [run["name"] for run in json.loads(capsys.readouterr().out)["runs"]]

    def test_what_cannot_be_is_refused(self, cli, root):
        """The message names it."""
        assert "--limit is -1; give 0 or more" in cli("list", root, "--limit", "-1", code=2).stderr
        assert "invalid choice: 'nope'" in cli("list", root, "--sort", "nope", code=2).stderr
        assert "there is no column 'nope'" in cli("list", root, "--filter", "nope > 1", code=2).stderr
        assert "is no directory" in cli("list", root / "nope", code=2).stderr

    def test_nothing_to_show_says_how_to_see_all(self, cli, root):
        """A filter hides runs; the hint is another one than in an empty directory."""
        shown = cli("list", root, "--filter", "name = 'nobody'").stdout
        assert shown == f"no runs below {root} that are to be shown; `barograph list {root}` shows them all\n"
