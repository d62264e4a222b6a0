"""At a moment, the figures that are wanted: S3's entry point."""

from __future__ import annotations

import types
import warnings

import numpy as np
import pytest
from omegaconf import OmegaConf

from barograph.errors import PlotWarning
from barograph.facts.builders import build_event_payload
from barograph.facts.writers import append_jsonl_event
from barograph.plot.family import CurveFamily
from barograph.plot.orchestrator import Snapshot, draw_family, find_families, get_enabled_families, handle_event
from barograph.plot.style import new_figure


class Broken(CurveFamily):
    """A stranger's family that fails."""

    def select(self, run, *, scope):
        """Fails."""
        raise RuntimeError("the stranger's fault")


LOSSES = CurveFamily("losses")


@pytest.mark.spec("S3.44", "S3.47", "S3.48")
def test_figures_are_saved_in_the_run(everything):
    """The moment, the configuration and the payload give files under ``figures``, named by family, moment and epoch."""
    cfg = OmegaConf.create(
        {"logging": {"families": {"losses": True, "quality": True, "recon": False}, "format": "webp"}}
    )
    families, _ = find_families()
    paths = handle_event(cfg.logging, families, "on_epoch_end", {"run_dir": everything.path, "epoch": 7})
    assert [path.name for path in paths] == ["losses-on_epoch_end-e007.webp", "quality-on_epoch_end-e007.webp"]
    assert {path.parent for path in paths} == {everything.path / "figures"}
    assert all(path.with_suffix(".csv").is_file() for path in paths)


@pytest.mark.spec("S3.21", "S3.44", "S3.48")
@pytest.mark.parametrize("kind", [set, list, tuple])
def test_families_may_be_named(tmp_path, kind):
    """S3's loop: events are appended, then ``handle_event(cfg.logging, families, moment, payload)`` draws."""
    cfg = OmegaConf.create({"logging": {"families": ["losses", "metrics"], "moments": ["on_epoch_end"]}})
    families = kind(["metrics", "losses", "recon"])
    history = []
    for epoch in range(2):
        history.append(1.0 / (epoch + 1))
        payload = build_event_payload(
            "on_epoch_end", tmp_path, epoch=epoch, histories={"train_loss": history}, metrics={"perplex": 3.0}, cfg=cfg
        )
        append_jsonl_event(tmp_path, payload)
        paths = handle_event(cfg.logging, families, "on_epoch_end", payload)
        names = {f"{name}-on_epoch_end-e{epoch:03}.png" for name in ("losses", "metrics")}
        assert {path.name for path in paths} == names
        assert list(get_enabled_families(cfg.logging, families, "on_start")) == []
    with (tmp_path / "figures" / "losses-on_epoch_end-e001.csv").open(encoding="utf-8") as table:
        assert [float(line.rpartition(",")[2]) for line in list(table)[1:]] == history


def test_families_may_be_objects_and_modules(everything):
    """A family has a name, a module is called by the last part of its name; what has neither is an error."""
    module = types.ModuleType("mine.families.bars")
    module.handle = lambda _moment, _payload, _cfg: [new_figure()]
    paths = handle_event({}, [LOSSES, module], "on_train_end", {"run_dir": everything.path})
    assert [path.name for path in paths] == ["losses-on_train_end-e000.png", "bars-on_train_end-e000.png"]
    with pytest.warns(PlotWarning, match="3 is no family of figures"):
        assert handle_event({}, [3], "on_train_end", {"run_dir": everything.path}) == []


def test_a_name_that_nobody_offers_costs_its_own_figure(everything):
    """The others are drawn, and the warning lists what there is."""
    with pytest.warns(PlotWarning, match=r"'moments' at on_train_end was not drawn: .*offered: .*losses"):
        paths = handle_event({}, {"losses", "moments"}, "on_train_end", {"run_dir": everything.path})
    assert [path.name for path in paths] == ["losses-on_train_end-e000.png"]


def test_an_epoch_of_numpy_is_an_epoch(everything):
    """It stands in the file's name."""
    payload = {"run_dir": everything.path, "epoch": np.int64(7)}
    (path,) = handle_event({}, {"losses": LOSSES}, "on_train_end", payload)
    assert path.name == "losses-on_train_end-e007.png"


def test_the_epoch_is_the_newest_that_ended(everything):
    """A moment without an epoch takes its number from the facts up to it."""
    families = {"losses": LOSSES}
    (path,) = handle_event(None, families, "on_train_end", {"run_dir": str(everything.path)})
    assert path.name == "losses-on_train_end-e000.png"
    ends = [event.t for event in everything.events("on_epoch_end")]
    (path,) = handle_event(None, families, "on_train_end", {"run_dir": str(everything.path), "t": ends[0], "epoch": 3})
    assert path.name == "losses-on_train_end-e003.png"


@pytest.mark.spec("S3.47", "S3.60")
def test_a_family_that_fails_costs_its_own_figure(everything):
    """The failure is a warning that names the family and what to do; the others are drawn."""
    families = {"broken": Broken("broken"), "losses": LOSSES}
    with pytest.warns(PlotWarning, match=r"'broken' at on_train_end was not drawn: RuntimeError: the stranger's fault"):
        paths = handle_event({}, families, "on_train_end", {"run_dir": str(everything.path)})
    assert [path.name for path in paths] == ["losses-on_train_end-e000.png"]


@pytest.mark.spec("S3.47", "S3.60")
@pytest.mark.parametrize(
    ("cfg", "payload", "words"),
    [
        ({}, {}, "no figures at on_train_end: KeyError: 'run_dir'"),
        ({"families": 3}, {"run_dir": "."}, "logging.families=3"),
        ({"families": ["nosuch"]}, {"run_dir": "."}, "there is no figure nosuch; correct logging.families"),
        ({}, {"run_dir": 3}, "TypeError"),
    ],
)
def test_nothing_ever_raises(cfg, payload, words):
    """Whatever the configuration and the payload hold, there is a warning and no figure, and training goes on."""
    with pytest.warns(PlotWarning, match=words):
        assert handle_event(cfg, {"losses": LOSSES}, "on_train_end", payload) == []


@pytest.mark.spec("S3.47")
def test_where_warnings_are_errors_it_is_a_line(everything, capsys):
    """A script that turns warnings into errors goes on too; the failure is on stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert handle_event({}, {"broken": Broken("broken")}, "on_train_end", {"run_dir": everything.path}) == []
    assert "'broken' at on_train_end was not drawn" in capsys.readouterr().err


@pytest.mark.spec("S3.60")
def test_missing_data_is_tolerated(new_run):
    """Of a run without a single metric nothing is drawn, nothing is warned of, and no directory is made."""
    run = new_run()
    run.finish()
    families, _ = find_families()
    assert handle_event({}, families, "on_train_end", {"run_dir": run.dir}) == []
    assert not (run.dir / "figures").exists()


@pytest.mark.spec("S3.60", "S3.81")
@pytest.mark.parametrize("switch", ["make_plots", "save_artifacts"])
def test_no_plots_on_a_cluster(everything, switch):
    """With one switch off nothing is read, drawn or written, whatever the families are."""
    families = {"broken": Broken("broken"), "losses": LOSSES}
    assert handle_event({switch: False}, families, "on_train_end", {"run_dir": everything.path}) == []
    assert not (everything.path / "figures").exists()


@pytest.mark.spec("S3.65")
def test_a_family_of_s3_has_a_handle_alone(everything):
    """A module with ``handle(moment, payload, cfg)`` that returns figures is a family; each figure gets a file."""
    seen = []

    def handle(moment, payload, cfg):
        seen.append((moment, payload["epoch"], cfg))
        return [new_figure(), new_figure()]

    family = types.SimpleNamespace(handle=handle)
    cfg = {"families": ["mine"], "moments": ["on_checkpoint"]}
    assert get_enabled_families(cfg, {"mine": family}, "on_checkpoint") == {"mine": family}
    paths = handle_event(cfg, {"mine": family}, "on_checkpoint", {"run_dir": everything.path, "epoch": 2})
    assert [path.name for path in paths] == ["mine-on_checkpoint-e002.png", "mine-on_checkpoint-e002-2.png"]
    assert seen == [("on_checkpoint", 2, cfg)]


def test_facts_are_read_once_for_all_families(everything, monkeypatch):
    """A snapshot reads the events once, and gives the same ones again after more were written."""
    snapshot = Snapshot(everything.path)
    before = list(snapshot.events())
    everything.directory.events().unlink()
    assert before == list(snapshot.events())
    assert [event.seq for event in snapshot.events("on_epoch_end")] == [
        event.seq for event in before if event.moment == "on_epoch_end"
    ]


def test_a_plugin_that_cannot_be_loaded_is_told(monkeypatch):
    """A stranger's distribution that is broken costs its own family."""
    from barograph import plugins

    load = plugins.load

    def broken(group, name):
        if name == "quality":
            raise SyntaxError("not Python")
        return load(group, name)

    monkeypatch.setattr(plugins, "load", broken)
    families, (outcome,) = find_families()
    assert "quality" not in families
    assert (outcome.family, outcome.failure) == ("quality", "SyntaxError: not Python")


def test_the_same_facts_make_the_same_bytes(everything):
    """Drawn twice, a family's figure and table are equal to the byte."""
    contents = []
    for _ in range(2):
        outcome = draw_family("losses", LOSSES, "on_train_end", {"run_dir": everything.path}, {})
        (path,) = outcome.paths
        contents.append((path.read_bytes(), path.with_suffix(".csv").read_bytes()))
        path.unlink()
    assert contents[0] == contents[1]
