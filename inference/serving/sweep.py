"""How long an engine takes for 1, 2, 4, 8 images at once, measured while it warms up.

    size 1, 2, 4, 8 │ again │ again ...   four times or until the time is used up; the quickest call of a size counts

The quickest, since other work on the machine only ever adds. A size that would not fit into the time is left out.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Final

from inference.domain.letterbox import Image
from inference.engines import Engine

SIZES: Final = (1, 2, 4, 8)
ROUNDS: Final = 4
SECONDS: Final = 0.7


def measure(
    engine: Engine,
    images: Sequence[Image],
    *,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[int, float]:
    """Images per call → seconds of the quickest call. Size 1 is always measured.

    Args:
        engine: warmed up.
        images: what it is given, repeated as needed; at least one.
        seconds: for everything; a single call may overrun it.
        clock: in seconds.
    """
    end = clock() + seconds
    best: dict[int, float] = {}
    sizes: Sequence[int] = SIZES
    for _ in range(ROUNDS):
        for size in sizes:
            expected = best.get(size, size * best[1] if best else 0.0)
            if best and clock() + expected > end:
                break
            batch = list(itertools.islice(itertools.cycle(images), size))
            begin = clock()
            engine.infer(batch)
            best[size] = min(clock() - begin, best.get(size, float("inf")))
        sizes = sorted(best)
    return best
