"""`sightline send`: a camera, real or simulated."""

from __future__ import annotations

import json
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from connectors.cameras.capture import Capture
    from connectors.cameras.summary import Summary
    from contracts.settings import Settings


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("send")(send)


def send(
    source: Annotated[
        str,
        typer.Argument(
            help="An image, a folder, a video file, rtsp://…, http://…, a device (/dev/video0), or simulator:?seed=7"
        ),
    ],
    camera: Annotated[str, typer.Option("--camera", "-c", help="The camera's id, such as line-3.top")],
    fps: Annotated[
        float | None, typer.Option(min=0.001, max=10_000, help="Frames a second; without it, as fast as they come")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames")] = None,
    is_loop: Annotated[bool, typer.Option("--loop", help="Begin again at the source's end, until Ctrl-C")] = False,
    truth: Annotated[
        Path | None, typer.Option(help="Write the simulator's truth here: frame_id, labels, boxes, a JSON line each")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON")] = False,
) -> None:
    """Sends frames until the source ends, and waits until the broker has them all.

    A broker that is away is waited for. Ctrl-C stops capturing and sends what was captured; a second one gives up.
    Exit code 0 when a frame was sent, 65 when every image was rejected, 75 when frames were not acknowledged.
    """
    from connectors.cameras.capture import Capture
    from connectors.cameras.sending import Order
    from connectors.cameras.sending import send as send_all
    from connectors.cameras.sources import open_source
    from connectors.cameras.summary import require_camera_id
    from contracts.errors import Rejected
    from contracts.settings import Settings

    settings = Settings.load()
    try:
        require_camera_id(camera)
    except Rejected as error:
        raise typer.BadParameter(str(error), param_hint="--camera") from error
    if truth is not None and not source.startswith("simulator:"):
        raise typer.BadParameter("only simulator: knows the truth", param_hint="--truth")
    opened = open_source(source, settings.cameras, frames_per_second=fps)
    stop, give_up = threading.Event(), threading.Event()
    capture = Capture(settings, camera_id=camera, source=opened.description, stop=stop, give_up=give_up)
    order = Order(frames_per_second=fps, count=count, is_loop=is_loop, truth=truth)
    total = count or (None if is_loop else opened.length)
    with _signals(stop, give_up), _shown(settings, capture, total):
        summary = send_all(opened, capture, order, stop=stop)
    print(json.dumps(_as_json(summary)) if is_json else summary.in_words())
    if summary.failure is not None:
        raise summary.failure


def _as_json(summary: Summary) -> dict[str, object]:
    return {
        "session_id": summary.session_id,
        "camera_id": summary.camera_id,
        "source": summary.source,
        "captured": summary.captured,
        "acknowledged": summary.acknowledged,
        "rejected": sum(summary.rejected.values()),
        "reasons": summary.rejected,
        "rejections": summary.rejections,
        "unacknowledged": summary.unacknowledged,
        "is_closed": summary.is_closed,
        "seconds": round(summary.seconds, 3),
    }


@contextmanager
def _signals(stop: threading.Event, give_up: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM: the first sets `stop`, the second `give_up`."""
    # Setting an event inside a handler can deadlock with the wait it interrupted; a SimpleQueue may be used there.
    arrived: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def obey() -> None:
        while arrived.get() is not None:
            if stop.is_set():
                print("sightline: giving up", file=sys.stderr)
                give_up.set()
            else:
                print("sightline: stopping; what was captured is being sent. Again to give up", file=sys.stderr)
                stop.set()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda signalled, _frame: arrived.put(signalled))
    threading.Thread(target=obey, name="signals", daemon=True).start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        arrived.put(None)


@contextmanager
def _shown(settings: Settings, capture: Capture, total: int | None) -> Iterator[None]:
    """A progress bar at a terminal, events in the log elsewhere."""
    from contracts import logs

    if not sys.stderr.isatty():
        logs.configure(level=settings.log.level, as_json=settings.log.format == "json", service="send")
        yield
        return
    from rich.console import Console
    from rich.live import Live
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn(
            "{task.fields[captured]} captured · {task.completed:.0f} acknowledged · {task.fields[rejected]} rejected"
        ),
        TimeElapsedColumn(),
        TextColumn("[yellow]{task.fields[waiting_for]}"),
    )
    task = bar.add_task(capture.snapshot().camera_id, total=total, captured=0, rejected=0, waiting_for="")

    def current() -> Progress:
        now = capture.snapshot()
        bar.update(
            task,
            completed=now.acknowledged,
            captured=now.captured,
            rejected=now.rejected,
            waiting_for=now.waiting_for,
        )
        return bar

    # Warnings are written above the bar: Live stands in for stderr while it runs.
    with Live(get_renderable=current, console=Console(stderr=True), refresh_per_second=8):
        logs.configure(level="WARNING", as_json=False, service="send")
        yield
