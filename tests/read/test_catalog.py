"""Finding runs: all of them cheaply, or the one that somebody means."""

from __future__ import annotations

import os
import time

import pytest

from barograph.errors import RunNotFoundError
from barograph.facts.codec import encode
from barograph.facts.writers import append_jsonl_event
from barograph.read.catalog import discover_runs, find_run


def make_run(path, *, run_id="", name="", created_t=None):
    """A directory that holds a run."""
    path.mkdir(parents=True)
    identity = {"run_id": run_id, "name": name or path.name, "created_t": created_t}
    (path / "run.json").write_bytes(encode(identity) + b"\n")
    return path


@pytest.mark.spec("S3.41")
def test_runs_are_found_at_any_depth_oldest_first(tmp_path):
    """Sweeps nest; the order is that of time, and within a second that of the job's number."""
    newest = make_run(tmp_path / "run_20261122-000000_a_job0")
    tenth = make_run(tmp_path / "sweep" / "run_20261121-000000_a_job10")
    second = make_run(tmp_path / "sweep" / "run_20261121-000000_a_job2")
    named = make_run(tmp_path / "sweep" / "deep" / "quick", created_t=1_000_000_000.0)
    assert [named, second, tenth, newest] == discover_runs(tmp_path)


def test_a_run_of_another_program_is_found_by_its_events(tmp_path):
    """A directory with ``facts/events.jsonl`` is a run; its time is that of its first event."""
    path = tmp_path / "run_of_a_loop"
    append_jsonl_event(path, {"moment": "on_start", "t": 1_900_000_000.0})
    older = make_run(tmp_path / "run_20261122-000000_a_job0")
    assert [older, path] == discover_runs(tmp_path)


def test_what_lies_in_a_run_is_not_searched(tmp_path):
    """Details and figures of a run may be many, and hold no runs."""
    outer = make_run(tmp_path / "run")
    make_run(outer / "details" / "inner")
    assert [outer] == discover_runs(tmp_path)


def test_the_root_may_be_a_run(tmp_path):
    """``barograph list RUN`` shows that run."""
    assert [tmp_path / "run"] == discover_runs(make_run(tmp_path / "run"))


def test_hidden_directories_and_links_are_passed_over(tmp_path):
    """A link to a run would be the run twice; a link upwards would have no end."""
    run = make_run(tmp_path / "runs" / "a")
    make_run(tmp_path / "runs" / ".trash" / "b")
    (tmp_path / "runs" / "latest").symlink_to(run)
    (tmp_path / "runs" / "up").symlink_to(tmp_path)
    assert [run] == discover_runs(tmp_path / "runs")


def test_directories_that_may_not_be_read_are_passed_over(tmp_path):
    """Somebody else's locked directory hides its own runs and no others."""
    seen = make_run(tmp_path / "open" / "a")
    make_run(tmp_path / "locked" / "b")
    (tmp_path / "locked").chmod(0)
    try:
        assert [str(seen)] == as_nobody(lambda: [str(path) for path in discover_runs(tmp_path)], inside=tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o755)


def as_nobody(question, *, inside):
    """Ask in a process without the rights of root, which no permission stops."""
    if os.geteuid() != 0:
        return question()
    for parent in (inside, *inside.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o055)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        os.write(writing, "\n".join(question()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        lines = answer.read().splitlines()
    os.waitpid(child, 0)
    return lines


def test_a_thousand_runs_are_found_fast(tmp_path):
    """One look per directory, no file opened: far below a millisecond each, on slow machines too."""
    for number in range(1000):
        make_run(tmp_path / f"run_20261122-000000_a_job{number}")
    began_s = time.perf_counter()
    found = discover_runs(tmp_path)
    took_s = time.perf_counter() - began_s
    print(f"1000 runs found in {1000 * took_s:.0f} ms")
    assert len(found) == 1000
    assert took_s < 1.0


def test_a_root_that_is_not_there_says_so(tmp_path):
    """The message names it, and how to name another."""
    with pytest.raises(RunNotFoundError, match=r"/nowhere' is no directory.*--root or BAROGRAPH_ROOT"):
        discover_runs(tmp_path / "nowhere")


class TestFindRun:
    """One run, by what people remember of it."""

    @pytest.fixture
    def root(self, tmp_path):
        """Three runs."""
        make_run(tmp_path / "run_20261120-061500_digits_job0", run_id="abcd1234efgh", name="digits")
        make_run(tmp_path / "run_20261120-061501_digits_job0", run_id="abzz9876wxyz", name="digits")
        make_run(tmp_path / "run_20261121-080000_music_job0", run_id="qqqq0000qqqq", name="music")
        return tmp_path

    @pytest.mark.parametrize(
        "name",
        ["abcd1234efgh", "abc", "efgh", "run_20261120-061500_digits_job0", "run_20261120-061500"],
    )
    def test_id_and_directory_whole_or_in_part(self, root, name):
        """As much of the beginning or the end as no other run has."""
        assert find_run(name, root) == root / "run_20261120-061500_digits_job0"

    def test_the_name_of_one_run(self, root):
        """A name that one run has is enough."""
        assert find_run("music", root) == root / "run_20261121-080000_music_job0"

    def test_a_path_needs_no_root(self, root):
        """The directory itself."""
        path = root / "run_20261121-080000_music_job0"
        assert find_run(str(path), root / "nowhere") == path

    def test_a_name_of_several_runs_lists_them(self, root):
        """Nobody guesses; the ids are there to choose from."""
        with pytest.raises(RunNotFoundError) as raised:
            find_run("digits", root)
        first, *lines = str(raised.value).splitlines()
        assert first == f"'digits' means 2 runs below '{root}'; use the id of one of them:"
        assert lines == [
            f"  abcd1234efgh  digits  {root}/run_20261120-061500_digits_job0",
            f"  abzz9876wxyz  digits  {root}/run_20261120-061501_digits_job0",
        ]

    def test_a_misspelt_name_lists_what_is_near(self, root):
        """One letter too few."""
        with pytest.raises(RunNotFoundError, match=r"no run 'musc' below .*; near are:\n  qqqq0000qqqq  music"):
            find_run("musc", root)

    def test_a_name_like_no_other_says_where_to_look(self, root):
        """The next step is the list."""
        with pytest.raises(RunNotFoundError, match=r"`barograph list .*` shows the 3 runs there"):
            find_run("0x0x0x", root)

    def test_a_directory_of_runs_is_no_run(self, root):
        """It says how many it holds."""
        with pytest.raises(RunNotFoundError, match="holds 3 runs and is none itself"):
            find_run(str(root), root)

    def test_many_matches_are_cut(self, tmp_path):
        """Eight, and how many more."""
        for number in range(20):
            make_run(tmp_path / f"run_20261120-061500_a_job{number}", run_id=f"id{number:02d}")
        with pytest.raises(RunNotFoundError, match="and 12 more"):
            find_run("id", tmp_path)

    def test_an_empty_or_missing_root(self, tmp_path):
        """Both say what to do."""
        with pytest.raises(RunNotFoundError, match="which holds no runs; record one"):
            find_run("a", tmp_path)
        with pytest.raises(RunNotFoundError, match=r"the root '.*nowhere' does not exist"):
            find_run("a", tmp_path / "nowhere")

    def test_a_damaged_identity_leaves_the_directory_name(self, root):
        """A run whose ``run.json`` cannot be read is still found by its directory."""
        path = root / "run_20261121-080000_music_job0"
        (path / "run.json").write_bytes(b"\0\0\0")
        assert find_run("run_20261121", root) == path
