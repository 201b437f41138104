"""The demo model becomes the first champion, once.

no champion                                   register it if need be, make it champion
champion is this very model                   nothing
champion is an older demo model, only demo
models were ever registered, and no person
chose among them                              register, make it champion
anything else                                 register if need be, leave the champion: people decide by promotion

Champion is who the ledger has; making one is a row that is done, then the aliases. An installation from before the
ledger has an alias and no row: its row is written from the alias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contracts.errors import Transient
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.domain.promotion import CHAMPION
from inference.persistence import database, ledger
from inference.persistence.ledger import BOOTSTRAP, Approval, Promotion
from inference.registry import tags
from inference.registry.mlflow_client import connect, translated
from inference.registry.model_version import of_folder
from inference.registry.record import aliases_of, project
from inference.registry.registration import all_versions, ensure_registered_model, record
from inference.registry.settling import settle

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PATIENCE: Final = timedelta(seconds=60)  # for a promotion that is under way

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A version as the registry lists it."""

    version: str
    digest: str
    is_bootstrap: bool  # registered by this module


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do about the demo model."""

    must_register: bool
    must_point: bool  # make the demo model's version the champion
    reason: str


def decide(versions: Sequence[Known], champion: str | None, digest: str, *, is_chosen: bool = False) -> Decision:
    """What is to be done, without doing it.

    Args:
        versions: all versions of the registered model.
        champion: the version that is champion.
        digest: of the demo model.
        is_chosen: whether people made the champion what it is, by a promotion or a rollback.
    """
    must_register = all(known.digest != digest for known in versions)
    if champion is None:
        return Decision(must_register=must_register, must_point=True, reason="there was no champion")
    if not versions:
        return Decision(
            must_register=True, must_point=True, reason=f"MLflow has lost version {champion} and all others"
        )
    if any(known.version == champion and known.digest == digest for known in versions):
        return Decision(must_register=False, must_point=False, reason="the demo model is the champion")
    if not is_chosen and all(known.is_bootstrap for known in versions):
        return Decision(must_register=must_register, must_point=True, reason="only demo models were registered so far")
    return Decision(
        must_register=must_register,
        must_point=False,
        reason=f"version {champion} is the champion; promote another",
    )


def ensure_champion(settings: Settings, folder: Path) -> list[str]:
    """Registers the model in `folder` and makes it the champion where that is nobody's decision but ours.

    Returns:
        What was changed, in words; empty when everything was as it should be.

    Raises:
        Transient: MLflow or Postgres is away.
        Misconfigured: the folder holds no model, or MLflow refuses.
    """
    name = settings.mlflow.model_name
    model = of_folder(folder, name=name)
    client = connect(settings)
    with database.connect(settings, autocommit=True) as connection:
        if not ledger.lock(connection, patience=_PATIENCE):
            raise Transient("a promotion is under way and does not end: try again")
        changes = _adopt(settings, connection, client)
        changes += settle(connection, client, name)
        champion = ledger.champion_of(connection, name)
        with translated(f"looking for {name}"):
            ensure_registered_model(client, name)
            versions = _versions(client, name)
        decision = decide(
            versions,
            champion.version if champion else None,
            model.digest,
            is_chosen=champion is not None and champion.approved_by != BOOTSTRAP,
        )
        with translated(f"registering the demo model as {name}"):
            if decision.must_register:
                version = record(client, model, folder, source=tags.BOOTSTRAP)
                changes.append(f"registered version {version} of {name}")
            else:
                version = next(known.version for known in versions if known.digest == model.digest)
        if decision.must_point:
            _make_champion(connection, client, settings, version, champion, decision.reason)
            changes.append(f"gave {CHAMPION} to version {version} ({decision.reason})")
    if decision.must_register and not decision.must_point:
        changes.append(f"left {CHAMPION} alone ({decision.reason})")
    _log.info("champion_ensured", model_name=name, model_version=version, changes=changes, reason=decision.reason)
    return changes


def _adopt(settings: Settings, connection: database.Connection, client: MlflowClient) -> list[str]:
    """Writes the row of a champion that has the alias and no row: of before the ledger, or, where the alias alone
    decides what is served (profile core), of whoever moved it.
    """
    name = settings.mlflow.model_name
    version = aliases_of(client, name).get(CHAMPION)
    champion = ledger.champion_of(connection, name)
    is_alias_alone = settings.stack.profile == "core" and not settings.serving.follows_ledger
    if version is None or (champion and (champion.version == version or not is_alias_alone)):
        return []
    reason = "the alias was moved, and it alone decided" if champion else "it had the alias before there was a ledger"
    _write_row(connection, name, version, champion, reason)
    return [f"wrote version {version} into the ledger ({reason})"]


def _make_champion(
    connection: database.Connection,
    client: MlflowClient,
    settings: Settings,
    version: str,
    champion: Promotion | None,
    reason: str,
) -> None:
    """The row first: interrupted, the next start finds the aliases behind the ledger and mends them."""
    row = _write_row(connection, settings.mlflow.model_name, version, champion, reason)
    for _ in project(client, row):
        pass


def _write_row(
    connection: database.Connection, name: str, version: str, champion: Promotion | None, reason: str
) -> Promotion:
    previous = champion.version if champion and champion.version != version else None
    approval = Approval(by=BOOTSTRAP, reason=reason)
    return ledger.write_done(connection, name, version, previous_version=previous, approval=approval)


def _versions(client: MlflowClient, name: str) -> list[Known]:
    return [
        Known(
            version=str(one.version),
            digest=one.tags.get(tags.DIGEST, ""),
            is_bootstrap=one.tags.get(tags.SOURCE) == tags.BOOTSTRAP,
        )
        for one in all_versions(client, name)
    ]
