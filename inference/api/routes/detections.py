"""Images in, boxes out: POST /v1/detections.

body ─► images ─► detector ─► JSON, or the image with its boxes drawn
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_json

from inference.api.guard import OwnRoute
from inference.api.images import check_media_type, image_of, read_body
from inference.api.openapi import IMAGE_BODY, as_parameters, problems
from inference.api.parts import Parts
from inference.api.under_way import Answer

router = APIRouter(tags=["detections"], route_class=OwnRoute)

_EXAMPLE: Final[dict[str, Any]] = {
    "model": {"name": "pcb-defects", "version": "7", "digest": "5e8a…", "role": "champion", "engine": "openvino"},
    "width": 640,
    "height": 640,
    "detections": [{"label": "short", "confidence": 0.9134, "box": [102.5, 88.25, 131.75, 120.0]}],
    "timings": {"queue": 0.21, "decode": 1.12, "infer": 18.4, "total": 19.9},
}


class Model(BaseModel):
    """Which model answered."""

    name: str
    version: str
    digest: str = Field(description="sha256 of model.onnx")
    role: str = Field(description="champion | challenger, at the moment of the answer")
    engine: str


class Detection(BaseModel):
    """One box."""

    label: str
    confidence: float = Field(ge=0, le=1)
    box: tuple[float, float, float, float] = Field(description="x1, y1, x2, y2 in pixels of the image as stored")


class Timings(BaseModel):
    """Milliseconds of this request."""

    queue: float = Field(description="waiting for the engine")
    decode: float
    infer: float = Field(description="in the engine, with the images of its batch")
    total: float = Field(description="from the request's head to its answer, the body's way included")


class Detections(BaseModel):
    """What the model saw."""

    model: Model
    width: int = Field(description="pixels, as stored: EXIF orientation is ignored")
    height: int
    detections: list[Detection] = Field(description="the most confident first")
    timings: Timings


class Options(BaseModel):
    """What may be asked for in the query."""

    version: Annotated[str, Field(max_length=128)] | None = Field(
        default=None, description="champion (the default), challenger, or a version that is loaded"
    )
    min_confidence: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Leaves out what is below it; the model's own least confidence holds as well"
    )
    annotated: bool = Field(default=False, description="Answers with the image, boxes drawn, as JPEG")


_NO_OPTIONS: Final = Options()


@router.post(
    "/v1/detections",
    summary="Detect",
    response_model=Detections,
    openapi_extra=IMAGE_BODY | {"parameters": as_parameters(Options)},
    responses={
        200: {
            "description": "The detections; with `annotated=true` the image with its boxes drawn, as JPEG.",
            "content": {
                "application/json": {"example": _EXAMPLE},
                "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        **problems(400, 404, 408, 413, 415, 422),
    },
)
async def detect(request: Request) -> Response:
    """Detects in one JPEG or PNG, as the body or in the field `image` of a form.

    Boxes are in pixels of the image as stored. 503 with Retry-After: the queue is full, or no model is loaded yet.
    """
    began = time.perf_counter()
    options = _options_of(request)
    parts: Parts = request.app.state.parts
    media_type = check_media_type(request)
    parts.detector.refuse_when_full()
    body = await read_body(request, parts.bodies, limit=parts.settings.api.max_body_bytes)
    image = await image_of(request, body, media_type)
    answer = await parts.detector.detect(
        image, version=options.version, confidence=options.min_confidence, is_annotated=options.annotated
    )
    if answer.annotated is not None:
        return Response(answer.annotated, media_type="image/jpeg", headers=_headers(answer))
    total = time.perf_counter() - began
    return Response(to_json(_body(answer, total)), media_type="application/json", headers=_headers(answer))


def _options_of(request: Request) -> Options:
    """Read by hand, and only where there are any: FastAPI's own way takes a quarter of the time of a whole request."""
    if not request.scope["query_string"]:
        return _NO_OPTIONS
    try:
        return Options.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise RequestValidationError(
            [problem | {"loc": ("query", *problem["loc"])} for problem in error.errors()]
        ) from error


def _headers(answer: Answer) -> dict[str, str]:
    return {"X-Sightline-Model-Version": answer.version.version}


def _body(answer: Answer, total: float) -> dict[str, Any]:
    """As Detections says; a plain mapping, for speed."""
    version, found = answer.version, answer.detections
    # Python's round: for the handful of boxes of one image, numpy's takes longer.
    confidences = [round(confidence, 4) for confidence in found.confidences.tolist()]
    boxes = [[round(edge, 2) for edge in box] for box in found.boxes.tolist()]
    return {
        "model": {
            "name": version.name,
            "version": version.version,
            "digest": version.digest,
            "role": answer.role,
            "engine": answer.engine,
        },
        "width": answer.width,
        "height": answer.height,
        "detections": [
            {"label": label, "confidence": confidence, "box": box}
            for label, confidence, box in zip(found.labels, confidences, boxes, strict=True)
        ],
        "timings": {
            "queue": round(answer.queue_seconds * 1000, 2),
            "decode": round(answer.decode_seconds * 1000, 2),
            "infer": round(answer.infer_seconds * 1000, 2),
            "total": round(total * 1000, 2),
        },
    }
