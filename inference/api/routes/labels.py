"""What people said, as data: GET /v1/labels, export as COCO or YOLO."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
