"""Who is champion and who is challenger, as those say who decide it.

    profile core    champion    the alias in MLflow        LedgerWords, profile full    champion    newest `done` row
    AliasWords      challenger  the alias in MLflow                                     challenger  the alias in MLflow

In profile full an alias `champion` that was moved by hand is nobody's word.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from contracts.settings import Settings
from inference.persistence import ledger
from inference.persistence.lasting_connection import LastingConnection
from inference.registry.mlflow_client import connect
from inference.registry.record import aliases_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHALLENGER: Final = "challenger"

# An answer this old is asked for again: both roles share one question per round.
_FRESH_SECONDS: Final = 0.5

# MLflow's client lets it warn of every retry: two lines a second for as long as MLflow is away.
_RETRIES_LOG: Final = "urllib3.connectionpool"


class Words(Protocol):
    """Answers with a version's number; None where nobody has the role.

    Each raises Transient while those asked are away, Misconfigured where they refuse us.
    """

    def champion(self) -> str | None:
        """The version that should serve."""
        ...

    def challenger(self) -> str | None:
        """The version that should run in its shadow, and be warm."""
        ...

    def close(self) -> None:
        """Releases connections."""
        ...


class AliasWords:
    """MLflow's aliases alone. Two threads may ask."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._client: MlflowClient | None = None
        self._aliases: Mapping[str, str] = {}
        self._fresh_until = float("-inf")

    def champion(self) -> str | None:
        """See Words."""
        return self._ask().get(self._settings.mlflow.alias)

    def challenger(self) -> str | None:
        """See Words."""
        return self._ask().get(CHALLENGER)

    def close(self) -> None:
        """See Words."""

    def _ask(self) -> Mapping[str, str]:
        with self._lock:
            if self._clock() >= self._fresh_until:
                self._aliases = self._asked()
                self._fresh_until = self._clock() + _FRESH_SECONDS
            return self._aliases

    def _asked(self) -> Mapping[str, str]:
        name = self._settings.mlflow.model_name
        if self._client is None:
            self._client = connect(self._settings)
            logging.getLogger(_RETRIES_LOG).setLevel(logging.ERROR)
        return aliases_of(self._client, name)


class LedgerWords:
    """The ledger for the champion, MLflow for the challenger: who promotes writes a row, who delivers an alias."""

    def __init__(self, settings: Settings) -> None:
        self._model = settings.mlflow.model_name
        self._ledger = LastingConnection(settings.postgres)
        self._aliases = AliasWords(settings)

    def champion(self) -> str | None:
        """See Words."""
        with self._ledger.use() as connection:
            row = ledger.champion_of(connection, self._model)
        return None if row is None else row.version

    def challenger(self) -> str | None:
        """See Words."""
        return self._aliases.challenger()

    def close(self) -> None:
        """See Words."""
        self._ledger.close()


def words_of(settings: Settings) -> Words:
    """Those whose word counts in this profile. Asks nobody yet."""
    return LedgerWords(settings) if settings.serving.follows_ledger else AliasWords(settings)
