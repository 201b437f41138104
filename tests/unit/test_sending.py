from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from connectors.cameras.images import Captured, CapturedImage, RejectedImage, Truth
from connectors.cameras.sending import AHEAD, Ahead, Order, send
from connectors.cameras.summary import Summary
from contracts.errors import Misconfigured, Rejected, Transient


def an_image(name: str = "a.jpg", truth: Truth | None = None) -> CapturedImage:
    return CapturedImage(name=name, image=b"\xff\xd8", encoding="jpeg", width=4, height=3, truth=truth)


def a_refusal(name: str = "b.txt") -> RejectedImage:
    return RejectedImage(name=name, code="not_an_image", reason="not JPEG or PNG by its content")


class ListSource:
    is_live = False

    def __init__(self, images: list[Captured], *, is_endless: bool = False) -> None:
        self._images = images
        self._is_endless = is_endless
        self.description = "a list"
        self.length = len(images)
        self.rounds = 0
        self.read = 0

    def images(self, stop: threading.Event, say: Callable[[str], None]) -> Iterator[Captured]:
        self.rounds += 1
        while not stop.is_set():
            for image in self._images:
                self.read += 1
                yield image
            if not self._is_endless:
                return


class FakeCapture:
    """Takes everything, and remembers it."""

    def __init__(self, *, fails_at: int | None = None, stop_at: tuple[int, threading.Event] | None = None) -> None:
        self.events: list[str] = []
        self.frames: list[CapturedImage] = []
        self.refused: list[RejectedImage] = []
        self._fails_at = fails_at
        self._stop_at = stop_at

    def open(self) -> str:
        self.events.append("open")
        return "session"

    def submit(self, image: CapturedImage) -> str:
        if len(self.frames) == self._fails_at:
            raise Transient("given up")
        self.frames.append(image)
        if self._stop_at and len(self.frames) == self._stop_at[0]:
            self._stop_at[1].set()
        return f"frame-{len(self.frames) - 1}"

    def reject(self, image: RejectedImage) -> None:
        self.refused.append(image)

    def say(self, waiting_for: str) -> None: ...

    def close(self) -> Summary:
        self.events.append("close")
        return a_summary(captured=len(self.frames), rejected=len(self.refused))


def a_summary(
    *, captured: int = 0, acknowledged: int | None = None, rejected: int = 0, broken=None, **changes
) -> Summary:
    acknowledged = captured if acknowledged is None else acknowledged
    values = {
        "session_id": "session",
        "camera_id": "c1",
        "source": "a list",
        "captured": captured,
        "acknowledged": acknowledged,
        "rejected": {"not_an_image": rejected} if rejected else {},
        "rejections": ["b.txt: not JPEG or PNG by its content"] * min(rejected, 20),
        "unacknowledged": list(range(acknowledged, captured))[:20],
        "is_closed": acknowledged == captured,
        "seconds": 1.0,
        "broken": broken,
    }
    return Summary(**(values | changes))


def test_every_image_is_submitted_and_every_refusal_noted():
    source = ListSource([an_image("1"), a_refusal(), an_image("2")])
    capture = FakeCapture()
    summary = send(source, capture, Order(), stop=threading.Event())
    assert [image.name for image in capture.frames] == ["1", "2"]
    assert (summary.captured, summary.rejected) == (2, {"not_an_image": 1})
    assert capture.events == ["open", "close"]


def test_a_count_ends_it_and_counts_no_refusals():
    source = ListSource([a_refusal(), an_image()], is_endless=True)
    capture = FakeCapture()
    send(source, capture, Order(count=5), stop=threading.Event())
    assert len(capture.frames) == 5


def test_a_loop_begins_again_at_the_end():
    source = ListSource([an_image("1"), an_image("2"), an_image("3")])
    capture = FakeCapture()
    send(source, capture, Order(count=8, is_loop=True), stop=threading.Event())
    assert [image.name for image in capture.frames] == ["1", "2", "3", "1", "2", "3", "1", "2"]


def test_a_loop_over_nothing_but_refusals_ends():
    source = ListSource([a_refusal(), a_refusal()])
    capture = FakeCapture()
    send(source, capture, Order(is_loop=True), stop=threading.Event())
    assert (source.rounds, len(capture.refused)) == (1, 2)


def test_a_stop_captures_nothing_more_and_closes_the_session():
    stop = threading.Event()
    capture = FakeCapture(stop_at=(3, stop))
    send(ListSource([an_image()], is_endless=True), capture, Order(), stop=stop)
    assert len(capture.frames) == 3
    assert capture.events == ["open", "close"]


def test_giving_up_while_the_queue_is_full_still_closes_the_session():
    capture = FakeCapture(fails_at=2)
    send(ListSource([an_image()], is_endless=True), capture, Order(), stop=threading.Event())
    assert capture.events == ["open", "close"]


def test_the_rate_is_kept():
    began = time.monotonic()
    send(ListSource([an_image()] * 6), FakeCapture(), Order(frames_per_second=50), stop=threading.Event())
    assert 0.1 <= time.monotonic() - began < 1.0


def test_the_truth_is_written_beside_the_frames(tmp_path):
    truth = Truth(labels=("open", "spur"), boxes=((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)))
    file = tmp_path / "truth.jsonl"
    send(ListSource([an_image(truth=truth)] * 2), FakeCapture(), Order(truth=file), stop=threading.Event())
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["frame_id"] for line in lines] == ["frame-0", "frame-1"]
    assert lines[0]["labels"] == ["open", "spur"]
    assert lines[0]["boxes"] == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_a_truth_that_cannot_be_written_is_told_before_anything_is_sent(tmp_path):
    capture = FakeCapture()
    with pytest.raises(Misconfigured):
        send(ListSource([an_image()]), capture, Order(truth=tmp_path / "no" / "such"), stop=threading.Event())
    assert capture.events == []


def test_a_source_is_read_only_a_few_images_ahead():
    source = ListSource([an_image()], is_endless=True)
    images = Ahead(lambda halt: source.images(halt, lambda _text: None), threading.Event())
    next(iter(images))
    time.sleep(0.3)
    images.join()
    assert source.read <= AHEAD + 3


def test_a_source_that_fails_ends_in_its_error_and_the_session_is_closed():
    class Broken(ListSource):
        def images(self, stop, say):
            yield an_image()
            raise Rejected("unplugged", code="unreadable")

    class Buggy(ListSource):
        def images(self, stop, say):
            yield an_image()
            raise ZeroDivisionError

    capture = FakeCapture()
    send(Broken([]), capture, Order(), stop=threading.Event())
    assert capture.events == ["open", "close"]
    capture = FakeCapture()
    with pytest.raises(ZeroDivisionError):
        send(Buggy([]), capture, Order(), stop=threading.Event())
    assert capture.events == ["open", "close"]


def test_a_stop_does_not_wait_for_a_slow_source():
    stop = threading.Event()

    class Slow(ListSource):
        def images(self, halt, say):
            yield an_image()
            halt.wait(60)  # what a stream without a picture does
            yield from ()

    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    send(Slow([]), FakeCapture(), Order(), stop=stop)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("summary", "failure"),
    [
        (a_summary(captured=3), None),
        (a_summary(captured=1, rejected=5), None),
        (a_summary(), None),
        (a_summary(rejected=2), Rejected),
        (a_summary(captured=3, acknowledged=2), Transient),
        (a_summary(captured=3, is_closed=False), Transient),
        (a_summary(captured=3, acknowledged=1, broken=Misconfigured("no such topic")), Misconfigured),
    ],
)
def test_a_summary_knows_what_the_command_must_end_with(summary, failure):
    assert summary.failure is None if failure is None else isinstance(summary.failure, failure)


def test_a_summary_in_words_names_what_a_person_must_know():
    words = a_summary(captured=30, acknowledged=5, rejected=25).in_words()
    assert "captured 30, acknowledged 5, rejected 25 (25 not_an_image)" in words
    assert "b.txt: not JPEG or PNG by its content" in words
    assert "and 5 more" in words
    assert "25 not acknowledged (sequence 5, 6" in words
    assert "left open" in words


def test_a_control_character_in_a_files_name_is_shown_and_not_obeyed():
    words = a_summary(captured=0, rejected=1, rejections=["a\x1b[2J\n\u202eb\xe4.txt: not JPEG"]).in_words()
    assert "rejected a\\x1b[2J\\n\\u202ebä.txt: not JPEG" in words
