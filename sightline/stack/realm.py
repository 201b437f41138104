"""The realm as config/realm.json says, in a running Keycloak: made where it is missing, changed where it differs.

    realm ─► client scopes ─► clients, their roles ─► realm roles, what each includes ─► accounts' roles
          ─► Airflow's permissions ─► people

Not by --import-realm: Keycloak skips a realm that exists, and a later change of the file, a port or a secret would not
arrive. Realm, clients and people stay; what grants more than the file says goes: its scopes, an account's roles.
Of people only the missing ones are made, and finished where that was interrupted: their passwords and roles are theirs
and the administrator's from then on; with the realm they are made under the ids of the file, by which jobs name approvers.
Placeholders ${…} of the file are filled with URLs and secrets; none stands in it.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from contracts.errors import Misconfigured
from sightline.stack import airflow_permissions
from sightline.stack.keycloak_admin import KeycloakAdmin
from sightline.stack.realm_differences import authorization_differences, differences

FILE: Final = Path(__file__).parent / "config" / "realm.json"

_PERSON_DOMAIN: Final = "sightline.invalid"
_OF_AUTHORIZATION: Final = "uma_protection"  # Keycloak's own role of an account with authorization services


def load(values: Mapping[str, str]) -> dict[str, Any]:
    """The file, filled in.

    Raises:
        KeyError: a placeholder has no value.
    """
    realm: dict[str, Any] = json.loads(string.Template(FILE.read_text()).substitute(values))
    return realm | {"authorization": {airflow_permissions.CLIENT: airflow_permissions.authorization()}}


def placeholders() -> list[str]:
    """What the file wants to know."""
    return string.Template(FILE.read_text()).get_identifiers()


def secret_of(placeholder: str) -> str:
    """The account whose secret fills it: SECRET_CAMERA_DEMO ─► sightline-camera-demo."""
    return "sightline-" + placeholder.removeprefix("SECRET_").lower().replace("_", "-")


def accounts() -> tuple[str, ...]:
    """The clients that have a secret."""
    return tuple(secret_of(name) for name in placeholders() if name.startswith("SECRET_"))


def people() -> tuple[str, ...]:
    """The demo users."""
    return tuple(json.loads(FILE.read_text())["people"])


def people_with(role: str) -> list[tuple[str, str]]:
    """Id and name of the demo users who have a role, as a realm that we made knows them."""
    made = json.loads(FILE.read_text())
    has = {name for name, said in made["roles"].items() if role in said["includes"]} | {role}
    return [(said["id"], name) for name, said in made["people"].items() if has & set(said["roles"])]


def filling(*, api_url: str, mlflow_url: str, airflow_url: str, secrets: Mapping[str, str]) -> dict[str, str]:
    """The values for the placeholders."""
    known = {"API_URL": api_url, "MLFLOW_URL": mlflow_url, "AIRFLOW_URL": airflow_url}
    return {name: known[name] if name in known else secrets[secret_of(name)] for name in placeholders()}


def ensure(admin: KeycloakAdmin, wanted: Mapping[str, Any], passwords: Mapping[str, str]) -> list[str]:
    """Makes the realm as wanted; harmless when repeated.

    Args:
        admin: of a running Keycloak.
        wanted: the file, filled in.
        passwords: of the people, by name.

    Returns:
        What was changed, in words; empty when everything was as it should be.

    Raises:
        Transient: Keycloak is away.
        Misconfigured: it refuses us, or the file.
    """
    realm = _Realm(admin, wanted["realm"]["realm"])
    realm.ensure_realm(wanted, passwords)
    for scope in wanted["clientScopes"]:
        realm.ensure_scope(scope)
    for client in wanted["clients"]:
        realm.ensure_client(client, wanted["defaultScopes"])
    for client, roles in wanted["clientRoles"].items():
        realm.ensure_client_roles(client, roles)
    for role, said in wanted["roles"].items():
        realm.ensure_role(role, said["description"])
    for role, said in wanted["roles"].items():
        realm.ensure_includes(role, said["includes"])
    for client, roles in wanted["accountRoles"].items():
        realm.ensure_account(client, roles)
    for client, permissions in wanted["authorization"].items():
        realm.ensure_authorization(client, permissions)
    for person, said in wanted["people"].items():
        realm.ensure_person(person, said["roles"], passwords[person])
    return realm.changes


def _person(name: str, password: str) -> dict[str, Any]:
    return {
        "username": name,
        "enabled": True,
        "emailVerified": True,
        # Keycloak has a person without these fill in a form before anything else.
        "email": f"{name}@{_PERSON_DOMAIN}",
        "firstName": name.capitalize(),
        "lastName": "Demo",
        "credentials": [{"type": "password", "value": password, "temporary": False}],
    }


class _Realm:
    """One realm of a Keycloak."""

    def __init__(self, admin: KeycloakAdmin, name: str) -> None:
        self._admin = admin
        self._base = f"/admin/realms/{name}"
        self._name = name
        self._default_role = f"default-roles-{name}"
        self._scopes: set[str] = set()  # of the file; those of an installation's own are its own
        self._clients: dict[str, str] = {}  # client id ─► Keycloak's own id
        self.changes: list[str] = []

    def ensure_realm(self, file: Mapping[str, Any], passwords: Mapping[str, str]) -> None:
        wanted, found = file["realm"], self._admin.get(self._base, missing=None)
        if found is None:
            # In one piece with its people: nowhere else does Keycloak take a person's id.
            roles = [{"name": name, "description": said["description"]} for name, said in file["roles"].items()]
            users = [
                {**_person(name, passwords[name]), "id": said["id"], "realmRoles": [*said["roles"], self._default_role]}
                for name, said in file["people"].items()
            ]
            self._admin.post("/admin/realms", {**wanted, "roles": {"realm": roles}, "users": users})
            self.changes.append(f"made the realm {self._name}")
        elif differing := differences(wanted, found):
            self._admin.put(self._base, {**found, **wanted})  # what is left out of it, Keycloak sets back
            self.changes.append(f"realm: {', '.join(differing)}")

    def ensure_scope(self, wanted: Mapping[str, Any]) -> None:
        self._scopes.add(wanted["name"])
        found = {scope["name"]: scope for scope in self._admin.get(f"{self._base}/client-scopes")}.get(wanted["name"])
        if found is None:
            self._admin.post(f"{self._base}/client-scopes", wanted)
            self.changes.append(f"made the client scope {wanted['name']}")
            return
        mappers = {mapper["name"]: mapper for mapper in found.get("protocolMappers", [])}
        path = f"{self._base}/client-scopes/{found['id']}/protocol-mappers/models"
        for mapper in wanted["protocolMappers"]:
            there = mappers.get(mapper["name"])
            if there is None:
                self._admin.post(path, mapper)
            elif differences(mapper, there):
                self._admin.put(f"{path}/{there['id']}", {**there, **mapper})
            else:
                continue
            self.changes.append(f"client scope {wanted['name']}: {mapper['name']}")

    def ensure_client(self, wanted: Mapping[str, Any], scopes: list[str]) -> None:
        name = wanted["clientId"]
        found = self._admin.get(f"{self._base}/clients", clientId=name)
        if not found:
            self._admin.post(f"{self._base}/clients", {"defaultClientScopes": scopes, **wanted})
            self.changes.append(f"made the client {name}")
            return
        self._give_scopes(found[0], wanted.get("defaultClientScopes", scopes))
        wanted = {key: value for key, value in wanted.items() if key != "defaultClientScopes"}
        if differing := differences(wanted, found[0]):
            merged = {**found[0], **wanted, "attributes": {**found[0]["attributes"], **wanted.get("attributes", {})}}
            self._admin.put(f"{self._base}/clients/{found[0]['id']}", merged)
            self.changes.append(f"client {name}: {', '.join(differing)}")

    def _give_scopes(self, client: Mapping[str, Any], wanted: list[str]) -> None:
        """A client that exists has its scopes changed one by one: in its own representation Keycloak ignores them."""
        given = client["defaultClientScopes"]
        missing = [scope for scope in wanted if scope not in given]
        surplus = [scope for scope in given if scope in self._scopes and scope not in wanted]
        if not missing and not surplus:
            return
        known = {scope["name"]: scope["id"] for scope in self._admin.get(f"{self._base}/client-scopes")}
        path = f"{self._base}/clients/{client['id']}/default-client-scopes"
        for scope in missing:
            self._admin.put(f"{path}/{known[scope]}", {})
            self.changes.append(f"client {client['clientId']}: {scope} in its tokens")
        for scope in surplus:
            self._admin.delete(f"{path}/{known[scope]}")
            self.changes.append(f"client {client['clientId']}: {scope} no longer in its tokens")

    def ensure_client_roles(self, client: str, wanted: Mapping[str, str]) -> None:
        path = f"{self._base}/clients/{self._client(client)}/roles"
        known = {role["name"] for role in self._admin.get(path)}
        for name in [name for name in wanted if name not in known]:
            self._admin.post(path, {"name": name, "description": wanted[name]})
            self.changes.append(f"made the role {client}/{name}")

    def ensure_role(self, name: str, description: str) -> None:
        found = self._admin.get(f"{self._base}/roles/{name}", missing=None)
        if found is None:
            self._admin.post(f"{self._base}/roles", {"name": name, "description": description})
            self.changes.append(f"made the role {name}")

    def ensure_includes(self, name: str, wanted: list[str]) -> None:
        """Exactly these: a role that a new version takes away from another must go."""
        path = f"{self._base}/roles/{name}/composites"
        clients = {own: client for client, own in self._clients.items()}
        found = {
            f"{clients.get(role['containerId'], role['containerId'])}/{role['name']}"
            if role.get("clientRole")
            else role["name"]: role
            for role in self._admin.get(path)
        }
        if missing := [role for role in wanted if role not in found]:
            self._admin.post(path, [self._role(role) for role in missing])
            self.changes.append(f"role {name} includes {', '.join(missing)}")
        if surplus := [role for role in found if role not in wanted]:
            self._admin.delete(path, [found[role] for role in surplus])
            self.changes.append(f"role {name} no longer includes {', '.join(surplus)}")

    def ensure_account(self, client: str, wanted: list[str]) -> None:
        user = self._admin.get(f"{self._base}/clients/{self._client(client)}/service-account-user")["id"]
        if given := self._give(user, wanted):
            self.changes.append(f"gave {client} {', '.join(given)}")
        kept = {*wanted, self._default_role, f"{client}/{_OF_AUTHORIZATION}"}
        for role in [role for role in self._roles_of(user) if role not in kept]:
            self._admin.delete(self._mapping(user, role), [self._role(role)])
            self.changes.append(f"took {role} from {client}")

    def ensure_authorization(self, client: str, wanted: Mapping[str, Any]) -> None:
        """Scopes, resources, policies and permissions of a client; a policy that is not wanted goes, for it may grant."""
        path = f"{self._base}/clients/{self._client(client)}/authz/resource-server"
        found = self._admin.get(f"{path}/settings")
        if differing := authorization_differences(wanted, found):
            self._admin.post(f"{path}/import", wanted)
            self.changes.append(f"permissions of {client}: {', '.join(differing)}")
        known = {policy["name"] for policy in wanted["policies"]}
        for name in [policy["name"] for policy in found["policies"] if policy["name"] not in known]:
            for policy in self._admin.get(f"{path}/policy", name=name, max="-1"):
                if policy["name"] == name:
                    self._admin.delete(f"{path}/policy/{policy['id']}")
                    self.changes.append(f"permissions of {client}: no longer {name}")

    def ensure_person(self, name: str, roles: list[str], password: str) -> None:
        """Made disabled and without a password; both change in the last step, so that who was half made is known by it."""
        users = f"{self._base}/users"
        found = self._admin.get(users, username=name, exact="true")
        if not found:
            self._admin.post(users, {**_person(name, password), "enabled": False, "credentials": []})
            found = self._admin.get(users, username=name, exact="true")
        elif found[0]["enabled"] or self._admin.get(f"{users}/{found[0]['id']}/credentials"):
            return
        self._give(found[0]["id"], roles)
        self._admin.put(f"{users}/{found[0]['id']}", {**found[0], **_person(name, password)})
        self.changes.append(f"made the person {name}")

    def _give(self, user: str, wanted: list[str]) -> list[str]:
        """Gives the missing roles; returns their names."""
        has = self._roles_of(user)
        missing = [role for role in wanted if role not in has]
        for role in missing:
            self._admin.post(self._mapping(user, role), [self._role(role)])
        return missing

    def _roles_of(self, user: str) -> list[str]:
        found = self._admin.get(f"{self._base}/users/{user}/role-mappings")
        return [role["name"] for role in found.get("realmMappings", [])] + [
            f"{client}/{role['name']}"
            for client, said in found.get("clientMappings", {}).items()
            for role in said["mappings"]
        ]

    def _mapping(self, user: str, role: str) -> str:
        client, _, _ = role.rpartition("/")
        return f"{self._base}/users/{user}/role-mappings/{f'clients/{self._client(client)}' if client else 'realm'}"

    def _role(self, name: str) -> dict[str, Any]:
        """A role as Keycloak wants it named: `viewer`, or `sightline-mlflow/read` of a client."""
        client, _, role = name.rpartition("/")
        owner = f"clients/{self._client(client)}/" if client else ""
        found: dict[str, Any] = self._admin.get(f"{self._base}/{owner}roles/{role}")
        return found

    def _client(self, name: str) -> str:
        if name not in self._clients:
            found = self._admin.get(f"{self._base}/clients", clientId=name)
            if not found:
                raise Misconfigured(f"realm.json names the client {name} and does not make it: correct the file")
            self._clients[name] = found[0]["id"]
        return self._clients[name]
