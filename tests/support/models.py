"""Versions in MLflow and verdicts of the gate, for tests of promotions: a_version, a_pass.

installed(settings, "1", "2")   two versions, the first is champion by ledger and alias
under_a_gate(settings)          the committed gate file is in force, whatever the model is called
"""

from __future__ import annotations

import hashlib
from typing import Any

from contracts.settings import PromotionSettings, Settings
from inference.persistence import connect, gate_verdicts, ledger
from inference.persistence.gate_verdicts import Verdict
from inference.persistence.ledger import Approval
from inference.registry import mlflow_client, promotion
from inference.registry import tags as names
from inference.registry.gate_files import GATES, gate_file


def under_a_gate(settings: Settings, **changes: Any) -> Settings:
    rules = PromotionSettings(**{"gate_file": GATES / "pcb-defects.toml"} | changes)
    return settings.model_copy(update={"promotion": rules})


def digest_of(version: str) -> str:
    return hashlib.sha256(version.encode()).hexdigest()


def a_version(settings: Settings, version: str, **tags: str) -> str:
    """Registers the next version, which must be the named one."""
    client = mlflow_client.connect(settings)
    name = settings.mlflow.model_name
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    made = client.create_model_version(
        name, source="s3://models/one", tags={names.DIGEST: digest_of(version), names.LICENCE: "Apache-2.0"} | tags
    )
    assert str(made.version) == version
    return version


def a_verdict(settings: Settings, version: str, **changes: Any) -> Verdict:
    values = {
        "model": settings.mlflow.model_name,
        "version": version,
        "model_digest": digest_of(version),
        "champion_version": "1",
        "verdict": "pass",
        "reasons": (),
        "figures": {"ap50": 0.91, "gate_set": "reviewed"},
        "dataset_digest": "d" * 64,
        "gate_digest": gate_file(settings).digest,
    }
    return Verdict(**values | changes)


def judged(settings: Settings, version: str, **changes: Any) -> None:
    with connect(settings) as connection:
        gate_verdicts.save(connection, a_verdict(settings, version, **changes))


def installed(settings: Settings, *versions: str) -> Settings:
    """The versions; the first is champion, as the bootstrap would have it; the others have passed the gate."""
    for version in versions:
        a_version(settings, version)
    name = settings.mlflow.model_name
    with connect(settings) as connection:
        ledger.write_done(
            connection, name, versions[0], previous_version=None, approval=Approval(by="bootstrap", reason="first")
        )
    promotion.reconcile(settings)
    for version in versions[1:]:
        judged(settings, version)
    return settings


def aliases(settings: Settings) -> dict[str, str]:
    found = mlflow_client.connect(settings).get_registered_model(settings.mlflow.model_name).aliases
    return {alias: str(version) for alias, version in found.items()}


def champion(settings: Settings) -> str | None:
    with connect(settings) as connection:
        row = ledger.champion_of(connection, settings.mlflow.model_name)
    return row.version if row else None
