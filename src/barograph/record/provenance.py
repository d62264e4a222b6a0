"""Where a run came from: command line, interpreter, code, packages, machine, Hydra, environment.

Collected once at the start, without importing a framework. What cannot be told is null, and a note beside it
says why; nothing raises because a machine is unusual. Credentials are taken out before anything is returned.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from barograph.record.git import FIELDS as GIT_FIELDS
from barograph.record.git import TIMEOUT_S as GIT_TIMEOUT_S
from barograph.record.git import read_git
from barograph.record.host import GB, open_gpus
from barograph.record.redact import redact, redact_argv, redact_text

PACKAGES_TIMEOUT_S: Final = 2.0
GPU_TIMEOUT_S: Final = 2.0
ENVIRONMENT_NAMES: Final = frozenset(
    {
        *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK"),
        *("MASTER_ADDR", "MASTER_PORT", "LSB_JOBID", "PBS_JOBID", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE"),
        *("PYTHONHASHSEED", "PYTHONOPTIMIZE", "PYTHONPATH", "CONDA_DEFAULT_ENV", "TZ", "LANG", "LC_ALL"),
        *("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG", "XLA_FLAGS", "JAX_PLATFORMS"),
        "TOKENIZERS_PARALLELISM",
    }
)
ENVIRONMENT_PREFIXES: Final = ("CUDA_", "SLURM_", "HYDRA_", "OMP_", "MKL_", "OPENBLAS_", "NCCL_", "TORCH_")
_PERSONAL: Final = ("_USER", "_UID", "_GID", "_GROUP", "_ACCOUNT", "_MAIL", "_MAIL_USER")
_UNLIMITED_BYTES: Final = 1 << 60
_Result = TypeVar("_Result")


def collect_provenance(
    *,
    argv: Sequence[str],
    environ: Mapping[str, str],
    cwd: Path,
    seed: int | None,
    run_dir: Path | None = None,
    system_root: Path = Path("/"),
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """What ``run.json`` says about where a run came from, as JSON-able data.

    The keys: ``argv``, ``cwd``, ``seed``, ``python``, ``platform``, ``host``, ``gpus``, ``gpu_driver``, ``git`` (see
    ``read_git``), ``packages`` (``name==version``), ``environment`` (allow-listed names only), ``hydra``,
    ``container``, ``redacted`` (where a credential was taken out) and ``collect_s``. ``git_note``, ``gpu_note``,
    ``packages_note`` and ``hydra_note`` say why something is missing. The uncommitted changes themselves may be
    big: ``collect_diff``.

    Args:
        argv: the command line.
        environ: the environment; of it only the names that tell how a computation runs are kept.
        cwd: where the program runs. The code's repository is looked for there, then beside the script.
        seed: the run's seed.
        run_dir: the run's directory, where ``.hydra`` is looked for first.
        system_root: where ``/proc``, ``/sys`` and ``/dev`` are.
        clock: seconds, for ``collect_s``.
    """
    started_s = clock()
    script_dir = Path(cwd, argv[0]).resolve().parent if argv and argv[0] else cwd
    git = _Background(lambda: read_git([cwd, script_dir], environ=environ))
    gpus = _Background(lambda: _read_gpus(environ, system_root))
    packages, packages_note = list_packages()
    clean_argv, redacted_arguments = redact_argv(argv)
    environment, redacted_names = redact(_select_environment(environ))
    hydra, hydra_note = read_hydra([run_dir, _hydra_output_dir(), cwd])
    cards, driver, gpu_note = gpus.result(GPU_TIMEOUT_S, (None, None, "the cards did not answer in time"))
    state, git_note = git.result(2 * GIT_TIMEOUT_S, (dict.fromkeys(GIT_FIELDS), "git did not answer in time"))
    remote = state["remote"]
    state["remote"] = remote and redact_text(remote)
    return {
        "argv": clean_argv,
        "cwd": str(cwd),
        "seed": seed,
        "python": {
            "version": ".".join(map(str, sys.version_info[:3])),
            "implementation": sys.implementation.name,
            "executable": sys.executable,
        },
        "platform": _platform(),
        "host": _read_host(system_root),
        "gpus": cards,
        "gpu_driver": driver,
        "gpu_note": gpu_note,
        "git": state,
        "git_note": git_note and redact_text(git_note),
        "packages": packages,
        "packages_note": packages_note,
        "environment": environment,
        "hydra": hydra,
        "hydra_note": hydra_note,
        "container": read_container(environ, system_root=system_root),
        "redacted": [
            *(f"argv[{index}]" for index in redacted_arguments),
            *(f"environment.{name}" for name in redacted_names),
            *(["git.remote"] if state["remote"] != remote else []),
        ],
        "collect_s": clock() - started_s,
    }


def list_packages(
    *, path: Sequence[str] | None = None, timeout_s: float = PACKAGES_TIMEOUT_S
) -> tuple[list[str], str | None]:
    """Installed distributions as ``name==version``, sorted; of several of one name the one that Python imports.

    Args:
        path: directories to look in; ``sys.path`` by default.
        timeout_s: how long it may take; a slow network disk gives a part of the list.

    Returns:
        The list, and a note when it is not complete.
    """
    from importlib import metadata  # noqa: PLC0415 - 20 ms that `import barograph` need not pay

    deadline_s = time.monotonic() + timeout_s
    found: dict[str, str] = {}
    unreadable = 0
    for distribution in metadata.distributions(path=list(sys.path if path is None else path)):
        if time.monotonic() > deadline_s:
            return sorted(found.values()), f"the list of packages was cut after {timeout_s:g} s"
        try:
            text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        except (OSError, ValueError):
            text = ""
        fields = dict(re.findall(r"^(Name|Version): *(\S+)", text.partition("\n\n")[0], re.MULTILINE))
        if len(fields) == 2:  # noqa: PLR2004 - the two that are looked for
            key = re.sub(r"[-_.]+", "-", fields["Name"]).lower()
            found.setdefault(key, f"{fields['Name']}=={fields['Version']}")
        else:
            unreadable += 1
    note = f"{unreadable} installed distributions have no readable name and version" if unreadable else None
    return [found[key] for key in sorted(found)], note


def read_hydra(directories: Sequence[Path | None]) -> tuple[dict[str, Any] | None, str | None]:
    """The first of the directories in which Hydra left a ``.hydra``: where it is and what was overridden.

    Returns:
        ``path``, ``config`` (the exact configuration's file, None when absent) and ``overrides``, credentials taken
        out; or None where there is no ``.hydra``. The note says why overrides are unknown.
    """
    path = next((path for base in directories if base and (path := base / ".hydra").is_dir()), None)
    if path is None:
        return None, None
    config = path / "config.yaml"
    hydra: dict[str, Any] = {"path": str(path), "config": str(config) if config.is_file() else None, "overrides": None}
    import yaml  # noqa: PLC0415 - only where Hydra runs, and Hydra has imported it

    try:
        overrides = yaml.safe_load((path / "overrides.yaml").read_bytes()) or []
    except (OSError, ValueError, yaml.YAMLError) as error:
        return hydra, f"Hydra's overrides cannot be read: {' '.join(str(error).split())}"
    if not isinstance(overrides, list):
        return hydra, f"{path / 'overrides.yaml'} is not a list of overrides"
    hydra["overrides"], _ = redact_argv([str(override) for override in overrides])
    return hydra, None


def read_container(environ: Mapping[str, str], *, system_root: Path = Path("/")) -> dict[str, Any]:
    """Hints of a container: its ``kind``, and the ``memory_limit_gb`` and ``cpu_limit`` of its control group.

    What is unlimited or unknown is None.
    """
    files = {"docker": system_root / ".dockerenv", "podman": system_root / "run/.containerenv"}
    names = {
        "apptainer": ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"),
        "kubernetes": ("KUBERNETES_SERVICE_HOST",),
    }
    by_name = [kind for kind, variables in names.items() if any(name in environ for name in variables)]
    by_file = [kind for kind, file in files.items() if file.exists()]
    groups = _control_groups(system_root)
    memory = [int(text) for text in _settings(groups, "memory.max", "memory.limit_in_bytes") if text.isdecimal()]
    limited = [size_bytes for size_bytes in memory if size_bytes < _UNLIMITED_BYTES]
    return {
        "kind": next(iter(by_name + by_file), None),
        "memory_limit_gb": round(min(limited) / GB, 3) if limited else None,
        "cpu_limit": _cpu_limit(groups),
    }


class _Background(Generic[_Result]):
    """A call that runs beside the caller; where no thread can be started it runs at once."""

    def __init__(self, call: Callable[[], _Result]) -> None:
        self._call = call
        self._answer: _Result | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="barograph-provenance", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the limit of threads is reached
            self._run()

    def _run(self) -> None:
        try:
            self._answer = self._call()
        except Exception as error:  # noqa: BLE001 - raised again where the result is asked for
            self._error = error

    def result(self, timeout_s: float, otherwise: _Result) -> _Result:
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._error is not None:
            raise self._error
        return otherwise if self._answer is None else self._answer


def _read_gpus(
    environ: Mapping[str, str], system_root: Path
) -> tuple[list[dict[str, Any]] | None, str | None, str | None]:
    gpus, note = open_gpus(environ=environ, system_root=system_root)
    if gpus is None:
        return (None if note else []), None, note
    try:
        return gpus.describe(), gpus.driver(), None
    except Exception as error:  # noqa: BLE001 - a vendor's library may raise anything; the reason is recorded
        return None, None, f"the cards cannot be asked: {type(error).__name__}: {error}"
    finally:
        gpus.close()


def _select_environment(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in sorted(environ.items())
        if (name in ENVIRONMENT_NAMES or name.startswith(ENVIRONMENT_PREFIXES)) and not name.endswith(_PERSONAL)
    }
    virtual = environ.get("VIRTUAL_ENV")
    return {**kept, "VIRTUAL_ENV": Path(virtual).name} if virtual else kept


def _hydra_output_dir() -> Path | None:
    """Hydra's output directory when this process runs under Hydra; it may be another one than the current."""
    module = sys.modules.get("hydra.core.hydra_config")
    if module is None or not module.HydraConfig.initialized():
        return None
    output_dir = module.HydraConfig.get().runtime.output_dir
    return Path(output_dir) if output_dir else None


def _platform() -> str:
    system = os.uname()
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):  # another C library than GNU's
        library = ""
    return "-".join(filter(None, (system.sysname, system.release, system.machine, library.replace(" ", ""))))


def _read_host(system_root: Path) -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    models = re.search(r"^model name\s*:\s*(.+)$", _read_text(system_root / "proc/cpuinfo"), re.MULTILINE)
    return {
        "name": os.uname().nodename,
        "os": f"{os.uname().sysname} {os.uname().release}",
        "cpu_model": models.group(1) if models else None,
        "cpu_count": os.cpu_count(),
        "cpu_usable": usable,
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GB, 3),
    }


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # the file is a hint of the system's, absent on many


def _control_groups(system_root: Path) -> list[Path]:
    """The directories of this process's control groups and of all above them, versions 1 and 2."""
    mount = system_root / "sys/fs/cgroup"
    found: list[Path] = []
    for line in _read_text(system_root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        base = mount / controllers if controllers else mount
        inside = Path(group.lstrip("/"))
        found += [base / inside, *(base / parent for parent in inside.parents)]
    return list(dict.fromkeys(found))


def _settings(groups: Sequence[Path], *names: str) -> list[str]:
    texts = [_read_text(group / name).strip() for group in groups for name in names]
    return [text for text in texts if text]


def _cpu_limit(groups: Sequence[Path]) -> float | None:
    """Processors' worth of time that the tightest group allows."""
    pairs = [text.split() for text in _settings(groups, "cpu.max")]
    for group in groups:
        quota, period = (_settings([group], f"cpu.cfs_{part}_us") for part in ("quota", "period"))
        pairs += [quota + period]
    limits = [int(pair[0]) / int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0].isdecimal()]  # noqa: PLR2004
    return round(min(limits), 3) if limits else None
