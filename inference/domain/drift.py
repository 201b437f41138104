"""How far a day's frames and detections are from what the champion was used to. Pure.

    frames of the reference day ─► Reference: deciles of each feature, counts by label
    frames of another day + Reference ─► a Shift per feature: PSI, shares then and now ─► the frames that drifted most

The population stability index is the sum over bins of (now - then) * ln(now / then), shares of 0..1; N. Siddiqi, Credit
Risk Scorecards (2006), whose rule of thumb is used: below 0.1 nothing, from 0.25 a shift that somebody must look at.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

LABEL: Final = "label"
FEATURES: Final = ("brightness", "sharpness", "box_size", "confidence")
BINS: Final = 10
NOTICEABLE: Final = 0.1
LARGE: Final = 0.25
FORMAT: Final = 1
_LEAST_SHARE: Final = 1e-4  # of an empty bin: its logarithm must stay finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One frame, as far as drift looks at it."""

    frame_id: str
    values: Mapping[str, Sequence[float]]  # by feature: one of the image, one per box, or none
    labels: Sequence[str]  # of its boxes


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How often a feature's values lay in each bin."""

    edges: tuple[float, ...]  # between the bins, rising: one less than there are bins
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a version was used to."""

    version: str
    day: str  # ISO date, UTC
    frames: int
    features: Mapping[str, Histogram]
    labels: Mapping[str, int]

    def document(self) -> str:
        """The text that is kept."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One feature then and now."""

    feature: str
    psi: float
    bins: tuple[str, ...]  # in words
    then: tuple[float, ...]  # shares of 0..1
    now: tuple[float, ...]

    @property
    def is_large(self) -> bool:
        """Somebody must look at it."""
        return self.psi >= LARGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """A frame that stands for a shift."""

    frame_id: str
    feature: str
    score: float  # ln(share now / share then) of its values' bins, their mean: how much more of its kind there is now


def reference_of(frames: Sequence[Seen], *, version: str, day: str) -> Reference:
    """What these frames say a version is used to. A feature without a value is left out."""
    features = {}
    for name in FEATURES:
        values = [value for frame in frames for value in frame.values.get(name, ())]
        if values:
            edges = deciles(values)
            features[name] = Histogram(edges=edges, counts=counted(values, edges))
    labels = Counter(label for frame in frames for label in frame.labels)
    return Reference(
        version=version, day=day, frames=len(frames), features=features, labels=dict(sorted(labels.items()))
    )


def parse(text: str) -> Reference:
    """A kept reference.

    Raises:
        ValueError: it is none.
    """
    try:
        found: dict[str, Any] = json.loads(text)
        if found.pop("format") != FORMAT:
            raise ValueError("of another format")
        features = {
            name: Histogram(edges=tuple(one["edges"]), counts=tuple(one["counts"]))
            for name, one in found.pop("features").items()
        }
        return Reference(features=features, **found)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no reference: {type(error).__name__} {error}") from error


def deciles(values: Sequence[float]) -> tuple[float, ...]:
    """The edges between ten bins that hold as many values each; fewer where values repeat."""
    quantiles = np.quantile(np.asarray(values, np.float64), np.linspace(0, 1, BINS + 1)[1:-1])
    return tuple(float(edge) for edge in np.unique(quantiles))


def counted(values: Sequence[float], edges: Sequence[float]) -> tuple[int, ...]:
    """How many values lie in each bin; one on an edge belongs above it."""
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[bisect_right(edges, value)] += 1
    return tuple(counts)


def psi(then: Sequence[float], now: Sequence[float]) -> float:
    """The population stability index of two distributions over the same bins, as shares."""
    pairs = ((max(old, _LEAST_SHARE), max(new, _LEAST_SHARE)) for old, new in zip(then, now, strict=True))
    return sum((new - old) * math.log(new / old) for old, new in pairs)


def shares(counts: Sequence[int]) -> tuple[float, ...]:
    """Counts as shares of their sum; all 0 where there is none."""
    total = sum(counts)
    return tuple(count / total if total else 0.0 for count in counts)


def compare(reference: Reference, frames: Sequence[Seen]) -> list[Shift]:
    """Every feature that has values then and now, the largest shift first."""
    found = []
    for name, histogram in reference.features.items():
        values = [value for frame in frames for value in frame.values.get(name, ())]
        if values:
            now = counted(values, histogram.edges)
            found.append(_shift(name, _bins(histogram.edges), histogram.counts, now))
    labels = Counter(label for frame in frames for label in frame.labels)
    if labels and reference.labels:
        names = sorted({*labels, *reference.labels})
        then = [reference.labels.get(name, 0) for name in names]
        found.append(_shift(LABEL, tuple(names), then, [labels[name] for name in names]))
    return sorted(found, key=lambda shift: (-shift.psi, shift.feature))


def oddest(reference: Reference, shifts: Sequence[Shift], frames: Sequence[Seen], *, most: int) -> list[Odd]:
    """The frames that are the most of a kind that grew, of the features that shifted far; the oddest first."""
    found = []
    for shift in shifts:
        if shift.is_large:
            gains = [
                math.log(max(new, _LEAST_SHARE) / max(old, _LEAST_SHARE))
                for old, new in zip(shift.then, shift.now, strict=True)
            ]
            for frame in frames:
                places = _places(reference, shift, frame)
                score = sum(gains[place] for place in places) / len(places) if places else 0.0
                if score > 0:
                    found.append(Odd(frame_id=frame.frame_id, feature=shift.feature, score=score))
    best: dict[str, Odd] = {}
    for odd in sorted(found, key=lambda one: (-one.score, one.frame_id, one.feature)):
        best.setdefault(odd.frame_id, odd)
    return list(best.values())[:most]


def _places(reference: Reference, shift: Shift, frame: Seen) -> list[int]:
    """The bins of a frame's values."""
    if shift.feature == LABEL:
        return [shift.bins.index(label) for label in frame.labels]
    edges = reference.features[shift.feature].edges
    return [bisect_right(edges, value) for value in frame.values.get(shift.feature, ())]


def _shift(feature: str, bins: tuple[str, ...], then: Sequence[int], now: Sequence[int]) -> Shift:
    before, after = shares(then), shares(now)
    return Shift(feature=feature, psi=psi(before, after), bins=bins, then=before, now=after)


def _bins(edges: Sequence[float]) -> tuple[str, ...]:
    if not edges:
        return ("all",)
    between = (f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges))
    return (f"below {edges[0]:.3g}", *between, f"from {edges[-1]:.3g}")
