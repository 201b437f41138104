"""A camera that keeps sending while a test breaks something, and the accounting afterwards.

    with flowing(stack, "postgres away") as flow:
        ... break it ...
        flow.fault_begins()          what follows is the fault
        ... mend it, if anybody has to ...
        flow.fault_ends()            from here on nothing but waiting

At the end of the block: a frame captured after the fault's end is object, row and prediction (that is the recovery);
then the camera stops, the audit closes, nothing is there twice, nobody got a dead letter, all is well again.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg

from connectors import dead_letters
from contracts.errors import PipelineError
from contracts.settings import Settings
from inference.persistence.objects import FrameStore
from sightline.stack.ports import ports
from sightline.stack.status import look
from tests.support.command_line import Outcome, finish, run, start
from tests.support.recoveries import MEASURED, Recovery
from tests.support.waiting import eventually

SOURCE = "simulator:?size=320"
FRAMES_PER_SECOND = "10"
TAIL_SECONDS = 2.0  # frames after the recovery: it was no single lucky one
BEGIN_SECONDS = 120
RECOVERY_SECONDS = 240
AUDIT_SECONDS = 180
WELL_SECONDS = 180

STORED_SINCE = """
SELECT object_key FROM frames JOIN predictions USING (frame_id)
WHERE frames.camera_id = %s AND frames.captured_at >= %s ORDER BY sequence LIMIT 1
"""
TWICE = "SELECT session_id, sequence FROM frames WHERE camera_id = %s GROUP BY 1, 2 HAVING count(*) > 1"
BOXES_AND_DETECTIONS = """
SELECT (SELECT coalesce(sum(cardinality(labels)), 0) FROM predictions WHERE camera_id = %(camera)s),
       (SELECT count(*) FROM detections WHERE camera_id = %(camera)s)
"""


class Flow:
    """One camera under one fault."""

    def __init__(self, stack: Settings, scenario: str) -> None:
        self.stack = stack
        self.scenario = scenario
        self.camera = re.sub(r"[^a-z0-9]+", "-", scenario.lower()).strip("-")[:60]
        self.note = ""
        self.sending: subprocess.Popen[str] | None = None
        self._store = FrameStore(stack.s3)
        self._began_at: float | None = None
        self._ended_at: float | None = None
        self._ended: datetime | None = None
        self._recovery: float | None = None

    def start(self) -> None:
        """Starts the camera, and waits for the first frame at the far end."""
        since = datetime.now(UTC)
        self.sending = start(self.stack, "send", SOURCE, "--camera", self.camera, "--fps", FRAMES_PER_SECOND, "--json")
        self.wait_for_a_frame(since, seconds=BEGIN_SECONDS)

    def fault_begins(self) -> None:
        self._began_at = time.monotonic()

    def fault_ends(self) -> None:
        """From here on nothing but waiting."""
        self._ended_at, self._ended = time.monotonic(), datetime.now(UTC)
        self._began_at = self._began_at or self._ended_at

    def is_stored_since(self, since: datetime) -> bool:
        """Whether the first stored frame captured since then is object, row and prediction."""
        return self._stored_key(since) is not None

    def wait_for_a_frame(self, since: datetime, *, seconds: float) -> None:
        def is_stored() -> bool:
            assert self.sending is None or self.sending.poll() is None, (
                f"the camera ended: {self.sending.communicate()}"
            )
            return self.is_stored_since(since)

        eventually(is_stored, seconds=seconds, every=0.2)

    def recover(self) -> float:
        """Waits for the first frame after the fault; seconds from its end. Asked again it tells the same."""
        if self._recovery is not None:
            return self._recovery
        assert self._ended is not None, "the test did not say when the fault ended"
        assert self._ended_at is not None
        self.wait_for_a_frame(self._ended, seconds=RECOVERY_SECONDS)
        self._recovery = time.monotonic() - self._ended_at
        return self._recovery

    @property
    def fault_seconds(self) -> float:
        return (self._ended_at or 0.0) - (self._began_at or 0.0)

    def stop(self) -> Outcome:
        """Ctrl-C: what was captured is sent, the session is closed."""
        assert self.sending is not None
        self.sending.send_signal(signal.SIGINT)
        sent = finish(self.sending, seconds=AUDIT_SECONDS)
        assert sent.code == 0, sent.err
        return sent

    def _stored_key(self, since: datetime) -> str | None:
        try:
            with psycopg.connect(self.stack.postgres.conninfo) as connection:
                found = connection.execute(STORED_SINCE, [self.camera, since.replace(tzinfo=None)]).fetchone()
            return found[0] if found and self._store.head(found[0]) is not None else None
        except (psycopg.OperationalError, PipelineError):
            return None


@contextmanager
def flowing(stack: Settings, scenario: str) -> Iterator[Flow]:
    wait_until_well(stack)
    letters_before = dead_letters.counts(stack)
    flow = Flow(stack, scenario)
    try:
        flow.start()
        yield flow
        seconds = flow.recover()
        time.sleep(TAIL_SECONDS)
        sent = flow.stop()
        assert sent.answer["acknowledged"] == sent.answer["captured"] > 0, sent.out
        measured = Recovery(
            scenario=scenario,
            seconds=round(seconds, 1),
            fault_seconds=round(flow.fault_seconds, 1),
            frames=sent.answer["acknowledged"],
            frames_per_second=round(sent.answer["captured"] / sent.answer["seconds"], 1),
            is_closed=False,
            note=flow.note,
        )
        answer = audit(stack, flow.camera)
        assert answer["stored"] == sent.answer["acknowledged"], answer
        assert_nothing_twice(stack, flow.camera)
        assert dead_letters.counts(stack) == letters_before, "good records among the dead letters"
        wait_until_well(stack)
        assert_watchdog_has_not_given_up(stack)
        MEASURED.append(closed(measured))
    finally:
        if flow.sending is not None and flow.sending.poll() is None:
            flow.sending.kill()
            flow.sending.communicate()


def closed(measured: Recovery) -> Recovery:
    return type(measured)(**{**{name: getattr(measured, name) for name in measured.__slots__}, "is_closed": True})


def audit(stack: Settings, camera: str) -> dict[str, Any]:
    """The audit's answer once it closes."""
    outcome = run(
        stack, "audit", "--camera", camera, "--wait", str(AUDIT_SECONDS), "--json", seconds=AUDIT_SECONDS + 60
    )
    assert outcome.code == 0, outcome.out + outcome.err
    assert outcome.answer["problems"] == []
    return outcome.answer


def assert_nothing_twice(stack: Settings, camera: str) -> None:
    with psycopg.connect(stack.postgres.conninfo) as connection:
        assert connection.execute(TWICE, [camera]).fetchall() == []
        boxes, detections = connection.execute(BOXES_AND_DETECTIONS, {"camera": camera}).fetchone() or (0, 0)
    assert boxes == detections


def wait_until_well(stack: Settings) -> None:
    """Every service runs, every connector and task runs, nothing is away."""

    def is_well() -> bool:
        status = look(stack)
        failed = [row for row in status.connectors or () if row.reason]
        stopped = [row.name for row in status.services if row.state != "running"]
        assert status.is_well, f"away {status.away}, failed {failed}, not running {stopped}"
        return True

    eventually(is_well, seconds=WELL_SECONDS, every=0.5)


def assert_watchdog_has_not_given_up(stack: Settings) -> None:
    page = watchdog_metrics(stack)
    given_up = [
        line for line in page.splitlines() if line.startswith("sightline_watchdog_gave_up{") and line.endswith(" 1.0")
    ]
    assert given_up == []


def watchdog_metrics(stack: Settings) -> str:
    """Its page; a watchdog that was killed a moment ago is waited for."""
    url = f"http://127.0.0.1:{ports(stack.stack)['watchdog_metrics']}/metrics"

    def page() -> str | None:
        try:
            return httpx.get(url, timeout=5, trust_env=False).text
        except httpx.HTTPError:
            return None

    answer = eventually(page, seconds=60)
    assert answer is not None
    return answer
