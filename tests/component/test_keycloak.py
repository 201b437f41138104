"""Our realm in a real Keycloak: made once, changed where the file changes, and tokens that the API believes."""

from __future__ import annotations

import json
import time

import httpx
import jwt
import pytest

from inference.api.permissions import Role
from inference.api.problems import Problem
from inference.api.tokens import Verifier
from sightline.stack import airflow_permissions, realm
from sightline.stack.keycloak_admin import KeycloakAdmin
from tests.support.keycloak import REALM, KeycloakServer

PEOPLE_ROLES = {
    "viewer": {"viewer"},
    "operator": {"viewer", "operator"},
    "reviewer": {"viewer", "reviewer"},
    "scientist": {"viewer", "scientist"},
    "approver": {"viewer", "approver"},
    "admin": {"viewer", "operator", "reviewer", "scientist", "approver", "admin"},
}
OURS = {role.value for role in Role} - {"public", "ticket"}


def claims(token: str) -> dict:
    return jwt.decode(token, options={"verify_signature": False})


def refused(server: KeycloakServer, token: str, verifier: Verifier | None = None) -> str:
    with pytest.raises(Problem) as caught:
        (verifier or Verifier(server.auth)).verify(token)
    assert token not in str(caught.value)
    return caught.value.code


def test_a_realm_that_is_as_it_should_be_is_left_alone(keycloak: KeycloakServer):
    assert keycloak.ensure_realm() == []


@pytest.mark.parametrize("person", PEOPLE_ROLES)
def test_every_demo_user_has_the_roles_of_its_name_and_its_token_passes(keycloak: KeycloakServer, person: str):
    token = keycloak.token(person)
    identity = Verifier(keycloak.auth).verify(token)
    assert (identity.name, identity.client) == (person, "sightline-demo")
    assert identity.roles & OURS == PEOPLE_ROLES[person]
    said = claims(token)
    assert said["exp"] - said["iat"] <= 300


@pytest.mark.parametrize(
    ("account", "roles", "mlflow"),
    [
        ("sightline-jobs", {"viewer", "operator", "scientist", "approver"}, {"read", "write"}),
        ("sightline-camera-demo", {"camera"}, set()),
        ("sightline-worker", set(), {"read"}),
        ("sightline-promoter", set(), {"read", "write", "aliases"}),
        ("sightline-bootstrap", {"viewer", "reviewer"}, {"read", "write", "aliases"}),
    ],
)
def test_every_account_has_its_roles_and_no_more(
    keycloak: KeycloakServer, account: str, roles: set[str], mlflow: set[str]
):
    token = keycloak.account_token(account)
    assert Verifier(keycloak.auth).verify(token).roles & OURS == roles
    said = claims(token)
    assert set(said.get("resource_access", {}).get("sightline-mlflow", {}).get("roles", [])) == mlflow
    assert ("sightline-mlflow" in said["aud"]) == bool(mlflow)


def test_no_person_may_move_an_alias(keycloak: KeycloakServer):
    for person in PEOPLE_ROLES:
        said = claims(keycloak.token(person))
        assert "aliases" not in said["resource_access"]["sightline-mlflow"]["roles"]


def test_tokens_of_elsewhere_are_refused_with_their_reason(keycloak: KeycloakServer):
    whole = keycloak.tokens("viewer")
    assert refused(keycloak, whole["id_token"]) == "wrong_audience"
    keycloak.new_realm("other")
    assert refused(keycloak, keycloak.token("viewer", realm="other")) == "unknown_key"
    keycloak.new_client("foreign-app")
    assert refused(keycloak, keycloak.token("viewer", client="foreign-app")) == "foreign_client"
    keycloak.new_client("foreign-deaf", has_audience=False)
    assert refused(keycloak, keycloak.token("viewer", client="foreign-deaf")) == "wrong_audience"


def test_a_rotated_key_is_fetched_and_a_removed_one_no_longer_counts(keycloak: KeycloakServer):
    verifier = Verifier(keycloak.auth_of(REALM, keys_seconds=1, cooldown_seconds=1))
    old = keycloak.token("viewer")
    verifier.verify(old)
    first = keycloak.rotate_key()
    second = keycloak.rotate_key()
    time.sleep(1.1)
    new = keycloak.token("viewer")
    assert jwt.get_unverified_header(new)["kid"] == second
    verifier.verify(new)
    keycloak.remove_key(second)
    time.sleep(1.1)
    assert refused(keycloak, new, verifier) == "unknown_key"
    assert jwt.get_unverified_header(keycloak.token("viewer"))["kid"] == first
    verifier.verify(old)
    keycloak.remove_key(first)


def test_what_an_administrator_changed_of_people_stays_and_what_the_file_says_returns(keycloak: KeycloakServer):
    with keycloak.admin() as admin:
        found = admin.get(f"/admin/realms/{REALM}")
        admin.put(f"/admin/realms/{REALM}", {**found, "accessTokenLifespan": 3600})
        client = admin.get(f"/admin/realms/{REALM}/clients", clientId="sightline-docs")[0]
        admin.put(f"/admin/realms/{REALM}/clients/{client['id']}", {**client, "redirectUris": ["http://elsewhere/*"]})
        pages = admin.get(f"/admin/realms/{REALM}/clients", clientId="sightline-mlflow")[0]
        scope = {scope["name"]: scope["id"] for scope in admin.get(f"/admin/realms/{REALM}/client-scopes")}
        admin.delete(f"/admin/realms/{REALM}/clients/{pages['id']}/default-client-scopes/{scope['sightline-mlflow']}")
        reviewer = admin.get(f"/admin/realms/{REALM}/users", username="reviewer", exact="true")[0]
        operator = admin.get(f"/admin/realms/{REALM}/roles/operator")
        admin.post(f"/admin/realms/{REALM}/users/{reviewer['id']}/role-mappings/realm", [operator])
        admin.post(f"/admin/realms/{REALM}/roles/camera/composites", [operator])
    changes = keycloak.ensure_realm()
    assert sorted(changes) == [
        "client sightline-docs: redirectUris",
        "client sightline-mlflow: sightline-mlflow in its tokens",
        "realm: accessTokenLifespan",
        "role camera no longer includes operator",
    ]
    assert keycloak.ensure_realm() == []
    assert "operator" in Verifier(keycloak.auth).verify(keycloak.token("reviewer")).roles
    with keycloak.admin() as admin:
        admin.delete(f"/admin/realms/{REALM}/users/{reviewer['id']}/role-mappings/realm", [operator])


def test_what_grants_more_than_the_file_says_goes(keycloak: KeycloakServer):
    with keycloak.admin() as admin:
        base = f"/admin/realms/{REALM}"
        pages = admin.get(f"{base}/clients", clientId="sightline-mlflow")[0]
        scope = {scope["name"]: scope["id"] for scope in admin.get(f"{base}/client-scopes")}
        admin.put(f"{base}/clients/{pages['id']}/default-client-scopes/{scope['sightline-api']}", {})
        worker = admin.get(f"{base}/clients", clientId="sightline-worker")[0]
        account = admin.get(f"{base}/clients/{worker['id']}/service-account-user")["id"]
        admin.post(f"{base}/users/{account}/role-mappings/realm", [admin.get(f"{base}/roles/admin")])
        aliases = admin.get(f"{base}/clients/{pages['id']}/roles/aliases")
        admin.post(f"{base}/users/{account}/role-mappings/clients/{pages['id']}", [aliases])
    assert keycloak.ensure_realm() == [
        "client sightline-mlflow: sightline-api no longer in its tokens",
        "took admin from sightline-worker",
        "took sightline-mlflow/aliases from sightline-worker",
    ]
    assert keycloak.ensure_realm() == []
    assert set(claims(keycloak.account_token("sightline-worker"))["resource_access"]["sightline-mlflow"]["roles"]) == {
        "read"
    }


def test_what_mlflows_pages_keep_of_a_person_is_not_good_at_the_api(keycloak: KeycloakServer):
    with keycloak.admin() as admin:
        pages = admin.get(f"/admin/realms/{REALM}/clients", clientId="sightline-mlflow")[0]
        for scopes in (pages["defaultClientScopes"], pages["optionalClientScopes"]):
            assert "sightline-api" not in scopes
    assert "sightline-mlflow" in pages["defaultClientScopes"]


@pytest.mark.parametrize("step", ["post", "put"])
def test_a_person_who_was_half_made_is_finished_by_the_next_start(
    keycloak: KeycloakServer, monkeypatch: pytest.MonkeyPatch, step: str
):
    name = f"half-{step}"
    wanted = keycloak.wanted()
    wanted["people"][name] = {"roles": ["reviewer", "viewer"]}
    passwords = {**keycloak.passwords, name: f"a-password-of-{name}"}
    real = getattr(KeycloakAdmin, step)

    def killed(admin: KeycloakAdmin, path: str, body: object) -> None:
        if "/role-mappings/" in path or (step == "put" and "/users/" in path):
            raise KeyboardInterrupt
        real(admin, path, body)

    with keycloak.admin() as admin:
        with monkeypatch.context() as death:
            death.setattr(KeycloakAdmin, step, killed)
            with pytest.raises(KeyboardInterrupt):
                realm.ensure(admin, wanted, passwords)
        [half] = admin.get(f"/admin/realms/{REALM}/users", username=name, exact="true")
        assert not half["enabled"]
        assert realm.ensure(admin, wanted, passwords) == [f"made the person {name}"]
        assert realm.ensure(admin, wanted, passwords) == []
        monkeypatch.setitem(keycloak.passwords, name, passwords[name])
        assert Verifier(keycloak.auth).verify(keycloak.token(name)).roles & OURS == {"viewer", "reviewer"}
        # Whom an administrator locks out stays out.
        [person] = admin.get(f"/admin/realms/{REALM}/users", username=name, exact="true")
        admin.put(f"/admin/realms/{REALM}/users/{person['id']}", {**person, "enabled": False})
        assert realm.ensure(admin, wanted, passwords) == []
        assert not admin.get(f"/admin/realms/{REALM}/users/{person['id']}")["enabled"]


def test_the_realm_lets_nobody_register_and_slows_down_who_guesses(keycloak: KeycloakServer):
    with keycloak.admin() as admin:
        found = admin.get(f"/admin/realms/{REALM}")
        clients = admin.get(f"/admin/realms/{REALM}/clients")
    assert not found["registrationAllowed"]
    assert found["bruteForceProtected"]
    direct = {client["clientId"] for client in clients if client.get("directAccessGrantsEnabled")}
    assert direct & {"sightline-demo", *realm.accounts(), "sightline-cli", "sightline-docs", "admin-cli"} == {
        "sightline-demo",
        "sightline-airflow",
    }


def test_the_demo_users_have_the_ids_of_the_file_and_what_everybody_has(keycloak: KeycloakServer):
    file = json.loads(realm.FILE.read_text())["people"]
    with keycloak.admin() as admin:
        for name, said in file.items():
            found = admin.get(f"/admin/realms/{REALM}/users/{said['id']}")
            roles = admin.get(f"/admin/realms/{REALM}/users/{said['id']}/role-mappings")["realmMappings"]
            assert found["username"] == name
            assert {role["name"] for role in roles} == {name, f"default-roles-{REALM}"}


def test_a_permission_that_was_bent_is_put_back_and_one_that_was_added_goes(keycloak: KeycloakServer):
    bent = airflow_permissions.authorization()
    look = next(policy for policy in bent["policies"] if policy["name"] == "viewers look")
    look["config"]["scopes"] = json.dumps(["GET", "LIST", "POST"])
    bent["policies"].append({**look, "name": "everybody starts"})
    with keycloak.admin() as admin:
        client = admin.get(f"/admin/realms/{REALM}/clients", clientId="sightline-airflow")[0]["id"]
        admin.post(f"/admin/realms/{REALM}/clients/{client}/authz/resource-server/import", bent)
    assert keycloak.ensure_realm() == [
        "permissions of sightline-airflow: viewers look",
        "permissions of sightline-airflow: no longer everybody starts",
    ]
    assert keycloak.ensure_realm() == []


def test_a_realm_from_before_airflow_gets_its_permissions_and_keeps_its_people(keycloak: KeycloakServer):
    name = "before-airflow"
    before = keycloak.wanted(name)
    before["authorization"] = {}
    [client] = [client for client in before["clients"] if client["clientId"] == "sightline-airflow"]
    client |= {"authorizationServicesEnabled": False, "directAccessGrantsEnabled": False, "redirectUris": []}
    with keycloak.admin() as admin:
        realm.ensure(admin, before, keycloak.passwords)
        [person] = admin.get(f"/admin/realms/{name}/users", username="approver", exact="true")
        changes = keycloak.ensure_realm(name)
        assert [change.partition(":")[0] for change in changes] == [
            "client sightline-airflow",
            "permissions of sightline-airflow",
        ]
        assert admin.get(f"/admin/realms/{name}/users", username="approver", exact="true") == [person]
    assert keycloak.ensure_realm(name) == []


def test_keycloaks_own_client_takes_no_password(keycloak: KeycloakServer):
    form = {"grant_type": "password", "client_id": "admin-cli", "username": "viewer"}
    form["password"] = keycloak.passwords["viewer"]
    answer = httpx.post(f"{keycloak.auth.issuer}/protocol/openid-connect/token", data=form, trust_env=False)
    assert answer.json()["error"] == "unauthorized_client"


def test_a_wrong_password_gets_no_token(keycloak: KeycloakServer):
    form = {"grant_type": "password", "client_id": "sightline-demo", "username": "viewer", "password": "guessed"}
    answer = httpx.post(f"{keycloak.auth.issuer}/protocol/openid-connect/token", data=form, trust_env=False)
    assert answer.json()["error"] == "invalid_grant"
    assert "access_token" not in answer.json()
