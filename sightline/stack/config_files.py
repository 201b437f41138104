"""The third-party configuration files: sightline/stack/config/* with this home's ports and paths filled in.

config/server.properties      ──► <home>/run/server.properties       kafka
config/connect.properties     ──► <home>/run/connect.properties      connect
config/postgresql.conf        ──► <home>/run/postgresql.conf         postgres
config/log4j2.properties      read where it is                       kafka, connect
"""

from __future__ import annotations

import string
from collections.abc import Mapping

from contracts.settings import Settings
from contracts.topics import MAX_RECORD_BYTES
from sightline.stack.home import Home
from sightline.stack.install import Binaries
from sightline.stack.ports import LOOPBACK, ports
from sightline.stack.services import CONFIG_FOLDER


def config_files(home: Home, settings: Settings, binaries: Binaries) -> dict[str, str]:
    """The files of <home>/run, by name. None holds a secret."""
    table = ports(settings.stack)
    shared = {"host": LOOPBACK, "largest_record": str(MAX_RECORD_BYTES)}
    kafka = shared | {
        "port": str(table["kafka"]),
        "controller_port": str(table["kafka_controller"]),
        "data": str(home.data / "kafka"),
    }
    connect = shared | {
        "port": str(table["connect"]),
        "kafka": settings.kafka.bootstrap_servers,
        "plugins": ",".join(str(folder) for folder in binaries.connect_plugins),
    }
    given: dict[str, dict[str, str]] = {
        "server.properties": kafka,
        "connect.properties": connect,
        "postgresql.conf": {},
    }
    return {name: _filled(name, values) for name, values in given.items()}


def _filled(name: str, values: Mapping[str, str]) -> str:
    return string.Template((CONFIG_FOLDER / name).read_text()).substitute(values)
