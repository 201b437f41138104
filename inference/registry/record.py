"""What MLflow has on record of a version, and the few things that promotions write there.

aliases_of, candidate   read, as duplicates_of: what `deliver` marked
remove                  a duplicate
project                 a row of the ledger ──► the aliases, one by one
point                   one alias ──► a version, or none
note                    who approved it, as tags: for readers of MLflow; the ledger is what counts
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from contracts.errors import Misconfigured, Transient
from contracts.logs import get_logger
from inference.domain.promotion import AliasChange, Candidate, alias_changes
from inference.persistence.ledger import Promotion
from inference.registry import tags
from inference.registry.mlflow_client import NotFound, translated

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow answers a question for anything else as if we were misconfigured.
VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")

_log = get_logger(__name__)


def versions_of(client: MlflowClient, name: str) -> Iterator[Any]:
    """Every version, page by page, in MLflow's own words; none where there is no such model. For `translated`."""
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def aliases_of(client: MlflowClient, name: str) -> dict[str, str]:
    """Every alias and its version; empty where there is no such model.

    Raises:
        Transient: MLflow is away.
    """
    try:
        with translated(f"asking for the aliases of {name}"):
            aliases: dict[str, Any] = client.get_registered_model(name).aliases
    except NotFound:
        return {}
    return {alias: str(version) for alias, version in aliases.items()}


def candidate(client: MlflowClient, name: str, version: str) -> Candidate:
    """The version as a promotion sees it.

    Raises:
        Transient: MLflow is away.
    """
    unknown = Candidate(version=version, is_registered=False, digest="")
    if not VERSION.fullmatch(version):
        return unknown
    try:
        with translated(f"asking for version {version} of {name}"):
            found: Any = client.get_model_version(name, version)
    except NotFound:
        return unknown
    return Candidate(version=version, is_registered=True, digest=found.tags.get(tags.DIGEST, ""))


def duplicates_of(client: MlflowClient, name: str, version: str) -> list[str]:
    """Later versions that are marked as duplicates of this one, are so by their digests, and have no alias.

    Raises:
        Transient: MLflow is away.
    """
    aliased = set(aliases_of(client, name).values())
    with translated(f"asking for the versions of {name}"):
        known = {str(one.version): one for one in versions_of(client, name)}
    if version not in known:  # deleted meanwhile
        return []
    return [
        number
        for number, one in known.items()
        if int(number) > int(version)
        and number not in aliased
        and one.tags.get(tags.DUPLICATE_OF) == version
        and _digests(one) == _digests(known[version])
    ]


def _digests(version: Any) -> tuple[str | None, ...]:
    return tuple(version.tags.get(tag) for tag in (tags.DIGEST, tags.SPEC_DIGEST))


def remove(client: MlflowClient, name: str, version: str) -> None:
    """Takes a version away; its run stays. Where that fails it is only a pity: it is one too many."""
    try:
        with translated(f"removing version {version} of {name}"):
            client.delete_model_version(name, version)
        _log.info("duplicate_removed", model_name=name, model_version=version)
    except (Transient, Misconfigured, NotFound) as error:
        _log.warning("duplicate_not_removed", model_name=name, model_version=version, reason=str(error))


def project(client: MlflowClient, row: Promotion) -> Iterator[tuple[AliasChange, bool]]:
    """Makes the aliases what they are when the row counts, one with each step of the iteration.

    Yields:
        The change, and whether it was made: it is not where its version was deleted in MLflow.

    Raises:
        Transient: MLflow is away.
    """
    aliases = aliases_of(client, row.model)
    for change in alias_changes(aliases, champion=row.version, previous=row.previous_version):
        yield change, point(client, row.model, change)


def point(client: MlflowClient, name: str, change: AliasChange) -> bool:
    """Writes one alias.

    Returns:
        False: the version it is to point at was deleted in MLflow, so nothing was written.

    Raises:
        Transient: MLflow is away; it may have been written all the same.
    """
    try:
        with translated(f"giving {change.alias} of {name} to version {change.version}"):
            if change.version is None:
                client.delete_registered_model_alias(name, change.alias)
            else:
                client.set_registered_model_alias(name, change.alias, change.version)
    except NotFound:
        return False
    return True


def note(client: MlflowClient, promotion: Promotion) -> None:
    """Tags the version with who approved it and when. Where that fails it is only a pity: the ledger has it."""
    notes = {
        tags.PROMOTED: str(promotion.id),
        tags.APPROVED_BY: promotion.approved_by_name or promotion.approved_by,
        tags.APPROVED_AT: promotion.requested_at.isoformat(),
    }
    try:
        with translated(f"tagging version {promotion.version} of {promotion.model}"):
            for key, value in notes.items():
                client.set_model_version_tag(promotion.model, promotion.version, key, value)
    except (Transient, Misconfigured, NotFound) as error:
        _log.warning("promotion_not_noted", promotion=promotion.id, model_version=promotion.version, reason=str(error))
