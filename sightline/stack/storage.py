"""What each store needs on the disk before its first start. Harmless when it is there.

postgres   initdb, into a folder beside and renamed: a killed initdb leaves nothing half-made
kafka      formatted once, with a cluster id of its own
s3         folders; a folder for metadata where the filesystem has no extended attributes
"""

from __future__ import annotations

import base64
import errno
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from contracts.errors import Misconfigured, Transient
from contracts.settings import Settings
from sightline.stack.home import Home
from sightline.stack.install import Binaries
from sightline.stack.services import as_postgres_user, postgres_user

_FORMAT_SECONDS: Final = 120


def prepare_postgres(home: Home, settings: Settings, binaries: Binaries) -> None:
    """Makes the database cluster: UTF-8, the locale that is the same on every machine, passwords from the start.

    Raises:
        Transient: initdb failed.
        Misconfigured: the data is of another major version.
    """
    data = home.data / "postgres"
    if (data / "PG_VERSION").is_file():
        _refuse_other_version(data, binaries)
        return
    fresh = home.data / "postgres.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(fresh, postgres_user().pw_uid, postgres_user().pw_gid)
    with tempfile.NamedTemporaryFile("w", dir=home.run) as password:  # 0600, and gone after
        password.write(settings.postgres.password.get_secret_value())
        password.flush()
        initdb = [
            *as_postgres_user(),
            str(binaries.postgres / "initdb"),
            *("-D", str(fresh), "-U", settings.postgres.user, f"--pwfile={password.name}", "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale-provider=builtin", "--locale=C", "--builtin-locale=C.UTF-8"),
            "--no-instructions",
        ]
        _run(initdb, "initdb")
    fresh.rename(data)


def _refuse_other_version(data: Path, binaries: Binaries) -> None:
    ours = subprocess.run([str(binaries.postgres / "postgres"), "-V"], capture_output=True, text=True, check=True)
    theirs = (data / "PG_VERSION").read_text().strip()
    if f" {theirs}." not in ours.stdout:
        raise Misconfigured(
            f"the data in {data} is of PostgreSQL {theirs}, the program is {ours.stdout.strip()}: "
            "take the clone's version that made it, dump, and load; or start over with sightline down --delete-data"
        )


def prepare_kafka(home: Home, binaries: Binaries) -> None:
    """Formats the broker's log folder.

    Raises:
        Transient: the storage tool failed.
    """
    data = home.data / "kafka"
    if (data / "meta.properties").is_file():
        return
    shutil.rmtree(data, ignore_errors=True)  # a format that was cut off
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    tool = [
        str(binaries.java),
        *("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-XX:SharedArchiveFile={binaries.java_archive}"),
        *("-cp", f"{binaries.kafka_jars}/*", "kafka.tools.StorageTool", "format"),
        *(f"--cluster-id={cluster}", "--config", str(home.run / "server.properties")),
    ]
    _run(tool, "formatting Kafka's storage")


def prepare_s3(home: Home) -> None:
    """Makes the folders of the object store."""
    folder = home.data / "s3"
    is_new = not folder.is_dir()
    folder.mkdir(mode=0o700, exist_ok=True)
    if is_new and not _has_attributes(folder):
        (home.data / "s3-metadata").mkdir(mode=0o700)


def _has_attributes(folder: Path) -> bool:
    """Whether files there can carry metadata of a kilobyte."""
    if not hasattr(os, "setxattr"):  # macOS has them, Python there has not
        return True
    probe = folder / ".probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.probe", b"x" * 1024)
    except OSError as error:
        if error.errno not in {errno.ENOTSUP, errno.EPERM, errno.ENOSPC, errno.E2BIG}:
            raise
        return False
    finally:
        probe.unlink()
    return True


def _run(command: Sequence[str], doing: str) -> None:
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_FORMAT_SECONDS, check=False
    )
    if ended.returncode != 0:
        tail = "\n".join((ended.stdout + ended.stderr).splitlines()[-15:])
        raise Transient(f"{doing} failed with code {ended.returncode}:\n{tail}")
