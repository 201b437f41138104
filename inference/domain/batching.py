"""How many images an engine gets at once, and how long one may wait for company. Pure.

    images per call      1       2       4       8
    measured, seconds    0.021   0.040   0.079   0.160
    images per second    48      50      51      50
    chosen                       2: at least 97 % of the best; a frame waits at most 0.01 s for the second

A larger batch that gains nothing only makes the first image in it wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

NEAR_THE_BEST: Final = 0.97  # of the best throughput: below it a smaller batch gives away too much
AGE_SHARE: Final = 0.25  # of a batch's own time: waiting adds no more than this to it
LONGEST_AGE_SECONDS: Final = 0.05
_SHORTEST_SECONDS: Final = 1e-9  # an engine that answers within the clock's grain


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """When a batch is due."""

    size: int  # images
    age_seconds: float  # the longest that the oldest waits for the batch to fill


UNMEASURED: Final = BatchPlan(size=8, age_seconds=LONGEST_AGE_SECONDS)


def choose(seconds_by_size: Mapping[int, float]) -> BatchPlan:
    """The smallest size whose throughput is within 3 % of the best.

    Args:
        seconds_by_size: images per call → seconds that one call took.

    Raises:
        ValueError: nothing was measured.
    """
    if not seconds_by_size:
        raise ValueError("a batch size needs at least one measured size")
    rates = {size: size / max(seconds, _SHORTEST_SECONDS) for size, seconds in seconds_by_size.items()}
    best = max(rates.values())
    size = min(size for size, rate in rates.items() if rate >= NEAR_THE_BEST * best)
    age = 0.0 if size == 1 else min(LONGEST_AGE_SECONDS, AGE_SHARE * seconds_by_size[size])
    return BatchPlan(size=size, age_seconds=age)
