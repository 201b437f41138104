"""Dead letters: list, show, replay."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Query

from connectors import dead_letters
from connectors.dead_letters import CONSUMERS, DeadLetter
from connectors.letter_documents import outcome_of, summary, whole
from connectors.replay import replay
from contracts.errors import Rejected
from contracts.settings import Settings
from inference.api import cursors
from inference.api.answers.pipeline import LetterAnswer, LetterPage, LetterWhole, ReplayAnswer, ReplayRequest
from inference.api.guard import GuardedRoute
from inference.api.inputs import Cursor, LetterId, Limit, Neighbours
from inference.api.openapi import problems
from inference.api.problems import Problem

router = APIRouter(tags=["dead letters"], route_class=GuardedRoute)

_NO_EDIT: Final = ReplayRequest()
_SHARE: Final = 0.8  # of the time that a request may wait: what the broker gets of it

Consumer = Literal["frames_to_s3", "frames_to_postgres", "predictions_to_postgres", "sessions_to_postgres", "stream"]


@router.get("/v1/dead-letters")
def list_letters(
    parts: Neighbours,
    consumer: Annotated[Consumer | None, Query(description="Only what this consumer refused")] = None,
    code: Annotated[
        str | None, Query(pattern="^[a-z][a-z0-9_]{0,99}$", description="Only with this reason code")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> LetterPage:
    """What was refused, newest first. With `code` a page looks at as many as `limit` says and shows those that fit."""
    names = CONSUMERS if consumer is None else (consumer,)
    bounds = cursors.letters_of(cursor)
    until = time.monotonic() + _SHARE * parts.settings.api.request_seconds
    kept = dead_letters.counts(parts.settings, within_seconds=until - time.monotonic())
    # Only figures are kept of each letter while they are read: a record may hold five megabytes.
    read = dead_letters.newest(
        parts.settings, {name: bounds.get(name) for name in names}, limit=limit,
        within_seconds=until - time.monotonic(),
    )  # fmt: skip
    rows = sorted(
        ((letter.refused_at, letter.consumer, letter.offset, summary(letter)) for letter in read),
        key=lambda row: row[:3],
    )
    page = rows[-limit:][::-1]
    after = _bounds_after(bounds, page) if len(page) == limit else None
    return LetterPage(
        counts=kept,
        dead_letters=[LetterAnswer.model_validate(row[3]) for row in page if code in {None, row[3]["code"]}],
        next=after and cursors.after_letters(after),
    )


def _bounds_after(bounds: dict[str, int], page: list[tuple[Any, str, int, dict[str, Any]]]) -> dict[str, int]:
    """Where the next page looks: before the oldest letter shown of each consumer."""
    after = dict(bounds)
    for _, name, offset, _ in page:
        after[name] = min(offset, after.get(name, offset))
    return after


@router.get("/v1/dead-letters/{letter_id}", responses=problems(404))
def show_letter(letter_id: LetterId, parts: Neighbours) -> LetterWhole:
    """One of them: where it came from, its headers, its record without the image."""
    return LetterWhole.model_validate(whole(parts.settings, _find(parts.settings, letter_id)))


@router.post("/v1/dead-letters/{letter_id}/replay", responses=problems(404))
def replay_letter(
    letter_id: LetterId, parts: Neighbours, asked: Annotated[ReplayRequest | None, Body()] = None
) -> ReplayAnswer:
    """Sends its record once more to the topic it came from, so that every consumer sees it. Harmless when repeated.

    What would be refused again is not sent: then is_replayed is false, and the reason says what to correct.
    """
    edit = (asked or _NO_EDIT).edit
    if edit is not None and "image" in edit:
        raise Rejected(
            "an image is corrected with `sightline dead-letters replay --edit`: leave it out here", code="bad_edit"
        )
    [outcome] = replay(parts.settings, [_find(parts.settings, letter_id)], edit=edit)
    return ReplayAnswer.model_validate(outcome_of(outcome))


def _find(settings: Settings, letter_id: str) -> DeadLetter:
    try:
        return dead_letters.find(settings, letter_id, within_seconds=_SHARE * settings.api.request_seconds)
    except Rejected as error:
        raise Problem(404, "not_found", str(error)) from error
