import json
import socket
import time

import pytest
from tests.watch.actions.receiver import HOST, Receiver, a_message

from barograph.watch.actions.action import DeliveryError
from barograph.watch.actions.webhook import Webhook

pytestmark = pytest.mark.allow_hosts([HOST])


def test_an_alert_reaches_a_real_server():
    """As JSON with its run, and with a key that is the same when the same alert is sent again."""
    message = a_message()
    with Receiver() as server:
        hook = Webhook(server.url)
        hook.deliver(message)
        hook.deliver(message)
    first, second = server.requests
    assert json.loads(message.document) == first["body"]
    assert first["body"]["run"] == {
        "directory": "/runs/digits",
        "host": "node1",
        "id": "s59c34",
        "name": "digits",
        "project": None,
    }
    assert first["headers"]["Content-Type"] == "application/json"
    assert first["headers"]["Idempotency-Key"] == "s59c34/loss_spike-r0-a0-s121-n1"
    assert first["headers"]["Idempotency-Key"] == second["headers"]["Idempotency-Key"]


@pytest.mark.parametrize(
    ("code", "may_retry"), [(500, True), (503, True), (429, True), (408, True), (404, False), (401, False)]
)
def test_what_a_server_answers_decides_whether_it_is_tried_again(code, may_retry):
    """Its own troubles pass; that it does not want the request does not."""
    with Receiver(codes=[code]) as server, pytest.raises(DeliveryError, match=f"the server answered {code}") as caught:
        Webhook(server.url).deliver(a_message())
    assert may_retry == caught.value.may_retry


def test_a_server_says_when_to_come_again():
    """``Retry-After`` in seconds is kept to; a date is not understood, and so is not waited for."""
    for value, after_s in (("7", 7.0), ("Fri, 20 Nov 2026 15:00:00 GMT", 0.0)):
        with Receiver(codes=[429], headers={"Retry-After": value}) as server, pytest.raises(DeliveryError) as caught:
            Webhook(server.url).deliver(a_message())
        assert after_s == caught.value.after_s


def test_a_redirect_is_no_delivery():
    """Followed, it would become a request without the alert; it is said instead, and nothing is sent there."""
    with Receiver() as other, Receiver(codes=[302], headers={"Location": other.url}) as server:
        with pytest.raises(DeliveryError, match="the server answered 302") as caught:
            Webhook(server.url).deliver(a_message())
        assert not caught.value.may_retry
    assert other.requests == []


def test_a_dead_server():
    """Nobody listens: it is said, without the address, and tried again later."""
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        port = unused.getsockname()[1]
    with pytest.raises(DeliveryError, match=r"could not be reached: .*refused") as caught:
        Webhook(f"http://{HOST}:{port}/SECRET").deliver(a_message())
    assert caught.value.may_retry
    assert "SECRET" not in str(caught.value)


def test_a_server_that_never_answers():
    """It is given up after the time limit."""
    with Receiver(codes=[0]) as server:
        began_s = time.monotonic()
        with pytest.raises(DeliveryError, match="did not answer in time") as caught:
            Webhook(server.url, limit_s=0.3).deliver(a_message())
        assert 0.3 <= time.monotonic() - began_s < 5
    assert caught.value.may_retry


def test_something_that_is_no_web_server():
    """What answers in another language has not taken the alert."""
    with socket.create_server((HOST, 0)) as listener:
        import threading

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail.example.org ESMTP\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(DeliveryError, match="could not be reached") as caught:
            Webhook(f"http://{HOST}:{listener.getsockname()[1]}/", limit_s=5).deliver(a_message())
        thread.join()
    assert caught.value.may_retry
