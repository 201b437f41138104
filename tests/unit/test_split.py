"""Train or gate: frozen, by block, and drawn without favour."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from inference.domain.split import BLOCK, GATE, TRAIN, Capture, draw_gate, part_of

FROZEN = {"line-1": "tgtttgttggttgtggtttt", "cam.2_b": "tttttttttgttgtgtggtt"}
SESSION = "019b7c3e-0000-7000-8000-0000000000aa"


def test_the_split_of_a_frame_never_changes() -> None:
    # Written down once: labels of years hang on these.
    blocks = [part_of("line-1", SESSION, BLOCK * n) for n in range(20)]
    assert "".join(part[0] for part in blocks) == FROZEN["line-1"]
    others = [part_of("cam.2_b", "0198a5c2-7e10-7abc-9def-0123456789ab", BLOCK * n) for n in range(20)]
    assert "".join(part[0] for part in others) == FROZEN["cam.2_b"]


@given(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True), st.uuids(), st.integers(0, 2**40))
def test_neighbours_stay_together(camera: str, session: object, sequence: int) -> None:
    first = sequence // BLOCK * BLOCK
    assert len({part_of(camera, str(session), number) for number in (first, sequence, first + BLOCK - 1)}) == 1


def test_a_fifth_of_the_blocks_is_the_gates() -> None:
    counts = Counter(part_of(f"c{n % 7}", SESSION, BLOCK * n) for n in range(20_000))
    assert 0.19 < counts[GATE] / 20_000 < 0.21
    assert counts[GATE] + counts[TRAIN] == 20_000


def test_a_draw_holds_gate_frames_only_each_as_likely_as_any_other() -> None:
    captures = [
        Capture(session_id=SESSION, camera_id="line-1", frames=1500),
        Capture(session_id="0198a5c2-7e10-7abc-9def-0123456789ab", camera_id="cam.2_b", frames=500),
        Capture(session_id="0198a5c2-7e10-7abc-9def-0123456789ac", camera_id="none", frames=0),
    ]
    of = {capture.session_id: capture for capture in captures}
    drawn = draw_gate(captures, Random(1), 100_000)
    assert all(part_of(of[session].camera_id, session, number) == GATE for session, number in drawn)
    assert all(0 <= number < of[session].frames for session, number in drawn)
    each = Counter(drawn)
    possible = [
        (capture.session_id, number)
        for capture in captures
        for number in range(capture.frames)
        if part_of(capture.camera_id, capture.session_id, number) == GATE
    ]
    assert set(each) == set(possible)  # 50 times each on the average: none is missed
    assert max(each.values()) < 4 * min(each.values())


def test_nothing_is_drawn_from_nothing() -> None:
    assert draw_gate([], Random(1), 10) == []
    assert draw_gate([Capture(session_id=SESSION, camera_id="c", frames=0)], Random(1), 10) == []
