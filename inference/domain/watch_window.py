"""What becomes of a champion after its promotion. Pure.

    figures, thresholds ──judge──► roll back   a cause, over enough frames: each in words
                                   extend      nothing is wrong so far, and too little was seen to say so
                                   keep        enough was seen, and nothing is wrong

A cause needs as many frames as the gate file asks for: of all frames, of the stream's for the latency, of those that the
previous champion saw too for the agreement, and min_reviews of reviewed ones for the precision. Reviews may be too few
in a kept window: nobody waits for people, and the words say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from inference.domain.gate_file import Watch


class Outcome(StrEnum):
    """What to do."""

    KEEP = "keep"
    ROLL_BACK = "roll_back"
    EXTEND = "extend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was seen of a champion since its promotion. A figure that nothing can be said about is None."""

    frames: int  # that it answered, or was to answer and passed over
    failed: int  # of these: passed over, or with a status other than ok
    detections_per_frame: float | None  # of the frames that it could look at
    stream_frames: int  # that it answered as they came
    p99_ms: float | None  # of these, from capture to prediction
    compared_frames: int  # that the previous champion looked at too
    agreement: float | None  # share of boxes, 0..1
    reviews: int  # frames that people have reviewed
    precision: float | None  # share of its boxes that reviewers found right, 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What to do, and why."""

    outcome: Outcome
    causes: tuple[str, ...]  # of a rollback, each with its figure and threshold
    lacking: tuple[str, ...]  # what too little was seen of to be judged


def judge(seen: Figures, asked: Watch) -> Judgement:
    """What becomes of the champion by what was seen so far."""
    causes = tuple(_causes(seen, asked))
    frames = tuple(_too_few_frames(seen, asked))
    reviews = (f"{seen.reviews} of {asked.min_reviews} reviews",) if seen.reviews < asked.min_reviews else ()
    outcome = Outcome.ROLL_BACK if causes else Outcome.EXTEND if frames else Outcome.KEEP
    return Judgement(outcome=outcome, causes=causes, lacking=(*frames, *reviews))


def _causes(seen: Figures, asked: Watch) -> Iterator[str]:
    if seen.frames >= asked.frames:
        share = seen.failed / seen.frames
        if share > asked.max_failed_share:
            yield f"{seen.failed} of {seen.frames} frames failed: {share:.2%}, at most {asked.max_failed_share:.2%}"
        low, high = asked.detections_per_frame
        if seen.detections_per_frame is not None and not low <= seen.detections_per_frame <= high:
            yield f"{seen.detections_per_frame:.2f} detections per frame, outside {low:g} to {high:g}"
    if seen.stream_frames >= asked.frames and seen.p99_ms is not None and seen.p99_ms > asked.p99_ms:
        yield f"p99 latency {seen.p99_ms:.0f} ms, budget {asked.p99_ms:.0f} ms"
    if seen.compared_frames >= asked.frames and seen.agreement is not None and seen.agreement < asked.min_agreement:
        yield f"agreement with the previous champion {seen.agreement:.3f}, floor {asked.min_agreement:.3f}"
    if seen.reviews >= asked.min_reviews and seen.precision is not None and seen.precision < asked.min_precision:
        yield f"precision {seen.precision:.3f} by {seen.reviews} reviews, floor {asked.min_precision:.3f}"


def _too_few_frames(seen: Figures, asked: Watch) -> Iterator[str]:
    counts = {
        "frames": seen.frames,
        "frames of the stream": seen.stream_frames,
        "frames that the previous champion saw too": seen.compared_frames,
    }
    for what, count in counts.items():
        if count < asked.frames:
            yield f"{count} of {asked.frames} {what}"
