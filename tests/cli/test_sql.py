"""``barograph sql``."""

from __future__ import annotations

import json

import pytest

from barograph.facts.codec import decode

BEST = """
select r.name, max(m.value) as best from metrics m join runs r using (run)
where m.name = 'loss' and m.finite group by r.name order by best, r.name
"""
LOSSES = """
select value from metrics m join runs r using (run) where r.name = 'diverged' and m.name = 'loss' order by step
"""


def test_a_table_is_aligned(cli, root):
    """Numbers to the right; NULL is a dash."""
    assert cli(
        "sql", "select name, seed, 0.25 as x from runs where name in ('mlp', 'twice') order by name", "--root", root
    ).stdout == ("name   seed     x\nmlp       1  0.25\ntwice     -  0.25\n")


@pytest.mark.spec("S3.57")
def test_a_question_over_runs_and_metrics(cli, root):
    """Asked of finished, failed, killed and resumed runs, without running any of them again."""
    lines = cli("sql", BEST, "--root", root, "--csv").stdout.splitlines()
    assert lines == ["name,best", "failed,1.0", "killed,1.0", "mlp,1.0", "twice,1.0", "diverged,1e+30"]
    before = sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))
    cli("sql", BEST, "--root", root)
    assert before == sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))


def test_json_is_strict_and_names_what_is_not_finite(cli, root):
    """Null where it stands, as in every other document."""
    line = cli("sql", LOSSES, "--root", root, "--json").stdout
    document = json.loads(line, parse_constant=lambda name: 1 / 0)
    assert document["columns"] == ["value"]
    assert [row["value"] for row in document["rows"]] == [1.0, 1e30, None, None, None]
    assert str([row["value"] for row in decode(line.encode())["rows"]]) == "[1.0, 1e+30, inf, nan, -inf]"


def test_csv_reads_back_to_the_same_bits(cli, root):
    """As ``barograph cat``: nan, inf and -inf by name."""
    assert cli("sql", LOSSES, "--root", root, "--csv").stdout == "value\n1.0\n1e+30\ninf\nnan\n-inf\n"


def test_what_is_no_number_is_written_as_json_has_it(cli, root):
    """Not as Python prints it."""
    text = "select true as t, [1, 2] as l, cast('2020-01-01' as date) as d, x'00ff' as b, 'x, y' as s, null as n"
    assert cli("sql", text, "--root", root, "--csv").stdout == 't,l,d,b,s,n\ntrue,"[1,2]",2020-01-01,AP8=,"x, y",\n'
    assert cli("sql", text, "--root", root).stdout.splitlines()[1].split() == [
        *("true", "[1,2]", "2020-01-01", "AP8=", "x,", "y", "-")
    ]
    (row,) = json.loads(cli("sql", text, "--root", root, "--json").stdout)["rows"]
    assert row == {"t": True, "l": [1, 2], "d": "2020-01-01", "b": "AP8=", "s": "x, y", "n": None}


def test_bytes_that_are_no_text(cli, root):
    """A line, not a traceback."""
    assert "write the query in UTF-8" in cli("sql", "select '\udcff'", "--root", root, code=2).stderr


def test_a_query_may_come_from_the_standard_input(cli, root):
    """For long ones."""
    assert cli("sql", "-", "--root", root, "--csv", input="select count(*) as n\nfrom runs;\n").stdout == "n\n5\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("drop table runs", "a query is one SELECT, or WITH and a SELECT; this one begins with 'drop'"),
        ("select * from read_csv('/etc/passwd')", "'read_csv' would read a file, which a query may not"),
        ("select nope from runs", 'unable to find column "nope"; runs has run, run_dir, run_id, name'),
        ("select * from nope", "the tables are runs, metrics, events, alerts"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why_in_a_line(cli, root, text, message):
    """And what there is."""
    error = cli("sql", text, "--root", root, code=2).stderr
    assert error.startswith("barograph: ")
    assert message in error
    assert len(error.splitlines()) == 1


def test_deleted_runs_are_not_asked(cli, root):
    """And renamed ones have their new names."""
    cli("delete", "killed", "--root", root)
    cli("rename", "mlp", "wide", "--root", root)
    text = "select name from runs order by name"
    assert cli("sql", text, "--root", root, "--csv").stdout == "name\ndiverged\nfailed\ntwice\nwide\n"
