"""GET /v1/cameras: who sends."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
