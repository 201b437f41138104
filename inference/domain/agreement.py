"""How far two models agree on the same frames. Pure.

    champion    open ▢   short ▢        spur ▢
    challenger  open ▢   mousebite ▢             copper ▢
                agree    flip           missing  extra        1 of 4 boxes agree

Boxes are paired regardless of their label, the largest overlap first, down to an IoU of 0.5. A pair of one label agrees,
another pair is a label flip; what is left of the first model's boxes is missing, of the second's extra.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from inference.domain.detections import Detections, Float32
from inference.domain.overlap import overlaps

IOU: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two models over some frames. The first is the measure: usually the champion."""

    frames: int = 0
    agreeing_frames: int = 0  # without a flip, a missing or an extra box
    agreed: int = 0  # pairs of one label
    label_flips: int = 0
    missing: int = 0  # the first saw it, the second did not
    extra: int = 0
    confidence_shift: float | None = None  # mean of second minus first over the agreeing pairs; None without a pair

    @property
    def share(self) -> float | None:
        """Agreeing boxes of all boxes, 0..1; 1 where neither saw anything in any frame; None without a frame."""
        if not self.frames:
            return None
        boxes = self.agreed + self.label_flips + self.missing + self.extra
        return self.agreed / boxes if boxes else 1.0


@dataclass(slots=True)
class _Sums:
    frames: int = 0
    agreeing_frames: int = 0
    agreed: int = 0
    label_flips: int = 0
    missing: int = 0
    extra: int = 0
    shifts: list[float] = field(default_factory=list)


def agreement(pairs: Iterable[tuple[Detections, Detections]]) -> Agreement:
    """The two models' agreement; each pair is what they saw in one frame, the first model's first."""
    sums = _Sums()
    for first, second in pairs:
        _add(sums, first, second)
    return Agreement(
        frames=sums.frames,
        agreeing_frames=sums.agreeing_frames,
        agreed=sums.agreed,
        label_flips=sums.label_flips,
        missing=sums.missing,
        extra=sums.extra,
        confidence_shift=float(np.mean(sums.shifts)) if sums.shifts else None,
    )


def _add(sums: _Sums, first: Detections, second: Detections) -> None:
    paired = pair(first.boxes, second.boxes)
    flips = 0
    for left, right in paired:
        if first.labels[left] == second.labels[right]:
            sums.agreed += 1
            sums.shifts.append(float(second.confidences[right] - first.confidences[left]))
        else:
            flips += 1
    missing, extra = len(first) - len(paired), len(second) - len(paired)
    sums.frames += 1
    sums.agreeing_frames += not (flips or missing or extra)
    sums.label_flips += flips
    sums.missing += missing
    sums.extra += extra


def pair(first: Float32, second: Float32, *, iou: float = IOU) -> list[tuple[int, int]]:
    """Indexes of boxes that show the same thing, each box at most once, the largest overlap first.

    Args:
        first: [n, 4] x1 y1 x2 y2.
        second: [m, 4], in the same pixels.
        iou: the least overlap of a pair.
    """
    shares = overlaps(first, second)
    found: list[tuple[int, int]] = []
    lefts: set[int] = set()
    rights: set[int] = set()
    for flat in np.argsort(-shares, axis=None, kind="stable"):
        left, right = divmod(int(flat), len(second))
        if shares[left, right] < iou:
            break
        if left not in lefts and right not in rights:
            lefts.add(left)
            rights.add(right)
            found.append((left, right))
    return found
