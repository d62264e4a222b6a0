"""The bytes of other tools' files: protocol buffer messages, TFRecord files, the blocks of a LevelDB log.

Knows framing and checksums, and no tool. What it cannot read it reports as damage and goes on where that is possible.
Sources: https://protobuf.dev/programming-guides/encoding, https://www.tensorflow.org/tutorials/load_data/tfrecord,
https://github.com/google/leveldb/blob/main/doc/log_format.md.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final

from barograph.errors import FormatError
from barograph.facts.log import Damage

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5

Field = tuple[int, int, Any]
"""Number, wire type, and value: an int of a varint, else bytes."""

_HEAD: Final = struct.Struct("<QI")
BATCH_BYTES: Final = 8 << 20
_SIGN: Final = 1 << 63


def fields(message: bytes) -> Iterator[Field]:
    """The fields of a protocol buffer message, in the order in which they stand there.

    Raises:
        FormatError: the bytes are no message.
    """
    position, end = 0, len(message)
    while position < end:
        key = message[position]  # most integers have one byte
        position += 1
        if key & 0x80:
            key, position = read_varint(message, position - 1)
        kind = key & 7
        if kind == VARINT:
            value, position = read_varint(message, position)
            yield key >> 3, kind, value
            continue
        if kind == LENGTH:
            size = message[position] if position < end else 0x80
            position += 1
            if size & 0x80:
                size, position = read_varint(message, position - 1)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise FormatError(f"wire type {kind} at byte {position} is none that a message has")
        if position + size > end:
            raise FormatError(f"a field of {size} bytes at byte {position} goes beyond the message's {end}")
        yield key >> 3, kind, message[position : position + size]
        position += size


def read_varint(message: bytes, position: int) -> tuple[int, int]:
    """The unsigned integer at a position, and the position after it.

    Raises:
        FormatError: there is none.
    """
    value = shift = 0
    while shift < 70:  # noqa: PLR2004 - ten groups of seven bits
        if position >= len(message):
            raise FormatError(f"an integer is cut off at byte {position}")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte of an integer
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
    raise FormatError(f"an integer before byte {position} has more than 64 bits")


def signed(value: int) -> int:
    """What an ``int32`` or ``int64`` of that varint is."""
    return value - (_SIGN << 1) if value >= _SIGN else value


def zigzag(value: int) -> int:
    """What a ``sint64`` of that varint is."""
    return (value >> 1) ^ -(value & 1)


def text(value: bytes) -> str:
    """A ``string`` field; bytes that are no UTF-8 are kept as escapes."""
    return value.decode("utf-8", "backslashreplace")


def packed(values: Sequence[tuple[int, Any]], code: str) -> list[Any]:
    """The numbers of a repeated field, packed or not.

    Args:
        values: wire type and value of each occurrence.
        code: of ``struct`` for numbers of fixed size; "" for varints.
    """
    numbers: list[Any] = []
    for kind, value in values:
        if not code and kind == VARINT:
            numbers.append(value)
        elif not code:
            position = 0
            while position < len(value):
                number, position = read_varint(value, position)
                numbers.append(number)
        elif isinstance(value, bytes) and len(value) % struct.calcsize(code) == 0:
            numbers += (number for (number,) in struct.iter_unpack(f"<{code}", value))
        else:
            raise FormatError(f"a list of numbers of {struct.calcsize(code)} bytes has another length: {value!r:.40}")
    return numbers


def iterate_tfrecords(path: Path, damage: list[Damage]) -> Iterator[tuple[int, bytes]]:
    """The whole records of a TFRecord file: offset and content, up to where the file ended when reading began.

    A record whose content does not have its checksum is left out. After a length that does not have its own, nobody
    knows where the next record begins: the rest of the file is damage.

    Args:
        path: the file.
        damage: where to note what is no record.

    Raises:
        OSError: the file cannot be read.
    """
    from barograph.read.foreign.checksum import crc32c  # noqa: PLC0415 - numpy, which other formats do not need

    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(0)
        ended = False
        while not ended:
            batch, ended = _read_batch(file, end, path, damage)
            sums = crc32c([content for _, content, _ in batch])
            for (offset, content, expected), found in zip(batch, sums, strict=True):
                if (found >> 15 | found << 17) + 0xA282EAD8 & 0xFFFF_FFFF == expected:  # as masked(), without the call
                    yield offset, content
                else:
                    reason = "a record does not have its checksum"
                    damage.append(Damage(path=str(path), offset=offset, size_bytes=len(content) + 16, reason=reason))


def _read_batch(
    file: BinaryIO, end: int, path: Path, damage: list[Damage]
) -> tuple[list[tuple[int, bytes, int]], bool]:
    """Some megabytes of records (offset, content, checksum), and whether that was the rest of the file."""
    batch: list[tuple[int, bytes, int]] = []
    known: set[bytes] = set()  # heads whose checksum is right; most records have one of a few lengths
    offset = file.tell()
    limit = offset + BATCH_BYTES
    while offset < limit:
        if offset >= end:
            return batch, True
        head = file.read(12)
        reason = "the last record is cut off"
        if len(head) == 12:  # noqa: PLR2004 - length and its checksum
            length, length_sum = _HEAD.unpack(head)
            if head not in known and masked(_crc32c(head[:8])) == length_sum:
                known.add(head)
            if head not in known:
                reason = "a record's length does not have its checksum; nothing after it can be read"
            elif offset + length + 16 <= end:
                content, tail = file.read(length), file.read(4)
                batch.append((offset, content, int.from_bytes(tail, "little")))
                offset += length + 16
                continue
        damage.append(Damage(path=str(path), offset=offset, size_bytes=end - offset, reason=reason))
        return batch, True
    return batch, False


def masked(checksum: int) -> int:
    """As TFRecord stores a checksum, so that one of bytes that hold checksums is not weak."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFF_FFFF


@cache
def _table() -> list[int]:
    """CRC-32C (Castagnoli) of each byte."""
    table = list(range(256))
    for _ in range(8):
        table = [word >> 1 ^ (0x82F63B78 if word & 1 else 0) for word in table]
    return table


def _crc32c(data: bytes) -> int:
    """Of some bytes; ``checksum.crc32c`` is for many."""
    table, state = _table(), 0xFFFF_FFFF
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ state >> 8
    return state ^ 0xFFFF_FFFF


BLOCK_BYTES: Final = 1 << 15
_HEAD_BYTES: Final = 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def iterate_log(
    path: Path,
    damage: list[Damage],
    *,
    header_bytes: int,
    checksum: Callable[[bytes], int] = zlib.crc32,
) -> Iterator[tuple[int, bytes]]:
    """The whole records of a LevelDB log: offset and content, up to where the file ended when reading began.

    Records are cut into fragments that do not cross blocks of 32 KiB. After a damaged fragment reading goes on at
    the next block, at the next fragment that begins a record.

    Args:
        path: the file.
        damage: where to note what is no record.
        header_bytes: what the tool writes before the first fragment, within the first block.
        checksum: of a fragment's type and content.

    Raises:
        OSError: the file cannot be read.
    """
    joined = _Joined(path, damage)
    with path.open("rb") as file:
        end = file.seek(0, 2)
        for start in range(0, end, BLOCK_BYTES):
            file.seek(start)
            block = file.read(min(BLOCK_BYTES, end - start))
            position = header_bytes if start == 0 else 0
            while position < len(block):
                left = len(block) - position
                if left < _HEAD_BYTES and len(block) == BLOCK_BYTES:
                    break  # the trailer of a block
                reason, fragment = _fragment(block, position, checksum)
                if reason:
                    joined.drop("the record before it is cut off")
                    joined.note(start + position, left, reason)
                    break
                record = joined.add(start + position, block[position + 6], fragment)
                if record is not None:
                    yield record
                position += _HEAD_BYTES + len(fragment)
    joined.drop("the last record is cut off")


def _fragment(block: bytes, position: int, checksum: Callable[[bytes], int]) -> tuple[str, bytes]:
    """The fragment at a position, or what is wrong there."""
    head = block[position : position + _HEAD_BYTES]
    cut_off = "the last record is cut off"
    if len(head) < _HEAD_BYTES:
        return cut_off, b""
    expected, size, kind = struct.unpack("<IHB", head)
    if not any(head):
        return "zero bytes", b""
    if position + _HEAD_BYTES + size > len(block):
        return (cut_off if len(block) < BLOCK_BYTES else "a fragment goes beyond its block"), b""
    fragment = block[position + _HEAD_BYTES : position + _HEAD_BYTES + size]
    if (
        kind not in (_FULL, _FIRST, _MIDDLE, _LAST)
        or checksum(block[position + 6 : position + 7] + fragment) != expected
    ):
        return "a fragment does not have its checksum", b""
    return "", fragment


class _Joined:
    """Fragments on their way to a record."""

    def __init__(self, path: Path, damage: list[Damage]) -> None:
        self._path = path
        self._damage = damage
        self._parts: list[bytes] = []
        self._offset = 0

    def add(self, offset: int, kind: int, fragment: bytes) -> tuple[int, bytes] | None:
        """Take in a fragment; a record when it completes one."""
        if kind in (_FULL, _FIRST):
            self.drop("a record has no end")
            self._offset, self._parts = offset, [fragment]
        elif not self._parts:
            self.note(offset, _HEAD_BYTES + len(fragment), "a record has no beginning")
            return None
        else:
            self._parts.append(fragment)
        if kind not in (_FULL, _LAST):
            return None
        record = (self._offset, b"".join(self._parts))
        self._parts = []
        return record

    def drop(self, reason: str) -> None:
        """Give up the record that is incomplete, if there is one."""
        if self._parts:
            self.note(self._offset, sum(_HEAD_BYTES + len(part) for part in self._parts), reason)
        self._parts = []

    def note(self, offset: int, size_bytes: int, reason: str) -> None:
        """Note damage."""
        self._damage.append(Damage(path=str(self._path), offset=offset, size_bytes=size_bytes, reason=reason))
