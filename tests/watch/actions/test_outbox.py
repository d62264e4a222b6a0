import os
import sys
import threading
import time

import pytest
from tests.watch.actions.receiver import HOST, Receiver, opened, wait_until

from barograph.facts.log import scan_text
from barograph.facts.rundir import RunDir
from barograph.watch.actions.action import DeliveryError, Message
from barograph.watch.actions.command import Command
from barograph.watch.actions.outbox import Outbox
from barograph.watch.actions.record import as_line
from barograph.watch.actions.webhook import Webhook

pytestmark = pytest.mark.allow_hosts([HOST])


class Keep:
    """An action of somebody else's: keeps what it gets, after raising what it is told to."""

    def __init__(self, name="keep", *, raises=(), holds=None) -> None:
        self.name = name
        self.got: list[Message] = []
        self.raises = list(raises)
        self.holds = holds

    def deliver(self, message: Message) -> None:
        """See ``Action``."""
        if self.holds is not None:
            self.holds.wait(20)
        if self.raises and (error := self.raises.pop(0)) is not None:
            raise error
        self.got.append(message)


@pytest.fixture
def open_outbox(run_dir):
    """``open_outbox(actions, **options)``; what it reports is in ``open_outbox.told``."""
    boxes, told = [], []

    def open_outbox(*actions, **options) -> Outbox:
        boxes.append(Outbox(run_dir, actions, report=told.append, clock=lambda: 5.0, **options))
        return boxes[-1]

    open_outbox.told = told
    yield open_outbox
    for box in boxes:
        box.close(limit_s=0)


def send(box: Outbox, *numbers: int) -> None:
    """Offer alerts."""
    for number in numbers:
        box.offer(as_line(opened(number)))
        box.poll()


def outcomes(directory: RunDir) -> list[tuple]:
    """What the file says: number of the alert, action, outcome."""
    records = scan_text(directory.facts / "deliveries.jsonl").records
    return [(int(it["id"].rpartition("n")[2]), it["action"], it["outcome"]) for it in records]


def test_each_alert_goes_to_each_action_once(open_outbox, run_dir):
    """Offered twice it is delivered once; the file has a line before and one after."""
    first, second = Keep("first"), Keep("second")
    box = open_outbox(first, second)
    send(box, 1, 2, 1, 2)
    box.close(limit_s=20)
    for action in (first, second):
        assert [it.line["t"] for it in action.got] == [1001.0, 1002.0]
    assert box.num_done == 4
    expected = [(n, name, how) for n in (1, 2) for name in ("first", "second") for how in ("begun", "done")]
    assert sorted(expected) == sorted(outcomes(run_dir))
    assert {"t", "id", "action", "outcome", "num_tries"} == set(
        scan_text(run_dir.facts / "deliveries.jsonl").records[0]
    )


def test_a_message_says_whose_run_it_is(new_run, open_outbox):
    """The run's identity, directory and machine, as its own files tell them."""
    import socket

    run = new_run(name="digits", project="vision")
    action = Keep()
    box = Outbox(RunDir(run.dir), [action], report=print)
    send(box, 1)
    box.close(limit_s=20)
    assert {
        "id": run.id,
        "name": "digits",
        "project": "vision",
        "directory": str(run.dir.resolve()),
        "host": socket.gethostname(),
    } == action.got[0].run


def test_what_was_begun_and_not_done_is_delivered_again(open_outbox, run_dir):
    """What is done or failed is not; what is begun, to be tried again, or had no place is."""
    told = ("begun", "done", "begun", "failed", "begun", "begun", "again", "dropped")
    numbers = (1, 1, 2, 2, 3, 4, 4, 5)
    lines = [as_line(opened(number)) for number in range(1, 7)]
    with (run_dir.facts / "deliveries.jsonl").open("wb") as file:
        for number, outcome in zip(numbers, told, strict=True):
            file.write(
                b'{"id":"%s","action":"keep","outcome":"%s"}\n' % (lines[number - 1]["id"].encode(), outcome.encode())
            )
    action = Keep()
    box = open_outbox(action)
    for line in lines:
        box.offer(line)
    box.close(limit_s=20)
    assert [it.line["t"] for it in action.got] == [1003.0, 1004.0, 1005.0, 1006.0]


def test_a_delivery_that_fails_is_tried_again_later(open_outbox, run_dir):
    """After two answers of 500 the third try arrives, no sooner than it was to; nothing is reported."""
    with Receiver(codes=[500, 500, 200]) as server:
        box = open_outbox(Webhook(server.url), backoff_s=(0.1, 0.2, 60))
        began_s = time.monotonic()
        send(box, 1)
        wait_until(lambda: box.num_done)
        assert time.monotonic() - began_s >= 0.3
    assert [it[2] for it in outcomes(run_dir)] == ["begun", "again", "begun", "again", "begun", "done"]
    assert open_outbox.told == []


def test_a_server_that_says_when_is_kept_to(open_outbox):
    """``Retry-After`` is longer than our own wait, so it counts."""
    with Receiver(codes=[429], headers={"Retry-After": "1"}) as server:
        box = open_outbox(Webhook(server.url), backoff_s=(0.01,))
        began_s = time.monotonic()
        send(box, 1)
        wait_until(lambda: box.num_done)
        assert time.monotonic() - began_s >= 1


def test_an_action_that_fails_is_reported_once(open_outbox, run_dir):
    """Each failure is a line with its reason; a person hears of the first alone, and no other action suffers."""
    bad = Command([sys.executable, "-c", "import sys; sys.exit('no route')"])
    good = Keep()
    box = open_outbox(bad, good)
    send(box, 1, 2)
    box.close(limit_s=20)
    (said,) = open_outbox.told
    assert "alerts do not arrive by 'command'" in said
    assert "ended with code 1: no route" in said
    assert "correct watch['actions']" in said
    assert (box.num_failed, box.num_done, len(good.got)) == (2, 2, 2)
    failed = [it for it in scan_text(run_dir.facts / "deliveries.jsonl").records if it["outcome"] == "failed"]
    assert [f"{sys.executable} ended with code 1: no route"] * 2 == [it["reason"] for it in failed]


def test_whatever_an_action_raises_is_told(open_outbox):
    """An error of other hands ends neither the thread nor the deliveries behind it."""
    action = Keep(raises=[ZeroDivisionError("of other hands"), None])
    box = open_outbox(action)
    send(box, 1, 2)
    box.close(limit_s=20)
    assert "ZeroDivisionError: of other hands" in open_outbox.told[0]
    assert [it.line["t"] for it in action.got] == [1002.0]


def test_a_dead_server_is_given_up_after_its_tries(open_outbox, run_dir):
    """One try and one for each wait; then it has failed, and that is said."""
    with Receiver() as server:
        url = server.url
    box = open_outbox(Webhook(url), backoff_s=(0.01, 0.01))
    send(box, 1)
    wait_until(lambda: box.num_failed)
    assert [it[2] for it in outcomes(run_dir)].count("begun") == 3
    assert "could not be reached" in open_outbox.told[0]


def test_a_server_that_does_not_answer_holds_up_nobody_else(open_outbox, run_dir):
    """Offering returns at once; the end waits for as long as was said, and what is not done is reported and left."""
    with Receiver(codes=[0]) as server:
        box = open_outbox(Webhook(server.url, limit_s=20))
        began_s = time.monotonic()
        send(box, *range(1, 51))
        assert time.monotonic() - began_s < 1
        server.wait()
        began_s = time.monotonic()
        box.close(limit_s=0.2)
        assert 0.2 <= time.monotonic() - began_s < 2
        (said,) = open_outbox.told
        assert "deliveries of alerts not made yet: 50 (webhook)" in said
        assert f"`barograph follow {run_dir.path} --watch`" in said
        assert outcomes(run_dir) == [(1, "webhook", "begun")]


def test_a_delivery_that_ends_late_is_written_down(open_outbox, run_dir):
    """Also after ``close`` gave up waiting: what arrived is done, and the next watcher does not send it again."""
    holds = threading.Event()
    box = open_outbox(Keep(holds=holds))
    send(box, 1)
    wait_until(lambda: outcomes(run_dir))
    box.close(limit_s=0)
    holds.set()
    wait_until(lambda: outcomes(run_dir)[-1] == (1, "keep", "done"))
    again = Keep()
    other = open_outbox(again)
    send(other, 1, 2)
    wait_until(lambda: again.got)
    assert [it.line["t"] for it in again.got] == [1002.0]


def test_a_queue_that_is_full_drops_counts_and_says_so(open_outbox, run_dir):
    """Memory is bounded; the next watcher delivers what had no place."""
    holds = threading.Event()
    box = open_outbox(Keep(holds=holds), max_jobs=3)
    send(box, *range(1, 11))
    assert box.num_dropped == 7
    assert [it[0] for it in outcomes(run_dir) if it[2] == "dropped"] == [4, 5, 6, 7, 8, 9, 10]
    (said,) = open_outbox.told
    assert "more than 3 deliveries of alerts wait (keep)" in said
    holds.set()
    box.close(limit_s=20)
    again = Keep()
    other = open_outbox(again)
    send(other, *range(1, 11))
    other.close(limit_s=20)
    assert [it.line["t"] for it in again.got] == [1004.0, 1005.0, 1006.0, 1007.0, 1008.0, 1009.0, 1010.0]


def test_of_two_one_delivers(open_outbox):
    """The second waits; when the first has gone it delivers what the first has not."""
    mine, other = Keep(), Keep()
    first, second = open_outbox(mine), open_outbox(other)
    for box in (first, second):
        send(box, 1)
    wait_until(lambda: mine.got)
    first.close(limit_s=20)
    send(second, 2)
    second.close(limit_s=20)
    assert tuple([it.line["t"] for it in action.got] for action in (mine, other)) == ([1001.0], [1002.0])


def test_on_a_full_disk_alerts_arrive_nevertheless(open_outbox, run_dir):
    """Where nothing can be written down it is better to send twice than not at all, and it is said."""
    action = Keep()
    box = open_outbox(action)
    send(box, 1)
    wait_until(lambda: box.num_done)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, box._log._log.file.fd)
    os.close(full)
    send(box, 2)
    box.close(limit_s=20)
    assert [it.line["t"] for it in action.got] == [1001.0, 1002.0]
    (said,) = open_outbox.told
    assert "No space left on device" in said


def test_the_last_try_is_the_last(open_outbox):
    """A failure that may pass is final when there are no tries left."""
    action = Keep(raises=[DeliveryError("busy", may_retry=True)] * 2)
    box = open_outbox(action, backoff_s=(0.0,))
    send(box, 1)
    box.close(limit_s=20)
    assert (action.got, box.num_failed, box.num_done) == ([], 1, 0)
