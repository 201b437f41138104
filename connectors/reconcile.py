"""What Kafka Connect should run, and what is to be done about the difference. Pure: no network in here.

    sinks/*.json + settings ──► desired ─┐
                                         ├─► plan ──► [Action, ...]    apply.py acts
    what Connect runs ───────────────────┘

A connector is ours when its configuration says so (OWNER); all others are left alone and listed. `{{name}}` in a file
is filled in here, from the settings; `${env:NAME}` stays: Connect itself reads secrets, and shows only the reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final

from connectors.connect_admin import HALTED, Config, Connector
from contracts.errors import Misconfigured
from contracts.settings import Settings
from contracts.topics import SINKS

# Connect has no labels and ignores settings that it does not know.
OWNER: Final = "sightline.owner"
OWNED: Final = "sightline"

_PLACEHOLDER: Final = re.compile(r"\{\{(\w*)\}\}")
_REFERENCE: Final = re.compile(r"\$\{(?!env:SIGHTLINE_[A-Z0-9_]+\})")
_LONGEST_REASON: Final = 300


class Kind(StrEnum):
    """What can be done to a connector."""

    CREATE = "create"
    UPDATE = "update"
    RESUME = "resume"
    RESTART = "restart"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing to do. Holds names of settings, never their values: somebody may have written a secret there."""

    kind: Kind
    connector: str
    changed: tuple[str, ...] = ()  # the settings that differ, for an update
    reason: str = ""

    def __str__(self) -> str:
        """For a person."""
        detail = ", ".join(self.changed) or self.reason
        return f"{self.kind} {self.connector}" + (f" ({detail})" if detail else "")


def desired(settings: Settings) -> dict[str, Config]:
    """The configurations that this installation should run, by connector.

    Raises:
        Misconfigured: a file names a value that does not exist, or a setting holds a reference that Connect would read.
    """
    values = _values(settings)
    return {
        name: {"name": name, OWNER: OWNED} | {key: _filled(name, value, values) for key, value in template.items()}
        for name, template in templates().items()
    }


@cache
def templates() -> Mapping[str, Config]:
    """The files of sinks/, by connector, as they are written."""
    folder = files("connectors").joinpath("sinks")
    return {name: json.loads(folder.joinpath(f"{name}.json").read_text("utf-8")) for name in SINKS}


def plan(wanted: Mapping[str, Mapping[str, str]], running: Mapping[str, Connector]) -> list[Action]:
    """What turns `running` into `wanted`, in the order of `wanted`; connectors of ours that it lacks are deleted last.

    An update restarts its tasks by itself, so a connector gets one action. One that a person paused is resumed.
    """
    actions = [action for name, config in wanted.items() if (action := _for(name, config, running.get(name)))]
    surplus = [
        Action(kind=Kind.DELETE, connector=name, reason="no longer wanted")
        for name, connector in sorted(running.items())
        if name not in wanted and is_ours(connector.config)
    ]
    return actions + surplus


def foreign(wanted: Mapping[str, Mapping[str, str]], running: Mapping[str, Connector]) -> list[str]:
    """The connectors that somebody else runs there: never touched."""
    return sorted(name for name, entry in running.items() if name not in wanted and not is_ours(entry.config))


def is_ours(config: Mapping[str, str]) -> bool:
    """Whether a configuration was written by this module."""
    return config.get(OWNER) == OWNED


def changed_settings(wanted: Mapping[str, str], running: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the settings that differ, sorted."""
    return tuple(sorted(key for key in wanted.keys() | running.keys() if wanted.get(key) != running.get(key)))


def reason_of(trace: str) -> str:
    """The root of a Java stack trace in one line: what it was in the end, rather than that a task died of it."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    if not lines:
        return "no reason given"
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes[-1] if causes else lines[0])[:_LONGEST_REASON]


def _for(name: str, config: Mapping[str, str], running: Connector | None) -> Action | None:
    if running is None:
        return Action(kind=Kind.CREATE, connector=name)
    if changed := changed_settings(config, running.config):
        return Action(kind=Kind.UPDATE, connector=name, changed=changed)
    if running.state in HALTED:
        return Action(kind=Kind.RESUME, connector=name, reason=running.state.lower())
    if running.is_failed:
        return Action(kind=Kind.RESTART, connector=name, reason=reason_of(running.traces[0]))
    return None


def _values(settings: Settings) -> dict[str, str]:
    return {
        "registry_url": settings.registry.url,
        "s3_endpoint": settings.s3.endpoint_url,
        "s3_region": settings.s3.region,
        "s3_bucket": settings.s3.frames_bucket,
        "s3_access_key": settings.s3.access_key,
        "jdbc_url": settings.postgres.jdbc_url,
        "postgres_user": settings.postgres.user,
        "retention_days": str(settings.retention.days),
    }


def _filled(connector: str, text: str, values: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise Misconfigured(
                f"connectors/sinks/{connector}.json names {found[0]}; there are {', '.join(sorted(values))}: correct it"
            )
        return values[found[1]]

    filled = _PLACEHOLDER.sub(value, text)
    if _REFERENCE.search(filled):
        raise Misconfigured(
            f"a setting of {connector} would hold a ${{...}} that Kafka Connect reads as a reference: write it without"
        )
    return filled
