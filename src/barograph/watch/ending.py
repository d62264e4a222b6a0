"""What is said when a run has ended otherwise than by finishing: killed, out of memory, failed, silently or lost."""

from __future__ import annotations

import re
import signal
from typing import Final

import msgspec

from barograph.read.status import LIVING, Status
from barograph.watch.alert import Alert, Evidence, Remedy, Severity
from barograph.watch.context import Context
from barograph.watch.death import Death
from barograph.watch.detector import shown
from barograph.watch.incident import Incident, Told

KILLED: Final = "killed"
OUT_OF_MEMORY: Final = "out_of_memory"
FAILED: Final = "failed"
LOST: Final = "lost"
ENDINGS: Final = frozenset({KILLED, OUT_OF_MEMORY, FAILED, LOST})
_NO_MEMORY: Final = re.compile(r"\bMemoryError\b|OutOfMemory|\bout of memory\b|Cannot allocate memory", re.IGNORECASE)
_CARD: Final = re.compile(r"CUDA|HIP|GPU", re.IGNORECASE)
_BY_HAND: Final = ("SIGINT", "SIGQUIT")
_NATIVE: Final = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")


class _Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: the type of the alert, what happened (the step follows), and what is special about it."""

    type: str
    text: str
    detail: str = ""
    severity: Severity = "fatal"
    causes: list[str] = []
    remedies: list[Remedy] = []
    evidence: list[Evidence] = []
    confidence: float = 1.0


def ending(status: Status, context: Context, *, death: Death | None = None, rank: int = 0) -> Told | None:
    """What a person is told about the end of a run; None for one that finished, or goes on.

    Args:
        status: as the run's files and this machine show it.
        context: what is known about the run.
        death: what the kernel told, where somebody watched.
        rank: of the process.
    """
    if status.state in LIVING or status.state == "finished":
        return None
    verdict = _verdict(status, context, death or Death())
    identity = f"end-r{rank}-a{context.attempt}"  # whatever is known of it: an attempt ends once
    alert = Alert(
        type=verdict.type,
        severity=verdict.severity,
        text=_text(verdict, context),
        step=context.step,
        since_step=context.step,
        evidence=verdict.evidence,
        causes=verdict.causes,
        remedies=[*verdict.remedies, _go_on(context)],
        confidence=verdict.confidence,
        t=context.t if status.since_t is None else status.since_t,
        attempt=context.attempt,
        rank=rank,
        id=identity,
        incident=identity,
    )
    incident = Incident(
        id=identity,
        family="life",
        severity=alert.severity,
        types=[alert.type],
        first_step=alert.step,
        last_step=alert.step,
        last_record=context.num_records,
    )
    return Told(stage="opened", alert=alert, incident=incident, step=alert.step, t=alert.t)


def _text(verdict: _Verdict, context: Context) -> str:
    place = f"after step {shown(context.step)}" if context.num_records else "before its first record"
    return f"{verdict.text} {place}" + (f": {verdict.detail}" if verdict.detail else "")


def _verdict(status: Status, context: Context, death: Death) -> _Verdict:
    reason = status.reason.split("\n", 1)[0]
    if status.state == "lost":
        return _Verdict(type=LOST, severity="critical", text="the run was lost", detail=reason, confidence=0.9)
    if status.state == "failed":
        return _failed(reason, context)
    if death.is_out_of_memory() or "out of memory is likely" in reason:
        return _killed_for_memory(death, context)
    if reason.startswith("SIG"):
        return _by_signal(reason)
    if death.signal:
        return _by_signal(_name(death.signal), "it could not say so, the kernel does")
    return _silent(death)


def _failed(reason: str, context: Context) -> _Verdict:
    if _NO_MEMORY.search(reason):
        return _out_of_memory(reason, context, on_card=bool(_CARD.search(reason)))
    return _Verdict(
        type=FAILED,
        text="the run failed",
        detail=reason or "it did not say why",
        causes=["an error that the program did not handle; `barograph show RUN` has the traceback"],
    )


def _killed_for_memory(death: Death, context: Context) -> _Verdict:
    verdict = _out_of_memory("the kernel killed it", context, on_card=False)
    kills = Evidence(name="processes killed for memory just then", value=float(death.oom_kills or 1), threshold=0.0)
    return msgspec.structs.replace(verdict, evidence=[kills, *verdict.evidence], confidence=0.95)


def _silent(death: Death) -> _Verdict:
    """It left no record, and no signal is known."""
    if death.signal is None:
        return _Verdict(
            type=KILLED,
            text="the process is gone",
            detail="it said nothing; SIGKILL, out of memory, os._exit or power",
            causes=[
                "SIGKILL by a person, a scheduler or a container's limit",
                "memory was short",
                "os._exit, or power",
            ],
            confidence=0.8,
        )
    return _Verdict(
        type=LOST,
        text="the process ended silently",
        detail=f"exit code {death.exit_code}, and the run was not finished",
        causes=[
            "os._exit, or exit() of a library in C: Python did not come to its end",
            "another program took the place of the process (os.exec...), and has ended",
        ],
        evidence=[Evidence(name="exit code", value=float(death.exit_code or 0))],
    )


def _by_signal(name: str, detail: str = "") -> _Verdict:
    if name in _BY_HAND:
        return _Verdict(type=KILLED, severity="warning", text=f"the run was interrupted by {name}", detail=detail)
    if name in _NATIVE:
        causes = ["an error in native code: an extension, a driver, a library", "a broken or mismatched installation"]
        remedy = Remedy(text="run it with python -X faulthandler: it shows where")
        return _Verdict(
            type=KILLED, text=f"the process crashed by {name}", detail=detail, causes=causes, remedies=[remedy]
        )
    causes = {
        "SIGTERM": ["the scheduler's time limit or preemption, a container that stops", "a person"],
        "SIGHUP": ["the terminal or connection that it ran in was closed"],
        "SIGXCPU": ["the limit of processor time was reached"],
    }.get(name, ["a person, a scheduler, or a container's limit"])
    remedies = [Remedy(text="start it under nohup, tmux or a scheduler")] if name == "SIGHUP" else []
    return _Verdict(type=KILLED, text=f"the run was killed by {name}", detail=detail, causes=causes, remedies=remedies)


def _out_of_memory(detail: str, context: Context, *, on_card: bool) -> _Verdict:
    memory = context.signals.get("memory")
    evidence, causes = [], []
    if memory is not None and memory.count:
        evidence.append(Evidence(name=memory.name, value=memory.value, last_step=memory.step))
        causes += _growth(memory.name, memory.recent)
    where = "the card" if on_card else "this machine, or the limit of its control group,"
    causes += [f"the batch and model need more than {where} has", "other processes use the same memory"]
    remedies = []
    batch_size = context.setting("batch_size", "train_batch_size", "per_device_train_batch_size")
    if batch_size is not None and batch_size >= 2:  # noqa: PLR2004 - one cannot be halved
        half = int(batch_size // 2)
        text_of = f"halve the batch to {half} and accumulate gradients over 2 of them"
        remedies.append(Remedy(text=text_of, change={"batch_size": half}))
    if on_card:
        remedies.append(Remedy(text="PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True, where it is fragmented"))
    else:
        remedies.append(Remedy(text="fewer loader workers, or a data set that is read lazily"))
    return _Verdict(
        type=OUT_OF_MEMORY,
        text="the run ran out of memory",
        detail=detail,
        causes=causes,
        remedies=remedies,
        evidence=evidence,
    )


def _growth(name: str, levels: list[float]) -> list[str]:
    if len(levels) < 2 or not levels[-1] > 1.1 * levels[0] > 0:  # noqa: PLR2004 - grown by a tenth between two blocks
        return []
    return [f"it leaked: {name} had grown from {shown(levels[0])} to {shown(levels[-1])}"]


def _go_on(context: Context) -> Remedy:
    if not context.checkpoints:
        return Remedy(text="begin again: there is no checkpoint; record one with run.checkpoint now and then")
    at, path = context.checkpoints[-1]
    lost = f"; steps after {shown(at)} are to be done again" if context.step > at else ""
    return Remedy(text=f'go on from {path} (step {shown(at)}) with barograph.init(..., resume="allow"){lost}')


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
