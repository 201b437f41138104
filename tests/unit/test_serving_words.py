"""Who is asked for the champion, and how often."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from contracts.errors import Transient
from contracts.settings import MlflowSettings, PostgresSettings, ServingSettings, Settings
from inference.registry.mlflow_client import NotFound
from inference.serving import words
from inference.serving.words import AliasWords, LedgerWords, words_of
from tests.support.served import Clock


class Client:
    """MLflow's client as far as it is asked."""

    def __init__(self, aliases: dict[str, Any] | Exception) -> None:
        self.aliases = aliases
        self.asked: list[str] = []

    def get_registered_model(self, name: str) -> Any:
        self.asked.append(name)
        if isinstance(self.aliases, Exception):
            raise self.aliases
        return SimpleNamespace(aliases=self.aliases)


def asking(client: Client, monkeypatch: pytest.MonkeyPatch, **mlflow: str) -> tuple[AliasWords, Clock]:
    monkeypatch.setattr(words, "connect", lambda _settings: client)
    clock = Clock()
    return AliasWords(Settings(mlflow=MlflowSettings(model_name="pcb", **mlflow)), clock=clock), clock


@pytest.mark.filterwarnings("ignore")  # MLflow's own imports warn
def test_both_roles_share_one_question_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client({"champion": "1", "challenger": 2})
    asked, clock = asking(client, monkeypatch)
    assert (asked.champion(), asked.challenger()) == ("1", "2")
    assert client.asked == ["pcb"]
    client.aliases = {"champion": "2"}
    clock.now += 0.6
    assert (asked.challenger(), asked.champion()) == (None, "2")
    assert client.asked == ["pcb", "pcb"]


def test_the_champions_alias_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, _ = asking(Client({"champion": "1", "trial": "3"}), monkeypatch, alias="trial")
    assert asked.champion() == "3"


def test_before_anything_is_registered_nobody_has_a_role(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, _ = asking(Client(NotFound("no such model")), monkeypatch)
    assert (asked.champion(), asked.challenger()) == (None, None)


def test_a_failure_is_told_and_asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(ConnectionError("refused"))
    asked, _ = asking(client, monkeypatch)
    with pytest.raises(Transient):
        asked.champion()
    client.aliases = {"champion": "1"}
    assert asked.champion() == "1"


def test_the_profile_decides_who_is_asked() -> None:
    assert isinstance(words_of(Settings()), AliasWords)
    ledger = words_of(Settings(serving=ServingSettings(follows_ledger=True), postgres=PostgresSettings(port=1)))
    assert isinstance(ledger, LedgerWords)
    with pytest.raises(Transient, match="Postgres"):
        ledger.champion()
    ledger.close()
