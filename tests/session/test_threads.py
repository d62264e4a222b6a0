"""Threads of one process that record at the same time: every fact is there, exactly once."""

from __future__ import annotations

import threading
from collections import Counter

from barograph.errors import RunClosedError
from barograph.facts.metrics import OWN_LANES


def run_all(targets):
    """Run functions at once, each in a thread of its own; what one raises is raised here."""
    errors = []

    def guarded(target):
        try:
            barrier.wait()
            target()
        except BaseException as error:  # noqa: BLE001 - handed on below
            errors.append(error)

    barrier = threading.Barrier(len(targets))
    threads = [threading.Thread(target=guarded, args=[target]) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_four_threads_log_the_same_keys(new_run, recorded):
    """Four threads that log the same keys lose and double nothing; each thread's rows are in its order."""
    run = new_run()

    def work(number):
        for step in range(1000):
            run.log({"loss": number + step / 1000, "thread": number}, step=step)

    run_all([lambda number=number: work(number) for number in range(4)])
    run.finish()
    found = recorded(run.dir)
    for number in range(4):
        mine = [(record["step"], record["loss"]) for record in found.records if record["thread"] == number]
        assert mine == [(step, number + step / 1000) for step in range(1000)]
    assert len(found.records) == 4000
    assert run.ledger.log_calls == 4000
    assert run.ledger.written == run.ledger.accepted == 4000 + len(found.events)


def test_more_threads_than_streams_of_their_own(new_run, recorded):
    """Threads beyond the first ones share streams under a lock, and lose nothing either."""
    run = new_run()

    def work(number):
        for step in range(200):
            run.log({"thread": float(number)}, step=step)

    run_all([lambda number=number: work(number) for number in range(OWN_LANES + 4)])
    run.finish()
    found = recorded(run.dir)
    pairs = Counter((record["thread"], record["step"]) for record in found.records)
    assert set(pairs.values()) == {1}
    assert len(pairs) == 200 * (OWN_LANES + 4)
    assert found.damage == []


def test_threads_record_everything_at_once(new_run, recorded):
    """Metrics, new sets of keys, events, phases, checks and results from several threads are all there, in order."""
    run = new_run()

    def work(number):
        for step in range(100):
            run.log({"loss": 0.5, f"extra{step % 7}": float(number)}, step=step)
            run.event("custom", kind="beat", number=number, step=step)
            with run.phase("outer"), run.phase(f"inner{number}"):
                run.check(f"check{number}", expected=step, got=step)
            run.summary[f"last{number}"] = step

    run_all([lambda number=number: work(number) for number in range(4)])
    run.finish()
    found = recorded(run.dir)
    assert len(found.records) == 400
    assert [event.seq for event in found.events] == list(range(len(found.events)))
    for number in range(4):
        assert [beat["step"] for beat in found.custom("beat") if beat["number"] == number] == list(range(100))
    paths = Counter(phase["path"] for phase in found.of("on_phase_end"))
    assert paths == {"outer": 400, **{f"outer/inner{number}": 100 for number in range(4)}}
    assert found.exit.summary == {f"last{number}": 99 for number in range(4)}
    assert found.exit.ledger["accepted"] == len(found.records) + len(found.events)


def test_threads_that_go_on_after_finish(new_run, recorded):
    """Threads that log after ``finish``, also through a reference that they kept, are told that the run is over."""
    run = new_run()
    over = threading.Event()
    logged = threading.Barrier(4)
    refused = []

    def work(number):
        log = run.log
        for step in range(100):
            log({"thread": float(number)}, step=step)
        logged.wait()
        over.wait()
        for call in (log, run.log):
            try:
                call({"thread": float(number)}, step=100)
            except RunClosedError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    logged.wait()
    run.finish()
    over.set()
    for thread in threads:
        thread.join()
    assert len(refused) == 6
    assert all("is finished; nothing more can be recorded in it" in message for message in refused)
    assert Counter(record["thread"] for record in recorded(run.dir).records) == {0.0: 100, 1.0: 100, 2.0: 100}
    assert run.ledger.lost == 0
