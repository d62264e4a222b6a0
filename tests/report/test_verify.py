"""Whether an edit of any one number, anywhere, is found; and whether nothing is found where nothing was edited."""

from __future__ import annotations

import random
import re
import shutil
import struct

import pytest
import yaml

from barograph.errors import ReportError
from barograph.read.archive.seal import seal
from barograph.read.run import RunReader
from barograph.report.verify import mark_report, summary_line, verify_report

NUMBER = re.compile(rb"\d+(?:\.\d+)?(?:e[-+]?\d+)?")
NUM_EDITS = 100


def codes(found):
    """What was found, harmless things left out."""
    return {finding.code for finding in found.findings if not finding.is_harmless}


def edit_text(data: bytes, generator: random.Random) -> bytes:
    """Another digit in one number of a text."""
    token = generator.choice(list(NUMBER.finditer(data)))
    place = token.start() + generator.choice([at for at, byte in enumerate(token.group()) if chr(byte).isdigit()])
    digit = generator.choice([other for other in b"0123456789" if other != data[place]])
    return data[:place] + bytes([digit]) + data[place + 1 :]


def edit_rows(data: bytes, generator: random.Random) -> bytes:
    """Another number in one row."""
    place = generator.randrange(4096, len(data), 8)
    (was,) = struct.unpack_from("<d", data, place)
    now = generator.choice([was * (1 + 1e-15) or 1e-300, was + 1.0, -was or 1.0, float("nan"), 0.0 if was else 1.0])
    changed = bytearray(data)
    struct.pack_into("<d", changed, place, now)
    return bytes(changed) if bytes(changed) != data else edit_rows(data, generator)


@pytest.mark.spec("S3.84")
def test_every_one_of_100_random_edits_is_found(make, sweep_dir):
    """One number in facts, configuration, identity, summaries or manifest: each is found, none when all are undone."""
    path = make(name="edits", inputs={"sweep_dir": str(sweep_dir), "select": "optim.lr < 0.1"}, metrics=["val_loss"])
    reported = [
        (path / run["dir"]).resolve() for run in yaml.safe_load((path / "manifest.yaml").read_bytes())["runs"].values()
    ]
    assert len(reported) == 3
    of_runs = (
        "facts/metrics.000.rows",
        "facts/metrics.jsonl",
        "facts/events.jsonl",
        "facts/exit.json",
        "run.json",
        "config.yaml",
    )
    of_report = ("manifest.yaml", "training/summary.csv", "training/summary.json", "training/runs.csv")
    files = [[run / name for run in reported] for name in of_runs] + [[path / name] for name in of_report]
    generator = random.Random(20261120)
    missed = []
    for number in range(NUM_EDITS):
        file = generator.choice(files[number % len(files)])
        was = file.read_bytes()
        now = (edit_rows if file.suffix == ".rows" else edit_text)(was, generator)
        file.write_bytes(now)
        if verify_report(path).ok:
            missed.append((file, was, now))
        file.write_bytes(was)
    assert missed == []
    assert verify_report(path).ok


def test_a_report_of_facts_that_did_not_change_holds(made):
    """Every number is computed again, every file is whole, nothing is found."""
    found = verify_report(made)
    assert found.ok
    assert found.findings == []
    assert found.num_computed == found.num_numbers > 100
    line = summary_line(found)
    assert line.startswith(f"every number holds: {found.num_numbers} of {found.num_numbers} computed again")


def test_an_edited_fact_is_told_with_the_numbers_that_follow(made, made_of):
    """Which file of which run; which number, what it was and what it is."""
    run = min(made_of.glob("*lr0.2*"))
    events = run / "facts" / "events.jsonl"
    text = events.read_text(encoding="utf-8")
    loss = re.findall(r'"mse":([\d.e-]+)', text)[-1]
    events.write_text(text.replace(f'"mse":{loss}', '"mse":9.5'), encoding="utf-8")
    found = verify_report(made)
    assert codes(found) == {"facts", "number"}
    (facts,) = [finding for finding in found.findings if finding.code == "facts"]
    assert facts.where == f"../../multiruns/{made_of.name}/{run.name}/facts/events.jsonl"
    stale = {finding.where: (finding.was, finding.now) for finding in found.findings if finding.code == "number"}
    place = [line.partition(",")[0] for line in (made / "training/runs.csv").read_text().splitlines()[1:]].index(
        "lr0.2 (seed 0)"
    )
    assert stale[f"runs.{place}.mse.last"] == (float(loss), 9.5)
    assert "numbers are others now; 1 place in the facts changed" in summary_line(found)


def test_an_edited_summary_is_told_by_its_cell(made):
    """Row and column, what the file says and what the manifest says."""
    file = made / "training" / "summary.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    cells = lines[1].split(",")
    was, cells[3] = cells[3], "4"
    file.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n", encoding="utf-8")
    found = verify_report(made)
    assert codes(found) == {"file", "cell"}
    (cell,) = [finding for finding in found.findings if finding.code == "cell"]
    assert (cell.where, cell.was, cell.now) == ("training/summary.csv, row 1, column n", int(was), "4")


def test_an_edited_manifest_is_told_by_its_number(made):
    """Its last line does not fit, and the facts give the number that stood there."""
    file = made / "manifest.yaml"
    number = next(it for it in yaml.safe_load(file.read_bytes())["numbers"] if it["id"] == "summary.0.mean")
    file.write_bytes(file.read_bytes().replace(f"value: {number['value']!r}\n".encode(), b"value: 0.5\n", 1))
    found = verify_report(made)
    assert {"manifest", "number", "cell"} <= codes(found)
    changed = [finding for finding in found.findings if finding.code == "number"]
    assert [(it.where, it.was, it.now) for it in changed] == [("summary.0.mean", 0.5, number["value"])]


def test_files_that_are_gone_or_new(made):
    """A missing figure breaks the report; a file that somebody added does not."""
    (made / "training" / "figures" / "figure-mse_vs_time.png").unlink()
    (made / "notes.txt").write_text("mine", encoding="utf-8")
    found = verify_report(made)
    assert [(it.code, it.where) for it in found.findings] == [
        ("file", "training/figures/figure-mse_vs_time.png"),
        ("extra_file", "notes.txt"),
    ]
    assert not found.ok


def test_report_and_runs_may_move_together(made, tmp_path):
    """Runs are found relative to the report."""
    shutil.move(tmp_path / "outputs", tmp_path / "elsewhere")
    assert verify_report(tmp_path / "elsewhere" / "reports" / made.name).findings == []


def test_runs_that_moved_alone_are_found_by_their_id(make, sweep_dir, tmp_path):
    """Below the root that is named; without it they are missing, and the numbers are not computed."""
    path = make(metrics=["mse"])
    shutil.move(sweep_dir, tmp_path / "archive")
    missing = verify_report(path)
    assert codes(missing) == {"run"}
    assert len(missing.findings) == 7
    assert missing.num_computed == 0
    found = verify_report(path, root=tmp_path / "archive")
    assert found.ok
    assert {finding.code for finding in found.findings} == {"moved"}
    assert found.num_computed == found.num_numbers


def test_an_edited_identity_does_not_lead_to_an_older_copy(made, made_once, made_of):
    """The runs lie where they were made, too, with their ids; what counts is beside the report."""
    run = min(made_of.glob("*lr0.2*"))
    assert list(made_once.rglob(run.name))
    identity = run / "run.json"
    identity.write_bytes(identity.read_bytes().replace(b'"run_id":"', b'"run_id":"x', 1))
    found = verify_report(made)
    assert codes(found) == {"facts"}
    assert [finding.where.rpartition("/")[2] for finding in found.findings] == ["run.json"]


def test_sealed_runs_hold_the_same_facts(made, made_of):
    """Sealed since is told, and is no fault; an edit of a sealed stream is one."""
    run = min(made_of.glob("*lr0.2*"))
    seal(RunReader(run))
    found = verify_report(made)
    assert found.ok
    assert [(it.code, it.where.rpartition("/")[2]) for it in found.findings] == [("sealed", run.name)]
    assert "metrics.000" in found.findings[0].message
    sealed = next((run / "facts").glob("*.parquet"))
    data = bytearray(sealed.read_bytes())
    data[len(data) // 3] ^= 1
    sealed.write_bytes(data)
    assert not verify_report(made).ok


def test_marks_show_what_is_stale_and_are_no_edit(made, made_of):
    """Stale numbers are struck through in the page; the page counts as whole, until somebody edits the marks."""
    page = made / "report.html"
    original = page.read_bytes()
    mark_report(made, verify_report(made))
    assert b"Verified: every number holds" in page.read_bytes()
    assert verify_report(made).ok
    config = min(made_of.glob("*lr0.2*")) / "config.yaml"
    text = config.read_bytes()
    config.write_bytes(text.replace(b"lr: 0.2", b"lr: 0.7"))
    found = verify_report(made)
    mark_report(made, found)
    marked = page.read_bytes()
    assert b"Stale: 1 of" in marked
    assert marked.startswith(b"<!doctype html>")
    assert marked.index(b"<body>") < marked.index(b"Stale: 1 of") < marked.index(b"<header>")
    (stale,) = [finding.where for finding in found.findings if finding.code == "number"]
    ids = [number["id"] for number in yaml.safe_load((made / "manifest.yaml").read_bytes())["numbers"]]
    assert f"#n{ids.index(stale)} {{ color: var(--bad)".encode() in marked
    assert f'id="n{ids.index(stale)}"'.encode() in original
    config.write_bytes(text)
    assert verify_report(made).ok
    page.write_bytes(marked.replace(b"Stale: 1 of", b"Stale: 0 of"))
    assert codes(verify_report(made)) == {"file"}


def test_a_manifest_that_cannot_be_read(made):
    """It is a finding, not an error: the report does not hold."""
    (made / "manifest.yaml").write_bytes(b"runs: [")
    found = verify_report(made)
    assert not found.ok
    assert "is no manifest of a report" in found.findings[0].message


def test_a_directory_that_is_no_report(tmp_path):
    """The error says what is missing."""
    with pytest.raises(ReportError, match="no report, since it has no manifest"):
        verify_report(tmp_path)
