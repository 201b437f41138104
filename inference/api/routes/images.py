"""GET /v1/images/{ticket}: one frame's image by a signed, short-lived ticket."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
