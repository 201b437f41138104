"""Frames with what people said of them: a_labelled_frame."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from inference.domain.labelled import LabelledFrame
from inference.domain.review import LabelledBox

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def a_labelled_frame(**changes: Any) -> LabelledFrame:
    given: dict[str, Any] = {
        "frame_id": "f1",
        "camera_id": "line-1",
        "session_id": "s",
        "sequence": 3,
        "captured_at": AT,
        "width": 200,
        "height": 100,
        "object_key": "date=2026-01-02/camera=line-1/f1.jpg",
        "sha256": "a" * 64,
        "part": "train",
        "review_id": 7,
        "reviewer": "subject",
        "reviewer_name": "Ann",
        "reviewed_at": AT,
        "verdict": "corrected",
        "purpose": "queue",
        "boxes": (
            LabelledBox(label="short", box=(10.0, 20.0, 30.0, 60.0)),
            LabelledBox(label="open", box=(0.0, 0.0, 200.0, 100.0)),
        ),
    }
    return LabelledFrame(**(given | changes))
