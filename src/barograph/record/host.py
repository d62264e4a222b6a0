"""What the machine does while a run trains: processors, memory, disk, NVIDIA cards.

It samples when it is asked and owns no thread. A part that fails is left out and named in ``notes``; it never
raises into the caller, and the rest goes on. Sizes are decimal: 1 GB is 10^9 bytes, 1 MB is 10^6.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import psutil

GB: Final = 1e9
MB: Final = 1e6
MIN_INTERVAL_S: Final = 0.1
_PROC: Final = Path("/proc")
_CARD_NODES: Final = ("dev/nvidiactl", "dev/nvidia0", "dev/dxg")  # dxg: Linux under Windows


class HostSampler:
    """Samples the process tree, the machine and its cards.

    The keys of a sample, each left out where the system does not tell it:

    - of the process and its children: ``cpu_percent`` (100 is one processor in full), ``tree_rss_gb`` (pages
      that they share count in each), ``disk_read_mb`` and ``disk_write_mb`` since the sample before, ``processes``;
    - of the process alone: ``rss_gb``, ``threads``;
    - of the machine: ``system_cpu_percent`` (of all processors, 0 to 100), ``memory_used_gb``,
      ``memory_available_gb``, ``disk_free_gb`` where the run lies;
    - per card: ``gpuN_util`` (0 to 100), ``gpuN_memory_gb`` (in use, by anybody), ``gpuN_power_w``,
      ``gpuN_temp_c``; N is the number that ``nvidia-smi`` shows.

    The first sample covers the time since the sampler was made. It also opens the cards' library, which may
    take a second; the later ones take a few milliseconds.

    Args:
        process: the training process, as ``psutil.Process`` or its id; None is this one.
        interval_s: how often ``due`` asks for a sample; at least ``MIN_INTERVAL_S``.
        run_dir: whose file system ``disk_free_gb`` is about.
        environ: where ``CUDA_VISIBLE_DEVICES`` is read; cards that it hides are not sampled.
        clock: monotonic seconds.
        nvml: what to ask about cards; by default ``pynvml``, when it is installed and there is a card.

    Attributes:
        interval_s: as given.
        notes: what is not sampled, and why.

    Raises:
        ValueError: the interval is out of range.
        psutil.NoSuchProcess: there is no such process.
    """

    def __init__(
        self,
        *,
        process: psutil.Process | int | None = None,
        interval_s: float = 10.0,
        run_dir: Path = Path(),
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        nvml: Any = None,
    ) -> None:
        import psutil  # noqa: PLC0415 - 15 ms that `import barograph` need not pay

        if not interval_s >= MIN_INTERVAL_S:
            raise ValueError(f"interval_s is {interval_s!r}; give at least {MIN_INTERVAL_S} seconds")
        self.interval_s = interval_s
        self.notes: list[str] = []
        self._process = process if isinstance(process, psutil.Process) else psutil.Process(process)
        self._tree = _Tree(self._process)
        self._run_dir = run_dir
        self._clock = clock
        self._nvml, self._environ = nvml, environ
        self._gpus: GpuSampler | None = None
        self._gpus_opened = False
        self._peaks: dict[str, float] = {}
        self._started_s = self._sampled_s = self._due_s = clock()
        self._last = self._tree.usage()
        psutil.cpu_percent()  # sets the mark that the next call measures from

    def due(self) -> bool:
        """Whether ``interval_s`` has passed since the last sample; true before the first one."""
        return self._clock() >= self._due_s

    def sample(self) -> dict[str, float]:
        """One sample; see the class for its keys."""
        now_s = self._clock()
        figures = {**self._process_figures(now_s), **self._machine_figures(), **self._gpu_figures()}
        self._sampled_s, self._due_s = now_s, now_s + self.interval_s
        for key, value in figures.items():
            if key.startswith("gpu") and key.endswith("_memory_gb"):
                peak = key.replace("_memory_gb", "_peak_memory_gb")
                self._peaks[peak] = max(value, self._peaks.get(peak, 0.0))
        return figures

    def summary(self) -> dict[str, float]:
        """``wall_time_s`` since the sampler was made, ``peak_rss_gb``, and ``gpuN_peak_memory_gb`` of all samples."""
        wall_time_s = self._clock() - self._started_s
        return {"wall_time_s": wall_time_s, "peak_rss_gb": peak_rss_gb(), **self._peaks}

    def close(self) -> None:
        """Close the cards' library; cards are not sampled after that."""
        if self._gpus is not None:
            self._gpus.close()
            self._gpus = None

    def _process_figures(self, now_s: float) -> dict[str, float]:
        import psutil  # noqa: PLC0415 - see __init__

        try:
            threads, usage = self._process.num_threads(), self._tree.usage()
        except psutil.Error as error:
            self._note(f"process {self._process.pid} cannot be sampled ({type(error).__name__})")
            return {}
        last, self._last = self._last, usage
        figures = {
            "cpu_percent": max(usage.cpu_s - last.cpu_s, 0.0) / max(now_s - self._sampled_s, 1e-9) * 100,
            "rss_gb": usage.root_rss_bytes / GB,
            "tree_rss_gb": usage.rss_bytes / GB,
            "threads": float(threads),
            "processes": float(usage.num_processes),
        }
        if usage.has_io:
            figures["disk_read_mb"] = max(usage.read_bytes - last.read_bytes, 0) / MB
            figures["disk_write_mb"] = max(usage.write_bytes - last.write_bytes, 0) / MB
        return figures

    def _machine_figures(self) -> dict[str, float]:
        import psutil  # noqa: PLC0415 - see __init__

        memory = psutil.virtual_memory()
        figures = {
            "system_cpu_percent": psutil.cpu_percent(),
            "memory_used_gb": memory.used / GB,
            "memory_available_gb": memory.available / GB,
        }
        try:
            disk = os.statvfs(self._run_dir)
        except OSError as error:
            self._note(f"the disk of {self._run_dir} cannot be asked ({error.strerror})")
        else:
            figures["disk_free_gb"] = disk.f_bavail * disk.f_frsize / GB
        return figures

    def _gpu_figures(self) -> dict[str, float]:
        if not self._gpus_opened:
            self._gpus_opened = True
            self._gpus, note = open_gpus(environ=self._environ, nvml=self._nvml)
            self._note(note)
        if self._gpus is None:
            return {}
        try:
            return self._gpus.sample()
        except Exception as error:  # noqa: BLE001 - a vendor's library may raise anything; it is dropped, with the reason
            self._note(f"the cards are no longer sampled: {type(error).__name__}: {error}")
            self.close()
            return {}

    def _note(self, note: str | None) -> None:
        if note is not None and note not in self.notes:
            self.notes.append(note)


def peak_rss_gb(status: Path = _PROC / "self" / "status") -> float:
    """The most memory that this process has held at once, in GB.

    ``getrusage`` answers where ``status`` has no ``VmHWM``; under Linux its number also counts what the parent
    held before ``exec``, so a small job of a big launcher would look big.
    """
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / GB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / GB


class _Usage(NamedTuple):
    """What a process tree has used since it began; what ended and was waited for stays in its parent's count."""

    cpu_s: float
    root_rss_bytes: int
    rss_bytes: int
    read_bytes: int
    write_bytes: int
    has_io: bool
    num_processes: int


class _Tree:
    """A process and all its descendants."""

    def __init__(self, root: psutil.Process) -> None:
        self._root = root
        task = _PROC / str(root.pid) / "task" / str(root.pid)
        self._kernel_lists_children = (task / "children").exists()

    def usage(self) -> _Usage:
        """Sums over the tree.

        Raises:
            psutil.Error: the root cannot be asked; a descendant that ends meanwhile is left out.
        """
        import psutil  # noqa: PLC0415 - see HostSampler

        measured = [_measure(self._root)]
        for child in self._descendants():
            try:
                measured.append(_measure(child))
            except psutil.Error:
                continue  # it ended between the listing and the asking
        counted = [io for _cpu_s, _rss, io in measured if io is not None]
        return _Usage(
            cpu_s=sum(cpu_s for cpu_s, _rss, _io in measured),
            root_rss_bytes=measured[0][1],
            rss_bytes=sum(rss for _cpu_s, rss, _io in measured),
            read_bytes=sum(read for read, _write in counted),
            write_bytes=sum(write for _read, write in counted),
            has_io=measured[0][2] is not None,
            num_processes=len(measured),
        )

    def _descendants(self) -> list[psutil.Process]:
        """By the kernel's own list where it keeps one; psutil reads every process of the machine instead."""
        import psutil  # noqa: PLC0415 - see HostSampler

        if not self._kernel_lists_children:
            return self._root.children(recursive=True)
        found = []
        for pid in descendant_ids(self._root.pid):
            try:
                found.append(psutil.Process(pid))
            except psutil.NoSuchProcess:
                continue  # it ended between the listing and the asking
        return found


def descendant_ids(pid: int, *, proc: Path = _PROC) -> list[int]:
    """Ids of all descendants of a process, from ``/proc/PID/task/*/children``."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for listing in (proc / str(waiting.pop())).glob("task/*/children"):
            try:
                children = [int(child) for child in listing.read_text(encoding="ascii").split()]
            except OSError:
                continue  # that thread ended meanwhile; its children move to another one's list
            found += children
            waiting += children
    return found


def _measure(process: psutil.Process) -> tuple[float, int, tuple[int, int] | None]:
    """Seconds of processor time, resident bytes, and bytes read and written (None: the system does not say)."""
    import psutil  # noqa: PLC0415 - see HostSampler

    with process.oneshot():
        times = process.cpu_times()
        rss_bytes = process.memory_info().rss
        try:
            io = process.io_counters() if hasattr(process, "io_counters") else None
        except psutil.AccessDenied:
            io = None
    cpu_s = times.user + times.system + times.children_user + times.children_system
    return cpu_s, rss_bytes, None if io is None else (io.read_bytes, io.write_bytes)


class GpuSampler:
    """Asks NVIDIA's management library about the cards that this process may use.

    Args:
        nvml: the ``pynvml`` module.
        environ: where ``CUDA_VISIBLE_DEVICES`` is read.

    Raises:
        Exception: the library cannot be opened.
    """

    def __init__(self, nvml: Any, *, environ: Mapping[str, str]) -> None:
        self._nvml = nvml
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        uuids = [nvml.nvmlDeviceGetUUID(handle) for handle in handles]
        visible = visible_indices(uuids, environ.get("CUDA_VISIBLE_DEVICES"))
        self._handles = {index: handles[index] for index in visible}
        self._unsupported: set[tuple[int, str]] = set()

    def describe(self) -> list[dict[str, Any]]:
        """Index, name and total memory of each visible card."""
        return [
            {
                "index": index,
                "name": self._nvml.nvmlDeviceGetName(handle),
                "memory_gb": round(self._nvml.nvmlDeviceGetMemoryInfo(handle).total / GB, 1),
            }
            for index, handle in self._handles.items()
        ]

    def driver(self) -> str:
        """Version of the driver."""
        return str(self._nvml.nvmlSystemGetDriverVersion())

    def sample(self) -> dict[str, float]:
        """The figures of ``HostSampler`` per card; one that a card does not support is left out.

        Raises:
            Exception: whatever else the library raises.
        """
        figures: dict[str, float] = {}
        for index, handle in self._handles.items():
            for key, ask in self._questions().items():
                if (index, key) in self._unsupported:
                    continue
                try:
                    figures[f"gpu{index}_{key}"] = ask(handle)
                except self._nvml.NVMLError_NotSupported:
                    self._unsupported.add((index, key))
        return figures

    def close(self) -> None:
        """Close the library; one that fails at that has nothing left to close."""
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            return

    def _questions(self) -> dict[str, Callable[[Any], float]]:
        nvml = self._nvml
        return {
            "util": lambda handle: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            "memory_gb": lambda handle: nvml.nvmlDeviceGetMemoryInfo(handle).used / GB,
            "power_w": lambda handle: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
            "temp_c": lambda handle: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        }


def visible_indices(uuids: list[str], setting: str | None) -> list[int]:
    """Which cards ``CUDA_VISIBLE_DEVICES`` leaves visible, by its own rule: what follows a wrong entry is hidden.

    Cards are named by number or by the beginning of their UUID. A slice of a card (``MIG-...``) does not tell
    its card, so all of them count as visible. Numbers are taken as ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` counts; on a
    machine with different cards CUDA's default order may be another one.

    >>> visible_indices(["GPU-aa", "GPU-bb", "GPU-cc"], "2,GPU-a")
    [2, 0]
    """
    if setting is None or setting.startswith("MIG-"):
        return list(range(len(uuids)))
    found: list[int] = []
    for entry in setting.split(","):
        name = entry.strip()
        matching = [index for index, uuid in enumerate(uuids) if name.startswith("GPU-") and uuid.startswith(name)]
        if name.isdecimal() and int(name) < len(uuids):
            matching = [int(name)]
        if len(matching) != 1:
            break
        found += matching
    return found


def open_gpus(
    *, environ: Mapping[str, str], nvml: Any = None, system_root: Path = Path("/")
) -> tuple[GpuSampler | None, str | None]:
    """Open the cards' library when there is a card.

    Returns:
        The sampler, or None and the reason; the reason is None too where there is simply no card.
    """
    if nvml is None:
        if not any((system_root / node).exists() for node in _CARD_NODES):
            return None, None
        try:
            import pynvml  # noqa: PLC0415 - 20 ms, and only installed with the extra `gpu`
        except ImportError:
            return None, "cards are not sampled: nvidia-ml-py is missing; pip install 'barograph[gpu]'"
        nvml = pynvml
    try:
        return GpuSampler(nvml, environ=environ), None
    except Exception as error:  # noqa: BLE001 - a vendor's library may raise anything; the reason is returned
        return None, f"cards are not sampled: {type(error).__name__}: {error}"
