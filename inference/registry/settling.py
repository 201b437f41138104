"""The steps of a promotion, and what becomes of one whose process died between two of them.

    carry_out   row intended ─► alias previous_champion ─► champion ─► challenger ─► row done
    settle      row intended, nobody at work ─► finished | reverted ─► aliases as the ledger has them

For who has the ledger's lock; is_settled may be asked by anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import Transient
from contracts.logs import get_logger
from inference.domain.promotion import CHAMPION, Settlement, alias_changes, settlement
from inference.persistence import ledger
from inference.persistence.database import Connection
from inference.persistence.ledger import Promotion
from inference.registry.record import aliases_of, note, project

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = get_logger(__name__)


def step(name: str) -> None:
    """Between two effects, by name. Does nothing: tests put their own here, and die in it."""


def carry_out(connection: Connection, client: MlflowClient, row: Promotion) -> Promotion:
    """From a row that is intended to one that is done. The row ends last: who reads the ledger sees the old champion
    until everything else shows the new one.
    """
    for change, is_written in project(client, row):
        if not is_written:
            if change.alias == CHAMPION:
                raise Transient(f"version {row.version} was deleted in MLflow meanwhile")
            _log.warning("alias_not_written", alias=change.alias, model_version=change.version, reason="it was deleted")
        step(f"after {change.alias}")
    step("before finish")
    done = ledger.finish(connection, row)
    step("after finish")
    return done


def is_settled(connection: Connection, client: MlflowClient, name: str) -> bool:
    """Whether there is nothing to settle. Asked without the lock, so that a look never keeps a promotion waiting."""
    if ledger.under_way(connection, name) is not None:
        return False
    champion = ledger.champion_of(connection, name)
    if champion is None:
        return True
    aliases = aliases_of(client, name)
    return not alias_changes(aliases, champion=champion.version, previous=champion.previous_version)


def settle(connection: Connection, client: MlflowClient, name: str) -> list[str]:
    """What reconcile does; for who has the lock."""
    words = []
    row = ledger.under_way(connection, name)
    if row is not None:
        words.append(_end(connection, client, row))
    champion = ledger.champion_of(connection, name)
    if champion is not None:
        words += _put_back(client, champion)
    return words


def _end(connection: Connection, client: MlflowClient, row: Promotion) -> str:
    """Finishes or reverts what a killed promotion left."""
    decision = settlement(row.version, aliases_of(client, row.model).get(CHAMPION))
    if decision is Settlement.FINISH:
        note(client, carry_out(connection, client, row))
        ended = "finished: its alias had moved"
    else:
        step("before revert")
        ledger.revert(connection, row)
        step("after revert")
        ended = "reverted: its alias had not moved"
    _log.warning("promotion_settled", promotion=row.id, model_version=row.version, decision=decision.value)
    return f"promotion {row.id} of version {row.version} was half-done and is {ended}"


def _put_back(client: MlflowClient, champion: Promotion) -> list[str]:
    """Makes the aliases what the ledger says."""
    words = []
    for change, is_written in project(client, champion):
        should = "nobody" if change.version is None else f"version {change.version}"
        was = "nobody" if change.was is None else f"version {change.was}"
        if is_written:
            _log.warning("alias_put_back", alias=change.alias, was=change.was, model_version=change.version)
            words.append(f"alias {change.alias} put back to {should}, where the ledger has it; it was at {was}")
        else:
            words.append(f"alias {change.alias} belongs to {should}, which was deleted in MLflow")
        step(f"after {change.alias} put back")
    return words
