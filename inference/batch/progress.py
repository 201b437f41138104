"""What a run has done so far: a line every few seconds, and the result.

1280 of 5000 frames, 118.2 frames/s, 3 undecodable, 1 lost
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from contracts.errors import Rejected
from inference.batch.job import Result, Say
from inference.domain.decode import Status

EVERY_SECONDS: Final = 5.0
NAMED: Final = 1_000  # lost frames in the result: XComs are no place for more
_NAMED_IN_THE_LOG: Final = 20


class Progress:
    """Counts the outcomes of frames. The clock runs from the start on."""

    def __init__(self, say: Say, *, planned: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._planned = planned
        self._clock = clock
        self._began = clock()
        self._due = self._began + EVERY_SECONDS
        self._statuses: Counter[str] = Counter()
        self._lost: dict[str, str] = {}  # frame id → reason

    def scored(self, statuses: Iterable[str]) -> None:
        """Frames that got a prediction."""
        self._statuses.update(statuses)

    def lost(self, frame_id: str, reason: str) -> None:
        """A frame whose image is gone."""
        self._lost[frame_id] = reason

    @property
    def frames(self) -> int:
        """How many have an outcome."""
        return self._statuses.total() + len(self._lost)

    def tell_when_due(self) -> None:
        """Says how far the run is, every few seconds."""
        if self._clock() >= self._due:
            self._due = self._clock() + EVERY_SECONDS
            self._tell()

    def result(self, facts: Mapping[str, Any]) -> Result:
        """The end: `facts` are the run's own (run_id, version, ...). Exit code 65 where frames were lost."""
        self._tell()
        seconds = self._clock() - self._began
        if self._lost:
            self._say(
                f"the images of {len(self._lost)} frames are lost, {_named(self._lost)}: `sightline audit` says why"
            )
        fields = {
            **facts,
            "planned": self._planned,
            "scored": self._statuses.total(),
            **{str(status): self._statuses[status] for status in Status if status is not Status.OK},
            "missing_objects": sorted(self._lost)[:NAMED],
            "missing": len(self._lost),
            "reasons": dict(Counter(self._lost.values())),
            "seconds": round(seconds, 3),
            "frames_per_second": round(self.frames / seconds, 2) if self.frames and seconds else 0.0,
        }
        return Result(fields=fields, exit_code=Rejected.exit_code if self._lost else 0)

    def _tell(self) -> None:
        seconds = max(self._clock() - self._began, 1e-9)
        bad = [f"{count} {status}" for status, count in sorted(self._statuses.items()) if status != Status.OK]
        lost = [f"{len(self._lost)} lost"] if self._lost else []
        self._say(
            ", ".join(
                [f"{self.frames} of {self._planned} frames", f"{self.frames / seconds:.1f} frames/s", *bad, *lost]
            )
        )


def _named(lost: Mapping[str, str]) -> str:
    shown = [f"{frame_id} ({lost[frame_id]})" for frame_id in sorted(lost)[:_NAMED_IN_THE_LOG]]
    return ", ".join(shown) + (" ..." if len(lost) > len(shown) else "")
