"""What a person says of a frame, and which frame is worth asking about next.

accepted    the predicted boxes are right, as they are
corrected   these boxes are right
empty       there is nothing in it
unusable    nobody can say: it labels nothing

queue  ordered by usefulness, with the predictions to start from     feeds training
gate   drawn at random, from an empty page                           feeds the gate set
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ctypes import c_float
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contracts.errors import Rejected
from inference.domain.agreement import agreement
from inference.domain.detections import Detections
from inference.domain.split import GATE, Part

UNDONE: Final = "undone"  # the verdict of a row that takes a review back
MOST_BOXES: Final = 1000
LONGEST_LABEL: Final = 100


class Verdict(StrEnum):
    """What a person says of a whole frame."""

    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    EMPTY = "empty"
    UNUSABLE = "unusable"


class Purpose(StrEnum):
    """What a review is for."""

    QUEUE = "queue"
    GATE = "gate"


Corners = tuple[float, float, float, float]  # x1 y1 x2 y2, pixels of the original image


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledBox:
    """One thing that a person sees."""

    label: str
    box: Corners


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One person's word on one frame."""

    frame_id: str
    reviewer: str  # the token's subject, or what made the labels, such as `bootstrap`
    reviewer_name: str  # for people to read
    verdict: Verdict
    boxes: tuple[LabelledBox, ...] = ()
    purpose: Purpose = Purpose.QUEUE
    model_version: str | None = None  # whose prediction the person saw
    request_id: str | None = None  # the client's own: sent again, it changes nothing


def as_single_precision(box: Corners) -> Corners:
    """The box as 32-bit floats hold it: what is judged must be what is read back."""
    x1, y1, x2, y2 = (c_float(corner).value for corner in box)
    return x1, y1, x2, y2


def check(review: Review, *, width: int, height: int, part: Part, known_labels: Collection[str] | None = None) -> None:
    """Whether a review can be said of a frame of this size and part.

    Args:
        review: what is to be saved.
        width: of the image, pixels.
        height: of the image, pixels.
        part: of the frame.
        known_labels: those that may be used; None: any.

    Raises:
        Rejected: it cannot; the code says what does not fit, the message what to do.
    """
    _check_verdict(review)
    if review.purpose is Purpose.GATE and part != GATE:
        raise Rejected(
            "this frame belongs to the training part: the gate set holds frames of gate blocks only; claim with "
            "purpose gate",
            code="not_in_gate",
        )
    for number, each in enumerate(review.boxes):
        x1, y1, x2, y2 = as_single_precision(each.box)
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise Rejected(
                f"box {number} does not lie inside the image of {width} x {height} pixels: x1 < x2 and y1 < y2, all of "
                "them inside, also as 32-bit floats",
                code="box_outside",
            )
        if known_labels is not None and each.label not in known_labels:
            raise Rejected(
                f"box {number} has a label that is not known: use one of {', '.join(sorted(known_labels))}, or have "
                "it added to SIGHTLINE_REVIEWS__LABELS",
                code="unknown_label",
            )


def _check_verdict(review: Review) -> None:
    if len(review.boxes) > MOST_BOXES:
        raise Rejected(f"more than {MOST_BOXES} boxes: mark the frame unusable", code="too_many_boxes")
    if review.verdict is Verdict.CORRECTED and not review.boxes:
        raise Rejected("a corrected frame has boxes: say empty when there is nothing in it", code="no_boxes")
    if review.verdict in {Verdict.EMPTY, Verdict.UNUSABLE} and review.boxes:
        raise Rejected(f"a frame that is {review.verdict} has no boxes: say corrected", code="boxes_given")
    if review.verdict is Verdict.ACCEPTED and review.boxes:
        raise Rejected("accepted boxes are the prediction's: send none, or say corrected", code="boxes_given")
    if review.verdict is Verdict.ACCEPTED and review.model_version is None:
        raise Rejected("say whose boxes are accepted: give model_version", code="no_model_version")
    if review.purpose is Purpose.GATE and (review.verdict is Verdict.ACCEPTED or review.model_version is not None):
        raise Rejected(
            "the gate set is labelled from an empty page: no prediction is accepted, and none was seen",
            code="not_from_an_empty_page",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A frame that waits for a review."""

    frame_id: str
    champion: Detections | None
    challenger: Detections | None = None
    is_flagged: bool = False  # a review of it was taken back, or a job asks for one, and none stands


def rank(candidates: Iterable[Candidate], *, threshold: float) -> list[str]:
    """The frames' ids, the most useful first; of equally useful ones the newest."""
    ordered = sorted(candidates, key=lambda each: (usefulness(each, threshold=threshold), each.frame_id), reverse=True)
    return [candidate.frame_id for candidate in ordered]


def usefulness(candidate: Candidate, *, threshold: float) -> float:
    """0..4: flagged counts 2, disagreement of champion and challenger up to 1, doubt near the threshold up to 1."""
    champion, challenger = candidate.champion, candidate.challenger
    useful = 2.0 if candidate.is_flagged else 0.0
    if champion is not None:
        useful += doubt(champion.confidences.tolist(), threshold=threshold)
        if challenger is not None:
            useful += disagreement(champion, challenger)
    return useful


def doubt(confidences: Iterable[float], *, threshold: float) -> float:
    """0..1 of the box that is nearest to the threshold: 1 at it, falling to 0 at the far end of its side."""

    def nearness(confidence: float) -> float:
        room = 1.0 - threshold if confidence >= threshold else threshold
        return max(0.0, 1.0 - abs(confidence - threshold) / room) if room else 0.0

    return max(map(nearness, confidences), default=0.0)


def disagreement(one: Detections, other: Detections) -> float:
    """0..1: the share of the boxes of one frame on which two models do not agree (see domain.agreement)."""
    return 1.0 - (agreement([(one, other)]).share or 0.0)
