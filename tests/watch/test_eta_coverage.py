"""The benchmark of the time left: it asks recorded runs on their way, and counts what it was told against the truth."""

from __future__ import annotations

import math

import pytest
from bench.faults import eta
from bench.faults.eta import BEGIN, END, SHARES, Answer, answers_of, main, table, write
from bench.faults.labels import Label
from bench.faults.labels import write as write_labels

from barograph.facts.kinds import OnPhaseEnd, as_payload
from barograph.facts.log import TextLog
from barograph.facts.rows import RowStream, StreamHeader
from barograph.facts.rundir import RunDir

T = 1_800_000_000.0
STEPS = 200


def label(name="even", **changes):
    """A healthy run of the tuning half."""
    given = {"kind": "healthy", "family": "f", "recipe": "r", "split": "tuning", "steps": STEPS, "log_every": 1}
    return Label(name=name, **{**given, **changes})


def recorded(path, *, step_s=0.5, attempts=((0, STEPS),), eval_steps=None, eval_s=0.0):
    """A run that takes the same time for each step, with evaluations in between, in so many attempts."""
    directory = RunDir(path)
    directory.ensure_facts()
    log, t = TextLog(directory.events()), T
    for number, (start, stop) in enumerate(attempts):
        head = {"schema_version": 1, "attempt": number}
        log.append(
            {
                **head,
                "seq": log.num_records,
                "t": t,
                "moment": "on_start",
                "name": "n",
                "run_id": "r",
                "run_dir": "d",
                "pid": 7,
                "total_steps": STEPS,
                "eval_steps": eval_steps,
            }
        )
        header = StreamHeader(run_id="r", columns=["step", "loss", "t"], attempt=number)
        stream = RowStream(directory.rows(number), header)
        for step in range(start, stop):
            t += step_s
            stream.append((float(step), 1.0, t))
            if eval_steps and step % eval_steps == eval_steps - 1:
                ended = OnPhaseEnd(name="evaluation", duration_s=eval_s, started_t=t, path="evaluation", step=step)
                t += eval_s
                log.append({**head, "seq": log.num_records, "t": t, "moment": "on_phase_end", **as_payload(ended)})
        stream.file.close()
        log.append({**head, "seq": log.num_records, "t": t, "moment": "on_train_end", "status": "finished"})
        t += 3600.0
    log.close()
    return directory


def test_each_place_is_asked_once_and_the_truth_is_the_time_to_the_end(tmp_path):
    """Even steps of half a second: what is left is half a second for each step that is left."""
    answers = list(answers_of(recorded(tmp_path), label()))
    assert [it.share for it in answers] == list(SHARES)
    assert [it.left_s for it in answers] == pytest.approx([0.5 * (STEPS - 1 - share * STEPS) for share in SHARES])
    assert all(it.is_inside for it in answers)


def test_of_a_resumed_run_the_last_attempt_is_asked(tmp_path):
    """An hour between two attempts is in no answer; places that were passed before are not asked."""
    answers = list(answers_of(recorded(tmp_path, attempts=((0, 90), (80, STEPS))), label()))
    assert [it.share for it in answers] == [0.5, 0.75]
    assert max(it.left_s for it in answers) < 0.5 * STEPS


def test_evaluations_are_part_of_what_is_left(tmp_path):
    """Five seconds each 20 steps are in the truth; before the first one was seen there is no upper end."""
    answers = list(answers_of(recorded(tmp_path, eval_steps=25, eval_s=5.0), label()))
    assert [math.isinf(it.high_s) for it in answers] == [True, False, False, False]
    assert all(it.is_inside for it in answers)
    assert answers[-1].left_s == pytest.approx(0.5 * (STEPS - 1 - 150) + 2 * 5.0)


def answer(low_s, high_s, left_s, share=0.5):
    """One, of no run."""
    return Answer(run="r", share=share, low_s=low_s, high_s=high_s, left_s=left_s)


def test_the_table_counts_what_was_right_and_on_which_side_the_rest_was():
    """Of four answers two were right, one too short and one too long; one without an end is not counted."""
    found = table([answer(1, 3, 2), answer(1, 3, 1), answer(1, 3, 4), answer(1, 3, 0.5), answer(1, math.inf, 2)])
    assert found[2:] == [
        "| 50% | 4 | 0.50 | 1 | 1 | 100% of their middle |",
        "| all | 4 | 0.50 | 1 | 1 | 100% of their middle |",
        "",
        "1 answers had no upper end and are not counted.",
    ]


def test_the_farthest_answers_are_named_first():
    """By how far they were off, in shares of the truth."""
    found = eta.farthest([answer(10, 20, 21), answer(10, 20, 5), answer(10, 20, 15)], num=2)
    assert found == ["r at 50%: 10.00 to 20.00 s, really 5.00 s", "r at 50%: 10.00 to 20.00 s, really 21.00 s"]


def test_the_command_measures_one_half_and_writes_it_down(tmp_path, capsys):
    """Healthy runs of the half that was asked for, and no others; the page keeps what stands around the table."""
    for name in ("even", "other", "faulty"):
        recorded(tmp_path / "runs" / name)
    runs = [label(), label("other", split="held_out"), label("faulty", kind="fault")]
    write_labels(tmp_path, "labels.json", runs)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        assert main(["--home", str(tmp_path), "--document", str(page), "--far"]) == 0
    shown = capsys.readouterr().out
    assert "| all | 4 | 1.00 | 0 | 0 |" in shown
    assert "even at 10%" in shown
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n\n| done |")
    assert text.endswith(f"\n\n{END}\nafter\n")
    assert "old" not in text


def test_what_cannot_be_measured_is_said(tmp_path, capsys):
    """No records, none of that half, no place in the page."""
    with pytest.raises(SystemExit, match="2"):
        main(["--home", str(tmp_path)])
    assert "record the runs first: python -m bench.faults generate" in capsys.readouterr().err
    write_labels(tmp_path, "labels.json", [label()])
    with pytest.raises(SystemExit, match="2"):
        main(["--home", str(tmp_path), "--split", "held_out"])
    assert "no run of split held_out" in capsys.readouterr().err
    page = tmp_path / "page.md"
    page.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no lines"):
        write(page, ["x"])


@pytest.mark.spec("S2.22")
def test_the_page_tells_of_the_range_and_of_how_it_was_measured():
    """What the documentation says was written by this command."""
    page = (eta.HOME.parents[1] / "docs" / "rules.md").read_text(encoding="utf-8")
    measured = page.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    assert measured[0] == table([answer(1, 3, 2)])[0]
    inside = float(next(line for line in measured if line.startswith("| all |")).split("|")[3])
    assert inside >= 0.8
