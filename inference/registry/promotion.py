"""The one way to another champion, and back.

    promote  ─┐            ┌► refused: Rejected
    rollback ─┴► lock ─► settle ─► may it? ─► row intended ─► aliases ─► row done ─► tags
    reconcile ─► lock ─► settle: a half-done row is finished or reverted, aliases are put back where the ledger has them
    set_challenger, unset_challenger ─► lock ─► one alias; duplicates of a new challenger go

The ledger in Postgres is the truth, the aliases in MLflow its projection. One lock in Postgres is held from the first
look to the last write, by the connection that writes the rows. Killed between any two steps, what is left is the old
champion or the new one (inference.domain.promotion.settlement says which, and why).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from contracts.errors import Rejected, Transient
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.domain.promotion import CHALLENGER, AliasChange, Demands, Judged, refusal
from inference.persistence import gate_verdicts, ledger
from inference.persistence.database import Connection, connect, translated
from inference.persistence.gate_verdicts import GATE_SET
from inference.persistence.ledger import Approval, Promotion
from inference.registry import mlflow_client, settling
from inference.registry.gate_files import gate_file
from inference.registry.record import aliases_of, candidate, duplicates_of, note, point, remove

if TYPE_CHECKING:
    from mlflow import MlflowClient

# How long a promotion waits for another one. MLflow being slow is what would make it longer.
PATIENCE: Final = timedelta(seconds=5)

_log = get_logger(__name__)


def promote(
    settings: Settings,
    version: str,
    *,
    approved_by: str,
    reason: str,
    approved_by_name: str | None = None,
    needs_verdict: bool = True,
) -> Promotion:
    """Makes the version champion.

    Args:
        settings: where Postgres and MLflow are; which model.
        version: of the installation's registered model.
        approved_by: the subject of the token of who approved it.
        reason: in their words.
        approved_by_name: for people to read.
        needs_verdict: False promotes what the gate has not passed. Nobody asks for that by the API.

    Raises:
        Rejected: unknown_version, already_champion, digest_missing, gate_not_passed; promotion_under_way: another one
            has not ended yet.
        Misconfigured: there is no gate file in force.
        Transient: Postgres or MLflow is away. Begun or not, it ends as old or new: the message says which is open.
    """
    approval = Approval(by=approved_by, name=approved_by_name, reason=reason)
    with _locked(settings) as (connection, client):
        settling.settle(connection, client, settings.mlflow.model_name)
        champion = ledger.champion_of(connection, settings.mlflow.model_name)
        return _promote(connection, client, settings, version, champion, approval, needs_verdict=needs_verdict)


def rollback(
    settings: Settings,
    *,
    approved_by: str,
    reason: str,
    approved_by_name: str | None = None,
    leaving: str | None = None,
) -> Promotion:
    """Makes the champion's predecessor champion again; a second rollback undoes the first. Asks no gate.

    Args:
        settings: where Postgres and MLflow are; which model.
        approved_by: as in promote.
        reason: in their words.
        approved_by_name: for people to read.
        leaving: the version to leave; None: whichever is champion.

    Raises:
        Rejected: not_champion, no_previous_champion; and as promote.
        Transient: as promote.
    """
    approval = Approval(by=approved_by, name=approved_by_name, reason=reason)
    with _locked(settings) as (connection, client):
        settling.settle(connection, client, settings.mlflow.model_name)
        champion = ledger.champion_of(connection, settings.mlflow.model_name)
        if leaving is not None and (champion is None or champion.version != leaving):
            now = "nobody is" if champion is None else f"version {champion.version} is"
            raise Rejected(f"version {leaving} is not the champion, {now}: nothing to leave", code="not_champion")
        if champion is None or champion.previous_version is None:
            raise Rejected("there was no champion before this one: promote a version", code="no_previous_champion")
        previous = champion.previous_version
        return _promote(connection, client, settings, previous, champion, approval, needs_verdict=False)


def reconcile(settings: Settings) -> list[str]:
    """Ends what a killed promotion left half-done, and puts aliases back that others moved.

    Harmless when repeated, and by several at once: who does not get the lock leaves it to who has it.

    Returns:
        What was changed, or cannot be, in words; empty when all is as it should be.

    Raises:
        Transient: Postgres or MLflow is away.
    """
    name = settings.mlflow.model_name
    client = mlflow_client.connect(settings)
    with connect(settings, autocommit=True) as connection:
        if settling.is_settled(connection, client, name) or not ledger.try_lock(connection):
            return []
        return settling.settle(connection, client, name)


def set_challenger(settings: Settings, version: str) -> None:
    """Gives the alias `challenger` to a version. It needs no row: a challenger decides nothing.

    Raises:
        Rejected: unknown_version, already_champion, digest_missing; promotion_under_way.
        Transient: Postgres or MLflow is away.
    """
    name = settings.mlflow.model_name
    with _locked(settings) as (connection, client):
        settling.settle(connection, client, name)
        champion = ledger.champion_of(connection, name)
        why_not = refusal(
            candidate(client, name, version),
            champion=champion.version if champion else None,
            judged=None,
            demands=None,
        )
        if why_not is not None:
            raise Rejected(why_not.message, code=why_not.code)
        _challenge(client, name, version)
        _remove_duplicates(connection, client, name, version)


def unset_challenger(settings: Settings, *, leaving: str | None = None) -> None:
    """Takes the alias `challenger` away, so that no version is.

    Args:
        settings: where Postgres and MLflow are; which model.
        leaving: the version that is to be it no more; None: whichever is.

    Raises:
        Rejected: not_challenger; promotion_under_way.
        Transient: Postgres or MLflow is away.
    """
    name = settings.mlflow.model_name
    with _locked(settings) as (_, client):
        now = aliases_of(client, name).get(CHALLENGER)
        if leaving is not None and leaving != now:
            raise Rejected(
                f"version {leaving} is not the challenger, {f'version {now}' if now else 'nobody'} is",
                code="not_challenger",
            )
        _challenge(client, name, None)


def _challenge(client: MlflowClient, name: str, version: str | None) -> None:
    was = aliases_of(client, name).get(CHALLENGER)
    if was != version and point(client, name, AliasChange(alias=CHALLENGER, was=was, version=version)):
        _log.info("challenger_set", model_name=name, model_version=version, was=was)


def _remove_duplicates(connection: Connection, client: MlflowClient, name: str, version: str) -> None:
    """Removes what `deliver` marked: later versions with the very same files, for which nothing was decided yet."""
    for later in duplicates_of(client, name, version):
        is_judged = gate_verdicts.newest(connection, name, later) is not None
        if not is_judged and ledger.first_of(connection, name, later) is None:
            remove(client, name, later)


@contextmanager
def _locked(settings: Settings) -> Iterator[tuple[Connection, MlflowClient]]:
    """A connection that has the lock, and a client."""
    client = mlflow_client.connect(settings)  # first: the import takes seconds, which nobody should wait for
    with connect(settings, autocommit=True) as connection:
        if not ledger.lock(connection, patience=PATIENCE):
            raise Rejected(
                "another promotion is under way: GET /v1/promotions says what becomes of it, then decide anew",
                code="promotion_under_way",
            )
        yield connection, client


def _promote(
    connection: Connection,
    client: MlflowClient,
    settings: Settings,
    version: str,
    champion: Promotion | None,
    approval: Approval,
    *,
    needs_verdict: bool,
) -> Promotion:
    """Decides, then acts."""
    name = settings.mlflow.model_name
    previous = champion.version if champion else None
    why_not = refusal(
        candidate(client, name, version),
        champion=previous,
        judged=_judged(connection, name, version),
        demands=_demands(settings) if needs_verdict else None,
    )
    if why_not is not None:
        raise Rejected(why_not.message, code=why_not.code)
    settling.step("before intend")
    row = ledger.intend(connection, name, version, previous_version=previous, approval=approval)
    settling.step("after intend")
    try:
        with translated(settings.postgres):
            done = settling.carry_out(connection, client, row)
    except Transient as error:
        raise Transient(
            f"promotion {row.id} of version {version} is half-done: {error.public}. It is finished or taken back when MLflow "
            "and Postgres answer again; GET /v1/promotions says which",
            retry_after=timedelta(seconds=10),
            is_public=True,
        ) from error
    _log.info(
        "champion_promoted", promotion=done.id, model_name=name, model_version=version, previous_version=previous,
        approved_by=approval.by,
    )  # fmt: skip
    note(client, done)
    return done


def _judged(connection: Connection, name: str, version: str) -> Judged | None:
    verdict = gate_verdicts.newest(connection, name, version)
    if verdict is None:
        return None
    return Judged(
        is_pass=verdict.verdict == "pass",
        digest=verdict.model_digest,
        champion=verdict.champion_version,
        reasons=verdict.reasons,
        gate_digest=verdict.gate_digest,
        gate_set=str(verdict.figures.get(GATE_SET, "")),
    )


def _demands(settings: Settings) -> Demands:
    return Demands(gate_digest=gate_file(settings).digest, is_any_set=settings.promotion.gate_sets == "any")
