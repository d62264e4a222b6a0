"""Finds what a configuration's name means, as in S3's form of the call: a kind, or a module with ``run_report(cfg)``.

    barograph report --config-name compare_tokenizers inputs.sweep_dir=...

reads ``configs/report/compare_tokenizers.yaml`` and runs ``reports/analyses/compare_tokenizers.py``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from barograph import plugins
from barograph.errors import ReportError
from barograph.report.config import merged, read_config_file
from barograph.report.protocol import GROUP, ReportKind
from barograph.report.run import run_report

CONFIGS: Final = Path("configs", "report")
ANALYSES: Final = Path("reports", "analyses")


class Settings(dict[str, Any]):
    """A nested mapping whose keys are attributes too: ``cfg.inputs.sweep_dir``, as an OmegaConf has them."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            known = ", ".join(self) or "nothing"
            raise AttributeError(f"the configuration has no {name!r}; it has {known}") from None

    @classmethod
    def of(cls, nested: Mapping[str, Any]) -> Settings:
        """Settings of a nested mapping, inner mappings too."""
        return cls({key: cls.of(value) if isinstance(value, Mapping) else value for key, value in nested.items()})


def read_named_config(name: str, directory: Path = CONFIGS) -> dict[str, Any]:
    """The configuration of that name.

    Raises:
        ReportError: there is none; the message lists those there are.
    """
    for path in (directory / name, directory / f"{name}.yaml", directory / f"{name}.yml"):
        if path.is_file():
            return {"name": path.stem, **read_config_file(path)}
    if not directory.is_dir() and name in plugins.names(GROUP):
        return {}
    known = ", ".join(sorted(path.stem for path in directory.glob("*.y*ml"))) or "none"
    raise ReportError(f"there is no configuration {name!r} in {directory} (there: {known}); write {name}.yaml there")


def make_report(
    cfg: Mapping[str, Any], *, name: str | None, module: Path | None = None, root: str | None = None
) -> Path | None:
    """Make a report by whatever its name means.

    In this order: the file ``module``; the ``kind`` of the configuration; the name as a kind; the module
    ``reports/analyses/NAME.py`` below the working directory.

    Args:
        cfg: the configuration.
        name: of the kind, or of the configuration.
        module: a Python file with ``run_report(cfg)``.
        root: where ids and names of runs are looked up.

    Returns:
        The report's directory; None when a module says nothing of one.

    Raises:
        ReportError: the name means nothing, or the module has no ``run_report``.
    """
    kind = cfg.get("kind")
    own = ANALYSES / f"{name}.py"
    if module is None and not kind and name not in plugins.names(GROUP) and own.is_file():
        module = own
    if module is not None:
        return _as_path(load_function(module)(Settings.of(cfg)))
    wanted = str(kind or name or "")
    if not wanted:
        raise ReportError("which report? give a kind, --config-name NAME or --module FILE")
    if wanted not in plugins.names(GROUP):
        known = ", ".join(plugins.names(GROUP)) or "none"
        raise ReportError(
            f"there is no kind of report {wanted!r} (there: {known}), and no {own}; write one, or name it"
        )
    offered: Any = plugins.load(GROUP, wanted)
    if isinstance(offered, ReportKind):
        return run_report(merged(cfg, {"kind": wanted}), kind=offered, root=root)
    function = getattr(offered, "run_report", offered)
    if not callable(function):
        raise ReportError(f"{wanted!r} in {GROUP} is neither a kind of report nor has it run_report(cfg); correct it")
    return _as_path(function(Settings.of(cfg)))


def load_function(path: Path) -> Callable[[Settings], Any]:
    """``run_report`` of a Python file.

    Raises:
        ReportError: there is no such file, or no such function in it.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ReportError(f"{path} is no Python file; name one that has run_report(cfg)")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # what the module defines may be looked up by its name
    spec.loader.exec_module(module)
    function = getattr(module, "run_report", None)
    if not callable(function):
        raise ReportError(f"{path} has no function run_report(cfg); write one that returns the report's directory")
    found: Callable[[Settings], Any] = function
    return found


def _as_path(returned: Any) -> Path | None:
    return Path(returned) if isinstance(returned, (str, Path)) else None
