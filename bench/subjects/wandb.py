"""wandb in offline mode. It ships no reader of its offline files; the format is read here.

A `.wandb` file is a LevelDB log: after 7 bytes of its own, blocks of 32 KiB that hold chunks of checksum (4),
length (2) and kind (1: whole, 2: first, 3: middle, 4: last), whose joined payloads are protobuf records.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from bench.work import Row, Spec, rows_from_points

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.work import Values

SPEC = Spec(
    label="wandb offline",
    kind="peer",
    distribution="wandb",
    requirement=("wandb",),
    environment={"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"},
)

BLOCK_BYTES = 32 * 1024
FILE_HEADER_BYTES = 7
CHUNK = struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


class Recorder:
    """An offline run with default settings."""

    def open(self, home: Path) -> None:
        """Begin an offline run."""
        import wandb

        self._run: Any = wandb.init(project="bench", dir=str(home))

    def log(self, step: int, values: Values) -> None:
        """Log one dictionary."""
        loss, accuracy, lr, grad_norm, throughput = values
        self._run.log(
            {
                "loss": loss,
                "accuracy": accuracy,
                "lr": lr,
                "grad_norm": grad_norm,
                "throughput": throughput,
            },
            step=step,
        )

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()

    def read_back(self, home: Path) -> Iterator[Row]:
        """Parse the offline file with wandb's own messages."""
        return rows_from_points(_points(home))


def _points(home: Path) -> Iterator[tuple[int, str, float]]:
    from wandb.proto.wandb_internal_pb2 import Record

    for path in sorted(home.rglob("*.wandb")):
        for data in _records(path.read_bytes()):
            record = Record.FromString(data)
            if record.WhichOneof("record_type") != "history":
                continue
            for item in record.history.item:
                name = item.key or "/".join(item.nested_key)
                if not name.startswith("_"):
                    yield record.history.step.num, name, json.loads(item.value_json)


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the whole records of a LevelDB log; what was cut off at its end is not one."""
    parts: list[bytes] = []
    start = FILE_HEADER_BYTES
    while start + CHUNK.size <= len(data):
        left = BLOCK_BYTES - start % BLOCK_BYTES
        if left < CHUNK.size:
            start += left
            continue
        _checksum, size, kind = CHUNK.unpack_from(data, start)
        begin = start + CHUNK.size
        start = begin + size
        if kind not in {WHOLE, FIRST, MIDDLE, LAST} or start > len(data):
            return
        if kind in {WHOLE, FIRST}:
            parts = []
        parts.append(data[begin:start])
        if kind in {WHOLE, LAST}:
            yield b"".join(parts)
