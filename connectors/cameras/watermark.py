"""The largest n for which 0..n are all acknowledged, whatever the order they come in.

acknowledge(0), acknowledge(2) → last 0;  acknowledge(1) → last 2
"""

from __future__ import annotations


class Watermark:
    """Counts acknowledged sequence numbers. Not safe for several threads without a lock."""

    __slots__ = ("_beyond", "count", "last")

    def __init__(self) -> None:
        self.last = -1  # 0..last are all acknowledged
        self.count = 0
        self._beyond: set[int] = set()  # acknowledged above a gap

    def acknowledge(self, sequence: int) -> None:
        """Notes one; a second time, or below the mark, changes nothing."""
        if sequence <= self.last or sequence in self._beyond:
            return
        self.count += 1
        self._beyond.add(sequence)
        while self.last + 1 in self._beyond:
            self.last += 1
            self._beyond.remove(self.last)

    def missing(self, total: int, *, most: int = 20) -> list[int]:
        """The first sequences below `total` that are not acknowledged, at most `most` of them."""
        found: list[int] = []
        for sequence in range(self.last + 1, total):
            if len(found) == most:
                break
            if sequence not in self._beyond:
                found.append(sequence)
        return found
