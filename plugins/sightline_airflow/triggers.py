"""Follows the alias `challenger`: a delivery by command starts promote_model.

GET /v1/models, every 30 s ─► a challenger that was not seen ─► event {"version": "7"} ─► 30 s ─► remembered with the asset

Runs in the triggerer, which takes an event into its memory and hands it on about a second later. So a version is remembered
at the next look only: a triggerer that ends before tells it once more, never not. A second event is harmless: promote_model
has one run at a time, and who is champion already stays it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from contracts.errors import PipelineError
from sightline_airflow.asking import models

# As inference.domain.promotion has them, whose imports are not in Airflow's environment.
ALIAS: Final = "challenger"
PREVIOUS_ALIAS: Final = "previous_champion"
_SEEN: Final = "version"


class ChallengerTrigger(BaseEventTrigger):
    """One event for each version that becomes the challenger."""

    def __init__(self, *, poll_seconds: float = 30.0) -> None:
        super().__init__()
        self.poll_seconds = poll_seconds
        self._told: str | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How the triggerer makes it anew."""
        return (f"{type(self).__module__}.{type(self).__qualname__}", {"poll_seconds": self.poll_seconds})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Never ends. An API that is away is asked again; a word in the log when it goes and when it is back."""
        seen = await self._recall()
        while True:
            version = await self._look()
            new = None if version == seen else version
            if new is not None:
                yield TriggerEvent({"version": new})
                seen = new
            await asyncio.sleep(self.poll_seconds)
            if new is not None:
                await self._remember(new)

    async def _look(self) -> str | None:
        """The challenger's version; None: there is none, or nobody can say."""
        try:
            version = challenger_of(await asyncio.to_thread(models))
        except PipelineError as error:
            if str(error) != self._told:
                self.log.warning("The challenger is not known for now, and is asked for again: %s", error)
                self._told = str(error)
            return None
        if self._told is not None:
            self.log.info("The API answers again.")
            self._told = None
        return version

    async def _recall(self) -> str | None:
        if self.asset_state_store is None:
            return None
        seen = await self.asset_state_store.aget(_SEEN)
        return None if seen is None else str(seen)

    async def _remember(self, version: str) -> None:
        if self.asset_state_store is not None:
            await self.asset_state_store.aset(_SEEN, version)


def challenger_of(models: Mapping[str, Any]) -> str | None:
    """Which version waits, in an answer of GET /v1/models. One that was rolled back keeps the alias and is no delivery."""
    return next(
        (
            str(one["version"])
            for one in models["items"]
            if ALIAS in one["aliases"] and PREVIOUS_ALIAS not in one["aliases"]
        ),
        None,
    )
