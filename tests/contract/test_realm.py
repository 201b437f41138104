"""The realm's file agrees with the API's roles, with itself and with the services, and holds no secret."""

from __future__ import annotations

import json
import re
import uuid
from itertools import pairwise

import pytest

from contracts.settings import Settings
from inference.api.permissions import Role
from inference.api.routes.models import JOBS
from sightline.stack import airflow_permissions, full_services, realm
from sightline.stack.realm_differences import authorization_differences, differences

REALM = json.loads(realm.FILE.read_text())
CLIENTS = {client["clientId"]: client for client in REALM["clients"]}
ROLES = {role.value for role in Role} - {Role.PUBLIC, Role.TICKET}


def included(role: str) -> set[str]:
    """All that a role comes to, itself with it."""
    found = {role}
    for one in REALM["roles"].get(role, {"includes": []})["includes"]:
        found |= included(one)
    return found


def test_its_roles_are_those_that_routes_ask_for():
    assert set(REALM["roles"]) == ROLES


def test_what_a_role_includes():
    assert {role: included(role) & ROLES - {role} for role in REALM["roles"]} == {
        "viewer": set(),
        "operator": {"viewer"},
        "reviewer": {"viewer"},
        "scientist": {"viewer"},
        "approver": {"viewer"},
        "camera": set(),
        "admin": {"viewer", "operator", "reviewer", "scientist", "approver"},
    }


def test_aliases_are_moved_by_the_accounts_of_the_api_and_the_bootstrap_alone():
    assert not [role for role in REALM["roles"] if "sightline-mlflow/aliases" in included(role)]
    may = {
        account
        for account, roles in REALM["accountRoles"].items()
        if any("sightline-mlflow/aliases" in included(role) for role in roles)
    }
    assert may == {full_services.PROMOTER, full_services.BOOTSTRAP}


def test_every_role_and_client_that_is_named_is_made():
    roles = {*REALM["roles"], *(f"{client}/{role}" for client, made in REALM["clientRoles"].items() for role in made)}
    named = [role for said in REALM["roles"].values() for role in said["includes"]]
    named += [
        role
        for given in (*REALM["accountRoles"].values(), *(said["roles"] for said in REALM["people"].values()))
        for role in given
    ]
    assert set(named) <= roles
    assert set(REALM["accountRoles"]) == {name for name, client in CLIENTS.items() if client["serviceAccountsEnabled"]}
    assert set(REALM["clientRoles"]) <= set(CLIENTS)


def test_every_demo_user_bears_the_name_of_its_role():
    assert {name: said["roles"] for name, said in REALM["people"].items()} == {
        role: [role] for role in ROLES - {"camera"}
    }
    assert len({uuid.UUID(said["id"]) for said in REALM["people"].values()}) == len(REALM["people"])


def test_no_secret_stands_in_it():
    secrets = [client.get("secret") for client in REALM["clients"]]
    assert all(secret is None or re.fullmatch(r"\$\{SECRET_[A-Z_]+\}", secret) for secret in secrets)
    for name, client in CLIENTS.items():
        is_secret_needed = not client["publicClient"] and name != "sightline-api"
        assert ("secret" in client) == is_secret_needed
        if is_secret_needed:
            assert realm.secret_of(client["secret"][2:-1]) == name
    assert "password" not in json.dumps(REALM["people"])
    assert "credentials" not in json.dumps(REALM)


def test_passwords_go_to_the_demo_client_and_to_airflow_itself_and_browsers_prove_themselves():
    given = [name for name, client in CLIENTS.items() if client["directAccessGrantsEnabled"]]
    assert given == ["sightline-demo", "sightline-airflow"]
    assert not CLIENTS["sightline-airflow"]["publicClient"]  # none but Airflow's server can ask with one
    for name in ("sightline-cli", "sightline-docs", "sightline-mlflow"):
        assert CLIENTS[name]["attributes"]["pkce.code.challenge.method"] == "S256"
    assert not [uri for client in REALM["clients"] for uri in client.get("redirectUris", []) if uri == "*"]


def test_access_tokens_are_short_and_guessing_is_slow():
    assert REALM["realm"]["accessTokenLifespan"] <= 300
    assert REALM["realm"]["bruteForceProtected"]
    assert not REALM["realm"]["registrationAllowed"]


def test_the_settings_name_clients_of_the_realm():
    settings = Settings()
    assert {settings.auth.audience, settings.auth.browser_client, settings.login.client_id} <= set(CLIENTS)
    assert JOBS in REALM["accountRoles"]
    assert {full_services.MLFLOW_CLIENT, full_services.WORKER, full_services.PROMOTER} <= set(CLIENTS)


def test_filled_in_it_is_whole_and_an_unknown_placeholder_is_an_error():
    secrets = {name: f"secret-{number}" for number, name in enumerate(realm.accounts())}
    filled = realm.load(
        realm.filling(api_url="http://api", mlflow_url="http://mlflow", airflow_url="http://airflow", secrets=secrets)
    )
    assert "${" not in json.dumps(filled)
    found = {client["clientId"]: client.get("secret") for client in filled["clients"]}
    assert {name: found[name] for name in secrets} == secrets
    with pytest.raises(KeyError):
        realm.load({})


def test_differences_look_at_what_is_wanted_alone():
    found = {"a": 1, "uris": ["x", "y"], "attributes": {"k": "v", "more": "m"}, "other": True}
    assert differences({"a": 1, "uris": ["y", "x"], "attributes": {"k": "v"}}, found) == {}
    assert differences({"a": 2, "uris": ["x"], "attributes": {"k": "w"}, "new": 0}, found) == {
        "a": 2, "uris": ["x"], "attributes": {"k": "w"}, "new": 0,
    }  # fmt: skip


def test_clients_are_listed_once():
    names = sorted(client["clientId"] for client in REALM["clients"])
    assert not [one for one, other in pairwise(names) if one == other]


PERMISSIONS = airflow_permissions.authorization()


def granted(role: str) -> set[tuple[str, str]]:
    """What a role may on its own, whatever of a DAG it is about: resource and scope."""
    found = set()
    for policy in PERMISSIONS["policies"]:
        given = {name: json.loads(value) for name, value in policy["config"].items() if value.startswith("[")}
        if policy["type"] == "scope" and f"is {role}" in given["applyPolicies"]:
            found |= {(resource, scope) for resource in given["resources"] for scope in given["scopes"]}
    return found


def test_airflows_permissions_name_roles_resources_scopes_and_policies_that_exist():
    policies = {policy["name"]: policy for policy in PERMISSIONS["policies"]}
    assert len(policies) == len(PERMISSIONS["policies"])
    scopes_of = {one["name"]: {scope["name"] for scope in one["scopes"]} for one in PERMISSIONS["resources"]}
    for policy in policies.values():
        given = {name: json.loads(value) for name, value in policy["config"].items() if value.startswith("[")}
        assert set(given.get("applyPolicies", [])) <= set(policies)
        assert {said["id"] for said in given.get("roles", [])} <= ROLES
        if policy["type"] == "scope":
            assert set.union(*(scopes_of[name] for name in given["resources"])) >= set(given["scopes"])


def test_in_airflow_a_viewer_looks_and_none_but_an_admin_sees_connections():
    assert {scope for _, scope in granted("viewer")} == {"GET", "LIST", "MENU"}
    assert {one for one, _ in granted("operator") | granted("approver")} == {"Dag"}
    closed = {"Connection", "Variable", "Configuration", "Connections", "Variables", "Config"}
    assert not closed & {one for one, _ in granted("viewer") | granted("operator") | granted("approver")}
    assert closed <= {one for one, _ in granted("admin")}


def test_a_permission_is_compared_without_the_order_of_its_lists():
    turned = json.loads(json.dumps(PERMISSIONS))
    for policy in turned["policies"]:
        policy["id"] = "of Keycloak's own"
        for name, value in policy["config"].items():
            if value.startswith("["):
                policy["config"][name] = json.dumps(json.loads(value)[::-1])
    assert authorization_differences(PERMISSIONS, turned) == []
    turned["policies"][-1]["logic"] = "NEGATIVE"
    turned["decisionStrategy"] = "UNANIMOUS"
    assert authorization_differences(PERMISSIONS, turned) == ["decisionStrategy", PERMISSIONS["policies"][-1]["name"]]


def test_tokens_that_mlflows_process_keeps_are_not_for_the_api():
    [pages] = [client for client in REALM["clients"] if client["clientId"] == "sightline-mlflow"]
    assert "sightline-mlflow" in pages["defaultClientScopes"]
    assert "sightline-api" not in pages["defaultClientScopes"]
