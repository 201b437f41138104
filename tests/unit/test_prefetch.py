from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from contracts.errors import Transient
from inference.batch.objects import Lost
from inference.batch.prefetch import Prefetch
from inference.domain.decode import Status
from inference.persistence.outstanding import FrameToScore
from tests.support.batch import a_frame_to_score


def number_of(frame: FrameToScore) -> bytes:
    return frame.object_key.encode()


def seen(data: bytes) -> Status:
    return Status.UNDECODABLE if data == b"bad" else Status.OK


def a_prefetch(read=number_of, see=seen, **changes) -> Prefetch:
    return Prefetch(read, see, **({"readers": 4, "decoders": 2, "max_frames": 8} | changes))


def frames(count: int, **changes: object) -> list[FrameToScore]:
    return [a_frame_to_score(object_key=str(number), **changes) for number in range(count)]


def test_every_frame_comes_once_in_order_in_batches_of_the_size_asked_for() -> None:
    asked = frames(21)
    with a_prefetch() as prefetch:
        batches = list(prefetch.batches(asked, size=4))
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 1]
    assert [frame for batch in batches for frame, _ in batch] == asked


def test_no_frames_give_no_batches() -> None:
    with a_prefetch() as prefetch:
        assert list(prefetch.batches([], size=4)) == []


def test_a_lost_image_is_passed_on_and_not_decoded() -> None:
    decoded = []
    asked = frames(3)

    def read(frame: FrameToScore) -> bytes | Lost:
        return Lost(reason="no_object") if frame is asked[1] else b"bad"

    def see(data: bytes) -> Status:
        decoded.append(data)
        return seen(data)

    with a_prefetch(read, see) as prefetch:
        [batch] = list(prefetch.batches(asked, size=8))
    assert [image for _, image in batch] == [Status.UNDECODABLE, Lost(reason="no_object"), Status.UNDECODABLE]
    assert len(decoded) == 2


def test_reading_runs_ahead_of_the_engine_but_not_further_than_allowed() -> None:
    taken = 0

    def coming() -> Iterator[FrameToScore]:
        nonlocal taken
        for frame in frames(100):
            taken += 1
            yield frame

    with a_prefetch(max_frames=10) as prefetch:
        batches = prefetch.batches(coming(), size=4)
        next(batches)
        assert taken == 11  # ten are admitted, one is known
        next(batches)
        assert taken == 15


def test_reads_run_beside_each_other() -> None:
    together = threading.Barrier(4, timeout=10)

    def read(frame: FrameToScore) -> bytes:
        together.wait()
        return b""

    with a_prefetch(read) as prefetch:
        assert len(next(iter(prefetch.batches(frames(8), size=8)))) == 8


def test_pixels_that_have_no_room_together_come_in_smaller_batches() -> None:
    with a_prefetch(max_pixel_bytes=2 * 100 * 100 * 3) as prefetch:
        batches = list(prefetch.batches(frames(5, width=100, height=100), size=4))
    assert [len(batch) for batch in batches] == [2, 2, 1]


def test_one_image_larger_than_all_room_is_done_alone() -> None:
    with a_prefetch(max_pixel_bytes=10) as prefetch:
        batches = list(prefetch.batches(frames(3, width=100, height=100), size=4))
    assert [len(batch) for batch in batches] == [1, 1, 1]


def test_a_store_that_is_away_ends_it_and_no_thread_stays() -> None:
    def read(frame: FrameToScore) -> bytes:
        raise Transient("away")

    before = threading.active_count()
    with pytest.raises(Transient, match="away"), a_prefetch(read) as prefetch:
        list(prefetch.batches(frames(50), size=4))
    assert threading.active_count() == before
