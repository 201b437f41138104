"""The demo model becomes the first champion, once.

no champion                                   register it if need be, give it the alias
champion is this very model                   nothing
champion is an older demo model, and only
demo models were ever registered              register, move the alias
anything else                                 register if need be, leave the alias: people decide by promotion
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contracts.logs import get_logger
from contracts.settings import Settings
from inference.registry.mlflow_client import connect, translated, version_of_alias
from inference.registry.model_version import of_folder
from inference.registry.registration import SOURCE_TAG, all_versions, ensure_registered_model, record
from inference.registry.resolve import DIGEST_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

BOOTSTRAP: Final = "bootstrap"

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
    must_point: bool  # give the alias to the demo model's version
    reason: str


def decide(versions: Sequence[Known], champion: str | None, digest: str) -> Decision:
    """What is to be done, without doing it.

    Args:
        versions: all versions of the registered model.
        champion: the version that has the alias.
        digest: of the demo model.
    """
    must_register = all(known.digest != digest for known in versions)
    if champion is None:
        return Decision(must_register=must_register, must_point=True, reason="there was no champion")
    current = next(known for known in versions if known.version == champion)
    if current.digest == digest:
        return Decision(must_register=False, must_point=False, reason="the demo model is the champion")
    if all(known.is_bootstrap for known in versions):
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
        Transient: MLflow is away.
        Misconfigured: the folder holds no model, or MLflow refuses.
    """
    name, alias = settings.mlflow.model_name, settings.mlflow.alias
    model = of_folder(folder, name=name)
    client = connect(settings)
    with translated(f"looking for {name}"):
        ensure_registered_model(client, name)
        versions = _versions(client, name)
    champion = version_of_alias(client, name, alias)
    decision = decide(versions, champion, model.digest)
    changes: list[str] = []
    with translated(f"registering the demo model as {name}"):
        if decision.must_register:
            version = record(client, model, folder, source=BOOTSTRAP)
            changes.append(f"registered version {version} of {name}")
        else:
            version = next(known.version for known in versions if known.digest == model.digest)
        if decision.must_point:
            client.set_registered_model_alias(name, alias, version)
            changes.append(f"gave {alias} to version {version} ({decision.reason})")
    if decision.must_register and not decision.must_point:
        changes.append(f"left {alias} alone ({decision.reason})")
    _log.info("champion_ensured", model_name=name, model_version=version, changes=changes, reason=decision.reason)
    return changes


def _versions(client: MlflowClient, name: str) -> list[Known]:
    return [
        Known(
            version=str(one.version),
            digest=one.tags.get(DIGEST_TAG, ""),
            is_bootstrap=one.tags.get(SOURCE_TAG) == BOOTSTRAP,
        )
        for one in all_versions(client, name)
    ]
