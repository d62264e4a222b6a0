"""Values on a GPU: copied without waiting, recorded when they have arrived, counted meanwhile.

What CUDA itself must do is shown on a CUDA device, where there is one. What the recorder does with copies that are on
their way is shown with tensors of the processor whose copies arrive when the test says so.
"""

from __future__ import annotations

import time

import pytest
import torch
from tests.recorded import Recorded

from barograph.errors import InvalidMetricError
from barograph.record import device


class Distant:
    """A tensor of the processor that says it lies on a device, as far as the recorder asks."""

    is_cuda = True
    device = "cuda:0"

    def __init__(self, tensor):
        self.tensor = torch.as_tensor(tensor)
        self.shape = self.tensor.shape

    def numel(self):
        """How many elements."""
        return self.tensor.numel()

    def item(self):
        """What would make the caller wait."""
        raise AssertionError("the recorder read a value on a device")


class Copies:
    """Copies from the device: they arrive when they are released."""

    def __init__(self):
        self.num_started = 0
        self.num_arrived = 0
        self.num_waited = 0

    def start(self, value):
        """Start a copy of one value."""
        self.num_started += 1
        return value.tensor.reshape(())

    def event(self, _device):
        """An event after the copies that were started so far."""
        return Arrival(self, self.num_started)


class Arrival:
    """An event on the device's stream."""

    def __init__(self, copies, number):
        self.copies, self.number = copies, number

    def query(self):
        """Whether the copies before it have arrived."""
        return self.copies.num_arrived >= self.number

    def synchronize(self):
        """Wait for them."""
        self.copies.num_waited += not self.query()
        self.copies.num_arrived = max(self.copies.num_arrived, self.number)


@pytest.fixture
def copies(monkeypatch):
    """Copies that the test releases."""
    found = Copies()
    monkeypatch.setattr(device, "_start_copy", found.start)
    monkeypatch.setattr(device, "_record_event", found.event)
    return found


def test_values_wait_and_are_recorded_when_they_arrive(new_run, copies):
    """A call with a value on a device returns at once and is pending; it is a fact when the copy is there."""
    run = new_run()
    run.log({"loss": Distant(0.5), "lr": 0.1}, step=3)
    assert (run.ledger.pending, run.ledger.accepted, run.ledger.written) == (1, 2, 1)
    assert Recorded(run.dir).records == []
    copies.num_arrived = 1
    deadline_s = time.monotonic() + 5
    while run.ledger.pending:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    (record,) = Recorded(run.dir).records
    assert (record["step"], record["loss"], record["lr"]) == (3, 0.5, 0.1)
    assert copies.num_waited == 0


def test_order_of_calls_is_kept(new_run, copies):
    """Records whose copies arrive late are written in the order of their calls, with the time of the call."""
    run = new_run()
    for step in range(5):
        run.log({"loss": Distant(float(step))}, step=step)
    logged_t = time.time()
    time.sleep(0.05)
    run.finish()
    found = Recorded(run.dir).records
    assert [record["loss"] for record in found] == [0, 1, 2, 3, 4]
    assert all(record["t"] <= logged_t for record in found)
    assert (run.ledger.pending, run.ledger.lost) == (0, 0)


def test_memory_of_waiting_values_is_bounded(new_run, copies, monkeypatch):
    """When too many copies are on their way, the recorder waits for them rather than fill the memory."""
    monkeypatch.setattr("barograph.record.scalars.MAX_PENDING", 10)
    run = new_run()
    for step in range(100):
        run.log({"loss": Distant(float(step))}, step=step)
        assert run.ledger.pending <= 10
    run.finish()
    assert Recorded(run.dir).column("loss") == [float(step) for step in range(100)]


def test_several_values_of_a_device_are_refused(new_run, copies):
    """A tensor of several elements is refused at once, named with its device; nothing is started."""
    run = new_run()
    with pytest.raises(InvalidMetricError, match=r"metric 'b' is a tensor of shape \(2,\) on cuda:0.*mean, norm"):
        run.log({"a": Distant(0.5), "b": Distant([1.0, 2.0])})
    with pytest.raises(InvalidMetricError, match="metric 'c' is a str"):
        run.log({"a": 0.5, "c": "0.5", "b": Distant(0.5)})
    assert run.ledger.accepted == 1


def test_phases_and_examples_see_the_values(new_run, copies):
    """The mean of the training losses counts values that have arrived."""
    run = new_run()
    for step in range(4):
        run.log({"loss": Distant(float(step))}, step=step)
    copies.num_arrived = 4
    run.example(step=4, prompt="p", golden="g", output="g", val_loss=2.0, tier="full")
    shown = Recorded(run.dir).only("on_example")
    assert (shown["train_loss_window_mean"], shown["train_loss_window_n"], shown["gap"]) == (1.5, 4, 0.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestCuda:
    """On a real device."""

    def test_log_does_not_wait_for_the_device(self, new_run):
        """While the device is busy for a second, a thousand calls return; the values are the right ones."""
        run = new_run()
        run.log({"loss": torch.zeros((), device="cuda")}, step=0)  # loads what is loaded once
        torch.cuda.synchronize()
        torch.cuda._sleep(int(2e9))
        started_s = time.perf_counter()
        for step in range(1, 1001):
            run.log({"loss": torch.full((), step / 7, device="cuda")}, step=step)
        logged_s = time.perf_counter() - started_s
        torch.cuda.synchronize()
        busy_s = time.perf_counter() - started_s
        run.finish()
        assert logged_s < busy_s / 2
        expected = [torch.tensor(step / 7).item() for step in range(1001)]
        assert Recorded(run.dir).column("loss") == expected

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.bool])
    def test_kinds_of_tensors(self, new_run, dtype):
        """Every type of number comes back as the device holds it."""
        run = new_run()
        value = torch.tensor(3, device="cuda").to(dtype)
        run.log({"value": value}, step=0)
        run.finish()
        assert Recorded(run.dir).column("value") == [float(value.item())]

    def test_value_that_is_changed_afterwards(self, new_run):
        """A tensor that the training loop goes on writing to is recorded as it was when it was logged."""
        run = new_run()
        loss = torch.zeros((), device="cuda")
        for step in range(100):
            run.log({"loss": loss}, step=step)
            loss += 1
        run.finish()
        assert Recorded(run.dir).column("loss") == [float(step) for step in range(100)]
