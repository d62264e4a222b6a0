"""Which runs a condition means."""

from __future__ import annotations

import polars as pl
import pytest

from barograph.errors import QueryError
from barograph.read.select import select_runs

TABLE = pl.DataFrame(
    {
        "run_dir": ["a", "b", "c"],
        "name": ["mlp", "mlp", "it's 3 < 4"],
        "seed": [0, 1, None],
        "config.lr": [0.1, 0.01, None],
        "config.optim.name": ["adam", "sgd", "adam"],
        "config.use_ema": [True, False, None],
        "summary.val/loss": [0.5, float("nan"), 0.25],
        "config.größe": [1, 2, 3],
        "config.my-key": [1, 2, 3],
        'config.a"b': [1, 2, 3],
        "note": ["a==b", "a=b", "1"],
    }
)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("lr < 0.05", [False, True, False]),
        ("lr < 5e-2 and lr>1E-3", [False, True, False]),
        ("config.lr < 0.05 or name = 'it''s 3 < 4'", [False, True, True]),
        ("optim.name == 'adam' and seed = 0", [True, False, False]),
        ("val/loss < 0.4", [False, False, True]),
        ("seed is null", [False, False, True]),
        ("seed in (0, 1) and not use_ema", [False, True, False]),
        ("name like 'ml%'", [True, True, False]),
        ("1 = 1", [True, True, True]),
        ({"seed": [0, 1]}, [True, True, False]),
        ({"lr": 0.1, "name": "mlp"}, [True, False, False]),
        ({"use_ema": True}, [True, False, False]),
        ({"seed": "1"}, [False, True, False]),
        ("lr < 5e-2", [False, True, False]),
        ("lr >= 1E-2 and lr < .05", [False, True, False]),
        ("note == 'a==b'", [True, False, False]),
        ("größe = 2", [False, True, False]),
        ('"my-key" = 3', [False, False, True]),
        ('"a""b" = 1', [True, False, False]),
        ({"lr": "1e-2"}, [False, True, False]),
        ({"lr": ["0.10"]}, [True, False, False]),
        ({"note": "1e0"}, [False, False, False]),
    ],
)
@pytest.mark.spec("S3.26")
def test_conditions_choose_rows(condition, expected):
    """Short names, names with dots, slashes, quotes and umlauts, all spellings of numbers, missing values, mappings."""
    assert expected == select_runs(TABLE, condition).to_list()


@pytest.mark.spec("S3.26")
def test_nan_is_larger_than_every_number_and_missing_is_neither():
    """As in SQL: a run that diverged is among those above a limit, never below it; one without a value is in none."""
    table = pl.DataFrame({"loss": [0.1, float("nan"), None, float("inf")]})
    assert select_runs(table, "loss > 0.5").to_list() == [False, True, False, True]
    assert select_runs(table, "loss <= 0.5").to_list() == [True, False, False, False]
    assert select_runs(table, "not loss <= 0.5").to_list() == [False, True, False, True]
    assert select_runs(table, {"loss": float("nan")}).to_list() == [False, True, False, False]


@pytest.mark.parametrize(
    "attempt", ["read_csv('/etc/passwd')", "(select 1) = 1", "1 = 1; drop table runs", "lr < 1 --x"]
)
def test_a_condition_is_an_expression_over_columns_and_nothing_else(attempt):
    """No statement, no subquery, no file."""
    with pytest.raises(QueryError):
        select_runs(TABLE, attempt)


def test_an_unknown_column_is_an_error_that_lists_the_columns():
    """So that the next try is right."""
    with pytest.raises(QueryError, match=r"no column 'lrr'; there are run_dir, .*config\.lr"):
        select_runs(TABLE, "lrr < 1")
    with pytest.raises(QueryError, match="no column 'lrr'"):
        select_runs(TABLE, {"lrr": 1})


@pytest.mark.parametrize("condition", ["lr <", "lr + 1", "lr < 'x' <", "name = 3 and"])
def test_what_is_no_condition_is_an_error(condition):
    """With an example of one."""
    with pytest.raises(QueryError, match=r"write e\.g\."):
        select_runs(TABLE, condition)
