from __future__ import annotations

import datetime as dt
import threading

import pytest

from barograph.errors import InvalidNameError, MisuseError
from barograph.facts.rundir import (
    RUN_NAME,
    RunDir,
    check_name,
    create_run_dir,
    default_root,
    figure_name,
    make_dir,
    rank_of,
    report_dir_name,
    run_dir_name,
)

WHEN = dt.datetime(2025, 11, 3, 14, 9, 53, tzinfo=dt.UTC)


@pytest.mark.spec("S3.73")
def test_a_run_directory_is_named_by_time_name_and_job():
    """The documented name, and its parts read back."""
    assert run_dir_name("experiment", WHEN, 0) == "run_20251103-140953_experiment_job0"
    found = RUN_NAME.match("run_20251103-140953_my_long_job1_name_job12")
    assert found.groupdict() == {"time": "20251103-140953", "name": "my_long_job1_name", "job": "12"}


@pytest.mark.spec("S3.73")
def test_directories_of_the_same_second_get_the_next_free_job(tmp_path):
    """Sixteen threads at once make sixteen directories, numbered without a gap."""
    made = []
    barrier = threading.Barrier(16)

    def make():
        barrier.wait()
        made.append(create_run_dir(tmp_path / "runs", "two words", when=WHEN))

    threads = [threading.Thread(target=make) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {f"run_20251103-140953_two_words_job{job}" for job in range(16)}
    assert expected == {path.name for path in made} == {path.name for path in (tmp_path / "runs").iterdir()}


@pytest.mark.spec("S3.76")
def test_a_figure_is_named_by_family_moment_and_epoch():
    """The documented name."""
    assert figure_name("losses", "on_epoch_end", 19) == "losses-on_epoch_end-e019.png"
    assert figure_name("losses", "on_epoch_end", 1234, "webp") == "losses-on_epoch_end-e1234.webp"


def test_a_report_directory_is_named_by_time_and_name():
    """The documented name."""
    assert report_dir_name("compare_tokenizers", WHEN) == "report_20251103-140953_compare_tokenizers"


@pytest.mark.spec("S3.75", "S3.76", "S3.40")
def test_every_path_of_a_run_has_one_name(tmp_path):
    """The documented places, for rank 0, another rank, and the child of a fork."""
    run = RunDir(tmp_path)
    found = {
        name: str(path.relative_to(tmp_path))
        for name, path in {
            "events": run.events(),
            "events of rank 3": run.events(3),
            "events of a child": run.events(0, 77),
            "events of a child of rank 3": run.events(3, 77),
            "rows": run.rows(0),
            "rows of rank 3": run.rows(1000, 3),
            "overflow": run.overflow(3, 77),
            "alerts": run.alerts,
            "scalars": run.scalars_csv,
            "figures": run.figures,
            "process": run.process(),
            "exit": run.exit(3),
        }.items()
    }
    assert found == {
        "events": "facts/events.jsonl",
        "events of rank 3": "facts/events.rank003.jsonl",
        "events of a child": "facts/events.pid77.jsonl",
        "events of a child of rank 3": "facts/events.rank003.pid77.jsonl",
        "rows": "facts/metrics.000.rows",
        "rows of rank 3": "facts/metrics.1000.rank003.rows",
        "overflow": "facts/metrics.rank003.pid77.jsonl",
        "alerts": "facts/alerts.jsonl",
        "scalars": "facts/scalars.csv",
        "figures": "figures",
        "process": "facts/process.json",
        "exit": "facts/exit.rank003.json",
    }


def test_files_of_facts_are_found_and_others_are_not(run_dir):
    """Kept cuts, temporary files, alerts and files of people are no facts."""
    names = [
        "metrics.000.rows",
        "metrics.001.rank003.rows",
        "metrics.000.rows.cut-4096",
        ".metrics.002.rows.1.tmp",
        "events.jsonl",
        "events.pid9.jsonl",
        "events.rank012.jsonl",
        "events.jsonl.cut-12",
        "metrics.jsonl",
        "metrics.rank003.pid9.jsonl",
        "alerts.jsonl",
        "notes.txt",
    ]
    for name in names:
        (run_dir.facts / name).write_bytes(b"")
    assert [path.name for path in run_dir.rows_files()] == ["metrics.000.rows", "metrics.001.rank003.rows"]
    assert [p.name for p in run_dir.events_files()] == ["events.jsonl", "events.pid9.jsonl", "events.rank012.jsonl"]
    assert [path.name for path in run_dir.overflow_files()] == ["metrics.jsonl", "metrics.rank003.pid9.jsonl"]
    assert [rank_of(name) for name in ("events.pid9.jsonl", "metrics.001.rank003.rows", "a.rank012.b")] == [0, 3, 12]


def test_a_directory_without_facts_has_no_files(tmp_path):
    """Reading what is not a run finds nothing and raises nothing."""
    run = RunDir(tmp_path / "none")
    assert (run.rows_files(), run.events_files(), run.overflow_files(), run.is_run()) == ([], [], [], False)


@pytest.mark.parametrize("name", ["a/b", "a\\b", "a\nb", "\x00", "\x7f", "\x85", "", "  ", ".", "..", "x" * 121])
def test_a_name_that_cannot_stand_in_a_path_is_refused(name):
    """The message shows the name and what to do."""
    with pytest.raises(InvalidNameError, match=r"run name .* use "):
        check_name(name, what="run name")


@pytest.mark.parametrize("name", ["digits", "a b", "\u00fcber", "v1.2-rc_3", "..a", "x" * 120])
def test_a_name_that_can_is_kept(name):
    """Spaces, dots and letters of any script are fine."""
    assert name == check_name(name, what="run name")


def test_a_name_of_another_type_is_refused():
    """The message says which type came."""
    with pytest.raises(InvalidNameError, match="split must be a string, not int: 5"):
        check_name(5, what="split")


@pytest.mark.parametrize("where", ["file", "file/below", "file/far/below"])
def test_a_file_in_the_way_is_named(tmp_path, where):
    """Nothing is made, and the message says which part of the path is a file."""
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    with pytest.raises(MisuseError, match=r"file is a file, so .* cannot be a directory of runs; name another"):
        make_dir(tmp_path / where)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "kept"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_root_is_the_environments_or_runs():
    """``BAROGRAPH_ROOT`` wins; an empty one counts for nothing."""
    assert [str(default_root(env)) for env in ({"BAROGRAPH_ROOT": "/data"}, {"BAROGRAPH_ROOT": ""}, {})] == [
        "/data",
        "runs",
        "runs",
    ]
