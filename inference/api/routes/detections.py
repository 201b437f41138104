"""Images in, boxes out: POST /v1/detections."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
