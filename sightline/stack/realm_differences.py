"""What of a realm is not as wanted: our file against what Keycloak says. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """What of `wanted` is not so in `found`. Lists are compared without their order, tables by what is wanted of them."""
    return {name: value for name, value in wanted.items() if not _is_so(value, found.get(name))}


def authorization_differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """The names of what is not as wanted: Keycloak's export against what it would be given to import."""
    differing = [name for name in ("policyEnforcementMode", "decisionStrategy") if wanted[name] != found.get(name)]
    for kind in ("scopes", "resources", "policies"):
        there = {entry["name"]: _unpacked(entry) for entry in found.get(kind, [])}
        differing += [
            entry["name"] for entry in wanted[kind] if differences(_unpacked(entry), there.get(entry["name"], {}))
        ]
    return differing


def _unpacked(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Lists without their order; in a configuration they are written as JSON. Scopes by their names alone."""
    config = {
        key: sorted(json.loads(value), key=str) if value.startswith("[") else value
        for key, value in entry.get("config", {}).items()
    }
    scopes = sorted(scope["name"] for scope in entry.get("scopes", []))
    return {**entry, **({"config": config} if config else {}), **({"scopes": scopes} if scopes else {})}


def _is_so(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and not differences(wanted, found)
    if isinstance(wanted, list):
        return sorted(map(str, wanted)) == sorted(map(str, found or []))
    return bool(wanted == found)
