"""tensorboardX: five `add_scalar` calls a step, because `add_scalars` opens a writer per tag."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from bench.work import Row, Spec, rows_from_points

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.work import Values

SPEC = Spec(label="tensorboardX", kind="peer", distribution="tensorboardX", requirement=("tensorboardX",))

LENGTH = struct.Struct("<Q")
LENGTH_CHECKSUM_BYTES = 4
RECORD_CHECKSUM_BYTES = 4


class Recorder:
    """A `SummaryWriter` with its defaults."""

    def open(self, home: Path) -> None:
        """Make the writer."""
        from tensorboardX import SummaryWriter

        self._writer: Any = SummaryWriter(logdir=str(home))

    def log(self, step: int, values: Values) -> None:
        """Add five scalars."""
        loss, accuracy, lr, grad_norm, throughput = values
        add = self._writer.add_scalar
        add("loss", loss, step)
        add("accuracy", accuracy, step)
        add("lr", lr, step)
        add("grad_norm", grad_norm, step)
        add("throughput", throughput, step)

    def close(self) -> None:
        """Close the writer."""
        self._writer.close()

    def read_back(self, home: Path) -> Iterator[Row]:
        """Parse the event files with tensorboardX's own messages."""
        return rows_from_points(_points(home))


def _points(home: Path) -> Iterator[tuple[int, str, float]]:
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(home.rglob("events.out.tfevents.*")):
        for record in _records(path.read_bytes()):
            event = Event.FromString(record)
            for value in event.summary.value:
                yield event.step, value.tag, value.simple_value


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the whole records of a TFRecord file: length, its checksum, payload, its checksum."""
    start = 0
    while start + LENGTH.size + LENGTH_CHECKSUM_BYTES <= len(data):
        (size,) = LENGTH.unpack_from(data, start)
        begin = start + LENGTH.size + LENGTH_CHECKSUM_BYTES
        start = begin + size + RECORD_CHECKSUM_BYTES
        if start <= len(data):
            yield data[begin : begin + size]
