"""Who may log in to the local stack, and with what: <home>/logins.json, 0600, made at the first `up --profile full`.

    {"people": {"viewer": "…", …, "admin": "…"}, "accounts": {"sightline-jobs": "…", …, "sightline-setup": "…"},
     "keys": {"airflow-fernet": "…", …}}

A file of its own and not settings.env: every service reads that, and none needs the password of a person or of another
service. The passwords belong to Keycloak's data: both are deleted together.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field

from contracts.errors import Misconfigured
from sightline.stack.home import Home, write_private


@dataclass(frozen=True, slots=True, kw_only=True)
class Logins:
    """Passwords by the names of people, secrets by the names of accounts (Keycloak's clients), keys that servers sign with."""

    people: Mapping[str, str] = field(repr=False)
    accounts: Mapping[str, str] = field(repr=False)
    keys: Mapping[str, str] = field(repr=False, default_factory=dict)


def read(home: Home) -> Logins:
    """What the file says.

    Raises:
        Misconfigured: there is none: this stack was never started with profile full.
    """
    try:
        found = json.loads(home.logins_file.read_text())
        return Logins(people=found["people"], accounts=found["accounts"], keys=found.get("keys", {}))
    except FileNotFoundError as error:
        raise Misconfigured(
            f"there is no {home.logins_file}: the local stack has logins in profile full alone (sightline up --profile full)"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Misconfigured(f"{home.logins_file} cannot be read: {type(error).__name__}; restore it") from error


def ensure(home: Home, *, people: Collection[str], accounts: Collection[str], keys: Collection[str] = ()) -> Logins:
    """Makes the missing ones and keeps the rest."""
    before = read(home) if home.logins_file.is_file() else Logins(people={}, accounts={})
    made = Logins(
        people={name: before.people.get(name) or secrets.token_urlsafe(15) for name in people},
        accounts={name: before.accounts.get(name) or secrets.token_urlsafe(24) for name in accounts},
        keys={name: before.keys.get(name) or _key() for name in keys},
    )
    if made != before:
        write_private(home.logins_file, json.dumps(asdict(made), indent=1) + "\n")
    return made


def _key() -> str:
    """32 bytes as Fernet wants them written, which suits every other use."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
