"""Framing and checksums, beside protobuf's own encoder and the published checksums."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.errors import FormatError
from barograph.read.foreign.checksum import crc32c
from barograph.read.foreign.wire import fields, packed, read_varint, signed, text, zigzag


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_the_published_checksums(content, expected):
    """The examples of RFC 3720, appendix B.4, and the catalogue's check value."""
    assert [expected] == crc32c([content])


def slow_crc32c(content):
    """CRC-32C bit by bit, as its definition has it."""
    state = 0xFFFFFFFF
    for byte in content:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


@given(st.lists(st.binary(max_size=40) | st.integers(1000, 3000).map(lambda n: bytes(i * i % 251 for i in range(n)))))
def test_checksums_side_by_side_are_the_checksums(contents):
    """Of short and long contents, mixed, in their order."""
    assert [slow_crc32c(content) for content in contents] == crc32c(contents)


@given(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(width=64, allow_nan=False),
    st.text(),
    st.lists(st.integers(-(2**31), 2**31 - 1)),
)
def test_messages_of_protobufs_own_encoder(step, integer, number, words, numbers):
    """Integers of either sign, floats, texts and packed lists are read back from what protobuf wrote."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from wandb.proto.wandb_internal_pb2 import HistoryItem

    event = {
        n: value for n, _, value in fields(Event(step=step, wall_time=number, file_version=words).SerializeToString())
    }
    assert step == signed(event.get(2, 0))
    assert number == struct.unpack("<d", event.get(1, bytes(8)))[0]
    assert words == text(event.get(3, b""))
    (item,) = fields(HistoryItem(integer=integer).SerializeToString())
    assert integer == zigzag(item[2])
    tensor = list(fields(TensorProto(int_val=numbers).SerializeToString()))
    assert numbers == [signed(value) for value in packed([(kind, value) for _, kind, value in tensor], "")]


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"\x0a\x05abc", "a field of 5 bytes at byte 2 goes beyond the message's 5"),
        (b"\x08", "an integer is cut off at byte 1"),
        (b"\x0a", "an integer is cut off at byte"),
        (b"\x08" + b"\xff" * 11, "has more than 64 bits"),
        (b"\x0b", "wire type 3 at byte 1 is none that a message has"),
        (b"\x09abc", "a field of 8 bytes"),
    ],
)
def test_what_is_no_message_is_an_error(message, complaint):
    """It names the place."""
    with pytest.raises(FormatError, match=complaint):
        list(fields(message))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(message):
    """No other error comes of them, and what is read is not more than there is."""
    try:
        found = list(fields(message))
    except FormatError:
        return
    assert sum(len(value) for _, _, value in found if isinstance(value, bytes)) <= len(message)


def test_an_integer_has_sixty_four_bits():
    """Ten bytes of ones are the largest one; what follows is left."""
    assert read_varint(b"\xff" * 9 + b"\x01rest", 0) == (2**64 - 1, 10)


def test_a_list_of_another_length_is_an_error():
    """Five bytes are no list of four-byte floats."""
    with pytest.raises(FormatError, match="has another length"):
        packed([(2, b"12345")], "f")
