"""Which part a frame belongs to, for ever: the training set or the gate.

    (camera, session, sequence // 50) ──sha256──► first 4 bytes % 5 ──► 0: gate (20 %), else train (80 %)

A block of 50 neighbours stays together, for neighbours are near-copies. The rule is frozen: labels of years hang on it.
The SQL function part_of (migration 0002) says the same; a test compares the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

Part = Literal["train", "gate"]

TRAIN: Final[Part] = "train"
GATE: Final[Part] = "gate"
BLOCK: Final = 50  # frames of one session that follow each other

_SHARES: Final = 5  # one of them is the gate's


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What one session captured, as far as a draw needs it."""

    session_id: str
    camera_id: str
    frames: int  # sequences 0 to frames - 1


def part_of(camera_id: str, session_id: str, sequence: int) -> Part:
    """The part of a frame. `session_id` is lower-case text with hyphens, as everywhere."""
    block = f"{camera_id}/{session_id}/{sequence // BLOCK}"
    number = int.from_bytes(hashlib.sha256(block.encode()).digest()[:4], "big")
    return GATE if number % _SHARES == 0 else TRAIN


def draw_gate(captures: Sequence[Capture], random: Random, count: int) -> list[tuple[str, int]]:
    """Frames of gate blocks, each one as likely as any other, as (session, sequence); some may come twice.

    Args:
        captures: the sessions to draw from.
        random: where chance comes from.
        count: how many are drawn over all parts; about a fifth of them is returned.
    """
    captures = [capture for capture in captures if capture.frames > 0]
    if not captures:
        return []
    weights = [capture.frames for capture in captures]
    drawn = [
        (capture, random.randrange(capture.frames)) for capture in random.choices(captures, weights=weights, k=count)
    ]
    return [
        (capture.session_id, sequence)
        for capture, sequence in drawn
        if part_of(capture.camera_id, capture.session_id, sequence) == GATE
    ]
