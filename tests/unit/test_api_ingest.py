"""POST /v1/frames: 202 only for what the broker has; one session per camera; nothing half done."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from connectors.cameras.images import RejectedImage, captured_image
from connectors.cameras.summary import Snapshot
from contracts.errors import Misconfigured, Transient
from contracts.settings import ApiSettings, Settings
from inference.api import ingest as module
from inference.api import problems
from inference.api.identity import Identity
from inference.api.ingest import Ingest
from inference.api.metrics import Metrics
from inference.api.problems import Problem
from inference.api.routes import frames
from inference.api.routes.frames import _check_camera, _check_times
from tests.support.images import jpeg


class FakeSession:
    """A session whose broker can be away; acknowledgements come from another thread."""

    def __init__(self, broker: Broker, camera_id: str, stop: threading.Event, give_up: threading.Event) -> None:
        self.session_id = f"session-{camera_id}-{len(broker.sessions)}"
        self.broker, self.stop, self.give_up = broker, stop, give_up
        self.is_open = self.is_closed = False
        self.sent: list[str] = []
        self.rejected: list[str] = []
        broker.sessions.append(self)

    def open(self) -> str:
        if self.broker.defect is not None:
            raise self.broker.defect
        if self.broker.misconfigured:
            raise Misconfigured("the broker has no topic frames")
        while not self.broker.is_up:
            if self.stop.wait(0.005):
                raise Transient("stopped before the session was open")
        self.is_open = True
        return self.session_id

    def submit_numbered(self, image, *, on_acknowledged):
        time.sleep(self.broker.sending_seconds)
        if self.broker.refusal is not None:
            raise self.broker.refusal
        sequence = len(self.sent)
        frame_id = f"frame-{sequence}"
        self.sent.append(frame_id)
        if self.broker.acknowledges:
            threading.Timer(0.005, on_acknowledged, (frame_id, None)).start()
        return frame_id, sequence

    def reject(self, image: RejectedImage) -> None:
        self.rejected.append(image.code)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            session_id=self.session_id, camera_id="c", captured=0, acknowledged=0, last_acknowledged=-1, rejected=0,
            waiting_for="waiting for the broker" if self.broker.is_known_away else "",
        )  # fmt: skip

    def close(self) -> None:
        assert self.is_open
        self.is_closed = True


class Broker:
    def __init__(self) -> None:
        self.is_up = self.acknowledges = True
        self.is_known_away = self.misconfigured = False
        self.refusal: Exception | None = None
        self.defect: Exception | None = None  # of the opening
        self.sending_seconds = 0.0
        self.sessions: list[FakeSession] = []


@asynccontextmanager
async def running(broker: Broker, **api):
    settings = Settings(api=ApiSettings(**{"request_seconds": 0.3} | api))
    ingest = Ingest(
        settings, Metrics(), make_session=lambda camera, stop, give_up: FakeSession(broker, camera, stop, give_up)
    )
    ingest.start()
    try:
        yield ingest
    finally:
        await ingest.close(within_seconds=0.5)


def an_image(shade: int = 90):
    return captured_image(jpeg(shade=shade), name="a.jpg")


def told(story: Callable[[Ingest], object], broker: Broker, **api) -> object:
    async def whole():
        async with running(broker, **api) as ingest:
            return await story(ingest)

    return asyncio.run(whole())


def test_a_frame_is_taken_once_the_broker_has_it():
    broker = Broker()

    async def story(ingest: Ingest):
        return [await ingest.take("line-1", an_image()) for _ in range(3)]

    taken = told(story, broker)
    assert [frame.sequence for frame in taken] == [0, 1, 2]
    assert {frame.session_id for frame in taken} == {"session-line-1-0"}
    assert [session.is_closed for session in broker.sessions] == [True], "closed at the drain"


def test_cameras_have_sessions_of_their_own_and_requests_at_once_share_one():
    broker = Broker()

    async def story(ingest: Ingest):
        return await asyncio.gather(*(ingest.take(camera, an_image()) for camera in ("a", "b", "a", "b", "a")))

    taken = told(story, broker)
    assert len(broker.sessions) == 2
    assert sorted(frame.sequence for frame in taken if frame.session_id.startswith("session-a")) == [0, 1, 2]


def test_while_the_broker_is_away_nothing_is_sent_and_the_answer_comes_in_time():
    broker = Broker()
    broker.is_up = False

    async def story(ingest: Ingest):
        began = time.monotonic()
        with pytest.raises(Problem) as away:
            await ingest.take("line-1", an_image())
        seconds = time.monotonic() - began
        broker.is_up = True
        return away.value, seconds, await ingest.take("line-1", an_image())

    away, seconds, taken = told(story, broker)
    assert (away.status, away.code, away.headers) == (503, "broker_away", {"Retry-After": "2"})
    assert 0.2 < seconds < 2
    assert taken.session_id == "session-line-1-1", "a new session, when the broker is back"
    assert broker.sessions[0].sent == []


def test_a_broker_known_to_be_away_gets_no_more_frames():
    broker = Broker()

    async def story(ingest: Ingest):
        await ingest.take("line-1", an_image())
        broker.is_known_away = True
        with pytest.raises(Problem, match="nothing was sent"):
            await ingest.take("line-1", an_image())

    told(story, broker)
    assert len(broker.sessions[0].sent) == 1


def test_silence_after_the_sending_is_told_apart_from_not_sent():
    broker = Broker()
    broker.acknowledges = False

    async def story(ingest: Ingest):
        with pytest.raises(Problem) as unconfirmed:
            await ingest.take("line-1", an_image())
        return unconfirmed.value, ingest._in_flight

    unconfirmed, in_flight = told(story, broker)
    assert (unconfirmed.status, unconfirmed.code) == (503, "unconfirmed")
    assert "may still arrive" in unconfirmed.detail
    assert in_flight == 0


def test_a_session_that_the_broker_refused_is_replaced():
    broker = Broker()

    async def story(ingest: Ingest):
        await ingest.take("line-1", an_image())
        broker.refusal = Transient("the broker lost track of this producer")
        with pytest.raises(Transient):
            await ingest.take("line-1", an_image())
        broker.refusal = None
        return await ingest.take("line-1", an_image())

    assert told(story, broker).session_id == "session-line-1-1"


def test_an_opening_that_a_defect_ended_is_tried_anew_with_the_next_frame():
    broker = Broker()
    broker.defect = RuntimeError("can't start new thread")

    async def story(ingest: Ingest):
        with pytest.raises(RuntimeError, match="new thread"):
            await ingest.take("line-1", an_image())
        broker.defect = None
        return await ingest.take("line-1", an_image())

    assert told(story, broker).session_id == "session-line-1-1"


def test_a_failed_opening_that_nobody_waits_for_any_more_is_forgotten_too():
    broker = Broker()
    broker.is_up = False

    async def story(ingest: Ingest):
        asking = asyncio.create_task(ingest.take("line-1", an_image()))
        await asyncio.sleep(0.05)
        asking.cancel()  # the client went away
        async with asyncio.timeout(5):
            while ingest._cameras:  # noqa: ASYNC110 - another thread brings it about
                await asyncio.sleep(0.01)
        broker.is_up = True
        return await ingest.take("line-1", an_image())

    assert told(story, broker).session_id == "session-line-1-1"


def test_a_session_that_a_defect_broke_is_replaced():
    broker = Broker()

    async def story(ingest: Ingest):
        broker.refusal = RuntimeError("broken")
        with pytest.raises(RuntimeError, match="broken"):
            await ingest.take("line-1", an_image())
        broker.refusal = None
        return await ingest.take("line-1", an_image())

    assert told(story, broker).session_id == "session-line-1-1"


def test_a_sending_that_is_held_up_is_answered_in_time():
    broker = Broker()
    broker.sending_seconds, broker.acknowledges = 1.5, False

    async def story(ingest: Ingest):
        began = time.monotonic()
        with pytest.raises(Problem) as unconfirmed:
            await ingest.take("line-1", an_image())
        return unconfirmed.value.code, time.monotonic() - began

    code, seconds = told(story, broker)
    assert code == "unconfirmed"
    assert seconds < 1.2


def test_a_missing_topic_is_nothing_to_wait_for():
    broker = Broker()
    broker.misconfigured = True

    async def story(ingest: Ingest):
        for _ in range(2):
            with pytest.raises(Misconfigured, match="no topic"):
                await ingest.take("line-1", an_image())

    told(story, broker)


def test_a_camera_that_falls_silent_has_its_session_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(module, "_IDLE_ROUND_SECONDS", 0.02)
    broker = Broker()

    async def story(ingest: Ingest):
        await ingest.take("line-1", an_image())
        async with asyncio.timeout(5):
            while not broker.sessions[0].is_closed:  # noqa: ASYNC110 - another thread brings it about
                await asyncio.sleep(0.01)
        return await ingest.take("line-1", an_image())

    assert told(story, broker).session_id == "session-line-1-1"


def test_there_is_a_limit_to_the_cameras_of_a_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_CAMERAS", 2)

    async def story(ingest: Ingest):
        await ingest.take("a", an_image())
        await ingest.take("b", an_image())
        with pytest.raises(Problem) as refused:
            await ingest.take("c", an_image())
        await ingest.take("a", an_image())
        return refused.value.code

    assert told(story, Broker()) == "too_many_cameras"


def test_one_account_cannot_take_the_places_of_all_others():
    async def story(ingest: Ingest):
        for name in ("made-up-1", "made-up-2"):
            await ingest.take(name, an_image(), account="greedy")
        with pytest.raises(Problem) as refused:
            await ingest.take("made-up-3", an_image(), account="greedy")
        await ingest.take("made-up-1", an_image(), account="greedy")
        await ingest.take("line-1", an_image(), account="honest")
        return refused.value.status, refused.value.code

    assert told(story, Broker(), cameras_per_account=2) == (503, "too_many_cameras")


def a_sender(cameras: tuple[str, ...] | None) -> Identity:
    return Identity(subject="s", name="line 3", roles=frozenset({"camera"}), client="sightline-cam", cameras=cameras)


@pytest.mark.parametrize(
    ("cameras", "without_claim", "is_allowed"),
    [
        (("line-3.top",), "all", True),
        (("gate", "line-3.*"), "all", True),
        (("line-4.*",), "all", False),
        (("line-3",), "all", False),
        ((), "all", False),
        (None, "all", True),
        (None, "none", False),
        (("*",), "none", True),
    ],
)
def test_an_account_sends_as_its_own_cameras_only(cameras, without_claim, is_allowed: bool):
    if is_allowed:
        _check_camera(a_sender(cameras), "line-3.top", without_claim=without_claim)
        return
    with pytest.raises(Problem) as refused:
        _check_camera(a_sender(cameras), "line-3.top", without_claim=without_claim)
    assert (refused.value.status, refused.value.code) == (403, "camera_not_allowed")


def test_a_camera_that_is_not_the_accounts_is_refused_by_the_route_before_anything_is_taken():
    app = FastAPI()
    app.include_router(frames.router)
    problems.install(app)
    tokens = SimpleNamespace(remembered=lambda _token: a_sender(("line-4.*",)))
    app.state.parts = SimpleNamespace(settings=Settings(), tokens=tokens, ingest=None)
    answer = TestClient(app).post(
        "/v1/frames?camera_id=line-3.top", content=jpeg(), headers={"Authorization": "Bearer t"}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "camera_not_allowed")


def test_what_a_camera_would_refuse_is_noted_in_its_session():
    broker = Broker()

    async def story(ingest: Ingest):
        ingest.reject("line-1", RejectedImage(name="x", code="not_an_image", reason="a text"))
        await ingest.take("line-1", an_image())
        ingest.reject("line-1", RejectedImage(name="x", code="not_an_image", reason="a text"))

    told(story, broker)
    assert broker.sessions[0].rejected == ["not_an_image"]


@pytest.mark.parametrize(
    ("captured", "code"),
    [
        (timedelta(days=-91), "captured_at_out_of_window"),
        (timedelta(minutes=11), "captured_at_out_of_window"),
        (timedelta(days=-89), None),
        (timedelta(minutes=9), None),
    ],
)
def test_a_capture_time_that_the_contract_refuses_is_refused_here(captured: timedelta, code: str | None):
    at = datetime.now(UTC) + captured
    if code is None:
        _check_times(at, None, retention=timedelta(days=90))
    else:
        with pytest.raises(Problem) as refused:
            _check_times(at, None, retention=timedelta(days=90))
        assert (refused.value.status, refused.value.code) == (422, code)


@pytest.mark.parametrize("at", ["1969-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.9999Z"])
def test_a_source_time_that_the_contract_refuses_is_refused_here(at: str):
    with pytest.raises(Problem, match="1970 or after 9999") as refused:
        _check_times(None, datetime.fromisoformat(at), retention=timedelta(days=90))
    assert (refused.value.status, refused.value.code) == (422, "bad_source_time")


@pytest.mark.parametrize("at", ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59+23:59", "9999-12-31T23:59:59.999Z"])
def test_any_other_source_time_is_taken(at: str):
    _check_times(None, datetime.fromisoformat(at), retention=timedelta(days=90))
