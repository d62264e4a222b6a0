from __future__ import annotations

import os
import subprocess
import time

import pytest

from barograph.record.git import FIELDS, MAX_UNTRACKED, collect_diff, read_git
from barograph.record.redact import REDACTED

NOTHING = dict.fromkeys(FIELDS)


@pytest.fixture
def environ(tmp_path):
    """An environment in which no repository or configuration around the test is seen."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(tmp_path),
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }


@pytest.fixture
def git(tmp_path, environ):
    """Runs git in the repository and returns what it prints."""

    def call(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path / "repo"), *arguments]
        return subprocess.run(command, env=environ, check=True, capture_output=True).stdout.decode().strip()

    return call


@pytest.fixture
def repo(tmp_path, git):
    """A repository with one committed file."""
    path = tmp_path / "repo"
    path.mkdir()
    git("init", "-q", "-b", "main")
    (path / "train.py").write_text("lr = 0.1\n", encoding="utf-8")
    git("add", "train.py")
    git("commit", "-q", "-m", "first")
    return path


@pytest.mark.spec("S4.39")
def test_a_clean_repository_is_told_by_commit_and_branch(repo, git, environ):
    """The exact version of the code: what git itself says, from any directory inside."""
    (repo / "src").mkdir()
    expected = {
        "root": str(repo.resolve()),
        "commit": git("rev-parse", "HEAD"),
        "branch": "main",
        "dirty": False,
        "remote": None,
        "untracked": [],
        "num_untracked": 0,
    }
    assert (expected, None) == read_git([repo / "src"], environ=environ)


def test_a_changed_file_makes_it_dirty_and_an_unknown_one_is_listed(repo, environ):
    """Changes to tracked files and files that git does not know are told apart, odd names included."""
    (repo / "new file\nwith ü.txt").write_text("", encoding="utf-8")
    state, _ = read_git([repo], environ=environ)
    assert (state["dirty"], state["untracked"], state["num_untracked"]) == (False, ["new file\nwith ü.txt"], 1)
    (repo / "train.py").write_text("lr = 0.2\n", encoding="utf-8")
    assert read_git([repo], environ=environ)[0]["dirty"] is True


def test_a_rename_is_a_change_and_its_old_name_is_no_entry(repo, git, environ):
    """Git lists two names for a renamed file; the second must not be taken for something else."""
    (repo / "? odd").write_text("x\n" * 20, encoding="utf-8")
    git("add", ".")
    git("commit", "-q", "-m", "second")
    git("mv", "? odd", "plain")
    state, _ = read_git([repo], environ=environ)
    assert (state["dirty"], state["untracked"]) == (True, [])


def test_many_untracked_files_are_counted_and_the_first_named(repo, environ):
    """A directory full of outputs does not blow up the record."""
    for number in range(MAX_UNTRACKED + 5):
        (repo / f"{number:05d}.txt").touch()
    state, _ = read_git([repo], environ=environ)
    assert (state["num_untracked"], len(state["untracked"])) == (MAX_UNTRACKED + 5, MAX_UNTRACKED)


def test_a_detached_head_has_a_commit_and_no_branch(repo, git, environ):
    """As on a CI machine: the branch is null, the commit is not."""
    git("checkout", "-q", "--detach")
    state, note = read_git([repo], environ=environ)
    assert (None, git("rev-parse", "HEAD"), None) == (state["branch"], state["commit"], note)


def test_a_repository_without_a_commit_says_so(tmp_path, git, environ):
    """Before the first commit there is nothing to come back to, and the note says what to do."""
    (tmp_path / "repo").mkdir()
    git("init", "-q", "-b", "main")
    state, note = read_git([tmp_path / "repo"], environ=environ)
    assert (state["commit"], state["branch"]) == (None, "main")
    assert "has no commit yet; commit" in note


def test_origin_is_the_remote_and_else_the_first_one(repo, git, environ):
    """Forks have several remotes; `origin` is the one that names the project."""
    git("remote", "add", "fork", "https://example.org/fork.git")
    assert read_git([repo], environ=environ)[0]["remote"] == "https://example.org/fork.git"
    git("remote", "add", "origin", "https://example.org/origin.git")
    assert read_git([repo], environ=environ)[0]["remote"] == "https://example.org/origin.git"


def test_a_directory_outside_any_repository_is_null_with_the_reason(tmp_path, environ):
    """No repository is no error: every field is null and git's own reason is kept."""
    state, note = read_git([tmp_path], environ=environ)
    assert state == NOTHING
    assert f"{tmp_path}: fatal: not a git repository (or any of the parent directories): .git" == note


def test_the_script_s_repository_is_found_when_the_current_directory_has_none(repo, tmp_path, environ):
    """The second directory is asked only when the first is in no repository."""
    state, note = read_git([tmp_path, repo], environ=environ)
    assert (str(repo.resolve()), None) == (state["root"], note)


def test_a_machine_without_git_is_null_with_the_reason(repo, environ):
    """Containers often have no git program."""
    nowhere = {**environ, "PATH": "/nonexistent"}
    state, note = read_git([repo], environ=nowhere)
    assert (state, note) == (NOTHING, "git is not installed, so the code's version is unknown")
    assert collect_diff(repo, environ=nowhere).note == "git is not installed, so uncommitted changes are unknown"


def test_a_git_program_that_cannot_start_is_null_with_the_reason(repo, tmp_path, environ):
    """An executable that is no program raises nothing."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "git"
    program.write_bytes(b"\x00not a program")
    program.chmod(0o755)
    state, note = read_git([repo], environ={**environ, "PATH": str(tmp_path / "bin")})
    assert state == NOTHING
    assert "git cannot be started" in note
    diff = collect_diff(repo, environ={**environ, "PATH": str(tmp_path / "bin")})
    assert "git cannot be started" in diff.note


@pytest.mark.parametrize("damage", ["head", "objects", "gitfile"])
def test_a_broken_repository_is_told_as_far_as_it_goes(repo, environ, damage):
    """A damaged repository gives nulls and git's reason, never an exception."""
    if damage == "head":
        (repo / ".git" / "HEAD").write_text("garbage", encoding="ascii")
    elif damage == "objects":
        for file in (repo / ".git" / "objects").rglob("*"):
            if file.is_file():
                file.unlink()
    else:
        (repo / ".git").rename(repo / "elsewhere")
        (repo / ".git").write_text("gitdir: /nonexistent\n", encoding="ascii")
    state, note = read_git([repo], environ=environ)
    assert state["dirty"] is None
    assert "fatal" in note
    assert collect_diff(repo, environ=environ).note is not None


def test_a_git_that_hangs_is_given_up_in_time(repo, tmp_path, environ):
    """A dead network disk costs the time limit, not the run."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "git"
    program.write_text("#!/bin/sh\nexec sleep 60\n", encoding="ascii")
    program.chmod(0o755)
    slow = {**environ, "PATH": f"{tmp_path / 'bin'}:{environ['PATH']}"}
    started = time.monotonic()
    state, note = read_git([repo], environ=slow, timeout_s=0.3)
    diff = collect_diff(repo, environ=slow, timeout_s=0.3)
    assert time.monotonic() - started < 5
    assert state == NOTHING
    assert note.endswith("git did not answer in time")
    assert "git diff took longer than 0.3 s" in diff.note


def test_reading_writes_nothing_into_the_repository(repo, environ):
    """Not even the index is refreshed, so a training run never meets a lock of ours."""
    (repo / "train.py").touch()
    before = {file: file.stat().st_mtime_ns for file in (repo / ".git").rglob("*")}
    read_git([repo], environ=environ)
    collect_diff(repo, environ=environ)
    assert before == {file: file.stat().st_mtime_ns for file in (repo / ".git").rglob("*")}


def test_programs_that_a_repository_names_are_not_run(repo, git, tmp_path, environ):
    """A cloned repository's configuration may name a monitor or a diff program; looking must not start it."""
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path / 'sprung'}\n", encoding="utf-8")
    trap.chmod(0o755)
    git("config", "core.fsmonitor", str(trap))
    git("config", "diff.external", str(trap))
    git("config", "core.pager", str(trap))
    (repo / "train.py").write_text("lr = 0.2\n", encoding="utf-8")
    read_git([repo], environ=environ)
    assert b"+lr = 0.2\n" in collect_diff(repo, environ=environ).patch
    assert not (tmp_path / "sprung").exists()


@pytest.mark.spec("S4.39")
def test_the_diff_brings_the_commit_to_the_state_that_ran(repo, git, environ):
    """Applied to the recorded commit, the patch gives the files byte by byte, whatever their encoding."""
    git("config", "diff.noprefix", "true")
    content = b"lr = 0.2\nname = 'caf\xe9'\r\nend without newline"
    (repo / "train.py").write_bytes(content)
    diff = collect_diff(repo, environ=environ)
    assert (diff.truncated, diff.num_redacted_lines, diff.note) == (False, 0, None)
    git("checkout", "-q", "--", ".")
    (repo.parent / "run.patch").write_bytes(diff.patch)
    git("apply", str(repo.parent / "run.patch"))
    assert content == (repo / "train.py").read_bytes()


def test_staged_changes_are_in_the_diff(repo, git, environ):
    """What is staged ran too."""
    (repo / "model.py").write_text("width = 8\n", encoding="utf-8")
    git("add", "model.py")
    assert b"+width = 8\n" in collect_diff(repo, environ=environ).patch


def test_before_the_first_commit_the_diff_is_everything_that_is_staged(tmp_path, git, environ):
    """A repository without a commit still tells what ran."""
    (tmp_path / "repo").mkdir()
    git("init", "-q")
    (tmp_path / "repo" / "a.py").write_text("x = 1\n", encoding="utf-8")
    git("add", "a.py")
    diff = collect_diff(tmp_path / "repo", environ=environ)
    assert b"+x = 1\n" in diff.patch
    assert diff.note is None


def test_a_clean_repository_has_an_empty_diff(repo, environ):
    """No change is an empty patch without a note."""
    diff = collect_diff(repo, environ=environ)
    assert (diff.patch, diff.truncated, diff.note) == (b"", False, None)


def test_a_large_diff_is_cut_after_a_whole_line(repo, environ):
    """The size limit holds, the cut is said, and no line is torn."""
    (repo / "train.py").write_text("".join(f"x{number} = {number}\n" for number in range(5000)), encoding="utf-8")
    whole = collect_diff(repo, environ=environ).patch
    diff = collect_diff(repo, environ=environ, max_bytes=10_000)
    assert diff.truncated
    assert 9_900 < len(diff.patch) <= 10_000
    assert whole.startswith(diff.patch)
    assert diff.patch.endswith(b"\n")
    exact = collect_diff(repo, environ=environ, max_bytes=len(whole))
    assert (whole, False) == (exact.patch, exact.truncated)


def test_credentials_in_the_diff_are_taken_out(repo, environ):
    """A key that somebody typed into a script and did not commit is not recorded."""
    (repo / "train.py").write_text('lr = 0.1\napi_key = "hunter2"\n', encoding="utf-8")
    diff = collect_diff(repo, environ=environ)
    assert b"hunter2" not in diff.patch
    assert f'+api_key = "{REDACTED}"\n'.encode() in diff.patch
    assert diff.num_redacted_lines == 1


def test_a_diff_of_no_repository_says_what_failed(tmp_path, environ):
    """The note names the command to run by hand."""
    diff = collect_diff(tmp_path, environ=environ)
    assert diff.patch == b""
    assert f"run `git -C {tmp_path} diff HEAD` to see why" in diff.note


def test_the_diff_keeps_up_with_two_megabytes(repo, environ):
    """The largest diff that is kept, credentials looked for in each line, takes about a second at most."""
    lines = "".join(f'config["key_{number}"] = "value {number} of some length"\n' for number in range(50_000))
    (repo / "train.py").write_text(lines, encoding="utf-8")
    started = time.process_time()
    diff = collect_diff(repo, environ=environ)
    assert time.process_time() - started < 5
    assert diff.truncated
