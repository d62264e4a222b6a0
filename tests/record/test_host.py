from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from barograph.record import host
from barograph.record.host import HostSampler, descendant_ids, open_gpus, peak_rss_gb, visible_indices

HAS_CARD = Path("/dev/nvidiactl").exists()


class Clock:
    """A clock that stands still until it is moved."""

    now_s = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now_s


class CardError(Exception):
    """What the library of the cards raises."""


class CardNotSupportedError(CardError):
    """A figure that a card does not have."""


def _make_cards() -> SimpleNamespace:
    """Two cards, and a `library` that answers about them like pynvml; the machines that run these tests have none."""
    cards = SimpleNamespace(used_bytes=3_200_000_000, broken=False, power_asked=0, opened=0)

    def open_or_close(change):
        cards.opened += change

    def utilisation(handle):
        if cards.broken:
            raise CardError("GPU is lost")
        return SimpleNamespace(gpu=40 + handle)

    def power(handle):
        cards.power_asked += handle
        if handle == 1:
            raise CardNotSupportedError("no power sensor")
        return 250_500

    cards.library = SimpleNamespace(
        NVMLError=CardError,
        NVMLError_NotSupported=CardNotSupportedError,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: open_or_close(1),
        nvmlShutdown=lambda: open_or_close(-1),
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}aaa",
        nvmlDeviceGetUtilizationRates=utilisation,
        nvmlDeviceGetMemoryInfo=lambda _handle: SimpleNamespace(used=cards.used_bytes, total=80_000_000_000),
        nvmlDeviceGetPowerUsage=power,
        nvmlDeviceGetTemperature=lambda _handle, _sensor: 61,
        nvmlDeviceGetName=lambda handle: f"Card {handle}",
        nvmlSystemGetDriverVersion=lambda: "600.1",
    )
    return cards


def test_a_sample_has_flat_short_keys_and_plain_numbers(tmp_path):
    """Every figure of the process and the machine is there, under a key that a metric may have."""
    sampler = HostSampler(run_dir=tmp_path)
    sample = sampler.sample()
    expected = {
        "cpu_percent", "system_cpu_percent", "rss_gb", "tree_rss_gb", "threads", "processes", "memory_used_gb",
        "memory_available_gb", "disk_read_mb", "disk_write_mb", "disk_free_gb",
    }  # fmt: skip
    assert expected <= set(sample)
    assert {float} == {type(value) for value in sample.values()}
    if not HAS_CARD:
        assert (expected, []) == (set(sample), sampler.notes)


@pytest.mark.spec("S2.32")
def test_memory_is_told_in_gb_of_a_billion_bytes(tmp_path):
    """Taking 300 MB more raises the process's figure by 0.3, and it agrees with the kernel's own number."""
    sampler = HostSampler(run_dir=tmp_path)
    before = sampler.sample()
    with mmap.mmap(-1, 300_000_000) as ballast:
        for offset in range(0, len(ballast), mmap.PAGESIZE):
            ballast[offset] = 1
        during = sampler.sample()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    assert during["rss_gb"] - before["rss_gb"] == pytest.approx(0.3, abs=0.02)
    assert during["rss_gb"] == pytest.approx(pages * mmap.PAGESIZE / 1e9, rel=0.02)
    told = dict(re.findall(r"(\w+): +(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii")))
    assert during["memory_available_gb"] == pytest.approx(int(told["MemAvailable"]) * 1024 / 1e9, abs=1.0)
    assert during["memory_used_gb"] + during["memory_available_gb"] <= psutil.virtual_memory().total / 1e9 * 1.1


BURN = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass\n"


def test_processor_time_of_children_counts_while_they_live_and_after(tmp_path):
    """Half a second of work in children over ten seconds is about 5 percent, waited for or not."""
    clock = Clock()
    sampler = HostSampler(run_dir=tmp_path, clock=clock)
    own_s = time.process_time()
    subprocess.run([sys.executable, "-c", BURN.format(seconds=0.5)], check=True)
    clock.now_s += 10.0
    ended = sampler.sample()["cpu_percent"]
    assert ended == pytest.approx((0.5 + time.process_time() - own_s) * 10, abs=1.5)

    command = BURN.format(seconds=0.5) + "print('burnt', flush=True)\ninput()"
    child = subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        child.stdout.readline()
        clock.now_s += 10.0
        alive = sampler.sample()
        child.communicate(b"\n")
    clock.now_s += 10.0
    after = sampler.sample()
    assert alive["processes"] == after["processes"] + 1  # of other tests in this process one may be left
    assert alive["cpu_percent"] == pytest.approx(ended, abs=1.5)
    assert after["cpu_percent"] < 1.5  # it was counted once, not again when it ended
    assert alive["tree_rss_gb"] > alive["rss_gb"]


def test_bytes_written_are_counted_between_samples(tmp_path):
    """Writing 20 MB shows as 20 MB in the next sample, and as nothing in the one after."""
    sampler = HostSampler(run_dir=tmp_path)
    sampler.sample()
    before = psutil.Process().io_counters().write_bytes
    with (tmp_path / "data").open("wb") as file:
        file.write(os.urandom(20_000_000))
        file.flush()
        os.fsync(file.fileno())
    written_mb = (psutil.Process().io_counters().write_bytes - before) / 1e6
    assert sampler.sample()["disk_write_mb"] == pytest.approx(written_mb, abs=0.5)
    assert written_mb == pytest.approx(20, abs=0.5) or written_mb == 0  # 0 where the directory is in memory
    assert sampler.sample()["disk_write_mb"] < 0.5


def test_free_space_is_that_of_the_run_s_file_system(tmp_path):
    """The number agrees with what an ordinary user may still write there."""
    free_gb = HostSampler(run_dir=tmp_path).sample()["disk_free_gb"]
    assert free_gb == pytest.approx(shutil.disk_usage(tmp_path).free / 1e9, rel=0.02)


def test_a_run_directory_that_is_gone_is_noted_once(tmp_path):
    """The other figures go on, and the reason is kept once however often it happens."""
    sampler = HostSampler(run_dir=tmp_path / "gone")
    samples = [sampler.sample() for _ in range(3)]
    assert all("disk_free_gb" not in sample and "rss_gb" in sample for sample in samples)
    assert [f"the disk of {tmp_path / 'gone'} cannot be asked (No such file or directory)"] == sampler.notes


def test_another_process_is_sampled_until_it_ends(tmp_path):
    """A sampler beside the training process tells its figures, and says when it is gone."""
    command = [sys.executable, "-c", "print(flush=True)\ninput()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        sampler = HostSampler(process=child.pid, run_dir=tmp_path)
        assert 0.001 < sampler.sample()["rss_gb"] < 0.1
        child.communicate(b"\n")
    sample = sampler.sample()
    assert "rss_gb" not in sample
    assert "memory_used_gb" in sample
    assert sampler.notes == [f"process {child.pid} cannot be sampled (NoSuchProcess)"]


def test_children_are_found_without_the_kernel_s_list(tmp_path, monkeypatch):
    """On a kernel that keeps no list of children, psutil's walk gives the same figures."""
    monkeypatch.setattr(host, "_PROC", tmp_path / "no-proc")
    sampler = HostSampler(process=psutil.Process(), run_dir=tmp_path)
    num_before = sampler.sample()["processes"]  # of other tests, a helper process of multiprocessing may be left
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        sample = sampler.sample()
        child.communicate(b"\n")
    assert sample["processes"] == num_before + 1


def test_a_child_that_ends_while_it_is_asked_is_left_out(tmp_path, monkeypatch):
    """Between the listing and the asking a child may be gone; the others count."""
    monkeypatch.setattr(host, "descendant_ids", lambda _pid: [2**22 + 1])
    assert HostSampler(run_dir=tmp_path).sample()["processes"] == 1.0


def test_disk_figures_that_the_system_refuses_are_left_out(tmp_path, monkeypatch):
    """In some containers a process may not read its own counters; the rest of the sample is there."""

    def refuse(_process):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "io_counters", refuse)
    sample = HostSampler(run_dir=tmp_path).sample()
    assert not {"disk_read_mb", "disk_write_mb"} & set(sample)
    assert "rss_gb" in sample


def test_a_process_that_never_was_is_refused(tmp_path):
    """A wrong id is the caller's mistake and raises at once."""
    with pytest.raises(psutil.NoSuchProcess):
        HostSampler(process=2**22 + 1, run_dir=tmp_path)


@pytest.mark.parametrize("interval_s", [0.0, -1.0, float("nan")])
def test_an_interval_out_of_range_is_refused(interval_s):
    """The value and the least that is possible are in the message."""
    with pytest.raises(ValueError, match=f"interval_s is {interval_s!r}; give at least 0.1 seconds"):
        HostSampler(interval_s=interval_s)


def test_a_sample_is_due_at_once_and_then_after_each_interval():
    """The caller asks `due`; the sampler has no thread of its own."""
    clock = Clock()
    sampler = HostSampler(interval_s=10.0, clock=clock)
    assert sampler.due()
    sampler.sample()
    assert not sampler.due()
    clock.now_s += 9.9
    assert not sampler.due()
    clock.now_s += 0.1
    assert sampler.due()


def test_a_sample_costs_less_than_five_milliseconds(tmp_path):
    """The median of 30 samples, with a child process running, on the processor's clock."""
    sampler = HostSampler(run_dir=tmp_path)
    costs = []
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        for _ in range(30):
            started = time.thread_time()
            sampler.sample()
            costs.append(time.thread_time() - started)
        child.communicate(b"\n")
    assert sorted(costs)[15] < 0.005


@pytest.mark.spec("S0.9")
def test_the_summary_tells_wall_time_and_peak_memory(tmp_path):
    """Peak memory remembers a high that is over; wall time is the clock's."""
    script = (
        "import time\nfrom barograph.record.host import HostSampler\n"
        "sampler = HostSampler()\nballast = b'x' * 800_000_000\ndel ballast\n"
        "time.sleep(0.2)\nsummary = sampler.summary()\n"
        "print(summary['peak_rss_gb'], summary['wall_time_s'], sampler.sample()['rss_gb'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    peak_gb, wall_time_s, now_gb = map(float, done.stdout.split())
    assert 0.8 <= peak_gb < 0.9
    assert now_gb < 0.2
    assert 0.2 <= wall_time_s < 20


def test_peak_memory_is_this_program_s_own_not_its_launcher_s():
    """A small job that a big process started is small, although getrusage under Linux says otherwise."""
    child = (
        "import resource\nfrom barograph.record.host import peak_rss_gb\n"
        "print(peak_rss_gb(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)"
    )
    launcher = (
        f"import os, sys\nballast = b'x' * 300_000_000\nos.execv(sys.executable, [sys.executable, '-c', {child!r}])"
    )
    done = subprocess.run([sys.executable, "-c", launcher], capture_output=True, text=True, check=True)
    own_gb, getrusage_gb = map(float, done.stdout.split())
    assert own_gb < 0.1
    assert getrusage_gb >= 0.3


def test_peak_memory_falls_back_to_what_the_system_counts(tmp_path):
    """Without a status file the answer is getrusage's, in GB: at least what is in use now."""
    peak_gb = peak_rss_gb(tmp_path / "missing")
    assert psutil.Process().memory_info().rss / 1e9 * 0.9 < peak_gb < 20


def test_descendants_are_listed_through_every_thread(tmp_path):
    """Children of any thread and their children count; a thread that ended meanwhile is passed over."""
    for task, children in {"10/task/10": "11 12 ", "10/task/15": "13", "11/task/11": "14", "12/task/12": ""}.items():
        (tmp_path / task).mkdir(parents=True)
        (tmp_path / task / "children").write_text(children, encoding="ascii")
    (tmp_path / "13/task/13/children").mkdir(parents=True)  # unreadable, as one that has just ended
    assert sorted(descendant_ids(10, proc=tmp_path)) == [11, 12, 13, 14]


def test_descendants_agree_with_psutil():
    """The kernel's own list, where it keeps one, names the same processes as a walk over all of them."""
    if not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
        pytest.skip("this kernel keeps no list of children")
    command = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    child = subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        child.stdout.readline()
        expected = {process.pid for process in psutil.Process().children(recursive=True)}
        assert expected == set(descendant_ids(os.getpid()))
        child.communicate(b"\n")


@pytest.mark.spec("S2.32")
def test_cards_are_sampled_under_their_numbers(tmp_path):
    """Utilisation, memory in GB, power and temperature per card; the peak of memory is in the summary."""
    cards = _make_cards()
    sampler = HostSampler(run_dir=tmp_path, nvml=cards.library, environ={})
    sample = sampler.sample()
    assert {key: value for key, value in sample.items() if key.startswith("gpu")} == {
        "gpu0_util": 40.0, "gpu0_memory_gb": 3.2, "gpu0_power_w": 250.5, "gpu0_temp_c": 61.0,
        "gpu1_util": 41.0, "gpu1_memory_gb": 3.2, "gpu1_temp_c": 61.0,
    }  # fmt: skip
    cards.used_bytes = 1_000_000_000
    sampler.sample()
    assert sampler.summary()["gpu0_peak_memory_gb"] == 3.2
    assert (cards.power_asked, sampler.notes) == (1, [])  # what a card does not have is asked for once


def test_a_library_of_cards_that_fails_is_dropped_and_the_rest_goes_on(tmp_path):
    """A lost card ends the cards' figures with the reason; the process's go on."""
    cards = _make_cards()
    sampler = HostSampler(run_dir=tmp_path, nvml=cards.library, environ={"CUDA_VISIBLE_DEVICES": "1"})
    assert "gpu1_util" in sampler.sample()
    cards.broken = True
    samples = [sampler.sample() for _ in range(2)]
    assert all("rss_gb" in sample and "gpu1_util" not in sample for sample in samples)
    assert sampler.notes == ["the cards are no longer sampled: CardError: GPU is lost"]
    assert cards.opened == 0
    sampler.close()


def test_a_library_that_cannot_be_closed_is_left(tmp_path):
    """A driver that went away cannot be told goodbye; closing twice is harmless."""
    cards = _make_cards()

    def refuse():
        raise CardError("driver is gone")

    cards.library.nvmlShutdown = refuse
    sampler = HostSampler(run_dir=tmp_path, nvml=cards.library, environ={})
    sampler.sample()
    sampler.close()
    sampler.close()
    assert "gpu0_util" not in sampler.sample()


def test_only_visible_cards_are_sampled(tmp_path):
    """On a shared machine another job's cards are not this run's."""
    sampler = HostSampler(run_dir=tmp_path, nvml=_make_cards().library, environ={"CUDA_VISIBLE_DEVICES": "1"})
    assert {"gpu1"} == {key[:4] for key in sampler.sample() if key.startswith("gpu")}


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, [0, 1, 2]), ("", []), ("-1", []), ("0", [0]), ("2,0", [2, 0]), ("GPU-b", [1]), ("0,7,1", [0]),
        ("GPU-", []), ("MIG-1234", [0, 1, 2]), (" 1 , 2 ", [1, 2]), ("none", []),
    ],
)  # fmt: skip
def test_cuda_s_own_rule_decides_which_cards_are_visible(setting, expected):
    """Numbers and beginnings of UUIDs; what follows a wrong entry is hidden; empty hides all."""
    assert expected == visible_indices(["GPU-aaa", "GPU-bbb", "GPU-ccc"], setting)


def test_without_a_card_the_library_is_not_even_imported(tmp_path):
    """No device node means no card: nothing is loaded and nothing is noted."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom barograph.record.host import open_gpus\n"
        f"print(open_gpus(environ={{}}, system_root=Path({str(tmp_path)!r})), 'pynvml' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "(None, None) False\n"


def test_a_card_without_the_library_says_what_to_install(tmp_path, monkeypatch):
    """A device node without nvidia-ml-py is worth a word."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_gpus(environ={}, system_root=tmp_path) == (
        None,
        "cards are not sampled: nvidia-ml-py is missing; pip install 'barograph[gpu]'",
    )


@pytest.mark.skipif(HAS_CARD, reason="this machine has a working card")
def test_the_real_library_without_a_driver_is_noted(tmp_path):
    """nvidia-ml-py itself, on a machine without the driver: the reason is kept, nothing raises."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    gpus, note = open_gpus(environ={}, system_root=tmp_path)
    assert gpus is None
    assert note.startswith("cards are not sampled: NVMLError_LibraryNotFound")


@pytest.mark.gpu
def test_a_real_card_is_sampled(tmp_path):
    """With a card, its figures lie in the ranges that the card's own tool shows."""
    if not HAS_CARD:
        pytest.skip("no NVIDIA card here")
    sample = HostSampler(run_dir=tmp_path, environ={}).sample()
    command = ["nvidia-smi", "-i", "0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    used_mib = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert sample["gpu0_memory_gb"] == pytest.approx(used_mib * 2**20 / 1e9, abs=1.0)
    assert 0 <= sample["gpu0_util"] <= 100
    assert 10 < sample["gpu0_temp_c"] < 110
