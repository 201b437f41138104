from __future__ import annotations

import threading

from connectors.cameras.images import RejectedImage
from connectors.cameras.ledger import NAMED, SILENCE_SECONDS, Ledger
from contracts.errors import Misconfigured, Transient


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_frame_is_owed_until_it_is_settled():
    books = Ledger()
    books.owe(is_frame=True)
    assert (books.captured, books.is_settled, books.is_flushed) == (1, False, False)
    books.settle(None, sequence=0)
    assert (books.watermark.last, books.is_settled, books.is_flushed) == (0, True, True)


def test_a_refused_record_breaks_the_session_and_the_first_reason_stays():
    books = Ledger()
    for number in range(2):
        books.owe(is_frame=True)
        books.settle(Misconfigured(f"refused {number}"), sequence=number)
    assert str(books.broken) == "refused 0"
    assert books.watermark.count == 0
    assert not books.wait(lambda: False)


def test_a_broker_that_owes_for_too_long_is_away_and_comes_back():
    clock = Clock()
    books = Ledger(clock)
    books.notice_silence()
    clock.now += 100
    books.owe(is_frame=True)  # the time before is nobody's silence
    books.notice_silence()
    assert not books.is_away
    clock.now += SILENCE_SECONDS + 0.1
    books.notice_silence()
    assert books.is_away
    books.settle(None, sequence=0)
    books.notice_silence()
    assert not books.is_away


def test_a_slow_broker_is_not_away():
    clock = Clock()
    books = Ledger(clock)
    for _ in range(10):
        books.owe(is_frame=True)
    for sequence in range(10):
        clock.now += SILENCE_SECONDS - 0.1
        books.settle(None, sequence=sequence)
        books.notice_silence()
        assert not books.is_away


def test_heartbeats_are_no_frames():
    books = Ledger()
    books.owe(is_heartbeat=True)
    assert (books.captured, books.owed_heartbeats, books.is_flushed) == (0, 1, True)
    books.settle(None, is_heartbeat=True)
    assert (books.owed_heartbeats, books.is_settled) == (0, True)


def test_rejections_are_counted_and_the_first_are_named():
    books = Ledger()
    for number in range(NAMED + 5):
        books.reject(RejectedImage(name=f"{number}.txt", code="not_an_image", reason="a text"))
    assert books.rejected == {"not_an_image": NAMED + 5}
    assert len(books.rejections) == NAMED


def test_a_wait_ends_at_an_event():
    end = threading.Event()
    threading.Timer(0.1, end.set).start()
    assert not Ledger().wait(lambda: False, threading.Event(), end)


def test_a_wait_ends_at_the_acknowledgement():
    books = Ledger()
    books.owe(is_frame=True)
    threading.Timer(0.1, lambda: books.settle(None, sequence=0)).start()
    assert books.wait(lambda: books.is_flushed)


def test_giving_way_twice_keeps_the_first_reason():
    books = Ledger()
    books.give_way(Transient("first"))
    books.give_way(Transient("second"))
    assert str(books.broken) == "first"
