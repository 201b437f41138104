"""The audit itself: the witness is read once, the stores until everything is there or the wait is over.

witness ──► round: letters, then per session rows + objects ──► judge ──► Report ──► settled, or again
"""

from __future__ import annotations

import time
from collections import defaultdict
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Final

from connectors import dead_letters
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts.errors import Rejected, Transient
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.persistence.audit.evidence import (
    Verified,
    find_objects_without_row,
    read_evidence,
    read_expirations,
    read_from_metadata,
    read_without_session,
)
from inference.persistence.audit.judging import judge
from inference.persistence.audit.letters import Letters
from inference.persistence.audit.verdicts import GRACE, NO_ROW, Report, SessionVerdict, Witness
from inference.persistence.audit.witness import read_recent, read_witnesses, until_last_before
from inference.persistence.database import Connection, connect
from inference.persistence.objects import CONNECTIONS, FrameStore

STALL: Final = timedelta(seconds=60)  # a wait in which so long nothing changes is given up
_PAUSE_SECONDS: Final = 2.0
_ORPHANS: Final = 100

log = get_logger(__name__)


def audit(
    settings: Settings,
    *,
    camera: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    wait: timedelta = timedelta(0),
    is_quick: bool = False,
) -> Report:
    """Accounts for every frame that the cameras' sessions say was acknowledged, as they say at the time of the call.

    Args:
        settings: where everything is.
        camera: only this camera's sessions.
        since: only frames captured since then.
        until: only frames captured before then; one without a row is judged unless a later one of its session has one.
        wait: judge again until nothing is missing or on its way, for at most so long; given up earlier when nothing
            changes for STALL.
        is_quick: compare the objects' metadata and leave their bytes unread.

    Raises:
        Transient: a store, the broker or the registry is away (and stayed away during the wait).
        Misconfigured: a login, a bucket or the schema does not fit.
        Rejected: the camera has no session at all (unknown_camera).
    """
    auditor = _Auditor(settings, camera=camera, since=since, until=until, is_quick=is_quick)
    started = news = time.monotonic()
    deadline = started + wait.total_seconds()
    counts: tuple[int, ...] | None = None
    try:
        while True:
            is_last = time.monotonic() >= min(deadline, news + STALL.total_seconds())
            try:
                report = auditor.judge_all()
            except Transient:
                if is_last:
                    raise
            else:
                now_counts = (report.problem_count, report.total("pending"))
                if now_counts != counts:
                    counts, news = now_counts, time.monotonic()
                if is_last or report.is_settled or time.monotonic() >= deadline:
                    break
            time.sleep(min(_PAUSE_SECONDS, max(deadline - time.monotonic(), 0.0)))
        auditor.look_for_clues(report)
    finally:
        auditor.close()
    log.info(
        "audit_made",
        is_closed=report.is_closed,
        sessions=len(report.sessions),
        acknowledged=report.acknowledged,
        problems=report.problem_count,
        seconds=round(time.monotonic() - started, 1),
    )
    return report


class _Auditor:
    """Holds the connections, the witness and what was verified between the rounds."""

    def __init__(
        self,
        settings: Settings,
        *,
        camera: str | None,
        since: datetime | None,
        until: datetime | None,
        is_quick: bool,
    ) -> None:
        self._settings = settings
        self._camera = camera
        self._since = since
        self._until = until
        self._is_quick = is_quick
        self._registry = SchemaRegistry(settings.registry)
        self._codec = Codec(self._registry)
        self._store = FrameStore(settings.s3)
        self._judged_at = datetime.now(UTC)
        self._witnesses: list[Witness] | None = None
        self._known: set[str] = set()
        self._letters = Letters()
        self._letter_counts: dict[str, int] | None = None
        self._settled: dict[str, SessionVerdict] = {}
        self._verified: defaultdict[str, Verified] = defaultdict(Verified)

    def close(self) -> None:
        """Closes the connections."""
        self._store.close()
        self._registry.close()

    def judge_all(self) -> Report:
        """One round over all sessions; one that was settled in an earlier round stays so."""
        self._store.check()
        with connect(self._settings, autocommit=True) as connection, ThreadPoolExecutor(CONNECTIONS) as pool:
            witnesses = self._read_witnesses(connection)
            self._read_letters(connection)
            verdicts = [self._judge(connection, pool, witness) for witness in witnesses]
            without_session = read_without_session(
                connection,
                self._known,
                camera=self._camera,
                since=self._since,
                until=min(self._judged_at - GRACE, self._until or self._judged_at),
            )
        return Report(
            judged_at=self._judged_at,
            is_quick=self._is_quick,
            sessions=verdicts,
            without_session=without_session,
            unreadable=self._letters.unreadable,
        )

    def look_for_clues(self, report: Report) -> None:
        """Where rows are missing, lists the objects that have none."""
        suspects = [
            verdict.witness for verdict in report.sessions if any(named.problem == NO_ROW for named in verdict.problems)
        ]
        if not suspects:
            return
        with connect(self._settings, autocommit=True) as connection:
            for witness in suspects:
                found = find_objects_without_row(connection, self._store, witness, self._letters.knows)
                wanted = _ORPHANS - len(report.objects_without_row)
                fresh = (key for key in found if key not in report.objects_without_row)
                report.objects_without_row += list(islice(fresh, wanted))

    def _read_witnesses(self, connection: Connection) -> list[Witness]:
        if self._witnesses is None:
            recent = read_recent(self._settings, self._codec)
            witnesses = read_witnesses(connection, recent, camera=self._camera, since=self._since)
            if not witnesses and self._camera is not None and self._since is None:
                raise Rejected(
                    f"camera {self._camera} has no session: check its name, or send something first",
                    code="unknown_camera",
                )
            self._known = {heard.session.session_id for heard in recent}
            self._witnesses = witnesses
        return self._witnesses

    def _read_letters(self, connection: Connection) -> None:
        counts = dead_letters.counts(self._settings)
        if counts != self._letter_counts:
            letters = Letters()
            letters.add_dead_letters(dead_letters.read(self._settings), self._codec)
            self._letters, self._letter_counts = letters, counts
        self._letters.read_conflicts(connection)
        self._letters.read_traces(connection)

    def _judge(self, connection: Connection, pool: Executor, witness: Witness) -> SessionVerdict:
        settled = self._settled.get(witness.session_id)
        if settled is not None:
            return settled
        if self._until is not None:
            witness = until_last_before(connection, witness, self._until)
        read_object = read_from_metadata(self._store) if self._is_quick else self._store.digest
        verdict = judge(
            witness,
            read_evidence(connection, witness, read_object, pool, self._verified[witness.session_id]),
            find_letters=partial(self._letters.find, witness),
            refused=self._letters.sequences(witness.session_id),
            expirations=read_expirations(connection, witness),
            now=datetime.now(UTC),
        )
        if verdict.is_settled:
            self._settled[witness.session_id] = verdict
        return verdict
