"""``barograph.init``: what it writes before the first step, and every argument that it refuses."""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.recorded import Recorded

import barograph
from barograph.errors import (
    CadenceWarning,
    InvalidConfigError,
    InvalidCriterionError,
    InvalidNameError,
    MisuseError,
    RecordingWarning,
)


def identity_of(run) -> dict:
    """What ``run.json`` says."""
    return json.loads((run.dir / "run.json").read_text())


@pytest.mark.spec("S0.7", "S2.40", "S4.11")
def test_identity_is_written_at_start(new_run):
    """Before the first step ``run.json`` holds who the run is and where it came from, in strict JSON."""
    run = new_run(
        project="team/digits",
        name="mlp",
        group="lr=0.1",
        tags=["baseline", "seeded"],
        notes="initialisation order fixed\ntop_p 1.0 -> 0.995",
        seed=np.int64(7),
        tier="quick",
        hypothesis="a hidden layer helps",
        success=["val_loss < 0.3 by step 2000"],
        config={"lr": 0.1},
    )
    found = identity_of(run)
    provenance = found.pop("provenance")
    assert found.pop("created_t") > 1.7e9
    assert found == {
        "schema_version": 1,
        "run_id": run.id,
        "project": "team/digits",
        "name": "mlp",
        "group": "lr=0.1",
        "tags": ["baseline", "seeded"],
        "notes": "initialisation order fixed\ntop_p 1.0 -> 0.995",
        "seed": 7,
        "tier": "quick",
        "hypothesis": "a hidden layer helps",
        "success": ["val_loss < 0.3 by step 2000"],
        "config_redacted": [],
    }
    assert provenance["argv"] == sys.argv
    assert provenance["python"]["version"].startswith(sys.version.split()[0])
    assert (run.name, run.attempt, run.rank, run.status) == ("mlp", 0, 0, "running")


@pytest.mark.spec("S3.11")
def test_on_start_is_the_first_event(new_run, recorded):
    """The first event says what was planned, when ``init`` returns."""
    planned = {"total_steps": 2000, "total_epochs": 5, "log_steps": 20, "eval_steps": 400, "success": ["loss < 1"]}
    run = new_run(name="mlp", project="digits", **planned)
    (event,) = recorded(run.dir).events
    assert (event.moment, event.seq, event.schema_version) == ("on_start", 0, 1)
    assert event.payload.pop("pid") > 0
    assert event.payload == {
        "run_id": run.id,
        "name": "mlp",
        "run_dir": str(run.dir),
        "project": "digits",
        **planned,
    }


@dataclasses.dataclass
class Settings:
    """A configuration as a dataclass."""

    lr: float = 0.1
    hidden: tuple = (64, 32)


@pytest.mark.spec("S2.40", "S4.11")
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"lr": 0.1, "model": {"hidden": [64, 32]}}, {"lr": 0.1, "model": {"hidden": [64, 32]}}),
        (Settings(), {"lr": 0.1, "hidden": [64, 32]}),
        (argparse.Namespace(lr=0.1, name="x"), {"lr": 0.1, "name": "x"}),
        ({"lr": np.float64(0.5), "limit": float("inf")}, {"lr": 0.5, "limit": float("inf")}),
        (None, {}),
    ],
)
def test_config_is_kept_exactly(new_run, config, expected):
    """``config.yaml`` reads back as the configuration, whatever held it; the run offers it too."""
    run = new_run(config=config)
    assert run.config == expected
    assert (yaml.safe_load((run.dir / "config.yaml").read_text()) or {}) == expected


def test_credentials_never_reach_the_disk(new_run):
    """What looks like a credential is redacted before anything is written, and named."""
    run = new_run(config={"lr": 0.1, "wandb_api_key": "abcdef123456", "db": {"password": "hunter22"}})
    assert identity_of(run)["config_redacted"] == ["wandb_api_key", "db.password"]
    written = b"".join(path.read_bytes() for path in run.dir.rglob("*") if path.is_file())
    assert b"abcdef123456" not in written
    assert b"hunter22" not in written
    assert run.config["lr"] == 0.1


def test_git_commit_and_uncommitted_diff(record, tmp_path):
    """In a repository the commit and the uncommitted changes are kept, so that the code can be had again."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "tracked.py"], ["commit", "-qm", "first"]):
        (tmp_path / "tracked.py").write_text("lr = 0.1\n")
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    (tmp_path / "tracked.py").write_text("lr = 0.2\n")
    record("import barograph; barograph.init(dir='run', terminal='off').finish()")
    found = json.loads((tmp_path / "run/run.json").read_text())["provenance"]["git"]
    assert (found["commit"], found["dirty"]) == (head.stdout.strip(), True)
    digest = found["diff"]["sha256"]
    patch = (tmp_path / "run/blobs" / digest[:2] / digest).read_text()
    assert "-lr = 0.1\n+lr = 0.2\n" in patch


@pytest.mark.spec("S3.10", "S3.74")
def test_within_a_hydra_run(record, tmp_path):
    """A run in the directory that Hydra made leaves Hydra's files as they are, and records config and overrides."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/config.yaml").write_text("lr: 0.1\nmodel:\n  hidden: 64\n  width: ${model.hidden}\n")
    script = """
    import sys
    import hydra
    from hydra.core.hydra_config import HydraConfig
    import barograph

    @hydra.main(version_base=None, config_path="conf", config_name="config")
    def train(cfg):
        place = HydraConfig.get().runtime.output_dir
        with barograph.init(dir=place, config=cfg, terminal="off", console=False, host_s=None) as run:
            run.log({"loss": cfg.lr}, step=0)

    sys.argv[1:] = ["lr=0.5", "hydra.run.dir=outputs/run_x"]
    train()
    """
    record(script)
    directory = tmp_path / "outputs/run_x"
    kept = {name: yaml.safe_load((directory / f".hydra/{name}.yaml").read_text()) for name in ("config", "overrides")}
    assert kept == {"config": {"lr": 0.5, "model": {"hidden": 64, "width": "${model.hidden}"}}, "overrides": ["lr=0.5"]}
    assert (directory / ".hydra/hydra.yaml").is_file()
    assert yaml.safe_load((directory / "config.yaml").read_text()) == {"lr": 0.5, "model": {"hidden": 64, "width": 64}}
    found = json.loads((directory / "run.json").read_text())["provenance"]["hydra"]
    assert found["overrides"] == ["lr=0.5"]
    assert Recorded(directory).column("loss") == [0.5]


@pytest.mark.spec("S1.37")
def test_cadence_comes_from_arguments_then_config_then_defaults(new_run, tmp_path):
    """Old configs without ``log_steps`` still work; an argument wins over the config."""
    cases = [
        ({}, {}, (10, 200)),
        ({"log_steps": 20, "eval_steps": 400}, {}, (20, 400)),
        ({"eval_steps": 100}, {}, (10, 100)),
        ({"log_steps": 20, "eval_steps": 400}, {"log_steps": 5}, (5, 400)),
        ({"log_steps": None}, {"eval_steps": 50}, (10, 50)),
    ]
    for number, (config, arguments, expected) in enumerate(cases):
        run = new_run(dir=tmp_path / str(number), config=config, **arguments)
        assert (run.cadence.log_steps, run.cadence.eval_steps) == expected


def test_misaligned_tiers_are_warned_about(new_run):
    """Tiers that do not align are warned about when the run begins."""
    with pytest.warns(CadenceWarning, match="eval_steps=25 is not a multiple of log_steps=10"):
        new_run(log_steps=10, eval_steps=25)


@pytest.mark.spec("S2.26")
def test_unknown_mirror_is_left_out_with_a_warning(new_run, recorded):
    """A mirror that no installed distribution offers is named with what to do; the run is recorded."""
    with pytest.warns(RecordingWarning) as caught:
        run = new_run(mirrors=["wandb", "tensorboard"])
    assert [str(warning.message).split(":")[0] for warning in caught] == [
        "mirror 'wandb' is left out",
        "mirror 'tensorboard' is left out",
    ]
    assert all("install the one that does, or leave the name out" in str(warning.message) for warning in caught)
    assert all(Path(warning.filename) == Path(__file__).parents[1] / "conftest.py" for warning in caught)
    run.log({"loss": 0.5}, step=0)
    assert recorded(run.dir).column("loss") == [0.5]


@pytest.mark.parametrize(
    ("options", "error", "parts"),
    [
        ({"config": {"model": {"act": abs}}}, InvalidConfigError, ["model.act", "builtin_function"]),
        ({"config": [1, 2]}, InvalidConfigError, ["[1, 2]"]),
        ({"config": {"log_steps": "often"}}, MisuseError, ["log_steps", "'often'", "log_steps=10"]),
        ({"log_steps": 0}, MisuseError, ["log_steps", "0"]),
        ({"name": 7}, InvalidNameError, ["run name", "7"]),
        ({"name": "x", "project": 7}, MisuseError, ["project must be a text", "int 7", "str()"]),
        ({"name": "x", "project": "a\x1b[31m"}, MisuseError, ["project", "control characters", "use printable"]),
        ({"group": b"x"}, MisuseError, ["group must be a text", "bytes b'x'"]),
        ({"notes": ["a"]}, MisuseError, ["notes must be a text", "['a']"]),
        ({"hypothesis": 1.5}, MisuseError, ["hypothesis must be a text", "1.5"]),
        ({"tags": "baseline"}, MisuseError, ["tags must be a list of texts", "'baseline'", "write tags=[...]"]),
        ({"tags": [1]}, MisuseError, ["tags must be a list of texts", "[1]"]),
        ({"tags": ["a/b"]}, InvalidNameError, ["tag 'a/b'", "'/'"]),
        ({"tags": 5}, MisuseError, ["tags must be a list of texts", "5"]),
        ({"success": "loss < 1"}, MisuseError, ["success must be a list of texts", "'loss < 1'", "success=[...]"]),
        ({"success": ["loss is small"]}, InvalidCriterionError, ["loss is small"]),
        ({"mirrors": "wandb"}, MisuseError, ["mirrors must be a list of texts", "'wandb'"]),
        ({"seed": "7"}, MisuseError, ["seed must be an integer", "'7'", "int()"]),
        ({"seed": True}, MisuseError, ["seed must be an integer", "True"]),
        ({"seed": 1.5}, MisuseError, ["seed must be an integer", "1.5"]),
        ({"total_steps": 0}, MisuseError, ["total_steps must be an integer from 1 on", "0"]),
        ({"total_epochs": "many"}, MisuseError, ["total_epochs must be an integer from 1 on", "'many'"]),
        ({"detail": "verbose"}, InvalidConfigError, ["verbose", "minimal"]),
        ({"detail": {"levels": "debug"}}, InvalidConfigError, ["levels"]),
        ({"terminal": "loud"}, MisuseError, ["terminal='loud' is none of auto, rich, plain, log, off"]),
        ({"text_log": "../train.log"}, InvalidNameError, ["text log '../train.log'", "'/'"]),
        ({"text_log": "run.json"}, MisuseError, ["text_log='run.json' must end in '.log'"]),
        ({"text_log": "console.log"}, MisuseError, ["text_log='console.log'", "not be 'console.log'"]),
        ({"host_s": 0}, MisuseError, ["host_s=0 must be at least 0.1 seconds, or None"]),
        ({"host_s": "often"}, MisuseError, ["host_s='often' must be at least"]),
        ({"write": "later"}, MisuseError, ["write='later' is neither 'direct' nor 'batch'; choose one"]),
        ({"dir": ""}, MisuseError, ["dir='' is no path", "leave it out"]),
        ({"dir": 7}, MisuseError, ["dir=7 is no path; pass a text or a Path"]),
    ],
)
def test_arguments_that_cannot_be_used(new_run, tmp_path, monkeypatch, options, error, parts):  # noqa: PLR0917 - cases
    """A bad argument is refused with its value and the next step, before anything is written; the next call works."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        new_run(**options)
    message = str(caught.value)
    assert [part for part in parts if part not in message] == []
    assert isinstance(caught.value, MisuseError)
    assert list(tmp_path.iterdir()) == []
    run = new_run()
    run.log({"loss": 0.5})
    assert run.ledger.written == 2


def test_what_is_refused_is_also_a_usual_error():
    """Scripts that know nothing of Barograph's errors catch misuse as ValueError."""
    with pytest.raises(ValueError, match="is none of auto"):
        barograph.init(terminal="loud")


def test_init_by_position(tmp_path):
    """The first three arguments may stand without names, as in other trackers."""
    with barograph.init("digits", "mlp", {"lr": 0.1}, root=tmp_path, terminal="off", console=False, host_s=None) as run:
        assert identity_of(run)["project"] == "digits"
        assert (run.name, run.config) == ("mlp", {"lr": 0.1})


def test_name_stands_in(new_run, tmp_path):
    """Without a name the run is called after its project, without both just ``run``."""
    assert new_run(root=tmp_path, project="digits").name == "digits"
    assert new_run(root=tmp_path).name == "run"
