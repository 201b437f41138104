"""Frames by HTTP into the topic, as a camera would send them: one session per camera and process.

    POST /v1/frames ─► session of the camera (opened at the first frame) ─► topic ─► acknowledged ─► 202
                          └─ idle for minutes, or the service drains: closed

202 means that the broker has the frame. Everything else that may have begun is told apart:

    the broker is known to be away, or the session cannot open    503, nothing was sent: send it again
    no acknowledgement within the deadline                        503 unconfirmed: it may still arrive; sent again, it
                                                                  becomes a second frame with an id of its own
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from connectors.cameras.capture import Acknowledged, Capture
from connectors.cameras.images import CapturedImage, RejectedImage
from connectors.cameras.summary import Snapshot
from connectors.kafka import make_producer
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts.errors import PipelineError, Rejected, Transient
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.api.metrics import Metrics
from inference.api.problems import Problem

IDLE_SECONDS: Final = 300.0  # a camera that is silent for so long gets a new session with its next frame
MOST_CAMERAS: Final = 256  # sessions per process: each has a thread
_IN_FLIGHT_BYTES: Final = 64 * 1024 * 1024  # of images given to the broker and not acknowledged, per process
_IDLE_ROUND_SECONDS: Final = 15.0
_WAITERS: Final = 16  # sessions that open or close at a time
_SENDERS: Final = 2
_RETRY_AFTER: Final = {"Retry-After": "2"}

_log = get_logger(__name__)


class Session(Protocol):
    """What the ingest needs of connectors.cameras.capture.Capture."""

    session_id: str

    def open(self) -> str:
        """Waits for the broker, until it is told to stop."""
        ...

    def submit_numbered(self, image: CapturedImage, *, on_acknowledged: Acknowledged | None = None) -> tuple[str, int]:
        """The frame_id and the sequence."""
        ...

    def reject(self, image: RejectedImage) -> None:
        """Notes a refusal."""
        ...

    def snapshot(self) -> Snapshot:
        """Where it stands."""
        ...

    def close(self) -> object:
        """Waits for what is owed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A frame that the broker has."""

    frame_id: str
    session_id: str
    sequence: int


@dataclass(slots=True, kw_only=True, eq=False)
class _Camera:
    """One camera's session, or the opening of it."""

    stop: threading.Event  # ends the wait for the opening
    account: str  # who sent its first frame
    opening: asyncio.Task[Session] | None = None
    used_at: float = field(default_factory=time.monotonic)
    in_use: int = 0

    @property
    def session(self) -> Session | None:
        """The session, once it is open."""
        opening = self.opening
        is_open = opening is not None and opening.done() and not opening.cancelled() and opening.exception() is None
        return opening.result() if opening is not None and is_open else None


class Ingest:
    """Made before the event loop, started on it. Everything but the sessions' own threads happens on the loop."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        *,
        make_session: Callable[[str, threading.Event, threading.Event], Session] | None = None,
    ) -> None:
        """`make_session(camera_id, stop, give_up)` stands in for Capture in tests."""
        self._settings = settings
        self._metrics = metrics
        self._seconds = settings.api.request_seconds
        self._make_session = make_session or self._capture
        self._give_up = threading.Event()
        self._cameras: dict[str, _Camera] = {}
        self._in_flight = 0  # bytes
        self._is_closing = False
        self._closings: set[asyncio.Task[None]] = set()
        self._shared: tuple[Any, Codec] | None = None
        self._sharing = threading.Lock()
        # Apart, so that sessions that wait for a broker keep nobody from sending; and apart from the routes' threads.
        self._waiters = ThreadPoolExecutor(_WAITERS, thread_name_prefix="session")
        self._senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix="submit")

    def start(self) -> None:
        """Begins to look for idle cameras. Call it on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._tending = self._loop.create_task(self._tend())

    async def take(self, camera_id: str, image: CapturedImage, *, account: str = "") -> Taken:
        """Sends a frame and waits until the broker has it. `account` is who sends it: the token's subject.

        Raises:
            Problem: 503 queue_full, broker_away, unconfirmed or too_many_cameras.
            PipelineError: the topics or schemas are missing, or the broker refused the frame.
        """
        size = len(image.image)
        if self._in_flight + size > _IN_FLIGHT_BYTES:
            raise self._refused("queue_full", "too many frames wait for the broker: try again")
        camera = self._camera(camera_id, account)
        self._in_flight += size
        camera.in_use += 1
        try:
            return await self._send(camera_id, camera, image)
        finally:
            camera.in_use -= 1
            camera.used_at = time.monotonic()
            self._in_flight -= size

    def reject(self, camera_id: str, image: RejectedImage) -> None:
        """Notes an image that could never become a frame, in the camera's session where it has one."""
        self._metrics.frames.labels(image.code).inc()
        camera = self._cameras.get(camera_id)
        session = camera.session if camera is not None else None
        if session is not None:
            session.reject(image)

    async def close(self, *, within_seconds: float) -> None:
        """Closes every session; what the broker has not acknowledged by then is left, its session open."""
        self._is_closing = True
        self._tending.cancel()
        giving_up = self._loop.call_later(within_seconds, self._give_up.set)
        for camera_id in list(self._cameras):
            self._let_go(camera_id)
        if self._closings:
            await asyncio.wait(self._closings, timeout=within_seconds + 1.0)
        giving_up.cancel()
        self._give_up.set()
        for pool in (self._waiters, self._senders):
            pool.shutdown(wait=False, cancel_futures=True)

    # -- one frame ---------------------------------------------------------------------------------------------------
    async def _send(self, camera_id: str, camera: _Camera, image: CapturedImage) -> Taken:
        deadline = self._loop.time() + self._seconds
        session = await self._opened(camera_id, camera)
        if session.snapshot().waiting_for:
            raise self._refused("broker_away", "the broker is away: nothing was sent, try again")
        acknowledged: asyncio.Future[None] = self._loop.create_future()

        def tell(_frame_id: str, reason: PipelineError | None) -> None:
            self._loop.call_soon_threadsafe(_settle, acknowledged, reason)

        try:
            async with asyncio.timeout_at(deadline):  # a producer whose queue is full may hold up the sending, too
                frame_id, sequence = await self._loop.run_in_executor(
                    self._senders, partial(session.submit_numbered, image, on_acknowledged=tell)
                )
                await acknowledged
        except TimeoutError as error:
            raise self._refused(
                "unconfirmed",
                f"the broker did not confirm the frame within {self._seconds:g} s: it may still arrive; sent again, it "
                "becomes a second frame",
            ) from error
        except Exception as error:
            self._let_go(camera_id, camera)  # a session that the broker refused takes no more, nor does a broken one
            if not isinstance(error, Rejected):
                self._shared = None  # nor does a producer that it lost track of
            raise
        self._metrics.frames.labels("acknowledged").inc()
        return Taken(frame_id=frame_id, session_id=session.session_id, sequence=sequence)

    async def _opened(self, camera_id: str, camera: _Camera) -> Session:
        """Waits for the session's opening; the first request begins it, all wait for the same one."""
        if camera.opening is None:
            camera.opening = self._loop.create_task(self._open(camera_id, camera.stop))
            camera.opening.add_done_callback(partial(self._forget_failed, camera_id, camera))
        try:
            return await asyncio.shield(camera.opening)
        except Transient as error:
            _log.warning("session_not_opened", camera_id=camera_id, reason=str(error))
            raise self._refused(
                "broker_away", f"no session could be opened ({error.public}): nothing was sent"
            ) from error

    def _forget_failed(self, camera_id: str, camera: _Camera, opening: asyncio.Task[Session]) -> None:
        """Whatever the reason, and whether somebody still waits or not: a failed opening would fail every later frame."""
        if opening.cancelled() or opening.exception() is not None:
            self._forget(camera_id, camera)

    async def _open(self, camera_id: str, stop: threading.Event) -> Session:
        def opened() -> Session:
            session = self._make_session(camera_id, stop, self._give_up)
            session.open()
            return session

        giving_up = self._loop.call_later(self._seconds, stop.set)
        try:
            return await self._loop.run_in_executor(self._waiters, opened)
        finally:
            giving_up.cancel()

    # -- cameras -----------------------------------------------------------------------------------------------------
    def _camera(self, camera_id: str, account: str) -> _Camera:
        if self._is_closing:
            raise self._refused("draining", "this process ends: try again")
        camera = self._cameras.get(camera_id)
        if camera is None:
            if len(self._cameras) >= MOST_CAMERAS:
                raise self._refused("too_many_cameras", f"{MOST_CAMERAS} cameras send already: try again later")
            most = self._settings.api.cameras_per_account  # so that one account's made-up names lock nobody else out
            if sum(other.account == account for other in self._cameras.values()) >= most:
                raise self._refused(
                    "too_many_cameras", f"this account sends as {most} cameras already: try again later"
                )
            camera = _Camera(stop=threading.Event(), account=account)
            self._cameras[camera_id] = camera
            self._metrics.sessions.set(len(self._cameras))
        return camera

    def _forget(self, camera_id: str, camera: _Camera) -> bool:
        """Takes a session out, so that the next frame gets a new one. False when it is out already."""
        if self._cameras.get(camera_id) is not camera:
            return False
        del self._cameras[camera_id]
        self._metrics.sessions.set(len(self._cameras))
        return True

    def _let_go(self, camera_id: str, camera: _Camera | None = None) -> None:
        """Takes a session out and closes it beside the loop."""
        camera = camera or self._cameras[camera_id]
        if self._forget(camera_id, camera) and camera.opening is not None:
            closing = self._loop.create_task(self._close(camera.opening))
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)

    async def _close(self, opening: asyncio.Task[Session]) -> None:
        await asyncio.wait({opening})
        if opening.cancelled() or opening.exception() is not None:
            return  # it never opened; who waited for it was told
        try:
            await self._loop.run_in_executor(self._waiters, opening.result().close)
        except Exception as error:  # noqa: BLE001 - nobody waits for this: what is not logged here would be lost
            _log.warning("session_not_closed", session_id=opening.result().session_id, reason=repr(error))

    async def _tend(self) -> None:
        """Closes the sessions of cameras that fell silent."""
        while True:
            await asyncio.sleep(_IDLE_ROUND_SECONDS)
            before = time.monotonic() - IDLE_SECONDS
            for camera_id, camera in list(self._cameras.items()):
                if not camera.in_use and camera.used_at < before:
                    self._let_go(camera_id, camera)

    def _refused(self, code: str, detail: str) -> Problem:
        self._metrics.frames.labels(code).inc()
        return Problem(503, code, detail, headers=dict(_RETRY_AFTER))

    def _capture(self, camera_id: str, stop: threading.Event, give_up: threading.Event) -> Session:
        producer, codec = self._share()
        return Capture(
            self._settings,
            camera_id=camera_id,
            source="rest",
            stop=stop,
            give_up=give_up,
            producer=producer,
            codec=codec,
        )

    def _share(self) -> tuple[Any, Codec]:
        """The producer of all sessions of this process, made when the first camera sends."""
        with self._sharing:
            if self._shared is None:
                # What the library repeats every second while the broker is away, the session says once.
                producer = make_producer(
                    self._settings, queued_megabytes=self._settings.cameras.queued_megabytes, log_level=2
                )
                self._shared = producer, Codec(SchemaRegistry(self._settings.registry))
            return self._shared


def _settle(acknowledged: asyncio.Future[None], reason: PipelineError | None) -> None:
    if acknowledged.done():
        return
    if reason is None:
        acknowledged.set_result(None)
    else:
        acknowledged.set_exception(reason)
