"""Who may do what in Airflow: Keycloak's authorization services for the client sightline-airflow. Pure.

    viewer     sees DAGs, runs, tasks, logs, assets, pools
    operator   starts and clears runs and tasks; pauses and unpauses
    approver   answers what waits for a person
    admin      everything, connections and variables too

Airflow's auth manager asks Keycloak "may this token Dag#PUT?" and pushes along what of the DAG it is about (dag_entity:
RUN, TASK_INSTANCE, HITL_DETAIL … or nothing: the DAG itself). The names of scopes and resources are the provider's:
airflow/providers/keycloak/auth_manager. The result is the document that Keycloak imports and exports.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

CLIENT: Final = "sightline-airflow"  # in the realm: its pages, and scripts by /auth/token

_SCOPES: Final = ("GET", "POST", "PUT", "DELETE", "LIST")
_MENU: Final = "MENU"

_RESOURCES: Final = (
    "AdminView", "Asset", "AssetAlias", "Backfill", "Configuration", "Connection", "Custom", "Dag", "Menu", "Pool", "Team",
    "Variable", "View",
)  # fmt: skip
_SEEN_BY_ALL: Final = ("Asset", "AssetAlias", "Backfill", "Dag", "Pool", "View")

_MENUS_OF_ALL: Final = ("Required Actions", "Assets", "Dags", "Deadlines", "Docs", "Pools", "XComs")
_MENUS_OF_ADMINS: Final = (
    "Audit Log", "Config", "Connections", "Jobs", "Plugins", "Providers", "Variables",
)  # fmt: skip

_RUNS: Final = "about a run or a task"
_DAG_ITSELF: Final = "about the DAG itself"
_ANSWER: Final = "about an answer"


def authorization() -> dict[str, Any]:
    """A ResourceServerRepresentation. One permission is enough: each grants something, none forbids."""
    roles = ("viewer", "operator", "approver", "admin")
    return {
        "policyEnforcementMode": "ENFORCING",
        "decisionStrategy": "AFFIRMATIVE",
        "scopes": [{"name": name} for name in (*_SCOPES, _MENU)],
        "resources": [
            *(_resource(name, _SCOPES) for name in _RESOURCES),
            *(_resource(name, (_MENU,)) for name in (*_MENUS_OF_ALL, *_MENUS_OF_ADMINS)),
        ],
        "policies": [
            *(_is(role) for role in roles),
            _about(_RUNS, "^(RUN|TASK_INSTANCE)$"),
            _about(_DAG_ITSELF, "^.+$", logic="NEGATIVE"),
            _about(_ANSWER, "^HITL_DETAIL$"),
            _permission("viewers look", _SEEN_BY_ALL, ("GET", "LIST"), ("is viewer",)),
            _permission("viewers have their menus", _MENUS_OF_ALL, (_MENU,), ("is viewer",)),
            _permission("operators start and clear", ("Dag",), ("POST", "PUT"), ("is operator", _RUNS)),
            _permission("operators pause", ("Dag",), ("PUT",), ("is operator", _DAG_ITSELF)),
            _permission("approvers answer", ("Dag",), ("PUT",), ("is approver", _ANSWER)),
            _permission("admins do everything", _RESOURCES, _SCOPES, ("is admin",)),
            _permission("admins have every menu", (*_MENUS_OF_ALL, *_MENUS_OF_ADMINS), (_MENU,), ("is admin",)),
        ],
    }


def _resource(name: str, scopes: Iterable[str]) -> dict[str, Any]:
    return {"name": name, "ownerManagedAccess": False, "scopes": [{"name": scope} for scope in scopes]}


def _is(role: str) -> dict[str, Any]:
    config = {"roles": json.dumps([{"id": role, "required": False}])}
    return {"name": f"is {role}", "type": "role", "logic": "POSITIVE", "config": config}


def _about(name: str, pattern: str, *, logic: str = "POSITIVE") -> dict[str, Any]:
    config = {"targetClaim": "dag_entity", "targetContextAttributes": "true", "pattern": pattern}
    return {"name": name, "type": "regex", "logic": logic, "config": config}


def _permission(name: str, resources: Iterable[str], scopes: Iterable[str], policies: Iterable[str]) -> dict[str, Any]:
    """All of the policies must hold."""
    given = {"resources": resources, "scopes": scopes, "applyPolicies": policies}
    config = {key: json.dumps(list(value)) for key, value in given.items()}
    return {"name": name, "type": "scope", "logic": "POSITIVE", "decisionStrategy": "UNANIMOUS", "config": config}
