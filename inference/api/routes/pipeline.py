"""How the pipeline is: GET /v1/pipeline, /v1/stats, /v1/audit."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
