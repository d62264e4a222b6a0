"""Images, sounds, histograms and tables: what is encoded is read back by a second, dull decoder."""

from __future__ import annotations

import binascii
import io
import math
import random
import struct
import time
import wave
import zlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from barograph.errors import MisuseError
from barograph.facts.codec import decode, encode
from barograph.record.media import histogram, image_bytes, png_bytes, table, wav_bytes

CHANNELS = {0: 1, 2: 3, 6: 4}


def _decode_png(data):
    """Pixels of an unfiltered 8-bit PNG, as rows of tuples, every checksum verified."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = [], 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert binascii.crc32(kind + body) == struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0]
        chunks.append((kind, body))
        at += 12 + size
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, rest) == (8, [0, 0, 0])
    channels = CHANNELS[colour]
    raw, rows = zlib.decompress(chunks[1][1]), []
    assert len(raw) == height * (1 + width * channels)
    for line in range(height):
        start = line * (1 + width * channels)
        assert raw[start] == 0
        row = raw[start + 1 : start + 1 + width * channels]
        rows.append([tuple(row[p : p + channels]) for p in range(0, len(row), channels)])
    return rows


def _decode_wav(data):
    with wave.open(io.BytesIO(data)) as reader:
        frames = reader.readframes(reader.getnframes())
        levels = struct.unpack(f"<{len(frames) // 2}h", frames)
        return reader.getframerate(), reader.getnchannels(), reader.getsampwidth(), list(levels)


@given(
    st.integers(1, 5).flatmap(
        lambda w: st.lists(st.lists(st.integers(0, 255), min_size=w, max_size=w), min_size=1, max_size=5)
    )
)
def test_grey_levels_round_trip(pixels):
    """Every level of every pixel comes back, in any shape."""
    assert [[(level,) for level in row] for row in pixels] == _decode_png(png_bytes(pixels))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_round_trip(channels):
    """Grey, RGB and RGBA come back, from an array of numpy, a tensor, and nested lists alike."""
    pixels = np.random.default_rng(0).integers(0, 256, size=(3, 5, channels), dtype=np.uint8)
    expected = [[tuple(map(int, pixel)) for pixel in row] for row in pixels]
    encoded = [png_bytes(form) for form in (pixels, torch.from_numpy(pixels), pixels.tolist())]
    assert [expected] * 3 == [_decode_png(data) for data in encoded]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40))
def test_floats_are_rounded_to_the_nearest_level(values):
    """Floats from 0 to 1 become levels from 0 to 255, half to even, whatever holds them."""
    expected = [[(round(value * 255),) for value in values]]
    forms = [[values], np.array([values]), np.array([values], dtype="f4"), torch.tensor([values], dtype=torch.float64)]
    assert [expected] * 4 == [_decode_png(png_bytes(form)) for form in forms]


def test_half_precision_gradients_and_strides():
    """bfloat16, a tensor that needs a gradient, and an array that is not contiguous are encoded."""
    assert _decode_png(png_bytes(torch.ones(1, 2, dtype=torch.bfloat16))) == [[(255,), (255,)]]
    assert _decode_png(png_bytes(torch.zeros(1, 1, requires_grad=True))) == [[(0,)]]
    assert _decode_png(png_bytes(np.arange(8, dtype=np.uint8).reshape(2, 4)[:, ::2])) == [[(0,), (2,)], [(4,), (6,)]]


@pytest.mark.parametrize("form", [[[True, False]], np.array([[True, False]]), torch.tensor([[True, False]])])
def test_booleans_are_white_and_black(form):
    """A mask is shown at full contrast."""
    assert _decode_png(png_bytes(form)) == [[(255,), (0,)]]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ([[0.5, 1.2]], r"pixel \[0, 1\] is 1.2, outside 0 to 1; clip or rescale"),
        ([[0.5], [-0.01]], r"pixel \[1, 0\] is -0.01"),
        ([[0.5, math.nan]], r"pixel \[0, 1\] is nan"),
        ([[[0.0, 0.0, math.inf]]], r"pixel \[0, 0, 2\] is inf"),
        ([[0, 256]], r"pixel \[0, 1\] is 256, outside 0 to 255"),
        ([[-1, 0]], r"pixel \[0, 0\] is -1"),
    ],
)
def test_pixels_out_of_range_are_named(pixels, message):
    """The first bad pixel is named with its place and value, the same for a list and an array."""
    for form in (pixels, np.array(pixels), torch.tensor(pixels)):
        with pytest.raises(MisuseError, match=message if form is pixels else message.split(" is ")[0]):
            png_bytes(form)


def test_rounding_noise_is_no_error():
    """A float that is outside by less than half a level rounds to the end of the range."""
    assert _decode_png(png_bytes([[1.0000001, -1e-9]])) == [[(255,), (0,)]]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((3, 8, 8)), r"shape \(3, 8, 8\).*channels come first: move them to the end"),
        (np.zeros((8, 8, 5)), "pass height x width"),
        (np.zeros(4), r"shape \(4,\)"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
        ([], r"shape \(0,\)"),
        ([[1, 2], [3]], r"no rectangle: 1 items at \[1\] where 2 items are elsewhere"),
        ([[1, 2], 3], r"no rectangle: 3 at \[1\]"),
        ([[1, "a"]], r"has 'a' at \[0, 1\], not a number"),
        (np.array([["a"]]), "values of type <U1, no real numbers"),
        (np.array([[1j]]), "values of type complex128"),
        (7, r"the image is a int \(7\); pass nested lists or an array"),
        (np.float32(1), "pass nested lists or an array"),
        (None, "is a NoneType"),
    ],
)
def test_what_is_no_image_is_refused(pixels, message):
    """Another shape or type is refused with what to pass."""
    with pytest.raises(MisuseError, match=message):
        png_bytes(pixels)


class _Picture:
    """Has the method by which matplotlib's figures, or Pillow's images, are saved."""

    def __init__(self, method):
        setattr(self, method, self._write)

    def _write(self, file, **options):
        file.write(b"\x89PNG\r\n\x1a\n" + options["format"].encode())


@pytest.mark.parametrize("method", ["savefig", "save"])
def test_figures_save_themselves(method):
    """An object with ``savefig`` or ``save`` is asked for a PNG."""
    assert image_bytes(_Picture(method)) == (b"\x89PNG\r\n\x1a\npng", "image/png")


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0....", "image/jpeg"),
        (b"GIF89a......", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"BM......", "image/bmp"),
        (b"II*\x00....", "image/tiff"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "image/svg+xml"),
        (b"  <svg/>", "image/svg+xml"),
    ],
)
def test_image_files_stay_what_they_are(tmp_path, data, media_type):
    """Bytes and files are kept byte by byte; their type is told by their first bytes, not by their name."""
    path = tmp_path / "picture.txt"
    path.write_bytes(data)
    assert [(data, media_type)] * 4 == [image_bytes(form) for form in (data, bytearray(data), path, str(path))]


def test_what_is_no_image_file_is_refused(tmp_path):
    """Other bytes are refused by name; a missing file is the system's error."""
    path = tmp_path / "model.png"
    path.write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(MisuseError, match=r"model.png: no image file by its first bytes b'PK\\x03\\x04"):
        image_bytes(path)
    with pytest.raises(FileNotFoundError):
        image_bytes(tmp_path / "missing.png")


def test_arrays_are_images_too():
    """Everything else goes through ``png_bytes``."""
    assert image_bytes([[0, 255]]) == (png_bytes([[0, 255]]), "image/png")


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50), st.integers(1, 192_000))
def test_floats_round_trip_as_sound(samples, rate_hz):
    """Mono floats come back as the nearest of 32 767 levels, from a list, an array and a tensor alike."""
    expected = (rate_hz, 1, 2, [round(sample * 32767) for sample in samples])
    forms = (samples, np.array(samples, dtype="f4"), torch.tensor(samples))
    assert [expected] * 3 == [_decode_wav(wav_bytes(form, rate_hz)) for form in forms]


def test_channels_and_integers_as_sound():
    """Samples x channels are interleaved; 16-bit integers are kept as they are."""
    stereo = np.array([[0, -32768], [32767, 5]], dtype=np.int16)
    assert _decode_wav(wav_bytes(stereo, rate_hz=8000)) == (8000, 2, 2, [0, -32768, 32767, 5])
    assert _decode_wav(wav_bytes([[0.0, 1.0], [-1.0, 0.5]], 8000))[3] == [0, 32767, -32767, 16384]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([0.0, math.nan], r"sample \[1\] is nan"),
        ([[0.0, 0.0], [0.0, math.inf]], r"sample \[1, 1\] is inf"),
        ([0.0, 0.0, -1.1], r"sample \[2\] is -1.1, outside -1 to 1; clip or rescale"),
        ([40000], r"sample \[0\] is 40000, outside -32768 to 32767"),
        ([], r"shape \(0,\)"),
        (np.zeros((2, 16000)), r"channels \(up to 32\), channels last"),
        (np.zeros((2, 2, 2)), "samples x channels"),
    ],
)
def test_samples_that_cannot_be_are_named(samples, message):
    """A sample out of range or not finite is named with its place; a wrong shape with what to pass."""
    with pytest.raises(MisuseError, match=message):
        wav_bytes(samples, 16000)


@pytest.mark.parametrize("rate_hz", [0, -1, 44100.0, True, None])
def test_a_rate_must_be_a_positive_integer(rate_hz):
    """The message names the value."""
    with pytest.raises(MisuseError, match="rate_hz must be a positive integer"):
        wav_bytes([0.0], rate_hz)


any_float = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0]))


@given(st.lists(any_float, max_size=60), st.integers(1, 20))
def test_a_histogram_counts_every_value_once(values, bins):
    """Bins, outsiders and non-finite values add up to all values, and each bin holds what a dull count finds."""
    counted = histogram(values, bins=bins)
    assert len(values) == counted["n"]
    apart = ("nan", "inf", "ninf", "below", "above")
    assert len(values) == sum(counted["counts"]) + sum(counted[name] for name in apart)
    assert (counted["below"], counted["above"]) == (0, 0)
    assert sum(map(math.isnan, values)) == counted["nan"]
    finite = [value for value in values if math.isfinite(value)]
    for at, (left, right) in enumerate(pairwise(counted["edges"])):
        last = at == bins - 1
        inside = [value for value in finite if left <= value < right or (last and value == right)]
        assert len(inside) == counted["counts"][at]
    assert (min(finite), max(finite)) == (counted["min"], counted["max"]) if finite else counted["min"] is None


@given(st.lists(any_float, min_size=1, max_size=60), st.randoms())
@example(values=[0.0, 0.0, -0.0], rng=random.Random(0))
def test_a_histogram_does_not_depend_on_form_or_order(values, rng):
    """A list, a shuffled list, an array, a matrix and a tensor of the same values give the same histogram."""
    shuffled = rng.sample(values, len(values))
    forms = [values, shuffled, np.array(values), np.array([values]), torch.tensor(values, dtype=torch.float64)]
    histograms = [histogram(form, bins=7) for form in forms]
    assert [encode(histograms[0])] * 5 == [encode(form) for form in histograms]


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=40), st.integers(1, 30))
def test_a_histogram_agrees_with_numpy(values, bins):
    """With numpy's edges as ours the counts are numpy's."""
    edges = np.histogram_bin_edges(values, bins)
    if len(set(edges.tolist())) < len(edges):
        return  # the range is too small for so many bins; numpy's edges coincide
    expected = np.histogram(values, edges)[0].tolist()
    assert (
        expected
        == histogram(values, bins=edges)["counts"]
        == histogram(np.array(values), bins=edges.tolist())["counts"]
    )


def test_given_edges_count_outsiders():
    """Values beyond the edges are counted apart, the last edge belongs to the last bin."""
    counted = histogram([-1, 0, 1, 2, 3, math.inf], bins=[0, 1, 2])
    assert counted == {
        "edges": [0.0, 1.0, 2.0],
        "counts": [1, 2],
        "n": 6,
        "nan": 0,
        "inf": 1,
        "ninf": 0,
        "below": 1,
        "above": 1,
        "min": -1.0,
        "max": 3.0,
    }


@pytest.mark.parametrize("value", [0.0, 5.0, 1e300, -1e17, 5e-324])
def test_equal_values_fall_into_one_bin(value):
    """A distribution without width is one bin of several, at any magnitude."""
    counted = histogram([value] * 3, bins=4)
    assert sorted(counted["counts"]) == [0, 0, 0, 3]
    assert counted["edges"][0] <= value <= counted["edges"][-1]


def test_the_widest_range():
    """The greatest finite numbers of both signs do not overflow."""
    counted = histogram([-1.7e308, 0.0, 1.7e308], bins=2)
    assert (counted["counts"], counted["edges"]) == ([1, 2], [-1.7e308, 0.0, 1.7e308])


def test_no_finite_value():
    """Without a finite value the bins are empty, and least and greatest are None."""
    counted = histogram(np.array([np.nan, -np.inf]), bins=2)
    assert (counted["counts"], counted["nan"], counted["ninf"], counted["min"]) == ([0, 0], 1, 1, None)
    assert histogram([], bins=2)["n"] == 0


@pytest.mark.parametrize(
    "bins",
    [0, -1, 65_537, True, 2.5, "ten", None, [], [1], [1, 1], [2, 1], [0, math.nan, 1], [0, math.inf], ["a", "b"]],
)
def test_bins_that_cannot_be_are_refused(bins):
    """The message names the bins and what to pass."""
    with pytest.raises(MisuseError, match=r"pass (how many|at least two)|leave them out"):
        histogram([1.0, 2.0], bins=bins)


def test_large_arrays_are_not_walked_in_python():
    """Many values in an array take a fraction of the time of the same values in a list, with equal counts."""
    weights = np.random.default_rng(0).normal(size=100_000)
    listed = weights.tolist()
    seconds = {"array": [], "list": []}
    for _ in range(3):
        began = time.perf_counter()
        from_array = histogram(weights)
        middle = time.perf_counter()
        from_list = histogram(listed)
        seconds["array"].append(middle - began)
        seconds["list"].append(time.perf_counter() - middle)
        assert from_array == from_list
    assert min(seconds["array"]) < min(seconds["list"]) / 2


def test_a_table_is_plain_data():
    """Cells of any plain kind, numpy and torch scalars included, survive the codec."""
    rows = [("a", np.float32(0.5), None), ["b", torch.tensor(2), True], ("c", math.nan, 2**60)]
    made = table(["text", "number", "other"], iter(rows))
    assert made["columns"] == ["text", "number", "other"]
    assert made["rows"][:2] == [["a", 0.5, None], ["b", 2, True]]
    restored = decode(encode(made))
    assert math.isnan(restored["rows"][2][1])
    assert restored["rows"][2][2] == 2**60


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        (["a", "a"], [], "column 1 of the table is named 'a'"),
        (["a", 3], [], "column 1 of the table is named 3"),
        (["a", "b"], [(1, 2), (1,)], r"row 1 of the table is \(1,\); give it 2 cells"),
        (["a"], ["x"], "row 0 of the table is 'x'"),
        (["a"], [7], "row 0 of the table is 7"),
        (["a", "b"], [(1, len)], "row 0, column 'b' is a builtins.builtin_function_or_method"),
    ],
)
def test_tables_that_cannot_be_are_refused(columns, rows, message):
    """The message names the column, row or cell."""
    with pytest.raises(MisuseError, match=message):
        table(columns, rows)
