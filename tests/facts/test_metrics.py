from __future__ import annotations

import itertools
import math
import threading
from collections import Counter, OrderedDict, defaultdict
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.facts.strategies import exact, floats, ints, metric_names

from barograph.facts.metrics import MAX_STREAMS, OWN_LANES, MetricsLog
from barograph.facts.rows import iterate_rows, read_header
from barograph.facts.rundir import RunDir
from barograph.read.follow import Follower, Record, Rows
from barograph.record.guard import Guard
from barograph.record.scalars import ScalarLog


class Recorder:
    """The hot path over real files, strict, with a clock that counts calls: sorted by time is sorted by call."""

    def __init__(self, directory: RunDir, **options):
        clock = itertools.count(1.0).__next__
        self.metrics = MetricsLog(directory, run_id="r1", clock=clock, **options)
        self.log = ScalarLog(self.metrics, guard=Guard(strict=True), clock=clock).log


@pytest.fixture
def recorder(run_dir):
    """A recorder in an empty run."""
    recorder = Recorder(run_dir)
    yield recorder
    recorder.metrics.close()


def read(directory: RunDir) -> list[tuple]:
    """Every record in the order of its call: step, split, metrics."""
    found = []
    for fact in Follower(directory).drain():
        if isinstance(fact, Rows):
            names = fact.header.columns[1:-1]
            split = fact.header.split
            found += [(row[-1], row[0], split, dict(zip(names, row[1:-1], strict=True))) for row in fact.rows]
        else:
            assert isinstance(fact, Record)
            found.append((fact.t, fact.step, fact.split, fact.metrics))
    return [tuple(rest) for _t, *rest in sorted(found, key=lambda record: record[0])]


def fits(number) -> bool:
    """Whether a float64 holds a number exactly."""
    return isinstance(number, float) or abs(number) <= 2**53


def stored(step, split, metrics):
    """What a record holds: float64 where that is exact for all its numbers, else integers with every digit."""
    if fits(step) and all(map(fits, metrics.values())):
        return exact((float(step), split, {name: float(value) for name, value in metrics.items()}))
    return exact((step, split, metrics))


numbers = floats | ints | st.booleans()
names = st.sampled_from(["loss", "a.b/c", "\u00fc", "epoch"]) | metric_names
steps = st.integers(-5, 100) | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([2**53, 2**60, -0.5])
calls = st.lists(
    st.tuples(
        steps,
        st.sampled_from(["train", "val", "te st"]),
        st.dictionaries(names, numbers, min_size=1, max_size=5),
        st.permutations(range(5)),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(calls=calls, max_streams=st.sampled_from([1, 3, MAX_STREAMS]))
def test_any_sequence_of_calls_comes_back_exactly(tmp_path_factory, calls, max_streams):
    """Key sets, their order, types and splits change from call to call; each call is read back once, in order."""
    directory = RunDir(tmp_path_factory.mktemp("run"))
    recorder = Recorder(directory, max_streams=max_streams)
    expected = []
    for step, split, metrics, order in calls:
        names = list(metrics)
        shuffled = {names[place]: metrics[names[place]] for place in order if place < len(names)}
        recorder.log(shuffled, step=step, split=split)
        plain = {name: int(value) if isinstance(value, bool) else value for name, value in metrics.items()}
        expected.append(stored(step, split, plain))
    recorder.metrics.close()
    assert expected == [stored(*record) for record in read(directory)]
    assert len(calls) == recorder.metrics.num_records


def test_a_thousand_sets_of_keys(run_dir, recorder):
    """The first 64 sets have streams, the other 936 go to ``metrics.jsonl``; every record is read back."""
    for repeat in range(2):
        for number in range(1000):
            recorder.log({f"key{number}": number + 0.5, "loss": math.inf}, step=repeat)
    names = sorted(path.name for path in run_dir.facts.iterdir())
    assert [*(f"metrics.{number:03d}.rows" for number in range(64)), "metrics.jsonl"] == names
    assert len(run_dir.overflow().read_bytes().splitlines()) == 2 * 936
    expected = [(repeat, "train", {f"key{n}": n + 0.5, "loss": math.inf}) for repeat in range(2) for n in range(1000)]
    assert expected == read(run_dir)


def test_the_order_of_keys_makes_no_new_stream(run_dir, recorder):
    """The same set in another order goes to the same file, each number under its own name."""
    for order in itertools.permutations([("a", 1.0), ("b", 2.0), ("c", 3.0)]):
        recorder.log(dict(order), step=0)
    (path,) = run_dir.rows_files()
    assert [row[:-1] for row in iterate_rows(path)] == [(0.0, 1.0, 2.0, 3.0)] * 6


@pytest.mark.parametrize(
    "metrics",
    [
        defaultdict(float, {"loss": 2.0, "other": 3.0}),
        Counter({"loss": 2, "other": 3}),
        OrderedDict({"loss": 2.0, "other": 3.0}),
        MappingProxyType({"loss": 2.0, "other": 3.0}),
    ],
    ids=["defaultdict", "Counter", "OrderedDict", "proxy"],
)
def test_other_mappings_are_asked_only_for_keys_that_they_have(run_dir, recorder, metrics):
    """After a record of ``loss`` and ``lr``, a mapping that would answer 0 for ``lr`` is read as it is, unchanged."""
    before = dict(metrics)
    recorder.log({"loss": 1.0, "lr": 0.1}, step=0)
    recorder.log(metrics, step=1)
    assert read(run_dir) == [(0, "train", {"loss": 1.0, "lr": 0.1}), (1, "train", {"loss": 2.0, "other": 3.0})]
    assert before == dict(metrics)


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**63, 2**64, 10**30])
def test_an_integer_that_a_float_cannot_hold_keeps_every_digit(run_dir, recorder, number):
    """Such a record goes to ``metrics.jsonl`` whole; the next one goes to the stream again."""
    for value in (1.0, number, 2.0):
        recorder.log({"tokens": value, "loss": 0.5}, step=0)
    expected = [(0, "train", {"tokens": value, "loss": 0.5}) for value in (1.0, number, 2.0)]
    assert exact(expected) == exact([(int(step), split, metrics) for step, split, metrics in read(run_dir)])
    assert run_dir.overflow().read_bytes().count(b"\n") == 1


def test_a_step_that_a_float_cannot_hold_keeps_every_digit(run_dir, recorder):
    """Steps are exact, too."""
    recorder.log({"loss": 0.5}, step=2**53 + 1)
    assert read(run_dir) == [(2**53 + 1, "train", {"loss": 0.5})]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, 1.0),
        (np.float64(0.1), 0.1),
        (np.float32(0.1), 0.10000000149011612),
        (np.float16(0.1), 0.0999755859375),
        (np.int8(-3), -3.0),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(False), 0.0),
        (np.array(math.nan), math.nan),
        (np.array([[7.5]]), 7.5),
    ],
    ids=repr,
)
def test_values_of_numpy_are_recorded_exactly(run_dir, recorder, value, expected):
    """A scalar of any type is the number that it holds, alone and beside floats."""
    recorder.log({"a": 1.0, "x": value}, step=0)
    recorder.log({"a": 1.0, "x": value}, step=1)
    assert exact([expected] * 2) == exact([metrics["x"] for _step, _split, metrics in read(run_dir)])


def test_values_of_torch_are_recorded_exactly(run_dir, recorder):
    """Tensors of one element, of any type, with and without a gradient."""
    torch = pytest.importorskip("torch")
    values = {
        "f32": torch.tensor(0.1),
        "bf16": torch.tensor(0.1, dtype=torch.bfloat16),
        "grad": torch.tensor([2.5], requires_grad=True),
        "int": torch.tensor(7),
        "bool": torch.tensor(True),
    }
    expected = {
        "f32": 0.10000000149011612,
        "bf16": 0.10009765625,
        "grad": 2.5,
        "int": 7.0,
        "bool": 1.0,
    }
    recorder.log(values, step=0)
    assert [(0, "train", expected)] == read(run_dir)


@pytest.mark.parametrize("num_threads", [4, OWN_LANES + 4])
def test_threads_record_each_call_once_and_in_their_order(run_dir, recorder, num_threads):
    """Threads that share key sets, more of them than have streams of their own, lose and repeat nothing."""
    barrier = threading.Barrier(num_threads)

    def work(thread):
        barrier.wait()
        for step in range(300):
            loss = {"loss": step / 7} if step % 3 else {}
            recorder.log({"thread": float(thread), **loss}, step=step)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lanes = min(num_threads, OWN_LANES + 1)  # a stream has one writing thread, but for the last, which has a lock
    assert len(run_dir.rows_files()) == 2 * lanes
    writers = [{row[header.columns.index("thread")] for row in iterate_rows(path)} for path, header in headers(run_dir)]
    assert sum(len(threads) > 1 for threads in writers) == (2 if num_threads > OWN_LANES else 0)
    seen = read(run_dir)
    assert len(seen) == 300 * num_threads
    for index in range(num_threads):
        mine = [(step, metrics) for step, _split, metrics in seen if metrics["thread"] == index]
        assert list(range(300)) == [step for step, _metrics in mine]
        assert all(metrics.get("loss", step / 7) == step / 7 for step, metrics in mine)


def headers(directory: RunDir) -> list[tuple]:
    """Every stream with its header."""
    return [(path, read_header(path)) for path in directory.rows_files()]


def test_attempts_and_ranks_have_files_of_their_own(run_dir):
    """A stream says whose it is; an existing file is never written again."""
    for attempt, rank in itertools.product((0, 1), (0, 3)):
        recorder = Recorder(run_dir, attempt=attempt, rank=rank)
        recorder.log({"loss": 1.0}, step=attempt)
        recorder.log({"n": 2**60}, step=attempt)
        recorder.metrics.close()
    assert sorted((header.attempt, header.rank) for _path, header in headers(run_dir)) == [
        (0, 0),
        (0, 3),
        (1, 0),
        (1, 3),
    ]
    names = ["metrics.000.rank003.rows", "metrics.000.rows", "metrics.001.rank003.rows", "metrics.001.rows"]
    assert names == [path.name for path in run_dir.rows_files()]
    assert [path.name for path in run_dir.overflow_files()] == ["metrics.jsonl", "metrics.rank003.jsonl"]


def test_the_count_of_records_and_bytes_is_that_of_the_files(run_dir, recorder):
    """What the ledger is told can be measured with ``ls``."""
    for step in range(10):
        recorder.log({"loss": 0.5}, step=step)
        recorder.log({"loss": 0.5, "n": 2**60}, step=step)
    assert recorder.metrics.num_records == 20
    assert sum(path.stat().st_size for path in run_dir.facts.iterdir()) == recorder.metrics.num_bytes
