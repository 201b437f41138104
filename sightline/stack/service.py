"""What supervisord is told about one process of the local stack, and how its neighbours name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One supervised process."""

    name: str
    purpose: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)  # holds secrets
    port_names: tuple[str, ...] = ()  # rows of the port table that it listens on
    ports: tuple[int, ...] = ()  # the same, as numbers
    needs: tuple[int, ...] = ()  # ports that must answer before it starts
    room: tuple[Path, int] | None = None  # bytes that must be free in a folder before it starts
    stop_level: int  # higher levels stop first
    stop_signal: str = "TERM"
    stop_seconds: int = 15  # then it is killed
    url: str = ""  # for a person
    login: str = ""  # how a person gets in; never a password
