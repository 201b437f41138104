"""The evaluation of the DeepPCB paper: mAP and F-score at IoU 0.33.

    detections, truth ─► per type: matched where IoU > 0.33 ─► AP per type ─► mAP
                                        └─► all types together, at one confidence ─► F = 2PR / (P + R)

Source: Tang et al., "On-line PCB defect detector on a new PCB defect dataset", arXiv 1902.06197, and the data set's
README. Two things they leave open are settled here: AP is the whole area under precision, made monotonic, over recall
(PASCAL VOC since 2010; not 101 points, not 11), and each true box is found once: a second detection of it is an error.
The confidence of the F-score belongs to the model and is chosen on images that the figure is not reported for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.delivery.evaluation import Floats, Truth, match
from inference.domain.detections import Detections
from inference.domain.overlap import overlaps

IOU: Final = 0.33


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperFigures:
    """What the paper reports. A figure that nothing can be said about is NaN: no true box."""

    images: int
    ap: dict[str, float]  # per type
    mean_ap: float  # over the types that have true boxes
    confidence: float  # where the rest is read
    precision: float  # over all types together
    recall: float  # likewise
    f_score: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranked:
    """The detections of one type over all images, the most confident first."""

    confidences: Floats  # [n]
    is_hit: NDArray[np.bool_]  # [n]
    labels: int  # true boxes of that type


def evaluate_paper(
    images: Sequence[tuple[Detections, Truth]], classes: Sequence[str], *, confidence: float
) -> PaperFigures:
    """Compares detections, down to a low confidence, with the truth.

    Args:
        images: detections and truth of each.
        classes: what is evaluated; other labels on either side are left out.
        confidence: the least confidence of a detection that counts for precision, recall and F-score.
    """
    ranked = {label: rank(images, label) for label in classes}
    aps = {label: area_under(one.is_hit, one.labels) for label, one in ranked.items()}
    known = [ap for ap in aps.values() if not np.isnan(ap)]
    found = sum(int((one.confidences >= confidence).sum()) for one in ranked.values())
    right = sum(int(one.is_hit[one.confidences >= confidence].sum()) for one in ranked.values())
    labels = sum(one.labels for one in ranked.values())
    return PaperFigures(
        images=len(images),
        ap=aps,
        mean_ap=float(np.mean(known)) if known else float("nan"),
        confidence=confidence,
        precision=right / found if found else float("nan"),
        recall=right / labels if labels else float("nan"),
        f_score=2 * right / (found + labels) if labels else float("nan"),
    )


def best_confidence(images: Sequence[tuple[Detections, Truth]], classes: Sequence[str]) -> float:
    """The confidence that gives the best F-score over all types on these images.

    It lies halfway between the last detection taken and the first one left out, so that it is no detection's own.

    Raises:
        ValueError: nothing was found: there is no best confidence.
    """
    ranked = [rank(images, label) for label in classes]
    confidences = np.concatenate([one.confidences for one in ranked])
    is_hit = np.concatenate([one.is_hit for one in ranked])
    if not is_hit.any():
        raise ValueError("no detection is right, so that no confidence is better than another: train longer")
    order = np.argsort(-confidences, kind="stable")
    confidences, right = confidences[order], np.cumsum(is_hit[order])
    f_scores = 2 * right / (np.arange(1, len(right) + 1) + sum(one.labels for one in ranked))
    # Detections of equal confidence are taken together or not at all.
    f_scores[:-1][confidences[:-1] == confidences[1:]] = -1
    last = int(f_scores.argmax())
    following = confidences[last + 1] if last + 1 < len(confidences) else 0.0
    return float(confidences[last] + following) / 2


def rank(images: Sequence[tuple[Detections, Truth]], label: str) -> Ranked:
    """The detections of one type over all images, each with whether it found a true box of its own."""
    scores, hits, labels = [np.empty(0)], [np.empty(0, bool)], 0
    for found, truth in images:
        mine = np.array([name == label for name in found.labels], bool)
        theirs = np.array([name == label for name in truth.labels], bool)
        labels += int(theirs.sum())
        order = np.argsort(-found.confidences[mine], kind="stable")
        scores.append(found.confidences[mine][order].astype(np.float64))
        overlap = overlaps(found.boxes[mine][order], truth.boxes[theirs])
        hits.append(match(overlap, (np.nextafter(IOU, 1),))[:, 0])  # above, not at
    score, hit = np.concatenate(scores), np.concatenate(hits)
    order = np.argsort(-score, kind="stable")
    return Ranked(confidences=score[order], is_hit=hit[order], labels=labels)


def area_under(is_hit: NDArray[np.bool_], labels: int) -> float:
    """The area under precision, made monotonic, over recall.

    Args:
        is_hit: [n], for each detection, the most confident first, whether it found a true box.
        labels: how many true boxes there are; NaN is returned when there is none.
    """
    if not labels:
        return float("nan")
    precision = np.cumsum(is_hit) / np.arange(1, len(is_hit) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[is_hit].sum() / labels)  # recall grows by 1 / labels at each hit
