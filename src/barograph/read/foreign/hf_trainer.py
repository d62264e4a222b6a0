"""Hugging Face's ``Trainer``: ``trainer_state.json`` of an output directory and of its ``checkpoint-*`` directories.

Each state holds the whole ``log_history`` so far (``transformers/trainer_callback.py``), so the newest one is the run;
points that an older checkpoint has and a resumed run made anew are an earlier attempt. Non-finite numbers stand there
as bare ``NaN`` and ``Infinity``. The file holds no times.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.read.columns import unreadable
from barograph.read.foreign.protocol import ForeignFile, ForeignRun, ForeignStatus, ForeignText, whereabouts
from barograph.read.foreign.records import Gathered, count_changes, sort_record

EVENTS: Final = "runs"
STATE: Final = "trainer_state.json"
CHECKPOINT: Final = re.compile(r"checkpoint-(?P<step>\d+)")
CONFIG_KEYS: Final = (
    "max_steps",
    "num_train_epochs",
    "logging_steps",
    "eval_steps",
    "save_steps",
    "train_batch_size",
    "trial_name",
    "trial_params",
)
SUMMARY_KEYS: Final = (
    "best_metric",
    "best_global_step",
    "best_model_checkpoint",
    "total_flos",
    "num_input_tokens_seen",
)
PREFIXES: Final = ("eval", "test", "predict")
END_KEYS: Final = frozenset({"train_runtime", "train_loss"})
END_SPLIT: Final = "train_end"
FILTER_NOTE: Final = (
    "Trainer averages the training loss over logging_steps, and with logging_nan_inf_filter=True (its default) it "
    "replaces NaN and infinite losses by the average of the others before it writes: a loss that looks finite here "
    "need not have been"
)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One ``trainer_state.json``.

    Attributes:
        path: the file.
        content: what it holds.
        history: its ``log_history``, entries that are mappings.
    """

    path: Path
    content: dict[str, Any]
    history: list[dict[str, Any]]

    @property
    def global_step(self) -> float:
        """How far training had come."""
        return _number(self.content.get("global_step"))


class HfTrainerImporter:
    """Reads one output directory, or a checkpoint that was copied elsewhere."""

    name = "hf_trainer"

    def recognises(self, path: Path) -> bool:
        """Whether a directory has a trainer's state, its own or its checkpoints'; a checkpoint belongs to its run."""
        return not CHECKPOINT.fullmatch(path.name) and bool(state_files(path))

    def owns(self, path: Path) -> list[Path]:
        """The checkpoints; and the event files of the same numbers, unless they may go on after the newest state."""
        files = state_files(path)
        checkpoints = [file.parent for file in files if file.parent != path]
        folders = _event_folders(path)
        states = [_read_state(file, []) for file in files[-2:]] if folders else []
        is_whole = any(_status(state)[0] == "finished" for state in states if state is not None)
        return [*checkpoints, *folders] if is_whole else checkpoints

    def read(self, path: Path) -> Iterator[ForeignRun]:
        """The directory's run.

        Raises:
            FormatError: none of its states can be read.
        """
        damage: list[Damage] = []
        states = [state for file in state_files(path) if (state := _read_state(file, damage)) is not None]
        if not states:
            reasons = "; ".join(place.reason for place in damage)
            raise FormatError(f"{path} has no readable {STATE} ({reasons}); copy it anew from where it was written")
        newest = max(states, key=lambda state: (state.global_step, len(state.history)))
        run = _run(path, newest, states)
        run.fidelity.damage += damage
        _add_history(run, newest, states)
        for folder in _event_folders(path):
            end = "to the end" if run.status == "finished" else "and maybe later ones"
            run.fidelity.note(f"{folder} holds the same numbers {end}, with their times, as event files")
        run.files = [
            ForeignFile(name=str(file.relative_to(path)), path=file, size_bytes=file.stat().st_size)
            for file in sorted(path.rglob("*"))
            if file.is_file() and file != newest.path
        ]
        yield run


importer: Final = HfTrainerImporter()


def state_files(path: Path) -> list[Path]:
    """The states of an output directory: its checkpoints' by step, then its own."""
    try:
        checkpoints = [entry for entry in path.iterdir() if CHECKPOINT.fullmatch(entry.name)]
    except OSError:
        return []
    ordered = sorted(checkpoints, key=lambda entry: int(entry.name.rpartition("-")[2]))
    return [file for file in (*(entry / STATE for entry in ordered), path / STATE) if file.is_file()]


def _event_folders(path: Path) -> list[Path]:
    """``runs/DATE_HOST`` directories of the Trainer's TensorBoard logger."""
    return sorted({file.parent for file in (path / EVENTS).glob("*/*tfevents*")})


def _read_state(path: Path, damage: list[Damage]) -> State | None:
    try:
        content = json.loads(path.read_bytes())  # the standard library's reader knows bare NaN and Infinity
        history = content["log_history"]
        entries = [entry for entry in history if isinstance(entry, dict)]
        if len(entries) < len(history):
            damage.append(unreadable(path, ValueError(f"{len(history) - len(entries)} entries are no mappings")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        damage.append(unreadable(path, error))
        return None
    return State(path=path, content=content, history=entries)


def _run(path: Path, newest: State, states: list[State]) -> ForeignRun:
    content = newest.content
    directory = whereabouts(path)
    run = ForeignRun(tool=HfTrainerImporter.name, source=path, key="", name=directory.name)
    run.config = {key: content[key] for key in CONFIG_KEYS if content.get(key) is not None}
    run.config |= _model_config([newest, *reversed(states)], run.fidelity.damage)
    run.summary = {key: content[key] for key in SUMMARY_KEYS if content.get(key) is not None}
    run.status, run.reason = _status(newest)
    run.fidelity.keep("settings", len(run.config))
    run.fidelity.note(FILTER_NOTE)
    run.fidelity.note("the file holds no times")
    return run


def _model_config(states: list[State], damage: list[Damage]) -> dict[str, Any]:
    """What the model was, as it lies beside the newest state that has it."""
    for state in states:
        path = state.path.with_name("config.json")
        try:
            return {"model": json.loads(path.read_bytes())}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            damage.append(unreadable(path, error))
    return {}


def _status(state: State) -> tuple[ForeignStatus, str | None]:
    """Training that came to its end says so with a record of its run time."""
    if any(entry.keys() >= END_KEYS for entry in state.history[-3:]):
        return "finished", None
    planned = _number(state.content.get("max_steps"))
    if planned > 0 and state.global_step >= planned:
        return "finished", f"all {planned} steps were made"
    return "unknown", f"the newest state is of step {state.global_step} of {planned}"


def _add_history(run: ForeignRun, newest: State, states: list[State]) -> None:
    """The newest history; before it, as an earlier attempt, what older states have and it does not."""
    gathered = Gathered(run.fidelity)
    seen = {_identity(entry) for entry in newest.history}
    remade: dict[str, dict[str, Any]] = {}
    for state in states:
        remade |= {key: entry for entry in state.history if (key := _identity(entry)) not in seen}
    for entry in remade.values():
        _add_entry(run, gathered, entry, attempt=0)
    for entry in newest.history:
        _add_entry(run, gathered, entry, attempt=1 if remade else 0)
    if remade:
        reason = "of older checkpoints; a later training made them anew, so they are the first attempt"
        run.fidelity.change("older records", reason, len(remade))
    run.metrics = gathered.metrics()
    run.fidelity.keep("texts", len(run.texts))


def _number(value: Any) -> float:
    """A count as the file has it; 0 for what is none."""
    return value if isinstance(value, (int, float)) and not math.isnan(value) else 0


def _identity(entry: dict[str, Any]) -> str:
    return json.dumps(entry, sort_keys=True)


def _add_entry(run: ForeignRun, gathered: Gathered, entry: dict[str, Any], *, attempt: int) -> None:
    record = {key: value for key, value in entry.items() if key != "step"}
    step = entry.get("step")
    if not isinstance(step, (int, float)):
        run.fidelity.change("unplaced records", "without a step: at step 0")
        step = 0
    found = sort_record(record)
    split = split_of(entry)
    gathered.add(found.numbers, step=step, split=split, attempt=attempt)
    if split == END_SPLIT:
        run.summary |= found.numbers
    run.texts += [ForeignText(name=name, text=text, step=step) for name, text in found.texts.items()]
    count_changes(run.fidelity, found)
    for value in found.others.values():
        run.fidelity.lose("missing values" if value is None else "lists", "a metric is one number")


def split_of(entry: dict[str, Any]) -> str:
    """The split of one record: ``train``, ``train_end`` for the record of the run time, else what its names begin with.

    >>> split_of({"eval_loss": 0.5, "epoch": 1.0, "step": 4})
    'eval'
    """
    if entry.keys() >= END_KEYS:
        return END_SPLIT
    for prefix in PREFIXES:
        if any(key.startswith(f"{prefix}_") for key in entry):
            return prefix
    return "train"
