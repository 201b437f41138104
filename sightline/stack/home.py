"""The folder of one local stack: where its data, logs and settings lie.

<home>/                   0700, .sightline beside the clone unless set
    settings.env          0600, addresses and secrets: every later command reads it
    logins.json           0600, profile full: passwords of the demo users, secrets of the accounts
    tokens.json           0600, profile full: who logged in with `sightline login`
    data/                 postgres  kafka  s3          survives down and up
    logs/                 <service>.log, rotated
    run/                  what is generated at each up: configurations, start orders, process ids
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.errors import Misconfigured
from contracts.settings import PREFIX, SETTINGS_FILE, Settings
from sightline.stack.ports import LOOPBACK, ports

# A unix socket's path has room for 107 bytes (103 on macOS), and supervisord appends to it while it starts.
_LONGEST_SOCKET_PATH: Final = 80

# Named by the stack itself: given from outside they would make a command talk to something else.
_OWNED: Final = (
    "KAFKA__", "REGISTRY__", "CONNECT__URL", "S3__", "POSTGRES__", "MLFLOW__TRACKING_URI", "API__URL", "API__HOST",
    "API__PORT", "AUTH__ISSUER", "AUTH__JWKS_URL",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Home:
    """Paths only; nothing is touched before `make`."""

    folder: Path

    @property
    def settings_file(self) -> Path:
        """Addresses and secrets."""
        return self.folder / SETTINGS_FILE

    @property
    def logins_file(self) -> Path:
        """Passwords and secrets of profile full (logins.py)."""
        return self.folder / "logins.json"

    @property
    def tokens_file(self) -> Path:
        """Of the person who logged in (connectors/access.py)."""
        return self.folder / "tokens.json"

    @property
    def data(self) -> Path:
        """What survives."""
        return self.folder / "data"

    @property
    def logs(self) -> Path:
        """One file per service, and its rotated elders."""
        return self.folder / "logs"

    @property
    def run(self) -> Path:
        """Generated at each up."""
        return self.folder / "run"

    @property
    def lock(self) -> Path:
        """Held by up and down."""
        return self.run / "lock"

    @property
    def supervisor_config(self) -> Path:
        """What supervisord runs with; its path on a command line tells whose supervisord it is."""
        return self.run / "supervisord.conf"

    @property
    def supervisor_pid(self) -> Path:
        """Written by supervisord."""
        return self.run / "supervisord.pid"

    @property
    def bootstrapped(self) -> Path:
        """The digest of what the bootstrap applied since supervisord started."""
        return self.run / "bootstrapped"

    def log(self, service: str) -> Path:
        """A service's log."""
        return self.logs / f"{service}.log"

    def order(self, service: str) -> Path:
        """A service's start order: its command and environment (launch.py). Holds secrets."""
        return self.run / f"{service}.json"

    def lives(self, service: str) -> Path:
        """How often a service was started since the last up (launch.py)."""
        return self.run / f"{service}.lives"

    @property
    def socket(self) -> Path:
        """The socket of supervisord: in the home, or in a short folder noted there where the home's path is too long."""
        inside = self.run / "supervisor.sock"
        if len(os.fsencode(inside)) <= _LONGEST_SOCKET_PATH:
            return inside
        note = self.run / "socket-folder"
        if note.is_file() and Path(note.read_text()).is_dir():
            return Path(note.read_text()) / "supervisor.sock"
        short = tempfile.mkdtemp(prefix="sightline-")
        note.write_text(short)
        return Path(short) / "supervisor.sock"

    def make(self) -> None:
        """Creates the folders, for this user only."""
        for folder in (self.folder, self.data, self.logs, self.run):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def forget_socket(self) -> None:
        """Removes the short folder, if there is one."""
        note = self.run / "socket-folder"
        if note.is_file():
            shutil.rmtree(note.read_text(), ignore_errors=True)
            note.unlink()


def write_settings(home: Home, settings: Settings, environment: Mapping[str, str]) -> None:
    """Writes <home>/settings.env: where the neighbours are, and the secrets, made at the first up and kept since.

    Raises:
        Misconfigured: the environment names other neighbours than this stack's.
    """
    given = [name for name in environment if name.startswith(tuple(PREFIX + owned for owned in _OWNED))]
    if given:
        raise Misconfigured(
            f"{', '.join(sorted(given))} in the environment: the local stack sets these itself. Unset them; "
            f"ports are moved with {PREFIX}STACK__PORT_BASE or {PREFIX}STACK__PORTS"
        )
    write_private(home.settings_file, _settings_text(home, settings, read_env(home.settings_file)))


def _settings_text(home: Home, settings: Settings, before: Mapping[str, str]) -> str:
    table = ports(settings.stack)

    def secret(name: str) -> str:
        return before.get(PREFIX + name) or secrets.token_urlsafe(24)

    values = {
        "STACK__PROFILE": settings.stack.profile,
        "STACK__PORT_BASE": str(settings.stack.port_base),
        "STACK__PORTS": json.dumps(settings.stack.ports),
        "STACK__AIRFLOW": str(settings.stack.airflow).lower(),
        "STACK__STREAM_WORKERS": str(settings.stack.stream_workers),
        "KAFKA__BOOTSTRAP_SERVERS": f"{LOOPBACK}:{table['kafka']}",
        "REGISTRY__URL": f"http://{LOOPBACK}:{table['registry']}",
        "CONNECT__URL": f"http://{LOOPBACK}:{table['connect']}",
        "S3__ENDPOINT_URL": f"http://{LOOPBACK}:{table['s3']}",
        "S3__ACCESS_KEY": "sightline",
        "S3__SECRET_KEY": secret("S3__SECRET_KEY"),
        "POSTGRES__HOST": LOOPBACK,
        "POSTGRES__PORT": str(table["postgres"]),
        "POSTGRES__USER": "sightline",
        "POSTGRES__DATABASE": "sightline",
        "POSTGRES__PASSWORD": secret("POSTGRES__PASSWORD"),
        "MLFLOW__TRACKING_URI": f"http://{LOOPBACK}:{table['mlflow']}",
        "WATCHDOG__METRICS_PORT": str(table["watchdog_metrics"]),
    }
    if settings.stack.dags is not None:
        values["STACK__DAGS"] = str(settings.stack.dags.expanduser().absolute())
    if settings.stack.first_model is not None:
        values["STACK__FIRST_MODEL"] = str(settings.stack.first_model.expanduser().absolute())
    if settings.stack.profile == "full":
        realm = f"http://{LOOPBACK}:{table['keycloak']}/realms/sightline"
        values |= {
            "SERVING__FOLLOWS_LEDGER": "true",
            "PROMOTION__GATE_SETS": gate_sets(settings),
            "API__URL": f"http://{LOOPBACK}:{table['api']}",
            "API__HOST": LOOPBACK,
            "API__PORT": str(table["api"]),
            "API__TICKET_KEY": secret("API__TICKET_KEY"),
            "AUTH__ISSUER": realm,
            "AUTH__JWKS_URL": f"{realm}/protocol/openid-connect/certs",
            "LOGIN__TOKEN_FILE": str(home.tokens_file),
        }
    head = "# Written by `sightline up`; read by every command. Holds the passwords of the local stack.\n"
    return head + "".join(f"{PREFIX}{name}='{value}'\n" for name, value in values.items())


def gate_sets(settings: Settings) -> str:
    """A fresh stack has no reviews to judge by: simulated boards do, unless somebody said otherwise."""
    return settings.promotion.gate_sets if "gate_sets" in settings.promotion.model_fields_set else "any"


def read_env(file: Path) -> dict[str, str]:
    """The NAME='value' lines of a file written above; nothing if there is none."""
    if not file.is_file():
        return {}
    lines = (line.partition("=") for line in file.read_text().splitlines() if not line.startswith("#"))
    return {name: value.strip("'") for name, separator, value in lines if separator}


def write_private(file: Path, text: str) -> None:
    """Replaces a file in one step; it is never readable by others, not even for a moment."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
        Path(name).replace(file)
    except OSError as error:  # that of a write names no file
        Path(name).unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(file)) from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
