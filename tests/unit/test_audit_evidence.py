"""Clues to missing rows, in a bucket where others have put things too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.identifiers import new_id
from inference.persistence.audit.evidence import Verified, find_objects_without_row, read_evidence
from inference.persistence.audit.verdicts import Witness

AT = datetime(2026, 1, 2, tzinfo=UTC)
FOLDER = "date=2026-01-02/camera=line-1/"


def a_session() -> Witness:
    return Witness(
        session_id="s", camera_id="line-1", source="s", started_at=AT, last_acknowledged=2, captured=3, rejected=0,
        closed_at=AT, updated_at=AT,
    )  # fmt: skip


class Database:
    """Has a row of each of these frames, and refuses what is no uuid as Postgres does."""

    def __init__(self, *stored: str) -> None:
        self._stored = stored

    def execute(self, _query: str, values: tuple[list[str]]) -> list[tuple[str]]:
        assert all(len(frame_id) == 36 for frame_id in values[0]), "invalid input syntax for type uuid"
        return [(frame_id,) for frame_id in values[0] if frame_id in self._stored]


class Rows:
    """So many sequences of the session's days are there, and of older days none; whatever else is asked has no rows."""

    def __init__(self, *, count: int) -> None:
        self._count = count
        self.queries: list[str] = []
        self.bounds: list[dict[str, Any]] = []

    def execute(self, query: str, values: Any) -> Any:
        if isinstance(values, dict):
            self.queries.append(query)
            self.bounds.append(values)
        self._rows = [(self._count,)] if "count(" in query else [(None,)] if "min(" in query else []
        return self

    def fetchall(self) -> list[Any]:
        return self._rows

    def __iter__(self) -> Any:
        return iter(self._rows)


class Store:
    def __init__(self, *keys: str) -> None:
        self._keys = keys

    def pages(self, prefix: str) -> Any:
        yield [key for key in self._keys if key.startswith(prefix)]


def test_a_foreign_key_in_the_bucket_does_not_cost_the_clues() -> None:
    stored, lost, refused = (new_id(AT) for _ in range(3))
    keys = [FOLDER, f"{FOLDER}readme", *(f"{FOLDER}{frame_id}.jpg" for frame_id in (stored, lost, refused))]
    found = find_objects_without_row(
        Database(stored),  # type: ignore[arg-type]
        Store(*keys),  # type: ignore[arg-type]
        a_session(),
        lambda frame_id: frame_id == refused,
    )
    assert list(found) == [f"{FOLDER}{lost}.jpg"]


@pytest.mark.parametrize("field", ["started_at", "updated_at", "closed_at"])
@pytest.mark.parametrize("at", [datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)])
def test_times_that_no_camera_means_do_not_end_the_audit(field: str, at: datetime) -> None:
    listed: list[str] = []

    class Days:
        def pages(self, prefix: str) -> Any:
            listed.append(prefix)
            return iter(())

    witness = replace(a_session(), **{field: at})
    rows = Rows(count=0)
    with ThreadPoolExecutor(1) as pool:
        assert not [*read_evidence(rows, witness, lambda _key: None, pool, Verified())]  # type: ignore[arg-type]
    assert len(rows.bounds) == 3
    for bounds in rows.bounds:
        assert datetime(1970, 1, 1) <= bounds["earliest"] <= datetime(2026, 1, 2)  # noqa: DTZ001 - the column is UTC
        assert datetime(2026, 1, 2) <= bounds["latest"] < datetime(9999, 1, 1)  # noqa: DTZ001
    assert not [*find_objects_without_row(rows, Days(), witness, lambda _id: False)]  # type: ignore[arg-type]
    assert 0 < len(listed) <= 401


@pytest.mark.parametrize(("count", "is_asked"), [(2, True), (3, False)])
def test_older_days_are_searched_only_where_something_is_missing(count: int, is_asked: bool) -> None:
    rows = Rows(count=count)
    with ThreadPoolExecutor(1) as pool:
        assert not [*read_evidence(rows, a_session(), lambda _key: None, pool, Verified())]  # type: ignore[arg-type]
    assert any("min(captured_at)" in query for query in rows.queries) is is_asked
