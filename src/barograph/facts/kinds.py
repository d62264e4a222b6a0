"""What an event line may say: one struct per moment, and the generic event around it.

The structs are the reader's and the writer's common vocabulary; a line on disk is flat JSON. Keys and moments
that are not listed here are kept as they are, so that a newer writer never breaks an older reader.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

SCHEMA_VERSION: Final = 1
EVENT_RESERVED: Final = frozenset({"schema_version", "seq", "t", "moment", "nonfinite"})


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``events.jsonl`` as a reader sees it.

    Attributes:
        moment: what happened; see ``MOMENTS``.
        seq: number of the event in its file, from 0, without gaps.
        t: unix time in seconds, UTC.
        payload: everything else on the line, non-finite numbers restored.
        schema_version: version of the line's schema as it was written.
    """

    moment: str
    seq: int
    t: float
    payload: dict[str, Any] = {}
    schema_version: int = SCHEMA_VERSION


class Payload(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the payloads of all moments share: the process that wrote them."""

    attempt: int = 0
    rank: int = 0


class OnStart(Payload):
    """An attempt begins."""

    run_id: str
    name: str
    run_dir: str = ""
    project: str | None = None
    tier: str | None = None
    pid: int = 0
    total_steps: int | None = None
    total_epochs: int | None = None
    log_steps: int | None = None
    eval_steps: int | None = None
    hypothesis: str | None = None
    success: list[str] = []


class OnEpochEnd(Payload):
    """An epoch is complete. ``metrics`` holds whatever else the loop measured."""

    epoch: int
    train_loss: float | None = None
    val_loss: float | None = None
    metrics: dict[str, float] = {}
    epoch_time_s: float | None = None


class OnValidationEnd(Payload):
    """An evaluation on held-out data is complete."""

    step: float | None = None
    epoch: int | None = None
    split: str = "val"
    metrics: dict[str, float] = {}


class OnCheckpoint(Payload):
    """A checkpoint was written. ``path`` is relative to the run when it lies inside it."""

    path: str
    kind: str = "checkpoint"
    step: float | None = None
    epoch: int | None = None
    size_bytes: int = 0
    sha256: str | None = None
    metrics: dict[str, float] = {}


class OnExample(Payload):
    """One training example as the model saw it at a fast log or a full evaluation.

    Attributes:
        example_id: the same id marks the same example through time.
        step: training step.
        tier: ``"fast"`` (no generation, no validation) or ``"full"``.
        prompt: the whole input text.
        golden: the whole expected text.
        output: the whole generated text; None on the fast tier.
        prompt_tokens: number of tokens of the prompt, when known.
        golden_tokens: the same of the golden text.
        output_tokens: the same of the output.
        example_loss: loss on this one example.
        train_loss_window_mean: mean of the last ``train_loss_window_n`` recorded training losses.
        train_loss_window_n: how many losses that mean is over.
        val_loss: loss on the validation set, measured at this step.
        gap: ``val_loss - train_loss_window_mean``.
        matches: each notion of match and whether it holds.
        match_kind: the notion that decided ``matched``.
        matched: whether output and golden match under ``match_kind``.
    """

    step: int
    tier: str
    prompt: str
    golden: str
    example_id: str | None = None
    output: str | None = None
    prompt_tokens: int | None = None
    golden_tokens: int | None = None
    output_tokens: int | None = None
    example_loss: float | None = None
    train_loss_window_mean: float | None = None
    train_loss_window_n: int | None = None
    val_loss: float | None = None
    gap: float | None = None
    matches: dict[str, bool] = {}
    match_kind: str | None = None
    matched: bool | None = None


class OnPhaseEnd(Payload):
    """A named phase ended after ``duration_s`` seconds of wall time."""

    name: str
    duration_s: float
    started_t: float = 0.0
    path: str = ""
    step: float | None = None
    failed: bool = False


class OnCheck(Payload):
    """A statement about the run was tested."""

    name: str
    passed: bool
    expected: Any = None
    got: Any = None
    note: str | None = None


class OnResume(Payload):
    """A new attempt continues an older one."""

    previous_attempt: int
    previous_status: str
    repaired: list[str] = []


class OnException(Payload):
    """Training or the recorder raised. ``source`` is ``"training"`` or the detached part's name."""

    type: str
    message: str
    traceback: str = ""
    source: str = "training"
    last_facts: dict[str, Any] = {}


class OnSignal(Payload):
    """The process received a signal."""

    signal: int
    name: str


class OnTrainEnd(Payload):
    """The attempt is over."""

    status: str
    total_time_s: float
    reason: str | None = None
    summary: dict[str, Any] = {}
    success: list[dict[str, Any]] = []
    cadence: dict[str, Any] = {}
    ledger: dict[str, Any] = {}
    resources: dict[str, float] = {}


P = TypeVar("P", bound=Payload)

MOMENTS: Final[dict[str, type[Payload]]] = {
    "on_start": OnStart,
    "on_epoch_end": OnEpochEnd,
    "on_validation_end": OnValidationEnd,
    "on_checkpoint": OnCheckpoint,
    "on_example": OnExample,
    "on_phase_end": OnPhaseEnd,
    "on_check": OnCheck,
    "on_resume": OnResume,
    "on_exception": OnException,
    "on_signal": OnSignal,
    "on_train_end": OnTrainEnd,
    "custom": Payload,
}


def parse(event: Event, kind: type[P]) -> P:
    """Read an event's payload as one of the structs above; unknown keys are left out.

    Raises:
        msgspec.ValidationError: a known key has a value of another type.
    """
    return msgspec.convert(event.payload, kind, strict=False)


def as_payload(payload: Payload) -> dict[str, Any]:
    """A payload's fields by name, those that hold their default left out."""
    given = {}
    for field in msgspec.structs.fields(type(payload)):
        value = getattr(payload, field.name)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if value is not default and value != default:
            given[field.name] = value
    return given
