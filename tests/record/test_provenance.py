from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from barograph.record import provenance
from barograph.record.provenance import collect_provenance, list_packages, read_container, read_hydra
from barograph.record.redact import REDACTED


@pytest.fixture
def environ(tmp_path):
    """Enough of an environment to run git, and nothing of the test machine's."""
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CEILING_DIRECTORIES": str(tmp_path)}


def _collect(tmp_path, environ, **overrides):
    return collect_provenance(**{"argv": ["train.py"], "environ": environ, "cwd": tmp_path, "seed": 0, **overrides})


@pytest.mark.spec("S2.40", "S4.39")
def test_a_record_says_what_ran_where_and_with_what(tmp_path, environ):
    """Interpreter, machine and packages agree with what those say of themselves, and all of it is JSON."""
    record = _collect(tmp_path, environ, argv=["train.py", "--lr", "0.1"], seed=7)
    assert (["train.py", "--lr", "0.1"], 7, str(tmp_path)) == (record["argv"], record["seed"], record["cwd"])
    assert ".".join(map(str, sys.version_info[:3])) == record["python"]["version"]
    assert sys.executable == record["python"]["executable"]
    assert os.uname().release in record["platform"]
    assert psutil.cpu_count() == record["host"]["cpu_count"]
    assert len(psutil.Process().cpu_affinity()) == record["host"]["cpu_usable"]
    assert round(psutil.virtual_memory().total / 1e9, 3) == record["host"]["memory_gb"]
    assert f"psutil=={psutil.__version__}" in record["packages"]
    assert 0 < record["collect_s"] < 60
    assert record == json.loads(json.dumps(record))


def test_collecting_takes_a_fraction_of_a_second(tmp_path, environ):
    """Starting a run waits for it, so the best of five is within the budget of 150 ms."""
    assert min(_collect(tmp_path, environ)["collect_s"] for _ in range(5)) < 0.15


def test_collecting_imports_no_framework_and_leaves_no_thread(tmp_path):
    """Neither torch, numpy nor the cards' library is loaded, and what ran beside is gone."""
    script = textwrap.dedent(
        """
        import os, sys, threading
        from pathlib import Path
        from barograph.record.provenance import collect_provenance
        collect_provenance(argv=sys.argv, environ=os.environ, cwd=Path.cwd(), seed=None)
        print(sorted({"torch", "numpy", "hydra", "yaml", "psutil"} & set(sys.modules)), threading.active_count())
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[] 1\n"


def test_no_repository_is_null_with_a_note(tmp_path, environ):
    """Code outside git is told by nulls and the reason."""
    record = _collect(tmp_path, environ)
    assert {None} == set(record["git"].values())
    assert "not a git repository" in record["git_note"]


def _make_repository(path: Path, environ: dict[str, str]) -> str:
    path.mkdir()
    name = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], [*name, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(path), *arguments], env=environ, check=True)
    command = ["git", "-C", str(path), "rev-parse", "HEAD"]
    return subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout.strip()


def test_the_repository_beside_the_script_is_found(tmp_path, environ):
    """A script started from elsewhere (a scheduler, Hydra's output directory) still tells its commit."""
    commit = _make_repository(tmp_path / "repo", environ)
    script = tmp_path / "repo" / "train.py"
    script.touch()
    (tmp_path / "elsewhere").mkdir()
    record = _collect(tmp_path, environ, argv=[str(script)], cwd=tmp_path / "elsewhere")
    assert (commit, None) == (record["git"]["commit"], record["git_note"])
    link = tmp_path / "elsewhere" / "link.py"
    link.symlink_to(script)
    assert commit == _collect(tmp_path, environ, argv=[str(link)], cwd=link.parent)["git"]["commit"]


def test_an_interactive_session_looks_in_its_own_directory_only(tmp_path, environ):
    """With an empty script name the parent directory's repository is not taken for the code's."""
    _make_repository(tmp_path / "repo", environ)
    inner = tmp_path / "repo" / "inner"
    inner.mkdir()
    outside = {**environ, "GIT_CEILING_DIRECTORIES": f"{tmp_path}:{tmp_path / 'repo'}"}
    assert _collect(tmp_path, outside, argv=[""], cwd=inner)["git"]["commit"] is None


def test_credentials_are_taken_out_of_arguments_environment_and_remote(tmp_path, environ):
    """What was taken out is named, and the secret is nowhere in the record."""
    _make_repository(tmp_path / "repo", environ)
    url = "https://me:hunter2@example.org/repo.git"
    subprocess.run(["git", "-C", str(tmp_path / "repo"), "remote", "add", "origin", url], env=environ, check=True)
    record = _collect(
        tmp_path,
        {**environ, "SLURM_JWT": "hunter2", "SLURM_JOB_ID": "17"},
        argv=["train.py", "--api-key=hunter2", "--password", "hunter2"],
        cwd=tmp_path / "repo",
    )
    assert "hunter2" not in json.dumps(record)
    assert f"https://me:{REDACTED}@example.org/repo.git" == record["git"]["remote"]
    assert record["redacted"] == ["argv[1]", "argv[3]", "environment.SLURM_JWT", "git.remote"]
    assert record["environment"]["SLURM_JOB_ID"] == "17"


def test_only_allow_listed_variables_are_kept(tmp_path, environ):
    """What tells how a computation runs is kept; secrets, people and everything else are not."""
    given = {
        "CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_ID": "17", "RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1",
        "MASTER_ADDR": "node1", "OMP_NUM_THREADS": "4", "PYTHONHASHSEED": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "HYDRA_FULL_ERROR": "1", "CONDA_DEFAULT_ENV": "ml",
    }  # fmt: skip
    others = {
        "AWS_SECRET_ACCESS_KEY": "x", "OPENAI_API_KEY": "x", "USER": "x", "SSH_AUTH_SOCK": "x", "SLURM_JOB_USER": "x",
        "SLURM_JOB_UID": "1", "MY_RANK": "x", "VIRTUAL_ENV": "/home/somebody/project/.venv",
    }  # fmt: skip
    record = _collect(tmp_path, {**environ, **given, **others})
    assert {**given, "VIRTUAL_ENV": ".venv"} == record["environment"]


def test_packages_are_those_that_pip_would_list():
    """Names and versions agree with the interpreter's own metadata, sorted without regard to case."""
    packages, note = list_packages()
    expected = {f"{found.name}=={found.version}" for found in metadata.distributions()}
    assert (expected, None) == (set(packages), note)
    names = [package.partition("==")[0].lower().replace("_", "-").replace(".", "-") for package in packages]
    assert sorted(names) == names


def _install(directory: Path, name: str, version: str) -> None:
    info = directory / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: not-this\nVersion: 9\n"
    (info / "METADATA").write_text(text, encoding="utf-8")


def test_of_two_installations_the_one_that_is_imported_counts(tmp_path):
    """The directory that comes first on the path wins, whatever spelling the name has."""
    _install(tmp_path / "first", "Some_Thing", "1.0")
    _install(tmp_path / "second", "some-thing", "2.0")
    _install(tmp_path / "second", "other", "3.0")
    packages, note = list_packages(path=[str(tmp_path / "first"), str(tmp_path / "second")])
    assert (packages, note) == (["other==3.0", "Some_Thing==1.0"], None)


def test_a_damaged_installation_is_counted_not_raised(tmp_path):
    """A package whose metadata is unreadable leaves the others in the list."""
    _install(tmp_path, "good", "1.0")
    (tmp_path / "bad-1.0.dist-info").mkdir()
    (tmp_path / "worse-1.0.dist-info").mkdir()
    (tmp_path / "worse-1.0.dist-info" / "METADATA").write_bytes(b"Name: \xff\xfe\n")
    packages, note = list_packages(path=[str(tmp_path)])
    assert (packages, note) == (["good==1.0"], "2 installed distributions have no readable name and version")


def test_a_slow_disk_gives_a_part_of_the_list(tmp_path):
    """The time limit holds, and the note says that the list was cut."""
    _install(tmp_path, "one", "1.0")
    assert list_packages(path=[str(tmp_path)], timeout_s=-1) == ([], "the list of packages was cut after -1 s")


HYDRA_APP = """
import json, os, sys
from pathlib import Path
import hydra
from barograph.record.config import plain_config, read_config_yaml
from barograph.record.provenance import collect_provenance

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    record = collect_provenance(argv=sys.argv, environ=os.environ, cwd=Path.cwd(), seed=cfg.seed)
    found = {key: record[key] for key in ("hydra", "hydra_note", "argv")}
    saved = read_config_yaml(Path(record["hydra"]["config"]))
    print(json.dumps({**found, "cfg": plain_config(cfg), "saved": saved}))

main()
"""


@pytest.mark.parametrize("chdir", ["true", "false"])
@pytest.mark.spec("S3.58", "S3.74", "S4.39")
def test_a_real_hydra_run_is_found_with_its_overrides(tmp_path, chdir):
    """Hydra's exact config is referenced and the overrides recorded, whether or not Hydra changes directory."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("seed: 1\noptim: {lr: 0.1}\ndb: {password: x}\n", encoding="utf-8")
    (tmp_path / "app.py").write_text(HYDRA_APP, encoding="utf-8")
    overrides = ["optim.lr=0.5", "seed=3", "db.password=hunter2"]
    settings = [f"hydra.run.dir={tmp_path}/out", f"hydra.job.chdir={chdir}"]
    command = [sys.executable, "app.py", *overrides, *settings]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert {
        "path": f"{tmp_path}/out/.hydra",
        "config": f"{tmp_path}/out/.hydra/config.yaml",
        "overrides": ["optim.lr=0.5", "seed=3", f"db.password={REDACTED}"],
    } == seen["hydra"]
    assert seen["hydra_note"] is None
    assert {"seed": 3, "optim": {"lr": 0.5}, "db": {"password": "hunter2"}} == seen["cfg"] == seen["saved"]
    assert ["app.py", "optim.lr=0.5", "seed=3", f"db.password={REDACTED}", *settings] == seen["argv"]


def test_the_run_directory_s_hydra_comes_first(tmp_path, environ):
    """A `.hydra` inside the run describes the run; one in the current directory may be another's."""
    for name in ("run", "cwd"):
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / ".hydra" / "overrides.yaml").write_text(f"- at={name}\n", encoding="utf-8")
    found = _collect(tmp_path, environ, cwd=tmp_path / "cwd", run_dir=tmp_path / "run")["hydra"]
    assert (found["overrides"], found["config"]) == (["at=run"], None)
    assert _collect(tmp_path, environ, cwd=tmp_path / "cwd")["hydra"]["overrides"] == ["at=cwd"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Hydra's overrides cannot be read: .*No such file"),
        (b"- [", "Hydra's overrides cannot be read: .*line 1"),
        (b"a: 1", "is not a list of overrides"),
    ],
)
def test_unreadable_overrides_are_null_with_a_note(tmp_path, content, message):
    """A `.hydra` that is not as Hydra writes it is still referenced."""
    (tmp_path / ".hydra").mkdir()
    if content is not None:
        (tmp_path / ".hydra" / "overrides.yaml").write_bytes(content)
    hydra, note = read_hydra([None, tmp_path])
    assert {"path": str(tmp_path / ".hydra"), "config": None, "overrides": None} == hydra
    assert re.search(message, note)


def _system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("files", "environ", "expected"),
    [
        ({}, {}, (None, None, None)),
        ({".dockerenv": "", "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "8000000000\n",
          "sys/fs/cgroup/cpu.max": "250000 100000\n"}, {}, ("docker", 8.0, 2.5)),
        ({"proc/self/cgroup": "0::/slurm/job_1/step_0\n", "sys/fs/cgroup/slurm/job_1/memory.max": "4000000000\n",
          "sys/fs/cgroup/slurm/memory.max": "9000000000\n", "sys/fs/cgroup/slurm/job_1/step_0/memory.max": "max\n",
          "sys/fs/cgroup/slurm/cpu.max": "max 100000\n"}, {}, (None, 4.0, None)),
        ({"proc/self/cgroup": "4:memory:/docker/abc\n1:cpu:/\n",
          "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000000000\n",
          "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
         {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, ("kubernetes", 2.0, 1.5)),
        ({"proc/self/cgroup": "4:memory:/\n1:cpu:/\n", "run/.containerenv": "",
          "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
          "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
         {}, ("podman", None, None)),
        ({}, {"SINGULARITY_CONTAINER": "/x.sif"}, ("apptainer", None, None)),
    ],
    ids=["bare", "version 2", "version 2 nested", "version 1", "version 1 unlimited", "apptainer"],
)  # fmt: skip
def test_the_limits_of_a_container_are_the_tightest_of_its_groups(tmp_path, files, environ, expected):
    """Both versions of control groups are read, from the process's own group up to the top."""
    found = read_container(environ, system_root=_system(tmp_path, files))
    assert expected == (found["kind"], found["memory_limit_gb"], found["cpu_limit"])


def test_a_bare_system_without_proc_gives_nulls(tmp_path, environ):
    """Where the usual files are missing nothing is invented and nothing raises."""
    record = _collect(tmp_path, environ, system_root=tmp_path / "nothing")
    assert record["host"]["cpu_model"] is None
    assert (record["gpus"], record["gpu_driver"], record["gpu_note"]) == ([], None, None)


def test_a_card_whose_library_fails_is_null_with_a_note(tmp_path, environ):
    """A device node without a working driver, as in many containers: the reason is kept."""
    record = _collect(tmp_path, environ, system_root=_system(tmp_path / "root", {"dev/nvidiactl": ""}))
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a working card")
    assert record["gpus"] is None
    assert record["gpu_note"].startswith("cards are not sampled: NVMLError")


def test_cards_are_described_by_name_and_memory(tmp_path, environ, monkeypatch):
    """The visible cards and the driver are recorded; a library that fails half-way leaves the reason."""
    library = SimpleNamespace(
        NVMLError=LookupError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}",
        nvmlDeviceGetName=lambda handle: f"Card {handle}",
        nvmlDeviceGetMemoryInfo=lambda _handle: SimpleNamespace(total=80_040_000_000),
        nvmlSystemGetDriverVersion=lambda: "600.1",
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    root = _system(tmp_path / "root", {"dev/nvidiactl": ""})
    record = _collect(tmp_path, {**environ, "CUDA_VISIBLE_DEVICES": "1"}, system_root=root)
    assert record["gpus"] == [{"index": 1, "name": "Card 1", "memory_gb": 80.0}]
    assert (record["gpu_driver"], record["gpu_note"]) == ("600.1", None)
    del library.nvmlDeviceGetName
    record = _collect(tmp_path, environ, system_root=root)
    assert record["gpus"] is None
    assert record["gpu_note"].startswith("the cards cannot be asked: AttributeError")


@pytest.mark.gpu
def test_real_cards_are_named(tmp_path):
    """With a card, its name and memory are those that nvidia-smi tells."""
    if not Path("/dev/nvidiactl").exists():
        pytest.skip("no NVIDIA card here")
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().splitlines()
    record = _collect(tmp_path, {"PATH": os.environ["PATH"]})
    assert [line.split(", ")[0] for line in lines] == [card["name"] for card in record["gpus"]]
    assert lines[0].split(", ")[1] == record["gpu_driver"]


def test_a_library_of_cards_that_hangs_costs_its_time_limit_only(tmp_path, environ, monkeypatch):
    """A driver that never answers leaves nulls and a note; the rest of the record is whole."""
    release = threading.Event()
    monkeypatch.setattr(provenance, "open_gpus", lambda **_: (release.wait(30), (None, None))[1])
    monkeypatch.setattr(provenance, "GPU_TIMEOUT_S", 0.1)
    started = time.monotonic()
    record = _collect(tmp_path, environ)
    elapsed_s = time.monotonic() - started
    release.set()
    assert elapsed_s < 5
    assert (record["gpus"], record["gpu_note"]) == (None, "the cards did not answer in time")
    assert record["packages"]


def test_where_no_thread_can_start_everything_is_collected_in_turn(tmp_path, environ, monkeypatch):
    """At the limit of threads the record is the same, only slower."""

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    expected = _collect(tmp_path, environ)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    record = _collect(tmp_path, environ)
    assert {**expected, "collect_s": 0} == {**record, "collect_s": 0}
