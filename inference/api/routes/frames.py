"""Frames: ingestion by HTTP, and what was stored: POST and GET /v1/frames, …/image, …/trace."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
