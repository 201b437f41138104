"""Schemathesis over these routers: no 500, every status, type and body as documented."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from inference.api.parts import Parts
from inference.api.routes import cameras, images, labels, pipeline, reviews, stored_frames
from tests.support.rows import Row, now
from tests.support.stored_api import an_app, bearer

EVERYBODY = bearer("viewer", "reviewer", "admin")
# What asks the broker or Connect is tried on the whole stack.
ROUTERS = [module.router for module in (stored_frames, images, cameras, reviews, labels, pipeline)]
ON_THE_STACK = {"/v1/pipeline", "/v1/audit", "/v1/frames/{frame_id}/trace"}
# Wrong requests are made up for these; the others take a path only, and test_a_bad_id_is_refused has theirs.
WITH_QUERY_OR_BODY = {
    "/v1/frames",
    "/v1/labels",
    "/v1/labels/export",
    "/v1/reviews",
    "/v1/reviews/claim",
    "/v1/stats",
}
EXAMPLES = 30  # of fitting and of unfitting requests each, per route

CHECKS = [
    checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture
def schema(parts: Parts, keep: Callable[..., Row]) -> Any:
    frames = [keep(sequence=n, captured_at=now() - timedelta(seconds=n)) for n in range(120)]
    for frame in frames[:3]:
        parts.frames.put(frame["object_key"], b"image", content_type="image/jpeg", metadata={})
    return schemathesis.openapi.from_asgi("/openapi.json", an_app(parts, ROUTERS))


def test_every_answer_to_a_fitting_request_is_one_that_the_schema_names(schema: Any) -> None:
    assert len(_tried(schema, GenerationMode.POSITIVE, without=ON_THE_STACK)) == 12


def test_every_answer_to_a_wrong_request_is_one_that_the_schema_names(schema: Any) -> None:
    others = {operation.path for operation in _operations(schema)} - WITH_QUERY_OR_BODY
    assert set(_tried(schema, GenerationMode.NEGATIVE, without=others)) == WITH_QUERY_OR_BODY


def _operations(schema: Any) -> list[Any]:
    return [result.ok() for result in schema.get_all_operations()]


def _tried(schema: Any, mode: GenerationMode, *, without: set[str]) -> list[str]:
    tried = []
    for operation in _operations(schema):
        if operation.path not in without:
            _try(operation, mode)
            tried.append(operation.path)
    return tried


def _try(operation: Any, mode: GenerationMode) -> None:
    @hypothesis_settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        case.call_and_validate(headers=EVERYBODY, checks=CHECKS)

    each()
