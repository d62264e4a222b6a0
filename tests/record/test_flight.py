"""The flight recorder: what it keeps, what it refuses to keep alive, and what a dump says."""

from __future__ import annotations

import gc
import gzip
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import weakref
from collections import OrderedDict

import numpy as np
import pytest
import torch

from barograph.errors import MisuseError
from barograph.facts.codec import decode
from barograph.record.flight import MAX_DEVICE_ELEMENTS, FlightRecorder


def _lines(path):
    return [decode(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def _clock():
    ticks = iter(range(1_000_000))
    return lambda: float(next(ticks))


def test_the_last_entries_are_kept(tmp_path):
    """Of five entries a recorder of three keeps the last three, oldest first, and says how many went."""
    recorder = FlightRecorder(3, clock=_clock())
    for step in range(5):
        recorder.add("detail.debug", {"loss": step / 2}, step=step)
    path = recorder.dump(tmp_path / "facts" / "flight.000.json.gz", reason="on_exception")
    header, *entries = _lines(path)
    assert header == {
        "reason": "on_exception",
        "t": 5.0,
        "num_entries": 3,
        "num_evicted": 2,
        "capacity": 3,
        "max_bytes": recorder.max_bytes,
    }
    assert [{"t": float(s), "step": s, "kind": "detail.debug", "data": {"loss": s / 2}} for s in (2, 3, 4)] == entries
    assert len(recorder) == 3


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_a_dump_is_read_by_standard_tools(tmp_path):
    """``zcat`` and ``jq`` read a dump with non-finite numbers: they are null, and named."""
    recorder = FlightRecorder()
    recorder.add("step", {"loss": math.nan, "grad": [1.0, -math.inf]}, step=7)
    path = recorder.dump(tmp_path / "dump.json.gz", reason="nan")
    command = f"zcat {path} | jq -c 'select(.kind) | [.data.loss, .data.grad, .nonfinite]'"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(done.stdout) == [None, [1.0, None], {"data": {"loss": "nan", "grad": {"1": "-inf"}}}]


def test_entries_stay_after_a_dump(tmp_path):
    """A crash after an anomaly shows the same entries again; the second dump replaces a file of that name whole."""
    recorder = FlightRecorder(clock=_clock())
    recorder.add("step", {"loss": 1.0})
    recorder.dump(tmp_path / "a.gz", reason="first")
    recorder.add("step", {"loss": 2.0})
    recorder.dump(tmp_path / "a.gz", reason="second")
    header, *entries = _lines(tmp_path / "a.gz")
    assert (header["reason"], [entry["data"]["loss"] for entry in entries]) == ("second", [1.0, 2.0])
    assert [path.name for path in tmp_path.iterdir()] == ["a.gz"]


def test_copies_not_references(tmp_path):
    """A dump shows mappings, lists and arrays as they were when they were added."""
    recorder = FlightRecorder()
    data = OrderedDict(list=[1, {"x": 1}], array=np.ones(2), tensor=torch.ones(2), number=1)
    recorder.add("step", data)
    data["list"][1]["x"] = 9
    data["array"][:] = 9
    data["tensor"].fill_(9)
    data["number"] = 9
    kept = _lines(recorder.dump(tmp_path / "d.gz", reason="test"))[1]["data"]
    assert kept == {"list": [1, {"x": 1}], "array": [1.0, 1.0], "tensor": [1.0, 1.0], "number": 1}


def test_no_graph_and_no_storage_is_kept_alive():
    """A loss does not keep its graph, and one element of a big tensor does not keep the big tensor."""
    recorder = FlightRecorder()
    big = torch.ones(1000, 1000, requires_grad=True)
    product = big * 2
    recorder.add("step", {"loss": product.sum(), "element": product[0, 0], "row": product[0]})
    held = recorder._entries[0].data
    assert (held["loss"], held["element"]) == (2_000_000.0, 2.0)  # plain numbers, no tensors
    assert held["row"].grad_fn is None
    assert held["row"].untyped_storage().nbytes() == 4_000
    assert recorder.size_bytes < 10_000


@pytest.mark.parametrize("shape", [(512,), (3, 4)])
def test_objects_are_named_not_kept(tmp_path, shape):
    """A module, a generator or an object is replaced by the name of its type, and is free to go."""
    module = torch.nn.Linear(2, 2)
    recorder = FlightRecorder()
    recorder.add("step", {"model": module, "batches": iter([1]), "x": torch.zeros(shape)})
    watched = weakref.ref(module)
    del module
    gc.collect()
    assert watched() is None
    kept = _lines(recorder.dump(tmp_path / "d.gz", reason="test"))[1]["data"]
    assert kept["model"] == "<torch.nn.modules.linear.Linear, not kept>"
    assert kept["batches"] == "<builtins.list_iterator, not kept>"
    assert torch.zeros(shape).tolist() == kept["x"]


def test_memory_is_bounded_in_bytes():
    """Large entries push old ones out before the capacity does; the bound holds after every call."""
    recorder = FlightRecorder(1000, max_bytes=100_000)
    for step in range(50):
        recorder.add("step", {"x": np.zeros(1000), "text": "a" * 500}, step=step)
        assert 0 < recorder.size_bytes <= 100_000
    assert 5 <= len(recorder) <= 12
    assert recorder.num_evicted == 50 - len(recorder)


def test_the_count_of_bytes_is_about_what_is_held():
    """The counted bytes of arrays and texts are within a tenth of what they hold."""
    recorder = FlightRecorder()
    recorder.add("step", {"a": np.zeros(10_000), "b": torch.zeros(5_000), "c": "x" * 20_000})
    assert pytest.approx(80_000 + 20_000 + 20_000, rel=0.1) == recorder.size_bytes


def test_what_does_not_fit_is_described(tmp_path):
    """An array larger than the bound is kept as its type and shape; the rest of the entry is kept."""
    recorder = FlightRecorder(max_bytes=10_000)
    recorder.add("step", {"big": np.zeros((100, 100), dtype="f4"), "loss": 0.5, "long": list(range(5000))})
    kept = _lines(recorder.dump(tmp_path / "d.gz", reason="test"))[1]["data"]
    assert kept == {
        "big": "<float32 array of shape (100, 100), not kept>",
        "loss": 0.5,
        "long": "<builtins.list, not kept>",
    }


def test_deep_and_cyclic_data_end_somewhere(tmp_path):
    """Data that contains itself is cut at a depth instead of hanging or failing."""
    cycle = {"loss": 1.0}
    cycle["self"] = cycle
    recorder = FlightRecorder()
    recorder.add("step", cycle)
    text = gzip.decompress(recorder.dump(tmp_path / "d.gz", reason="test").read_bytes())
    assert text.count(b'"loss":1.0') == 32
    assert b'"self":"<builtins.dict, not kept>"' in text


class _FailedTensor:
    """What a tensor is like after its device has failed: it has a shape, and reading it raises."""

    shape = (2,)
    dtype = torch.float32

    def copy(self):
        return self

    def tolist(self):
        raise RuntimeError("CUDA error: device-side assert triggered")


def test_an_array_that_cannot_be_read_does_not_cost_the_dump(tmp_path):
    """The error stands where the array was; everything else is written."""
    recorder = FlightRecorder()
    recorder.add("step", {"x": _FailedTensor(), "loss": 0.5})
    kept = _lines(recorder.dump(tmp_path / "d.gz", reason="test"))[1]["data"]
    assert kept["loss"] == 0.5
    assert kept["x"] == "<_FailedTensor, not readable: RuntimeError: CUDA error: device-side assert triggered>"


def test_a_dump_that_cannot_be_written_leaves_the_old_one(tmp_path):
    """When the path cannot be written, the error is the system's and what was there stays."""
    (tmp_path / "file").write_text("old", encoding="utf-8")
    recorder = FlightRecorder()
    with pytest.raises(OSError, match="file"):
        recorder.dump(tmp_path / "file" / "flight.json.gz", reason="test")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"


def test_threads_add_while_another_dumps(tmp_path):
    """Every dump is whole while four threads add, and at the end the count of bytes is exact."""
    recorder = FlightRecorder(50)
    stop = threading.Event()

    def add(number):
        while not stop.is_set():
            recorder.add("step", {"thread": number, "x": [1.0] * 20})

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            header, *entries = _lines(recorder.dump(tmp_path / "d.gz", reason="test"))
            assert header["num_entries"] == len(entries) <= 50
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert sum(entry.size_bytes for entry in recorder._entries) == recorder.size_bytes


def test_a_signal_handler_may_dump_in_the_middle_of_an_add(tmp_path):
    """A dump from within ``add``, on the same thread, does not wait for a lock that it holds itself."""
    dumps = []

    def clock():
        if recorder is not None and not dumps:
            dumps.append(None)
            with recorder._lock:  # as a handler that interrupts add() while it holds the lock
                dumps.append(recorder.dump(tmp_path / "d.gz", reason="SIGUSR1"))
        return 1.0

    recorder = None
    recorder = FlightRecorder(clock=clock)
    recorder.add("step", {"loss": 1.0})
    assert _lines(dumps[1])[0]["reason"] == "SIGUSR1"


FORK = """
import os, sys, threading, time
from barograph.record.flight import FlightRecorder
recorder = FlightRecorder()
recorder.add("step", {"loss": 1.0})
locked, leave = threading.Event(), threading.Event()
def hold():
    with recorder._lock:
        locked.set()
        leave.wait()
threading.Thread(target=hold).start()
locked.wait()
child = os.fork()
if child == 0:
    recorder.add("child", {"loss": 2.0})
    os._exit(len(recorder))
deadline = time.monotonic() + 10
status = (0, 0)
while status == (0, 0) and time.monotonic() < deadline:
    status = os.waitpid(child, os.WNOHANG)
    time.sleep(0.01)
if status == (0, 0):
    os.kill(child, 9)
leave.set()
print(os.waitstatus_to_exitcode(status[1]) if status[0] else "hung")
"""


def test_a_fork_while_another_thread_holds_the_lock():
    """The child of a fork can add although the thread that held the lock does not exist there."""
    done = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=True, env=os.environ
    )
    assert done.stdout.strip() == "2"


@pytest.mark.parametrize("options", [{"capacity": 0}, {"capacity": 1.5}, {"max_bytes": -1}, {"capacity": True}])
def test_bounds_must_be_positive_integers(options):
    """The message names the bound and the value."""
    with pytest.raises(MisuseError, match=f"{next(iter(options))} of the flight recorder must be a positive integer"):
        FlightRecorder(**options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_tensor_on_a_gpu_is_kept_small_and_without_waiting(tmp_path):
    """A small tensor is copied on the device without waiting for it, a large one is only described."""
    recorder = FlightRecorder()
    small = torch.ones(4, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        recorder.add("step", {"small": small, "large": torch.ones(MAX_DEVICE_ELEMENTS + 1, device="cuda")})
    finally:
        torch.cuda.set_sync_debug_mode("default")
    small.fill_(5)
    kept = _lines(recorder.dump(tmp_path / "d.gz", reason="test"))[1]["data"]
    assert kept["small"] == [1.0] * 4
    assert kept["large"] == f"<torch.float32 array of shape ({MAX_DEVICE_ELEMENTS + 1},), not kept>"
