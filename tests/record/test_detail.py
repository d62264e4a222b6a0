"""Detail records: four levels, three dated files, sizes known before they are paid for."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import math
import random
import shutil
import subprocess
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from barograph.errors import DetailBudgetWarning, MisuseError
from barograph.record.detail import BUDGET_BYTES, LEVELS, DetailConfig, DetailRecord, log_name

T = 1_736_951_425.0  # 2025-01-15 14:30:25 UTC
CONFIG = {"model": "tiny", "rb_requires_grad": True, "lr": 1e-4, "detailed_logging": {"level": "standard"}}


def _record(directory, level="debug", **options):
    return DetailRecord(
        "entropy_probe", "step_60", level=level, directory=directory, config=CONFIG, clock=lambda: T, **options
    )


def _sequence(rng, number):
    tokens = rng.randrange(20, 60)
    return {
        "id": number,
        "prompt": f"What is {rng.randrange(1000)} + {rng.randrange(1000)}?",
        "response": " ".join(rng.choice(("alpha", "beta", "gamma", "step", '"so"')) for _ in range(tokens)),
        "logprob": -rng.random() * 50,
        "logprobs": [-rng.random() for _ in range(tokens)],
        "rb_entropies": [rng.random() * 3 for _ in range(tokens)],
    }


def _fill(record, seed=0):
    """Add what an entropy probe finds: sizes like those that the levels are meant for."""
    rng = random.Random(seed)
    numbers = np.random.default_rng(seed)
    record.minimal(
        core_results={"bars_dot": 0.3361, "deltaH1": 2.659, "deltaH_true": 2.71, "learning_rate": 1e-4},
        timings={"sampling": 61.2, "x_accumulation": 70.1, "y_accumulation": 66.0, "deltaH1": 0.4},
        batch_sizes={"E": 128, "U": 64},
    )
    record.standard(
        batch_stats={"lengths": [rng.randrange(10, 99) for _ in range(128)], "rewards": numbers.normal(size=128)},
        ground_truth={"ess": 117.3, "weights": [rng.random() for _ in range(128)]},
    )
    record.detailed(
        sequences={"E_batch": [_sequence(rng, number) for number in range(128)]},
        importance={"logprobs": numbers.normal(size=(64, 30)).astype("f4")},
    )
    record.debug(tensors={"x": torch.from_numpy(numbers.normal(size=(256, 512)).astype("f4"))}, ids=list(range(20_000)))


def _read(path):
    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data, parse_constant=_no_constant)


def _no_constant(name):
    raise AssertionError(f"{name} is no strict JSON")


def _shell(command, cwd):
    done = subprocess.run(["sh", "-c", command], cwd=cwd, capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.spec("S4.25", "S4.26", "S4.27", "S4.28")
def test_three_files_in_a_dated_folder(tmp_path):
    """One record makes the three documented names, and nothing else is left behind."""
    record = _record(tmp_path)
    record.minimal(core_results={"deltaH1": 2.659})
    detail, summary, config = record.write()
    folder = tmp_path / "2025-01-15"
    assert detail == folder / "entropy_probe_14-30-25_step_60.json.gz"
    assert summary == folder / "entropy_probe_14-30-25_step_60_summary.json"
    assert config == folder / "entropy_probe_14-30-25_step_60_config.yaml"
    assert {detail, summary, config} == set(folder.iterdir())
    assert _read(detail)["core_results"] == _read(summary)["core_results"] == {"deltaH1": 2.659}


@pytest.mark.spec("S4.28", "S4.39")
def test_the_exact_config_is_saved_without_credentials(tmp_path):
    """The YAML file gives the configuration back; a credential in it is not on disk."""
    record = DetailRecord("probe", "last", directory=tmp_path, config={**CONFIG, "api_key": "abc123secret"})
    files = record.write()
    assert yaml.safe_load(files.config.read_text(encoding="utf-8")) == {**CONFIG, "api_key": "[redacted]"}


@pytest.mark.spec("S4.24")
def test_uncompressed_on_request(tmp_path):
    """``compress=False`` writes the same bytes, plain."""
    plain, packed = _record(tmp_path / "a", compress=False), _record(tmp_path / "b")
    for record in (plain, packed):
        _fill(record)
    plain_file, packed_file = plain.write().detail, packed.write().detail
    assert plain_file.name == "entropy_probe_14-30-25_step_60.json"
    assert plain_file.read_bytes() == gzip.decompress(packed_file.read_bytes())
    assert packed_file.stat().st_size < plain_file.stat().st_size / 2


@pytest.mark.spec("S4.29", "S4.30", "S4.31", "S4.32", "S4.33", "S4.21")
@pytest.mark.parametrize("level", LEVELS)
def test_levels_are_cumulative_and_within_their_stated_sizes(tmp_path, level):
    """A level holds its own sections and those below it, nothing above, in a size that its budget allows."""
    own = {
        "minimal": {"core_results", "timings", "batch_sizes"},
        "standard": {"batch_stats", "ground_truth"},
        "detailed": {"sequences", "importance"},
        "debug": {"tensors", "ids"},
    }
    record = _record(tmp_path, level, compress=False)
    _fill(record)
    path = record.write().detail
    document = _read(path)
    expected = set().union(*(own[each] for each in LEVELS[: LEVELS.index(level) + 1]))
    assert expected == set(document) & set().union(*own.values())
    assert level == document["level"]
    low = {"minimal": 100, "standard": 5_000, "detailed": 50_000, "debug": 1_000_000}[level]
    assert low < path.stat().st_size < BUDGET_BYTES[level]


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.spec("S4.35", "S4.36", "S4.37", "S4.38", "S4.26")
def test_documented_shell_commands(tmp_path):
    """The one-liners of the documentation work as they are printed, with standard tools only."""
    record = _record(tmp_path / "logs")
    _fill(record)
    record.write()
    stem = "logs/2025-01-15/entropy_probe_14-30-25_step_60"
    core = json.loads(_shell(f"cat {stem}_summary.json | jq '.core_results'", tmp_path))
    assert core == {"bars_dot": 0.3361, "deltaH1": 2.659, "deltaH_true": 2.71, "learning_rate": 1e-4}
    sequences = json.loads(_shell(f"zcat {stem}.json.gz | jq '.sequences.E_batch[0:3]'", tmp_path))
    assert [item["id"] for item in sequences] == [0, 1, 2]
    loop = (
        'for f in logs/2025-01-15/*_summary.json; do\n  echo "=== $f ==="\n'
        "  jq '.core_results | {deltaH1, deltaH_true, bars_dot}' \"$f\"\ndone\n"
    )
    header, rest = _shell(loop, tmp_path).split("\n", 1)
    assert f"=== {stem}_summary.json ===" == header
    assert json.loads(rest) == {"deltaH1": 2.659, "deltaH_true": 2.71, "bars_dot": 0.3361}


@pytest.mark.spec("S4.38")
def test_grep_finds_the_line_of_one_sequence(tmp_path):
    """Each sequence is a line of its own, so ``zgrep`` prints that one; a big tensor does not become a line each."""
    record = _record(tmp_path)
    _fill(record)
    path = record.write().detail
    found = _shell(f"zgrep '\"id\":77,' {path}", tmp_path).splitlines()
    assert len(found) == 1
    assert json.loads(found[0].rstrip(","))["id"] == 77
    assert len(gzip.decompress(path.read_bytes()).splitlines()) < 1_000


@pytest.mark.spec("S4.19")
def test_non_finite_numbers_are_null_and_named(tmp_path):
    """The file is strict JSON: what is not finite is null, and ``nonfinite`` mirrors where it stood."""
    record = _record(tmp_path)
    record.minimal(core_results={"deltaH1": math.nan, "bars_dot": 1.0})
    record.debug(tensors={"x": np.array([[1.0, -np.inf], [np.nan, 2.0]])})
    files = record.write()
    document = _read(files.detail)
    assert document["core_results"] == {"deltaH1": None, "bars_dot": 1.0}
    assert document["tensors"] == {"x": [[1.0, None], [None, 2.0]]}
    marks = {"core_results": {"deltaH1": "nan"}, "tensors": {"x": {"0": {"1": "-inf"}, "1": {"0": "nan"}}}}
    assert marks == document["nonfinite"]
    assert _read(files.summary)["nonfinite"] == {"core_results": {"deltaH1": "nan"}}


@pytest.mark.spec("S4.39")
def test_summary_has_results_timings_and_true_sizes(tmp_path):
    """The summary names the run and the level, repeats results and timings, and its sizes are those on disk."""
    record = _record(tmp_path, "detailed", run_id="r1")
    _fill(record)
    files = record.write()
    summary = _read(files.summary)
    assert (summary["run_id"], summary["level"], summary["checkpoint"]) == ("r1", "detailed", "step_60")
    assert summary["timings"] == {"sampling": 61.2, "x_accumulation": 70.1, "y_accumulation": 66.0, "deltaH1": 0.4}
    assert files.detail.stat().st_size == summary["sizes"]["file_bytes"]
    assert len(gzip.decompress(files.detail.read_bytes())) == summary["sizes"]["json_bytes"]
    assert (summary["t"], summary["time"]) == (T, "2025-01-15T14:30:25Z")


@pytest.mark.spec("S4.22")
@pytest.mark.parametrize("level", ["detailed", "standard"])
def test_sequences_are_left_out_on_request(tmp_path, level):
    """With ``log_sequences=False`` no text of a sequence is written or handed on, and the file says so."""
    dropped = []
    record = _record(tmp_path, level, log_sequences=False, on_dropped=lambda *what: dropped.append(what[1]))
    _fill(record)
    data = gzip.decompress(record.write().detail.read_bytes())
    assert b"What is" not in data
    assert json.loads(data)["log_sequences"] is False
    assert "sequences" not in dropped


def test_what_is_above_the_level_is_handed_on(tmp_path):
    """Data above the level reaches ``on_dropped`` with its level and section, and ``wants`` says so before."""
    dropped = []
    record = _record(tmp_path, "minimal", on_dropped=lambda *what: dropped.append(what))
    assert [record.wants(level) for level in LEVELS] == [True, False, False, False]
    record.minimal(core_results={"a": 1})
    record.debug(tokens=[1, 2])
    assert dropped == [("debug", "tokens", [1, 2])]


@pytest.mark.parametrize("seed", range(3))
def test_forecast_is_within_a_quarter_of_the_truth(tmp_path, seed):
    """At every level the forecast, made before, is within 25 % of the bytes that encoding gives."""
    sizes = {}
    for level in LEVELS:
        record = _record(tmp_path / level, level, compress=False)
        _fill(record, seed)
        sizes[level] = (record.forecast()[level], record.write().detail.stat().st_size)
    assert {level: pytest.approx(truth, rel=0.25) for level, (_, truth) in sizes.items()} == {
        level: forecast for level, (forecast, _) in sizes.items()
    }


def test_forecast_knows_levels_that_are_not_kept(tmp_path):
    """A record at ``minimal`` forecasts about the same sizes of the higher levels as one that keeps them."""
    low, high = _record(tmp_path, "minimal"), _record(tmp_path, "debug")
    for record in (low, high):
        _fill(record)
    assert pytest.approx(high.forecast(), rel=0.1) == low.forecast()


def test_forecast_costs_a_fraction_of_writing(tmp_path):
    """On several megabytes the forecast takes less than a tenth of the time, and a hundredth of the memory."""
    record = _record(tmp_path)
    _fill(record)
    forecasts, writes = [], []
    for _ in range(3):
        began = time.perf_counter()
        record.forecast()
        middle = time.perf_counter()
        record.write()
        forecasts.append(middle - began)
        writes.append(time.perf_counter() - middle)
    assert min(forecasts) < min(writes) / 10
    tracemalloc.start()
    record.forecast()
    forecast_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    record.write()
    write_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert forecast_peak < write_peak / 100


@pytest.mark.spec("S4.33")
def test_a_level_over_its_budget_is_written_with_a_warning(tmp_path):
    """By default everything is written; the warning names record, level, sizes and the largest section."""
    record = _record(tmp_path, "standard", compress=False)
    record.minimal(core_results={"a": 1})
    record.standard(batch_stats={"lengths": list(range(10_000))})
    message = r"'standard' is about 4\d.\d kB, over the 10 kB .* largest section is 'batch_stats' .* a higher level"
    with pytest.warns(DetailBudgetWarning, match=message) as caught:
        files = record.write()
    assert [__file__] == [warning.filename for warning in caught]
    assert len(_read(files.detail)["batch_stats"]["lengths"]) == 10_000


def test_over_budget_data_is_on_disk_where_warnings_are_errors(tmp_path):
    """The warning comes after the files, so turning it into an error loses nothing."""
    record = _record(tmp_path, "minimal")
    record.minimal(core_results=list(range(2_000)))
    with pytest.raises(DetailBudgetWarning):  # warnings are errors in these tests
        record.write()
    assert len(list((tmp_path / "2025-01-15").iterdir())) == 3


def test_a_level_over_its_budget_is_lowered_on_request(tmp_path):
    """The highest level that fits is written, the file says what was asked and why, the rest is handed on."""
    dropped = []
    record = _record(tmp_path, "debug", over_budget="lower", on_dropped=lambda *what: dropped.append(what[:2]))
    _fill(record)
    record.debug(more=np.random.default_rng(0).normal(size=700_000))
    with pytest.warns(DetailBudgetWarning, match="written at level 'detailed' instead"):
        files = record.write()
    document = _read(files.detail)
    assert (document["level"], document["requested_level"]) == ("detailed", "debug")
    assert "the largest section is 'more'" in document["lowered"]
    assert "sequences" in document
    assert "tensors" not in document
    assert dropped == [("debug", "tensors"), ("debug", "ids"), ("debug", "more")]


def test_core_results_are_never_lowered_away(tmp_path):
    """When not even ``minimal`` fits, it is written all the same."""
    record = _record(tmp_path, "standard", over_budget="lower")
    record.minimal(core_results={"curve": list(range(1000))})
    record.standard(batch_stats=list(range(5000)))
    with pytest.warns(DetailBudgetWarning, match="written at level 'minimal'"):
        document = _read(record.write().detail)
    assert len(document["core_results"]["curve"]) == 1000
    assert "batch_stats" not in document


def test_later_changes_do_not_reach_the_record(tmp_path):
    """What was added is what is written, whatever the loop does to its arrays and lists afterwards."""
    array, tensor, listed = np.ones(3), torch.ones(3), [[1.0]]
    record = _record(tmp_path)
    record.debug(tensors={"a": array, "b": tensor, "c": listed})
    array[:] = 7
    tensor.fill_(7)
    listed[0].append(7)
    assert _read(record.write().detail)["tensors"] == {"a": [1.0] * 3, "b": [1.0] * 3, "c": [[1.0]]}


def test_sections_added_again_are_merged(tmp_path):
    """A mapping gets the new keys, across levels too; anything else is replaced."""
    record = _record(tmp_path)
    record.minimal(timings={"sampling": 1.0}, note="first")
    record.minimal(timings={"deltaH1": 2.0}, note="second")
    record.debug(timings={"tokens": 3.0})
    document = _read(record.write().detail)
    assert document["timings"] == {"sampling": 1.0, "deltaH1": 2.0, "tokens": 3.0}
    assert document["note"] == "second"


def test_scalars_paths_and_unicode(tmp_path):
    """Scalars of numpy and torch, paths, sets and any text become plain JSON."""
    record = _record(tmp_path)
    data = {"n": np.float32(0.5), "t": torch.tensor(3), "p": Path("a/b"), "s": {2, 1}, 5: "caf\u00e9 \udc80"}
    record.minimal(core_results=data)
    expected = {"n": 0.5, "t": 3, "p": "a/b", "s": [1, 2], "5": "caf\u00e9 \udc80"}
    assert expected == _read(record.write().detail)["core_results"]


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"f": len}, r"core_results\.f is a builtins\.builtin"),
        ([1, object()], r"core_results\[1\] is a builtins\.object"),
        ({"z": np.array([1j])}, r"core_results\.z is a builtins\.complex"),
    ],
)
def test_what_has_no_json_form_is_refused_at_once(tmp_path, data, place):
    """The message names the place, and nothing of that call is kept."""
    record = _record(tmp_path)
    with pytest.raises(MisuseError, match=place):
        record.minimal(core_results=data)
    assert _read(record.write().summary)["core_results"] == {}


def test_data_that_contains_itself_is_refused(tmp_path):
    """A cycle gives a message, at a level that is kept and at one that is not."""
    cycle = []
    cycle.append(cycle)
    for level in ("debug", "minimal"):
        with pytest.raises(MisuseError, match="contains itself"):
            _record(tmp_path, level).debug(loop=cycle)


@pytest.mark.parametrize("section", ["level", "nonfinite", "run_id", ""])
def test_reserved_sections_are_refused(tmp_path, section):
    """Keys that the file writes itself cannot be sections."""
    with pytest.raises(MisuseError, match="cannot name a section"):
        _record(tmp_path).add("minimal", section, 1)


@pytest.mark.spec("S4.3")
def test_name_of_the_comprehensive_log():
    """The text log of a whole analysis has the documented name, in UTC."""
    assert log_name("entropy_probe", lambda: T) == "entropy_probe_comprehensive_20250115_143025.log"


def test_the_same_data_gives_the_same_bytes(tmp_path):
    """Two records of the same data and time are equal byte by byte, compression included."""
    paths = []
    for folder in ("a", "b"):
        record = _record(tmp_path / folder)
        _fill(record)
        paths.append(record.write().detail)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_boundary_keeps_a_failed_write_from_the_caller(tmp_path, monkeypatch):
    """Where a run hands the record out, a full disk is reported by the run, and training goes on."""
    parts = []

    @contextlib.contextmanager
    def boundary(part):
        try:
            yield
        except OSError:
            parts.append(part)

    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    record = DetailConfig().new_record("probe", checkpoint="last", directory=tmp_path, boundary=boundary)
    record.minimal(core_results={"a": 1})
    with monkeypatch.context() as patch:
        patch.setattr("barograph.record.detail.publish", full)
        assert record.write() is None
    assert parts == ["details"]
    assert record.write().detail.is_file()
