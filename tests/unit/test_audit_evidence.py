"""Clues to missing rows, in a bucket where others have put things too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from contracts.identifiers import new_id
from inference.persistence.audit.evidence import find_objects_without_row
from inference.persistence.audit.verdicts import Witness

AT = datetime(2026, 1, 2, tzinfo=UTC)
FOLDER = "date=2026-01-02/camera=line-1/"


class Database:
    """Has a row of each of these frames, and refuses what is no uuid as Postgres does."""

    def __init__(self, *stored: str) -> None:
        self._stored = stored

    def execute(self, _query: str, values: tuple[list[str]]) -> list[tuple[str]]:
        assert all(len(frame_id) == 36 for frame_id in values[0]), "invalid input syntax for type uuid"
        return [(frame_id,) for frame_id in values[0] if frame_id in self._stored]


class Store:
    def __init__(self, *keys: str) -> None:
        self._keys = keys

    def keys(self, prefix: str) -> Any:
        return (key for key in self._keys if key.startswith(prefix))


def test_a_foreign_key_in_the_bucket_does_not_cost_the_clues() -> None:
    stored, lost, refused = (new_id(AT) for _ in range(3))
    keys = [FOLDER, f"{FOLDER}readme", *(f"{FOLDER}{frame_id}.jpg" for frame_id in (stored, lost, refused))]
    witness = Witness(
        session_id="s", camera_id="line-1", source="s", started_at=AT, last_acknowledged=2, captured=3, rejected=0,
        closed_at=AT, updated_at=AT,
    )  # fmt: skip
    found = find_objects_without_row(
        Database(stored),  # type: ignore[arg-type]
        Store(*keys),  # type: ignore[arg-type]
        witness,
        lambda frame_id: frame_id == refused,
    )
    assert list(found) == [f"{FOLDER}{lost}.jpg"]
