"""``barograph show``."""

from __future__ import annotations

import json
import re

import pytest


def section(text, title):
    """The lines of one section."""
    blocks = {block.splitlines()[0]: block.splitlines()[1:] for block in text.split("\n\n")}
    return blocks[title]


@pytest.mark.spec("S2.38", "S3.83")
def test_a_finished_run_on_one_screen(cli, root, ids):
    """Every aspect that was recorded: who, how, configuration, metrics, epochs, checks, verdicts, cost."""
    text = cli("--root", root, "show", ids["mlp"]).stdout
    head = text.split("\n\n")[0]
    assert head.startswith(f"mlp  {ids['mlp']}  finished\n")
    assert re.search(r"^  project +digits$", head, re.MULTILINE)
    assert re.search(r"^  hypothesis +small is enough$", head, re.MULTILINE)
    assert re.search(r"^  seed +1$", head, re.MULTILINE)
    assert re.search(r"^  started +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", head, re.MULTILINE)
    assert re.search(r"^  command +\S+script.py ", head, re.MULTILINE)
    assert re.search(
        r"^  events +1 custom, 1 on_check, 1 on_epoch_end, 3 on_example, .* 1 on_train_end$", head, re.MULTILINE
    )
    assert [line.split() for line in section(text, "configuration")] == [["lr", "0.001"], ["note", "'a", "b'"]]
    assert [line.split() for line in section(text, "metrics")] == [
        ["metric", "split", "points", "last", "at", "step", "min", "at", "step", "max", "at", "step", "non-finite"],
        ["loss", "train", "40", "0.025", "39", "0.025", "39", "1", "0", "-"],
        ["lr", "train", "40", "0.1", "39", "0.1", "0", "0.1", "0", "-"],
        ["accuracy", "val", "1", "0.5", "39", "0.5", "39", "0.5", "39", "-"],
        ["loss", "val", "1", "0.75", "39", "0.75", "39", "0.75", "39", "-"],
    ]
    assert section(text, "epochs")[1:] == [
        "  last   epoch 0  train_loss 0.025  val_loss 0.75  accuracy 0.5",
        "  best   epoch 0  val_loss 0.75",
    ]
    assert section(text, "checks") == ["  \u2705 shapes: expected [8, 8], got [8, 8]"]
    end = "\n".join(section(text, "end"))
    assert "finished after" in end
    assert "\u2705 loss < 0.3 by step 100 on train: 0.25 at step 3" in end
    assert re.search(r"recorder: \d+ facts accepted, \d+ written, none lost", end)


def test_a_terminal_without_symbols_gets_ascii(cli, root, ids):
    """The same words."""
    text = cli("--root", root, "show", ids["mlp"], env={"PYTHONIOENCODING": "ascii"}).stdout
    assert text.isascii()
    assert section(text, "checks") == ["  [OK] shapes: expected [8, 8], got [8, 8]"]


def test_a_run_that_diverged(cli, root, ids):
    """Non-finite values by kind, the failed check, both verdicts, the alert."""
    text = cli("--root", root, "show", ids["diverged"]).stdout
    loss = next(line for line in section(text, "metrics") if line.split()[0] == "loss")
    assert loss.split()[:6] == ["loss", "train", "5", "-inf", "4", "1"]
    assert loss.endswith("1 nan, 1 inf, 1 -inf")
    assert section(text, "checks") == ["  \u274c LoRA tensors: expected 392, got 391"]
    end = "\n".join(section(text, "end"))
    assert "\u274c final loss is finite: -inf at step 4" in end
    assert "f1 > 0.9 (could not be judged): 'f1' was never recorded; recorded were loss" in end
    assert section(text, "alerts") == [
        "  [error] loss is not finite: at step 2",
        "  [fatal] non finite: loss is inf at step 2; the last finite value was 1e+30 at step 1",
    ]


def test_a_resumed_run(cli, root, ids):
    """Both attempts; points that were recorded again are counted apart."""
    text = cli("--root", root, "show", ids["twice"]).stdout
    assert re.search(r"^  attempts +0 finished, 1 finished$", text, re.MULTILINE)
    assert "20 (5 superseded)" in text


def test_a_failed_and_a_killed_run(cli, root, ids):
    """Why, at the top; of the failed one also where the exception came from."""
    failed = cli("--root", root, "show", ids["failed"]).stdout
    assert failed.splitlines()[0] == f"failed  {ids['failed']}  failed: ValueError: no such layer"
    assert section(failed, "failures") == ["  training: ValueError: no such layer"]
    killed = cli("--root", root, "show", ids["killed"]).stdout
    assert "killed: the process is gone without an exit record" in killed.splitlines()[0]


def test_damage_is_shown_and_no_exception(cli, root, ids):
    """The place, and the command that says more."""
    events = next(path for path in root.glob("*mlp*/facts/events.jsonl"))
    lines = events.read_bytes().splitlines(keepends=True)
    events.write_bytes(b"".join([lines[0], b"broken\n", *lines[1:]]))
    text = cli("--root", root, "show", ids["mlp"]).stdout
    place, hint = section(text, "damage")
    assert f"events.jsonl at byte {len(lines[0])}: not a JSON line" in place
    assert hint == f"  `barograph check {events.parent.parent}` says more"


def test_samples_of_the_machine_are_shown_when_asked_for(cli, record, tmp_path):
    """Split ``host`` is not part of training."""
    script = """
    import barograph, sys, time
    with barograph.init(dir=sys.argv[1], terminal="off", host_s=0.1) as run:
        run.log({"loss": 1.0}, step=0)
        time.sleep(0.5)
    """
    record(script, tmp_path / "run")
    assert "rss_gb" not in cli("show", tmp_path / "run").stdout
    assert "rss_gb" in cli("show", tmp_path / "run", "--host").stdout


def test_json_is_one_strict_document(cli, root, ids):
    """Everything the text shows, and more."""
    text = cli("--root", root, "show", ids["diverged"], "--json").stdout
    document = json.loads(text, parse_constant=lambda name: 1 / 0)
    assert document["identity"]["run_id"] == ids["diverged"]
    assert document["status"]["state"] == "finished"
    (loss,) = [it for it in document["metrics"] if it["name"] == "loss"]
    assert (loss["count"], loss["last"], loss["min"], loss["max"]) == (5, None, 1.0, 1e30)
    assert loss["nonfinite_counts"] == {"nan": 1, "inf": 1, "-inf": 1}
    assert document["nonfinite"]["metrics"] == {"0": {"last": "-inf"}}
    assert [(it["text"], it["passed"]) for it in document["success"]] == [
        ("final loss is finite", False),
        ("f1 > 0.9", None),
    ]
    assert document["checks"][0]["got"] == 391
    assert document["events"]["on_train_end"] == 1
    assert document["ledger"]["lost"] == 0
    assert document["provenance"]["python"]["version"]
    assert document["damage"] == []


def test_a_ranked_run_names_its_processes(cli, tmp_path, record):
    """Two processes of one launch."""
    script = """
    import os, subprocess, sys, barograph
    if "RANK" not in os.environ:
        env = {**os.environ, "WORLD_SIZE": "2", "MASTER_PORT": "1"}
        ranks = [subprocess.Popen([sys.executable, *sys.argv], env={**env, "RANK": str(rank)}) for rank in range(2)]
        sys.exit(sum(child.wait() for child in ranks))
    with barograph.init(dir=sys.argv[1], terminal="off", host_s=None) as run:
        run.log({"loss": float(run.rank)}, step=0)
    """
    record(script, tmp_path / "run")
    text = cli("show", tmp_path / "run").stdout
    assert re.search(r"^  ranks +0 finished, 1 finished$", text, re.MULTILINE)
    assert "loss [rank 1]" in text
