"""Verification: silent about a whole run, and exact about everything that can be wrong with one."""

from __future__ import annotations

import gzip
import json
import os
import shutil

import msgspec
import pytest

from barograph.facts.blobs import blob_path
from barograph.facts.codec import encode
from barograph.facts.metrics import MetricsLog
from barograph.facts.rows import StreamHeader, encode_header, read_header
from barograph.facts.rundir import RunDir
from barograph.facts.state import ExitRecord, this_process, write_exit, write_process
from barograph.facts.writers import append_jsonl_event, append_scalars_csv
from barograph.read.verify import verify


def found(path, *, least="warning"):
    """Severity, code and file of each finding that is at least so severe."""
    severe = {"error": ["error"], "warning": ["error", "warning"], "info": ["error", "warning", "info"]}[least]
    return [(it.severity, it.code, it.file) for it in verify(path) if it.severity in severe]


def only(path, *, least="warning"):
    """The one finding there is."""
    (finding,) = [it for it in verify(path) if least == "info" or it.severity != "info"]
    return finding


def events_of(copy):
    """The run's event log and its lines."""
    path = copy / "facts" / "events.jsonl"
    return path, path.read_bytes().splitlines(keepends=True)


def test_a_whole_run_has_no_findings(recorded):
    """Of a run with rows, overflow, blobs, details, checkpoints and epochs: nothing at all."""
    assert verify(recorded) == []


def test_a_resumed_run_has_no_errors(record, tmp_path):
    """Two attempts, the first of which was killed in the middle of a write: what was cut is told, nothing is wrong."""
    script = """
    import os, signal, sys, barograph
    run = barograph.init(dir=sys.argv[1], resume="allow", terminal="off", host_s=None)
    for step in range(5):
        run.log({"loss": 1.0}, step=step)
    if run.attempt == 0:
        with open(run.dir / "facts" / "events.jsonl", "ab") as file:
            file.write(b'{"torn')
        with open(run.dir / "facts" / "metrics.000.rows", "ab") as file:
            file.write(b"torn")
        os.kill(os.getpid(), signal.SIGKILL)
    run.finish()
    """
    record(script, tmp_path / "run", exit_code=-9)
    assert found(tmp_path / "run") == [
        ("warning", "no_exit_record", "facts/exit.json"),
        ("warning", "torn_tail", "facts/events.jsonl"),
        ("warning", "torn_tail", "facts/metrics.000.rows"),
    ]
    record(script, tmp_path / "run")
    assert found(tmp_path / "run", least="info") == [
        ("info", "cut", "facts/events.jsonl.cut-" + str(cut_at(tmp_path / "run" / "facts", "events.jsonl"))),
        ("info", "cut", "facts/metrics.000.rows.cut-" + str(cut_at(tmp_path / "run" / "facts", "metrics.000.rows"))),
    ]


def cut_at(facts, name):
    """Where a file was cut."""
    (path,) = facts.glob(f"{name}.cut-*")
    return int(path.name.rpartition("-")[2])


class TestEvents:
    """``events.jsonl``."""

    def test_a_damaged_line(self, copy):
        """Its place and size; the number that stood on it is no gap besides."""
        path, lines = events_of(copy)
        damaged = b"#" * (len(lines[2]) - 1) + b"\n"
        path.write_bytes(b"".join([*lines[:2], damaged, *lines[3:]]))
        missing, finding = verify(copy)
        offset = sum(map(len, lines[:2]))
        assert (finding.code, finding.offset, finding.size_bytes) == ("damaged_line", offset, len(damaged))
        assert missing.code == "missing_facts"

    def test_an_attempt_that_is_no_number(self, copy):
        """Readers take it for 0, and it is told."""
        path, lines = events_of(copy)
        path.write_bytes(b"".join([lines[0].replace(b"{", b'{"attempt":"2",', 1), *lines[1:]]))
        finding = only(copy)
        assert (finding.severity, finding.code) == ("warning", "payload")
        assert finding.message == "event 0 (on_start): attempt is '2', no integer; readers take it for 0"

    def test_a_line_that_was_taken_out(self, copy):
        """A gap in ``seq``, and fewer facts than the ledger counts."""
        path, lines = events_of(copy)
        path.write_bytes(b"".join(lines[:3] + lines[5:]))
        assert found(copy) == [
            ("error", "missing_facts", "facts/exit.json"),
            ("error", "seq_gap", "facts/events.jsonl"),
        ]
        assert "2 events are missing: seq 3-4." in next(it.message for it in verify(copy) if it.code == "seq_gap")

    def test_a_line_that_is_there_twice(self, copy):
        """A repeat of its number."""
        path, lines = events_of(copy)
        path.write_bytes(b"".join([*lines[:3], lines[2], *lines[3:]]))
        finding = only(copy)
        assert (finding.severity, finding.code) == ("error", "seq_repeat")
        assert "seq 2 stands where 3 should" in finding.message

    def test_lines_of_zero_bytes(self, copy):
        """What a power cut leaves, named as such."""
        path, lines = events_of(copy)
        path.write_bytes(b"".join([*lines, bytes(20) + b"\n"]))
        assert "NUL bytes" in only(copy).message

    def test_a_newer_schema(self, copy):
        """To be read with a newer release; no error."""
        path, lines = events_of(copy)
        newer = {"schema_version": 99, "seq": len(lines), "t": 1.0, "moment": "on_check", "passed": "who knows"}
        path.write_bytes(b"".join([*lines, encode(newer) + b"\n"]))
        finding = only(copy)
        assert (finding.severity, finding.code) == ("warning", "schema_version")
        assert "99, newer than 1" in finding.message

    def test_a_payload_of_another_type(self, copy):
        """The key, the value and what was expected."""
        path, lines = events_of(copy)
        odd = {"schema_version": 1, "seq": len(lines), "t": 1.0, "moment": "on_check", "name": "a", "passed": "yes!"}
        path.write_bytes(b"".join([*lines, encode(odd) + b"\n"]))
        assert f"event {len(lines)} (on_check): passed is 'yes!': Expected `bool`" in only(copy).message

    def test_events_of_other_programs(self, run_dir):
        """No numbers and no version: told, and not wrong."""
        run_dir.events().write_text('{"event": "on_start", "timestamp": 5}\n', encoding="utf-8")
        assert ("info", "unnumbered", "facts/events.jsonl") in found(run_dir.path, least="info")
        assert found(run_dir.path, least="error") == []

    def test_what_is_wrong_everywhere_is_cut_short(self, copy):
        """Twenty findings of a kind, and how many more there are."""
        path, lines = events_of(copy)
        path.write_bytes(b"".join([*lines, *[b"broken\n"] * 50]))
        damaged = [it for it in verify(copy) if it.code == "damaged_line"]
        assert len(damaged) == 21
        assert damaged[-1].message == "and 30 more findings 'damaged_line' in this file"

    def test_alerts_and_overflow_are_verified_too(self, copy):
        """Every file of JSON lines."""
        (copy / "facts" / "alerts.jsonl").write_bytes(b"broken\n")
        with (copy / "facts" / "metrics.jsonl").open("ab") as file:
            file.write(b"[1, 2]\n")
        assert found(copy) == [
            ("error", "damaged_line", "facts/metrics.jsonl"),
            ("error", "damaged_line", "facts/alerts.jsonl"),
        ]


class TestRows:
    """``metrics.NNN.rows``."""

    STREAM = "facts/metrics.000.rows"

    def test_a_torn_row(self, copy):
        """Cut in the middle of its last row: the bytes, and the fact that the ledger counted."""
        path = copy / self.STREAM
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 5)
        assert found(copy) == [
            ("error", "missing_facts", "facts/exit.json"),
            ("warning", "torn_tail", self.STREAM),
        ]
        torn = next(it for it in verify(copy) if it.code == "torn_tail")
        assert (torn.size_bytes, torn.offset + torn.size_bytes) == (
            read_header(path).row_bytes - 5,
            path.stat().st_size,
        )

    def test_rows_that_were_cut_whole(self, copy):
        """The file looks whole; only the ledger knows better."""
        path = copy / self.STREAM
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 3 * read_header(path).row_bytes)
        finding = only(copy)
        ledger = json.loads((copy / "facts" / "exit.json").read_text())["ledger"]
        assert finding.code == "missing_facts"
        assert f"{ledger['written']} facts of attempt 0 were written, {ledger['written'] - 3} are" in finding.message

    def test_a_stream_that_was_removed(self, copy):
        """The same."""
        (copy / self.STREAM).unlink()
        assert found(copy) == [("error", "missing_facts", "facts/exit.json")]

    def test_a_hole(self, copy):
        """A row of zeros, at its place."""
        path = copy / self.STREAM
        header = read_header(path)
        with path.open("r+b") as file:
            file.seek(header.header_bytes + 4 * header.row_bytes)
            file.write(bytes(header.row_bytes))
        finding = only(copy)
        assert (finding.severity, finding.code, finding.offset) == (
            "error",
            "hole",
            header.header_bytes + 4 * header.row_bytes,
        )

    def test_a_damaged_header(self, copy):
        """Nothing of the stream can be read."""
        path = copy / self.STREAM
        path.write_bytes(b"X" + path.read_bytes()[1:])
        assert ("error", "damaged_header", self.STREAM) in found(copy)

    def test_a_header_that_was_never_whole(self, copy):
        """The writer was killed as it made the file: a warning, no error."""
        (copy / "facts" / "metrics.050.rows").write_bytes(b'{"format": "barogr')
        assert found(copy) == [("warning", "unfinished_header", "facts/metrics.050.rows")]

    def test_rows_of_another_run(self, copy):
        """A file that was moved here by mistake."""
        header = StreamHeader(run_id="another", columns=["step", "loss", "t"])
        (copy / "facts" / "metrics.050.rows").write_bytes(encode_header(header))
        finding = only(copy)
        assert (finding.severity, finding.code) == ("error", "foreign_rows")
        assert "'another'" in finding.message

    def test_columns_and_names_that_do_not_fit(self, copy):
        """``step`` first, ``t`` last, the rank of the name."""
        run_id = json.loads((copy / "run.json").read_text())["run_id"]
        header = StreamHeader(run_id=run_id, columns=["loss", "step", "t"], rank=2)
        (copy / "facts" / "metrics.050.rows").write_bytes(encode_header(header))
        assert found(copy) == [
            ("error", "columns", "facts/metrics.050.rows"),
            ("warning", "rank", "facts/metrics.050.rows"),
        ]


class TestState:
    """``run.json``, ``process.json``, ``exit.json``."""

    def test_a_run_that_was_killed(self, run_dir):
        """No exit record: a warning with the reason."""
        write_process(run_dir.process(), msgspec.structs.replace(this_process(attempt=0), start_ticks=1))
        finding = next(it for it in verify(run_dir.path) if it.code == "no_exit_record")
        assert "attempt 0 left none: killed; the process is gone without an exit record" in finding.message

    def test_a_run_that_lives(self, run_dir):
        """Torn tails and headers that are not whole are what a writer leaves for a moment: no warnings."""
        write_process(run_dir.process(), this_process(attempt=0))
        run_dir.events().write_bytes(b'{"schema_ver')
        run_dir.rows(0).write_bytes(b'{"form')
        assert found(run_dir.path) == []
        assert {"alive", "torn_tail", "unfinished_header", "no_identity"} == {it.code for it in verify(run_dir.path)}

    def test_a_rank_that_was_killed(self, copy):
        """Rank 0 finished; rank 3 left no exit record."""
        dead = msgspec.structs.replace(this_process(attempt=0), start_ticks=1)
        write_process(RunDir(copy).process(3), dead)
        assert found(copy) == [("warning", "no_exit_record", "facts/exit.rank003.json")]

    def test_lost_facts_and_failed_parts(self, copy):
        """What the ledger says."""
        path = RunDir(copy).exit()
        record = json.loads(path.read_text())
        record["ledger"] |= {"lost": 7, "failures": {"metrics": "OSError: disk full"}}
        path.write_text(json.dumps(record) + "\n")
        lost, failed = verify(copy)
        assert (lost.severity, lost.code) == ("error", "lost")
        assert "7 facts" in lost.message
        assert (failed.severity, failed.code) == ("warning", "recorder")
        assert "'metrics' failed and was left out: OSError: disk full" in failed.message

    @pytest.mark.parametrize("name", ["run.json", "config.yaml", "facts/exit.json", "facts/process.json"])
    def test_files_that_cannot_be_read(self, copy, name):
        """Each is named, and is an error."""
        (copy / name).write_bytes(b"{\0")
        assert ("error", "unreadable", name) in found(copy)

    def test_an_identity_without_an_id_or_of_a_newer_schema(self, copy):
        """Both are told apart."""
        path = copy / "run.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"schema_version": 2}))
        assert found(copy) == [("warning", "schema_version", "run.json")]
        path.write_text(json.dumps({name: value for name, value in record.items() if name != "run_id"}))
        assert ("error", "identity", "run.json") in found(copy)

    def test_the_ledger_of_a_process_that_forked(self, run_dir):
        """The children's facts are in files of their own and are not the parent's."""
        write_process(run_dir.process(), msgspec.structs.replace(this_process(attempt=0), start_ticks=1))
        for pid in (None, 4242):
            log = MetricsLog(run_dir, run_id="", pid=pid)
            for step in range(5):
                log.append({"loss": 1.0}, step=step, split="train", t=1.0)
            log.close()
        child = run_dir.rows_files()[1]
        header = read_header(child)
        child.write_bytes(
            encode_header(msgspec.structs.replace(header, pid=4242)) + child.read_bytes()[header.header_bytes :]
        )
        append_jsonl_event(run_dir.path, {"moment": "on_start"})
        write_exit(run_dir.exit(), ExitRecord(attempt=0, status="finished", t=1.0, ledger={"written": 6}))
        assert found(run_dir.path) == []
        write_exit(run_dir.exit(), ExitRecord(attempt=0, status="finished", t=1.0, ledger={"written": 7}))
        assert found(run_dir.path) == [("error", "missing_facts", "facts/exit.json")]


class TestContents:
    """Blobs, checkpoints, compressed files, derived files."""

    def blob(self, copy):
        """The artifact's blob."""
        (path,) = [it for it in (copy / "blobs").glob("??/*") if it.read_bytes() == b"a blob"]
        return path

    def test_a_blob_with_another_content(self, copy):
        """Its name says what it should be."""
        self.blob(copy).write_bytes(b"A blob")
        finding = only(copy)
        assert (finding.severity, finding.code) == ("error", "damaged_blob")
        assert finding.file == os.fspath(self.path_of(copy))

    def path_of(self, copy):
        """The blob's path in the run."""
        (path,) = [it for it in (copy / "blobs").glob("??/*") if it.read_bytes() == b"A blob"]
        return path.relative_to(copy)

    def test_a_blob_that_is_gone(self, copy):
        """The event still refers to it."""
        digest = self.blob(copy).name
        self.blob(copy).unlink()
        finding = only(copy)
        assert (finding.code, finding.file) == (
            "missing_blob",
            str(blob_path(RunDir(copy).blobs, digest).relative_to(copy)),
        )

    def test_a_checkpoint_that_was_written_again(self, copy):
        """Its digest was recorded; it may be meant, so it is a warning."""
        (copy / "best_val.pt").write_bytes(b"other weights")
        assert found(copy) == [("warning", "other_checkpoint", "best_val.pt")]
        (copy / "best_val.pt").unlink()
        assert found(copy) == []

    def test_a_compressed_file_that_cannot_be_unpacked(self, copy):
        """Cut short, and with a flipped bit."""
        (path,) = (copy / "details").rglob("*.json.gz")
        whole = path.read_bytes()
        path.write_bytes(whole[:-10])
        assert found(copy) == [("error", "damaged_gzip", str(path.relative_to(copy)))]
        path.write_bytes(whole[:30] + bytes([whole[30] ^ 1]) + whole[31:])
        assert found(copy) == [("error", "damaged_gzip", str(path.relative_to(copy)))]
        path.write_bytes(gzip.compress(b"anything"))
        assert found(copy) == []

    def test_a_summary_that_is_no_json(self, copy):
        """Of a detail record."""
        (path,) = (copy / "details").rglob("*_summary.json")
        path.write_text("{", encoding="utf-8")
        assert found(copy) == [("error", "damaged_json", str(path.relative_to(copy)))]

    def test_scalars_csv_that_lags(self, copy):
        """A row less than epochs, a torn row, a row with too few fields, and no file at all."""
        path = copy / "facts" / "scalars.csv"
        lines = path.read_bytes().splitlines(keepends=True)
        assert len(lines) == 3
        path.write_bytes(b"".join(lines[:2]))
        assert "it has 1 rows for 2 epochs that ended" in only(copy).message
        path.write_bytes(b"".join(lines)[:-3])
        assert {"torn_tail", "scalars_csv"} == {it.code for it in verify(copy)}
        path.write_bytes(b"".join(lines[:2]) + b"1\n")
        assert "another number of fields" in only(copy).message
        path.unlink()
        assert "2 epochs ended and it is not there" in only(copy).message
        assert only(copy).severity == "warning"

    def test_more_rows_than_epochs_are_only_told(self, copy):
        """A loop that also calls the writer itself."""
        append_scalars_csv(copy, epoch=2, train_loss=0.5)
        finding = only(copy, least="info")
        assert (finding.severity, finding.code) == ("info", "scalars_csv")

    def test_what_an_interrupted_write_left(self, copy):
        """A temporary file may go."""
        (copy / "facts" / ".exit.json.77.tmp").write_bytes(b"half")
        assert found(copy, least="info") == [("info", "leftover", "facts/.exit.json.77.tmp")]


def test_errors_come_first(copy):
    """Then warnings, then the rest."""
    (copy / "facts" / ".a.tmp").write_bytes(b"")
    (copy / "best_val.pt").write_bytes(b"other")
    (copy / "facts" / "exit.json").write_bytes(b"{")
    severities = [it.severity for it in verify(copy)]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    assert set(severities) == {"error", "warning", "info"}


def test_a_run_of_other_programs_is_verified_without_ours(tmp_path):
    """Events and ``scalars.csv`` alone: nothing is wrong with that."""
    for epoch in range(2):
        append_jsonl_event(tmp_path, {"moment": "on_epoch_end", "epoch": epoch, "train_loss": 0.5})
        append_scalars_csv(tmp_path, epoch=epoch, train_loss=0.5)
    append_jsonl_event(tmp_path, {"moment": "on_train_end", "total_time_s": 1.0})
    assert found(tmp_path) == []


def test_verifying_changes_nothing(copy):
    """Nor does it repair: that is the next attempt's business."""
    path, lines = events_of(copy)
    path.write_bytes(b"".join(lines) + b'{"torn')
    before = shutil.copytree(copy, copy.parent / "before", symlinks=True)
    verify(copy)
    for file in before.rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (copy / file.relative_to(before)).read_bytes()
    assert sorted(it.relative_to(before) for it in before.rglob("*")) == sorted(
        it.relative_to(copy) for it in copy.rglob("*")
    )
