"""Whether the stores answer a connection: for people who look at /readyz, never for a decision."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from contracts.settings import Settings

_KEPT_SECONDS: Final = 5.0
_ASK_SECONDS: Final = 0.5

Address = tuple[str, int]


class Stores:
    """Asks all of them at a time, and not more often than every few seconds."""

    def __init__(self, settings: Settings) -> None:
        self._addresses = dict(_addresses(settings))
        self._known: dict[str, bool] = {}
        self._asked_at = float("-inf")

    async def answering(self) -> dict[str, bool]:
        """Name to whether it took a connection."""
        if time.monotonic() - self._asked_at > _KEPT_SECONDS:
            self._asked_at = time.monotonic()
            answers = await asyncio.gather(*(_answers(address) for address in self._addresses.values()))
            self._known = dict(zip(self._addresses, answers, strict=True))
        return self._known


async def _answers(address: Address) -> bool:
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            _, writer = await asyncio.open_connection(*address)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


def _addresses(settings: Settings) -> Iterator[tuple[str, Address]]:
    broker = settings.kafka.bootstrap_servers.split(",")[0].rpartition(":")
    yield "kafka", (broker[0], int(broker[2]))
    yield "postgres", (settings.postgres.host, settings.postgres.port)
    for name, url in (
        ("registry", settings.registry.url),
        ("s3", settings.s3.endpoint_url),
        ("mlflow", settings.mlflow.tracking_uri),
        ("keycloak", settings.auth.jwks_url),
    ):
        parts = urlsplit(url)
        if parts.hostname:
            yield name, (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
