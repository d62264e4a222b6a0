"""What a run's files hold, read from the outside the way any reader does: for assertions about recorded facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from barograph.facts.kinds import Event
from barograph.facts.rundir import RunDir
from barograph.facts.state import ExitRecord, read_exit
from barograph.read.follow import Follower, Rows


class Recorded:
    """The facts of one run, read once.

    Attributes:
        events: every event of every process, in the order of their files.
        records: every record of metrics as a dict, with its ``split``, ``attempt``, ``rank`` and ``pid``; samples of
            the host are left out.
        damage: places in the files that hold no fact.
    """

    def __init__(self, directory: str | Path) -> None:
        self.layout = RunDir(Path(directory))
        follower = Follower(self.layout)
        facts = follower.drain()
        self.events = [fact for fact in facts if isinstance(fact, Event)]
        self.records: list[dict[str, Any]] = []
        for fact in facts:
            if isinstance(fact, Rows):
                head = fact.header
                origin = {"split": head.split, "attempt": head.attempt, "rank": head.rank, "pid": head.pid}
                self.records += [dict(zip(head.columns, row, strict=True)) | origin for row in fact.rows]
            elif not isinstance(fact, Event):
                origin = {"split": fact.split, "attempt": fact.attempt, "rank": fact.rank}
                self.records.append({"step": fact.step, **fact.metrics, "t": fact.t, **origin})
        self.records = [record for record in self.records if record["split"] != "host"]
        self.damage = follower.damage

    @property
    def moments(self) -> list[str]:
        """What happened, in order."""
        return [event.moment for event in self.events]

    @property
    def exit(self) -> ExitRecord | None:
        """How rank 0's last attempt ended."""
        return read_exit(self.layout.exit())

    def of(self, moment: str) -> list[dict[str, Any]]:
        """The payloads of one moment."""
        return [event.payload for event in self.events if event.moment == moment]

    def only(self, moment: str) -> dict[str, Any]:
        """The payload of the one event of that moment."""
        (payload,) = self.of(moment)
        return payload

    def custom(self, kind: str) -> list[dict[str, Any]]:
        """The payloads of ``custom`` events of one kind."""
        return [payload for payload in self.of("custom") if payload.get("kind") == kind]

    def column(self, name: str, *, split: str = "train") -> list[float]:
        """The values of one metric on one split, by step."""
        found = [record for record in self.records if name in record and record["split"] == split]
        return [record[name] for record in sorted(found, key=lambda record: (record["step"], record["t"]))]
