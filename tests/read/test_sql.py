"""SQL over runs: what it answers, what NaN means, what it refuses, and what it does not read."""

from __future__ import annotations

import math

import polars as pl
import pytest

from barograph.errors import QueryError
from barograph.facts.codec import encode
from barograph.facts.events import EventLog
from barograph.facts.metrics import MetricsLog
from barograph.facts.rundir import RunDir
from barograph.read import edits, sql
from barograph.read.frames import load_runs
from barograph.read.sql import query

NAN, INF = math.nan, math.inf
LOSSES = {"a": [3.0, 2.0, 1.0], "b": [3.0, NAN, INF], "c": [5.0, -INF, 4.0]}


@pytest.fixture
def runs(tmp_path):
    """Three runs: a falling loss, one with NaN and an infinity, one that was resumed; two metrics, two splits."""
    for place, (name, losses) in enumerate(LOSSES.items()):
        directory = RunDir(tmp_path / "runs" / name)
        directory.ensure_facts()
        directory.identity.write_bytes(encode({"run_id": f"id-{name}", "name": name, "created_t": 1e9 + place}) + b"\n")
        directory.config.write_text(
            f"lr: {0.1 * (place + 1):.1f}\noptim:\n  beta: {place}\nload: 7\nupdate:\n  copy: 8\n", encoding="utf-8"
        )
        log = MetricsLog(directory, run_id=name)
        for step, loss in enumerate(losses):
            log.append({"loss": loss, "accuracy": step / 10}, step=step, split="train", t=100.0 + step)
        log.append({"loss": 7.0}, step=2, split="val", t=103.0)
        log.append({"cpu": 50.0}, step=0, split="host", t=103.0)
        log.close()
        events = EventLog(directory.events())
        events.append("on_start", {"attempt": 0})
        events.append("custom", {"kind": "alert", "title": f"look at {name}", "level": "error", "value": NAN})
        events.close()
    log = MetricsLog(RunDir(tmp_path / "runs" / "c"), run_id="c", attempt=1)
    log.append({"loss": 0.5, "accuracy": 0.9}, step=2, split="train", t=200.0)
    log.close()
    return load_runs(tmp_path / "runs")


def rows(runs, text):
    """The answer as tuples."""
    return query(runs, text).rows()


def test_the_columns_of_every_table(runs):
    """As they are documented."""
    assert query(runs, "select * from runs").columns[:4] == ["run", "run_dir", "run_id", "name"]
    assert {"config.lr", "config.optim.beta", "status", "best_val_loss"} <= set(
        query(runs, "select * from runs").columns
    )
    metrics = query(runs, "select * from metrics").schema
    assert list(metrics) == ["run", "name", "split", "attempt", "rank", "step", "t", "value", "effective", "finite"]
    assert (metrics["attempt"], metrics["value"], metrics["effective"]) == (pl.Int32, pl.Float64, pl.Boolean)
    assert query(runs, "select * from events").columns == ["run", "seq", "t", "moment", "attempt", "rank", "payload"]
    assert query(runs, "select * from alerts").columns == ["run", "t", "level", "title", "text", "alert"]


def test_every_recorded_number_is_a_row(runs):
    """The same numbers as the readers of the files give, in the order of recording."""
    for reader in runs.readers:
        for key in reader.metric_keys():
            series = reader.series(key.name, split=key.split, rank=key.rank)
            found = query(
                runs,
                f"select step, t, value, attempt, effective from metrics where run = '{reader.path}' "
                f"and name = '{key.name}' and split = '{key.split}' and rank = {key.rank}",
            )
            assert found["step"].to_list() == series.steps.tolist()
            assert found["t"].to_list() == series.t.tolist()
            assert list(map(repr, found["value"])) == list(map(repr, series.values.tolist()))
            assert found["attempt"].to_list() == series.attempts.tolist()
            assert found["effective"].to_list() == (~series.superseded).tolist()
    assert rows(runs, "select count(*) from metrics") == [(3 * (3 + 3 + 1 + 1) + 2,)]


@pytest.mark.spec("S3.57")
def test_a_new_question_needs_no_new_training(runs):
    """Best finite loss by learning rate, of the effective curves: asked of what was recorded long ago."""
    assert rows(
        runs,
        """
        select r.config.lr, min(m.value) as best, count(*) as n
        from metrics m join runs r using (run)
        where m.name = 'loss' and m.split = 'train' and m.effective and m.finite
        group by r.config.lr order by r.config.lr
        """,
    ) == [(0.1, 1.0, 3), (0.2, 3.0, 1), (0.3, 0.5, 2)]


def test_the_last_value_of_each_run(runs):
    """By a window over the steps."""
    text = (
        "select run, value from metrics where name = 'loss' and split = 'train' and effective "
        "qualify row_number() over (partition by run order by step desc) = 1 order by run"
    )
    assert [value for _, value in rows(runs, text)] == [1.0, INF, 0.5]


class TestNonFinite:
    """NaN and infinities are values, and no NULLs."""

    def test_a_nan_is_there_and_is_nan(self, runs):
        """Not NULL, not left out."""
        ((value, finite),) = rows(
            runs, "select value, finite from metrics where step = 1 and name = 'loss' and run like '%/b'"
        )
        assert math.isnan(value)
        assert finite is False
        assert rows(runs, "select count(*) from metrics where value is null") == [(0,)]

    def test_what_is_greatest(self, runs):
        """NaN is greater than everything in comparisons; ``max`` and ``min`` pass over it."""
        found = rows(
            runs, "select value from metrics where run like '%/b' and name = 'loss' and split = 'train' and value > 2"
        )
        assert [str(value) for (value,) in found] == ["3.0", "nan", "inf"]
        of_b = "from metrics where run like '%/b' and name = 'loss' and split = 'train'"
        assert rows(runs, f"select max(value), min(value) {of_b}") == [(INF, 3.0)]
        assert rows(runs, f"select max(value), min(value) {of_b} and finite") == [(3.0, 3.0)]

    def test_sums_and_means(self, runs):
        """A NaN makes them NaN; ``finite`` leaves it out."""
        of_b = "from metrics where run like '%/b' and name = 'loss' and split = 'train'"
        ((mean, total),) = rows(runs, f"select avg(value), sum(value) {of_b}")
        assert (math.isnan(mean), math.isnan(total)) == (True, True)
        assert rows(runs, f"select avg(value), sum(value) {of_b} and finite") == [(3.0, 3.0)]

    def test_which_kind(self, runs):
        """NaN is equal to itself."""
        text = "select count(*) from metrics where value = {}"
        assert rows(runs, text.format("'NaN'::double")) == [(1,)]
        assert rows(runs, text.format("'-inf'::double")) == [(1,)]
        assert rows(runs, text.format("'inf'::double")) == [(1,)]


def test_names_are_as_edited_and_keys_as_filled_in(runs, tmp_path):
    """A rename and a back-filled key are seen; a deleted run is not loaded."""
    edits.rename(tmp_path / "runs" / "a", "renamed")
    edits.set_keys(tmp_path / "runs" / "a", {"optim.gamma": 0.5})
    edits.delete(tmp_path / "runs" / "b")
    found = rows(load_runs(tmp_path / "runs"), "select name, config.optim.gamma from runs")
    assert found == [("renamed", 0.5), ("c", None)]


def test_events_and_alerts(runs):
    """With their payload as JSON, in which what is not finite is named."""
    assert rows(runs, "select moment, count(*) from events group by moment order by moment") == [
        ("custom", 3),
        ("on_start", 3),
    ]
    ((title, level, alert),) = rows(runs, "select title, level, alert from alerts where run like '%/b'")
    assert (title, level) == ("look at b", "error")
    assert '"nonfinite":{"value":"nan"}' in alert


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select config.lr from runs where name = 'a'", [(0.1,)]),
        ("select r.config.optim.beta from runs r where r.name = 'c'", [(2,)]),
        ("select \"config.lr\" from runs where name = 'a'", [(0.1,)]),
        ("select max(runs.config.lr) as config from runs", [(0.3,)]),
        ("with x as (select name from runs where config.lr < 0.25) select count(*) from x", [(2,)]),
        ("select 'config.lr' as text from runs where name = 'a'", [("config.lr",)]),
        ("select name from runs -- config.lr; drop\n where config.lr > 0.25;", [("c",)]),
        ("(select name from runs where config.lr > 0.25)", [("c",)]),
        ("SELECT 1 AS one", [(1,)]),
        ("select name from runs where config.lr > 0.25; -- done", [("c",)]),
        ("select config.load, config.update.copy from runs where name = 'a'", [(7, 8)]),
        ("select * exclude (run) rename (name as n) from (select run, name from runs where name = 'a')", [("a",)]),
    ],
)
def test_nested_names_need_no_quotes(runs, text, expected):
    """``config.lr`` is the column of that name; inside quotes and comments it is text."""
    assert rows(runs, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  -- nothing",
        "name",
        "explain select 1",
        "show tables",
        "drop table runs",
        "delete from runs",
        "truncate table runs",
        "create table x as select * from runs",
        "insert into runs values (1)",
        "update runs set name = 'x'",
        "copy runs to '/tmp/out.csv'",
        "select * into x from runs",
        "with x as (select 1) delete from runs",
        "select 1; select 2",
        "select 1; drop table runs",
        "attach 'x' as y",
        "pragma x",
    ],
)
def test_anything_but_one_select_is_refused(runs, text):
    """Before anything is read."""
    with pytest.raises(QueryError, match=r"a query is one S|would change something|ask for one thing|begins with"):
        query(runs, text)


FUNCTIONS = ["read_csv", "read_parquet", "read_ipc", "read_json", "READ_CSV", "scan_csv", "read_ndjson"]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "form",
    ["{}('{}')", "\"{}\"('{}')", "{}/* ( */('{}')", "{}\n-- c\n('{}')", "E'\\\\'' union select * from {}('{}') --'"],
)
def test_files_are_out_of_reach(runs, tmp_path, function, form):
    """However the function is written, and although the file is there."""
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    with pytest.raises(QueryError, match="would read a file, which a query may not"):
        query(runs, "select * from " + form.format(function, tmp_path / "secret.csv"))


def test_every_function_of_polars_that_reads_files_is_refused(tmp_path):
    """Which of its readers polars offers in SQL is asked of polars itself."""
    (tmp_path / "x.csv").write_text("a\n1\n")
    names = [name for name in dir(pl) if name.startswith(("read_", "scan_", "write_", "sink_"))]
    offered = []
    for name in {*names, "glob", "parquet_scan", "csv_scan", "sqlite_scan", "system", "load_extension", "readfile"}:
        with pl.SQLContext(eager=True) as context:
            try:
                context.execute(f"select * from {name}('{tmp_path}/x.csv')")
            except pl.exceptions.SQLInterfaceError as error:
                if "not a supported table function" in str(error):
                    continue
            except (pl.exceptions.PolarsError, OSError):
                pass  # it is offered, and this file is none of its kind
            offered.append(name)
    assert "read_csv" in offered
    assert [name for name in offered if not sql._READS_FILES.search(name)] == []


def test_a_file_by_its_name_is_no_table(runs, tmp_path):
    """Nor is a variable of the program."""
    (tmp_path / "x.csv").write_text("a\n1\n")
    secret = pl.DataFrame({"a": [1]})
    for name in (f"'{tmp_path}/x.csv'", f'"{tmp_path}/x.csv"', "secret"):
        with pytest.raises(QueryError, match="the tables are runs, metrics, events, alerts"):
            query(runs, f"select * from {name}")
    assert secret.height == 1


def test_what_is_not_there_is_listed(runs):
    """A column, a table, a function."""
    with pytest.raises(
        QueryError, match=r'unable to find column "nope"; runs has run, run_dir, run_id, name, .*config.lr'
    ):
        query(runs, "select nope from runs")
    for name in ("optim.beta", "r.optim.beta", "config.optim.betta"):
        with pytest.raises(QueryError, match=r"is config.optim.beta\b.* meant\? runs has run"):
            query(runs, f"select {name} from runs as r")
    with pytest.raises(QueryError, match=r"'nope' was not found; the tables are runs, metrics, events, alerts"):
        query(runs, "select * from nope")
    with pytest.raises(QueryError, match=r"unsupported function 'isnan'; the functions are those of polars' SQL"):
        query(runs, "select isnan(value) from metrics")
    with pytest.raises(QueryError, match="the dialect is polars' SQL"):
        query(runs, "select name from runs order")


class TestWhatIsRead:
    """Only what a query asks for."""

    @pytest.fixture
    def read(self, runs, monkeypatch):
        """The metrics that are read, as (run, names), while a query runs."""
        seen = []
        original = sql.read_series

        def read_series(directory, **options):
            seen.append((directory.path.name, sorted(options["names"])))
            return original(directory, **options)

        monkeypatch.setattr(sql, "read_series", read_series)
        return seen

    def test_the_named_metric_of_the_named_run(self, runs, read):
        """Conditions on other columns do not widen it."""
        query(
            runs,
            "select max(value) from metrics where name = 'loss' and step > 0 and run like '%/a' and split = 'train'",
        )
        assert read == [("a", ["loss"])]

    def test_a_name_that_nobody_logged(self, runs, read):
        """No file of metrics is read, and the answer has no row."""
        assert rows(runs, "select * from metrics where name in ('nope', 'neither')") == []
        assert read == []

    def test_alternatives_are_not_taken_for_conditions(self, runs, read):
        """``a or b`` asks for both; so does a condition on a part of the rows."""
        text = "select count(*) from metrics where (name = 'loss' or step = 1) and (split = 'train' or name = 'loss')"
        assert rows(runs, text) == [(9 + 3 + 3 + 1,)]
        assert {tuple(names) for _, names in read} == {("accuracy", "loss")}

    def test_a_limit_stops_the_reading(self, runs, read):
        """After the first run."""
        assert len(rows(runs, "select * from metrics limit 2")) == 2
        assert [run for run, _ in read] in (["a"], ["a", "b"])

    def test_tables_that_are_not_named_are_not_made(self, runs, read, monkeypatch):
        """A question about metrics reads no event."""
        monkeypatch.setattr(type(runs), "events", None)
        monkeypatch.setattr(type(runs), "table", None)
        assert rows(runs, "select count(*) from metrics where name = 'accuracy'") == [(10,)]


def test_a_limit_counts_rows_before_it_counts_runs(runs):
    """More than one run's worth, with a condition and without."""
    assert len(rows(runs, "select * from metrics limit 11")) == 11
    assert len(rows(runs, "select * from (select * from metrics limit 11) where name = 'loss'")) <= 11
    assert len(rows(runs, "select * from metrics where name = 'loss' limit 5")) == 5
    assert len(rows(runs, "select * from events limit 3")) == 3


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ("metrics cross join runs", 26 * 3),
        ("runs cross join metrics", 26 * 3),
        ("metrics a cross join metrics b", 26 * 26),
        ("events a, alerts b, runs c", 6 * 3 * 3),
        ("events a cross join (select * from metrics where name = 'loss' limit 4) b", 6 * 4),
    ],
)
def test_rows_are_counted_where_no_column_is_asked_for(runs, tables, expected):
    """As in a join of everything with everything."""
    assert rows(runs, f"select count(*) from {tables}") == [(expected,)]


def test_what_is_no_text_is_no_query(runs):
    """Bytes of a command line that are no UTF-8."""
    with pytest.raises(QueryError, match="holds what is no character; write the query in UTF-8"):
        query(runs, "select name from runs where name = '\udcff'")


def test_a_text_that_is_called_like_a_function(runs):
    """It is refused, as no text can be told from a function for sure; the message says how to ask."""
    with pytest.raises(QueryError, match=r"If it is part of a text, write that in two: 'rea' \|\| 'd_...'"):
        query(runs, "select * from events where moment = 'read_csv'")
    assert rows(runs, "select * from events where moment = 'rea' || 'd_csv'") == []


def test_no_runs_are_empty_tables(tmp_path):
    """And no error."""
    (tmp_path / "empty").mkdir()
    runs = load_runs(tmp_path / "empty")
    for table in ("runs", "metrics", "events", "alerts"):
        assert rows(runs, f"select * from {table}") == []
