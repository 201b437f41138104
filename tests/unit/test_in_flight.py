from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference.stream.in_flight import FrameInFlight, PartitionInFlight


def frames(partition: PartitionInFlight, offsets: list[int]) -> list[FrameInFlight]:
    made = [FrameInFlight(partition, offset, 100, None) for offset in offsets]
    for frame in made:
        partition.add(frame)
    return made


@given(st.data(), st.lists(st.integers(1, 5), max_size=30))
def test_offset_moves_over_finished_frames_and_never_past_an_unfinished_one(
    data: st.DataObject, gaps: list[int]
) -> None:
    offsets = [40 + sum(gaps[: at + 1]) for at in range(len(gaps))]  # a compacted topic has gaps
    partition = PartitionInFlight(0)
    left = frames(partition, offsets)
    for frame in data.draw(st.permutations(left)):
        partition.finish(frame)
        left.remove(frame)
        unfinished = [one.offset for one in left]
        first = min(unfinished, default=None)
        before = [offset for offset in offsets if first is None or offset < first]
        assert partition.next_offset == (before[-1] + 1 if before else None)
        assert partition.unfinished_bytes == 100 * len(left)


def test_only_begun_frames_are_waited_for() -> None:
    partition = PartitionInFlight(0)
    first, _second = frames(partition, [0, 1])
    assert not partition.has_begun_frames
    first.is_begun = True
    assert partition.has_begun_frames
    partition.finish(first)
    assert not partition.has_begun_frames
