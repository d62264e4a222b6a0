"""Values that live on a GPU: copied to pinned memory without synchronising, read when the copy has arrived.

The framework is the one that made the value; nothing is imported here that is not loaded already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from barograph.errors import InvalidMetricError
from barograph.facts.metrics import Number
from barograph.record.values import is_on_device, plain_number


class DeviceRecord:
    """One call's metrics, some of them on their way from a GPU.

    Args:
        metrics: names and values as they were logged.
        step: the call's step.
        split: the call's split.
        t: unix seconds of the call.

    Raises:
        InvalidMetricError: a value is not one number; nothing was started.
    """

    def __init__(self, metrics: Mapping[str, Any], *, step: Number, split: str, t: float) -> None:
        self.step, self.split, self.t = step, split, t
        for name, value in metrics.items():
            if is_on_device(value) and value.numel() != 1:
                raise InvalidMetricError(
                    f"metric {name!r} is a tensor of shape {tuple(value.shape)} on {value.device}, not one number; "
                    f"log a reduction of it (mean, norm)"
                )
        self._values = {
            name: _start_copy(value) if is_on_device(value) else plain_number(name, value)
            for name, value in metrics.items()
        }
        self._events = [_record_event(device) for device in {v.device for v in metrics.values() if is_on_device(v)}]

    def arrived(self) -> bool:
        """Whether every copy is complete."""
        return all(event.query() for event in self._events)

    def values(self) -> dict[str, Number]:
        """The numbers; waits for the copies that are still on their way."""
        for event in self._events:
            event.synchronize()
        return {name: plain_number(name, value) for name, value in self._values.items()}


def _start_copy(tensor: Any) -> Any:
    torch = sys.modules["torch"]
    source = tensor.detach().reshape(())
    target = torch.empty((), dtype=source.dtype, pin_memory=True)
    return target.copy_(source, non_blocking=True)


def _record_event(device: Any) -> Any:
    torch = sys.modules["torch"]
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event
