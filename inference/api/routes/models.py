"""Models: versions, gate results, the ledger; challenger, promote, rollback.

MLflow ─► catalogue ─┐
ledger, verdicts, heartbeats ─┴► GET /v1/models …       a decision ─► registry.promotion ─► ledger, aliases
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query

from contracts.errors import Rejected
from inference.api.answers.models import (
    AgreementAnswer,
    ChallengerAnswer,
    Decision,
    ModelsAnswer,
    PromotionAnswer,
    PromotionsAnswer,
    Replica,
    VersionAnswer,
)
from inference.api.guard import GuardedRoute
from inference.api.identity import Identity
from inference.api.inputs import EARLIEST, TEXT_PATTERN, At, Bearer, Limit, Neighbours
from inference.api.openapi import problems
from inference.api.parts import Parts
from inference.api.problems import Problem, not_found
from inference.persistence import gate_verdicts, heartbeats, ledger
from inference.persistence.agreement import agreement_between
from inference.persistence.database import Connection
from inference.persistence.ledger import Approval
from inference.registry import promotion
from inference.registry.catalogue import Registered

router = APIRouter(tags=["models"], route_class=GuardedRoute)

JOBS: Final = "sightline-jobs"  # the one account that may name another person
_DAY: Final = timedelta(days=1)
_CONFLICTS: Final = frozenset(
    {
        "already_champion", "digest_missing", "gate_not_passed", "no_previous_champion", "not_challenger",
        "not_champion", "promotion_under_way",
    }
)  # fmt: skip


Version = Annotated[str, Path(max_length=100, pattern=TEXT_PATTERN, description="Number of a version in MLflow")]


@router.get("/v1/models")
def list_models(parts: Neighbours) -> ModelsAnswer:
    """Every version with its gate result, the champion, and who serves what."""
    known = parts.catalogue.versions(parts.settings)
    champion, items = _described(parts, known)
    return ModelsAnswer(model=parts.settings.mlflow.model_name, champion=champion, items=items)


@router.get("/v1/models/{version}", responses=problems(404))
def show_model(version: Version, parts: Neighbours) -> VersionAnswer:
    """One version."""
    _, [item] = _described(parts, (_registered(parts, version),))
    return item


@router.get("/v1/models/{version}/agreement", responses=problems(404, 409))
def show_agreement(
    version: Version,
    parts: Neighbours,
    against: Annotated[
        str | None,
        Query(max_length=100, pattern=TEXT_PATTERN, description="The version that is the measure; else the champion"),
    ] = None,
    since: Annotated[At | None, Query(description="Captured then or later; else a day before `until`")] = None,
    until: Annotated[At | None, Query(description="Captured before then; else now")] = None,
) -> AgreementAnswer:
    """How far the version agreed with the champion on the frames that both looked at."""
    _registered(parts, version)
    model = parts.settings.mlflow.model_name
    end = until or datetime.now(UTC)
    begin = since or max(EARLIEST, end - _DAY)
    with parts.database.connection() as connection:
        other = _measure(connection, parts, version, against)
        found = agreement_between(connection, model, first=other, second=version, since=begin, until=end)
    return AgreementAnswer(
        version=version,
        against=other,
        since=begin,
        until=end,
        frames=found.frames,
        agreeing_frames=found.agreeing_frames,
        agreed=found.agreed,
        label_flips=found.label_flips,
        missing=found.missing,
        extra=found.extra,
        confidence_shift=found.confidence_shift,
        share=found.share,
    )


@router.get("/v1/promotions")
def list_promotions(
    parts: Neighbours,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(pattern="^[0-9]{1,18}$", description="`next` of the page before")] = None,
) -> PromotionsAnswer:
    """The ledger, the newest row first."""
    before = int(cursor) if cursor is not None else None
    with parts.database.connection() as connection:
        rows = ledger.history(connection, parts.settings.mlflow.model_name, limit=limit + 1, before_id=before)
    return PromotionsAnswer.of(rows, limit=limit)


@router.post("/v1/models/{version}/challenger", responses=problems(404, 409))
def set_challenger(version: Version, parts: Neighbours) -> ChallengerAnswer:
    """Has the shadow score with this version, and every process warm it."""
    with _decided(parts, version):
        promotion.set_challenger(parts.settings, version)
    return ChallengerAnswer(challenger=version)


@router.delete("/v1/models/{version}/challenger", responses=problems(409))
def unset_challenger(version: Version, parts: Neighbours) -> ChallengerAnswer:
    """Ends its time as challenger."""
    with _decided(parts, version):
        promotion.unset_challenger(parts.settings, leaving=version)
    return ChallengerAnswer(challenger=None)


@router.post("/v1/models/{version}/promote", responses=problems(404, 409))
def promote(version: Version, decision: Decision, parts: Neighbours, bearer: Bearer) -> PromotionAnswer:
    """Makes the version champion, if the gate passed it against the present one. Every process follows in seconds."""
    who = _approval(decision, bearer, words=frozenset())
    with _decided(parts, version):
        row = promotion.promote(
            parts.settings, version, approved_by=who.by, approved_by_name=who.name, reason=who.reason
        )
    return PromotionAnswer.model_validate(row)


@router.post("/v1/models/{version}/rollback", responses=problems(404, 409))
def rollback(version: Version, decision: Decision, parts: Neighbours, bearer: Bearer) -> PromotionAnswer:
    """Leaves this version, which must be the champion, for the one before it. The gate is not asked."""
    who = _approval(decision, bearer, words=frozenset({ledger.WATCH_WINDOW}))
    with _decided(parts, version):
        row = promotion.rollback(
            parts.settings, approved_by=who.by, approved_by_name=who.name, reason=who.reason, leaving=version
        )
    return PromotionAnswer.model_validate(row)


def _approval(decision: Decision, bearer: Identity, *, words: frozenset[str]) -> Approval:
    """Who decided: the token's bearer, or whom a job names: a person, or one of `words` that stand for no person."""
    person = decision.on_behalf_of
    # Keycloak names a client's own account so; a person who came in through that client has another name.
    is_job = bearer.client == JOBS and bearer.name == f"service-account-{JOBS}"
    if person is None and is_job:
        raise Problem(422, "names_nobody", f"{JOBS} decides nothing itself: name who approved it in on_behalf_of")
    if person is None:
        return Approval(by=bearer.subject, name=bearer.name, reason=decision.reason)
    if not is_job:
        raise Problem(403, "not_for_others", f"only the service account {JOBS} decides on behalf of others")
    if person.id in words:
        return Approval(by=person.id, reason=decision.reason)
    if person.id in ledger.NO_PERSONS:
        raise Problem(422, "no_person", f"{person.id} cannot approve this: name a person in on_behalf_of")
    return Approval(by=person.id, name=f"{person.name} (by {JOBS})", reason=decision.reason)


@contextmanager
def _decided(parts: Parts, version: str) -> Iterator[None]:
    """Around a decision: what it refuses as 404 or 409, and the next list shows what it changed."""
    try:
        yield
    except Rejected as error:
        if error.code == "unknown_version":
            raise not_found(f"version {version}: GET /v1/models lists them") from error
        if error.code in _CONFLICTS:
            raise Problem(409, error.code, str(error)) from error
        raise
    finally:
        parts.catalogue.forget()


def _registered(parts: Parts, version: str) -> Registered:
    for known in parts.catalogue.versions(parts.settings):
        if known.version == version:
            return known
    raise not_found(f"version {version}: GET /v1/models lists them")


def _described(parts: Parts, versions: tuple[Registered, ...]) -> tuple[str | None, list[VersionAnswer]]:
    """The champion by the ledger, and what is known of each version."""
    model = parts.settings.mlflow.model_name
    with parts.database.connection() as connection:
        champion = ledger.champion_of(connection, model)
        verdicts = gate_verdicts.newest_of_all(connection, model)
        replicas = _replicas(connection, model, parts.settings.serving.replica_seconds)
    now = champion.version if champion else None
    items = [
        VersionAnswer.of(one, champion=now, verdict=verdicts.get(one.version), replicas=replicas) for one in versions
    ]
    return now, items


def _replicas(connection: Connection, model: str, seconds: float) -> list[Replica]:
    alive = heartbeats.replicas(connection, seconds=seconds)
    return [Replica.model_validate(one, from_attributes=True) for one in alive if one.model == model]


def _measure(connection: Connection, parts: Parts, version: str, against: str | None) -> str:
    """What the version is compared with: as asked, else the champion; the champion with its predecessor."""
    if against is not None:
        return _registered(parts, against).version
    champion = ledger.champion_of(connection, parts.settings.mlflow.model_name)
    other = champion.version if champion and champion.version != version else None
    if champion and champion.version == version:
        other = champion.previous_version
    if other is None:
        raise Problem(409, "nothing_to_compare", "there is no other champion to compare with: name one as `against`")
    return other
