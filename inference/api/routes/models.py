"""Models: versions, gate results, the ledger; challenger, promote, rollback."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
