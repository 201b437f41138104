"""Versions, verdicts, replicas, promotions: as the routes of models answer them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from inference.persistence.gate_verdicts import Verdict
from inference.persistence.ledger import Promotion
from inference.registry.catalogue import Registered

# No control character: Postgres cannot store NUL, and a name or reason has no use for the others.
Line = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]


class _FromFields(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class VerdictAnswer(_FromFields):
    """What the platform's gate said of a version."""

    verdict: Literal["pass", "hold", "refused"]
    reasons: list[str] = Field(description="In words, with the figures")
    figures: dict[str, Any]
    champion_version: str | None = Field(description="Compared with; null: there was no champion")
    model_digest: str = Field(description="sha256 of the model.onnx that was evaluated")
    dataset_digest: str = Field(description="Of the gate set")
    gate_digest: str = Field(description="Of the gate file")
    run_id: str | None = Field(description="In MLflow")
    decided_at: datetime


class Replica(BaseModel):
    """One process that serves a model; its last heartbeat is younger than 10 s unless set otherwise."""

    instance: str
    kind: str = Field(description="stream, shadow or api")
    version: str = Field(description="What it serves; empty: nothing")
    state: str
    warmed_version: str | None = Field(description="Loaded and ready to take over")
    engine: str
    updated_at: datetime


class VersionAnswer(BaseModel):
    """One version of the installation's model."""

    version: str
    digest: str = Field(description="sha256 of model.onnx; empty: nobody wrote it down, so it cannot be served")
    licence: str = Field(description="SPDX; unknown where nobody wrote it down")
    source: str = Field(description="Who registered it; empty: nobody said")
    created_at: datetime
    run_id: str | None = Field(description="In MLflow")
    is_champion: bool = Field(description="By the ledger, which decides what is served")
    aliases: list[str] = Field(description="In MLflow; they follow the ledger within seconds")
    metrics: dict[str, float] = Field(description="Of its run in MLflow")
    verdict: VerdictAnswer | None = Field(description="The gate's newest; null: the gate never saw it")
    replicas: list[Replica] = Field(description="Who serves it now")

    @classmethod
    def of(cls, known: Registered, *, champion: str | None, verdict: Verdict | None, replicas: list[Replica]) -> Self:
        """Out of what MLflow, the ledger, the gate and the heartbeats say."""
        return cls(
            version=known.version,
            digest=known.digest,
            licence=known.licence,
            source=known.source,
            created_at=known.created_at,
            run_id=known.run_id,
            is_champion=known.version == champion,
            aliases=list(known.aliases),
            metrics=dict(known.metrics),
            verdict=None if verdict is None else VerdictAnswer.model_validate(verdict),
            replicas=[one for one in replicas if one.version == known.version],
        )


class ModelsAnswer(BaseModel):
    """The installation's model."""

    model: str = Field(description="Its name in MLflow")
    champion: str | None = Field(description="By the ledger; null: nobody yet")
    items: list[VersionAnswer] = Field(description="Newest first")


class PromotionAnswer(_FromFields):
    """One row of the ledger."""

    id: int
    version: str
    previous_version: str | None = Field(description="Champion until then; null: there was none")
    state: Literal["intended", "done", "reverted"] = Field(description="Only done counts; intended ends within seconds")
    requested_at: datetime
    done_at: datetime | None = Field(description="When it was done or reverted")
    approved_by: str = Field(description="Subject of a person's token, bootstrap, or watch_window")
    approved_by_name: str | None = Field(description="For people to read; null: approved_by is readable")
    reason: str


class PromotionsAnswer(BaseModel):
    """A page of the ledger, the newest first."""

    items: list[PromotionAnswer]
    next: str | None = Field(description="`cursor` of the next page; null: there is none")

    @classmethod
    def of(cls, rows: list[Promotion], *, limit: int) -> Self:
        """Out of one row more than the page has, where there are more."""
        items = [PromotionAnswer.model_validate(row) for row in rows[:limit]]
        return cls(items=items, next=str(items[-1].id) if len(rows) > limit else None)


class ChallengerAnswer(BaseModel):
    """Who is challenger now."""

    challenger: str | None


class AgreementAnswer(BaseModel):
    """How far a version agreed with another on the frames that both looked at, the newest 5000 of them."""

    version: str
    against: str
    since: datetime
    until: datetime
    frames: int
    agreeing_frames: int = Field(description="Without a flip, a missing or an extra box")
    agreed: int = Field(description="Boxes that overlap by an IoU of 0.5 and have one label")
    label_flips: int = Field(description="Boxes that overlap so, with another label")
    missing: int = Field(description="Boxes that only `against` saw")
    extra: int = Field(description="Boxes that only `version` saw")
    confidence_shift: float | None = Field(description="Mean over the agreed boxes; null: there is none")
    share: float | None = Field(description="Agreed boxes of all, 0..1; null: no frame")


class OnBehalfOf(BaseModel):
    """The person for whom a job asks: the responder of an approval. `watch_window` may ask for a rollback alone."""

    model_config = ConfigDict(extra="forbid")
    id: Line
    name: Line


class Decision(BaseModel):
    """Why, and for whom where a job asks."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "finds 4 % more shorts"}]})
    reason: Line
    on_behalf_of: OnBehalfOf | None = Field(
        default=None, description="For the service account sightline-jobs, which must name somebody; for nobody else"
    )
