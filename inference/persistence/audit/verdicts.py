"""What the audit speaks of: witnesses, evidence, refusals, and what becomes of each acknowledged sequence."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final

from contracts.topics import SESSION_SILENCE
from contracts.validity import CLOCK_SKEW
from inference.persistence.objects import Digest

GRACE: Final = timedelta(seconds=30)  # so long may a frame of a session in progress be on its way
NAMED: Final = 1000  # so many of each kind are named per session; all are counted

NO_ROW: Final = "no row"
TWICE: Final = "sequence twice"
NO_OBJECT: Final = "no object"
DIFFERS: Final = "object differs"
NO_PREDICTION: Final = "no prediction"
NO_SESSION: Final = "no session"
GAP: Final = "closed with a gap"

CONFLICTS: Final = "frame_conflicts"


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a session had acknowledged when the broker took one of its records."""

    at: datetime
    last_acknowledged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What a camera process says it captured."""

    session_id: str
    camera_id: str
    source: str
    started_at: datetime
    last_acknowledged: int  # -1: nothing
    captured: int
    rejected: int
    closed_at: datetime | None
    updated_at: datetime
    first_sequence: int = 0  # judged from here; more than 0 where only newer frames are asked for
    news: tuple[News, ...] = ()  # the recent records that acknowledged more than those before, oldest first

    def state(self, now: datetime) -> str:
        """Whether it is closed, in progress, or open: without a close, and without news for SESSION_SILENCE."""
        if self.closed_at is not None:
            return "closed"
        return "in progress" if -CLOCK_SKEW <= now - self.updated_at <= SESSION_SILENCE else "open"

    @property
    def acknowledged(self) -> int:
        """How many sequences are judged."""
        return max(self.last_acknowledged - self.first_sequence + 1, 0)

    def acknowledged_at(self, sequence: int) -> datetime | None:
        """When a sequence was first said to be acknowledged; None where that is too long ago to be read."""
        found = bisect_left(self.news, sequence, key=attrgetter("last_acknowledged"))
        return self.news[found].at if found < len(self.news) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One row of frames and what the stores hold for it."""

    frame_id: str
    sequence: int
    captured_at: datetime
    size_bytes: int
    sha256: str
    object_key: str
    has_prediction: bool
    found: Digest | None  # of the object; None when there is none

    @property
    def expected(self) -> Digest:
        """What the row says of the object."""
        return Digest(size_bytes=self.size_bytes, sha256=self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """Where a refused frame lies, and why."""

    consumer: str  # of the dead-letter topic, or "frame_conflicts"
    letter_id: str  # <consumer>:<offset>
    reason: str
    frame_id: str
    sha256: str | None = None  # of the refused frame; None for a prediction
    origin: tuple[str, int, int] | None = None  # topic, partition and offset of the refused record, where known


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiration:
    """A range of a session's sequences that the retention took, or is about to."""

    first_sequence: int
    last_sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One frame that is not plainly stored, and what it is instead."""

    session_id: str
    camera_id: str
    sequence: int | None  # None: the whole session
    frame_id: str | None  # None: nobody knows it
    problem: str  # one of the names above; for a dead letter its id
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A dead letter that tells no frame."""

    letter_id: str
    origin: str  # topic/partition/offset of the refused record, or "unknown"
    reason: str


@dataclass(kw_only=True)
class SessionVerdict:
    """What became of one session's acknowledged sequences. A gap at its end counts as one problem more."""

    witness: Witness
    state: str
    stored: int = 0
    dead_lettered: int = 0
    expired: int = 0
    pending: int = 0
    problem_count: int = 0
    problems: list[Named] = field(default_factory=list)  # the first of them, as the two below
    pending_frames: list[Named] = field(default_factory=list)
    dead_letters: list[Named] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """Nothing is missing and nothing on its way."""
        return self.problem_count == 0 and self.pending == 0


@dataclass(kw_only=True)
class Report:
    """The whole audit."""

    judged_at: datetime
    is_quick: bool
    sessions: list[SessionVerdict]
    without_session: list[Named]  # frames whose session left no record: one entry per session
    unreadable: list[Unreadable]
    objects_without_row: list[str] = field(default_factory=list)  # keys; a clue where rows are missing

    @property
    def is_closed(self) -> bool:
        """Every acknowledged frame is accounted for."""
        return self.problem_count == 0

    @property
    def is_settled(self) -> bool:
        """Closed, and nothing on its way."""
        return self.is_closed and self.total("pending") == 0

    @property
    def problem_count(self) -> int:
        """How many frames are unaccounted for; a session without a record, or closed with a gap, counts as one."""
        return self.total("problem_count") + len(self.without_session)

    @property
    def problems(self) -> list[Named]:
        """The problems that are named."""
        return self.without_session + [named for verdict in self.sessions for named in verdict.problems]

    @property
    def acknowledged(self) -> int:
        """How many sequences were judged."""
        return sum(verdict.witness.acknowledged for verdict in self.sessions)

    def total(self, name: str) -> int:
        """The sum of one count over all sessions: stored, dead_lettered, expired, pending or problem_count."""
        return sum(getattr(verdict, name) for verdict in self.sessions)
