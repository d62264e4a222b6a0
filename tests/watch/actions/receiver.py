"""A real HTTP server on the loopback that keeps what it is sent, and alerts to send."""

from __future__ import annotations

import http.server
import json
import threading
import time
from typing import Self

from barograph.watch.actions.action import Message
from barograph.watch.actions.record import as_line
from barograph.watch.alert import Alert, Evidence, Moved, Remedy
from barograph.watch.incident import Incidents, Told

HOST = "127.0.0.1"


class Receiver:
    """``with Receiver(codes=[500, 200]) as server``: answers with these codes in turn, then with 200.

    A code of 0 is no answer at all, until ``go_on`` is set.
    """

    def __init__(self, codes=(), headers=None) -> None:
        self.codes = list(codes)
        self.headers = headers or {}
        self.requests: list[dict] = []
        self.arrived = threading.Semaphore(0)
        self.go_on = threading.Event()

    def __enter__(self) -> Self:
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = {"path": self.path, "headers": dict(self.headers), "body": json.loads(body)}
                code = receiver.codes.pop(0) if receiver.codes else 200
                receiver.requests.append(request)
                receiver.arrived.release()
                if code == 0:
                    receiver.go_on.wait(30)
                    return
                self.send_response(code)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}/hook"

    def wait(self, timeout_s: float = 20) -> dict:
        """The next request, when it has come."""
        assert self.arrived.acquire(timeout=timeout_s), f"no request came within {timeout_s} s: {self.requests}"
        return self.requests[-1]


def an_alert(number: int = 1, **changes) -> Alert:
    """An alert with everything in it; its id ends in its number."""
    given = {
        "type": "loss_spike",
        "severity": "warning",
        "text": f"loss rose to 9.5 at step {120 + number}, 11 times its usual noise above its median of 0.8",
        "step": 120.0 + number,
        "since_step": 118.0,
        "metrics": ["loss"],
        "evidence": [
            Evidence(name="loss", value=9.5, threshold=2.5, first_step=121),
            Evidence(name="grad_norm", value=float("inf")),
        ],
        "causes": ["a batch unlike the others"],
        "remedies": [Remedy(text="clip gradients at 0.8, their usual norm", change={"grad_clip": 0.8})],
        "moved_first": [Moved(metric="grad_norm", step=118.0, surprise=7.5)],
        "confidence": 0.8,
        "t": 1000.0 + number,
        "id": f"loss_spike-r0-a0-s{120 + number}-n{number}",
    }
    return Alert(**{**given, **changes})


def opened(number: int = 1, **changes) -> Told:
    """An incident of its own that has just been opened."""
    told = Incidents().take(an_alert(number, **changes), record=number)
    assert told is not None
    return told


def a_message(number: int = 1, **changes) -> Message:
    """An alert of a run, as actions get it."""
    run = {"id": "s59c34", "name": "digits", "project": None, "directory": "/runs/digits", "host": "node1"}
    return Message(line=as_line(opened(number, **changes)), run=run)


def wait_until(holds, timeout_s: float = 20) -> None:
    """Wait for something that another thread or process does."""
    until_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until_s, f"not so after {timeout_s} s"
        time.sleep(0.005)
