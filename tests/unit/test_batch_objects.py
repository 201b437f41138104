from __future__ import annotations

import pytest

from contracts.errors import Transient
from inference.batch.objects import Lost, read, see
from inference.domain.decode import Status
from tests.support.batch import MemoryStore, a_frame_to_score
from tests.support.images import jpeg

IMAGE = jpeg(64, 48)


def test_the_bytes_that_were_captured_are_read() -> None:
    frame = a_frame_to_score(IMAGE)
    assert read(MemoryStore({frame.object_key: IMAGE}), frame) == IMAGE


def test_an_object_that_is_gone_or_has_other_bytes_is_lost() -> None:
    frame = a_frame_to_score(IMAGE)
    assert read(MemoryStore({}), frame) == Lost(reason="no_object")
    assert read(MemoryStore({frame.object_key: IMAGE + b"\0"}), frame) == Lost(reason="object_differs")


def test_a_store_that_stumbles_is_asked_again_and_one_that_is_away_is_not_for_long() -> None:
    frame = a_frame_to_score(IMAGE)
    waited: list[float] = []
    assert read(MemoryStore({frame.object_key: IMAGE}, failures=2), frame, sleep=waited.append) == IMAGE
    assert waited == [0.5, 2.0]
    with pytest.raises(Transient):
        read(MemoryStore({frame.object_key: IMAGE}, failures=3), frame, sleep=waited.append)


def test_pixels_are_decoded_where_the_engine_looks_at_them() -> None:
    seen = see(IMAGE, max_pixels=10_000, needs_pixels=True)
    assert not isinstance(seen, Status)
    assert seen.shape == (48, 64, 3)
    assert see(IMAGE, max_pixels=10_000, needs_pixels=False) is Status.OK


@pytest.mark.parametrize("needs_pixels", [True, False])
def test_what_cannot_be_decoded_has_a_status_with_every_engine(needs_pixels: bool) -> None:
    assert see(IMAGE, max_pixels=100, needs_pixels=needs_pixels) is Status.TOO_LARGE
    assert see(b"no picture", max_pixels=100, needs_pixels=needs_pixels) is Status.UNDECODABLE
