"""What people said, as data: GET /v1/labels, export as COCO or YOLO."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from tarfile import USTAR_FORMAT, TarInfo
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from inference.api.answers.reviews import LabelsAnswer, Progress, ReviewerCount
from inference.api.guard import GuardedRoute
from inference.api.inputs import Neighbours, Since
from inference.api.openapi import Responses
from inference.api.parts import Parts
from inference.domain.labelled import classes_of, coco, yolo
from inference.persistence import labels
from inference.persistence.labels import Snapshot

router = APIRouter(tags=["reviews"], route_class=GuardedRoute)

_WAITING: Final = timedelta(days=1)
_PIECE: Final = 64 * 1024
_TAR_BLOCK: Final = 512
_EXPORTED: Final[Responses] = {
    200: {
        "description": "COCO: one JSON document. YOLO: a tar with data.yaml, labels/ and provenance/; images by "
        "object_key or GET /v1/frames/{frame_id}/image",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/x-tar": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get("/v1/labels")
def count_labels(parts: Neighbours, since: Since = None) -> LabelsAnswer:
    """Labels in numbers, of all time or of what was reviewed since then; what waits is of the last day."""
    waiting_since = datetime.now(UTC) - _WAITING
    with parts.database.connection() as connection:
        found = labels.counts(connection, since=since)
        waiting = labels.waiting(connection, since=waiting_since)
    return LabelsAnswer(
        classes=_own_classes(parts),
        labels=found.labels,
        gate_labels=found.gate_labels,
        reviewers=[
            ReviewerCount(reviewer=reviewer, reviewer_name=name, frames=count)
            for reviewer, (name, count) in found.reviewers.items()
        ],
        cameras=found.cameras,
        verdicts=found.verdicts,
        progress=Progress(
            train_frames=found.train_frames,
            gate_frames=found.gate_frames,
            other_frames=found.other_frames,
            waiting_train_frames=waiting.get("train", 0),
            waiting_gate_frames=waiting.get("gate", 0),
            waiting_since=waiting_since,
        ),
    )


def _own_classes(parts: Parts) -> list[str]:
    return classes_of(parts.classes(), parts.settings.reviews.labels)


@router.get("/v1/labels/export", response_class=StreamingResponse, responses=_EXPORTED)
def export(
    parts: Neighbours,
    format: Annotated[Literal["coco", "yolo"], Query()] = "coco",  # noqa: A002 - the word in the address
    part: Annotated[
        Literal["train", "gate", "all"],
        Query(description="train holds no frame of a gate block; gate only those labelled from an empty page"),
    ] = "train",
) -> StreamingResponse:
    """The labelled frames as of now, each with its provenance. The newest review that was not taken back counts."""
    pieces: Iterator[bytes]
    snapshot = Snapshot(parts.database, part)
    classes = classes_of(_own_classes(parts), snapshot.labels)
    if format == "coco":
        description = f"Sightline, model {parts.settings.mlflow.model_name}, part {part}"
        text = coco(snapshot.frames, classes, description=description, made_at=datetime.now(UTC))
        pieces = (piece.encode() for piece in text)
        kind, name = "application/json", f"{part}.coco.json"
    else:
        pieces = _tar(yolo(snapshot.frames(), classes))
        kind, name = "application/x-tar", f"{part}.yolo.tar"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(_joined(pieces), media_type=kind, headers=headers)


def _tar(files: Iterable[tuple[str, str]]) -> Iterator[bytes]:
    """A tar archive as it comes; tarfile itself would want a file to write to."""
    for name, text in files:
        content = text.encode()
        entry = TarInfo(name)
        entry.size = len(content)
        yield entry.tobuf(format=USTAR_FORMAT) + content + b"\0" * (-len(content) % _TAR_BLOCK)
    yield b"\0" * 2 * _TAR_BLOCK


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces: each one is a switch of threads."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        if len(waiting) >= _PIECE:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)
