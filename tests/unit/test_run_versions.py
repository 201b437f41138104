"""The version of a run is named once: by the number, by the ledger, by the API."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from contracts.errors import Rejected, Transient
from sightline_airflow.versions import number_of

MODELS: dict[str, Any] = {
    "items": [{"version": "3", "aliases": ["challenger"]}, {"version": "1", "aliases": ["previous_champion"]}]
}


def not_asked() -> NoReturn:
    raise AssertionError("nobody needed to be asked")


def test_a_number_is_itself() -> None:
    assert number_of("7", champion=not_asked, models=not_asked) == "7"


def test_the_ledger_names_the_champion() -> None:
    assert number_of("champion", champion=lambda: "2", models=not_asked) == "2"
    with pytest.raises(Transient, match="no version is champion yet"):
        number_of("champion", champion=lambda: None, models=not_asked)


def test_the_api_names_who_has_another_alias() -> None:
    assert number_of("previous_champion", champion=not_asked, models=lambda: MODELS) == "1"
    with pytest.raises(Rejected, match="no version has the alias nobody"):
        number_of("nobody", champion=not_asked, models=lambda: MODELS)
